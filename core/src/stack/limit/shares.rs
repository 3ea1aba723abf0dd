//! What each peer holds of something that is bounded, and who gives way at the bound: the peer that
//! holds most. So peers that have taken all there is lock nobody out, however many they are.

use std::collections::BTreeSet;

use crate::id::PeerId;
use crate::limits::Share;

/// What peers hold of one thing.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    total: usize,
    /// By the slot of the peer.
    by_peer: Vec<PeerHolding>,
}

#[derive(Clone, Copy, Debug)]
struct PeerHolding {
    peer: PeerId,
    amount: usize,
}

impl Holdings {
    /// What all hold.
    pub(crate) const fn total(&self) -> usize {
        self.total
    }

    /// What one peer holds.
    pub(crate) fn of(&self, peer: PeerId) -> usize {
        self.by_peer.get(peer.slot()).map_or(0, |held| held.amount)
    }

    /// A peer holds that much more.
    pub(crate) fn add(&mut self, peer: PeerId, amount: usize) {
        let next = self.by_peer.len();
        if next <= peer.slot() {
            let nobody = PeerId { slot: 0, generation: 0 };
            self.by_peer.resize(peer.slot() + 1, PeerHolding { peer: nobody, amount: 0 });
        }
        let held = &mut self.by_peer[peer.slot()];
        held.peer = peer;
        held.amount += amount;
        self.total += amount;
    }

    /// A peer holds that much less.
    pub(crate) fn take(&mut self, peer: PeerId, amount: usize) {
        if let Some(held) = self.by_peer.get_mut(peer.slot()) {
            held.amount -= amount;
            self.total -= amount;
        }
    }

    /// The peer that holds most, and how much. It looks at every peer, which is nothing to do
    /// often: a [`Ranking`] need not.
    pub(crate) fn most(&self) -> Option<(PeerId, usize)> {
        let most = self.by_peer.iter().max_by_key(|held| held.amount)?;
        (most.amount > 0).then_some((most.peer, most.amount))
    }

    /// Whether a peer may hold one more of `limit` without anybody giving way.
    pub(crate) fn has_room(&self, peer: PeerId, limit: usize, share: Share) -> bool {
        self.total < limit && self.of(peer) < share.of(limit)
    }
}

/// What peers hold of one thing, in order, so that it takes no longer to find who holds most
/// however many there are. A change costs more than one of [`Holdings`] alone.
#[derive(Debug, Default)]
pub(crate) struct Ranking {
    holdings: Holdings,
    /// Amounts and the slots of the peers, of those that hold something.
    by_amount: BTreeSet<(usize, usize)>,
}

impl Ranking {
    /// What all hold.
    pub(crate) const fn total(&self) -> usize {
        self.holdings.total()
    }

    /// What one peer holds.
    pub(crate) fn of(&self, peer: PeerId) -> usize {
        self.holdings.of(peer)
    }

    /// A peer holds that much more.
    pub(crate) fn add(&mut self, peer: PeerId, amount: usize) {
        self.change(peer, |holdings| holdings.add(peer, amount));
    }

    /// A peer holds that much less.
    pub(crate) fn take(&mut self, peer: PeerId, amount: usize) {
        self.change(peer, |holdings| holdings.take(peer, amount));
    }

    fn change(&mut self, peer: PeerId, change: impl FnOnce(&mut Holdings)) {
        let before = self.of(peer);
        change(&mut self.holdings);
        let after = self.of(peer);
        if before == after {
            return;
        }
        self.by_amount.remove(&(before, peer.slot()));
        if after > 0 {
            self.by_amount.insert((after, peer.slot()));
        }
    }

    /// The peer that holds most, and how much.
    pub(crate) fn most(&self) -> Option<(PeerId, usize)> {
        let (amount, slot) = *self.by_amount.last()?;
        Some((self.holdings.by_peer.get(slot)?.peer, amount))
    }

