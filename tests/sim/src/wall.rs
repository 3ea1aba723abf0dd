//! The wall clock, which boringtun asks for when an engine starts: a handshake's stamp is that time
//! and what has passed since.
//!
//! Peers refuse a handshake that is not later than the last. If the wall clock is set back between
//! the start of an engine and that of its successor, those of the successor are, and what comes of
//! that does not follow from the seed.

use std::time::SystemTime;

/// Runs that may be in vain before the clock is taken for one that only goes back.
const RUNS_MAX: usize = 10;

/// What the wall clock showed at the starts of a run's engines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wall {
    latest: SystemTime,
    was_set_back: bool,
}

impl Wall {
    pub(super) const fn new(now: SystemTime) -> Self {
        Self { latest: now, was_set_back: false }
    }

    /// An engine replaces another.
    pub(super) fn look(&mut self, now: SystemTime) {
        self.was_set_back |= now < self.latest;
        self.latest = self.latest.max(now);
    }
}

/// Runs until the wall clock was not set back meanwhile.
///
/// # Panics
/// If it is set back during each of many runs.
pub(super) fn in_one_time<T>(mut run: impl FnMut() -> (T, Wall)) -> T {
    let mut runs = (0..RUNS_MAX).map(|_| run());
    match runs.find(|(_, wall)| !wall.was_set_back) {
        Some((report, _)) => report,
        None => panic!("the wall clock of this machine goes back again and again"),
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test that can't go on ends")]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What a run sees whose engines start at these times.
    fn wall(starts: &[u64]) -> Wall {
        let mut times =
            starts.iter().map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds));
        let mut wall = Wall::new(times.next().expect("a beginning"));
        times.for_each(|now| wall.look(now));
        wall
    }

    #[test]
    fn a_run_in_which_the_clock_is_set_back_is_made_again() {
        let mut runs =
            [wall(&[5, 7, 6]), wall(&[9, 3, 12]), wall(&[4, 4, 8])].into_iter().enumerate();
        let run = in_one_time(|| runs.next().expect("another run"));
        assert_eq!(run, 2, "the first in which it never was");
        assert!(runs.next().is_none());
    }

    #[test]
    fn a_clock_that_is_put_on_changes_nothing() {
        let mut runs = [wall(&[5, 3_000_000_000])].into_iter();
        in_one_time(|| ((), runs.next().expect("one run is enough")));
    }
}
