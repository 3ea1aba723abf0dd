//! A token bucket: a burst at once, then a steady rate.

use crate::time::Instant;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A bucket that starts full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// Nanoseconds that one token takes to come back.
    interval_ns: u64,
    /// Nanoseconds of credit that a full bucket holds.
    capacity_ns: u64,
    credit_ns: u64,
    updated_at: Instant,
}

impl Bucket {
    /// A bucket of `burst` tokens that gains `rate` tokens a second. Neither may be zero.
    pub(crate) const fn full(burst: u32, rate: u32, now: Instant) -> Self {
        let interval_ns = NANOS_PER_SEC / rate as u64;
        let capacity_ns = interval_ns * burst as u64;
        Self { interval_ns, capacity_ns, credit_ns: capacity_ns, updated_at: now }
    }

    /// Takes one token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let passed = now.as_nanos().saturating_sub(self.updated_at.as_nanos());
        self.credit_ns = self.credit_ns.saturating_add(passed).min(self.capacity_ns);
        self.updated_at = self.updated_at.max(now);
        let enough = self.credit_ns >= self.interval_ns;
        if enough {
            self.credit_ns -= self.interval_ns;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate() {
        let mut now = Instant::ZERO;
        let mut bucket = Bucket::full(5, 10, now);
        let mut take = |now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(take(now), 5);
        now += Duration::from_millis(99);
        assert_eq!(take(now), 0);
        now += Duration::from_millis(1);
        assert_eq!(take(now), 1);
        now += Duration::from_secs(3600);
        assert_eq!(take(now), 5);
    }
}
