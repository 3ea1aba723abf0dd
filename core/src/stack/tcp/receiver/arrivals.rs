//! What arrived behind a gap, and what the far end is told of it (RFC 2018, 2883).

use std::collections::VecDeque;
use std::ops::Range;

use crate::limits::{GAPS_MAX, PAGE_LEN};
use crate::stack::tcp::options::BLOCKS_MAX;

/// Ranges that the smallest ring may keep: so few need no place on the account.
const RANGES_MIN: usize = 64;

/// Bytes of a ring for each range beyond those. Of full segments not even every other one comes
/// closer to the next, however many are lost.
const BYTES_PER_RANGE: usize = 1024;

/// SACK blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::stack::tcp) struct SackBlocks {
    blocks: [Range<u64>; BLOCKS_MAX],
    len: usize,
}

impl SackBlocks {
    const NONE: Self = Self { blocks: [const { 0..0 }; BLOCKS_MAX], len: 0 };

    /// The blocks, first what came twice, then the newest.
    pub(in crate::stack::tcp) fn as_slice(&self) -> &[Range<u64>] {
        &self.blocks[..self.len]
    }

    /// Adds one, if there is room and it is not among those behind the first `apart`.
    fn push(&mut self, block: Range<u64>, apart: usize) {
        if self.len < BLOCKS_MAX && !self.blocks[apart..self.len].contains(&block) {
            self.blocks[self.len] = block;
            self.len += 1;
        }
    }
}

/// What is new of a range that arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Novelty {
    pub(super) new_bytes: u64,
    /// The first part of it that was there already.
    pub(super) duplicate: Option<Range<u64>>,
}

/// Ranges that arrived behind a gap. Work for each is that of a search, and of moving those behind
/// it, 16 bytes each.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// In order, apart from each other.
    ranges: VecDeque<Range<u64>>,
    ranges_max: usize,
    /// A position in each range that something came to last, the newest first.
    newest: VecDeque<u64>,
    /// What came twice and was not told yet.
    duplicates: VecDeque<Range<u64>>,
}

