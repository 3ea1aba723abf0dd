//! Tapes: when they begin and end.

use crate::engine::{Engine, next_seed};
use crate::stack::Stack;
use crate::stack::input::Input;
use crate::stats::Counter;
use crate::tape::{Head, Recorder, StartTapeError, TapeSink};
use crate::time::Instant;

/// Recording.
impl Engine {
    /// Records all that happens to the stack from now on, for a [`Replay`](crate::tape::Replay). A
    /// tape that was recorded before ends.
    ///
    /// # Errors
    /// Any [`StartTapeError`]; nothing has changed then. An engine that is new is at rest, and any
    /// is some minutes after its last flow. One whose rules have changed also has to wait for two
    /// hours without connections between peers: another would not know which end began them.
    pub fn start_tape(
        &mut self,
        sink: Box<dyn TapeSink>,
        now: Instant,
    ) -> Result<(), StartTapeError> {
        self.advance(now);
        if !self.is_at_rest() {
            return Err(StartTapeError::NotAtRest);
        }
        let seed = next_seed(&mut self.rng);
        let head = Head {
            program: env!("CARGO_PKG_VERSION").into(),
            seed,
            first_generation: self.stack.next_generation(),
            at: self.now,
            setup: self.stack.setup(),
            members: self.tunnel.members().collect(),
        };
        let changed_rules = self.stack.changed_rules();
        let recorder = Recorder::new(sink, &head)?;
        // Of a stack that goes on nobody could tell how it came to be what it is.
        self.stack = Stack::new(&head.setup, seed, head.first_generation);
        self.tape = Some(Box::new(recorder));
        // It has to know that they have changed: what others have ended is not to go on.
        if let Some(rules) = changed_rules {
            self.hand_in(Input::Rules(rules));
        }
        Ok(())
    }

    /// Whether a tape can begin: there are no flows, no traces of any, and no conversations between
    /// peers that have to be remembered.
    pub fn is_at_rest(&self) -> bool {
        self.stack.is_at_rest(self.now)
    }

    /// Whether a tape is recorded whose sink still takes bytes.
    pub fn is_recording(&self) -> bool {
        self.tape.as_ref().is_some_and(|tape| !tape.is_over())
    }

    /// Whether something of a tape waits to be written.
    pub fn has_unwritten_tape(&self) -> bool {
        self.tape.as_ref().is_some_and(|tape| tape.is_waiting())
    }

    /// Writes what waits to be written of a tape, which otherwise happens 64 KiB at a time. Lets go
    /// of a sink that takes no more.
    pub fn flush_tape(&mut self) {
        if let Some(tape) = &mut self.tape {
            tape.flush();
            if tape.is_over() {
                self.tape = None;
                self.monitor.count(Counter::TapeEnded);
            }
        }
    }
}
