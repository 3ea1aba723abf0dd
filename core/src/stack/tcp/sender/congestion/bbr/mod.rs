//! BBR, version 3 (draft-ietf-ccwg-bbr-06): a model of the path, of its rate and of its round
//! trip, says how fast and how much to send. A loss by itself is no congestion.
//!
//! - [`phases`]: what it does in turns, and with which gains;
//! - [`rounds`]: round trips, counted by what is delivered;
//! - [`bandwidth`]: the most that the path delivers, and whether it still grows;
//! - [`round_trip`]: the lowest round trip;
//! - [`aggregation`]: how much is acknowledged at once;
//! - [`loss`]: whether losses say that too much is in flight;
//! - [`bounds`]: and how much would be right;
//! - [`startup`], [`cycle`], [`probe_rtt`]: the phases, one after the other;
//! - [`controls`]: the window and the pacing rate that follow;
//! - `model`: a bottleneck, for the tests.
//!
//! Where it departs from the draft, and why, stands with what does: losses that a path has by
//! itself ([`loss`]), a rate that falls behind a deep queue ([`probe_rtt`]). ECN is not used.

mod aggregation;
mod bandwidth;
mod bounds;
mod controls;
mod cycle;
mod loss;
mod phases;
mod probe_rtt;
mod round_trip;
mod rounds;
mod startup;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::aggregation::Aggregation;
use self::bandwidth::{MaxBandwidth, Plateau};
use self::bounds::{BbrBounds, Latest};
use self::cycle::ProbeCycle;
use self::loss::LossJudge;
use self::phases::{BbrPhase, Gain};
use self::probe_rtt::RoundTripProbe;
use self::round_trip::MinRoundTrip;
use self::rounds::Rounds;
use self::startup::StartupLosses;
use super::{Controller, Progress};
use crate::stack::tcp::ratio::per_second;
use crate::stack::tcp::sender::delivery::RateSample;
use crate::time::Instant;

/// The phase that losses ended, to which an undo goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UndonePhase {
    Startup,
    Up,
}

/// A path as BBR sees it. See the module.
#[derive(Debug)]
pub(in crate::stack::tcp) struct Bbr {
    phase: BbrPhase,
    segment_len: u64,
    initial_window: u64,
    window: u64,
    prior_window: u64,
    pacing: Option<u64>,
    /// Bytes that are delivered, in all.
    delivered: u64,
    /// Samples of segments that left before so much was delivered are as if the application had
    /// limited them.
    limited_until: u64,
    /// The path has been full at some time.
    is_full: bool,
    is_recovering: bool,
    /// The retransmission timer expired, and nothing came since: no flight is no silence then.
    is_expired: bool,
    is_idle_restart: bool,
    has_first_round_trip: bool,
    rounds: Rounds,
    bandwidth: MaxBandwidth,
    plateau: Plateau,
    round_trip: MinRoundTrip,
    round_trip_probe: RoundTripProbe,
    aggregation: Aggregation,
    latest: Latest,
    bounds: BbrBounds,
    bounds_before: BbrBounds,
    undone_phase: Option<UndonePhase>,
    judge: LossJudge,
    startup: StartupLosses,
    cycle: ProbeCycle,
}

impl Bbr {
    /// A flow that may send `initial_window` bytes at first, all at once, or over `round_trip` if
    /// that is known. The same `seed` probes at the same times.
    pub(in crate::stack::tcp) fn new(
        initial_window: u64,
        segment_len: u64,
        round_trip: Option<Duration>,
        seed: u64,
        now: Instant,
    ) -> Self {
        Self {
            phase: BbrPhase::Startup,
            segment_len: segment_len.max(1),
            initial_window,
            window: initial_window,
            prior_window: 0,
            pacing: round_trip.map(|time| per_second(initial_window, time)),
            delivered: 0,
            limited_until: 0,
            is_full: false,
            is_recovering: false,
            is_expired: false,
            is_idle_restart: false,
            has_first_round_trip: false,
            rounds: Rounds::default(),
            bandwidth: MaxBandwidth::default(),
            plateau: Plateau::default(),
            round_trip: MinRoundTrip::new(now),
            round_trip_probe: RoundTripProbe::default(),
            aggregation: Aggregation::new(now),
            latest: Latest::default(),
            bounds: BbrBounds::default(),
            bounds_before: BbrBounds::default(),
            undone_phase: None,
            judge: LossJudge::default(),
            startup: StartupLosses::default(),
            cycle: ProbeCycle::new(seed, now),
        }
    }

    /// The path has been full at some time: what it delivers is its rate.
    pub(in crate::stack::tcp) fn has_been_full(&self) -> bool {
        self.is_full
    }

