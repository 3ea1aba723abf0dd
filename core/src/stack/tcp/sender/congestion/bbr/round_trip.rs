//! The round trip without a queue: BBR.min_rtt (draft-ietf-ccwg-bbr-06, sections 5.5.7, 5.3.4).

use std::time::Duration;

use crate::time::Instant;

/// The lowest round-trip time of ten seconds, and of five, after which the next ProbeRtt is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct MinRoundTrip {
    lowest: Option<Duration>,
    lowest_at: Instant,
    recent: Option<Duration>,
    recent_at: Instant,
    is_due: bool,
    is_doubted: bool,
}

impl MinRoundTrip {
    /// BBR.MinRTTFilterLen: holds the results of two ProbeRtt.
    const KEPT: Duration = Duration::from_secs(10);
    /// BBR.ProbeRTTInterval: the same for everybody, so that flows drain a queue together.
    const PROBE_INTERVAL: Duration = Duration::from_secs(5);

    pub(super) fn new(now: Instant) -> Self {
        Self {
            lowest: None,
            lowest_at: now,
            recent: None,
            recent_at: now,
            is_due: false,
            is_doubted: false,
        }
    }

    /// `None` until there was a sample.
    pub(super) fn get(&self) -> Option<Duration> {
        self.lowest
    }

    /// An acknowledgement, with the round-trip time that it shows, if any.
    pub(super) fn handle_sample(&mut self, round_trip: Option<Duration>, now: Instant) {
        self.is_due = now > self.recent_at + Self::PROBE_INTERVAL;
        if let Some(sample) = round_trip
            && (self.is_due || self.recent.is_none_or(|recent| sample < recent))
        {
            self.recent = Some(sample);
            self.recent_at = now;
        }
        let is_old = now > self.lowest_at + Self::KEPT;
        if let Some(recent) = self.recent
            && (is_old || self.lowest.is_none_or(|lowest| recent < lowest))
        {
            self.lowest = Some(recent);
            self.lowest_at = self.recent_at;
        }
    }

    /// Five seconds brought nothing lower: a ProbeRtt is due, unless the flow was silent, which
    /// drained the queue as well.
    pub(super) fn is_probe_due(&self) -> bool {
        self.is_due || self.is_doubted
    }

    /// The path seems to be another one: what a ProbeRtt finds now replaces what was lower.
    pub(super) fn doubt(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.is_doubted, true) {
            self.recent = None;
            self.recent_at = now;
        }
    }

    /// A ProbeRtt is over. The next one is due in five seconds.
    pub(super) fn handle_probed(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_doubted) && self.recent.is_some() {
            self.lowest = self.recent;
            self.lowest_at = now;
        }
        self.recent_at = now;
        self.is_due = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn at(millis: u64) -> Instant {
        Instant::ZERO + ms(millis)
    }

    #[test]
    fn the_lowest_counts() {
        let mut filter = MinRoundTrip::new(at(0));
        assert_eq!(filter.get(), None);
        for (sample, lowest) in [(50, 50), (70, 50), (40, 40), (60, 40)] {
            filter.handle_sample(Some(ms(sample)), at(sample));
            assert_eq!(filter.get(), Some(ms(lowest)));
        }
    }

    #[test]
    fn a_probe_is_due_after_five_seconds_without_a_lower_one() {
        let mut filter = MinRoundTrip::new(at(0));
        filter.handle_sample(Some(ms(40)), at(1_000));
        filter.handle_sample(Some(ms(41)), at(6_000));
        assert!(!filter.is_probe_due());
        filter.handle_sample(Some(ms(41)), at(6_001));
        assert!(filter.is_probe_due());
        assert_eq!(filter.get(), Some(ms(40)), "ten seconds are not over");
        filter.handle_probed(at(6_300));
        filter.handle_sample(None, at(11_300));
        assert!(!filter.is_probe_due());
    }

    #[test]
    fn a_longer_path_is_believed_after_ten_seconds() {
        let mut filter = MinRoundTrip::new(at(0));
        filter.handle_sample(Some(ms(40)), at(1_000));
        filter.handle_sample(Some(ms(90)), at(6_001));
        filter.handle_sample(Some(ms(80)), at(11_000));
        assert_eq!(filter.get(), Some(ms(40)));
        filter.handle_sample(Some(ms(85)), at(11_001));
        assert_eq!(filter.get(), Some(ms(80)), "the lowest of the second half");
    }

    #[test]
    fn what_is_doubted_is_replaced_when_it_was_probed() {
        let mut filter = MinRoundTrip::new(at(0));
        filter.handle_sample(Some(ms(40)), at(1_000));
        filter.doubt(at(2_000));
        assert!(filter.is_probe_due());
        filter.handle_sample(Some(ms(400)), at(2_100));
        filter.handle_sample(Some(ms(200)), at(2_300));
        assert_eq!(filter.get(), Some(ms(40)), "not before the queue is empty");
        filter.handle_probed(at(2_500));
        assert_eq!(filter.get(), Some(ms(200)));
        assert!(!filter.is_probe_due());
    }
}
