//! CUBIC (RFC 9438): a window that falls when something is lost, and grows with the time since.
//!
//! What the other rooms say comes together here: [`HyStart`] ends slow start, [`Prr`] lets the
//! window fall while a loss is repaired, [`CubicCurve`] lets it grow, and [`Ceiling`] keeps the
//! queue short. Two things are beyond the RFC:
//!
//! - The window grows only if it, and nothing else, was what held the sender back (in the manner of
//!   RFC 7661), and the time when it was not does not count.
//! - After a loss that left the path without any queue, the window goes back quickly to what the
//!   path is known to hold. Nobody else is there to whom the rest would fall.

use std::time::Duration;

use super::ceiling::Ceiling;
use super::curve::{CubicCurve, decreased};
use super::hystart::HyStart;
use super::prr::Prr;
use super::{Controller, INITIAL_SEGMENTS, Progress};
use crate::limits::FLIGHT_MIN;
use crate::stack::tcp::ratio::per_second;
use crate::time::Instant;

/// Below this round trip nothing is paced: timers are not fine enough, and queues are short.
const PACED_ROUND_TRIP_MIN: Duration = Duration::from_millis(3);
/// After so long a rest the window says nothing about the path any more.
const REST: Duration = Duration::from_secs(10);
/// The same, of a path without pacing (RFC 5681, section 4.1).
const UNPACED_REST: Duration = Duration::from_millis(200);
/// The part of what has arrived by which the window goes back to what the path holds.
const REFILL_DIVISOR: u64 = 4;

/// The state of one connection.
#[derive(Debug)]
pub(in crate::stack::tcp) struct Cubic {
    segment_len: u64,
    window: u64,
    /// Below it there is slow start (ssthresh).
    threshold: u64,
    curve: CubicCurve,
    hystart: HyStart,
    prr: Option<Prr>,
    ceiling: Ceiling,
    round: CubicRound,
    /// What the path held before the last congestion.
    refill: Option<u64>,
    saved: Option<BeforeCongestion>,
    is_repairing: bool,
    /// The timer has expired, and nothing has arrived since.
    is_expired: bool,
    smoothed: Option<Duration>,
    /// Bytes a second of the first flight, if that is to be paced.
    first_rate: Option<u64>,
    /// When something last left or arrived.
    active_at: Instant,
    progress_at: Instant,
}

/// From the sending of something to its acknowledgement.
#[derive(Clone, Copy, Debug, Default)]
struct CubicRound {
    /// The position behind what was sent when it began.
    end: u64,
    /// The most that was in flight, in this round and the one before.
    flight: u64,
    flight_before: u64,
    /// The window held back the sender, in this round and the one before.
    is_limited: bool,
    was_limited: bool,
    has_loss: bool,
}

/// What is restored if nothing was lost after all.
#[derive(Clone, Copy, Debug)]
struct BeforeCongestion {
    window: u64,
    threshold: u64,
    curve: CubicCurve,
    hystart: HyStart,
}

impl Cubic {
    /// A connection that may send `initial_window` bytes at first: all at once, or, if that is more
    /// than ten segments of a path whose `round_trip` is known, over one round trip.
    pub(in crate::stack::tcp) fn new(
        initial_window: u64,
        segment_len: u64,
        round_trip: Option<Duration>,
        now: Instant,
    ) -> Self {
        let segment_len = segment_len.max(1);
        let is_large = initial_window > INITIAL_SEGMENTS * segment_len;
        let round_trip = round_trip.filter(|time| is_large && *time >= PACED_ROUND_TRIP_MIN);
        Self {
            segment_len,
            window: initial_window.max(segment_len),
            threshold: u64::MAX,
            curve: CubicCurve::default(),
            hystart: HyStart::default(),
            prr: None,
            ceiling: Ceiling::default(),
            round: CubicRound::default(),
            refill: None,
            saved: None,
            is_repairing: false,
            is_expired: false,
            smoothed: None,
            first_rate: round_trip.map(|time| paced(initial_window, 1, 1, time)),
            active_at: now,
            progress_at: now,
        }
    }

