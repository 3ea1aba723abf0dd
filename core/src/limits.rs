//! Bounds, and the relations that must hold between them.
//!
//! What several files feel, or a user sets, stands here. A bound that one file alone can feel
//! stands at the head of that file, below `core/src`:
//!
//! | file | bound | of what |
//! |---|---|---|
//! | `stack/coalescer.rs` | `COALESCED_LEN_MAX` | bytes of segments that are put together |
//! | `stack/clients.rs` | `PORT_TRIES_MAX` | ports that are tried for a flow into the tunnel |
//! | `stack/limit/eviction.rs` | `CORRECTIONS_MAX` | flows that are looked at for who gives way |
//! | `stack/overlay/conversations.rs` | `CONVERSATIONS_MAX` | flows between peers to remember |
//! | `stack/packet/mod.rs` | `EXTENSION_HEADERS_MAX` | headers of IPv6 that are read |
//! | `stack/table.rs` | `SLOTS_KEPT` | empty slots of flows |
//! | `stack/tcp/connection/handshake.rs` | `TIMEOUT_MAX` | how long a repeated SYN waits |
//! | `stack/tcp/options.rs` | `BLOCKS_MAX`, `WINDOW_SHIFT_MAX` | of one segment |
//! | `stack/tcp/receiver/acknowledging.rs` | `ACK_DELAY_MAX` | how long an acknowledgement waits |
//! | `stack/tcp/receiver/window.rs` | `FLAT_MAX`, `TARGET_MAX` | steady intervals, bytes |
//! | `stack/tcp/sender/congestion/bbr/controls.rs` | `QUANTUM_MAX` | bytes that leave at once |
//! | `stack/tcp/sender/congestion/bbr/cycle.rs` | `ROUNDS_MAX`, `GROWTH_ROUNDS_MAX` | rounds |
//! | `stack/tcp/sender/congestion/bbr/loss.rs` | `OWN_MAX` | what a path may lose by itself |
//! | `stack/tcp/sender/congestion/bbr/startup.rs` | `DRAIN_ROUNDS_MAX` | rounds to drain in |
//! | `stack/tcp/sender/loss/rtt.rs` | `TIMEOUT_MAX` | how long to wait for an acknowledgement |
//! | `stack/tcp/sender/persist.rs` | `PERSIST_PAUSE_MAX` | the pause between two questions |
//! | `tape/frame.rs` | `BODY_LEN_MAX` | bytes of a frame that are believed |
//! | `tape/members.rs` | `SLOTS_MAX` | slots of peers on a tape |
//! | `tunnel/endpoint.rs` | `RETRY_MAX` | the pause between questions for a name |
//! | `tunnel/peer/noise.rs` | `SESSIONS_KEPT` | sessions that boringtun has of a peer |
//! | `tunnel/supervisor.rs` | `JITTER_MAX_MS`, `PAUSE_MAX` | the pauses between handshakes |

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The smallest tunnel MTU: what every IPv4 host must take (RFC 1122, section 3.3.3).
pub const MTU_MIN: u16 = 576;
/// The MTU below which a link carries no IPv6 (RFC 8200, section 5).
pub const MTU_IPV6_MIN: u16 = 1280;
/// The MTU of a tunnel that nobody set: what fits into 1,500 bytes with WireGuard's headers over
/// IPv6.
pub const MTU_DEFAULT: u16 = 1420;
/// The largest tunnel MTU: a datagram of 65,507 bytes less WireGuard's 32, rounded down.
pub const MTU_MAX: u16 = 65_456;
/// The smallest ring of a TCP flow, in bytes.
pub const BUFFER_MIN: usize = 4 << 10;
/// The largest ring of a TCP flow, in bytes.
pub const BUFFER_MAX: usize = 1 << 30;
/// The least [`Limits::memory`], in bytes.
pub const MEMORY_MIN: usize = 1 << 20;
/// The most rules that a list may have.
pub const RULES_MAX: usize = 65_536;

/// Bytes of a page. Where the system has larger ones, one byte takes more than is counted.
pub(crate) const PAGE_LEN: usize = 4096;

/// The largest IP packet: that of IPv6, whose length leaves its header out.
pub(crate) const PACKET_LEN_MAX: usize = 40 + 65_535;
/// What WireGuard adds to a packet: header and tag.
pub(crate) const DATA_OVERHEAD: usize = 32;
/// WireGuard pads packets to a multiple of this, so that their lengths say less.
pub(crate) const PADDING_MULTIPLE: usize = 16;
/// What the tunnel may add to a packet in place.
pub(crate) const PADDING_MAX: usize = PADDING_MULTIPLE - 1;
/// What one packet needs around it: the largest one, and WireGuard's header and tag.
pub(crate) const SCRATCH_LEN: usize = PACKET_LEN_MAX + DATA_OVERHEAD;
/// The largest datagram that UDP over IPv4 carries.
pub(crate) const DATAGRAM_LEN_MAX: usize = 65_507;

