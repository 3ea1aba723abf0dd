//! ProbeBW: sends slower, as fast, and faster than the path delivers, in turns
//! (draft-ietf-ccwg-bbr-06, section 5.3.3).

use std::time::Duration;

use super::bandwidth::Plateau;
use super::phases::{BbrPhase, Gain};
use super::{Bbr, UndonePhase};
use crate::stack::tcp::sender::congestion::Progress;
use crate::stack::tcp::sender::delivery::RateSample;
use crate::time::Instant;

/// Rounds after which a flow probes at the latest: as often as Reno would overflow the path,
/// but for large windows, which would wait too long.
const ROUNDS_MAX: u64 = 63;
/// At least so long between two probes, and up to a second more.
const WAIT_MIN: Duration = Duration::from_secs(2);
const WAIT_SPREAD_NANOS: u64 = 1_000_000_000;
/// The growth of the bound doubles each round, and so often at most.
const GROWTH_ROUNDS_MAX: u32 = 30;

/// What the acknowledgements that come now are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ProbeAnswers {
    /// Nothing of interest.
    Other,
    /// What was sent before the probe, while the path is filled.
    Refilling,
    /// What was sent before the probe, while it runs.
    Starting,
    /// The probe.
    Feedback,
    /// The probe, which is over.
    Stopping,
}

/// Where the cycle of probes stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProbeCycle {
    answers: ProbeAnswers,
    began: Instant,
    wait: Duration,
    rounds: u64,
    /// Something that was sent to probe is still to be answered for, with losses or without.
    is_sample: bool,
    /// The last probe lost too much: the next one ends as soon as it reaches the bound.
    was_too_high: bool,
    /// The last probe ended so.
    was_cautious: bool,
    growth_rounds: u32,
    acked: u64,
    acked_per_segment: Option<u64>,
    random: u64,
}

impl ProbeCycle {
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self {
            answers: ProbeAnswers::Other,
            began: now,
            wait: WAIT_MIN,
            rounds: 0,
            is_sample: false,
            was_too_high: false,
            was_cautious: false,
            growth_rounds: 0,
            acked: 0,
            acked_per_segment: None,
            random: seed,
        }
    }

    /// Flows that began together must not probe together for ever.
    fn pick_wait(&mut self) {
        // SplitMix64: nobody gains by guessing when a flow probes.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.rounds = mixed >> 63;
        self.wait = WAIT_MIN + Duration::from_nanos((mixed & 0xffff_ffff) % WAIT_SPREAD_NANOS);
    }

    pub(super) fn handle_round(&mut self) {
        self.rounds += 1;
    }

    /// A ProbeRtt begins: what it brings is no answer to a probe.
    pub(super) fn stop(&mut self) {
        self.answers = ProbeAnswers::Stopping;
    }
}

impl Bbr {
    /// The queue of the probe drains.
    pub(super) fn start_down(&mut self, now: Instant) {
        self.latest.reset();
        self.cycle.acked_per_segment = None;
        self.cycle.pick_wait();
        self.cycle.began = now;
        self.cycle.answers = ProbeAnswers::Stopping;
        self.rounds.begin(self.delivered);
        self.phase = BbrPhase::Down;
    }

    pub(super) fn start_cruise(&mut self) {
        self.phase = BbrPhase::Cruise;
    }

    pub(super) fn start_refill(&mut self) {
        self.bounds.forget_now();
        self.cycle.growth_rounds = 0;
        self.cycle.acked = 0;
        self.cycle.was_cautious = false;
        self.cycle.answers = ProbeAnswers::Refilling;
        self.rounds.begin(self.delivered);
        self.phase = BbrPhase::Refill;
    }

    fn start_up(&mut self, sample: &RateSample) {
        self.cycle.is_sample = true;
        self.cycle.answers = ProbeAnswers::Starting;
        self.rounds.begin(self.delivered);
        self.plateau = Plateau::above(sample.rate);
        self.phase = BbrPhase::Up;
        self.raise_growth();
    }

