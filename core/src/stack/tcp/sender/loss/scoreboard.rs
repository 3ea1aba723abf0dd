//! What is out: each segment that was sent and is not acknowledged, in the order of positions.
//!
//! ```text
//!   start                                                            sent_to
//!     | in flight | SACKed | SACKed | lost | in flight (again) | in flight |
//! ```
//!
//! Each entry that is in flight is linked to the one that left before it and the one that left
//! after it, so that the oldest is found at once; lost ones are linked likewise. A SACKed one leads
//! to a later one before which all are SACKed: a block that is told again costs next to nothing.
//! Entries are never inserted between others, so that their numbers stay: a segment that is sent
//! again in pieces stays one entry, which is lost until its last piece has left.

mod chains;
mod entry;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;

use crate::limits::SENT_SEGMENTS_MAX;
use crate::stack::tcp::sender::delivery::Stamp;
use crate::time::Instant;
use chains::Chain;
use entry::{NONE, narrow};

pub(super) use entry::{SegmentId, SegmentState, SentSegment};

/// Entries whose memory stays when nothing is out, so that a dialogue allocates nothing.
const ENTRIES_IDLE: usize = 16;
/// All that is out.
#[derive(Debug)]
pub(super) struct Scoreboard {
    entries: VecDeque<SentSegment>,
    /// The number of the first entry.
    first: SegmentId,
    start: u64,
    sent_to: u64,
    /// In the order in which they left.
    in_flight: Chain,
    /// Roughly in the order of positions.
    lost: Chain,
    flight: u64,
    sacked: usize,
}