/// Segments in one train: the most that Linux takes in one UDP GSO send.
pub(crate) const TRAIN_SEGMENTS_MAX: usize = 64;
/// Bytes in one train: it is one IP datagram until the kernel cuts it (65,535 less the headers).
pub(crate) const TRAIN_LEN_MAX: usize = 65_487;
/// Trains that may wait for the embedder, [`TRAINS_RESERVED`] among them.
pub(crate) const TRAINS_MAX: usize = 32;
/// Trains that only handshakes and keepalives may begin: data stops before.
pub(crate) const TRAINS_RESERVED: usize = 4;
/// The newest trains, which may still grow: so many destinations form trains side by side.
pub(crate) const TRAINS_OPEN_MAX: usize = 8;
/// Buffers of trains kept when nothing is sent.
pub(crate) const TRAINS_IDLE: usize = 2;

/// Packets to a peer that wait for its handshake.
pub(crate) const QUEUED_PACKETS_MAX: usize = 64;
/// Bytes of packets that wait for handshakes, of all peers, but for one packet to each. Those to
/// one peer may be half of what others leave.
pub(crate) const QUEUED_LEN_MAX: usize = 4 << 20;
/// Addresses of one endpoint that are tried in turn.
pub(crate) const ENDPOINT_ADDRESSES_MAX: usize = 8;

/// Datagrams from peers that may wait for the embedder, in bytes. A peer that is alone has half.
pub(crate) const DATAGRAMS_LEN_MAX: usize = 2 << 20;

