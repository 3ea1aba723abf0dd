//! What arrives: put in order, acknowledged, and how much more may come.
//!
//! - [`arrivals`]: what came behind gaps, and the SACK blocks that tell of it;
//! - [`window`]: how much may be on the way;
//! - [`acknowledging`]: when an acknowledgement is due.
//!
//! Positions are those of [`sender`](super::sender): the SYN at 0, the first byte at 1, the FIN
//! behind the last one. Whether a segment belongs to the connection is decided before; nothing that
//! comes here can do more than to be kept within the window, or not.

mod acknowledging;
mod arrivals;
mod window;

use std::ops::Range;
use std::time::Duration;

use crate::stack::tcp::options::WINDOW_SHIFT_MAX;
use crate::stack::tcp::ring::Ring;
use crate::time::Instant;

pub(in crate::stack::tcp) use acknowledging::AckDue;
use acknowledging::Acknowledging;
pub(in crate::stack::tcp) use arrivals::SackBlocks;
use arrivals::{Arrivals, Novelty};
use window::WindowSize;

/// The shift with which a window of `max` bytes can be offered.
fn window_shift(max: usize) -> u8 {
    let fits = |shift: &u8| max >> shift <= usize::from(u16::MAX);
    (0..WINDOW_SHIFT_MAX).find(fits).unwrap_or(WINDOW_SHIFT_MAX)
}

/// What became of a segment's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::stack::tcp) struct Taken {
    /// Bytes that had not arrived before.
    pub(in crate::stack::tcp) new_bytes: u64,
    /// Some of them are next in order.
    pub(in crate::stack::tcp) in_order: bool,
    /// Some came before others that had arrived.
    pub(in crate::stack::tcp) filled_gap: bool,
    /// There were bytes, but none was taken: they had arrived before, or are not in the window.
    pub(in crate::stack::tcp) is_duplicate: bool,
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(in crate::stack::tcp) struct Receiver {
    ring: Ring,
    arrivals: Arrivals,
    window: WindowSize,
    acknowledging: Acknowledging,
    /// The position of the first thing that has not arrived (RCV.NXT).
    next: u64,
    /// The right edge of the window that was offered; it never goes back.
    offered_to: u64,
    /// The position of the FIN, once it has arrived.
    fin: Option<u64>,
    /// Bytes that the reader took, and the window does not know of.
    consumed: u64,
    segment_len: u64,
    shift: u8,
}

impl Receiver {
    /// Keeps up to `max` bytes; a segment carries at most `segment_len`.
    pub(in crate::stack::tcp) fn new(max: usize, segment_len: usize) -> Self {
        Self {
            ring: Ring::new(max, 1),
            arrivals: Arrivals::new(max),
            window: WindowSize::new(max as u64),
            acknowledging: Acknowledging::new(segment_len),
            next: 1,
            offered_to: 1,
            fin: None,
            consumed: 0,
            segment_len: segment_len as u64,
            shift: window_shift(max),
        }
    }

    /// The scale of the windows that are offered.
    pub(in crate::stack::tcp) const fn shift(&self) -> u8 {
        self.shift
    }

    /// The far end does not scale windows.
    pub(in crate::stack::tcp) const fn set_unscaled(&mut self) {
        self.shift = 0;
    }

    /// The position of the first thing that has not arrived (RCV.NXT): behind the FIN once all has.
    pub(in crate::stack::tcp) const fn next(&self) -> u64 {
        self.next
    }

    /// The right edge of the window that was offered.
    pub(in crate::stack::tcp) const fn offered_to(&self) -> u64 {
        self.offered_to
    }

    /// Whether the FIN and all before it has arrived.
    pub(in crate::stack::tcp) fn is_ended(&self) -> bool {
        self.fin.is_some_and(|fin| self.next > fin)
    }

    /// Whether something is missing before what has arrived.
    pub(in crate::stack::tcp) fn has_gap(&self) -> bool {
        !self.arrivals.is_empty()
    }

