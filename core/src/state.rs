//! What can be read of flows and peers while they live ([`Engine::flows`](crate::Engine::flows),
//! [`Engine::peers`](crate::Engine::peers)).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::flow::FlowMeta;
use crate::id::{FlowId, Identity, PeerId};
use crate::stats::Stats;
use crate::time::Instant;
use crate::words::words;

/// Bytes that have moved so far, each way.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Transfer {
    /// From the peer.
    pub bytes_in: u64,
    /// To the peer.
    pub bytes_out: u64,
}

/// What is in use of each bound of [`Limits`](crate::Limits), which has the same names.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Usage {
    /// TCP flows.
    pub tcp_flows: usize,
    /// UDP mappings.
    pub udp_flows: usize,
    /// ICMP query mappings.
    pub icmp_flows: usize,
    /// TCP flows, of those above, whose host leg is still connecting.
    pub half_open: usize,
    /// Host sockets.
    pub sockets: usize,
    /// Bytes of the rings of TCP flows.
    pub memory: usize,
}

/// A peer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PeerState<'a> {
    /// Its name.
    pub id: PeerId,
    /// Who it is.
    pub identity: &'a Arc<Identity>,
    /// The prefixes that it owns inside the tunnel.
    pub allowed_ips: &'a [IpNet],
    /// Where datagrams to it go: where it was last heard, or else where it is looked for.
    pub endpoint: Option<SocketAddr>,
    /// The host name and port of its endpoint, if it is given by name.
    pub endpoint_name: Option<(&'a str, u16)>,
    /// How often it is sent something so that nobody on the way forgets it.
    pub persistent_keepalive: Option<Duration>,
    /// Whether there is a session. One ends 180 seconds after its handshake unless another follows.
    pub is_up: bool,
    /// When the last handshake with it was complete.
    pub last_handshake: Option<Instant>,
    /// Bytes of WireGuard datagrams that are the peer's beyond doubt, and of those that were sent
    /// to it, as `wg show transfer` counts them: with handshakes, keepalives and what WireGuard
    /// adds to a packet (32 bytes and the padding), without UDP and IP headers.
    pub transfer: Transfer,
    /// What its TCP flows know of the path to it.
    pub path: PathState,
    /// What it has of each bound, of which it may have a
    /// [share](crate::Limits::per_peer).
    pub usage: Usage,
    /// The counters, of this peer alone since it was added. Datagrams that claim to be of its
    /// sessions and are not count here too, as drops. Datagrams received are counted here once they
    /// are known to be the peer's. What can't be told to be of any peer is in the counters of
    /// [all](crate::Engine::stats) alone, where those of removed peers stay.
    pub stats: &'a Stats,
}

/// What is known of the path to a peer, by what TCP flows have sent on it within the last minutes.
/// Nothing is as soon as the peer is found at another address.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct PathState {
    /// The smoothed round-trip time (RFC 6298) to the inner address that a flow spoke to last.
    pub round_trip: Option<Duration>,
    /// The lowest round-trip time to any inner address of the peer.
    pub lowest_round_trip: Option<Duration>,
    /// Bytes a second that a flow has reached.
    pub rate: Option<u64>,
    /// How many of a thousand bytes were lost.
    pub loss_permille: Option<u16>,
    /// Bytes of the largest IP packet that arrives, if larger ones were found to vanish without a
    /// word: a router on the way or the tunnel's MTU wants mending. It is tried again every ten
    /// minutes.
    pub packet_max: Option<u16>,
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

words! {
    /// How far a flow is.
    #[non_exhaustive]
    FlowStatus {
        /// TCP: the embedder has been asked for a host leg.
        Connecting => "connecting",
        /// TCP: the handshake in the tunnel is under way.
        Handshake => "handshake",
        /// TCP: both ends send.
        Established => "established",
        /// TCP: the host has ended its direction, the peer still sends.
        HostEnded => "host-ended",
        /// TCP: the peer has ended its direction, the host still sends.
        PeerEnded => "peer-ended",
        /// TCP: both ends have ended, and something is still to be delivered or acknowledged.
        Closing => "closing",
        /// TCP: the peer has reset it, and the host has not read all that came before.
        PeerReset => "peer-reset",
        /// UDP and ICMP: datagrams pass until none has for a while.
        Active => "active",
    }
}
