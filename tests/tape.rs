//! Tapes as files: torn, damaged or of another program they say so; whole ones replay to the end, and
//! one that says something else than the stack does is noticed.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

use slipwire_core::tape::{Difference, Replay, Step, TapeEnd, TapeError};
use slipwire_tests::fuzz::reseal;
use slipwire_tests::sim;

/// A run with streams and datagrams whose gateway never restarts.
const SEED: u64 = 51;

/// How a replay ended, and how many inputs it ran.
fn replay(tape: &[u8]) -> (Result<TapeEnd, Box<Difference>>, u64) {
    let mut replay = Replay::new(tape).unwrap();
    loop {
        match replay.step() {
            Ok(Step::Same) => {}
            Ok(Step::End(end)) => return (Ok(end), replay.number()),
            Err(difference) => return (Err(difference), replay.number()),
        }
    }
}

#[test]
fn a_whole_tape_replays_to_its_end_each_time() {
    let tape = sim::tape_of(SEED);
    let (end, inputs) = replay(&tape);
    assert_eq!(end, Ok(TapeEnd::Whole));
    assert!(inputs > 1_000, "{inputs}");
    assert_eq!(replay(&tape), (Ok(TapeEnd::Whole), inputs));
    assert_eq!(sim::tape_of(SEED), tape, "the same run is the same tape");
}

#[test]
fn a_torn_tape_replays_up_to_the_tear() {
    let tape = sim::tape_of(SEED);
    let (_, whole) = replay(&tape);
    for len in [tape.len() - 1, tape.len() / 2, tape.len() / 3] {
        let (end, inputs) = replay(&tape[..len]);
        assert!(matches!(end, Ok(TapeEnd::Torn { position, .. }) if position < len), "{end:?}");
        assert!(inputs < whole);
    }
}

#[test]
fn a_damaged_tape_replays_up_to_the_damage() {
    let mut tape = sim::tape_of(SEED);
    let place = tape.len() / 2;
    tape[place] ^= 1;
    let (end, inputs) = replay(&tape);
    assert!(matches!(end, Ok(TapeEnd::Torn { position, .. }) if position < place), "{end:?}");
    assert!(inputs > 0);
}

#[test]
fn what_is_no_tape_is_refused() {
    let tape = sim::tape_of(SEED);
    assert_eq!(Replay::new(b"").err(), Some(TapeError::NoTape));
    assert_eq!(Replay::new(b"[interface]").err(), Some(TapeError::NoTape));
    assert_eq!(Replay::new(&tape[..15]).err(), Some(TapeError::Head));
    assert_eq!(Replay::new(&tape[..40]).err(), Some(TapeError::Head));
    let mut newer = tape;
    newer[14] = 200;
    assert_eq!(Replay::new(&newer).err(), Some(TapeError::Version(200)));
}

/// One bit of what the stack is made of, or of what is on the tape, and the replay stops.
#[test]
fn one_bit_makes_a_difference() {
    let tape = sim::tape_of(SEED);
    let (_, whole) = replay(&tape);
    let head_len = 16 + 8 + u32::from_le_bytes(*tape[16..].first_chunk().unwrap()) as usize;
    // The head: length and text of the version, then the seed.
    let seed = 16 + 8 + 1 + usize::from(tape[24]);
    let places = [seed, seed + 31, head_len + 200, tape.len() / 2, tape.len() - 100];
    for place in places {
        let mut other = tape.clone();
        other[place] ^= 0x10;
        reseal(&mut other);
        let (end, inputs) = replay(&other);
        match end {
            // A byte of a header that no words are made of is a difference, too.
            Err(difference) if place <= seed + 31 => {
                assert_ne!(difference.recorded, difference.replayed);
            }
            Err(_) => {}
            // Not everything that is changed can still be read.
            Ok(TapeEnd::Torn { .. }) => assert!(place > seed + 31),
            Ok(TapeEnd::Whole) => panic!("byte {place} does not matter"),
        }
        assert!(inputs <= whole);
    }
}
