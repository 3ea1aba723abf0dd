//! What the path of a connection holds, measured from the outside: the round-trip time and the
//! rate of delivery, and from them how much may be in flight.
//!
//! smoltcp's congestion control grows until something is lost, and what is lost costs it dearly: it
//! repairs one segment for each loss it notices. A path that is kept at about twice what it holds
//! (as BBR does it) is as fast, and its queues don't overflow. Of a long one that would be more
//! than queues take, since all of it leaves at once: it is kept at little more than it holds, and
//! filled step by step, as limited slow start does it (RFC 3742). On a short path that is little,
//! and two ends that wake for each other's segments take most of their time for that: there a flow
//! may let a queue of a millisecond build up, until something is lost. The limit is an upper bound
//! only; congestion control goes on below it.

use std::time::Duration;

use smoltcp::wire::TcpSeqNumber;

use crate::limits::{FLIGHT_MIN, FLIGHT_QUEUE, FLIGHT_QUEUE_MAX, FLIGHT_SPARE, FLIGHT_STEP};
use crate::time::Instant;

/// Rate samples that are remembered; there is about one for each round trip.
const RATES: usize = 8;
/// How long the shortest round trip is believed (draft-cardwell-iccrg-bbr, MinRTTFilterLen).
const ROUND_TRIP_LIFETIME: Duration = Duration::from_secs(10);
/// How long a loss is remembered.
const LOSS_LIFETIME: Duration = Duration::from_secs(10);

/// The measurements of one connection.
#[derive(Debug, Default)]
pub(crate) struct Path {
    shortest: Option<RoundTrip>,
    /// The usual round trip, smoothed (RFC 6298, section 2).
    smoothed: Option<Duration>,
    /// Bytes a second, latest samples.
    rates: [u64; RATES],
    next_rate: usize,
    delivered: u64,
    probe: Option<Probe>,
    loss: Option<PathLoss>,
    /// What follows from the latest sample: it is asked for with each segment.
    flight_limit: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct RoundTrip {
    time: Duration,
    measured_at: Instant,
}

/// Something was lost with more in flight than this.
#[derive(Clone, Copy, Debug)]
struct PathLoss {
    bearable: usize,
    at: Instant,
}

/// A segment whose acknowledgement is awaited to measure.
#[derive(Clone, Copy, Debug)]
struct Probe {
    end: TcpSeqNumber,
    sent_at: Instant,
    /// What had been delivered when it was sent.
    delivered: u64,
}

impl Path {
    /// Something was sent for the first time, up to `end`.
    pub(crate) fn handle_sent(&mut self, end: TcpSeqNumber, now: Instant) {
        if self.probe.is_none() {
            self.probe = Some(Probe { end, sent_at: now, delivered: self.delivered });
        }
    }

    /// Something was sent again: whose acknowledgement comes next can't be told (Karn).
    pub(crate) const fn handle_repeated(&mut self) {
        self.probe = None;
    }

    /// Something was lost of the `flight` bytes that were on the way.
    pub(crate) fn handle_lost(&mut self, flight: usize, now: Instant) {
        self.loss = Some(PathLoss { bearable: flight / 2, at: now });
        self.flight_limit = self.measured_flight_limit(now);
    }

    /// The far end acknowledged `len` more bytes, up to `acknowledgement`.
    pub(crate) fn handle_acknowledged(
        &mut self,
        acknowledgement: TcpSeqNumber,
        len: usize,
        now: Instant,
    ) {
        self.delivered += len as u64;
        let Some(probe) = self.probe.filter(|probe| acknowledgement >= probe.end) else { return };
        self.probe = None;
        let time = now.saturating_duration_since(probe.sent_at).max(Duration::from_micros(1));
        let stale =
            |best: RoundTrip| now.saturating_duration_since(best.measured_at) > ROUND_TRIP_LIFETIME;
        self.smoothed = Some(self.smoothed.map_or(time, |smoothed| (smoothed * 7 + time) / 8));
        if self.shortest.is_none_or(|best| time <= best.time || stale(best)) {
            self.shortest = Some(RoundTrip { time, measured_at: now });
        }
        let bytes = u128::from(self.delivered - probe.delivered);
        let rate = bytes * 1_000_000_000 / time.as_nanos();
        self.rates[self.next_rate] = u64::try_from(rate).unwrap_or(u64::MAX);
        self.next_rate = (self.next_rate + 1) % RATES;
        self.flight_limit = self.measured_flight_limit(now);
    }

    /// The usual round trip, once one was measured.
    pub(crate) const fn round_trip(&self) -> Option<Duration> {
        self.smoothed
    }

    /// How many bytes may be in flight.
    pub(crate) fn flight_limit(&self) -> usize {
        self.flight_limit.unwrap_or(usize::MAX)
    }

