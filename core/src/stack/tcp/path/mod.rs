//! What is known of the paths to peers: what one connection learnt serves the next (RFC 9040).
//!
//! All flows of a peer travel through its tunnel, so that they have one path, or most of one in
//! common: what lies behind a peer may differ from host to host.
//!
//! ```text
//!   flow --- learn, retreat, handle_size ---> peer.rs   the tunnel's own: reordering, loss, size
//!   flow <-- hint, packet_max --------------- host.rs   of each inner address: round trip, rate,
//!                                                       what arrived at once
//!                                             size.rs   sizes that do not get through
//! ```
//!
//! Everything has its age and is forgotten after some minutes without news, and at once when the
//! peer is found elsewhere. It is bounded: an entry for each peer, some inner addresses for each.
//! What to do with what is known is the sender's; a peer that lies about it harms its own path.

mod host;
mod peer;
mod size;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use crate::id::PeerId;
use crate::limits::PATH_LASTS;
use crate::stack::tcp::path::peer::PeerPath;
use crate::state::PathState;
use crate::time::Instant;

pub(crate) use size::FoundSize;

/// Something that was found out at some time, and is believed for some minutes.
#[derive(Clone, Copy, Debug)]
struct Aged<T> {
    value: T,
    at: Instant,
}

impl<T: Copy> Aged<T> {
    const fn new(value: T, at: Instant) -> Self {
        Self { value, at }
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}

/// What is still believed of it.
fn fresh<T: Copy>(aged: Option<Aged<T>>, now: Instant) -> Option<T> {
    aged.filter(|aged| aged.age(now) < PATH_LASTS).map(|aged| aged.value)
}

/// What a new connection may begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hint {
    /// Round trips to the same inner address, as RFC 6298 has them; `None` if they are not known.
    pub(crate) smoothed: Option<Duration>,
    /// See `smoothed`.
    pub(crate) lowest: Option<Duration>,
    /// See `smoothed`.
    pub(crate) variation: Option<Duration>,
    /// Bytes a second that were reached.
    pub(crate) rate: Option<u64>,
    /// Bytes that may leave before anything is acknowledged. What exceeds the usual ten segments
    /// leaves paced, over one round trip.
    pub(crate) first_flight: u64,
    /// How much later than others segments arrive (RFC 8985's reordering window).
    pub(crate) reordering: Option<Duration>,
    /// Bytes of the largest IP packet that arrives, where larger ones vanish.
    pub(crate) packet_max: Option<u16>,
}

impl Hint {
    /// Whether the first round trip of a connection is like the known ones: if not it is another
    /// path, and nothing of this holds. RFC 9959 takes half to ten times the lowest for the same;
    /// twice the usual one is enough here, as it costs the flow no more than slow start does.
    pub(crate) fn resembles(&self, round_trip: Duration) -> bool {
        let (Some(lowest), Some(smoothed)) = (self.lowest, self.smoothed) else { return false };
        let spread = self.variation.unwrap_or_default() * 4;
        round_trip >= lowest / 2 && round_trip <= smoothed + spread.max(smoothed)
    }
}

/// What a connection has found out since it last told, about a round trip ago.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Learnt {
    /// Its round trips, as RFC 6298 has them.
    pub(crate) smoothed: Option<Duration>,
    /// The lowest of them.
    pub(crate) lowest: Option<Duration>,
    /// See `smoothed`.
    pub(crate) variation: Option<Duration>,
    /// The latest one.
    pub(crate) round_trip: Option<Duration>,
    /// The highest rate, in bytes a second, at which something was delivered.
    pub(crate) rate: Option<u64>,
    /// The path took no more than that, as far as congestion control can tell. A loss alone does
    /// not tell.
    pub(crate) is_full: bool,
    /// The most bytes that were in flight at once and have all arrived; 0 if none were.
    pub(crate) flight: u64,
    /// How much later than others segments have arrived.
    pub(crate) reordering: Option<Duration>,
    /// Bytes that have arrived.
    pub(crate) delivered: u64,
    /// Bytes that were lost.
    pub(crate) lost: u64,
    /// Bytes of the largest IP packet that has arrived; 0 if none has.
    pub(crate) packet_arrived: u16,
}