    /// One step through the cycle, once the path has been full.
    pub(super) fn advance_cycle(&mut self, sample: &RateSample, progress: &Progress, now: Instant) {
        if !self.is_full || self.adapt_bound(sample, progress, now) {
            return;
        }
        match self.phase {
            BbrPhase::Down if self.is_time_to_probe(now) => self.start_refill(),
            BbrPhase::Down if self.is_time_to_cruise(progress.flight) => self.start_cruise(),
            BbrPhase::Cruise if self.is_time_to_probe(now) => self.start_refill(),
            BbrPhase::Refill if self.rounds.is_start() => self.start_up(sample),
            BbrPhase::Up => self.end_up(sample, progress, now),
            BbrPhase::Down
            | BbrPhase::Cruise
            | BbrPhase::Refill
            | BbrPhase::Startup
            | BbrPhase::Drain
            | BbrPhase::ProbeRtt => {}
        }
    }

    /// What the probe taught of how much may be in flight. True if it decided what comes next.
    fn adapt_bound(&mut self, sample: &RateSample, progress: &Progress, now: Instant) -> bool {
        if self.rounds.is_start() {
            match self.cycle.answers {
                ProbeAnswers::Starting => self.cycle.answers = ProbeAnswers::Feedback,
                ProbeAnswers::Stopping => {
                    self.cycle.is_sample = false;
                    self.cycle.answers = ProbeAnswers::Other;
                    if self.phase.is_probe_bw() {
                        if !sample.is_app_limited {
                            self.bandwidth.advance();
                        }
                        if self.cycle.was_cautious && !self.cycle.was_too_high {
                            self.start_refill();
                            return true;
                        }
                    }
                }
                ProbeAnswers::Other | ProbeAnswers::Refilling | ProbeAnswers::Feedback => {}
            }
        }
        if self.judge_excess(sample) {
            if self.cycle.is_sample {
                self.handle_too_high(sample, now);
                return self.phase == BbrPhase::Down;
            }
        } else if let Some(bound) = self.bounds.flight {
            self.bounds.flight = Some(bound.max(sample.prior_in_flight));
            if self.phase == BbrPhase::Up {
                self.raise_bound(progress);
            }
        }
        false
    }

    /// The probe lost too much: what was in flight then is the bound, once for each probe.
    fn handle_too_high(&mut self, sample: &RateSample, now: Instant) {
        self.cycle.was_too_high = true;
        self.cycle.is_sample = false;
        if !sample.is_app_limited {
            let least = Gain::BETA.of(self.bdp().min(self.window));
            self.bounds.flight = Some(sample.prior_in_flight.max(least));
        }
        if self.phase == BbrPhase::Up {
            self.undone_phase = Some(UndonePhase::Up);
            self.start_down(now);
        }
    }

    fn is_time_to_probe(&self, now: Instant) -> bool {
        let target = self.bdp().min(self.window) / self.segment_len;
        now > self.cycle.began + self.cycle.wait || self.cycle.rounds >= target.min(ROUNDS_MAX)
    }

    fn is_time_to_cruise(&self, flight: u64) -> bool {
        let bound = self.bounds.flight_with_headroom(self.segment_len, self.window_min());
        bound.is_none_or(|bound| flight <= bound) && flight <= self.flight_for(self.bdp_of_max())
    }

    /// The probe ends when the path is full, or, if the last one lost too much, at the bound.
    fn end_up(&mut self, sample: &RateSample, progress: &Progress, now: Instant) {
        let is_at_bound = |amount| self.bounds.flight.is_some_and(|bound| amount >= bound);
        if self.cycle.was_too_high && is_at_bound(progress.flight) {
            self.cycle.was_cautious = true;
        } else if progress.is_window_limited && is_at_bound(self.window) {
            // The bound keeps the rate from growing, not the path.
            self.plateau = Plateau::above(sample.rate);
            return;
        } else if !self.plateau.is_full() {
            return;
        }
        self.cycle.was_too_high = false;
        self.start_down(now);
    }

    /// By a segment, then by two, four, .. in each round.
    fn raise_growth(&mut self) {
        let segments = 1 << self.cycle.growth_rounds;
        self.cycle.growth_rounds = (self.cycle.growth_rounds + 1).min(GROWTH_ROUNDS_MAX);
        self.cycle.acked_per_segment = Some((self.window / segments).max(self.segment_len));
    }

    fn raise_bound(&mut self, progress: &Progress) {
        let (Some(bound), Some(step)) = (self.bounds.flight, self.cycle.acked_per_segment) else {
            return;
        };
        if !progress.is_window_limited || self.window < bound {
            return;
        }
        self.cycle.acked += progress.delivered;
        let segments = self.cycle.acked / step;
        self.cycle.acked %= step;
        self.bounds.flight = Some(bound + segments * self.segment_len);
        if self.rounds.is_start() {
            self.raise_growth();
        }
    }
}
