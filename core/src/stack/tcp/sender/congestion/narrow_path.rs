//! A bottleneck with a queue in front of a delay, for tests of controllers: times, no packets.
//!
//! The far end acknowledges each segment that arrives. A sender takes a segment for lost when one
//! that left three later has arrived; what is lost is sent again as something new.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::{Controller, Progress};
use crate::stack::tcp::sender::delivery::{Delivery, Stamp};
use crate::stack::tcp::sender::pacer::Pacer;
use crate::time::Instant;

pub(super) const LEN: u64 = 1_400;
/// No timer is finer.
const TICK: u64 = 1_000_000;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Occurrence {
    Arrives { flow: usize, number: u64 },
    Leaves,
    Wakes { flow: usize },
}

#[derive(Debug)]
struct OutSegment {
    number: u64,
    sent_at: Instant,
    stamp: Stamp,
    has_arrived: bool,
}

/// A sender that always has more to send.
pub(super) struct BulkFlow {
    pub(super) controller: Box<dyn Controller>,
    pub(super) lost: u64,
    pub(super) delivery: Delivery,
    pacer: Pacer,
    out: VecDeque<OutSegment>,
    next: u64,
    flight: u64,
    is_window_limited: bool,
    recovers_at: Option<u64>,
    smoothed: Option<Duration>,
    lowest: Option<Duration>,
    heard_at: Instant,
}

/// The path, and who sends over it.
pub(super) struct NarrowPath {
    /// Bytes a second.
    pub(super) rate: u64,
    round_trip: Duration,
    /// Bytes that may wait.
    queue: u64,
    pub(super) flows: Vec<BulkFlow>,
    pub(super) now: Instant,
    /// So many segments are lost next, whatever the queue.
    pub(super) drop_next: u64,
    /// One of so many is lost at random.
    pub(super) one_lost_of: Option<u64>,
    random: u64,
    waiting: VecDeque<(usize, u64)>,
    occurrences: BinaryHeap<Reverse<(Instant, u64, Occurrence)>>,
    count: u64,
    queued: (u64, u64),
}

impl NarrowPath {
    /// Mbit/s, milliseconds, and a queue in milliseconds at that rate.
    pub(super) fn new(mbit: u64, round_trip_ms: u64, queue_ms: u64) -> Self {
        let rate = mbit * 125_000;
        Self {
            rate,
            round_trip: Duration::from_millis(round_trip_ms),
            queue: rate * queue_ms / 1000,
            flows: Vec::new(),
            now: Instant::ZERO,
            drop_next: 0,
            one_lost_of: None,
            random: 0x9e37_79b9_7f4a_7c15,
            waiting: VecDeque::new(),
            occurrences: BinaryHeap::new(),
            count: 0,
            queued: (0, 0),
        }
    }

    pub(super) fn add(&mut self, controller: impl Controller + 'static) {
        let now = self.now;
        self.flows.push(BulkFlow {
            controller: Box::new(controller),
            lost: 0,
            delivery: Delivery::new(now),
            pacer: Pacer::new(now),
            out: VecDeque::new(),
            next: 0,
            flight: 0,
            is_window_limited: false,
            recovers_at: None,
            smoothed: None,
            lowest: None,
            heard_at: now,
        });
        self.plan(now, Occurrence::Wakes { flow: self.flows.len() - 1 });
    }

    /// Lets time pass. The rate of each flow in it, as percent of the path's.
    pub(super) fn run(&mut self, millis: u64) -> Vec<u64> {
        let delivered = |flow: &BulkFlow| flow.delivery.delivered();
        let before: Vec<_> = self.flows.iter().map(delivered).collect();
        let until = self.now + Duration::from_millis(millis);
        self.queued = (0, 0);
        while let Some(&Reverse((at, _, occurrence))) = self.occurrences.peek()
            && at <= until
        {
            self.occurrences.pop();
            self.now = at;
            match occurrence {
                Occurrence::Arrives { flow, number } => self.acknowledge(flow, number),
                Occurrence::Leaves => self.leave(),
                Occurrence::Wakes { flow } => self.wake(flow),
            }
        }
        self.now = until;
        let possible = self.rate * millis / 1000;
        let share = |(flow, before)| (delivered(flow) - before) * 100 / possible;
        self.flows.iter().zip(before).map(share).collect()
    }

    /// The queue that segments met in the last run, on average, in milliseconds.
    pub(super) const fn mean_queue(&self) -> u64 {
        self.queued.0 / (self.queued.1 + 1) * 1000 / self.rate
    }

    fn plan(&mut self, at: Instant, occurrence: Occurrence) {
        self.count += 1;
        self.occurrences.push(Reverse((at, self.count, occurrence)));
    }

