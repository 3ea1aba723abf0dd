use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::*;

impl Scoreboard {
    /// Counts everything anew.
    pub(in crate::stack::tcp::sender::loss) fn check(&self) {
        let mut start = self.start;
        let (mut flight, mut sacked, mut chained) = (0, 0, [0; 2]);
        for entry in &self.entries {
            assert!(entry.end > start);
            let len = entry.end - start;
            start = entry.end;
            match entry.state {
                SegmentState::Sacked => sacked += 1,
                SegmentState::InFlight => {
                    chained[0] += 1;
                    flight += len;
                }
                SegmentState::Lost => {
                    chained[1] += 1;
                    assert!(entry.left > 0 && u64::from(entry.left) <= len);
                    flight += len - u64::from(entry.left);
                }
            }
        }
        assert_eq!((start, flight, sacked), (self.sent_to, self.flight, self.sacked));
        let chains = [(self.in_flight, SegmentState::InFlight), (self.lost, SegmentState::Lost)];
        for ((chain, state), expected) in chains.into_iter().zip(chained) {
            let (mut id, mut previous, mut count) = (chain.first, NONE, 0);
            while id != NONE {
                let entry = self.entry(id);
                assert_eq!((entry.state, entry.previous), (state, previous));
                (previous, id) = (id, entry.next);
                count += 1;
            }
            assert_eq!((chain.last, count), (previous, expected), "{state:?}");
        }
    }

    fn sack(&mut self, block: Range<u64>) -> u64 {
        let (mut from, mut bytes) = (block.start.max(self.start), 0);
        while let Some((_, news)) = self.sack_next(&mut from, block.end) {
            bytes += news;
        }
        bytes
    }
}

const STAMP: Stamp = Stamp {
    delivered: 1,
    delivered_at: Instant::from_nanos(2),
    first_sent_at: Instant::from_nanos(3),
    in_flight: 4,
    lost: 5,
    is_app_limited: true,
};

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

/// So many segments of 100 bytes, whose numbers come round.
fn board(segments: u64) -> Scoreboard {
    let mut board = Scoreboard { first: NONE - 3, ..Scoreboard::new(0) };
    for number in 0..segments {
        board.push((number + 1) * 100, &STAMP, at(number));
    }
    board.check();
    board
}

#[test]
fn what_is_told_again_is_no_news() {
    let mut board = board(10);
    assert_eq!(board.sack(300..500), 200);
    assert_eq!(board.sack(200..700), 300);
    assert_eq!(board.sack(200..700), 0);
    assert_eq!(board.sack(350..450), 0);
    assert!(board.sack_next(&mut 200, 700).is_none(), "no step for each that is known");
    assert_eq!((board.flight(), board.sacked()), (500, 5));
    board.check();
    let news: Vec<u64> = std::iter::from_fn(|| board.pop(700).map(|(_, news)| news)).collect();
    assert_eq!(news, [100, 100, 0, 0, 0, 0, 0]);
    board.check();
}

#[test]
fn a_segment_that_is_covered_in_part_has_not_arrived() {
    let mut board = board(4);
    assert_eq!(board.sack(150..399), 100);
    assert_eq!(board.entry(board.id(2)).state, SegmentState::Sacked);
    board.check();
}

#[test]
fn what_is_lost_is_sent_again_from_the_lowest_on_and_as_one() {
    let mut board = board(10);
    for index in [5, 6, 1] {
        assert_eq!(board.lose(board.id(index)), 100);
    }
    assert_eq!(board.next_lost(1000), Some(100..200));
    assert_eq!(board.repeat(&(100..200), &STAMP, at(20)), 100);
    assert_eq!(board.next_lost(1000), Some(500..700));
    assert_eq!(board.next_lost(150), Some(500..650));
    board.check();
}

#[test]
fn a_segment_that_leaves_in_pieces_is_lost_until_the_last_has_left() {
    let mut board = board(3);
    board.lose(board.id(0));
    board.lose(board.id(1));
    assert_eq!(board.repeat(&(0..60), &STAMP, at(20)), 60);
    assert_eq!((board.next_lost(1000), board.flight()), (Some(60..200), 160));
    assert_eq!(board.repeat(&(60..120), &STAMP, at(21)), 60);
    assert_eq!(board.next_lost(1000), Some(120..200));
    let entry = *board.entry(board.id(0));
    assert_eq!((entry.state, entry.segment_len), (SegmentState::InFlight, 60));
    assert_eq!(board.trim(30).map(|(_, news)| news), Some(30));
    board.check();
    assert_eq!(board.sack(100..200), 100);
    board.check();
    assert_eq!((board.next_lost(1000), board.flight()), (None, 170));
}

#[test]
fn a_first_segment_that_was_sacked_is_a_promise_broken() {
    let mut board = board(5);
    board.sack(0..300);
    board.lose(board.id(3));
    assert_eq!(board.lose_front(), 300);
    assert_eq!((board.sacked(), board.next_lost(1000)), (0, Some(0..400)));
    board.check();
}

#[test]
fn an_entry_keeps_what_was_noted() {
    assert_eq!(size_of::<SentSegment>(), 72);
    let board = board(1);
    let stamp = board.entry(board.id(0)).stamp();
    assert_eq!(format!("{stamp:?}"), format!("{STAMP:?}"));
}

#[test]
fn an_idle_flow_keeps_little_and_gives_it_back() {
    let mut board = board(1000);
    while board.pop(100_000).is_some() {}
    assert!(
        board.resident() <= 2 * ENTRIES_IDLE * size_of::<SentSegment>(),
        "{}",
        board.resident()
    );
    board.give_back();
    assert_eq!(board.resident(), 0);
}

/// Random steps against the same with a byte for each position.
#[test]
fn any_order_of_events_leaves_it_consistent() {
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut below = |limit: u64| rng.next_u64() % limit.max(1);
        let mut board = Scoreboard { first: NONE - 20, ..Scoreboard::new(0) };
        let mut arrived = vec![false; 1 << 16];
        for step in 0..400 {
            let (start, sent_to) = (board.start(), board.sent_to());
            let out = sent_to - start;
            match below(8) {
                0..3 => board.push(sent_to + 1 + below(100), &STAMP, at(step)),
                3 => {
                    let to = start + below(out / 4 + 1);
                    while board.pop(to).is_some() {}
                    board.trim(to);
                }
                4 => {
                    let from = start + below(out);
                    let block = from..from + below(200);
                    let mut entry_start = start;
                    let mut expected = 0;
                    for entry in &board.entries {
                        if entry_start >= block.start && entry.end <= block.end {
                            for position in entry_start..entry.end {
                                let was = &mut arrived[usize::try_from(position).unwrap()];
                                expected += u64::from(!std::mem::replace(was, true));
                            }
                        }
                        entry_start = entry.end;
                    }
                    assert_eq!(board.sack(block), expected);
                }
                5 => {
                    if let Some(oldest) = board.oldest() {
                        board.lose(oldest);
                    }
                }
                6 => {
                    if let Some(lost) = board.next_lost(1 + below(150)) {
                        let len = lost.end - lost.start;
                        assert_eq!(board.repeat(&lost, &STAMP, at(step)), len);
                    }
                }
                _ if below(20) == 0 => board.find_all_lost(),
                _ if below(20) == 0 => {
                    if board.front().is_some() && board.entries[0].state == SegmentState::Sacked {
                        arrived.fill(false);
                    }
                    board.lose_front();
                }
                _ => {
                    let from = start + below(out);
                    board.repeat(&(from..(from + below(300)).min(sent_to)), &STAMP, at(step));
                }
            }
            board.check();
        }
    }
}
