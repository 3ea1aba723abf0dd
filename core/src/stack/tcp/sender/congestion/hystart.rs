//! When slow start has found what the path takes: HyStart++ (RFC 9406).
//!
//! A round-trip time that is longer than the round before had says that a queue builds up: the
//! lowest of a few samples, not as in the RFC of the round's first ones only, since what is
//! paced finds the queue at the end of a round. Then growth slows down for some rounds
//! (conservative slow start), in which a time that was only a whim of the path is found out.

use std::time::Duration;

/// How much longer a round trip must be to be a sign, at least and at most.
const THRESHOLD: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(16));
/// Samples of a round that are needed.
const SAMPLES: u32 = 8;
/// Growth of conservative slow start is this part of slow start's.
const CONSERVATIVE_DIVISOR: u64 = 4;
/// Rounds of conservative slow start.
const CONSERVATIVE_ROUNDS: u32 = 5;

/// Slow start's look at the path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HyStart {
    previous: Option<Duration>,
    current: Option<Duration>,
    /// The lowest of the samples since the last look.
    recent: Option<Duration>,
    samples: u32,
    conservative: Option<Conservative>,
}

#[derive(Clone, Copy, Debug)]
struct Conservative {
    /// The round-trip time with which it began: what is shorter speaks against a queue.
    baseline: Duration,
    rounds: u32,
    window: u64,
}

impl HyStart {
    /// The window with which conservative slow start began, if it is under way.
    pub(super) fn conservative_from(&self) -> Option<u64> {
        self.conservative.map(|conservative| conservative.window)
    }

    /// How many bytes the window grows by for so many that have arrived.
    pub(super) const fn growth(&self, delivered: u64) -> u64 {
        match self.conservative {
            Some(_) => delivered / CONSERVATIVE_DIVISOR,
            None => delivered,
        }
    }

    /// What was in flight when the last round began has arrived. Says whether slow start is over.
    pub(super) fn handle_round(&mut self) -> bool {
        self.previous = self.current.take();
        (self.recent, self.samples) = (None, 0);
        self.conservative.as_mut().is_some_and(|conservative| {
            conservative.rounds += 1;
            conservative.rounds >= CONSERVATIVE_ROUNDS
        })
    }

    /// A round-trip time was measured, while the window was so large.
    pub(super) fn handle_round_trip(&mut self, time: Duration, window: u64) {
        let lower = |other: Option<Duration>| other.map_or(time, |other| other.min(time));
        self.current = Some(lower(self.current));
        let current = lower(self.recent);
        self.samples += 1;
        if self.samples < SAMPLES {
            self.recent = Some(current);
            return;
        }
        (self.recent, self.samples) = (None, 0);
        match self.conservative {
            Some(conservative) if current < conservative.baseline => self.conservative = None,
            Some(_) => {}
            None => {
                let Some(previous) = self.previous else { return };
                let threshold = (previous / 8).clamp(THRESHOLD.0, THRESHOLD.1);
                if current >= previous + threshold {
                    let (baseline, rounds) = (current, 0);
                    self.conservative = Some(Conservative { baseline, rounds, window });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u64 = 1000;

    /// A round with round-trip times of so many milliseconds.
    fn round(hystart: &mut HyStart, millis: u64, samples: u32) -> bool {
        for _ in 0..samples {
            hystart.handle_round_trip(Duration::from_millis(millis), 100 * LEN);
        }
        hystart.handle_round()
    }

    #[test]
    fn a_queue_slows_growth_and_ends_slow_start_after_five_rounds() {
        let mut hystart = HyStart::default();
        assert!(!round(&mut hystart, 40, 10));
        assert_eq!(hystart.growth(4 * LEN), 4 * LEN);
        for (millis, is_over) in [(46, false), (50, false), (54, false), (58, false), (62, true)] {
            assert_eq!(round(&mut hystart, millis, 10), is_over, "{millis} ms");
            assert_eq!(hystart.growth(4 * LEN), LEN);
        }
        assert_eq!(hystart.conservative_from(), Some(100 * LEN));
    }

    #[test]
    fn a_whim_of_the_path_is_forgiven() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 40, 10);
        round(&mut hystart, 50, 10);
        round(&mut hystart, 41, 10);
        assert_eq!(hystart.growth(4 * LEN), 4 * LEN);
    }

    #[test]
    fn less_than_the_threshold_or_few_samples_say_nothing() {
        for (base, millis, samples) in [(40, 44, 10), (1, 4, 10), (40, 100, 7), (400, 415, 10)] {
            let mut hystart = HyStart::default();
            round(&mut hystart, base, 10);
            round(&mut hystart, millis, samples);
            assert_eq!(hystart.conservative_from(), None, "{base} to {millis} ms");
        }
    }
}
