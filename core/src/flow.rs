//! What a flow is about, and how it ends or fails to begin.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::Identity;

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

/// The header that tells a host who its client is (the PROXY protocol of HAProxy).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum ProxyProtocol {
    /// None.
    #[default]
    Off,
    /// A line of text.
    V1,
    /// Binary, with the peer's key and name beside its address.
    V2,
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
    /// Its peer was removed or does not own its inner address any more, or another peer owns its
    /// other end now.
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
            Self::NoPeer => "its peer is gone, or an address of it is another's now",
            Self::Limit => "a limit was reached",
            Self::ShutDown => "shut down",
        })
    }
}

/// Why the embedder could not open a flow; it decides what the peer is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// The host refused the connection: as [`refused`](crate::config::Tcp::refused) says (TCP),
    /// port unreachable (UDP).
    Refused,
    /// The host did not answer in time: ICMP host unreachable (TCP), nothing (others).
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
#[non_exhaustive]
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
