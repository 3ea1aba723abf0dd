//! Sets of rules, by their place in the list, and walks over them in that order.

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
            bits[place as usize / WORD] |= 1 << (place as usize % WORD);
        }
        Self::Many(bits.into())
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
    /// The rules of word `index` as bits. Indexes must be asked for in order.
    pub(super) fn word(&mut self, index: usize) -> u64 {
        match self.set {
            Set::Many(bits) => bits.get(index).copied().unwrap_or(0),
            Set::Few(places) => {
                let mut word = 0;
                while let Some(place) = places.get(self.next) {
                    let place = *place as usize;
                    if place / WORD > index {
                        break;
                    }
                    word |= u64::from(place / WORD == index) << (place % WORD);
                    self.next += 1;
                }
                word
            }
        }
    }
}

/// The place of the first rule for which `word` says that it is in every set, word by word.
pub(super) fn first(rules: usize, mut word: impl FnMut(usize) -> u64) -> Option<usize> {
    (0..rules.div_ceil(WORD)).find_map(|index| {
        let word = word(index);
        (word != 0).then(|| index * WORD + word.trailing_zeros() as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_say_the_same() {
        let places: Vec<u32> = (0..1000).filter(|n| n % 7 == 0 || n % 64 == 63).collect();
        let many = Set::new(places.clone(), 1000);
        assert!(matches!(many, Set::Many(_)));
        let few = Set::Few(places.into());
        let (mut many, mut few) = (many.walk(), few.walk());
        for index in 0..16 {
            assert_eq!(many.word(index), few.word(index), "{index}");
        }
    }

    #[test]
    fn words_may_be_left_out() {
        let set = Set::Few([1, 70, 200].into());
        assert_eq!(set.walk().word(3), 1 << (200 - 192));
    }

    #[test]
    fn the_first_common_rule_is_found() {
        let (a, b) = (Set::Few([3, 64, 129].into()), Set::Few([4, 65, 129, 130].into()));
        let (mut a, mut b) = (a.walk(), b.walk());
        assert_eq!(first(131, |index| a.word(index) & b.word(index)), Some(129));
        assert_eq!(first(131, |_| 0), None);
        assert_eq!(first(0, |_| 1), None);
    }
}
