//! Everything that core says to its embedder.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ecn::Ecn;
use crate::engine::Engine;
use crate::key::PublicKey;
use crate::rules::ProxyProtocol;

/// Names a flow. It carries a generation, so that an id kept too long names nothing rather than
/// another flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlowId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl FlowId {
    /// The id as one number, unique for the life of an engine (until 2^32 flows shared a slot).
    pub const fn as_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// A small number, unique among the flows that live at the same time: an index for tables.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }
}

/// Reads what `Debug` writes, with or without the word: `flow 3.1` or `3.1`.
impl std::str::FromStr for FlowId {
    type Err = ParseFlowIdError;

    fn from_str(text: &str) -> Result<Self, ParseFlowIdError> {
        let numbers = text.strip_prefix("flow ").unwrap_or(text).split_once('.');
        let (slot, generation) = numbers.ok_or(ParseFlowIdError)?;
        let number = |text: &str| text.parse().map_err(|_| ParseFlowIdError);
        Ok(Self { slot: number(slot)?, generation: number(generation)? })
    }
}

/// It is no [`FlowId`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseFlowIdError;

impl fmt::Display for ParseFlowIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a flow is two numbers, as in 3.1")
    }
}

impl std::error::Error for ParseFlowIdError {}

impl fmt::Debug for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flow {}.{}", self.slot, self.generation)
    }
}

/// Names a peer of an engine. It carries a generation, so that the id of a peer that was removed
/// names nobody rather than another peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl PeerId {
    /// A small number, unique among the peers that there are at the same time: an index for tables.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    /// The first peer in a slot.
    #[cfg(test)]
    pub(crate) const fn first(slot: u32) -> Self {
        Self { slot, generation: 0 }
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {}.{}", self.slot, self.generation)
    }
}

/// Who a peer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// What people call it.
    pub name: String,
    /// Its WireGuard identity.
    pub public_key: PublicKey,
}

/// The kind of a flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Protocol {
    /// A connection: bytes both ways, half-close, reset.
    Tcp,
    /// Datagrams between one inner source and any number of hosts.
    Udp,
    /// Echo requests from one inner source and identifier, and their replies. A datagram is the
    /// whole ICMP or ICMPv6 message; its checksum and identifier are the embedder's to fill (the
    /// kernel does, on a ping socket).
    Icmp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        })
    }
}

/// What a flow is about.
#[derive(Clone, Debug)]
pub struct FlowMeta {
    /// The peer at the other end of the tunnel leg.
    pub peer: Arc<Identity>,
    /// The kind of flow.
    pub protocol: Protocol,
    /// The peer's inner address and port (ICMP: the identifier). For a flow that the embedder
    /// opened: our own address and virtual port.
    pub source: SocketAddr,
    /// Where the first packet went (ICMP: port 0).
    pub destination: SocketAddr,
    /// What the embedder is asked to reach.
    pub target: Target,
    /// The rule that decided, by its place in [`Gateway::rules`](crate::config::Gateway::rules) as
    /// it was then; `None` where no rule matched, and for flows that the embedder opened.
    pub rule: Option<usize>,
    /// What the target is to be told of the peer before the first byte; TCP only.
    pub proxy_protocol: ProxyProtocol,
}

/// What the embedder is asked to reach for a flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// An address of the host's network. For UDP and ICMP each datagram names its own.
    Host(SocketAddr),
    /// A Unix stream socket of the host; TCP only.
    Unix(Arc<Path>),
    /// The embedder itself ([`RuleAction::Serve`](crate::rules::RuleAction::Serve)).
    Embedder,
    /// Nothing: the embedder opened the flow, its local client is the host leg.
    Client,
}

/// Something that the embedder has to do. Actions of one flow come in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Action {
    /// A peer wants a new flow: look at [`Engine::meta`](crate::Engine::meta), then answer with
    /// [`handle_opened`](crate::Engine::handle_opened) or
    /// [`handle_refused`](crate::Engine::handle_refused), now or later. The peer hears nothing
    /// before that. UDP and ICMP flows need an answer too; their datagrams wait behind this action.
    Open(FlowId),
    /// A TCP flow that the embedder opened is established in the tunnel.
    Established(FlowId),
    /// A TCP flow has bytes for the host: call [`Engine::receive`](crate::Engine::receive) until
    /// it lends nothing or the host takes no more. It is said again only after the ring was empty.
    Readable(FlowId),
    /// A TCP flow whose send ring was full has room again: read the host again and call
    /// [`Engine::send`](crate::Engine::send).
    Writable(FlowId),
    /// The rings of a TCP flow held bytes, and have been empty for two seconds, or just now where
    /// memory is short: whoever can give it back to the system asks for it by
    /// [`Engine::lend_idle_rings`](crate::Engine::lend_idle_rings).
    Idle(FlowId),
    /// The peer ended its direction and the host has been given every byte: shut down writing.
    Shutdown(FlowId),
    /// The flow is over in good order; both directions are complete. The id is stale from now on.
    Closed(FlowId),
    /// The flow is over and bytes may be missing: reset the host leg. The id is stale from now on.
    Aborted(FlowId, Abort),
    /// Resolve the name of a peer's endpoint ([`Engine::endpoint_name`](crate::Engine::endpoint_name))
    /// without blocking, then call [`handle_resolved`](crate::Engine::handle_resolved).
    Resolve(PeerId),
}