    fn update_model(&mut self, sample: &RateSample, progress: &Progress, now: Instant) {
        self.rounds.handle_sample(sample.prior_delivered, self.delivered);
        let lowest = self.round_trip.get();
        if self.rounds.is_start() {
            self.cycle.handle_round();
            self.judge.handle_round(sample.lost, sample.prior_in_flight, lowest);
        }
        self.latest.handle_sample(
            sample.rate,
            sample.delivered,
            sample.prior_delivered,
            self.delivered,
        );
        self.bandwidth.handle_sample(sample.rate, sample.is_app_limited);
        self.check_strange(sample.rate, progress.rate.is_some_and(|rate| rate.is_app_limited), now);
        if self.latest.is_round_end() {
            let is_congestion = self.latest.take_loss() && self.judge_excess(sample);
            if is_congestion && !self.phase.is_accelerating() {
                self.bounds.lower(&self.latest, self.bandwidth.get(), self.window);
            }
        }
        let (rate, round) = (self.rate(), self.rounds.count());
        self.aggregation.handle_acked(
            progress.delivered,
            rate,
            self.window,
            round,
            self.is_full,
            now,
        );
        self.check_startup(sample, progress, now);
        self.advance_cycle(sample, progress, now);
    }

    fn judge_excess(&self, sample: &RateSample) -> bool {
        self.judge.is_excessive(sample.lost, sample.prior_in_flight, self.round_trip.get())
    }

    /// An episode begins that may turn out to be none.
    fn save_state(&mut self) {
        self.save_window();
        self.bounds_before = self.bounds;
        self.undone_phase = None;
        self.latest.handle_loss(self.delivered);
    }
}

impl Controller for Bbr {
    fn handle_sent(&mut self, _bytes: u64, _flight: u64, was_idle: bool, now: Instant) {
        if !was_idle || self.is_expired || self.is_idle_restart {
            return;
        }
        self.is_idle_restart = true;
        self.aggregation.handle_restart(now);
        if self.phase.is_probe_bw() {
            // Paced at the path's rate, an empty path is full again within a round trip.
            self.set_pacing(Gain::ONE);
        } else if self.phase == BbrPhase::ProbeRtt {
            self.check_probe_rtt_done(now);
        }
    }

    fn handle_progress(&mut self, progress: &Progress, now: Instant) {
        self.is_expired = false;
        self.delivered = progress.delivered_total;
        if let Some(round_trip) = progress.round_trip {
            self.judge.handle_round_trip(round_trip);
            if !std::mem::replace(&mut self.has_first_round_trip, true) {
                self.set_first_pacing(round_trip);
            }
        }
        if progress.lost > 0 {
            self.latest.handle_loss(self.delivered);
        }
        let sample = progress.rate.map(|sample| RateSample {
            is_app_limited: sample.is_app_limited || sample.prior_delivered < self.limited_until,
            ..sample
        });
        if let Some(sample) = &sample {
            self.update_model(sample, progress, now);
        }
        self.check_round_trip(progress, now);
        if let Some(sample) = &sample {
            self.latest.advance(sample.rate, sample.delivered);
        }
        self.set_pacing(self.phase.pacing_gain());
        self.set_window(progress);
    }

    fn handle_congestion(&mut self, _flight: u64, _sent_to: u64, _now: Instant) {
        self.save_state();
        self.is_recovering = true;
        self.startup.handle_congestion(self.rounds.count());
    }

    fn handle_recovered(&mut self, _now: Instant) {
        self.is_recovering = false;
        self.startup.handle_recovered();
        self.restore_window();
    }

    fn handle_expiry(&mut self, _now: Instant) {
        self.save_state();
        self.is_recovering = true;
        self.is_expired = true;
        // Nothing is in flight: one segment finds out whether the path is there.
        self.window = self.segment_len;
    }

    fn handle_undo(&mut self, now: Instant) {
        self.handle_recovered(now);
        self.latest.take_loss();
        self.plateau = Plateau::default();
        self.bounds.undo(&self.bounds_before);
        match self.undone_phase.take() {
            Some(UndonePhase::Startup) => {
                self.is_full = false;
                if self.phase != BbrPhase::ProbeRtt {
                    self.enter_startup();
                }
            }
            Some(UndonePhase::Up) if self.phase.is_probe_bw() && self.phase != BbrPhase::Up => {
                self.start_refill();
            }
            Some(UndonePhase::Up) | None => {}
        }
    }

    fn set_segment_len(&mut self, len: u64) {
        self.segment_len = len.max(1);
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn pacing_rate(&self) -> Option<u64> {
        self.pacing
    }
}
