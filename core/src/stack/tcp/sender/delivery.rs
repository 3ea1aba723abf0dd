//! How fast what was sent arrives (draft-cheng-iccrg-delivery-rate-estimation).

use std::time::Duration;

use crate::stack::tcp::ratio::per_second;
use crate::time::Instant;

/// What is noted of delivery when a segment leaves, with each segment that is out.
#[derive(Clone, Copy, Debug)]
pub(in crate::stack::tcp) struct Stamp {
    /// Bytes that had been delivered, on the connection as a whole.
    pub(in crate::stack::tcp) delivered: u64,
    /// When the last of those were said to be.
    pub(in crate::stack::tcp) delivered_at: Instant,
    /// When the first segment left of the flight that the sample is to be about.
    pub(in crate::stack::tcp) first_sent_at: Instant,
    /// Bytes in flight with this segment.
    pub(in crate::stack::tcp) in_flight: u64,
    /// Bytes that had been lost, on the connection as a whole.
    pub(in crate::stack::tcp) lost: u64,
    /// The application had less to send than the path could have taken.
    pub(in crate::stack::tcp) is_app_limited: bool,
}

/// How fast bytes were delivered between the time that a segment left and its acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(in crate::stack::tcp) struct RateSample {
    /// Bytes a second.
    pub(in crate::stack::tcp) rate: u64,
    /// Bytes that were delivered in the interval.
    pub(in crate::stack::tcp) delivered: u64,
    /// Bytes that were lost in it.
    pub(in crate::stack::tcp) lost: u64,
    /// Of the newest segment that was acknowledged: what was delivered when it left, what was in
    /// flight then, and whether the application limited it.
    pub(in crate::stack::tcp) prior_delivered: u64,
    /// See `prior_delivered`.
    pub(in crate::stack::tcp) prior_in_flight: u64,
    /// See `prior_delivered`.
    pub(in crate::stack::tcp) is_app_limited: bool,
}

/// What a sample is made of, of the newest segment that an acknowledgement speaks of.
#[derive(Clone, Copy, Debug)]
struct Newest {
    stamp: Stamp,
    sent_at: Instant,
}

/// Counts what arrives of one connection, and when. For each acknowledgement: `handle_delivered`
/// and `handle_lost` for each segment that it says something new of, then `take_sample`.
#[derive(Debug)]
pub(in crate::stack::tcp) struct Delivery {
    delivered: u64,
    delivered_at: Instant,
    /// When the newest segment had left that has arrived: the next flight begins there.
    first_sent_at: Instant,
    lost: u64,
    /// What leaves before this much has been delivered follows on a pause of the application.
    app_limited_until: Option<u64>,
    newest: Option<Newest>,
}

impl Delivery {
    pub(in crate::stack::tcp) const fn new(now: Instant) -> Self {
        Self {
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            lost: 0,
            app_limited_until: None,
            newest: None,
        }
    }

    /// Bytes that have been delivered, in order or not, since the connection began.
    pub(in crate::stack::tcp) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// What to note with a segment of `bytes` that leaves now, behind `flight` bytes that are in
    /// flight already.
    pub(in crate::stack::tcp) const fn stamp(
        &mut self,
        bytes: u64,
        flight: u64,
        now: Instant,
    ) -> Stamp {
        if flight == 0 {
            // The time in which nothing was out says nothing about the path.
            (self.first_sent_at, self.delivered_at) = (now, now);
        }
        Stamp {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            in_flight: flight + bytes,
            lost: self.lost,
            is_app_limited: self.app_limited_until.is_some(),
        }
    }

    /// A segment of `bytes` that left at `sent_at` with `stamp` has arrived.
    pub(in crate::stack::tcp) fn handle_delivered(
        &mut self,
        bytes: u64,
        stamp: &Stamp,
        sent_at: Instant,
        now: Instant,
    ) {
        self.delivered += bytes;
        self.delivered_at = now;
        if self.newest.is_none_or(|newest| sent_at >= newest.sent_at) {
            self.newest = Some(Newest { stamp: *stamp, sent_at });
            self.first_sent_at = sent_at;
        }
    }

    /// `bytes` are lost, as it seems.
    pub(in crate::stack::tcp) const fn handle_lost(&mut self, bytes: u64) {
        self.lost += bytes;
    }

    /// The application has nothing more to send just now, with `flight` bytes in flight: samples
    /// say less than what the path takes, until those have arrived.
    pub(in crate::stack::tcp) const fn set_application_limited(&mut self, flight: u64) {
        self.app_limited_until = Some(self.delivered + flight);
    }

