//! Tapes in memory: whatever an engine does in the simulation is done by a replay too.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use slipwire_core::tape::{Replay, Step, TapeEnd, TapeSink};
use slipwire_core::{Engine, Instant};

use super::oracle::Violation;

/// Where the tape of one engine goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Tape(Arc<Mutex<Vec<u8>>>);

impl TapeSink for Tape {
    fn append(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        ControlFlow::Continue(())
    }
}

impl Tape {
    /// Records a new engine.
    pub(super) fn start(engine: &mut Engine) -> Self {
        let tape = Self::default();
        if let Err(error) = engine.start_tape(Box::new(tape.clone()), Instant::ZERO) {
            panic!("a new engine is at rest: {error}");
        }
        tape
    }

    /// What was recorded.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replays what was recorded of an engine, which has to say the same.
    pub(super) fn check(&self, engine: &mut Engine, host: usize) -> Result<(), Violation> {
        engine.flush_tape();
        let tape = self.bytes();
        let mut replay = match Replay::new(&tape) {
            Ok(replay) => replay,
            Err(error) => return Err(Violation(format!("the tape of host {host}: {error}"))),
        };
        loop {
            match replay.step() {
                Ok(Step::Same) => {}
                Ok(Step::End(TapeEnd::Whole)) => return Ok(()),
                Ok(Step::End(TapeEnd::Torn { position, what })) => {
                    let place = format!("the tape of host {host}, byte {position}");
                    return Err(Violation(format!("{place}: {what}")));
                }
                Err(difference) => {
                    return Err(Violation(format!("the tape of host {host}: {difference}")));
                }
            }
        }
    }
}
