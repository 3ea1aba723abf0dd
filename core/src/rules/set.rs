//! Sets of rules, by their place in the list, and walks over them in that order.

use std::cmp::Ordering;

/// Rules in one machine word.
const WORD: usize = u64::BITS as usize;

/// A set of rules.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Set {
    /// Few, in order.
    Few(Box<[u32]>),
    /// One bit for each rule.
    Many(Box<[u64]>),
}

impl Set {
    /// Takes the places of rules, in order and each once, of a list of `rules`.
    pub(super) fn new(places: Vec<u32>, rules: usize) -> Self {
        let words = rules.div_ceil(WORD);
        if places.len() <= 2 * words {
            return Self::Few(places.into());
        }
        let mut bits = vec![0; words];
        for place in places {
            bits[word_of(place)] |= bit_of(place);
        }
        Self::Many(bits.into())
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Few(places) => places.is_empty(),
            Self::Many(bits) => bits.is_empty(),
        }
    }

    /// A walk from the first rule on.
    pub(super) const fn walk(&self) -> Walk<'_> {
        Walk { set: self, next: 0 }
    }
}

/// A walk over a set, word by word.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    set: &'a Set,
    /// Of [`Set::Few`]: what comes next.
    next: usize,
}

impl Walk<'_> {
    /// The first word at or after `index` that has a rule in it, and its bits. Indexes must be
    /// asked for in order; words without rules cost next to nothing.
    pub(super) fn word_from(&mut self, index: usize) -> Option<(usize, u64)> {
        match self.set {
            Set::Many(bits) => {
                let mut words = (index..).zip(bits.get(index..)?);
                words.find(|(_, word)| **word != 0).map(|(at, word)| (at, *word))
            }
            Set::Few(places) => {
                let rest = places.get(self.next..)?;
                self.next += rest.iter().take_while(|place| word_of(**place) < index).count();
                let rest = places.get(self.next..)?;
                let at = word_of(*rest.first()?);
                let here = rest.iter().take_while(|place| word_of(**place) == at);
                Some((at, here.fold(0, |word, place| word | bit_of(*place))))
            }
        }
    }
}

/// A walk over the union of up to three sets.
#[derive(Debug)]
pub(super) struct Union<'a>([Option<Walk<'a>>; 3]);

impl<'a> Union<'a> {
    /// Sets that are missing are empty.
    pub(super) fn new(sets: [Option<&'a Set>; 3]) -> Self {
        Self(sets.map(|set| set.filter(|set| !set.is_empty()).map(Set::walk)))
    }

    /// As [`Walk::word_from`].
    fn word_from(&mut self, index: usize) -> Option<(usize, u64)> {
        let mut found: Option<(usize, u64)> = None;
        for walk in self.0.iter_mut().flatten() {
            found = match (found, walk.word_from(index)) {
                (Some((first, word)), Some((at, bits))) => match first.cmp(&at) {
                    Ordering::Less => Some((first, word)),
                    Ordering::Equal => Some((first, word | bits)),
                    Ordering::Greater => Some((at, bits)),
                },
                (found, new) => found.or(new),
            };
        }
        found
    }
}

/// The rules that are in all of some sets, by their places, in order. It goes from word to word
/// that none of the sets lacks.
#[derive(Debug)]
pub(super) struct Common<'a, const N: usize> {
    sets: [Union<'a>; N],
    /// The word at hand, and those of its rules that have not been given out.
    index: usize,
    word: u64,
    /// The next word to look at.
    next: usize,
}

impl<'a, const N: usize> Common<'a, N> {
    pub(super) const fn new(sets: [Union<'a>; N]) -> Self {
        Self { sets, index: 0, word: 0, next: 0 }
    }

    /// Goes to the next word that has a common rule.
    fn advance(&mut self) -> Option<()> {
        'words: loop {
            let index = self.next;
            let mut common = u64::MAX;
            for set in &mut self.sets {
                let (at, word) = set.word_from(index)?;
                common &= word;
                if at > index || common == 0 {
                    self.next = at.max(index + 1);
                    continue 'words;
                }
            }
            (self.index, self.word, self.next) = (index, common, index + 1);
            return Some(());
        }
    }
}

impl<const N: usize> Iterator for Common<'_, N> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.word == 0 {
            self.advance()?;
        }
        let place = self.index * WORD + self.word.trailing_zeros() as usize;
        self.word &= self.word - 1;
        Some(place)
    }
}

const fn word_of(place: u32) -> usize {
    place as usize / WORD
}

const fn bit_of(place: u32) -> u64 {
    1 << (place as usize % WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All words of a set that are not empty.
    fn words(set: &Set) -> Vec<(usize, u64)> {
        let mut walk = set.walk();
        let mut index = 0;
        let next = || {
            let found = walk.word_from(index)?;
            index = found.0 + 1;
            Some(found)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn few_and_many_say_the_same() {
        let is_in = |n: &u32| matches!((n % 7, n % 64), (0, _) | (_, 63)) && n / 64 % 3 != 1;
        let places: Vec<u32> = (0..1000).filter(is_in).collect();
        let many = Set::new(places.clone(), 1000);
        assert!(matches!(many, Set::Many(_)));
        assert_eq!(words(&many), words(&Set::Few(places.into())));
    }

    #[test]
    fn a_walk_passes_over_words_and_stays_where_it_is() {
        for set in [Set::Few([1, 70, 200].into()), Set::Many([2, 64, 0, 1 << 8].into())] {
            let mut walk = set.walk();
            for _ in 0..2 {
                assert_eq!(walk.word_from(2), Some((3, 1 << (200 - 192))));
            }
            assert_eq!(walk.word_from(4), None);
        }
    }

    #[test]
    fn common_rules_are_found_in_order() {
        let few = |places: &[u32]| Set::Few(places.into());
        let (a, b, c) = (few(&[3, 64, 129, 130, 131]), few(&[4, 65]), few(&[129, 131]));
        let all = Set::new((0..200).collect(), 200);
        let union = |one, two| Union::new([Some(one), Some(two), None]);
        let single = |set| Union::new([None, Some(set), None]);
        let common = |sets: [Union<'_>; 3]| Common::new(sets).collect::<Vec<_>>();
        assert_eq!(common([single(&a), union(&b, &c), single(&all)]), [129, 131]);
        assert_eq!(common([single(&all), union(&b, &c), single(&all)]), [4, 65, 129, 131]);
        assert_eq!(common([single(&a), single(&b), single(&all)]), []);
        assert_eq!(common([single(&all), Union::new([None; 3]), single(&all)]), []);
    }
}
