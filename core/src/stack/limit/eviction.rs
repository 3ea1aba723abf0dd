//! Which flow of a peer goes first when it has to give way: of each sort the one that has been idle
//! for longest, or is nearest to its end.
//!
//! Those times move with each packet; here they are corrected only when somebody asks.

use std::collections::BTreeSet;

use crate::id::PeerId;
use crate::time::Instant;

/// Flows that are looked at for one question, and whose times are corrected with it.
const CORRECTIONS_MAX: usize = 64;

/// What flows are told apart by where one has to go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Sort {
    /// A peer's connection that no host has answered yet.
    Connecting,
    /// A connection that has a host socket.
    Connected,
    /// A connection that the embedder answers itself.
    Served,
    /// A UDP mapping that has a host socket.
    Udp,
    /// A client of a UDP forward, which shares its socket.
    UdpClient,
    /// An ICMP mapping.
    Echo,
}

/// Owner, sort, time, place among those of the same time, slot.
type EvictionPlace = (PeerId, Sort, Instant, u64, usize);

/// The flows of all peers, by owner, sort and time.
#[derive(Debug, Default)]
pub(crate) struct EvictionOrder {
    queue: BTreeSet<EvictionPlace>,
    /// What is in the queue, by slot.
    by_slot: Vec<Option<EvictionPlace>>,
    /// How many were ever made: what comes with one batch of packets comes at the same time.
    made: u64,
}

impl EvictionOrder {
    /// Adds a slot, or moves it.
    pub(crate) fn insert(&mut self, peer: PeerId, sort: Sort, at: Instant, slot: usize) {
        self.remove(slot);
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, None);
        }
        self.made += 1;
        let place = (peer, sort, at, self.made, slot);
        self.by_slot[slot] = Some(place);
        self.queue.insert(place);
    }

    pub(crate) fn remove(&mut self, slot: usize) {
        if let Some(place) = self.by_slot.get_mut(slot).and_then(Option::take) {
            self.queue.remove(&place);
        }
    }

    /// Forgets slots from this one on; none of them has a place here.
    pub(crate) fn shrink(&mut self, slots: usize) {
        self.by_slot.truncate(slots);
        self.by_slot.shrink_to_fit();
    }

    /// The slot of a peer that has to go first of its sort, and its time; `time` knows the true
    /// one. Where the times of more flows have moved than are looked at, it is the first of those.
    pub(crate) fn first(
        &mut self,
        peer: PeerId,
        sort: Sort,
        time: impl Fn(usize) -> Option<Instant>,
    ) -> Option<(Instant, usize)> {
        let mut first: Option<(Instant, usize)> = None;
        for _ in 0..CORRECTIONS_MAX {
            let start = (peer, sort, Instant::ZERO, 0, 0);
            let Some(&(owner, kind, at, _, slot)) = self.queue.range(start..).next() else { break };
            if (owner, kind) != (peer, sort) || first.is_some_and(|(first, _)| first <= at) {
                break;
            }
            let Some(later) = time(slot).filter(|later| *later > at) else {
                return Some((at, slot));
            };
            self.insert(peer, sort, later, slot);
            if first.is_none_or(|(first, _)| later < first) {
                first = Some((later, slot));
            }
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: PeerId = PeerId::first(0);
    const BOB: PeerId = PeerId::first(1);

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn a_peers_own_flow_is_found_whatever_others_have() {
        let mut order = EvictionOrder::default();
        for slot in 0..500 {
            order.insert(ALICE, Sort::Udp, at(1), slot);
        }
        order.insert(BOB, Sort::Echo, at(1), 500);
        order.insert(BOB, Sort::Udp, at(90), 501);
        order.insert(BOB, Sort::Udp, at(50), 502);
        let mut first = |removed| {
            order.remove(removed);
            order.first(BOB, Sort::Udp, |_| None)
        };
        assert_eq!(first(600), Some((at(50), 502)));
        assert_eq!(first(502), Some((at(90), 501)));
        assert_eq!(first(501), None);
    }

    #[test]
    fn of_those_of_the_same_time_the_first_goes_first_whatever_its_slot() {
        let mut order = EvictionOrder::default();
        for slot in [3, 1, 2] {
            order.insert(ALICE, Sort::Connecting, at(1), slot);
        }
        let mut first = || {
            let slot = order.first(ALICE, Sort::Connecting, |_| None)?.1;
            order.remove(slot);
            Some(slot)
        };
        assert_eq!([first(), first(), first(), first()], [Some(3), Some(1), Some(2), None]);
    }

    #[test]
    fn times_that_moved_are_corrected() {
        let mut order = EvictionOrder::default();
        for slot in 0..10 {
            order.insert(ALICE, Sort::Udp, at(10 + slot as u64), slot);
        }
        let moved = |slot| Some(at(if slot == 7 { 17 } else { 100 }));
        assert_eq!(order.first(ALICE, Sort::Udp, moved), Some((at(17), 7)));
    }

    #[test]
    fn of_many_that_moved_the_first_that_was_looked_at_goes() {
        let mut order = EvictionOrder::default();
        for slot in 0..1_000 {
            order.insert(ALICE, Sort::Connected, at(slot as u64), slot);
        }
        let moved = |slot| Some(at(if slot == 9 { 5_000 } else { 9_000 }));
        assert_eq!(order.first(ALICE, Sort::Connected, moved), Some((at(5_000), 9)));
    }
}
