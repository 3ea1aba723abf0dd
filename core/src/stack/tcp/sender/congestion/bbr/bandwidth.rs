//! The most that the path delivered lately: BBR.max_bw (draft-ietf-ccwg-bbr-06, section 5.5.2).

use crate::stack::tcp::ratio::scaled;

/// The highest rate of this cycle of probes and of the one before, in bytes a second.
///
/// A cycle has one attempt to send faster. The filter is long enough to hold the result of the
/// last attempt until the next one, and short enough to forget what the path no longer carries.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MaxBandwidth {
    current: u64,
    previous: u64,
}

impl MaxBandwidth {
    /// Zero until something was delivered.
    pub(super) fn get(&self) -> u64 {
        self.current.max(self.previous)
    }

    /// A sample. One that the application limited says only that the path carries as much.
    pub(super) fn handle_sample(&mut self, rate: u64, is_app_limited: bool) {
        if !is_app_limited || rate >= self.get() {
            self.current = self.current.max(rate);
        }
    }

    /// A cycle is over. A cycle without a sample takes nothing away.
    pub(super) fn advance(&mut self) {
        if self.current > 0 {
            self.previous = self.current;
            self.current = 0;
        }
    }

    /// The path was seen to carry no more than `rate`.
    pub(super) fn limit(&mut self, rate: u64) {
        self.previous = 0;
        self.current = self.get().min(rate);
    }
}

/// Whether a rate that should grow still does: the full-pipe estimator of section 5.3.1.2.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plateau {
    base: u64,
    rounds: u8,
    is_full: bool,
}

impl Plateau {
    /// So many rounds without growth, so that a receiver has time to open its window.
    const ROUNDS: u8 = 3;

    /// Growth counts from `base` on.
    pub(super) fn above(base: u64) -> Self {
        Self { base, ..Self::default() }
    }

    /// The rate at the start of a round that the application did not limit.
    pub(super) fn handle_round(&mut self, rate: u64) {
        if self.is_full {
            return;
        }
        if rate >= scaled(self.base, 5, 4) {
            *self = Self::above(rate);
        } else {
            self.rounds += 1;
            self.is_full = self.rounds >= Self::ROUNDS;
        }
    }

    /// The path is full.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_remembered_for_two_cycles() {
        let mut max = MaxBandwidth::default();
        max.handle_sample(1_000, false);
        max.advance();
        max.handle_sample(600, false);
        assert_eq!(max.get(), 1_000);
        max.advance();
        assert_eq!(max.get(), 600);
    }

    #[test]
    fn a_cycle_without_a_sample_forgets_nothing() {
        let mut max = MaxBandwidth::default();
        max.handle_sample(1_000, false);
        max.advance();
        max.advance();
        max.advance();
        assert_eq!(max.get(), 1_000);
    }

    #[test]
    fn an_application_that_sends_little_lowers_nothing_and_may_raise() {
        let mut max = MaxBandwidth::default();
        max.handle_sample(1_000, false);
        max.advance();
        max.handle_sample(100, true);
        max.advance();
        assert_eq!(max.get(), 1_000, "the slow cycle was no cycle");
        max.handle_sample(1_200, true);
        assert_eq!(max.get(), 1_200);
    }

    #[test]
    fn a_limit_takes_both_cycles_back() {
        let mut max = MaxBandwidth::default();
        max.handle_sample(1_000, false);
        max.advance();
        max.handle_sample(900, false);
        max.limit(50);
        assert_eq!(max.get(), 50);
        max.limit(80);
        assert_eq!(max.get(), 50);
    }

    #[test]
    fn three_rounds_without_a_quarter_more_are_a_plateau() {
        let mut plateau = Plateau::default();
        for rate in [100, 200, 400, 499, 499] {
            plateau.handle_round(rate);
            assert!(!plateau.is_full());
        }
        plateau.handle_round(499);
        assert!(plateau.is_full());
        plateau.handle_round(5_000);
        assert!(plateau.is_full(), "until somebody begins anew");
    }

    #[test]
    fn growth_begins_the_count_anew() {
        let mut plateau = Plateau::above(400);
        for rate in [400, 400, 500, 500, 500] {
            plateau.handle_round(rate);
        }
        assert!(!plateau.is_full());
        plateau.handle_round(500);
        assert!(plateau.is_full());
    }
}