    fn measured_flight_limit(&self, now: Instant) -> Option<usize> {
        let shortest = self.shortest?;
        let rate = self.rates.iter().copied().max().unwrap_or(0);
        let held_within = |time: Duration| {
            let held = u128::from(rate) * time.as_nanos() / 1_000_000_000;
            usize::try_from(held).unwrap_or(usize::MAX)
        };
        let is_recent = |loss: &PathLoss| now.saturating_duration_since(loss.at) <= LOSS_LIFETIME;
        let bearable = self.loss.filter(is_recent).map_or(usize::MAX, |loss| loss.bearable);
        let queue = held_within(FLIGHT_QUEUE).min(FLIGHT_QUEUE_MAX).min(bearable);
        let held = held_within(shortest.time);
        let beyond = held.min(FLIGHT_STEP.max(held / 8));
        let path = held.saturating_add(beyond).saturating_add(FLIGHT_SPARE);
        Some(path.max(queue).max(FLIGHT_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a path that delivers `rate` bytes a second after `round_trip`, with a sender that
    /// keeps it as full as it may.
    fn settle(round_trip: Duration, rate: u64) -> Path {
        let mut path = Path::default();
        let (mut now, mut sequence) = (Instant::from_nanos(1), TcpSeqNumber(0));
        for round in 0..50 {
            // A SYN comes first.
            let flight = if round == 0 { 1 } else { path.flight_limit() };
            path.handle_sent(sequence + flight, now);
            // What exceeds the path waits in its queue.
            let drain = Duration::from_nanos(flight as u64 * 1_000_000_000 / rate);
            now += round_trip.max(drain);
            sequence += flight;
            path.handle_acknowledged(sequence, flight, now);
        }
        path
    }

    #[test]
    fn a_long_fat_path_is_filled() {
        let path = settle(Duration::from_millis(50), 100_000_000);
        let held = 5_000_000;
        let limit = path.flight_limit();
        assert!(limit >= held && limit <= 3 * held, "{limit}");
    }

    #[test]
    fn a_long_fat_path_is_filled_step_by_step_and_its_queue_is_not() {
        let mut path = Path::default();
        let (mut now, mut sequence, mut flight) = (Instant::from_nanos(1), TcpSeqNumber(0), 1);
        for _ in 0..50 {
            path.handle_sent(sequence + flight, now);
            now += Duration::from_millis(50).max(Duration::from_nanos(flight as u64 * 10));
            sequence += flight;
            path.handle_acknowledged(sequence, flight, now);
            let more = path.flight_limit().saturating_sub(flight.max(FLIGHT_MIN));
            assert!(
                more <= FLIGHT_SPARE + FLIGHT_STEP.max(flight / 8),
                "{more} more than {flight}"
            );
            flight = path.flight_limit();
        }
        assert_eq!(flight, 5_000_000 + 5_000_000 / 8 + FLIGHT_SPARE);
    }

    #[test]
    fn a_short_path_is_not_flooded() {
        let path = settle(Duration::from_micros(200), 60_000_000);
        assert!(path.flight_limit() <= 2 * FLIGHT_MIN, "{}", path.flight_limit());
    }

    #[test]
    fn a_fast_short_path_has_a_queue_until_something_is_lost() {
        let at = Instant::from_nanos;
        let mut path = settle(Duration::from_micros(200), 400_000_000);
        assert_eq!(path.flight_limit(), 400_000, "a millisecond");
        path.handle_lost(400_000, at(1));
        assert_eq!(path.flight_limit(), 200_000);
        path.handle_lost(1_000, at(2));
        assert_eq!(path.flight_limit(), 2 * 80_000 + FLIGHT_SPARE);
        for (seconds, limit) in [(9, 192_768), (11, 400_000)] {
            let now = at(2) + Duration::from_secs(seconds);
            path.handle_sent(TcpSeqNumber(1), now);
            path.handle_acknowledged(TcpSeqNumber(1), 80_000, now + Duration::from_micros(200));
            assert_eq!(path.flight_limit(), limit, "after {seconds} s");
        }
        let path = settle(Duration::from_micros(200), 4_000_000_000);
        assert!(path.flight_limit() <= 2 * FLIGHT_QUEUE_MAX, "{}", path.flight_limit());
    }

    #[test]
    fn what_was_repeated_is_not_measured() {
        let mut path = Path::default();
        path.handle_sent(TcpSeqNumber(100), Instant::from_nanos(1));
        path.handle_repeated();
        path.handle_acknowledged(TcpSeqNumber(100), 100, Instant::from_nanos(2));
        assert_eq!(path.flight_limit(), usize::MAX);
    }

    #[test]
    fn a_shortest_round_trip_is_not_believed_for_ever() {
        let mut path = Path::default();
        let mut now = Instant::from_nanos(1);
        for (round_trip, pause) in [(1, 11), (100, 0)] {
            path.handle_sent(TcpSeqNumber(100), now);
            now += Duration::from_millis(round_trip);
            path.handle_acknowledged(TcpSeqNumber(100), 100, now);
            now += Duration::from_secs(pause);
        }
        assert_eq!(path.shortest.unwrap().time, Duration::from_millis(100));
    }
}
