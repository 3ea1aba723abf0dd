//! Variations of bytes that follow from a seed, for runs without coverage to guide them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Bytes that parsers stumble over.
const TRICKY: [u8; 16] =
    [0, 1, 7, 8, 0x0a, 0x20, 0x22, 0x2f, 0x3a, 0x45, 0x60, 0x7f, 0x80, 0xc0, 0xfe, 0xff];

/// The longest run of bytes that one change touches.
const RUN_MAX: usize = 32;
const LEN_MAX: usize = 4096;
const CHANGES_MAX: usize = 8;

/// A source of variations.
#[derive(Debug)]
pub struct Mutator(ChaCha8Rng);

impl Mutator {
    /// The one that this seed names.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A variation of one of `seeds`, in some places perhaps another of them.
    pub fn vary(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.pick(seeds);
        for _ in 0..=self.below(CHANGES_MAX) {
            self.change(&mut bytes, seeds);
        }
        bytes.truncate(LEN_MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        let end = bytes.len().min(at + 1 + self.below(RUN_MAX));
        match self.below(8) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            2 if at < bytes.len() => bytes[at] = TRICKY[self.below(TRICKY.len())],
            3 if at < bytes.len() => self.0.fill_bytes(&mut bytes[at..end]),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let copy = bytes[at..end].to_vec();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            6 => {
                let other = self.pick(seeds);
                let from = self.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.insert(at, TRICKY[self.below(TRICKY.len())]),
        }
    }

    fn pick(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        if seeds.is_empty() { Vec::new() } else { seeds[self.below(seeds.len())].clone() }
    }

    fn below(&mut self, end: usize) -> usize {
        (self.0.next_u64() % end.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_its_variations() {
        let seeds = [b"some bytes".to_vec(), b"and others".to_vec()];
        let vary = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..50).map(|_| mutator.vary(&seeds)).collect::<Vec<_>>()
        };
        assert_eq!(vary(1), vary(1));
        assert_ne!(vary(1), vary(2));
    }
}
