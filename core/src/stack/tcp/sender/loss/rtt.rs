//! How long a round trip takes, and how long to wait for one (RFC 6298).

use std::time::Duration;

/// What is waited for before anything is known (RFC 6298, section 2).
const TIMEOUT_INITIAL: Duration = Duration::from_secs(1);
/// The least that is waited beyond the usual round trip: ends delay acknowledgements, most of them
/// by at most so long.
pub(super) const MARGIN_MIN: Duration = Duration::from_millis(200);
/// How long the end of a flight is not asked after, however short the path is.
const PROBE_MIN: Duration = Duration::from_millis(10);
/// The most that is waited, however often in vain (RFC 6298, section 2.5).
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// The estimates of one connection.
#[derive(Debug, Default)]
pub(super) struct RttEstimator {
    smoothed: Option<Duration>,
    variation: Duration,
    lowest: Option<Duration>,
    /// Nothing was measured yet: the estimates are somebody else's.
    is_hint: bool,
    /// What samples deviate by, smoothed over few of them.
    deviation: Duration,
    /// The highest deviation of this round trip.
    peak: Duration,
    /// Where this round trip ends: the position that was sent next when it began.
    round_end: u64,
    /// How often in a row the time was up.
    backoff: u32,
}

impl RttEstimator {
    /// Begins with what is known of the path.
    pub(super) fn new(smoothed: Option<Duration>, variation: Option<Duration>) -> Self {
        let variation = variation.or(smoothed.map(|time| time / 2)).unwrap_or_default();
        Self { smoothed, variation, is_hint: true, ..Self::default() }
    }

    pub(super) const fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// How much round trips vary (RTTVAR).
    pub(super) fn variation(&self) -> Option<Duration> {
        self.smoothed.map(|_| self.variation)
    }

    pub(super) const fn lowest(&self) -> Option<Duration> {
        self.lowest
    }

    /// Takes a measured round trip. With many of them in each round trip, variation forgets at the
    /// pace of round trips, not of samples: it would be that of the last few otherwise.
    pub(super) fn handle_sample(&mut self, sample: Duration, acknowledged_to: u64, sent_to: u64) {
        self.lowest = Some(self.lowest.map_or(sample, |lowest| lowest.min(sample)));
        let Some(smoothed) = self.smoothed.filter(|_| !self.is_hint) else {
            self.is_hint = false;
            self.smoothed = Some(sample);
            self.variation = sample / 2;
            (self.deviation, self.peak) = (self.variation, self.variation);
            self.round_end = sent_to;
            return;
        };
        self.deviation = (self.deviation * 3 + smoothed.abs_diff(sample)) / 4;
        self.smoothed = Some((smoothed * 7 + sample) / 8);
        self.peak = self.peak.max(self.deviation);
        self.variation = self.variation.max(self.peak);
        if acknowledged_to >= self.round_end {
            self.variation -= (self.variation - self.peak) / 4;
            (self.peak, self.round_end) = (self.deviation, sent_to);
        }
    }

    /// How long to wait for an acknowledgement before all is taken for lost (RTO).
    pub(super) fn timeout(&self) -> Duration {
        let timeout = self
            .smoothed
            .map_or(TIMEOUT_INITIAL, |smoothed| smoothed + (self.variation * 4).max(MARGIN_MIN));
        let factor = 1_u32.checked_shl(self.backoff).unwrap_or(u32::MAX);
        timeout.saturating_mul(factor).min(TIMEOUT_MAX)
    }

    /// The time was up: it is twice as long from now on (RFC 6298, section 5.5).
    pub(super) fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(u32::BITS - 1);
    }

    pub(super) const fn end_backoff(&mut self) {
        self.backoff = 0;
    }

    /// When the last segments are asked after, if `segments` are out (RFC 8985, section 7.2): a
    /// lone one's acknowledgement may be delayed, and any far end's process has to wake up first.
    pub(super) fn probe_timeout(&self, segments: usize) -> Duration {
        let Some(smoothed) = self.smoothed else { return TIMEOUT_INITIAL };
        let delay = if segments == 1 { MARGIN_MIN } else { Duration::ZERO };
        (smoothed * 2 + delay).max(PROBE_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_timeout_follows_round_trips_and_their_variation() {
        let mut rtt = RttEstimator::default();
        assert_eq!(rtt.timeout(), ms(1000));
        rtt.handle_sample(ms(400), 0, 1);
        assert_eq!(rtt.timeout(), ms(400 + 800), "four times half of the first");
        for position in 1..100 {
            rtt.handle_sample(ms(400), position, position + 1);
        }
        assert_eq!(rtt.timeout(), ms(400 + 200), "never less than 200 ms more");
        rtt.handle_sample(ms(1200), 100, 101);
        assert!(rtt.timeout() > ms(400 + 800), "{:?}", rtt.timeout());
        assert_eq!(rtt.lowest(), Some(ms(400)));
    }

    #[test]
    fn many_samples_of_one_round_trip_do_not_make_variation_forget() {
        let mut rtt = RttEstimator::default();
        rtt.handle_sample(ms(100), 0, 1);
        rtt.handle_sample(ms(500), 1, 1000);
        let before = rtt.variation();
        for position in 2..900 {
            rtt.handle_sample(ms(150), position, 1000);
        }
        assert!(rtt.variation() >= before);
    }

    #[test]
    fn each_timeout_is_twice_as_long_up_to_a_minute() {
        let mut rtt = RttEstimator::default();
        rtt.back_off();
        assert_eq!(rtt.timeout(), ms(2000));
        for _ in 0..100 {
            rtt.back_off();
        }
        assert_eq!(rtt.timeout(), TIMEOUT_MAX);
        rtt.end_backoff();
        assert_eq!(rtt.timeout(), ms(1000));
    }

    #[test]
    fn what_was_measured_replaces_what_was_known() {
        let mut rtt = RttEstimator::new(Some(ms(80)), Some(ms(10)));
        assert_eq!((rtt.timeout(), rtt.lowest()), (ms(280), None));
        rtt.handle_sample(ms(20), 0, 1);
        assert_eq!((rtt.smoothed(), rtt.variation()), (Some(ms(20)), Some(ms(10))));
    }

    #[test]
    fn a_lone_segment_is_given_the_time_of_a_delayed_acknowledgement() {
        let rtt = RttEstimator::new(Some(ms(80)), None);
        assert_eq!((rtt.probe_timeout(1), rtt.probe_timeout(2)), (ms(360), ms(160)));
    }
}
