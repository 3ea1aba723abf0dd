//! How much may be in flight, however far the window has grown: what the path holds, as measured,
//! and a queue that is short.
//!
//! CUBIC grows until a queue overflows, and lets it stand meanwhile. What waits there makes nothing
//! faster. So no more than a part of what the path holds waits, of long paths little, of fast short
//! ones a millisecond's worth, where two ends that wake for each other's segments take most of
//! their time for that.
//!
//! Beside flows that fill the queue this would starve. Alone, a flow that has all in flight that
//! it may delivers as fast as ever; if it does not, or if the queue stands although it holds back
//! for a round, then the queue is others', and the ceiling is lifted for a while.

use std::time::Duration;

use crate::limits::{FLIGHT_MIN, FLIGHT_QUEUE, FLIGHT_QUEUE_MAX, FLIGHT_SPARE, FLIGHT_STEP};
use crate::stack::tcp::ratio::{per_second, within};
use crate::stack::tcp::sender::delivery::RateSample;
use crate::time::Instant;

/// Rounds of which the best rate is believed.
const RATE_ROUNDS: usize = 10;
/// How long the lowest round trip is believed, and how long a loss is remembered.
const LIFETIME: Duration = Duration::from_secs(10);
/// How long the ceiling is lifted.
const LIFT: Duration = Duration::from_secs(10);
/// The least of rounds and of time in which a rate is compared with earlier ones.
const SPAN: (u32, Duration) = (8, Duration::from_millis(300));
/// A path whose round trip is shorter is a local one.
const LOCAL: Duration = Duration::from_millis(2);
/// A queue that is shorter may be jitter.
const JITTER: Duration = Duration::from_millis(4);

/// The measurements of one connection.
#[derive(Debug, Default)]
pub(super) struct Ceiling {
    lowest: Option<LowestRoundTrip>,
    /// The best rate of each of the latest rounds, in bytes a second.
    rates: [u64; RATE_ROUNDS],
    newest: usize,
    /// The best of them all.
    rate: u64,
    /// The newest round has a sample that the application did not limit.
    has_sample: bool,
    /// The lowest round trip of this round.
    round_lowest: Option<Duration>,
    loss: Option<BearableFlight>,
    span: Option<RateSpan>,
    /// The best rate of a span, and when it was.
    best: Option<(u64, Instant)>,
    drain: Option<Drain>,
    lift: Option<Lift>,
    limit: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct LowestRoundTrip {
    time: Duration,
    at: Instant,
}

/// Something was lost with twice as many bytes in flight.
#[derive(Clone, Copy, Debug)]
struct BearableFlight {
    bytes: u64,
    at: Instant,
}

/// Rounds in which the ceiling held back the flow, and nothing else did.
#[derive(Clone, Copy, Debug)]
struct RateSpan {
    rounds: u32,
    began_at: Instant,
    delivered: u64,
}

/// A round of holding back, and a second one that looks at the queue.
#[derive(Clone, Copy, Debug)]
struct Drain {
    rounds: u32,
    /// The round trip before.
    standing: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Lift {
    until: Instant,
    lowest: Option<Duration>,
}

impl Ceiling {
    /// How many bytes may be in flight; `None` for as many as the window allows.
    pub(super) fn limit(&self) -> Option<u64> {
        self.limit.filter(|_| self.lift.is_none())
    }

    /// What the path holds without a queue, as far as that is known.
    pub(super) fn held(&self) -> u64 {
        self.lowest.map_or(0, |lowest| self.held_within(lowest.time))
    }

    /// The lowest round trip of late.
    pub(super) fn lowest(&self) -> Option<Duration> {
        self.lowest.map(|lowest| lowest.time)
    }

    /// Whether the path is one within a house, whose timing is that of its ends.
    pub(super) fn is_local(&self) -> bool {
        self.lowest.is_some_and(|lowest| lowest.time < LOCAL)
    }

    /// Whether a segment that took so long waited for hardly anything.
    pub(super) fn is_without_queue(&self, round_trip: Duration) -> bool {
        let slack = |lowest: Duration| (lowest / 16).max(Duration::from_millis(1));
        self.lowest().is_some_and(|lowest| round_trip <= lowest + slack(lowest))
    }

    /// Something was lost of so many bytes in flight.
    pub(super) fn handle_loss(&mut self, flight: u64, now: Instant) {
        self.loss = Some(BearableFlight { bytes: flight / 2, at: now });
        self.span = None;
        self.update(now);
    }

    /// It was not lost after all.
    pub(super) const fn handle_undo(&mut self) {
        self.loss = None;
    }

