//! The receiver as a whole, against plain models of a stream and of a path.

use std::collections::VecDeque;

use super::*;
use crate::limits::PAGE_LEN;

const SEGMENT: usize = 1380;

/// Numbers that look random.
struct Splitmix(u64);

impl Splitmix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ mixed >> 29) >> 8) % bound
    }
}

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn bytes(range: Range<u64>) -> Vec<u8> {
    range.map(|position| (position.wrapping_mul(0x9e37_79b9) >> 11) as u8).collect()
}

/// Acknowledges, as a connection does; says which blocks were told.
fn acknowledge(receiver: &mut Receiver, now: Instant) -> Vec<Range<u64>> {
    let (window, blocks) = (receiver.window(), receiver.blocks());
    receiver.handle_acknowledged(window, now);
    blocks.as_slice().to_vec()
}

fn receiver(max: usize) -> Receiver {
    let mut receiver = Receiver::new(max, SEGMENT);
    acknowledge(&mut receiver, at(0));
    receiver
}

#[test]
fn the_stream_is_what_was_sent_whatever_the_order_and_blocks_say_what_is_there() {
    for seed in 0..20 {
        let mut dice = Splitmix(seed);
        let max = 5_000 + dice.below(300_000) as usize;
        let mut receiver = receiver(max);
        let (len, mut read) = (400_000, 1);
        let mut has = vec![false; len as usize + 2];
        for round in 0.. {
            let start = match dice.below(4) {
                0 => receiver.next(),
                _ => (receiver.next() + dice.below(max as u64)).saturating_sub(5_000).max(1),
            }
            .min(len);
            let end = (start + 1 + dice.below(6_000)).min(len + 1);
            let edge = receiver.offered_to();
            let fresh = (start..end.min(edge)).filter(|at| !has[*at as usize]).count() as u64;
            let taken = receiver.handle_segment(start, &bytes(start..end), at(round));
            assert_eq!(taken.new_bytes, fresh, "{seed} {start}..{end}");
            assert_eq!(taken.is_duplicate, fresh == 0);
            assert_eq!(receiver.ack_due(), AckDue::Now);
            has[start as usize..end.min(edge).max(start) as usize].fill(true);
            if end == len + 1 && start <= len {
                receiver.handle_fin(len + 1, at(round));
            }
            let in_order = 1 + has[1..].iter().take_while(|has| **has).count() as u64;
            assert_eq!(receiver.next() - u64::from(receiver.is_ended()), in_order);
            for block in acknowledge(&mut receiver, at(round)) {
                let known = block.start..block.end.min(len + 1);
                assert!(known.clone().all(|at| has[at as usize]), "{seed} {block:?}");
            }
            assert!(receiver.offered_to() >= edge, "the edge never goes back");
            assert!(receiver.offered_to() <= read + max as u64);
            if dice.below(3) > 0 {
                let taken = receiver.received().len().min(dice.below(50_000) as usize);
                assert_eq!(receiver.received()[..taken], bytes(read..read + taken as u64));
                read += receiver.consume(taken) as u64;
            }
            if receiver.is_ended() {
                break;
            }
        }
        while receiver.has_received() {
            let taken = receiver.received().len();
            assert_eq!(receiver.received(), bytes(read..read + taken as u64));
            read += receiver.consume(taken) as u64;
        }
        assert_eq!((read, receiver.needs_ring(), receiver.has_gap()), (len + 1, false, false));
    }
}