    /// Takes what a segment carries, as far as the window reaches.
    pub(in crate::stack::tcp) fn handle_segment(
        &mut self,
        start: u64,
        payload: &[u8],
        now: Instant,
    ) -> Taken {
        if payload.is_empty() {
            return Taken::default();
        }
        self.tell_taken(now);
        let end = start.saturating_add(payload.len() as u64);
        let reached = self.next.min(self.fin.unwrap_or(u64::MAX));
        let edge = self.offered_to.min(self.fin.unwrap_or(u64::MAX));
        if start < reached {
            self.arrivals.handle_duplicate(start..end.min(reached));
        }
        let range = start.max(reached)..end.min(edge);
        let taken = if range.is_empty() { None } else { self.take(start, &range, payload) };
        let taken = taken.unwrap_or(Taken { is_duplicate: true, ..Taken::default() });
        if taken.new_bytes > 0 {
            let highest = self.arrivals.highest().unwrap_or(self.next);
            self.window.handle_arrived(highest, now);
        }
        if taken.in_order && !taken.filled_gap && !self.has_gap() && start >= reached {
            self.acknowledging.handle_in_order(payload.len(), self.next, now);
        } else {
            self.acknowledging.handle_disorder(self.next, now);
        }
        taken
    }

    /// Stores the part `range` of a payload. `None` if there are too many gaps.
    fn take(&mut self, start: u64, range: &Range<u64>, payload: &[u8]) -> Option<Taken> {
        let in_order = range.start == self.next;
        let filled_gap = self.arrivals.highest().is_some_and(|highest| range.start < highest);
        let novelty = if in_order {
            let (next, novelty) = self.arrivals.fill(range.clone());
            self.next = next;
            novelty
        } else {
            self.arrivals.insert(range.clone())?
        };
        // Both are offsets in the payload.
        let bytes = &payload[(range.start - start) as usize..(range.end - start) as usize];
        self.ring.write_ahead(range.start, bytes);
        if in_order {
            self.ring.advance_to(self.next.min(self.fin.unwrap_or(u64::MAX)));
        }
        let Novelty { new_bytes, duplicate } = novelty;
        let filled_gap = filled_gap && new_bytes > 0;
        if let Some(duplicate) = duplicate {
            self.arrivals.handle_duplicate(duplicate);
        }
        Some(Taken { new_bytes, in_order, filled_gap, is_duplicate: new_bytes == 0 })
    }

    /// A FIN arrived, at this position: behind the last byte, all of which the segment carried were
    /// taken before. Says whether it is believed: one that is not in the window, or contradicts
    /// what has arrived, is not.
    pub(in crate::stack::tcp) fn handle_fin(&mut self, position: u64, now: Instant) -> bool {
        let known = self.fin == Some(position);
        let contradicts = self.fin.is_some_and(|fin| fin != position)
            || self.arrivals.highest().unwrap_or(self.next) > position && !known
            || position > self.offered_to;
        self.acknowledging.handle_disorder(self.next, now);
        if contradicts {
            return false;
        }
        if known {
            self.arrivals.handle_duplicate(position..position + 1);
        } else if position == self.next {
            self.next += 1;
        } else if self.arrivals.insert(position..position + 1).is_none() {
            return false;
        }
        self.fin = Some(position);
        true
    }

    /// The window that is to be offered now, in bytes from [`next`](Self::next) on: a multiple of
    /// what its scale counts in. Unless that moves the edge by a segment or half of the ring, the
    /// edge stays where it is (RFC 9293, section 3.8.6.2.2).
    pub(in crate::stack::tcp) fn window(&self) -> u64 {
        let unit = 1 << self.shift;
        let full = self.ring.start() + self.ring.max_len() as u64;
        let highest = self.arrivals.highest().unwrap_or(self.next).max(self.next);
        // Bytes behind a gap are not on the way any more.
        let edge = (self.ring.start() + self.window.len() + (highest - self.next)).min(full);
        let step = self.segment_len.min(self.ring.max_len() as u64 / 2);
        let edge = if edge >= self.offered_to + step { edge } else { self.offered_to };
        let len = edge.saturating_sub(self.next);
        let up = len.next_multiple_of(unit);
        // Rounded down, the far end would see the edge go back (RFC 7323, section 2.4).
        let down = len / unit * unit;
        let goes_back = self.next + down < self.offered_to;
        let len = if goes_back && self.next + up <= full { up } else { down };
        len.min(u64::from(u16::MAX) << self.shift)
    }