    /// An acknowledgement came, perhaps with measurements.
    pub(super) fn handle_measured(
        &mut self,
        round_trip: Option<Duration>,
        rate: Option<&RateSample>,
        now: Instant,
    ) {
        if let Some(time) = round_trip {
            let lower = |other: Option<Duration>| Some(other.map_or(time, |other| other.min(time)));
            self.round_lowest = lower(self.round_lowest);
            if let Some(lift) = &mut self.lift {
                lift.lowest = lower(lift.lowest);
            }
            if self.lowest.is_none_or(|lowest| time <= lowest.time) {
                self.lowest = Some(LowestRoundTrip { time, at: now });
            }
        }
        if let Some(sample) = rate {
            self.has_sample |= !sample.is_app_limited;
            if !sample.is_app_limited || sample.rate > self.rate {
                let newest = &mut self.rates[self.newest];
                *newest = sample.rate.max(*newest);
                self.rate = self.rate.max(sample.rate);
            }
        }
        self.update(now);
    }

    /// What was in flight when the last round began has arrived, `delivered` bytes in all up to
    /// now. `is_limiting`: this limit was what held back the flow all along.
    pub(super) fn handle_round(&mut self, is_limiting: bool, delivered: u64, now: Instant) {
        let round_lowest = self.round_lowest.take();
        if std::mem::take(&mut self.has_sample) {
            self.newest = (self.newest + 1) % RATE_ROUNDS;
            self.rates[self.newest] = 0;
            self.rate = self.rates.iter().copied().max().unwrap_or(0);
        }
        if let Some(lift) = self.lift {
            if now >= lift.until {
                self.lowest = lift.lowest.map(|time| LowestRoundTrip { time, at: now });
                (self.lift, self.best, self.span) = (None, None, None);
            }
        } else if let Some(drain) = &mut self.drain {
            drain.rounds += 1;
            if drain.rounds == 2 {
                self.end_drain(round_lowest, now);
            }
        } else {
            self.look_at_rate(is_limiting, delivered, now);
            self.renew_lowest(is_limiting, round_lowest, now);
        }
        self.update(now);
    }

    /// Who delivers less than before with as much in flight is not alone.
    fn look_at_rate(&mut self, is_limiting: bool, delivered: u64, now: Instant) {
        if !is_limiting || self.is_local() {
            self.span = None;
            return;
        }
        let span = self.span.get_or_insert(RateSpan { rounds: 0, began_at: now, delivered });
        let time = now.saturating_duration_since(span.began_at);
        if span.rounds < SPAN.0 || time < SPAN.1 {
            span.rounds += 1;
            return;
        }
        let rate = per_second(delivered - span.delivered, time);
        self.span = None;
        match self.best {
            Some((best, _)) if rate < best / 8 * 7 => self.lift(now),
            Some((best, at)) if rate < best && !is_old(at, now) => {}
            _ => self.best = Some((rate, now)),
        }
    }

    /// A lowest round trip that is old is measured again, without a queue if that is ours.
    fn renew_lowest(&mut self, is_limiting: bool, measured: Option<Duration>, now: Instant) {
        let (Some(lowest), Some(measured)) = (self.lowest, measured) else { return };
        if !is_old(lowest.at, now) {
            return;
        }
        if is_limiting && measured > lowest.time {
            self.span = None;
            self.drain = Some(Drain { rounds: 0, standing: measured });
        } else {
            self.lowest = Some(LowestRoundTrip { time: measured, at: now });
        }
    }

    fn end_drain(&mut self, measured: Option<Duration>, now: Instant) {
        let (Some(drain), Some(lowest)) = (self.drain.take(), self.lowest) else { return };
        let measured = measured.unwrap_or(drain.standing);
        let queue = drain.standing.saturating_sub(lowest.time);
        let went_away = drain.standing.saturating_sub(measured);
        if queue > JITTER && went_away < queue / 2 {
            self.lift(now);
        } else {
            self.lowest = Some(LowestRoundTrip { time: measured, at: now });
        }
    }

    fn lift(&mut self, now: Instant) {
        self.lift = Some(Lift { until: now + LIFT, lowest: None });
        self.span = None;
    }

    fn update(&mut self, now: Instant) {
        let Some(lowest) = self.lowest.filter(|_| self.rate > 0) else { return };
        let held = self.held_within(lowest.time);
        let limit = if self.drain.is_some() {
            held - held / 16
        } else {
            held.saturating_add(held.min(STEP.max(held / 8))).saturating_add(SPARE)
        };
        let loss = self.loss.filter(|loss| !is_old(loss.at, now));
        let bearable = loss.map_or(u64::MAX, |loss| loss.bytes);
        let queue = self.held_within(FLIGHT_QUEUE).min(FLIGHT_QUEUE_MAX as u64).min(bearable);
        self.limit = Some(limit.max(queue).max(FLIGHT_MIN as u64));
    }

    fn held_within(&self, time: Duration) -> u64 {
        // A quarter, so that sums of it are in range.
        within(self.rate, time).min(u64::MAX / 4)
    }
}

const STEP: u64 = FLIGHT_STEP as u64;
const SPARE: u64 = FLIGHT_SPARE as u64;

fn is_old(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) > LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flow that has all in flight that it may, over a path of which it is told what it can take
    /// and how long that waits.
    struct Course {
        ceiling: Ceiling,
        now: Instant,
        delivered: u64,
    }

