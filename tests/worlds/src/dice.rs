//! Chance that a seed repeats: the only source of it in a simulation.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The chance of what always happens; chances are per million.
pub const ALWAYS: u32 = 1_000_000;

/// A stream of numbers that follows from its seed.
#[derive(Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Dice of their own for one part of the world: what it throws does not move the others'.
    pub fn fork(&mut self) -> Self {
        Self::new(self.number())
    }

    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub fn entropy(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.number() % (high - low + 1)
    }

    /// A number from 0 to `most`, small ones as likely as large ones.
    pub fn size(&mut self, most: u64) -> u64 {
        let bits = u64::from(u64::BITS - most.leading_zeros());
        let bits = self.between(0, bits);
        self.between(0, most.min((1 << bits) - 1))
    }

    /// A time from `low` to `high`, in steps of a microsecond.
    pub fn time(&mut self, low: Duration, high: Duration) -> Duration {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 2);
        Duration::from_micros(self.between(micros(low), micros(high)))
    }

    /// Whether something happens that does so `per_million` times out of [`ALWAYS`].
    pub fn chance(&mut self, per_million: u32) -> bool {
        let number = self.number();
        // The thousandths of a number are its last three digits, and what is finer comes from those
        // before them: a chance in whole thousandths depends on the last three alone.
        (number % 1000) * 1000 + number / 1000 % 1000 < u64::from(per_million)
    }

    /// One of `choices`, of which there is at least one.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[(self.number() % choices.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_of_one_in_ten_thousand_is_neither_none_nor_one_in_a_thousand() {
        let mut dice = Dice::new(1);
        let happened = (0..1_000_000).filter(|_| dice.chance(100)).count();
        assert!((70..130).contains(&happened), "{happened} times");
        assert!((0..1000).all(|_| dice.chance(ALWAYS) && !dice.chance(0)));
    }

    #[test]
    fn whole_thousandths_are_thrown_as_ever() {
        let (mut dice, mut numbers) = (Dice::new(2), Dice::new(2));
        for per_mille in 0..1000 {
            let thrown = dice.chance(per_mille * 1000);
            assert_eq!(thrown, numbers.number() % 1000 < u64::from(per_mille));
        }
    }
}