#[test]
fn what_comes_twice_is_told_once_each() {
    let mut receiver = receiver(1 << 20);
    receiver.handle_segment(1, &[0; 1000], at(1));
    receiver.handle_segment(2001, &[0; 1000], at(1));
    assert_eq!(acknowledge(&mut receiver, at(1)), [2001..3001]);
    receiver.handle_segment(1, &[0; 1000], at(2));
    receiver.handle_segment(2501, &[0; 1000], at(2));
    assert_eq!(receiver.ack_due(), AckDue::Now);
    assert_eq!(acknowledge(&mut receiver, at(2)), [1..1001, 2001..3501]);
    assert_eq!(receiver.ack_due(), AckDue::Now, "there is another");
    assert_eq!(acknowledge(&mut receiver, at(2)), [2501..3001, 2001..3501]);
    assert_eq!(receiver.ack_due(), AckDue::No);
    let taken = receiver.handle_segment(501, &[0; 2000], at(3));
    assert_eq!(taken, Taken { new_bytes: 1000, in_order: true, filled_gap: true, ..taken });
    assert_eq!(receiver.next(), 3501);
    assert_eq!(acknowledge(&mut receiver, at(3)), [501..1001]);
    assert_eq!(acknowledge(&mut receiver, at(3)), [2001..2501]);
}

#[test]
fn a_fin_waits_for_what_is_before_it_and_ends_the_stream() {
    let mut receiver = receiver(1 << 20);
    assert!(receiver.handle_fin(1001, at(1)));
    assert_eq!((receiver.next(), acknowledge(&mut receiver, at(1))), (1, vec![1001..1002]));
    assert!(!receiver.handle_fin(501, at(1)) && !receiver.handle_fin(1002, at(1)));
    assert!(receiver.handle_segment(1001, &[0; 9], at(1)).is_duplicate, "behind the FIN");
    acknowledge(&mut receiver, at(1));
    let taken = receiver.handle_segment(1, &[7; 1500], at(2));
    assert_eq!((taken.new_bytes, receiver.next(), receiver.is_ended()), (1000, 1002, true));
    assert_eq!(receiver.received(), [7; 1000]);
    acknowledge(&mut receiver, at(2));
    assert!(receiver.handle_fin(1001, at(3)));
    assert_eq!(acknowledge(&mut receiver, at(3)), [1001..1002]);
}

#[test]
fn a_fin_that_contradicts_what_arrived_is_not_believed() {
    let mut receiver = receiver(1 << 20);
    receiver.handle_segment(501, &[0; 500], at(1));
    assert!(!receiver.handle_fin(900, at(1)));
    assert!(!receiver.handle_fin(1 << 20, at(1)), "it is not in the window");
    assert!(receiver.handle_fin(1001, at(1)));
    assert_eq!(receiver.ack_due(), AckDue::Now);
}

#[test]
fn bytes_with_gaps_between_them_cost_a_bounded_amount() {
    let mut receiver = receiver(1 << 20);
    let mut resident = 0;
    for position in (2..200_000).step_by(2) {
        let growth = receiver.growth(position, 1);
        receiver.handle_segment(position, &[0], at(1));
        assert!(receiver.resident() <= resident + growth + 5 * PAGE_LEN);
        resident = receiver.resident();
    }
    assert!(resident <= (64 << 10) + 8 * PAGE_LEN, "{resident}");
    assert_eq!(receiver.handle_segment(receiver.offered_to(), &[0], at(1)).new_bytes, 0);
    receiver.handle_segment(1, &[0; 1 << 16], at(2));
    assert!(!receiver.has_gap());
    receiver.consume(usize::MAX);
    receiver.consume(usize::MAX);
    receiver.give_back();
    assert_eq!((receiver.resident(), receiver.needs_ring()), (0, false));
}

#[test]
fn a_window_that_closed_is_told_when_it_is_worth_it() {
    let mut receiver = receiver(64 << 10);
    while receiver.offered_to() > receiver.next() {
        let len = SEGMENT.min((receiver.offered_to() - receiver.next()) as usize);
        receiver.handle_segment(receiver.next(), &vec![0; len], at(1));
        acknowledge(&mut receiver, at(1));
    }
    assert_eq!((receiver.window(), receiver.ack_due()), (0, AckDue::No));
    receiver.consume(SEGMENT - 1);
    assert_eq!((receiver.window(), receiver.ack_due()), (0, AckDue::No));
    receiver.consume(SEGMENT);
    assert!(receiver.window() >= 2 * SEGMENT as u64 - 2 && receiver.ack_due() == AckDue::No);
    receiver.consume(2);
    assert_eq!(receiver.ack_due(), AckDue::Now);
}