/// The paths to all peers.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    /// By the slot of the peer, of those that flows have spoken to.
    peers: Vec<Option<Box<PeerPath>>>,
}

impl Paths {
    fn get(&self, peer: PeerId) -> Option<&PeerPath> {
        let path = self.peers.get(peer.slot())?.as_deref();
        path.filter(|path| path.peer() == peer)
    }

    fn get_mut(&mut self, peer: PeerId) -> Option<&mut PeerPath> {
        let path = self.peers.get_mut(peer.slot())?.as_deref_mut();
        path.filter(|path| path.peer() == peer)
    }

    fn entry(&mut self, peer: PeerId) -> &mut PeerPath {
        if self.peers.len() <= peer.slot() {
            self.peers.resize_with(peer.slot() + 1, || None);
        }
        let seat = &mut self.peers[peer.slot()];
        if seat.as_ref().is_some_and(|path| path.peer() != peer) {
            *seat = None;
        }
        seat.get_or_insert_with(|| Box::new(PeerPath::new(peer)))
    }

    /// What a connection to `inner` behind a peer may begin with, if ten segments have `initial`
    /// bytes.
    pub(crate) fn hint(&self, peer: PeerId, inner: IpAddr, initial: u64, now: Instant) -> Hint {
        let nothing = PeerPath::new(peer);
        self.get(peer).unwrap_or(&nothing).hint(inner, initial, now)
    }

    /// Takes what a connection to `inner` has found out. It looks at the inner addresses that are
    /// known of the peer, which are few.
    pub(crate) fn learn(&mut self, peer: PeerId, inner: IpAddr, learnt: &Learnt, now: Instant) {
        self.entry(peer).learn(inner, learnt, now);
    }

    /// A [first flight](Hint::first_flight) of `flight` bytes has lost `lost` of them, or has met
    /// another round trip: the next one is smaller (RFC 9959's safe retreat).
    pub(crate) fn retreat(
        &mut self,
        peer: PeerId,
        inner: IpAddr,
        flight: u64,
        lost: u64,
        now: Instant,
    ) {
        self.entry(peer).retreat(inner, flight, lost, now);
    }

    /// A flow of a peer had `before` bytes in flight and has `after` now.
    pub(crate) fn account(&mut self, peer: PeerId, before: u64, after: u64) {
        if before != after {
            self.entry(peer).account(before, after);
        }
    }

    /// A connection to `inner` has found out which size fits. Says whether that is less than was
    /// known, so that others of the peer have to hear of it.
    pub(crate) fn handle_size(
        &mut self,
        peer: PeerId,
        inner: IpAddr,
        found: FoundSize,
        now: Instant,
    ) -> bool {
        self.entry(peer).handle_size(inner, found, now)
    }

    /// Bytes of the largest IP packet that gets to `inner` behind a peer, where larger ones vanish;
    /// `None` if that is not known of any.
    pub(crate) fn packet_max(&self, peer: PeerId, inner: IpAddr, now: Instant) -> Option<u16> {
        self.get(peer)?.packet_max(inner, now)
    }

    /// Whether a connection to `inner` is to find out if larger packets get through by now. Says so
    /// to one of all, once in ten minutes.
    pub(crate) fn take_search(&mut self, peer: PeerId, inner: IpAddr, now: Instant) -> bool {
        self.get_mut(peer).is_some_and(|path| path.take_search(inner, now))
    }

    /// The peer is found elsewhere: that is another path.
    pub(crate) fn forget(&mut self, peer: PeerId) {
        if let Some(path) = self.get_mut(peer) {
            path.forget();
        }
    }

    /// The peer goes.
    pub(crate) fn remove(&mut self, peer: PeerId) {
        if self.get(peer).is_some() {
            self.peers[peer.slot()] = None;
        }
    }

    /// What can be read of it.
    pub(crate) fn state(&self, peer: PeerId, now: Instant) -> PathState {
        self.get(peer).map_or_else(PathState::default, |path| path.state(now))
    }
}
