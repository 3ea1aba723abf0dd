//! A bottleneck in front of a delay, and flows through it: positions and times, no packets.
//!
//! A segment is one unit; the far end acknowledges each that arrives, a sender takes one for lost
//! when one that left three later has arrived. What is lost is sent again as something new.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::Bbr;
use crate::stack::tcp::sender::congestion::{Controller, Progress};
use crate::stack::tcp::sender::delivery::{Delivery, Stamp};
use crate::time::Instant;

pub(super) const SEGMENT: u64 = 1_448;
const INITIAL_WINDOW: u64 = 10 * SEGMENT;
/// Where pacing lets this much leave at once.
const QUANTUM: Duration = Duration::from_millis(1);

/// What the path is like. It may change while flows run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bottleneck {
    /// Bytes a second.
    pub(super) rate: u64,
    pub(super) round_trip: Duration,
    /// Bytes that may wait.
    pub(super) queue: u64,
    /// Of a million segments so many start a burst of losses.
    pub(super) loss_ppm: u64,
    pub(super) burst: u64,
    /// Acknowledgements come together at multiples of this.
    pub(super) lump: Duration,
}

impl Bottleneck {
    /// Bits a second, milliseconds, and a queue in milliseconds.
    pub(super) fn new(mbit: u64, round_trip_ms: u64, queue_ms: u64) -> Self {
        let rate = mbit * 125_000;
        Self {
            rate,
            round_trip: Duration::from_millis(round_trip_ms),
            queue: rate * queue_ms / 1_000,
            loss_ppm: 0,
            burst: 1,
            lump: Duration::from_nanos(1),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Happens {
    Acknowledged { flow: usize, id: u64 },
    Departs,
    MaySend { flow: usize },
    Timeout { flow: usize },
}

#[derive(Debug)]
struct Outstanding {
    id: u64,
    sent_at: Instant,
    stamp: Stamp,
    has_arrived: bool,
}

/// A sender with its counts.
#[derive(Debug)]
pub(super) struct ModelFlow {
    pub(super) bbr: Bbr,
    /// Bytes a second that the application has, if it has not all it could send.
    source: Option<u64>,
    source_sent: u64,
    source_since: Instant,
    out: VecDeque<Outstanding>,
    next_id: u64,
    flight: u64,
    next_send_at: Instant,
    wakes_at: Option<Instant>,
    is_window_limited: bool,
    recovers_at: Option<u64>,
    heard_at: Instant,
    smoothed: Duration,
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) sent: u64,
    delivery: Delivery,
    lowest: Option<Duration>,
}

impl ModelFlow {
    /// The application has so much a second from now on, or as much as can be sent.
    pub(super) fn set_source(&mut self, source: Option<u64>, now: Instant) {
        self.source = source;
        self.source_sent = 0;
        self.source_since = now;
    }
}

/// The bottleneck and its flows.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) link: Bottleneck,
    pub(super) flows: Vec<ModelFlow>,
    pub(super) now: Instant,
    waiting: VecDeque<(usize, u64)>,
    events: BinaryHeap<Reverse<(Instant, u64, Happens)>>,
    number: u64,
    random: u64,
    burst_left: u64,
    /// Nanoseconds of queue that segments met, and how many did, since the last look.
    queue_sum: u64,
    queue_count: u64,
}

impl Model {
    pub(super) fn new(link: Bottleneck) -> Self {
        Self {
            link,
            flows: Vec::new(),
            now: Instant::ZERO,
            waiting: VecDeque::new(),
            events: BinaryHeap::new(),
            number: 0,
            random: 7,
            burst_left: 0,
            queue_sum: 0,
            queue_count: 0,
        }
    }

    /// A flow that starts now.
    pub(super) fn add(&mut self, source: Option<u64>) {
        let flow = self.flows.len();
        let seed = flow as u64 + 1;
        self.flows.push(ModelFlow {
            bbr: Bbr::new(INITIAL_WINDOW, SEGMENT, None, seed, self.now),
            source,
            source_sent: 0,
            source_since: self.now,
            out: VecDeque::new(),
            next_id: 0,
            flight: 0,
            next_send_at: self.now,
            wakes_at: None,
            is_window_limited: false,
            recovers_at: None,
            heard_at: self.now,
            smoothed: Duration::from_secs(1),
            delivered: 0,
            lost: 0,
            sent: 0,
            delivery: Delivery::new(self.now),
            lowest: None,
        });
        self.at(self.now, Happens::MaySend { flow });
        self.at(self.now + Duration::from_secs(1), Happens::Timeout { flow });
    }