    /// Who has to give something up before `newcomer` may hold one more of `limit`; `None` if there
    /// is room, once each of the `leaving` ones holds one less. It is another peer only if that one
    /// is not worse off than the newcomer afterwards, or two that hold the same would take from
    /// each other for ever.
    pub(crate) fn who_gives_way(
        &self,
        newcomer: PeerId,
        limit: usize,
        share: Share,
        leaving: impl Iterator<Item = PeerId>,
    ) -> Option<PeerId> {
        let (mut own, mut total) = (self.of(newcomer), self.total());
        for peer in leaving {
            own -= usize::from(peer == newcomer);
            total -= 1;
        }
        if own >= share.of(limit) {
            return Some(newcomer);
        }
        if total < limit {
            return None;
        }
        let is_fair = |most: usize| own == 0 || most > own + 1;
        let other = self.most().filter(|(_, most)| is_fair(*most));
        Some(other.map_or(newcomer, |(peer, _)| peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Share = Share::percent(50).unwrap();

    const fn peer(slot: u32) -> PeerId {
        PeerId::first(slot)
    }

    /// What peers hold, by slot.
    fn ranking(amounts: &[usize]) -> Ranking {
        let mut ranking = Ranking::default();
        for (slot, amount) in amounts.iter().enumerate() {
            ranking.add(peer(slot as u32), *amount);
        }
        ranking
    }

    #[test]
    fn at_the_bound_whoever_holds_most_gives_way() {
        let giver = |amounts: &[usize], newcomer| {
            ranking(amounts)
                .who_gives_way(peer(newcomer), 100, HALF, [].into_iter())
                .map(PeerId::slot)
        };
        assert_eq!(giver(&[49, 10], 0), None, "there is room");
        assert_eq!(giver(&[50, 10], 0), Some(0), "a share is used up");
        assert_eq!(giver(&[49, 50, 1], 2), Some(1));
        assert_eq!(giver(&[50, 50], 2), Some(1), "a third peer is not locked out");
        assert_eq!(giver(&[34, 33, 33], 1), Some(1), "nobody takes from equals");
        assert_eq!(giver(&[34, 34, 32], 2), Some(1));
    }

    #[test]
    fn a_peer_with_nothing_finds_room_whatever_others_have() {
        let ranking = ranking(&[1, 1]);
        let giver = ranking.who_gives_way(peer(2), 2, HALF, [].into_iter());
        assert_eq!(giver.map(PeerId::slot), Some(1));
    }

    #[test]
    fn what_is_about_to_be_given_up_counts_as_room() {
        let giver = |amounts: &[usize], leaving: &[u32]| {
            let leaving = leaving.iter().copied().map(peer);
            ranking(amounts).who_gives_way(peer(0), 100, HALF, leaving).map(PeerId::slot)
        };
        assert_eq!(giver(&[49, 51], &[1]), None, "whoever it is of");
        assert_eq!(giver(&[50, 50], &[1]), Some(0), "but that makes nobody's share larger");
        assert_eq!(giver(&[50, 50], &[0]), None);
    }

    #[test]
    fn what_is_given_back_is_nobodys() {
        let mut ranking = ranking(&[3, 4]);
        ranking.take(peer(1), 4);
        assert_eq!((ranking.total(), ranking.of(peer(1))), (3, 0));
        assert_eq!(ranking.most(), Some((peer(0), 3)));
        ranking.take(peer(0), 3);
        assert_eq!(ranking.most(), None);
    }

    #[test]
    fn who_holds_most_is_known_without_looking_at_all() {
        let mut ranking = Ranking::default();
        for step in 0..10_000_usize {
            let peer = peer((step * 7 % 13) as u32);
            if step % 3 == 0 {
                ranking.take(peer, ranking.of(peer) / 2);
            } else {
                ranking.add(peer, step * 31 % 17);
            }
            assert_eq!(ranking.most(), ranking.holdings.most());
        }
    }
}