    const fn is_slow_start(&self) -> bool {
        self.window < self.threshold
    }

    /// The most that may be in flight whatever the window.
    fn ceiling(&self) -> u64 {
        let Some(limit) = self.ceiling.limit() else { return u64::MAX };
        if !self.is_slow_start() {
            return limit;
        }
        match self.hystart.conservative_from() {
            Some(window) => limit.max(window),
            // As long as each round carries twice as much as the one before, that limits nothing.
            None if self.ceiling.is_local() => limit.max(2 * self.ceiling.held()),
            None => u64::MAX,
        }
    }

    fn handle_round(&mut self, progress: &Progress, now: Instant) {
        let round = &mut self.round;
        let is_limited = round.is_limited && !round.has_loss && self.prr.is_none();
        *round = CubicRound {
            end: progress.sent_to,
            flight: progress.flight,
            flight_before: round.flight,
            is_limited: false,
            was_limited: round.is_limited,
            has_loss: false,
        };
        let is_limiting =
            is_limited && !self.is_slow_start() && self.window + self.window / 16 >= self.ceiling();
        self.ceiling.handle_round(is_limiting, progress.delivered_total, now);
        if self.threshold == u64::MAX && self.hystart.handle_round() {
            self.threshold = self.window;
        }
    }

    fn grow(&mut self, progress: &Progress, now: Instant) {
        let passed = now.saturating_duration_since(self.progress_at);
        let ceiling = self.ceiling();
        let is_limited = self.round.is_limited || self.round.was_limited;
        if !is_limited || self.window >= ceiling {
            return;
        }
        let delivered = progress.delivered;
        let window = if self.is_slow_start() {
            let more =
                if self.threshold == u64::MAX { self.hystart.growth(delivered) } else { delivered };
            (self.window + more).min(self.threshold)
        } else if let Some(window) = self.refilled(progress) {
            window
        } else {
            let round_trip = progress.smoothed.unwrap_or(Duration::ZERO);
            self.curve.grow(self.window, delivered, self.segment_len, passed, round_trip)
        };
        self.window = window.min(ceiling);
    }

    /// The window on its way back to what the path held before a loss, as long as no queue says
    /// that somebody else takes that now.
    fn refilled(&mut self, progress: &Progress) -> Option<u64> {
        let refill = self.refill?;
        if self.window >= refill {
            self.refill = None;
            self.curve.restart();
            return None;
        }
        let is_free = progress.round_trip.is_some_and(|time| self.ceiling.is_without_queue(time));
        is_free.then(|| (self.window + progress.delivered / REFILL_DIVISOR).min(refill))
    }

    /// What the window was worth: as much of it as was used.
    fn used(&self, flight: u64) -> u64 {
        let flight = flight.max(self.round.flight).max(self.round.flight_before);
        self.window.min(flight)
    }

    fn decrease(&mut self, flight: u64, now: Instant) {
        let (used, held) = (self.used(flight), self.ceiling.held());
        self.curve.handle_congestion(used);
        self.threshold = decreased(used).max(2 * self.segment_len);
        self.refill = Some(held.min(used)).filter(|_| !self.ceiling.is_local());
        self.ceiling.handle_loss(used, now);
    }

    fn save(&mut self) {
        if !self.is_repairing {
            self.saved = Some(BeforeCongestion {
                window: self.window,
                threshold: self.threshold,
                curve: self.curve,
                hystart: self.hystart,
            });
        }
        self.is_repairing = true;
    }

    fn is_paced(&self) -> bool {
        self.smoothed.is_some_and(|smoothed| smoothed >= PACED_ROUND_TRIP_MIN)
    }

    /// The connection goes on after a rest.
    fn handle_rest(&mut self, now: Instant) {
        let rest = now.saturating_duration_since(self.active_at);
        let is_paced = self.is_paced();
        if rest <= if is_paced { REST } else { UNPACED_REST } {
            return;
        }
        let initial = INITIAL_SEGMENTS * self.segment_len;
        let initial = if is_paced { initial } else { initial.max(FLIGHT_MIN as u64) };
        if self.window > initial && self.prr.is_none() {
            self.threshold = self.threshold.max(self.window / 4 * 3);
            self.window = initial;
            self.curve.restart();
        }
    }
}

