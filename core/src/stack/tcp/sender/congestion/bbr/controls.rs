//! How fast, and how much: what follows from the model of the path (draft-ietf-ccwg-bbr-06,
//! section 5.6).

use std::time::Duration;

use super::Bbr;
use super::phases::{BbrPhase, Gain};
use crate::stack::tcp::ratio::{per_second, within};
use crate::stack::tcp::sender::congestion::Progress;

/// Segments that keep acknowledgements coming, however little the path holds (BBR.MinPipeCwnd).
const WINDOW_MIN_SEGMENTS: u64 = 4;
/// The most that leaves at once.
const QUANTUM_MAX: u64 = 64 << 10;

impl Bbr {
    /// What the path delivers, as the model has it: BBR.bw.
    pub(super) fn rate(&self) -> u64 {
        let max = self.bandwidth.get();
        self.bounds.rate_now.map_or(max, |now| now.min(max))
    }

    /// What the path holds without a queue: BBR.bdp.
    pub(super) fn bdp(&self) -> u64 {
        self.product(self.rate())
    }

    /// The same of the highest rate, whatever was lost lately.
    pub(super) fn bdp_of_max(&self) -> u64 {
        self.product(self.bandwidth.get())
    }

    fn product(&self, rate: u64) -> u64 {
        self.round_trip.get().map_or(self.initial_window, |lowest| within(rate, lowest))
    }

    /// What has to be in flight so that `amount` is under way: at least what keeps the quanta of
    /// both ends busy.
    pub(super) fn flight_for(&self, amount: u64) -> u64 {
        let rate = self.pacing.unwrap_or(0);
        let quantum = (rate / 1_000).min(QUANTUM_MAX).max(2 * self.segment_len);
        let amount = amount.max(3 * quantum).max(self.window_min());
        if self.phase == BbrPhase::Up { amount + 2 * self.segment_len } else { amount }
    }

    pub(super) fn window_min(&self) -> u64 {
        WINDOW_MIN_SEGMENTS * self.segment_len
    }

    /// The pacing rate of the phase.
    pub(super) fn set_pacing(&mut self, gain: Gain) {
        let rate = Gain::MARGIN.of(gain.of(self.rate()));
        // Before the path was full, a low sample says that little was sent.
        if self.is_full || self.pacing.is_some_and(|pacing| rate > pacing) {
            self.pacing = Some(rate.max(1));
        }
    }

    /// The pacing rate that doubles what the first flight showed, when the first round trip is
    /// known.
    pub(super) fn set_first_pacing(&mut self, round_trip: Duration) {
        let rate = per_second(self.initial_window, round_trip);
        self.pacing = Some(BbrPhase::Startup.pacing_gain().of(rate));
    }

    /// The window of the phase, which grows by no more than what arrived.
    pub(super) fn set_window(&mut self, progress: &Progress) {
        let wanted = self.phase.window_gain().of(self.bdp());
        let wanted = self.flight_for(wanted.saturating_add(self.aggregation.get()));
        let grown = self.window.saturating_add(progress.delivered);
        if self.is_full {
            self.window = grown.min(wanted);
        } else if self.window < wanted || progress.delivered_total < self.initial_window {
            self.window = grown;
        }
        self.window = self.window.max(self.window_min());
        if self.phase == BbrPhase::ProbeRtt {
            self.window = self.window.min(self.probe_rtt_window());
        }
        self.window = self.window.min(self.window_bound());
    }

    fn window_bound(&self) -> u64 {
        let least = self.window_min();
        let long = match self.phase {
            BbrPhase::Down | BbrPhase::Refill | BbrPhase::Up => self.bounds.flight,
            BbrPhase::Cruise | BbrPhase::ProbeRtt => {
                self.bounds.flight_with_headroom(self.segment_len, least)
            }
            BbrPhase::Startup | BbrPhase::Drain => None,
        };
        let now = self.bounds.flight_now.unwrap_or(u64::MAX);
        long.unwrap_or(u64::MAX).min(now).max(least)
    }

    /// The window before a recovery or a ProbeRtt, which is to come back afterwards.
    pub(super) fn save_window(&mut self) {
        let is_whole = !self.is_recovering && self.phase != BbrPhase::ProbeRtt;
        let floor = if is_whole { 0 } else { self.prior_window };
        self.prior_window = floor.max(self.window);
    }

    pub(super) fn restore_window(&mut self) {
        self.window = self.window.max(self.prior_window);
    }
}