    /// What the acknowledgement that was taken in last says of the rate; nothing if nothing new has
    /// arrived, or faster than the `lowest` round trip, as after a needless repeat.
    pub(in crate::stack::tcp) fn take_sample(
        &mut self,
        lowest: Option<Duration>,
    ) -> Option<RateSample> {
        if self.app_limited_until.is_some_and(|until| self.delivered > until) {
            self.app_limited_until = None;
        }
        let Newest { stamp, sent_at } = self.newest.take()?;
        // Acknowledgements that come in a clump would claim more than the path carries, segments
        // that left slowly and arrive in one too.
        let to_leave = sent_at.saturating_duration_since(stamp.first_sent_at);
        let to_arrive = self.delivered_at.saturating_duration_since(stamp.delivered_at);
        let interval = to_leave.max(to_arrive);
        if interval.is_zero() || lowest.is_some_and(|lowest| interval < lowest) {
            return None;
        }
        let delivered = self.delivered - stamp.delivered;
        Some(RateSample {
            rate: per_second(delivered, interval),
            delivered,
            lost: self.lost - stamp.lost,
            prior_delivered: stamp.delivered,
            prior_in_flight: stamp.in_flight,
            is_app_limited: stamp.is_app_limited,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u64 = 1000;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    /// Thirty segments leave at once over a path of 20 ms that carries one each millisecond. Two
    /// are acknowledged at a time; what is acknowledged is replaced.
    #[test]
    fn the_rate_of_the_bottleneck_is_found() {
        let mut delivery = Delivery::new(at(0));
        let mut out: Vec<_> =
            (0..30).map(|sent| (delivery.stamp(LEN, sent * LEN, at(0)), at(0))).collect();
        let mut rates = Vec::new();
        for millis in (20..220).step_by(2) {
            for (stamp, sent_at) in out.drain(..2) {
                delivery.handle_delivered(LEN, &stamp, sent_at, at(millis));
            }
            let sample = delivery.take_sample(Some(Duration::from_millis(20)));
            rates.push(sample.unwrap().rate);
            for sent in 28..30 {
                out.push((delivery.stamp(LEN, sent * LEN, at(millis)), at(millis)));
            }
        }
        assert_eq!(rates[0], 2 * LEN * 1000 / 20, "a flight has just begun to arrive");
        assert!(rates.iter().all(|&rate| rate <= LEN * 1000), "{rates:?}");
        assert!(rates[30..].iter().all(|&rate| rate == LEN * 1000), "{rates:?}");
        assert_eq!(delivery.delivered(), 200 * LEN);
    }

    #[test]
    fn acknowledgements_in_a_clump_claim_no_more_than_was_sent() {
        let mut delivery = Delivery::new(at(0));
        let out: Vec<_> =
            (0..10).map(|sent| (delivery.stamp(LEN, sent * LEN, at(sent * 10)), sent)).collect();
        for (stamp, sent) in out {
            delivery.handle_delivered(LEN, &stamp, at(sent * 10), at(91));
        }
        let sample = delivery.take_sample(None).unwrap();
        assert_eq!((sample.delivered, sample.rate), (10 * LEN, 10 * LEN * 1000 / 91));
    }

    #[test]
    fn idle_time_is_not_counted() {
        let mut delivery = Delivery::new(at(0));
        for start in [0, 5000] {
            let stamp = delivery.stamp(LEN, 0, at(start));
            delivery.handle_delivered(LEN, &stamp, at(start), at(start + 10));
            assert_eq!(delivery.take_sample(None).unwrap().rate, LEN * 100);
        }
    }

    #[test]
    fn a_sample_is_about_what_was_sent_last() {
        let mut delivery = Delivery::new(at(0));
        let old = delivery.stamp(LEN, 0, at(0));
        let new = delivery.stamp(LEN, LEN, at(5));
        delivery.handle_delivered(LEN, &new, at(5), at(30));
        delivery.handle_delivered(LEN, &old, at(0), at(30));
        assert_eq!(delivery.take_sample(None).unwrap().prior_in_flight, 2 * LEN);
        assert!(delivery.take_sample(None).is_none(), "nothing new since");
    }

    #[test]
    fn what_seems_faster_than_the_path_is_no_sample() {
        let mut delivery = Delivery::new(at(0));
        let stamp = delivery.stamp(LEN, 0, at(0));
        delivery.handle_delivered(LEN, &stamp, at(0), at(1));
        assert!(delivery.take_sample(Some(Duration::from_millis(20))).is_none());
    }

    #[test]
    fn a_pause_of_the_application_marks_what_was_out_and_nothing_later() {
        let mut delivery = Delivery::new(at(0));
        delivery.set_application_limited(0);
        let marked = delivery.stamp(LEN, 0, at(0));
        assert!(marked.is_app_limited);
        delivery.handle_delivered(LEN, &marked, at(0), at(20));
        assert!(delivery.take_sample(None).unwrap().is_app_limited);
        assert!(!delivery.stamp(LEN, 0, at(20)).is_app_limited);
    }

    #[test]
    fn losses_are_those_since_the_segment_left() {
        let mut delivery = Delivery::new(at(0));
        delivery.handle_lost(7 * LEN);
        let stamp = delivery.stamp(LEN, 0, at(0));
        delivery.handle_lost(2 * LEN);
        delivery.handle_delivered(LEN, &stamp, at(0), at(20));
        assert_eq!(delivery.take_sample(None).unwrap().lost, 2 * LEN);
    }
}
