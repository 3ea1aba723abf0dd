//! Bytes that differ everywhere, and their SHA-256 at both ends of a stream.

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

const CHUNK: usize = 64 * 1024;

/// One binary megabyte.
pub const MIB: u64 = 1024 * 1024;

/// A small generator of numbers that look random and are the same for the same seed (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator; each seed gives another sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The next number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound as u64) as usize
    }

    /// Fills `buffer`.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for word in buffer.chunks_mut(8) {
            word.copy_from_slice(&self.number().to_le_bytes()[..word.len()]);
        }
    }

    /// The next `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes);
        bytes
    }
}

/// Bytes to send.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    /// How many.
    pub bytes: u64,
    /// Which.
    pub seed: u64,
}

impl Payload {
    /// That many binary megabytes.
    pub fn mib(mib: u64, seed: u64) -> Self {
        Self { bytes: mib * MIB, seed }
    }
}

/// What went through one direction of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// How many bytes.
    pub bytes: u64,
    sha256: [u8; 32],
}

/// Writes all of `payload`.
pub fn send(to: &mut impl Write, payload: Payload) -> Result<Sum> {
    send_paced(to, payload, |_| ())
}

/// Writes all of `payload` and calls `pace` with the number of bytes written after each part.
pub fn send_paced(to: &mut impl Write, payload: Payload, mut pace: impl FnMut(u64)) -> Result<Sum> {
    let mut random = Random::new(payload.seed);
    let mut chunk = vec![0; CHUNK];
    let mut hash = Sha256::new();
    let mut done = 0;
    while done < payload.bytes {
        let length = chunk.len().min(usize::try_from(payload.bytes - done)?);
        random.fill(&mut chunk[..length]);
        hash.update(&chunk[..length]);
        to.write_all(&chunk[..length]).with_context(|| format!("writing after {done} bytes"))?;
        done += length as u64;
        pace(done);
    }
    Ok(Sum { bytes: done, sha256: hash.finalize().into() })
}

/// Reads until the end of the stream.
pub fn receive(from: &mut impl Read) -> Result<Sum> {
    let mut chunk = vec![0; CHUNK];
    let mut hash = Sha256::new();
    let mut bytes = 0;
    loop {
        let length =
            from.read(&mut chunk).with_context(|| format!("reading after {bytes} bytes"))?;
        if length == 0 {
            return Ok(Sum { bytes, sha256: hash.finalize().into() });
        }
        hash.update(&chunk[..length]);
        bytes += length as u64;
    }
}

/// A pace for [`send_paced`]: sleeps where more than `per_second` bytes would have been sent.
pub fn throttle(per_second: u64) -> impl FnMut(u64) {
    let start = Instant::now();
    move |done| {
        let due = Duration::from_secs_f64(done as f64 / per_second as f64);
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_one_sum_at_both_ends_and_another_seed_another_sum() {
        let sum = |seed| {
            let mut stream = Vec::new();
            let sent = send(&mut stream, Payload { bytes: 100_001, seed }).unwrap();
            assert_eq!(sent, receive(&mut stream.as_slice()).unwrap());
            sent
        };
        assert_eq!(sum(1), sum(1));
        assert_ne!(sum(1), sum(2));
    }
}
