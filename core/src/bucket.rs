//! A token bucket: a burst at once, then a steady rate.
//!
//! A bucket is a single instant, up to which what was taken has been paid for (the generic cell
//! rate algorithm), so that a full bucket needs no memory and may be forgotten.

use std::time::Duration;

use crate::time::Instant;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    interval: Duration,
    tolerance: Duration,
}

impl Rate {
    /// A bucket of `burst` tokens that gets a new one each `interval`.
    pub(crate) const fn new(burst: u32, interval: Duration) -> Self {
        Self { interval, tolerance: interval.saturating_mul(burst) }
    }

    /// A bucket of `burst` tokens that gets `tokens` of them back each second.
    pub(crate) const fn per_second(burst: u32, tokens: u32) -> Self {
        let tokens = if tokens == 0 { 1 } else { tokens };
        Self::new(burst, Duration::from_nanos(1_000_000_000 / tokens as u64))
    }
}

/// A bucket, full at first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    pub(crate) paid_until: Instant,
}

impl Bucket {
    /// Whether there is a token.
    pub(crate) fn has_token(&self, rate: Rate, now: Instant) -> bool {
        self.after_taking(rate, now).saturating_duration_since(now) <= rate.tolerance
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let has_token = self.has_token(rate, now);
        if has_token {
            self.paid_until = self.after_taking(rate, now);
        }
        has_token
    }

    fn after_taking(&self, rate: Rate, now: Instant) -> Instant {
        self.paid_until.max(now) + rate.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_then_a_rate() {
        let rate = Rate::per_second(5, 20);
        let mut bucket = Bucket::default();
        let mut now = Instant::ZERO + SECOND;
        assert_eq!((0..10).filter(|_| bucket.take(rate, now)).count(), 5);
        now += SECOND;
        assert_eq!((0..10).filter(|_| bucket.take(rate, now)).count(), 5);
        let taken = (0..1000).filter(|_| {
            now += Duration::from_millis(10);
            bucket.take(rate, now)
        });
        assert_eq!(taken.count(), 200);
    }

    #[test]
    fn a_refusal_costs_nothing() {
        let rate = Rate::new(1, SECOND);
        let mut bucket = Bucket::default();
        assert!(bucket.take(rate, Instant::ZERO));
        for _ in 0..100 {
            assert!(!bucket.take(rate, Instant::ZERO));
        }
        assert!(bucket.take(rate, Instant::ZERO + SECOND));
    }
}