    fn wake(&mut self, index: usize) {
        let flow = &mut self.flows[index];
        let patience = Duration::from_millis(200) + 2 * flow.smoothed.unwrap_or_default();
        if flow.flight > 0 && self.now.saturating_duration_since(flow.heard_at) > patience {
            flow.delivery.handle_lost(flow.flight);
            flow.lost += flow.flight;
            flow.out.clear();
            flow.flight = 0;
            flow.recovers_at = Some(flow.next);
            flow.controller.handle_expiry(self.now);
        }
        self.send(index);
        let at = self.now + Duration::from_millis(500);
        self.plan(at, Occurrence::Wakes { flow: index });
    }

    fn send(&mut self, index: usize) {
        let now = self.now;
        loop {
            let flow = &mut self.flows[index];
            if flow.flight > 0 && flow.flight + LEN > flow.controller.window() {
                flow.is_window_limited = true;
                return;
            }
            flow.pacer.set_rate(flow.controller.pacing_rate(), now);
            if let Err(at) = flow.pacer.allowance(now) {
                let at = Instant::from_nanos(at.as_nanos().div_ceil(TICK) * TICK);
                return self.plan(at, Occurrence::Wakes { flow: index });
            }
            flow.pacer.spend(LEN);
            let (number, stamp) = (flow.next, flow.delivery.stamp(LEN, flow.flight, now));
            let was_idle = flow.flight == 0;
            flow.next += 1;
            flow.flight += LEN;
            flow.heard_at = if was_idle { now } else { flow.heard_at };
            flow.controller.handle_sent(LEN, flow.flight, was_idle, now);
            flow.out.push_back(OutSegment { number, sent_at: now, stamp, has_arrived: false });
            self.enqueue(index, number);
        }
    }

    fn enqueue(&mut self, flow: usize, number: u64) {
        let waiting = self.waiting.len() as u64 * LEN;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let is_unlucky = self.one_lost_of.is_some_and(|of| self.random.is_multiple_of(of));
        if self.drop_next > 0 || is_unlucky || waiting > self.queue {
            self.drop_next = self.drop_next.saturating_sub(1);
            return;
        }
        self.queued = (self.queued.0 + waiting, self.queued.1 + 1);
        self.waiting.push_back((flow, number));
        if self.waiting.len() == 1 {
            self.plan_leaving();
        }
    }

    fn plan_leaving(&mut self) {
        let time = Duration::from_nanos(LEN * 1_000_000_000 / self.rate);
        self.plan(self.now + time, Occurrence::Leaves);
    }

    fn leave(&mut self) {
        let (flow, number) = self.waiting.pop_front().unwrap();
        if !self.waiting.is_empty() {
            self.plan_leaving();
        }
        self.plan(self.now + self.round_trip, Occurrence::Arrives { flow, number });
    }

    fn acknowledge(&mut self, index: usize, number: u64) {
        let now = self.now;
        let flow = &mut self.flows[index];
        let Ok(place) = flow.out.binary_search_by_key(&number, |out| out.number) else { return };
        let OutSegment { sent_at, stamp, .. } = flow.out[place];
        flow.out[place].has_arrived = true;
        flow.delivery.handle_delivered(LEN, &stamp, sent_at, now);
        let mut lost = 0;
        while let Some(out) = flow.out.front()
            && (out.has_arrived || out.number + 3 <= number)
        {
            lost += if out.has_arrived { 0 } else { LEN };
            flow.out.pop_front();
        }
        flow.delivery.handle_lost(lost);
        flow.lost += lost;
        let flight_before = flow.flight;
        flow.flight -= lost + LEN;
        flow.heard_at = now;
        let round_trip = now.saturating_duration_since(sent_at);
        let smoothed = flow.smoothed.map_or(round_trip, |time| (time * 7 + round_trip) / 8);
        flow.smoothed = Some(smoothed);
        let lowest = flow.lowest.map_or(round_trip, |lowest| lowest.min(round_trip));
        flow.lowest = Some(lowest);
        let acknowledged = flow.out.front().map_or(flow.next, |out| out.number);
        if flow.recovers_at.is_some_and(|at| acknowledged >= at) {
            flow.recovers_at = None;
            flow.controller.handle_recovered(now);
        }
        if lost > 0 && flow.recovers_at.is_none() {
            flow.recovers_at = Some(flow.next);
            flow.controller.handle_congestion(flight_before, flow.next * LEN, now);
        }
        let progress = Progress {
            acknowledged_to: acknowledged * LEN,
            sent_to: flow.next * LEN,
            delivered: LEN,
            delivered_total: flow.delivery.delivered(),
            lost,
            flight: flow.flight,
            round_trip: Some(round_trip),
            smoothed: Some(smoothed),
            rate: flow.delivery.take_sample(Some(lowest)),
            is_window_limited: std::mem::take(&mut flow.is_window_limited),
        };
        flow.controller.handle_progress(&progress, now);
        self.send(index);
    }
}
