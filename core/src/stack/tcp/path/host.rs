//! The path to one inner address behind a peer: round trips, rate, and how much may leave at first.

use std::net::IpAddr;
use std::time::Duration;

use crate::limits::{PATH_PROVED_LATELY, PATH_QUEUE_MIN};
use crate::stack::tcp::path::{Aged, Learnt, fresh};
use crate::stack::tcp::ratio::within;
use crate::time::Instant;

/// A first flight that lost more than one part in so many was too large for the path. Less than
/// that is what paths lose that lose at random.
const OVERSHOOT_PARTS: u64 = 8;

/// What is known of one inner address.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostPath {
    pub(super) inner: IpAddr,
    /// When something was last found out.
    pub(super) learnt_at: Instant,
    smoothed: Option<Aged<Duration>>,
    lowest: Option<Aged<Duration>>,
    variation: Option<Aged<Duration>>,
    /// The highest rate that was reached.
    rate: Option<Aged<u64>>,
    /// The rate that the path takes and no more, where that was met.
    capacity: Option<Aged<u64>>,
    /// Bytes that were in flight at once and have all arrived.
    proved: Option<Aged<u64>>,
    /// Bytes of a first flight that were too many.
    too_many: Option<Aged<u64>>,
    /// Bytes of the largest packet that arrived.
    arrived: Option<Aged<u16>>,
}

impl HostPath {
    pub(super) const fn new(inner: IpAddr, now: Instant) -> Self {
        Self {
            inner,
            learnt_at: now,
            smoothed: None,
            lowest: None,
            variation: None,
            rate: None,
            capacity: None,
            proved: None,
            too_many: None,
            arrived: None,
        }
    }

    pub(super) fn smoothed(&self, now: Instant) -> Option<Duration> {
        fresh(self.smoothed, now)
    }

    pub(super) fn lowest(&self, now: Instant) -> Option<Duration> {
        fresh(self.lowest, now)
    }

    pub(super) fn variation(&self, now: Instant) -> Option<Duration> {
        fresh(self.variation, now)
    }

    pub(super) fn rate(&self, now: Instant) -> Option<u64> {
        fresh(self.rate, now)
    }

    /// Whether packets of `len` bytes have arrived within `lately`.
    pub(super) fn has_passed(&self, len: u16, lately: Duration, now: Instant) -> bool {
        self.arrived.is_some_and(|arrived| arrived.value >= len && arrived.age(now) < lately)
    }

    /// What arrived says nothing any more: large packets vanish now.
    pub(super) const fn doubt_size(&mut self) {
        self.arrived = None;
    }

    pub(super) fn learn(&mut self, learnt: &Learnt, now: Instant) {
        self.learnt_at = now;
        let latest = |value: Duration| Aged::new(value, now);
        self.smoothed = learnt.smoothed.map(latest).or(self.smoothed);
        self.variation = learnt.variation.map(latest).or(self.variation);
        if let Some(lowest) = learnt.lowest
            && self.lowest(now).is_none_or(|known| lowest <= known)
        {
            self.lowest = Some(latest(lowest));
        }
        if let Some(rate) = learnt.rate {
            self.learn_rate(rate, learnt.is_full || self.has_queued(learnt, now), now);
        }
        if learnt.flight > 0 {
            self.prove(learnt.flight, now);
        }
        if learnt.packet_arrived > 0
            && self.arrived.is_none_or(|known| {
                learnt.packet_arrived >= known.value || fresh(Some(known), now).is_none()
            })
        {
            self.arrived = Some(Aged::new(learnt.packet_arrived, now));
        }
    }

    /// Whether something had to wait on the way: then what was delivered is all that the path
    /// takes.
    fn has_queued(&self, learnt: &Learnt, now: Instant) -> bool {
        let lowest = self.lowest(now).or(learnt.lowest);
        let (Some(lowest), Some(round_trip)) = (lowest, learnt.round_trip) else { return false };
        round_trip >= lowest + lowest / 2 + PATH_QUEUE_MIN
    }

    /// The highest rate counts; where the path was full a lower one is news too, believed bit by
    /// bit as others may have had their share of it.
    fn learn_rate(&mut self, rate: u64, is_full: bool, now: Instant) {
        let merge = |known: Option<u64>| match known {
            Some(known) if is_full => Some(rate.max(known - known / 8)),
            Some(known) => (rate >= known).then_some(rate),
            None => Some(rate),
        };
        let to_capacity =
            |known: Option<u64>| known.map_or(is_full.then_some(rate), |k| merge(Some(k)));
        let (known, capacity) = (fresh(self.rate, now), fresh(self.capacity, now));
        self.rate = merge(known).map(|rate| Aged::new(rate, now)).or(self.rate);
        self.capacity = to_capacity(capacity).map(|rate| Aged::new(rate, now)).or(self.capacity);
    }

    fn prove(&mut self, flight: u64, now: Instant) {
        if fresh(self.proved, now).is_none_or(|proved| flight >= proved) {
            self.proved = Some(Aged::new(flight, now));
        }
        if fresh(self.too_many, now).is_some_and(|too_many| flight >= too_many) {
            self.too_many = None;
        }
    }

    pub(super) fn retreat(&mut self, flight: u64, lost: u64, now: Instant) {
        if let Some(proved) = &mut self.proved {
            proved.value /= 2;
        }
        if lost > flight / OVERSHOOT_PARTS {
            let known = fresh(self.too_many, now).unwrap_or(flight);
            self.too_many = Some(Aged::new(flight.min(known), now));
        }
    }

    /// How many bytes a connection may begin with, while `others` are in flight; at least
    /// `initial`. Slow start goes on where it was: up to twice what arrived lately, but never more
    /// than half of what the path is known to hold.
    pub(super) fn first_flight(&self, initial: u64, others: u64, now: Instant) -> u64 {
        let Some(proved) = fresh(self.proved, now) else { return initial };
        let is_late = self.proved.is_some_and(|proved| proved.age(now) >= PATH_PROVED_LATELY);
        let mut flight = if is_late { proved } else { proved.saturating_mul(2) };
        if let Some(too_many) = fresh(self.too_many, now) {
            flight = flight.min(too_many / 2);
        }
        let Some(lowest) = self.lowest(now) else { return initial };
        if let Some(capacity) = fresh(self.capacity, now) {
            flight = flight.min(within(capacity, lowest) / 2);
        }
        flight.saturating_sub(others).max(initial)
    }
}
