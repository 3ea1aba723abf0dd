//! Datagrams of UDP and ICMP flows: how they travel, and what becomes of those that do not arrive.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::flow::Refusal;
use crate::id::FlowId;

/// One datagram for the host leg of a UDP or ICMP flow.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The flow whose socket sends it.
    pub flow: FlowId,
    /// Where it goes (ICMP: port 0). For a flow that the embedder opened: the flow's own target,
    /// which the datagram came from.
    pub remote: SocketAddr,
    /// How it is to travel. For a flow that the embedder opened: how it came.
    pub travel: Travel,
    /// What it carries.
    pub payload: &'a [u8],
}

/// What a datagram's IP header asks of the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Travel {
    /// How many hops it may still take, at least 1: the TTL or hop limit that it leaves with.
    pub hop_limit: u8,
    /// Whether it may be cut into fragments on the way.
    pub fragmenting: Fragmenting,
    /// How it is to be treated.
    pub traffic_class: TrafficClass,
}

/// DSCP (the upper six bits, RFC 2474) and ECN (the lower two, RFC 3168) of a packet: IPv4's type
/// of service, IPv6's traffic class.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct TrafficClass(pub u8);

impl TrafficClass {
    /// Best effort, and no word of congestion.
    pub const DEFAULT: Self = Self(0);
}

/// Whether a packet may be cut into fragments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Fragmenting {
    /// As the network needs it: IPv4 without DF, or a packet that came in fragments already.
    Allowed,
    /// Rather not deliver it, and say how large it may be (RFC 1191, RFC 8201).
    Forbidden,
}

/// The network says that a datagram of a flow did not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Undelivered {
    /// Where it was sent.
    pub remote: SocketAddr,
    /// Of an echo request: its sequence number, without which nobody can tell which one it was.
    pub echo_sequence: Option<u16>,
    /// What became of it.
    pub loss: Loss,
}

/// Why a datagram did not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Loss {
    /// Nobody takes it there.
    Refused(Refusal),
    /// It had no more hops to go when it came to this router.
    TimeExceeded {
        /// The router.
        hop: IpAddr,
    },
    /// It may not be fragmented and does not fit.
    TooBig {
        /// The largest IP packet that does, in bytes.
        mtu: u16,
    },
}
