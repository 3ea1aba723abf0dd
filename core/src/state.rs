//! What can be read of flows and peers while they live ([`Engine::flows`](crate::Engine::flows),
//! [`Engine::peers`](crate::Engine::peers)).

use std::fmt;

use crate::flow::FlowMeta;
use crate::id::FlowId;
use crate::time::Instant;

/// Bytes that have moved so far, each way.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Transfer {
    /// From the peer.
    pub bytes_in: u64,
    /// To the peer.
    pub bytes_out: u64,
}

/// A flow that lives.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FlowState<'a> {
    /// Its name.
    pub id: FlowId,
    /// What it is about; [`rule`](FlowMeta::rule) is the one that decided.
    pub meta: &'a FlowMeta,
    /// How far it is.
    pub status: FlowStatus,
    /// When it was offered to the embedder, or opened by it.
    pub opened_at: Instant,
    /// When something last happened that keeps it from being idle.
    pub active_at: Instant,
    /// What has moved between it and its host leg: bytes of the stream (TCP), payload of datagrams
    /// (UDP), whole messages (ICMP). What the embedder has not taken yet does not count, nor what
    /// was dropped.
    pub transfer: Transfer,
}

/// How far a flow is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum FlowStatus {
    /// TCP: the embedder has been asked for a host leg.
    Connecting,
    /// TCP: the handshake in the tunnel is under way.
    Handshake,
    /// TCP: both ends send.
    Established,
    /// TCP: the host has ended its direction, the peer still sends.
    HostEnded,
    /// TCP: the peer has ended its direction, the host still sends.
    PeerEnded,
    /// TCP: both ends have ended, and something is still to be delivered or acknowledged.
    Closing,
    /// TCP: the peer has reset it, and the host has not read all that came before.
    PeerReset,
    /// UDP and ICMP: datagrams pass until none has for a while.
    Active,
}

impl FlowStatus {
    /// Every status, in the order in which a flow may have them.
    pub const ALL: &'static [Self] = &[
        Self::Connecting,
        Self::Handshake,
        Self::Established,
        Self::HostEnded,
        Self::PeerEnded,
        Self::Closing,
        Self::PeerReset,
        Self::Active,
    ];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Handshake => "handshake",
            Self::Established => "established",
            Self::HostEnded => "host-ended",
            Self::PeerEnded => "peer-ended",
            Self::Closing => "closing",
            Self::PeerReset => "peer-reset",
            Self::Active => "active",
        }
    }
}

impl fmt::Display for FlowStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
