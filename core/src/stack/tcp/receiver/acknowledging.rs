//! When an acknowledgement is due (RFC 9293, section 3.8.6.3; RFC 5681, section 4.2).

use std::time::Duration;

use crate::time::Instant;

/// How long an acknowledgement may wait for another segment or for data of ours. RFC 9293 allows
/// 500 ms; kernels wait 40.
const ACK_DELAY_MAX: Duration = Duration::from_millis(40);

/// Bytes that are acknowledged at once where a sender's window is small: at first, and after a
/// loss.
const QUICK_LEN: u64 = 64 << 10;

/// The same after a pause: a sender begins anew then.
const QUICK_LEN_AFTER_PAUSE: u64 = 16 << 10;

/// A pause in which a sender's timer may have expired (RFC 6298 asks for a second, kernels take
/// 200 ms).
const PAUSE: Duration = Duration::from_millis(200);

/// What a sender's segments carry at least, if it has enough to send (RFC 9293, section 3.7.1).
const SEGMENT_LEN_MIN: usize = 536;

/// Whether an acknowledgement is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::stack::tcp) enum AckDue {
    /// None is owed.
    No,
    /// At that time, unless a segment goes before.
    At(Instant),
    /// At once.
    Now,
}

/// What is owed.
#[derive(Debug)]
pub(super) struct Acknowledging {
    due: AckDue,
    /// Bytes in order since the last one.
    unacknowledged: usize,
    /// What a full segment of the far end seems to carry, and at most.
    segment_len: usize,
    segment_len_max: usize,
    last_len: usize,
    /// Everything before is acknowledged at once.
    quick_to: u64,
    arrived_at: Option<Instant>,
}

impl Acknowledging {
    pub(super) const fn new(segment_len_max: usize) -> Self {
        Self {
            due: AckDue::No,
            unacknowledged: 0,
            segment_len: SEGMENT_LEN_MIN,
            segment_len_max,
            last_len: 0,
            quick_to: QUICK_LEN,
            arrived_at: None,
        }
    }

    pub(super) const fn due(&self) -> AckDue {
        self.due
    }

    /// `len` bytes came in order, up to `next`, and left no gap.
    pub(super) fn handle_in_order(&mut self, len: usize, next: u64, now: Instant) {
        self.measure(len);
        if self.arrived_at.is_some_and(|at| now.saturating_duration_since(at) >= PAUSE) {
            self.quick_to = self.quick_to.max(next + QUICK_LEN_AFTER_PAUSE);
        }
        self.arrived_at = Some(now);
        self.unacknowledged += len;
        // At least every second full segment: many may have come as one.
        if next <= self.quick_to || self.unacknowledged > self.segment_len {
            self.due = AckDue::Now;
        } else if self.due == AckDue::No {
            self.due = AckDue::At(now + ACK_DELAY_MAX);
        }
    }

    /// Something came out of order, filled a gap, or came twice.
    pub(super) fn handle_disorder(&mut self, next: u64, now: Instant) {
        self.arrived_at = Some(now);
        self.quick_to = self.quick_to.max(next + QUICK_LEN);
        self.due = AckDue::Now;
    }

    /// One is owed for another reason.
    pub(super) const fn request(&mut self) {
        self.due = AckDue::Now;
    }

    /// One has left.
    pub(super) const fn handle_acknowledged(&mut self) {
        self.due = AckDue::No;
        self.unacknowledged = 0;
    }

    /// A segment carried so much. Two of one size in a row are full ones.
    fn measure(&mut self, len: usize) {
        if len >= self.segment_len || (len == self.last_len && len >= SEGMENT_LEN_MIN) {
            self.segment_len = len.min(self.segment_len_max);
        }
        self.last_len = len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    /// How many acknowledgements so many segments of `len` bytes cost, from `from` on, one each
    /// millisecond.
    fn cost(state: &mut Acknowledging, from: u64, len: usize, segments: u64) -> usize {
        let mut cost = 0;
        for count in 1..=segments {
            state.handle_in_order(len, from + count * len as u64, at(count));
            if state.due() == AckDue::Now {
                state.handle_acknowledged();
                cost += 1;
            }
        }
        cost
    }

    #[test]
    fn every_segment_at_first_then_every_second_whatever_their_size() {
        for len in [1380, 1240, 536] {
            let mut state = Acknowledging::new(1380);
            assert_eq!(cost(&mut state, 1, len, 40), 40, "{len}");
            assert_eq!(cost(&mut state, 1 << 20, len, 100), 50, "{len}");
            // Many that come as one.
            assert_eq!(cost(&mut state, 2 << 20, 9 * len, 100), 100, "{len}");
            assert!((50..=51).contains(&cost(&mut state, 3 << 20, len, 101)), "{len}");
        }
    }

    #[test]
    fn a_lone_segment_waits_no_longer_for_what_comes_after_it() {
        let mut state = Acknowledging::new(1380);
        state.handle_in_order(1380, 1 << 20, at(0));
        state.handle_acknowledged();
        for millis in [10, 20, 30] {
            state.handle_in_order(100, 1 << 20, at(millis));
            assert_eq!(state.due(), AckDue::At(at(50)));
        }
        state.handle_acknowledged();
        assert_eq!(state.due(), AckDue::No);
    }

    #[test]
    fn disorder_and_pauses_are_followed_by_acknowledgements_at_once() {
        let mut state = Acknowledging::new(1380);
        state.handle_disorder(1 << 20, at(0));
        assert_eq!(state.due(), AckDue::Now);
        state.handle_acknowledged();
        assert_eq!(cost(&mut state, 1 << 20, 1380, 40), 40);
        assert_eq!(cost(&mut state, 2 << 20, 1380, 40), 20);
        state.handle_in_order(100, 3 << 20, at(300));
        assert_eq!(state.due(), AckDue::Now);
    }
}
