//! Startup and Drain: from nothing known to a full path without a queue (draft-ietf-ccwg-bbr-06,
//! sections 5.3.1 and 5.3.2).

use super::phases::BbrPhase;
use super::{Bbr, UndonePhase};
use crate::stack::tcp::sender::congestion::Progress;
use crate::stack::tcp::sender::delivery::RateSample;
use crate::time::Instant;

/// So many acknowledgements of a round have to report losses: one burst is no full path
/// (BBRStartupFullLossCnt).
const LOSSES_MIN: u32 = 6;
/// Drain ends after so many rounds, even if the rate was overestimated and a queue is left.
const DRAIN_ROUNDS_MAX: u64 = 3;

/// What Startup counts of losses, and Drain of rounds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StartupLosses {
    reports: u32,
    /// The round in which the recovery began that is not over yet.
    recovery_round: Option<u64>,
    drain_round: u64,
}

impl StartupLosses {
    pub(super) fn handle_congestion(&mut self, round: u64) {
        self.recovery_round.get_or_insert(round);
    }

    pub(super) fn handle_recovered(&mut self) {
        self.recovery_round = None;
    }
}

impl Bbr {
    pub(super) fn enter_startup(&mut self) {
        self.phase = BbrPhase::Startup;
        self.startup = StartupLosses::default();
    }

    /// Startup goes over to Drain, Drain to ProbeBW.
    pub(super) fn check_startup(&mut self, sample: &RateSample, progress: &Progress, now: Instant) {
        self.check_full(sample, progress);
        if self.phase == BbrPhase::Startup && self.is_full {
            self.phase = BbrPhase::Drain;
            self.startup.drain_round = self.rounds.count();
        }
        if self.phase == BbrPhase::Drain {
            let is_empty = progress.flight <= self.flight_for(self.bdp());
            if is_empty || self.rounds.count() > self.startup.drain_round + DRAIN_ROUNDS_MAX {
                self.start_down(now);
            }
        }
    }

    fn check_full(&mut self, sample: &RateSample, progress: &Progress) {
        if self.rounds.is_start() && !sample.is_app_limited {
            self.plateau.handle_round(sample.rate);
            self.is_full |= self.plateau.is_full();
        }
        if self.is_full {
            return;
        }
        self.startup.reports += u32::from(progress.lost > 0);
        if !self.rounds.is_start() {
            return;
        }
        let is_lasting =
            self.startup.recovery_round.is_some_and(|round| self.rounds.count() > round);
        let is_much = self.judge_excess(sample);
        if is_lasting && is_much && self.startup.reports >= LOSSES_MIN {
            self.undone_phase = Some(UndonePhase::Startup);
            self.is_full = true;
            self.bounds.flight = Some(self.bdp().max(self.latest.delivered));
        }
        self.startup.reports = 0;
    }
}
