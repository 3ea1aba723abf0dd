//! Which rules a value satisfies, where rules ask for ranges of values: the line of all values is
//! cut wherever a range begins or ends, and each piece has its set.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use crate::rules::set::Set;

/// The pieces of one line.
#[derive(Debug)]
pub(super) struct Intervals<V> {
    /// Where each piece begins, in order, and the place of its set.
    pieces: Vec<(V, u32)>,
    /// Every set that occurs, once.
    sets: Vec<Set>,
}

impl<V: Copy + Ord> Intervals<V> {
    /// Cuts the line. Each range belongs to the rule at a place of a list of `rules`; `after` is
    /// the value that follows another, `None` after the last.
    pub(super) fn new(
        ranges: &[(RangeInclusive<V>, u32)],
        rules: usize,
        after: impl Fn(V) -> Option<V>,
    ) -> Self {
        let mut begins: BTreeMap<V, Vec<u32>> = BTreeMap::new();
        let mut ends: BTreeMap<V, Vec<u32>> = BTreeMap::new();
        for (range, place) in ranges {
            begins.entry(*range.start()).or_default().push(*place);
            if let Some(end) = after(*range.end()) {
                ends.entry(end).or_default().push(*place);
            }
        }
        let cuts: BTreeSet<V> = begins.keys().chain(ends.keys()).copied().collect();
        // A rule may ask for the same value twice.
        let mut open: BTreeMap<u32, usize> = BTreeMap::new();
        let mut known: HashMap<Set, u32> = HashMap::new();
        let mut intervals = Self { pieces: Vec::with_capacity(cuts.len()), sets: Vec::new() };
        for cut in cuts {
            for place in ends.get(&cut).into_iter().flatten() {
                if let Some(count) = open.get_mut(place) {
                    *count -= 1;
                    if *count == 0 {
                        open.remove(place);
                    }
                }
            }
            for place in begins.get(&cut).into_iter().flatten() {
                *open.entry(*place).or_default() += 1;
            }
            let set = Set::new(open.keys().copied().collect(), rules);
            let at = *known.entry(set.clone()).or_insert_with(|| {
                intervals.sets.push(set);
                (intervals.sets.len() - 1) as u32
            });
            intervals.pieces.push((cut, at));
        }
        intervals
    }

    /// The rules that ask for `value`; `None` if there are none.
    pub(super) fn find(&self, value: V) -> Option<&Set> {
        let after = self.pieces.partition_point(|(begin, _)| *begin <= value);
        let (_, set) = self.pieces.get(after.checked_sub(1)?)?;
        self.sets.get(*set as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intervals(ranges: &[(RangeInclusive<u16>, u32)]) -> Intervals<u16> {
        Intervals::new(ranges, 4, |port| port.checked_add(1))
    }

    fn places(intervals: &Intervals<u16>, value: u16) -> Vec<u32> {
        let Some(set) = intervals.find(value) else { return Vec::new() };
        let (_, word) = set.walk().word_from(0).unwrap_or_default();
        (0..4).filter(|place| word & 1 << place != 0).collect()
    }

    #[test]
    fn every_value_finds_the_ranges_around_it() {
        let ranges = [(80..=80, 0), (0..=1023, 1), (1024..=u16::MAX, 2), (80..=8080, 3)];
        let intervals = intervals(&ranges);
        for value in [0, 79, 80, 81, 1023, 1024, 8080, 8081, u16::MAX] {
            let expected: Vec<u32> = ranges
                .iter()
                .filter(|(range, _)| range.contains(&value))
                .map(|(_, place)| *place)
                .collect();
            assert_eq!(places(&intervals, value), expected, "{value}");
        }
    }

    #[test]
    fn a_rule_may_ask_for_overlapping_ranges() {
        let intervals = intervals(&[(10..=20, 0), (15..=30, 0)]);
        for (value, there) in [(9, false), (10, true), (20, true), (21, true), (31, false)] {
            assert_eq!(!places(&intervals, value).is_empty(), there, "{value}");
        }
    }

    #[test]
    fn without_ranges_nothing_is_found() {
        assert!(intervals(&[]).find(5).is_none());
    }
}