#[test]
fn bytes_behind_a_gap_use_up_nothing_of_the_window() {
    let mut receiver = receiver(1 << 20);
    let before = receiver.offered_to();
    receiver.handle_segment(1 + SEGMENT as u64, &[0; 20 * SEGMENT], at(1));
    acknowledge(&mut receiver, at(1));
    let moved = receiver.offered_to() - before;
    assert!(moved > 20 * SEGMENT as u64 && moved <= 21 * SEGMENT as u64, "{moved}");
}

#[test]
fn a_window_that_is_wide_open_is_told_with_what_arrives_only() {
    let mut receiver = receiver(64 << 10);
    for _ in 0..4 {
        receiver.handle_segment(receiver.next(), &[0; 2 * SEGMENT], at(1));
        acknowledge(&mut receiver, at(1));
    }
    receiver.consume(8 * SEGMENT);
    assert_eq!(receiver.ack_due(), AckDue::No);
}

#[test]
fn a_window_of_a_far_end_without_scale_fits_its_field() {
    assert_eq!([1, 65_535, 65_536, 8 << 20].map(window_shift), [0, 0, 1, 8]);
    let mut receiver = Receiver::new(1 << 20, SEGMENT);
    receiver.set_unscaled();
    assert_eq!(receiver.window(), 65_535);
    let receiver = Receiver::new(8 << 20, SEGMENT);
    assert_eq!(receiver.window() % (1 << 8), 0);
}

/// A path in ticks of a millisecond, with a sender that doubles up to `flight_max`.
struct PathModel {
    /// Bytes in each tick.
    rate: u64,
    /// There and back again.
    round_trip: u64,
    flight_max: u64,
    /// What the reader takes in each tick.
    reads: usize,
    sent_to: u64,
    acknowledged_to: u64,
    edge: u64,
    flight_limit: u64,
    queue: u64,
    /// When, up to where.
    on_the_way: VecDeque<(u64, u64)>,
    /// When, up to where, edge.
    coming_back: VecDeque<(u64, u64, u64)>,
    now: u64,
}

impl PathModel {
    fn new(rate: u64, round_trip: u64, flight_max: u64) -> Self {
        Self {
            rate,
            round_trip,
            flight_max,
            reads: usize::MAX,
            sent_to: 1,
            acknowledged_to: 1,
            edge: 1 + (64 << 10),
            flight_limit: 10 * SEGMENT as u64,
            queue: 0,
            on_the_way: VecDeque::new(),
            coming_back: VecDeque::new(),
            now: 0,
        }
    }

    /// Runs for so many ticks; says how many bytes arrived. Without a window as if it were endless.
    fn run(&mut self, receiver: &mut Receiver, ticks: u64, has_window: bool) -> u64 {
        let before = receiver.next();
        for _ in 0..ticks {
            self.now += 1;
            while let Some(&(_, to, edge)) =
                self.coming_back.front().filter(|(due, ..)| *due <= self.now)
            {
                self.coming_back.pop_front();
                self.flight_limit += to - self.acknowledged_to;
                self.acknowledged_to = to;
                self.edge = edge;
            }
            let flight_limit = self.flight_limit.min(self.flight_max);
            let to = (self.acknowledged_to + flight_limit).min(if has_window {
                self.edge
            } else {
                u64::MAX
            });
            self.queue += to.saturating_sub(self.sent_to);
            self.sent_to = self.sent_to.max(to);
            let leaves = self.queue.min(self.rate);
            self.queue -= leaves;
            if leaves > 0 {
                let due = self.now + self.round_trip / 2;
                self.on_the_way.push_back((due, self.sent_to - self.queue));
            }
            let now = at(self.now);
            while let Some((_, to)) =
                self.on_the_way.front().copied().filter(|(due, _)| *due <= self.now)
            {
                self.on_the_way.pop_front();
                while receiver.next() < to {
                    let len = (9 * SEGMENT).min((to - receiver.next()) as usize);
                    if !has_window {
                        receiver.offered_to = receiver.next() + len as u64;
                    }
                    receiver.handle_segment(receiver.next(), &[0; 9 * SEGMENT][..len], now);
                    let taken = receiver.received().len().min(self.reads);
                    receiver.consume(taken);
                    if receiver.ack_due() == AckDue::Now {
                        self.acknowledge(receiver);
                    }
                }
            }
            let taken = receiver.received().len().min(self.reads);
            receiver.consume(taken);
            if receiver.ack_due() == AckDue::Now {
                self.acknowledge(receiver);
            }
        }
        receiver.next() - before
    }