/// Segments that one TCP flow may send before the next has its turn.
pub(crate) const SEGMENTS_PER_TURN: usize = 64;
/// Bytes of a TCP flow that may be in flight on any path: they fit into the default receive buffer
/// of a UDP socket on Linux (212,992 bytes, of which a datagram of 1,452 takes 2,304).
pub(crate) const FLIGHT_MIN: usize = 96 << 10;
/// Bytes that may be in flight beyond twice what the path holds: acknowledgements come in clumps.
pub(crate) const FLIGHT_SPARE: usize = 32 << 10;
/// Bytes that may be in flight beyond what a long path holds, unless an eighth of that is more:
/// queues on the way take so much at once, and no more is needed to find out what the path holds.
pub(crate) const FLIGHT_STEP: usize = 256 << 10;
/// What a TCP flow may let wait on a fast path, as long as that loses nothing: enough that neither
/// end waits for the other, and that each takes many segments at once.
pub(crate) const FLIGHT_QUEUE: Duration = Duration::from_millis(1);
/// The most bytes that come of [`FLIGHT_QUEUE`].
pub(crate) const FLIGHT_QUEUE_MAX: usize = 1 << 20;
/// Ranges that a TCP flow keeps behind gaps, 16 bytes each, however long its ring is.
pub(crate) const GAPS_MAX: usize = 16_384;
/// Segments of a TCP flow that may be out: 190 MB of full ones. Each takes 72 bytes.
pub(crate) const SENT_SEGMENTS_MAX: usize = 1 << 17;
/// The shortest rest of a TCP flow that has nothing to send.
pub(crate) const TCP_REST_MIN: Duration = Duration::from_millis(1);
/// How long the rings of a TCP flow hold nothing before whoever wants their pages may have them.
pub(crate) const TCP_RINGS_IDLE: Duration = Duration::from_secs(2);
/// How long a TCP flow into the tunnel may take to be established: long enough for a tunnel that
/// has to come up first.
pub(crate) const TCP_TUNNEL_CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long sent bytes may stay unacknowledged (RFC 9293, section 3.8.3, asks for 100 s at least).
pub(crate) const TCP_STALL_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How long what is known of a path is believed without news of it (RFC 7661, section 4.4.1, lets a
/// sender keep an unused window for five minutes).
pub(crate) const PATH_LASTS: Duration = Duration::from_secs(300);
/// For how long a flight that arrived lets the next one be twice as large.
pub(crate) const PATH_PROVED_LATELY: Duration = Duration::from_secs(60);
/// Inner addresses of one peer of which something is known.
pub(crate) const PATH_HOSTS_MAX: usize = 16;
/// A round trip that is longer than half as much again as the lowest one, and by this in any case,
/// has waited in a queue. Wi-Fi alone delays by less.
pub(crate) const PATH_QUEUE_MIN: Duration = Duration::from_millis(4);
/// How long packets are kept small after larger ones vanished, before those are tried again
/// (RFC 8899's PMTU_RAISE_TIMER).
pub(crate) const PATH_SIZE_SEARCH: Duration = Duration::from_secs(600);
/// The same while the sizes in between were not tried yet.
pub(crate) const PATH_SIZE_SEARCH_FIRST: Duration = Duration::from_secs(5);
/// How long a size is believed of which nobody has found out anything since.
pub(crate) const PATH_SIZE_LASTS: Duration = Duration::from_secs(3_600);
/// How long a packet that arrived says that the tunnel takes its size.
pub(crate) const PATH_SIZE_PROVED: Duration = Duration::from_secs(60);
/// How long an ended connection is remembered.
pub(crate) const TIME_WAIT: Duration = Duration::from_secs(30);
/// Ended connections that are remembered.
pub(crate) const TIME_WAITS_MAX: usize = 8_192;
/// Targets of local clients of which is remembered which port is next.
pub(crate) const PORT_POOLS_MAX: usize = 16_384;
/// Hosts that a mapping remembers having sent to, half of which are sure to be the latest.
pub(crate) const CONTACTS_MAX: usize = 8_192;
/// The latest of them that it remembers whatever others do.
pub(crate) const CONTACTS_MIN: usize = 64;
/// What all mappings remember, of which each peer has a share, before they remember just that.
pub(crate) const CONTACTS_TOTAL_MAX: usize = 1 << 18;
/// How long the fragments of a packet wait for each other (RFC 8200 allows 60 s, Linux 30 s).
pub(crate) const FRAGMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Fragments of one packet: the largest packet in the smallest pieces that somebody sends.
pub(crate) const FRAGMENT_PIECES_MAX: usize = 256;
/// Packets that wait for fragments: of one peer, and of all.
pub(crate) const FRAGMENTED_PEER_MAX: usize = 32;
/// See [`FRAGMENTED_PEER_MAX`].
pub(crate) const FRAGMENTED_MAX: usize = 256;
/// Bytes of those: of one peer, and of all.
pub(crate) const FRAGMENTED_LEN_PEER_MAX: usize = 1 << 20;
/// See [`FRAGMENTED_LEN_PEER_MAX`].
pub(crate) const FRAGMENTED_LEN_MAX: usize = 4 << 20;
/// ICMP errors to one peer: a burst, and a rate for each second.
pub(crate) const ICMP_ERRORS_BURST: u32 = 100;
/// See [`ICMP_ERRORS_BURST`].
pub(crate) const ICMP_ERRORS_RATE: u32 = 500;

/// Handshake messages a second of either kind that come to nothing before this end is under load: a
/// burst, and as many each second. Each costs one Diffie-Hellman, or two if it names a peer (50 to
/// 100 us each), so that all that outsiders without a cookie can take is a twentieth to a tenth of
/// a processor. What comes of peers does not count: it is bounded by [`PEER_INITIATIONS_RATE`].
pub(crate) const HANDSHAKES_WASTED_RATE: u32 = 500;
/// The same, under load, from all sources that have proved their address with a cookie.
pub(crate) const HANDSHAKES_WASTED_PROVEN_RATE: u32 = 1_000;
/// The share of one source in either: a burst, and a rate for each second.
pub(crate) const HANDSHAKES_WASTED_SOURCE_BURST: u32 = 5;
/// See [`HANDSHAKES_WASTED_SOURCE_BURST`].
pub(crate) const HANDSHAKES_WASTED_SOURCE_RATE: u32 = 20;
/// How long this end is under load at least, and after the last message that it did not handle.
pub(crate) const HANDSHAKE_LOAD_LASTS: Duration = Duration::from_secs(1);
/// Source addresses whose wasted handshake messages are counted at the same time.
pub(crate) const HANDSHAKE_SOURCES_MAX: usize = 1024;
/// Initiations of one peer that are answered, at about five Diffie-Hellmans each: a burst and a
/// rate for each second. A peer that means well sends one each 5 s.
pub(crate) const PEER_INITIATIONS_BURST: u32 = 5;
/// See [`PEER_INITIATIONS_BURST`].
pub(crate) const PEER_INITIATIONS_RATE: u32 = 4;

const _: () =
    assert!(MTU_MIN <= MTU_IPV6_MIN && MTU_IPV6_MIN <= MTU_DEFAULT && MTU_DEFAULT <= MTU_MAX);
const _: () = assert!(MTU_MAX as usize + DATA_OVERHEAD <= DATAGRAM_LEN_MAX);
const _: () = assert!((MTU_MAX as usize).is_multiple_of(PADDING_MULTIPLE), "it leaves room to pad");
const _: () = assert!(BUFFER_MIN <= BUFFER_MAX && BUFFER_MIN <= MEMORY_MIN);
const _: () = assert!(PACKET_LEN_MAX + PADDING_MAX < SCRATCH_LEN, "the tunnel pads in place");
const _: () = assert!(FLIGHT_SPARE <= FLIGHT_MIN && FLIGHT_MIN <= FLIGHT_STEP);
const _: () = assert!(FLIGHT_STEP <= FLIGHT_QUEUE_MAX);
const _: () = assert!(DATAGRAM_LEN_MAX < DATAGRAMS_LEN_MAX / 2, "a peer that is alone has half");
const _: () = assert!(PACKET_LEN_MAX < QUEUED_LEN_MAX && PACKET_LEN_MAX < FRAGMENTED_LEN_PEER_MAX);
const _: () = assert!(HANDSHAKES_WASTED_SOURCE_RATE <= HANDSHAKES_WASTED_RATE);
const _: () = assert!(HANDSHAKES_WASTED_RATE <= HANDSHAKES_WASTED_PROVEN_RATE);
const _: () = assert!(CONTACTS_MIN < CONTACTS_MAX / 2 && CONTACTS_MAX < CONTACTS_TOTAL_MAX);
const _: () = assert!(FRAGMENTED_PEER_MAX < FRAGMENTED_MAX);
const _: () = assert!(FRAGMENTED_LEN_PEER_MAX < FRAGMENTED_LEN_MAX);
const _: () = assert!(PATH_PROVED_LATELY.as_secs() < PATH_LASTS.as_secs());
const _: () = assert!(PATH_SIZE_SEARCH.as_secs() < PATH_SIZE_LASTS.as_secs());
const _: () = assert!(TRAIN_LEN_MAX < SCRATCH_LEN);
const _: () = assert!(TRAIN_LEN_MAX <= DATAGRAM_LEN_MAX && DATAGRAM_LEN_MAX < SCRATCH_LEN);
const _: () = assert!(TRAINS_MAX >= TRAINS_RESERVED + 2, "one train fills while another drains");
const _: () = assert!(TRAINS_IDLE <= TRAINS_OPEN_MAX && TRAINS_OPEN_MAX <= TRAINS_MAX);

/// A share of a limit, in percent: 1 to 100.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "u8")]
pub struct Share(u8);

impl TryFrom<u8> for Share {
    type Error = ShareOutOfRange;

    fn try_from(percent: u8) -> Result<Self, ShareOutOfRange> {
        Self::percent(percent).ok_or(ShareOutOfRange { percent })
    }
}

/// A percentage that is no [`Share`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShareOutOfRange {
    /// The percentage.
    pub percent: u8,
}

