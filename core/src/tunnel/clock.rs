//! The clock that boringtun reads: the only place that sets it.
//!
//! boringtun takes its time from a clock of the thread. Several engines with epochs of their own
//! may live on one thread, so every entry into the tunnel sets that clock to exactly the time of
//! its own engine, back as well as forth. Monotone is the time of one engine, which is all that
//! its tunnels ever see: an older `now` counts as the latest that the engine has seen.

use mock_instant::MockClock;

use crate::time::Instant;

/// The time of one engine.
#[derive(Debug)]
pub(super) struct Clock {
    latest: Instant,
}

impl Clock {
    /// Starts at `now`, and lets boringtun see it.
    pub(super) fn new(now: Instant) -> Self {
        let mut clock = Self { latest: now };
        clock.set(now);
        clock
    }

    /// Lets boringtun see `now`, or the latest time seen if that is later, and returns it.
    #[allow(clippy::disallowed_methods, reason = "this is where the clock is set")]
    pub(super) fn set(&mut self, now: Instant) -> Instant {
        self.latest = self.latest.max(now);
        MockClock::set_time(self.latest.since_epoch());
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_backwards_within_an_engine() {
        let mut clock = Clock::new(Instant::from_nanos(50));
        assert_eq!(clock.set(Instant::from_nanos(70)), Instant::from_nanos(70));
        assert_eq!(clock.set(Instant::from_nanos(60)), Instant::from_nanos(70));
        assert_eq!(MockClock::time().as_nanos(), 70);
    }

    #[test]
    fn engines_of_one_thread_have_their_own_time() {
        let mut old = Clock::new(Instant::from_nanos(1_000));
        let mut young = Clock::new(Instant::from_nanos(3));
        assert_eq!(MockClock::time().as_nanos(), 3);
        old.set(Instant::from_nanos(1_001));
        young.set(Instant::from_nanos(4));
        assert_eq!(MockClock::time().as_nanos(), 4);
    }
}