    fn acknowledge(&mut self, receiver: &mut Receiver) {
        acknowledge(receiver, at(self.now));
        let due = self.now + self.round_trip / 2;
        self.coming_back.push_back((due, receiver.next(), receiver.offered_to()));
    }
}

/// Bytes in each millisecond.
const fn mbit(rate: u64) -> u64 {
    rate * 125
}

fn known(max: usize, round_trip: u64) -> Receiver {
    let mut receiver = receiver(max);
    receiver.set_round_trip(Duration::from_millis(round_trip));
    receiver
}

#[test]
fn no_sender_waits_for_the_window() {
    for (rate, round_trip, queue) in [
        (mbit(100), 40, 100),
        (mbit(100), 40, 20),
        (mbit(50), 60, 60),
        (mbit(30), 80, 80),
        (mbit(100), 100, 100),
        (mbit(40), 20, 100),
        (mbit(931), 50, 10),
        (mbit(20), 600, 300),
        (mbit(500), 2, 2),
    ] {
        let flight_max = rate * (round_trip + queue);
        for ticks in [3, 6, 8, 10, 15, 40].map(|rounds| rounds * round_trip) {
            let mut free = PathModel::new(rate, round_trip, flight_max);
            let most = free.run(&mut known(8 << 20, round_trip), ticks, false);
            let mut path = PathModel::new(rate, round_trip, flight_max);
            let moved = path.run(&mut known(8 << 20, round_trip), ticks, true);
            assert!(
                moved * 100 >= most * 97,
                "{rate} {round_trip} {queue} {ticks}: {moved} of {most}"
            );
        }
    }
}

#[test]
fn no_queue_of_the_whole_ring_stands_before_a_slow_path() {
    for (rate, round_trip) in [(mbit(10), 20), (mbit(2), 100), (mbit(20), 30)] {
        let mut path = PathModel::new(rate, round_trip, u64::MAX);
        let mut receiver = known(8 << 20, round_trip);
        path.run(&mut receiver, 30_000, true);
        let most = rate * (3 * round_trip + 50) + (64 << 10);
        let flight = path.sent_to - receiver.next();
        assert!(flight <= most * 3 / 2, "{rate}: {flight} of {most}");
        assert!(path.run(&mut receiver, 1_000, true) >= rate * 990);
    }
}

#[test]
fn a_path_whose_round_trip_grows_is_filled_again() {
    let (rate, round_trip) = (mbit(40), 20);
    let mut path = PathModel::new(rate, round_trip, u64::MAX);
    let mut receiver = known(8 << 20, round_trip);
    path.run(&mut receiver, 5_000, true);
    path.round_trip = 400;
    path.run(&mut receiver, 15_000, true);
    let moved = path.run(&mut receiver, 5_000, true);
    assert!(moved * 100 >= 5_000 * rate * 95, "{moved} of {}", 5_000 * rate);
}

#[test]
fn a_slow_reader_closes_the_window_and_a_ring_of_its_own_size_waits() {
    let mut path = PathModel::new(mbit(1000), 20, u64::MAX);
    path.reads = 100;
    let mut receiver = known(8 << 20, 20);
    path.run(&mut receiver, 3_000, true);
    assert!(receiver.resident() <= 2 << 20, "{}", receiver.resident());
    assert_eq!(path.queue, 0, "all that was offered has come");
}
