//! Whether what is lost says that too much is in flight.
//!
//! The draft (draft-ietf-ccwg-bbr-06, section 5.5.10) takes more than 2 % lost in a round trip as
//! such a sign, and any loss while it cruises. In the model of `tests` (50 Mbit/s, 60 ms) a flow
//! that does so has 85 % of the rate where 1 % is lost at random, 51 % where 2 % are, and 80 %
//! where 1 % is lost in bursts of five; with what follows it has 94 or 95 %. Two things are told
//! apart here that the draft does not look at:
//!
//! - what the path loses while no queue stands is its own, is no sign, and raises the limit;
//! - a queue that overflows has been seen before, by the round trips that it made longer. Where
//!   none was, 10 % have to be lost: a policer, or a buffer too short to be noticed, makes a flow
//!   that sends a quarter too fast lose 20 %.

use std::time::Duration;

use crate::stack::tcp::ratio::scaled;

/// Parts of a whole: rates of loss are counted in 1/65,536.
const WHOLE: u64 = 1 << 16;
/// BBR.LossThresh: 2 % of a flight.
const THRESHOLD: u64 = WHOLE * 2 / 100;
/// What has to be lost where no queue was seen: 10 %.
const THRESHOLD_WITHOUT_QUEUE: u64 = WHOLE / 10;
/// The most that is believed to be the path's own: 5 %.
const OWN_MAX: u64 = WHOLE / 20;
/// The longer part of a round trip is a queue: an eighth, and at least two milliseconds, which
/// timers and schedulers take.
const QUEUE_MIN: Duration = Duration::from_millis(2);

/// What was lost lately, and the round trips of those rounds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LossJudge {
    /// What the path loses without a queue, smoothed over about eight rounds.
    own: u64,
    longest: Duration,
    longest_before: Duration,
    shortest: Option<Duration>,
    shortest_before: Option<Duration>,
}

impl LossJudge {
    /// A round trip was measured.
    pub(super) fn handle_round_trip(&mut self, sample: Duration) {
        self.longest = self.longest.max(sample);
        self.shortest = Some(self.shortest.map_or(sample, |shortest| shortest.min(sample)));
    }

    /// A round is over, in which `lost` bytes were of the `in_flight` that were at its beginning.
    pub(super) fn handle_round(&mut self, lost: u64, in_flight: u64, lowest: Option<Duration>) {
        let now = scaled(lost, WHOLE, in_flight).min(OWN_MAX);
        if lowest.is_some_and(|lowest| !is_queue(self.longest, lowest)) {
            self.own = (self.own * 7 + now) / 8;
        }
        self.longest_before = std::mem::take(&mut self.longest);
        self.shortest_before = self.shortest.take();
    }

    /// So much was lost while so much was in flight that less should be, as the path without a
    /// queue has a round trip of `lowest`.
    pub(super) fn is_excessive(&self, lost: u64, in_flight: u64, lowest: Option<Duration>) -> bool {
        let longest = self.longest.max(self.longest_before);
        let threshold = match lowest {
            Some(lowest) if !is_queue(longest, lowest) => THRESHOLD_WITHOUT_QUEUE,
            // Twice the mean, as losses that come by chance vary.
            Some(_) | None => THRESHOLD + 2 * self.own,
        };
        lost > scaled(in_flight, threshold, WHOLE)
    }

    /// The shortest round trip of the last whole round.
    pub(super) fn shortest_lately(&self) -> Option<Duration> {
        self.shortest_before
    }
}

fn is_queue(round_trip: Duration, lowest: Duration) -> bool {
    round_trip > lowest + QUEUE_MIN.max(lowest / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOWEST: Option<Duration> = Some(Duration::from_millis(40));
    const QUEUED: Duration = Duration::from_millis(60);

    #[test]
    fn two_percent_are_enough_behind_a_queue() {
        let mut judge = LossJudge::default();
        judge.handle_round_trip(QUEUED);
        assert!(judge.is_excessive(2_100, 100_000, LOWEST));
        assert!(!judge.is_excessive(1_900, 100_000, LOWEST));
        assert!(judge.is_excessive(2_100, 100_000, None), "a path that nobody has measured");
    }

    #[test]
    fn ten_percent_are_enough_without_one() {
        let mut judge = LossJudge::default();
        judge.handle_round_trip(Duration::from_millis(45));
        assert!(!judge.is_excessive(9_900, 100_000, LOWEST));
        assert!(judge.is_excessive(10_100, 100_000, LOWEST));
    }

    #[test]
    fn the_queue_of_the_round_before_counts_until_the_next_is_over() {
        let mut judge = LossJudge::default();
        judge.handle_round_trip(QUEUED);
        judge.handle_round(0, 100_000, LOWEST);
        assert!(judge.is_excessive(2_100, 100_000, LOWEST));
        judge.handle_round(0, 100_000, LOWEST);
        assert!(!judge.is_excessive(2_100, 100_000, LOWEST));
        assert_eq!(judge.shortest_lately(), None);
    }

    #[test]
    fn what_a_path_loses_without_a_queue_is_its_own() {
        let mut judge = LossJudge::default();
        for _ in 0..40 {
            judge.handle_round_trip(Duration::from_millis(41));
            judge.handle_round(2_000, 100_000, LOWEST);
        }
        judge.handle_round_trip(QUEUED);
        assert!(!judge.is_excessive(5_500, 100_000, LOWEST));
        assert!(judge.is_excessive(6_100, 100_000, LOWEST));
        for _ in 0..40 {
            judge.handle_round_trip(QUEUED);
            judge.handle_round(50_000, 100_000, LOWEST);
        }
        assert!(judge.is_excessive(6_100, 100_000, LOWEST), "what overflows teaches nothing");
    }

    #[test]
    fn no_path_may_lose_most_of_it() {
        let mut judge = LossJudge::default();
        for _ in 0..40 {
            judge.handle_round_trip(Duration::from_millis(41));
            judge.handle_round(60_000, 100_000, LOWEST);
        }
        judge.handle_round_trip(QUEUED);
        assert!(judge.is_excessive(12_100, 100_000, LOWEST));
    }
}