impl Arrivals {
    /// For a ring of `max_len` bytes.
    pub(super) fn new(max_len: usize) -> Self {
        Self {
            ranges: VecDeque::new(),
            ranges_max: GAPS_MAX.min(RANGES_MIN + max_len / BYTES_PER_RANGE),
            newest: VecDeque::new(),
            duplicates: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The position behind all that arrived, if there is a gap.
    pub(super) fn highest(&self) -> Option<u64> {
        self.ranges.back().map(|range| range.end)
    }

    /// Bytes that the ranges take, beyond what any connection may have.
    pub(super) fn resident(&self) -> usize {
        let beyond = self.ranges.capacity().saturating_sub(2 * RANGES_MIN);
        (beyond * size_of::<Range<u64>>()).next_multiple_of(PAGE_LEN)
    }

    /// A range arrived behind a gap. `None` if there are too many, and it is as if it had been
    /// lost.
    pub(super) fn insert(&mut self, range: Range<u64>) -> Option<Novelty> {
        let first = self.ranges.partition_point(|known| known.end < range.start);
        let last = self.ranges.partition_point(|known| known.start <= range.end);
        let mut novelty = Novelty { new_bytes: range.end - range.start, duplicate: None };
        let start = range.start;
        if first == last {
            if self.ranges.len() >= self.ranges_max {
                return None;
            }
            self.ranges.insert(first, range);
        } else {
            for known in self.ranges.range(first..last) {
                novelty.take(known, &range);
            }
            let whole =
                self.ranges[first].start.min(start)..self.ranges[last - 1].end.max(range.end);
            self.newest.retain(|at| !whole.contains(at));
            self.ranges[first] = whole;
            self.ranges.drain(first + 1..last);
        }
        self.newest.push_front(start);
        self.newest.truncate(BLOCKS_MAX);
        Some(novelty)
    }

    /// A range arrived before which nothing is missing. Says where the next gap begins.
    pub(super) fn fill(&mut self, range: Range<u64>) -> (u64, Novelty) {
        let mut novelty = Novelty { new_bytes: range.end - range.start, duplicate: None };
        let mut end = range.end;
        while let Some(known) = self.ranges.front().filter(|known| known.start <= end) {
            novelty.take(known, &range);
            end = end.max(known.end);
            self.ranges.pop_front();
        }
        self.newest.retain(|at| *at >= end);
        if self.ranges.is_empty() && self.ranges.capacity() > RANGES_MIN {
            self.ranges = VecDeque::new();
        }
        (end, novelty)
    }

    /// Something came twice.
    pub(super) fn handle_duplicate(&mut self, range: Range<u64>) {
        let is_full = self.duplicates.len() == BLOCKS_MAX;
        match self.duplicates.back_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            Some(_) if is_full => {}
            Some(_) | None => self.duplicates.push_back(range),
        }
    }

    /// Whether something came twice that was not told.
    pub(super) fn has_duplicates(&self) -> bool {
        !self.duplicates.is_empty()
    }

    /// The blocks were told.
    pub(super) fn handle_told(&mut self) {
        self.duplicates.pop_front();
    }

    /// What is to be told.
    pub(super) fn blocks(&self) -> SackBlocks {
        let mut blocks = SackBlocks::NONE;
        let duplicate = self.duplicates.front();
        if let Some(duplicate) = duplicate {
            blocks.push(duplicate.clone(), 0);
        }
        let apart = blocks.len;
        // RFC 2883, section 4: behind it stands the larger block that it is of.
        let around = duplicate.map(|range| range.start);
        for at in around.into_iter().chain(self.newest.iter().copied()) {
            if let Some(range) = self.around(at) {
                blocks.push(range.clone(), apart);
            }
        }
        // What the sender repairs first.
        for range in self.ranges.iter().take(BLOCKS_MAX) {
            blocks.push(range.clone(), apart);
        }
        blocks
    }

    /// The range that a position is in.
    fn around(&self, position: u64) -> Option<&Range<u64>> {
        let at = self.ranges.partition_point(|range| range.end <= position);
        self.ranges.get(at).filter(|range| range.contains(&position))
    }
}

impl Novelty {
    /// What of `range` is in `known` is not new.
    fn take(&mut self, known: &Range<u64>, range: &Range<u64>) {
        let common = known.start.max(range.start)..known.end.min(range.end);
        if !common.is_empty() {
            self.new_bytes -= common.end - common.start;
            self.duplicate.get_or_insert(common);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arrivals: &Arrivals) -> Vec<Range<u64>> {
        arrivals.blocks().as_slice().to_vec()
    }

    #[test]
    fn the_newest_is_told_first_and_each_four_times() {
        let mut arrivals = Arrivals::new(1 << 16);
        for at in [10, 30, 50, 70, 90] {
            arrivals.insert(at..at + 5);
        }
        assert_eq!(told(&arrivals), [90..95, 70..75, 50..55, 30..35]);
        arrivals.insert(15..20);
        assert_eq!(told(&arrivals), [10..20, 90..95, 70..75, 50..55]);
        arrivals.insert(75..90);
        assert_eq!(told(&arrivals), [70..95, 10..20, 50..55, 30..35]);
        assert_eq!(arrivals.fill(1..10).0, 20);
        assert_eq!(told(&arrivals), [70..95, 50..55, 30..35]);
        assert_eq!((arrivals.fill(20..70).0, told(&arrivals)), (95, vec![]));
    }

    #[test]
    fn what_came_twice_is_told_before_the_block_around_it_and_once() {
        let mut arrivals = Arrivals::new(1 << 16);
        arrivals.insert(10..30);
        arrivals.insert(50..60);
        let novelty = arrivals.insert(15..35).unwrap();
        assert_eq!(novelty, Novelty { new_bytes: 5, duplicate: Some(15..30) });
        for range in [15..30, 30..31, 2..3] {
            arrivals.handle_duplicate(range);
        }
        assert_eq!(told(&arrivals), [15..31, 10..35, 50..60]);
        arrivals.handle_told();
        assert_eq!(told(&arrivals), [2..3, 10..35, 50..60]);
        arrivals.handle_told();
        assert_eq!((told(&arrivals), arrivals.has_duplicates()), (vec![10..35, 50..60], false));
    }

    #[test]
    fn thousands_of_gaps_are_bounded_and_counted() {
        let mut arrivals = Arrivals::new(1 << 20);
        let kept = (0..500_000u64).filter(|at| arrivals.insert(2 * at + 5..2 * at + 6).is_some());
        assert_eq!(kept.count(), RANGES_MIN + 1024);
        assert!(arrivals.resident() >= 1024 * 16 && arrivals.resident() <= 64 << 10);
        for at in 1..100_000 {
            arrivals.handle_duplicate(2 * at..2 * at + 1);
        }
        assert_eq!(arrivals.duplicates.len(), BLOCKS_MAX);
        assert!(arrivals.insert(5..900).is_some(), "what makes them fewer is welcome");
        assert_eq!(arrivals.fill(1..1_000_000).0, 1_000_000);
        assert_eq!((arrivals.resident(), told(&arrivals).len()), (0, 1));
    }
}