    /// Goes on for so long; what each flow delivered in it, in bytes a second.
    pub(super) fn run(&mut self, time: Duration) -> Vec<u64> {
        let before: Vec<u64> = self.flows.iter().map(|flow| flow.delivered).collect();
        let end = self.now + time;
        (self.queue_sum, self.queue_count) = (0, 0);
        while let Some(Reverse((at, _, happens))) = self.events.peek().copied()
            && at <= end
        {
            self.events.pop();
            self.now = at;
            match happens {
                Happens::Acknowledged { flow, id } => self.acknowledge(flow, id),
                Happens::Departs => self.depart(),
                Happens::MaySend { flow } => {
                    self.flows[flow].wakes_at = None;
                    self.send(flow);
                }
                Happens::Timeout { flow } => self.expire(flow),
            }
        }
        self.now = end;
        let millis = u64::try_from(time.as_millis()).unwrap();
        let grown = |(flow, before): (&ModelFlow, u64)| (flow.delivered - before) * 1_000 / millis;
        self.flows.iter().zip(before).map(grown).collect()
    }

    /// The queue that a segment met on average in the last run.
    pub(super) fn mean_queue(&self) -> Duration {
        Duration::from_nanos(self.queue_sum / self.queue_count.max(1))
    }

    fn at(&mut self, time: Instant, happens: Happens) {
        self.number += 1;
        self.events.push(Reverse((time, self.number, happens)));
    }

    fn transmission(&self) -> Duration {
        Duration::from_nanos(SEGMENT * 1_000_000_000 / self.link.rate)
    }

    fn send(&mut self, index: usize) {
        loop {
            let flow = &mut self.flows[index];
            if let Some(rate) = flow.source {
                let since = self.now.saturating_duration_since(flow.source_since);
                let has = rate * u64::try_from(since.as_micros()).unwrap() / 1_000_000;
                if flow.source_sent + SEGMENT > has {
                    flow.delivery.set_application_limited(flow.flight);
                    flow.is_window_limited = false;
                    let wait = Duration::from_nanos(SEGMENT * 1_000_000_000 / rate);
                    return self.wake(index, self.now + wait);
                }
            }
            flow.is_window_limited = flow.flight + SEGMENT > flow.bbr.window();
            if flow.is_window_limited {
                return;
            }
            if flow.next_send_at > self.now + QUANTUM {
                let at = flow.next_send_at;
                return self.wake(index, at);
            }
            self.transmit(index);
        }
    }

    fn wake(&mut self, index: usize, at: Instant) {
        if self.flows[index].wakes_at.is_none_or(|wakes| wakes > at) {
            self.flows[index].wakes_at = Some(at);
            self.at(at, Happens::MaySend { flow: index });
        }
    }

    fn transmit(&mut self, index: usize) {
        let now = self.now;
        let flow = &mut self.flows[index];
        let was_idle = flow.flight == 0;
        if was_idle {
            flow.heard_at = now;
        }
        let stamp = flow.delivery.stamp(SEGMENT, flow.flight, now);
        flow.flight += SEGMENT;
        flow.sent += SEGMENT;
        flow.source_sent += SEGMENT;
        flow.bbr.handle_sent(SEGMENT, flow.flight, was_idle, now);
        if let Some(rate) = flow.bbr.pacing_rate() {
            let gap = Duration::from_nanos(SEGMENT * 1_000_000_000 / rate);
            flow.next_send_at = flow.next_send_at.max(now) + gap;
        }
        let id = flow.next_id;
        flow.next_id += 1;
        flow.out.push_back(Outstanding { id, sent_at: now, stamp, has_arrived: false });
        self.enqueue(index, id);
    }