impl Scoreboard {
    pub(super) const fn new(start: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            start,
            sent_to: start,
            in_flight: Chain::EMPTY,
            lost: Chain::EMPTY,
            flight: 0,
            sacked: 0,
        }
    }

    /// Everything before this position is acknowledged (SND.UNA).
    pub(super) const fn start(&self) -> u64 {
        self.start
    }

    /// The position behind all that was sent (SND.NXT).
    pub(super) const fn sent_to(&self) -> u64 {
        self.sent_to
    }

    /// Bytes on the way: sent, neither acknowledged nor SACKed nor lost (RFC 6675's pipe).
    pub(super) const fn flight(&self) -> u64 {
        self.flight
    }

    /// Segments that are SACKed.
    pub(super) const fn sacked(&self) -> usize {
        self.sacked
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= SENT_SEGMENTS_MAX
    }

    pub(super) const fn has_lost(&self) -> bool {
        self.lost.first != NONE
    }

    pub(super) fn resident(&self) -> usize {
        self.entries.capacity() * size_of::<SentSegment>()
    }

    /// Nothing stays allocated if nothing is out.
    pub(super) fn give_back(&mut self) {
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }

    /// The entry that left first of those that are in flight.
    pub(super) fn oldest(&self) -> Option<SegmentId> {
        (self.in_flight.first != NONE).then_some(self.in_flight.first)
    }

    /// The first entry in the order of positions.
    pub(super) fn front(&self) -> Option<SegmentId> {
        (!self.entries.is_empty()).then_some(self.first)
    }

    /// The last entry in the order of positions, and its range.
    pub(super) fn back(&self) -> Option<Range<u64>> {
        let last = self.entries.len().checked_sub(1)?;
        Some(self.start_at(last)..self.sent_to)
    }

    /// When the last entry in the order of positions left.
    pub(super) fn last_sent_at(&self) -> Option<Instant> {
        self.entries.back().map(|entry| entry.sent_at)
    }

    pub(super) fn entry(&self, id: SegmentId) -> &SentSegment {
        &self.entries[self.index(id)]
    }

    pub(super) fn len_of(&self, id: SegmentId) -> u64 {
        let index = self.index(id);
        self.entries[index].end - self.start_at(index)
    }

    fn index(&self, id: SegmentId) -> usize {
        // The numbers leave out `NONE`.
        let distance = id.wrapping_sub(self.first);
        (if id < self.first { distance - 1 } else { distance }) as usize
    }

    fn id(&self, index: usize) -> SegmentId {
        // Entries are bounded by `SENT_SEGMENTS_MAX`.
        let id = self.first.wrapping_add(narrow(index as u64));
        if id < self.first || id == NONE { id.wrapping_add(1) } else { id }
    }

    fn start_at(&self, index: usize) -> u64 {
        index.checked_sub(1).map_or(self.start, |before| self.entries[before].end)
    }

    /// The first entry that ends behind a position.
    fn find(&self, position: u64) -> usize {
        self.entries.partition_point(|entry| entry.end <= position)
    }

    /// Something new leaves, from `sent_to` on. It is not to be called when the scoreboard
    /// [is full](Self::is_full), but nothing breaks: it is noted nevertheless.
    pub(super) fn push(&mut self, end: u64, stamp: &Stamp, now: Instant) {
        debug_assert!(end > self.sent_to);
        let range = self.sent_to..end;
        self.entries.push_back(SentSegment::new(&range, stamp, now));
        self.flight += end - self.sent_to;
        self.sent_to = end;
        self.link_in_flight(self.entries.len() - 1);
    }

    /// Part of what is out leaves again. Says how many bytes of it were lost or in flight.
    pub(super) fn repeat(&mut self, range: &Range<u64>, stamp: &Stamp, now: Instant) -> u64 {
        let mut bytes = 0;
        let segment_len = narrow(range.end - range.start);
        let mut index = self.find(range.start);
        while index < self.entries.len() && self.start_at(index) < range.end {
            let start = self.start_at(index);
            let entry = &mut self.entries[index];
            let (from, to) = (start.max(range.start), entry.end.min(range.end));
            match entry.state {
                SegmentState::Sacked => {}
                SegmentState::InFlight => {
                    bytes += to - from;
                    entry.segment_len = entry.segment_len.max(segment_len);
                    if (from, to) == (start, entry.end) {
                        entry.segment_len = segment_len;
                        entry.handle_repeated(stamp, now);
                        self.unlink(index);
                        self.link_in_flight(index);
                    } else {
                        entry.sendings = entry.sendings.saturating_add(1);
                    }
                }
                SegmentState::Lost => {
                    let left_from = entry.end - u64::from(entry.left);
                    if from <= left_from && to > left_from {
                        bytes += to - left_from;
                        self.flight += to - left_from;
                        let is_first_piece = left_from == start;
                        entry.segment_len = if is_first_piece {
                            segment_len
                        } else {
                            entry.segment_len.max(segment_len)
                        };
                        entry.left = narrow(entry.end - to);
                        if entry.left == 0 {
                            entry.handle_repeated(stamp, now);
                            self.unlink(index);
                            self.link_in_flight(index);
                        }
                    }
                }
            }
            index += 1;
        }
        bytes
    }

    /// Takes the first entry away if it ends at or before `to`. The bytes of it are those that
    /// were not SACKed, so that they are news.
    pub(super) fn pop(&mut self, to: u64) -> Option<(SentSegment, u64)> {
        let entry = *self.entries.front()?;
        if entry.end > to {
            return None;
        }
        let len = entry.end - self.start;
        let news = self.leave(0, len);
        self.entries.pop_front();
        self.first = self.id_after_first();
        self.start = entry.end;
        if self.entries.is_empty() && self.entries.capacity() > ENTRIES_IDLE {
            self.entries.shrink_to(ENTRIES_IDLE);
        }
        Some((entry, news))
    }

    /// The first entry begins at `to` from now on. Says the bytes of it that are news.
    pub(super) fn trim(&mut self, to: u64) -> Option<(SentSegment, u64)> {
        let entry = self.entries.front_mut()?;
        let taken = to.checked_sub(self.start).filter(|taken| *taken > 0)?;
        debug_assert!(to < entry.end);
        let copy = *entry;
        let news = match entry.state {
            SegmentState::Sacked => 0,
            SegmentState::InFlight => {
                self.flight -= taken;
                taken
            }
            SegmentState::Lost => {
                let again = entry.end - u64::from(entry.left) - self.start;
                self.flight -= again.min(taken);
                entry.left = entry.left.min(narrow(entry.end - to));
                taken
            }
        };
        self.start = to;
        Some((copy, news))
    }

    fn id_after_first(&self) -> SegmentId {
        let next = self.first.wrapping_add(1);
        if next == NONE { 0 } else { next }
    }

    /// An entry is neither in flight nor lost any more. Says how many bytes are news by that.
    fn leave(&mut self, index: usize, len: u64) -> u64 {
        let entry = &self.entries[index];
        match entry.state {
            SegmentState::Sacked => {
                self.sacked -= 1;
                0
            }
            SegmentState::InFlight => {
                self.flight -= len;
                self.unlink(index);
                len
            }
            SegmentState::Lost => {
                self.flight -= len - u64::from(entry.left);
                self.unlink(index);
                len
            }
        }
    }

    /// The next entry that a SACK block says to have arrived and that was not known to; `from` is
    /// where to go on, the block's start at first. It is marked. What a block covers only in part
    /// counts as not arrived: segments arrive whole.
    pub(super) fn sack_next(&mut self, from: &mut u64, end: u64) -> Option<(SentSegment, u64)> {
        let mut index = self.find(*from);
        if index < self.entries.len() && self.start_at(index) < *from {
            index += 1;
        }
        let index = self.skip_sacked(index);
        let entry = *self.entries.get(index)?;
        if entry.end > end {
            return None;
        }
        *from = entry.end;
        let len = entry.end - self.start_at(index);
        let news = self.leave(index, len);
        let after = self.id(index + 1);
        let marked = &mut self.entries[index];
        (marked.state, marked.next, marked.left) = (SegmentState::Sacked, after, 0);
        self.sacked += 1;
        Some((entry, news))
    }

    /// The first entry from `index` on that is not SACKed. The ways of those passed get shorter.
    fn skip_sacked(&mut self, index: usize) -> usize {
        let mut found = index;
        while self.entries.get(found).is_some_and(|entry| entry.state == SegmentState::Sacked) {
            found = self.index(self.entries[found].next);
        }
        let (target, mut at) = (self.id(found), index);
        while at < found {
            let next = self.index(self.entries[at].next);
            self.entries[at].next = target;
            at = next;
        }
        found
    }

    /// An entry in flight is lost. Says its length.
    pub(super) fn lose(&mut self, id: SegmentId) -> u64 {
        let index = self.index(id);
        let len = self.entries[index].end - self.start_at(index);
        self.leave(index, len);
        let is_behind = self.lost.first != NONE && index > self.index(self.lost.first);
        let entry = &mut self.entries[index];
        (entry.state, entry.left) = (SegmentState::Lost, narrow(len));
        if is_behind {
            self.link_last(index)
        } else {
            self.link_first_lost(index)
        }
        len
    }

    /// The lost bytes that are to be sent first, with those that follow on them at once.
    pub(super) fn next_lost(&self, len_max: u64) -> Option<Range<u64>> {
        if self.lost.first == NONE {
            return None;
        }
        let mut index = self.index(self.lost.first);
        let entry = &self.entries[index];
        let start = entry.end - u64::from(entry.left);
        let mut end = entry.end;
        while end - start < len_max {
            index += 1;
            let Some(next) = self.entries.get(index) else { break };
            if next.state != SegmentState::Lost || u64::from(next.left) != next.end - end {
                break;
            }
            end = next.end;
        }
        Some(start..end.min(start.saturating_add(len_max)))
    }

    /// What was lost is in flight after all, as the oldest that is.
    pub(super) fn find_all_lost(&mut self) {
        while self.lost.last != NONE {
            let index = self.index(self.lost.last);
            self.unlink(index);
            self.flight += u64::from(self.entries[index].left);
            let entry = &mut self.entries[index];
            (entry.state, entry.left) = (SegmentState::InFlight, 0);
            let (id, next) = (self.id(index), self.in_flight.first);
            self.entries[index].next = next;
            match next {
                NONE => self.in_flight.last = id,
                next => {
                    let next = self.index(next);
                    self.entries[next].previous = id;
                }
            }
            self.in_flight.first = id;
        }
    }

    /// What was lost and sent again in pieces, of which not all are out, is lost again as a whole.
    /// Says how many bytes that is.
    pub(super) fn lose_pieces(&mut self) -> u64 {
        let (mut bytes, mut id) = (0, self.lost.first);
        while id != NONE {
            let index = self.index(id);
            let len = self.len_of(id);
            let entry = &mut self.entries[index];
            bytes += len - u64::from(entry.left);
            entry.left = narrow(len);
            id = entry.next;
        }
        self.flight -= bytes;
        bytes
    }

    /// The first entry is lost, whatever was known of it, and the next to be sent. Says how many
    /// bytes were not known to be. If it had been SACKed, the far end has dropped what it had (RFC
    /// 2018, section 8), and no mark is believed any more: that takes time for each entry.
    pub(super) fn lose_front(&mut self) -> u64 {
        let Some(front) = self.front() else { return 0 };
        let len = self.len_of(front);
        match self.entries[0].state {
            SegmentState::InFlight => self.lose(front),
            SegmentState::Sacked => {
                let mut bytes = 0;
                for index in (0..self.entries.len()).rev() {
                    if self.entries[index].state == SegmentState::Sacked {
                        bytes += self.forget_sack(index);
                    }
                }
                bytes
            }
            SegmentState::Lost => {
                self.flight -= len - u64::from(self.entries[0].left);
                self.entries[0].left = narrow(len);
                self.unlink(0);
                self.link_first_lost(0);
                0
            }
        }
    }

    fn forget_sack(&mut self, index: usize) -> u64 {
        self.sacked -= 1;
        let len = self.entries[index].end - self.start_at(index);
        let entry = &mut self.entries[index];
        (entry.state, entry.left) = (SegmentState::Lost, narrow(len));
        self.link_first_lost(index);
        len
    }

    /// Segments in flight that are longer than `len` are lost. Takes time for each entry.
    pub(super) fn lose_above(&mut self, len: u64) -> u64 {
        let mut bytes = 0;
        for index in 0..self.entries.len() {
            let entry = &self.entries[index];
            if entry.state == SegmentState::InFlight && u64::from(entry.segment_len) > len {
                bytes += self.lose(self.id(index));
            }
        }
        bytes
    }
}
