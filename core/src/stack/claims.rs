//! Which mapping of a peer goes first when there is room for no more: the one nearest to its end.
//!
//! Deadlines move with each datagram; here they are corrected only when somebody asks.

use std::collections::BTreeSet;

use crate::action::{PeerId, Protocol};
use crate::time::Instant;

/// Corrections made for one question. What is left is corrected with the next.
const CORRECTIONS_MAX: usize = 64;

type Claim = (PeerId, Protocol, Instant, usize);

/// The mappings of all peers, by owner and deadline.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    queue: BTreeSet<Claim>,
    /// What is in the queue, by slot.
    by_slot: Vec<Option<Claim>>,
}

impl Claims {
    pub(crate) fn insert(&mut self, peer: PeerId, protocol: Protocol, at: Instant, slot: usize) {
        self.remove(slot);
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, None);
        }
        let claim = (peer, protocol, at, slot);
        self.by_slot[slot] = Some(claim);
        self.queue.insert(claim);
    }

    pub(crate) fn remove(&mut self, slot: usize) {
        if let Some(claim) = self.by_slot.get_mut(slot).and_then(Option::take) {
            self.queue.remove(&claim);
        }
    }

    /// Forgets slots from this one on; none of them has a claim.
    pub(crate) fn shrink(&mut self, slots: usize) {
        self.by_slot.truncate(slots);
        self.by_slot.shrink_to_fit();
    }

    /// The slot of a peer's mapping that is nearest to its end; `deadline` knows the true one.
    pub(crate) fn nearest(
        &mut self,
        peer: PeerId,
        protocol: Protocol,
        deadline: impl Fn(usize) -> Option<Instant>,
    ) -> Option<usize> {
        let mut nearest = None;
        for _ in 0..CORRECTIONS_MAX {
            let first = (peer, protocol, Instant::ZERO, 0);
            let (owner, kind, at, slot) = self.queue.range(first..).next().copied()?;
            if (owner, kind) != (peer, protocol) {
                break;
            }
            nearest = Some(slot);
            match deadline(slot) {
                Some(later) if later > at => self.insert(peer, protocol, later, slot),
                Some(_) | None => break,
            }
        }
        nearest
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
    fn a_peers_own_mapping_is_found_whatever_others_have() {
        let mut claims = Claims::default();
        for slot in 0..500 {
            claims.insert(ALICE, Protocol::Udp, at(1), slot);
        }
        claims.insert(BOB, Protocol::Icmp, at(1), 500);
        claims.insert(BOB, Protocol::Udp, at(90), 501);
        claims.insert(BOB, Protocol::Udp, at(50), 502);
        let same = |_| None;
        assert_eq!(claims.nearest(BOB, Protocol::Udp, same), Some(502));
        claims.remove(502);
        assert_eq!(claims.nearest(BOB, Protocol::Udp, same), Some(501));
        claims.remove(501);
        assert_eq!(claims.nearest(BOB, Protocol::Udp, same), None);
    }

    #[test]
    fn deadlines_that_moved_are_corrected() {
        let mut claims = Claims::default();
        for slot in 0..10 {
            claims.insert(ALICE, Protocol::Udp, at(10 + slot as u64), slot);
        }
        let moved = |slot| Some(at(if slot == 7 { 17 } else { 100 }));
        assert_eq!(claims.nearest(ALICE, Protocol::Udp, moved), Some(7));
    }
}