    /// A segment left with an acknowledgement of all up to [`next`](Self::next), this window, and
    /// [`blocks`](Self::blocks).
    pub(in crate::stack::tcp) fn handle_acknowledged(&mut self, window: u64, now: Instant) {
        self.tell_taken(now);
        let edge = self.next + window;
        if edge > self.offered_to {
            self.window.handle_offered(self.offered_to, now);
            self.offered_to = edge;
        }
        self.arrivals.handle_told();
        self.acknowledging.handle_acknowledged();
    }

    /// The SACK blocks of the next segment.
    pub(in crate::stack::tcp) fn blocks(&self) -> SackBlocks {
        self.arrivals.blocks()
    }

    /// When an acknowledgement is due. More than one is while several things came twice.
    pub(in crate::stack::tcp) fn ack_due(&self) -> AckDue {
        if self.arrivals.has_duplicates() || self.opens_window() {
            return AckDue::Now;
        }
        self.acknowledging.due()
    }

    /// An acknowledgement is owed for another reason than bytes.
    pub(in crate::stack::tcp) const fn request_ack(&mut self) {
        self.acknowledging.request();
    }

    /// Whether the far end should hear of its window: it is twice as large as it knows, by two
    /// segments or half of the ring at least (RFC 1122, section 4.2.3.3).
    fn opens_window(&self) -> bool {
        let known = self.offered_to.saturating_sub(self.next);
        let more = self.window().saturating_sub(known);
        let step = (2 * self.segment_len).min(self.ring.max_len() as u64 / 2).max(1);
        self.fin.is_none() && self.offered_to > 1 && more >= step.max(known)
    }

    /// A round trip was measured.
    pub(in crate::stack::tcp) fn set_round_trip(&mut self, measured: Duration) {
        self.window.set_round_trip(measured);
    }

    /// Whether something waits for the reader.
    pub(in crate::stack::tcp) const fn has_received(&self) -> bool {
        !self.ring.is_empty()
    }

    /// The first bytes that wait, as many as are in one piece.
    pub(in crate::stack::tcp) fn received(&self) -> &[u8] {
        self.ring.front()
    }

    /// The first `len` of them were taken. Says how many they are at most.
    pub(in crate::stack::tcp) fn consume(&mut self, len: usize) -> usize {
        let len = self.ring.discard(len);
        self.consumed += len as u64;
        len
    }

    /// Lets the window know what the reader took.
    fn tell_taken(&mut self, now: Instant) {
        let consumed = std::mem::take(&mut self.consumed);
        if consumed > 0 {
            self.window.handle_taken(consumed, now);
        }
    }

    /// Bytes that would become resident with such a segment.
    pub(in crate::stack::tcp) fn growth(&self, start: u64, len: usize) -> usize {
        let end = start.saturating_add(len as u64).min(self.offered_to);
        if len == 0 || end <= self.ring.end() { 0 } else { self.ring.growth(end) }
    }

    /// Bytes that are resident.
    pub(in crate::stack::tcp) fn resident(&self) -> usize {
        self.ring.resident() + self.arrivals.resident()
    }

    /// Whether it holds anything, behind gaps or not.
    pub(in crate::stack::tcp) const fn needs_ring(&self) -> bool {
        !self.ring.is_vacant()
    }

    /// Where the ring is in memory.
    pub(in crate::stack::tcp) fn addresses(&self) -> Range<usize> {
        self.ring.addresses()
    }

    /// The ring's pages are given back, if it holds nothing.
    pub(in crate::stack::tcp) const fn give_back(&mut self) {
        self.ring.give_back();
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one block")]
mod tests;
