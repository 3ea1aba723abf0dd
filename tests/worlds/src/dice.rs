//! Chance that a seed repeats: the only source of it in a simulation.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

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

    pub fn chance(&mut self, per_mille: u16) -> bool {
        self.number() % 1000 < u64::from(per_mille)
    }

    /// One of `choices`, of which there is at least one.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[(self.number() % choices.len() as u64) as usize]
    }
}