    impl Course {
        fn new() -> Self {
            Self { ceiling: Ceiling::default(), now: Instant::ZERO, delivered: 0 }
        }

        /// So many rounds with this rate and round trip.
        fn run(&mut self, rounds: u32, rate: u64, round_trip: Duration) {
            for _ in 0..rounds {
                self.now += round_trip;
                let sample = RateSample {
                    rate,
                    delivered: 0,
                    lost: 0,
                    prior_delivered: 0,
                    prior_in_flight: 0,
                    is_app_limited: false,
                };
                self.ceiling.handle_measured(Some(round_trip), Some(&sample), self.now);
                self.delivered += rate * u64::try_from(round_trip.as_micros()).unwrap() / 1_000_000;
                self.ceiling.handle_round(true, self.delivered, self.now);
            }
        }

        /// A queue stands until the lowest round trip is to be measured again.
        fn run_until_drain(&mut self) {
            while self.ceiling.drain.is_none() {
                self.run(1, RATE, STANDING);
                assert!(self.now < Instant::ZERO + 2 * LIFETIME);
            }
        }
    }

    const RATE: u64 = 12_500_000;
    const LOWEST: Duration = Duration::from_millis(40);
    const STANDING: Duration = Duration::from_millis(65);

    #[test]
    fn a_path_has_twice_what_it_holds_and_a_long_one_little_more_than_that() {
        for (rate, held, limit) in [
            (5_000_000, 200_000, 400_000 + SPARE),
            (125_000_000, 5_000_000, 5_000_000 + 625_000 + SPARE),
            (10_000, 400, FLIGHT_MIN as u64),
        ] {
            let mut course = Course::new();
            course.run(3, rate, LOWEST);
            assert_eq!((course.ceiling.held(), course.ceiling.limit()), (held, Some(limit)));
        }
        assert_eq!(Ceiling::default().limit(), None, "nothing is known");
    }

    #[test]
    fn a_fast_local_path_has_a_queue_of_a_millisecond_until_something_is_lost() {
        let mut course = Course::new();
        let round_trip = Duration::from_micros(200);
        course.run(3, 400_000_000, round_trip);
        assert_eq!(course.ceiling.limit(), Some(400_000));
        course.ceiling.handle_loss(400_000, course.now);
        assert_eq!(course.ceiling.limit(), Some(200_000));
        course.run(55_000, 400_000_000, round_trip);
        assert_eq!(course.ceiling.limit(), Some(400_000), "after eleven seconds");
        course.run(100, 4_000_000_000, round_trip);
        assert!(course.ceiling.limit() <= Some(2 * FLIGHT_QUEUE_MAX as u64));
    }

    #[test]
    fn who_delivers_less_with_as_much_in_flight_is_not_alone() {
        let mut course = Course::new();
        course.run(1, RATE, LOWEST);
        course.run(30, RATE, STANDING);
        assert!(course.ceiling.limit().is_some());
        course.run(30, RATE / 5 * 4, STANDING * 5 / 4);
        assert_eq!(course.ceiling.limit(), None);
        let rounds = u32::try_from(LIFT.as_millis() / STANDING.as_millis()).unwrap();
        course.run(rounds, RATE / 5 * 4, STANDING);
        assert!(course.ceiling.limit().is_some(), "and looks again after a while");
    }

    #[test]
    fn a_queue_of_our_own_goes_away_when_we_hold_back() {
        let mut course = Course::new();
        course.run(1, RATE, LOWEST);
        course.run_until_drain();
        assert!(course.ceiling.limit() < Some(course.ceiling.held()));
        course.run(2, RATE, LOWEST + Duration::from_millis(1));
        assert_eq!(course.ceiling.lowest(), Some(LOWEST + Duration::from_millis(1)));
        assert!(course.ceiling.limit() > Some(course.ceiling.held()));
    }

    #[test]
    fn a_queue_that_stays_when_we_hold_back_is_others() {
        let mut course = Course::new();
        course.run(1, RATE, LOWEST);
        course.run_until_drain();
        course.run(2, RATE, STANDING);
        assert_eq!(course.ceiling.limit(), None);
    }

    #[test]
    fn what_the_application_did_not_send_says_nothing_of_the_path() {
        let mut course = Course::new();
        course.run(3, RATE, LOWEST);
        let held = course.ceiling.held();
        for _ in 0..20 {
            let slow = RateSample {
                rate: RATE / 100,
                delivered: 0,
                lost: 0,
                prior_delivered: 0,
                prior_in_flight: 0,
                is_app_limited: true,
            };
            course.ceiling.handle_measured(Some(LOWEST), Some(&slow), course.now);
            course.ceiling.handle_round(false, course.delivered, course.now);
        }
        assert_eq!(course.ceiling.held(), held);
    }
}
