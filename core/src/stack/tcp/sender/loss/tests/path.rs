//! A path in virtual time: a sender with a window that stays, a bottleneck, and a receiver that
//! acknowledges each segment with the newest blocks (RFC 2018) and duplicates (RFC 2883).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::*;

pub(super) const SEGMENT: u64 = 1400;

/// What becomes of the segment that leaves as the `number`-th: how much longer than the path's
/// delay each of its copies takes. No copy: it is lost.
pub(super) type Fates<'a> = Box<dyn FnMut(u64, Instant) -> Vec<Duration> + 'a>;

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Happening {
    Segment(u64, u64),
    Ack(u64, Vec<(u64, u64)>),
}

/// The receiver: positions only.
#[derive(Default)]
struct Receiver {
    next: u64,
    /// Ranges behind gaps: start, end.
    held: BTreeMap<u64, u64>,
    /// Their starts, the newest first.
    newest: Vec<u64>,
}

impl Receiver {
    fn handle_segment(&mut self, start: u64, end: u64) -> Happening {
        let mut blocks = Vec::new();
        let holder = self.held.range(..=start).next_back().map(|(start, end)| (*start, *end));
        if end <= self.next || holder.is_some_and(|(_, held_end)| end <= held_end) {
            blocks.push((start, end));
        } else {
            let (mut from, mut to) = (start, end);
            let touching = self.held.range(..=end).filter(|(_, held_end)| **held_end >= start);
            let touching: Vec<_> = touching.map(|(start, end)| (*start, *end)).collect();
            for (held_start, held_end) in touching {
                self.held.remove(&held_start);
                self.newest.retain(|start| *start != held_start);
                (from, to) = (from.min(held_start), to.max(held_end));
            }
            if from <= self.next {
                self.next = to;
            } else {
                self.held.insert(from, to);
                self.newest.insert(0, from);
            }
        }
        let held = self.newest.iter().map(|start| (*start, self.held[start]));
        blocks.extend(held.take(4 - blocks.len()));
        Happening::Ack(self.next, blocks)
    }
}

/// What came of a transfer.
#[derive(Default, Debug)]
pub(super) struct Transfer {
    /// Bytes that left.
    pub(super) sent: u64,
    /// Of those, what the path dropped.
    pub(super) dropped: u64,
    /// When the last byte was acknowledged.
    pub(super) ended_at: Instant,
    pub(super) episodes: u64,
    pub(super) expiries: u64,
    pub(super) undone: u64,
}

pub(super) struct World<'a> {
    pub(super) loss: LossRecovery,
    /// One way.
    pub(super) delay: Duration,
    /// Between two segments.
    pub(super) spacing: Duration,
    pub(super) window: u64,
    pub(super) fates: Fates<'a>,
    /// The same for acknowledgements, which take as long as the path's delay.
    pub(super) is_ack_lost: Box<dyn FnMut() -> bool + 'a>,
}

impl<'a> World<'a> {
    pub(super) fn new(
        round_trip: Duration,
        fates: impl FnMut(u64, Instant) -> Vec<Duration> + 'a,
    ) -> Self {
        Self {
            loss: LossRecovery::new(0, &LossHint::default()),
            delay: round_trip / 2,
            spacing: Duration::from_micros(200),
            window: 100 * SEGMENT,
            fates: Box::new(fates),
            is_ack_lost: Box::new(|| false),
        }
    }

    /// Sends so many segments, and waits until they are acknowledged.
    pub(super) fn transfer(&mut self, segments: u64, mut now: Instant) -> Transfer {
        let mut transfer = Transfer::default();
        let (first, total) = (self.loss.sent_to(), self.loss.sent_to() + segments * SEGMENT);
        let mut receiver = Receiver { next: first, ..Default::default() };
        let mut happenings = BinaryHeap::new();
        let (mut number, mut order, mut free_at) = (0, 0, now);
        let mut sums = Sums::default();
        let mut probe = None;
        // After a timeout one segment may be out, and more as they arrive.
        let mut limit = self.window;
        while self.loss.acknowledged_to() < total {
            loop {
                let sent_to = self.loss.sent_to();
                let fits = self.loss.flight() + SEGMENT <= limit.min(self.window);
                let new = (sent_to < total).then(|| sent_to..(sent_to + SEGMENT).min(total));
                let range = match (probe.take(), self.loss.next_lost(SEGMENT)) {
                    (Some(tail), _) => new.unwrap_or(tail),
                    (None, Some(lost)) if fits => lost,
                    (None, None) if fits && new.is_some() => new.unwrap(),
                    _ => break,
                };
                let len = range.end - range.start;
                self.loss.handle_sent(range.clone(), STAMP, now);
                transfer.sent += len;
                free_at = free_at.max(now) + self.spacing;
                let copies = (self.fates)(number, now);
                number += 1;
                if copies.is_empty() {
                    transfer.dropped += len;
                }
                for late in copies {
                    order += 1;
                    let segment = Happening::Segment(range.start, range.end);
                    happenings.push(Reverse((free_at + self.delay + late, order, segment)));
                }
            }
            let next = happenings.peek().map(|Reverse((at, ..))| *at);
            let deadline = self.loss.deadline();
            assert!(next.or(deadline).is_some(), "nothing will happen: {:?}", self.loss);
            if deadline.is_some_and(|deadline| next.is_none_or(|next| deadline < next)) {
                now = now.max(deadline.unwrap());
                match self.loss.handle_timeout(&mut sums, now) {
                    Expiry::Nothing => {}
                    Expiry::Lost { began, .. } => transfer.episodes += u64::from(began),
                    Expiry::Probe(range) => probe = Some(range),
                    Expiry::Expired { .. } => {
                        transfer.expiries += 1;
                        limit = SEGMENT;
                    }
                }
                continue;
            }
            let Reverse((at, _, happening)) = happenings.pop().unwrap();
            now = at;
            match happening {
                Happening::Segment(start, end) => {
                    let ack = receiver.handle_segment(start, end);
                    order += 1;
                    if !(self.is_ack_lost)() {
                        happenings.push(Reverse((now + self.delay, order, ack)));
                    }
                }
                Happening::Ack(to, blocks) => {
                    let blocks: Vec<_> =
                        blocks.into_iter().map(|(start, end)| start..end).collect();
                    let ack = Acknowledgement { to, blocks: &blocks };
                    let report = self.loss.handle_acknowledgement(&ack, &mut sums, now).unwrap();
                    let events = report.events;
                    limit += report.delivered;
                    if events.undone {
                        limit = self.window;
                    }
                    transfer.episodes += u64::from(events.began);
                    transfer.episodes += u64::from(events.repaired_by_probe);
                    transfer.undone += u64::from(events.undone);
                }
            }
            self.loss.board.check();
            assert!(now < at_end(), "it takes too long: {transfer:?}");
        }
        assert_eq!((receiver.next, receiver.held.len()), (total, 0), "all has arrived");
        assert_eq!(sums.delivered, segments * SEGMENT);
        transfer.ended_at = now;
        transfer
    }
}

fn at_end() -> Instant {
    at(3_600_000)
}