impl Action {
    /// The flow that it is about.
    pub const fn flow(self) -> Option<FlowId> {
        match self {
            Self::Open(flow)
            | Self::Established(flow)
            | Self::Readable(flow)
            | Self::Writable(flow)
            | Self::Idle(flow)
            | Self::Shutdown(flow)
            | Self::Closed(flow)
            | Self::Aborted(flow, _) => Some(flow),
            Self::Resolve(_) => None,
        }
    }
}

/// The memory of a flow's rings, of which nothing is needed. As long as this lives nobody looks at
/// it.
#[derive(Debug)]
pub struct IdleRings<'a> {
    addresses: [Range<usize>; 2],
    _engine: PhantomData<&'a mut Engine>,
}

impl IdleRings<'_> {
    pub(crate) const fn new(addresses: [Range<usize>; 2]) -> Self {
        Self { addresses, _engine: PhantomData }
    }

    /// The exposed addresses of both rings, whose pages are to be given back. They were allocated by the global allocator, hold
    /// initialized bytes, and may hold any others afterwards, which is what makes it sound to have
    /// the system replace whole pages of them (`madvise`, `MADV_DONTNEED`).
    pub fn addresses(&self) -> [Range<usize>; 2] {
        self.addresses.clone()
    }
}

/// Why a flow was aborted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Abort {
    /// The other end of the tunnel leg reset the connection, or refused it.
    Reset,
    /// The other end did not answer in time.
    TimedOut,
    /// An ICMP error said that the other end is out of reach.
    Unreachable,
    /// The flow was silent for too long.
    Idle,
    /// The rules do not allow it any more.
    Forbidden,
    /// Its peer was removed, or one that was added owns an end of it now.
    NoPeer,
    /// A limit was reached and this flow had to go.
    Limit,
    /// The engine was shut down.
    ShutDown,
}

impl fmt::Display for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reset => "reset by the other end",
            Self::TimedOut => "timed out",
            Self::Unreachable => "unreachable",
            Self::Idle => "idle for too long",
            Self::Forbidden => "forbidden by the rules",
            Self::NoPeer => "its peer is gone",
            Self::Limit => "a limit was reached",
            Self::ShutDown => "shut down",
        })
    }
}

/// Why the embedder could not open a flow; it decides what the peer is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// The host refused the connection: as [`refused`](crate::config::Tcp::refused) says (TCP), port
    /// unreachable (UDP).
    Refused,
    /// The host did not answer in time: a reset, late.
    TimedOut,
    /// No such host: ICMP host unreachable, ICMPv6 address unreachable.
    HostUnreachable,
    /// No route: ICMP network unreachable, ICMPv6 no route.
    NetworkUnreachable,
    /// Forbidden by the system or by the embedder: administratively prohibited.
    Prohibited,
    /// Out of descriptors, ports or memory: a reset (TCP), administratively prohibited (others).
    Exhausted,
    /// The target turned out to be the host itself, or no single host, and the flow
    /// [may not reach it](crate::Engine::may_reach_host): answered as a protected target is, by a
    /// reset (TCP) or administratively prohibited (others).
    Protected,
}

/// Why [`Engine::open_tcp`](crate::Engine::open_tcp) or
/// [`open_udp`](crate::Engine::open_udp) opened nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum OpenError {
    /// No peer's allowed IPs contain the target.
    NoPeer,
    /// The target's port is 0.
    NoPort,
    /// We have no tunnel address of the target's IP version.
    NoAddress,
    /// A limit was reached.
    Limit,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPeer => "no peer's allowed IPs contain it",
            Self::NoPort => "port 0 is no target",
            Self::NoAddress => "this end has no tunnel address of its IP version",
            Self::Limit => "a limit was reached",
        })
    }
}

impl std::error::Error for OpenError {}

/// The flow is gone, or is not of the kind that the call is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoFlow;

impl fmt::Display for NoFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such flow")
    }
}

impl std::error::Error for NoFlow {}

/// How datagrams came to a WireGuard socket. One of which only the source is known is made from that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Where they came from.
    pub source: SocketAddr,
    /// The address of ours that they were sent to, if the system says.
    pub local: Option<IpAddr>,
    /// The mark of their IP headers; [`Ecn::NotEct`] if the system does not say.
    pub ecn: Ecn,
}

impl From<SocketAddr> for Arrival {
    fn from(source: SocketAddr) -> Self {
        Self { source, local: None, ecn: Ecn::NotEct }
    }
}

/// A train of WireGuard datagrams to one destination, in one contiguous buffer.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// Where all of them go.
    pub destination: SocketAddr,
    /// The local address that they should leave from, if the peer last wrote to it.
    pub source: Option<IpAddr>,
    /// The mark of their IP headers: all have the same.
    pub ecn: Ecn,
    /// Bytes of each datagram but the last, which may be shorter.
    pub segment_size: usize,
    /// One or more datagrams, back to back; never empty.
    pub contents: &'a [u8],
}

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

/// DSCP (the upper six bits, RFC 2474) and ECN (the lower two, RFC 3168) of a packet: IPv4's type of
/// service, IPv6's traffic class.
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
