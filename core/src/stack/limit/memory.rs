//! Bytes that peers make resident in connections: counted, bounded, and shed where they stand
//! longest.
//!
//! What counts are the pages of rings that were touched (`tcp::ring`). A peer may
//! have its share of what the others leave, so that something is left for one more, however many
//! are greedy. At that bound
//!
//! - a segment whose data would touch more is dropped, as if it had been lost;
//! - the embedder finds send rings full;
//! - rings that hold nothing are to be given back at once.
//!
//! Since that alone could last as long as somebody does not read, the peer that holds most loses
//! the connection that holds most, one in each interval, until there is room again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::{FlowId, PeerId};
use crate::limits::{PAGE_LEN, Share, TCP_RINGS_IDLE};
use crate::stack::limit::shares::Holdings;
use crate::time::Instant;

/// How long somebody may be held up before a connection is ended.
const SHED_INTERVAL: Duration = Duration::from_secs(3);

const _: () = assert!(
    SHED_INTERVAL.as_millis() > TCP_RINGS_IDLE.as_millis(),
    "what nobody needs is given back before"
);

/// The account of all connections.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: usize,
    share: Share,
    holdings: Holdings,
    /// Peers that found too little room, and those of their flows that wait for it.
    held_up: BTreeMap<PeerId, BTreeSet<FlowId>>,
    held_up_since: Option<Instant>,
}

/// What the connections of a peer may do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Allowance {
    /// Bytes that one of them may add.
    pub(crate) room: usize,
    /// How long rings hold nothing before they are to be given back.
    pub(crate) rest: Duration,
}

impl Memory {
    pub(crate) fn new(limit: usize, share: Share) -> Self {
        Self {
            limit,
            share,
            holdings: Holdings::default(),
            held_up: BTreeMap::new(),
            held_up_since: None,
        }
    }

    /// Bytes that all hold.
    pub(crate) const fn held(&self) -> usize {
        self.holdings.total()
    }

    /// Bytes that one peer holds.
    pub(crate) fn held_by(&self, peer: PeerId) -> usize {
        self.holdings.of(peer)
    }

    /// What a peer may have beside what the others have.
    fn bound(&self, peer: PeerId) -> usize {
        let others = self.holdings.total() - self.holdings.of(peer);
        self.share.of(self.limit.saturating_sub(others))
    }

    /// Bytes that a peer may add.
    pub(crate) fn room(&self, peer: PeerId) -> usize {
        let own = self.bound(peer).saturating_sub(self.holdings.of(peer));
        own.min(self.limit.saturating_sub(self.holdings.total()))
    }

    /// What a connection of a peer may do.
    pub(crate) fn allowance(&self, peer: PeerId) -> Allowance {
        let room = self.room(peer);
        let is_short = room < self.bound(peer) / 4;
        Allowance { room, rest: if is_short { Duration::ZERO } else { TCP_RINGS_IDLE } }
    }

    /// A flow of a peer that held `before` bytes holds `after` now.
    pub(crate) fn account(&mut self, peer: PeerId, before: usize, after: usize) {
        if before == after {
            return;
        }
        self.holdings.add(peer, after);
        self.holdings.take(peer, before);
    }

    /// A peer found too little room.
    pub(crate) fn handle_held_up(&mut self, peer: PeerId, now: Instant) {
        self.held_up.entry(peer).or_default();
        self.held_up_since.get_or_insert(now);
    }

    /// The embedder of a peer's flow waits for room.
    pub(crate) fn handle_starved(&mut self, peer: PeerId, flow: FlowId, now: Instant) {
        self.held_up.entry(peer).or_default().insert(flow);
        self.held_up_since.get_or_insert(now);
    }

    /// A flow that may have waited for room is over.
    pub(crate) fn forget(&mut self, peer: PeerId, flow: FlowId) {
        if let Some(starved) = self.held_up.get_mut(&peer) {
            starved.remove(&flow);
        }
    }

