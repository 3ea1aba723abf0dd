//! ProbeRtt: half a flight for a fifth of a second, so that the round trip shows that the path
//! has without a queue (draft-ietf-ccwg-bbr-06, section 5.3.4).

use std::time::Duration;

use super::Bbr;
use super::phases::{BbrPhase, Gain};
use crate::stack::tcp::sender::congestion::Progress;
use crate::time::Instant;

/// BBR.ProbeRTTDuration: long enough that flows of different rates do it together.
const DURATION: Duration = Duration::from_millis(200);

/// Where a ProbeRtt stands, and what may ask for one before its time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundTripProbe {
    /// Nothing more than half a flight has been in flight; the probe ends then at the earliest.
    ends_at: Option<Instant>,
    has_round: bool,
    /// The highest rate of this round; the highest there is if the application limited it.
    fastest: u64,
}

impl Bbr {
    /// The filter of the round trip, and the probe that it asks for.
    pub(super) fn check_round_trip(&mut self, progress: &Progress, now: Instant) {
        self.round_trip.handle_sample(progress.round_trip, now);
        if self.phase != BbrPhase::ProbeRtt
            && self.round_trip.is_probe_due()
            && !self.is_idle_restart
        {
            self.save_window();
            self.phase = BbrPhase::ProbeRtt;
            self.round_trip_probe.ends_at = None;
            self.round_trip_probe.has_round = false;
            self.cycle.stop();
            self.rounds.begin(self.delivered);
        }
        if self.phase == BbrPhase::ProbeRtt {
            self.advance_probe_rtt(progress.flight, now);
        }
        if progress.delivered > 0 {
            self.is_idle_restart = false;
        }
    }

    fn advance_probe_rtt(&mut self, flight: u64, now: Instant) {
        // What is sent now is slow on purpose, and says nothing of the path's rate.
        self.limited_until = self.delivered + flight;
        if self.round_trip_probe.ends_at.is_none() {
            if flight <= self.probe_rtt_window() {
                self.round_trip_probe.ends_at = Some(now + DURATION);
                self.rounds.begin(self.delivered);
            }
            return;
        }
        self.round_trip_probe.has_round |= self.rounds.is_start();
        if self.round_trip_probe.has_round {
            self.check_probe_rtt_done(now);
        }
    }

    /// A flow that went silent in it is told when it sends again.
    pub(super) fn check_probe_rtt_done(&mut self, now: Instant) {
        if self.round_trip_probe.ends_at.is_none_or(|end| now <= end) {
            return;
        }
        self.round_trip.handle_probed(now);
        self.restore_window();
        // What was lost in the meantime was lost with half a flight: no bound for a whole one.
        self.bounds.forget_now();
        if self.is_full {
            self.start_down(now);
            self.start_cruise();
        } else {
            self.enter_startup();
        }
    }

    /// Less than half of the rate for a whole round, and more than twice the round trip. A rate
    /// that falls behind a deep queue loses nothing, and the draft would keep its estimate, and
    /// the queue, for two cycles of probes of which each takes as long as the queue; a ProbeRtt
    /// that keeps half of what the path held does not drain it. It might as well be the round
    /// trip that grew, and only a probe can tell: the rate is believed, the round trip measured.
    pub(super) fn check_strange(&mut self, rate: u64, is_app_limited: bool, now: Instant) {
        let rate = if is_app_limited { u64::MAX } else { rate };
        if !self.rounds.is_start() {
            self.round_trip_probe.fastest = self.round_trip_probe.fastest.max(rate);
            return;
        }
        let fastest = std::mem::replace(&mut self.round_trip_probe.fastest, rate);
        let is_longer = match (self.judge.shortest_lately(), self.round_trip.get()) {
            (Some(shortest), Some(lowest)) => shortest > lowest * 2,
            (None, _) | (_, None) => false,
        };
        let rate = self.rate();
        // Half a flight is half of the rate.
        let rate = if self.phase == BbrPhase::ProbeRtt { Gain::HALF.of(rate) } else { rate };
        if self.is_full && is_longer && fastest < Gain::HALF.of(rate) {
            self.bandwidth.limit(fastest);
            self.round_trip.doubt(now);
        }
    }

    /// Half of what the path holds without a queue.
    pub(super) fn probe_rtt_window(&self) -> u64 {
        BbrPhase::ProbeRtt.window_gain().of(self.bdp()).max(self.window_min())
    }
}