impl fmt::Display for ShareOutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a share is 1 to 100 percent, not {}", self.percent)
    }
}

impl std::error::Error for ShareOutOfRange {}

impl Share {
    pub(crate) const HALF: Self = Self(50);

    /// Takes a percentage; `None` outside 1 to 100.
    pub const fn percent(percent: u8) -> Option<Self> {
        if percent >= 1 && percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// This share of `limit`, at least one.
    pub const fn of(self, limit: usize) -> usize {
        let share = limit / 100 * self.0 as usize + limit % 100 * self.0 as usize / 100;
        if share == 0 { 1 } else { share }
    }
}

/// Bounds that a configuration sets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Limits {
    /// TCP flows at once, whatever their state.
    pub tcp_flows: usize,
    /// UDP mappings at once.
    pub udp_flows: usize,
    /// ICMP query mappings at once.
    pub icmp_flows: usize,
    /// TCP flows whose host leg is still connecting.
    pub half_open: usize,
    /// Host sockets at once, which every flow has but those of a UDP forward's clients. The
    /// embedder knows how many descriptors there are
    /// ([`Engine::limit_sockets`](crate::Engine::limit_sockets)).
    pub sockets: usize,
    /// What one peer may have of each of the above, and of what others leave of `memory`.
    pub per_peer: Share,
    /// Bytes for what waits in TCP flows: the pages of rings that were touched and not
    /// [given back](crate::Flow::lend_idle_rings) yet. An eighth, and at most 4 MiB, is for
    /// fragments.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tcp_flows: 16_384,
            udp_flows: 16_384,
            icmp_flows: 1_024,
            half_open: 8_192,
            sockets: usize::MAX,
            per_peer: Share(50),
            memory: 1 << 30,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_nothing() {
        assert_eq!(Share::percent(1).unwrap().of(3), 1);
        assert_eq!(Share::percent(50).unwrap().of(16_384), 8_192);
        assert_eq!(Share::percent(100).unwrap().of(7), 7);
        assert_eq!(Share::percent(99).unwrap().of(usize::MAX), usize::MAX / 100 * 99 + 14);
        assert!(Share::percent(0).is_none() && Share::percent(101).is_none());
    }

    #[test]
    fn no_share_outside_its_range_is_read() {
        let read = postcard::from_bytes::<Share>;
        assert_eq!(read(&[100]), Ok(Share(100)));
        assert!(read(&[0]).is_err() && read(&[101]).is_err());
        assert_eq!(postcard::to_allocvec(&Share(7)).unwrap(), [7]);
    }
}