    /// The flows to be told that there is room again: those of peers with some to spare, and no
    /// less than a ring can grow by.
    pub(crate) fn take_relieved(&mut self) -> Vec<FlowId> {
        if self.held_up.is_empty() {
            return Vec::new();
        }
        let has_room = |peer: &PeerId| {
            let room = self.room(*peer);
            room >= PAGE_LEN && room > self.bound(*peer) / 8
        };
        let peers: Vec<_> = self.held_up.keys().copied().filter(has_room).collect();
        let relieved = peers.iter().filter_map(|peer| self.held_up.remove(peer)).flatten();
        let relieved = relieved.collect();
        if self.held_up.is_empty() {
            self.held_up_since = None;
        }
        relieved
    }

    /// When a connection has to be ended unless there is room before.
    pub(crate) fn shed_at(&self) -> Option<Instant> {
        Some(self.held_up_since? + SHED_INTERVAL)
    }

    /// The peer that has to lose a connection now, if one has to; the next one has its time too.
    pub(crate) fn take_shed(&mut self, now: Instant) -> Option<PeerId> {
        self.shed_at().filter(|at| *at <= now)?;
        self.held_up_since = Some(now);
        self.holdings.most().map(|(peer, _)| peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Share = Share::percent(50).unwrap();

    #[test]
    fn something_is_left_for_one_more_however_many_are_greedy() {
        for greedy in 0..20 {
            let mut memory = Memory::new(100_000, HALF);
            for round in 0..100 * greedy {
                let peer = PeerId::first(round % greedy);
                let more = memory.room(peer).min(1_000);
                memory.account(peer, 0, more);
            }
            let room = memory.room(PeerId::first(99));
            assert!(room >= 40_000 / (greedy as usize + 1), "{greedy}: {room}");
        }
    }

    #[test]
    fn rings_rest_unless_memory_is_short() {
        let (peer, mut memory) = (PeerId::first(0), Memory::new(100_000, HALF));
        memory.account(peer, 0, 30_000);
        assert_eq!(memory.allowance(peer), Allowance { room: 20_000, rest: TCP_RINGS_IDLE });
        memory.account(peer, 30_000, 40_000);
        assert_eq!(memory.allowance(peer), Allowance { room: 10_000, rest: Duration::ZERO });
        memory.account(peer, 40_000, 60_000);
        assert_eq!(memory.allowance(peer).room, 0);
    }

    #[test]
    fn whoever_waited_is_told_of_room_and_nobody_is_ended_then() {
        let flow = FlowId { slot: 3, generation: 1 };
        let (peer, mut memory) = (PeerId::first(0), Memory::new(100_000, HALF));
        let (start, late) = (Instant::ZERO, Instant::ZERO + SHED_INTERVAL);
        memory.account(peer, 0, 50_000);
        memory.handle_starved(peer, flow, start);
        assert_eq!((memory.take_relieved(), memory.take_shed(start)), (Vec::new(), None));
        assert_eq!(memory.take_shed(late), Some(peer));
        assert_eq!(memory.take_shed(late), None, "one in each interval");
        memory.account(peer, 50_000, 40_000);
        assert_eq!((memory.take_relieved(), memory.shed_at()), (vec![flow], None));
    }

    #[test]
    fn room_that_no_ring_can_use_ends_nobodys_wait() {
        let flow = FlowId { slot: 3, generation: 1 };
        let (peer, mut memory) = (PeerId::first(0), Memory::new(40_000, HALF));
        memory.handle_starved(peer, flow, Instant::ZERO);
        memory.account(peer, 0, 20_000 - PAGE_LEN + 1);
        assert_eq!(memory.take_relieved(), []);
        assert!(memory.shed_at().is_some());
        memory.account(peer, 1, 0);
        assert_eq!(memory.take_relieved(), [flow]);
    }
}
