//! The chains of those in flight, in the order in which they left, and of those that are lost.

use crate::stack::tcp::sender::loss::scoreboard::Scoreboard;
use crate::stack::tcp::sender::loss::scoreboard::entry::{
    NONE, SegmentId, SegmentState, SentSegment,
};

/// The ends of a chain of entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    pub(super) first: SegmentId,
    pub(super) last: SegmentId,
}

impl Chain {
    pub(super) const EMPTY: Self = Self { first: NONE, last: NONE };
}

impl Scoreboard {
    fn chain(&mut self, state: SegmentState) -> &mut Chain {
        if state == SegmentState::Lost { &mut self.lost } else { &mut self.in_flight }
    }

    /// Takes an entry that is in flight or lost out of its chain.
    pub(super) fn unlink(&mut self, index: usize) {
        let SentSegment { previous, next, state, .. } = self.entries[index];
        if previous == NONE {
            self.chain(state).first = next;
        } else {
            let previous = self.index(previous);
            self.entries[previous].next = next;
        }
        if next == NONE {
            self.chain(state).last = previous;
        } else {
            let next = self.index(next);
            self.entries[next].previous = previous;
        }
    }

    pub(super) fn link_in_flight(&mut self, index: usize) {
        self.entries[index].state = SegmentState::InFlight;
        self.link_last(index);
    }

    pub(super) fn link_last(&mut self, index: usize) {
        let id = self.id(index);
        let last = std::mem::replace(&mut self.chain(self.entries[index].state).last, id);
        (self.entries[index].previous, self.entries[index].next) = (last, NONE);
        if last == NONE {
            self.chain(self.entries[index].state).first = id;
        } else {
            let last = self.index(last);
            self.entries[last].next = id;
        }
    }

    pub(super) fn link_first_lost(&mut self, index: usize) {
        let (id, first) = (self.id(index), self.lost.first);
        (self.entries[index].previous, self.entries[index].next) = (NONE, first);
        self.lost.first = id;
        if first == NONE {
            self.lost.last = id;
        } else {
            let after = self.index(first);
            self.entries[after].previous = id;
        }
    }
}