impl Controller for Cubic {
    fn handle_sent(&mut self, bytes: u64, flight: u64, was_idle: bool, now: Instant) {
        if was_idle {
            self.handle_rest(now);
            self.progress_at = now;
        }
        self.active_at = now;
        self.round.flight = self.round.flight.max(flight);
        if let Some(prr) = &mut self.prr {
            prr.handle_sent(bytes);
        }
    }

    fn handle_progress(&mut self, progress: &Progress, now: Instant) {
        self.smoothed = progress.smoothed;
        self.round.is_limited |= progress.is_window_limited;
        self.round.has_loss |= progress.lost > 0;
        self.ceiling.handle_measured(progress.round_trip, progress.rate.as_ref(), now);
        if let Some(time) = progress.round_trip.filter(|_| self.threshold == u64::MAX) {
            self.hystart.handle_round_trip(time, self.window);
        }
        if let Some(prr) = &mut self.prr {
            let is_safe = progress.lost == 0 && progress.delivered > 0;
            let (len, threshold) = (self.segment_len, self.threshold);
            prr.handle_progress(progress.delivered, progress.flight, threshold, len, is_safe);
        } else if progress.delivered > 0 {
            self.grow(progress, now);
        }
        if progress.delivered > 0 {
            self.is_expired = false;
            (self.active_at, self.progress_at) = (now, now);
        }
        if progress.acknowledged_to >= self.round.end {
            self.handle_round(progress, now);
        }
    }

    fn handle_congestion(&mut self, flight: u64, _sent_to: u64, now: Instant) {
        self.save();
        self.decrease(flight, now);
        self.window = self.threshold;
        self.prr = Some(Prr::new(flight));
    }

    fn handle_recovered(&mut self, now: Instant) {
        self.prr = None;
        self.is_repairing = false;
        self.progress_at = now;
        // When slow start ends with a loss, the path has not been seen full before.
        let held = self.ceiling.held();
        self.refill = self.refill.map(|refill| refill.max(held));
    }

    fn handle_expiry(&mut self, now: Instant) {
        // RFC 5681, section 3.1: once for what is lost, however often it has to be repeated.
        if !self.is_expired && self.prr.is_none() {
            self.save();
            self.decrease(0, now);
        }
        self.prr = None;
        self.window = self.segment_len;
        self.is_expired = true;
    }

    fn handle_undo(&mut self, now: Instant) {
        let Some(saved) = self.saved.take() else { return };
        self.window = self.window.max(saved.window);
        (self.threshold, self.curve, self.hystart) = (saved.threshold, saved.curve, saved.hystart);
        (self.prr, self.refill) = (None, None);
        (self.is_repairing, self.is_expired) = (false, false);
        self.progress_at = now;
        self.ceiling.handle_undo();
    }

    fn set_segment_len(&mut self, len: u64) {
        self.segment_len = len.max(1);
    }

    fn window(&self) -> u64 {
        match &self.prr {
            Some(prr) => prr.window(),
            None => self.window.min(self.ceiling()),
        }
    }

    fn pacing_rate(&self) -> Option<u64> {
        let Some(smoothed) = self.smoothed else { return self.first_rate };
        if smoothed < PACED_ROUND_TRIP_MIN {
            return None;
        }
        // Faster than the window asks for, so that it is the window that limits.
        let window = self.window.max(self.window());
        let is_far = self.window < self.threshold / 2;
        Some(if is_far { paced(window, 2, 1, smoothed) } else { paced(window, 6, 5, smoothed) })
    }
}

/// Bytes a second that send a window in one round trip, times a gain.
fn paced(window: u64, gain: u32, divisor: u32, round_trip: Duration) -> u64 {
    let round_trip = round_trip.saturating_mul(divisor);
    per_second(window.saturating_mul(u64::from(gain)), round_trip)
}

#[cfg(test)]
mod tests;
