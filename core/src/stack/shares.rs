//! What each peer holds of something that is bounded, and who gives way at the bound: the peer that
//! holds most. So peers that have taken all there is lock nobody out, however many they are.

use crate::action::PeerId;

/// What peers hold of one thing.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    /// By the slot of the peer.
    by_peer: Vec<Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    peer: PeerId,
    amount: usize,
}

impl Holdings {
    /// A peer holds that much more.
    pub(crate) fn add(&mut self, peer: PeerId, amount: usize) {
        let next = self.by_peer.len();
        if next <= peer.slot() {
            let nobody = PeerId { slot: 0, generation: 0 };
            self.by_peer.resize(peer.slot() + 1, Held { peer: nobody, amount: 0 });
        }
        let held = &mut self.by_peer[peer.slot()];
        held.peer = peer;
        held.amount += amount;
    }

    /// A peer holds that much less.
    pub(crate) fn take(&mut self, peer: PeerId, amount: usize) {
        if let Some(held) = self.by_peer.get_mut(peer.slot()) {
            held.amount -= amount;
        }
    }

    /// The peer that holds most, and how much. It looks at every peer, which is nothing to do unless
    /// a bound is reached.
    pub(crate) fn most(&self) -> Option<(PeerId, usize)> {
        let most = self.by_peer.iter().max_by_key(|held| held.amount)?;
        (most.amount > 0).then_some((most.peer, most.amount))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_nobodys() {
        let mut holdings = Holdings::default();
        for (slot, amount) in [(0, 3), (1, 4)] {
            holdings.add(PeerId::first(slot), amount);
        }
        holdings.take(PeerId::first(1), 4);
        assert_eq!(holdings.most(), Some((PeerId::first(0), 3)));
        holdings.take(PeerId::first(0), 3);
        assert_eq!(holdings.most(), None);
    }
}