    fn enqueue(&mut self, index: usize, id: u64) {
        let queued = self.waiting.len() as u64 * SEGMENT;
        if queued + SEGMENT > self.link.queue + SEGMENT {
            return;
        }
        self.queue_sum += queued * 1_000_000_000 / self.link.rate;
        self.queue_count += 1;
        self.waiting.push_back((index, id));
        if self.waiting.len() == 1 {
            self.at(self.now + self.transmission(), Happens::Departs);
        }
    }

    fn depart(&mut self) {
        let Some((flow, id)) = self.waiting.pop_front() else { return };
        if !self.waiting.is_empty() {
            self.at(self.now + self.transmission(), Happens::Departs);
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        if self.random % 1_000_000 < self.link.loss_ppm {
            self.burst_left = self.link.burst;
        }
        if self.burst_left > 0 {
            self.burst_left -= 1;
            return;
        }
        let at = (self.now + self.link.round_trip).as_nanos();
        let lump = u64::try_from(self.link.lump.as_nanos()).unwrap();
        let at = Instant::from_nanos(at.div_ceil(lump) * lump);
        self.at(at, Happens::Acknowledged { flow, id });
    }

    /// One acknowledgement, of all segments whose answers come at the same time.
    fn acknowledge(&mut self, index: usize, first: u64) {
        let mut ids = vec![first];
        while let Some(Reverse((at, _, Happens::Acknowledged { flow, id }))) =
            self.events.peek().copied()
            && (at, flow) == (self.now, index)
        {
            self.events.pop();
            ids.push(id);
        }
        let now = self.now;
        let flow = &mut self.flows[index];
        let flight_before = flow.flight;
        let mut newest = None;
        let mut delivered = 0;
        for id in &ids {
            let Some(segment) = flow.out.iter_mut().find(|out| out.id == *id) else { continue };
            segment.has_arrived = true;
            delivered += SEGMENT;
            newest = Some(segment.sent_at);
            flow.delivery.handle_delivered(SEGMENT, &segment.stamp, segment.sent_at, now);
        }
        let Some(sent_at) = newest else { return };
        let last = ids.into_iter().max().unwrap();
        flow.delivered += delivered;
        let mut lost = 0;
        flow.out.retain(|out| {
            let is_lost = !out.has_arrived && out.id + 3 <= last;
            lost += if is_lost { SEGMENT } else { 0 };
            !out.has_arrived && !is_lost
        });
        flow.lost += lost;
        flow.delivery.handle_lost(lost);
        flow.flight = flow.flight.saturating_sub(delivered + lost);
        flow.heard_at = now;
        let round_trip = now.saturating_duration_since(sent_at);
        flow.smoothed = round_trip;
        let lowest = flow.lowest.map_or(round_trip, |lowest| lowest.min(round_trip));
        flow.lowest = Some(lowest);
        if lost > 0 && flow.recovers_at.is_none() {
            flow.recovers_at = Some(flow.next_id);
            flow.bbr.handle_congestion(flight_before, flow.next_id, now);
        } else if flow.recovers_at.is_some_and(|at| last >= at) {
            flow.recovers_at = None;
            flow.bbr.handle_recovered(now);
        }
        let rate = flow.delivery.take_sample(flow.lowest);
        let progress = Progress {
            acknowledged_to: flow.delivered,
            sent_to: flow.sent,
            delivered,
            delivered_total: flow.delivered,
            lost,
            flight: flow.flight,
            round_trip: Some(round_trip),
            smoothed: Some(flow.smoothed),
            rate,
            is_window_limited: flow.is_window_limited,
        };
        flow.bbr.handle_progress(&progress, now);
        self.send(index);
    }

    fn expire(&mut self, index: usize) {
        let now = self.now;
        let flow = &mut self.flows[index];
        let after = Duration::from_secs(1).max(flow.smoothed * 2);
        if flow.flight > 0 && now >= flow.heard_at + after {
            flow.lost += flow.flight;
            flow.delivery.handle_lost(flow.flight);
            flow.flight = 0;
            flow.out.clear();
            flow.heard_at = now;
            flow.next_send_at = now;
            flow.recovers_at = Some(flow.next_id);
            flow.bbr.handle_expiry(now);
            self.send(index);
        }
        self.at(now + Duration::from_millis(200), Happens::Timeout { flow: index });
    }
}
