//! Tapes as files: torn, damaged or of another program they say so; whole ones replay to the end,
//! and one that says something else than the stack does is noticed.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use slipwire_core::tape::{Difference, Replay, StartTapeError, Step, TapeEnd, TapeError, TapeSink};
use slipwire_core::{Counter, Engine, Instant, TrafficClass};
use slipwire_fuzz_targets::reseal;
use slipwire_sim as sim;
use slipwire_worlds::build::{self, configuration, peer};

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
    let replay_changed = |place: usize| {
        let mut other = tape.clone();
        other[place] ^= 0x10;
        reseal(&mut other);
        let (end, inputs) = replay(&other);
        assert!(inputs <= whole);
        end
    };
    for place in [seed, seed + 31] {
        let difference = replay_changed(place).unwrap_err();
        assert_ne!(difference.recorded, difference.replayed);
        assert!(difference.flow.is_some(), "whose flow? {difference}");
    }
    // Not everything that is changed can still be read, and of a time some microseconds may not
    // matter.
    let places = (1..=PLACES).map(|n| head_len + (tape.len() - head_len) * n / (PLACES + 1));
    let unnoticed = places.filter(|place| replay_changed(*place) == Ok(TapeEnd::Whole)).count();
    assert!(unnoticed < PLACES / 4, "{unnoticed} of {PLACES} changes do not matter");
}

/// Changes of one bit, all over a tape.
const PLACES: usize = 40;

/// Takes so many bytes, then no more.
#[derive(Clone, Debug)]
struct Sink {
    bytes: Arc<Mutex<Vec<u8>>>,
    len_max: usize,
}

impl Sink {
    fn of(len_max: usize) -> Self {
        Self { bytes: Arc::default(), len_max }
    }
}

impl TapeSink for Sink {
    fn append(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let mut tape = self.bytes.lock().unwrap();
        if tape.len() + bytes.len() > self.len_max {
            return ControlFlow::Break(());
        }
        tape.extend_from_slice(bytes);
        ControlFlow::Continue(())
    }
}

fn engine() -> Engine {
    let mut parts = configuration(1, &["10.0.0.1/24"]);
    parts.peers.push(peer(2, &["10.0.0.2/32"]));
    build::engine(1, parts)
}

#[test]
fn a_tape_begins_at_rest_and_no_flow_has_the_id_of_an_earlier_one() {
    let target: SocketAddr = "10.0.0.2:53".parse().unwrap();
    let mut engine = engine();
    let now = Instant::from_nanos(5);
    let earlier = engine.open_udp(target, now).unwrap();
    let refused = engine.start_tape(Box::new(Sink::of(usize::MAX)), now);
    assert_eq!(refused, Err(StartTapeError::NotAtRest));
    engine.flow(earlier).unwrap().abort(now);

    let sink = Sink::of(usize::MAX);
    engine.start_tape(Box::new(sink.clone()), now).unwrap();
    assert!(engine.is_recording());
    let flow = engine.open_udp(target, now).unwrap();
    assert_eq!(flow.slot(), earlier.slot());
    assert_ne!(flow, earlier);
    assert!(engine.flow(earlier).is_err());
    engine.flow(flow).unwrap().send_datagram(target, TrafficClass::DEFAULT, b"hello", now);
    engine.flush_tape();
    let tape = sink.bytes.lock().unwrap().clone();
    assert_eq!(replay(&tape), (Ok(TapeEnd::Whole), 2));
    let secret = [1; 32];
    assert!(!tape.windows(32).any(|window| window == secret), "the private key");
}

/// What others than the first have ended between peers does not go on for a new tape.
#[test]
fn a_tape_says_if_rules_have_changed_before_it() {
    let mut engine = engine();
    for inputs in [0, 1] {
        let sink = Sink::of(usize::MAX);
        engine.start_tape(Box::new(sink.clone()), Instant::ZERO).unwrap();
        engine.flush_tape();
        assert_eq!(replay(&sink.bytes.lock().unwrap()), (Ok(TapeEnd::Whole), inputs));
        engine.set_rules(Vec::new(), Instant::ZERO).unwrap();
    }
}

#[test]
fn a_sink_that_is_full_ends_the_tape_behind_a_whole_frame_and_nothing_else() {
    let target: SocketAddr = "10.0.0.2:53".parse().unwrap();
    let mut engine = engine();
    let sink = Sink::of(200_000);
    engine.start_tape(Box::new(sink.clone()), Instant::ZERO).unwrap();
    let flow = engine.open_udp(target, Instant::ZERO).unwrap();
    for _ in 0..300 {
        let mut flow = engine.flow(flow).unwrap();
        flow.send_datagram(target, TrafficClass::DEFAULT, &[9; 1000], Instant::ZERO);
    }
    assert!(!engine.is_recording());
    assert_eq!(engine.stats().value(Counter::TapeEnded), 0);
    engine.flush_tape();
    assert_eq!(engine.stats().value(Counter::TapeEnded), 1);
    let (end, inputs) = replay(&sink.bytes.lock().unwrap());
    assert_eq!(end, Ok(TapeEnd::Whole));
    assert!((100..300).contains(&inputs), "{inputs}");
}
