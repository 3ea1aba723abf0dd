//! Tapes: everything that crosses the seam between tunnel and stack, recorded while an engine runs
//! ([`Engine::start_tape`](crate::Engine::start_tape)) and run through a stack of its own later
//! ([`Replay`]).
//!
//! ```text
//!   tunnel --- packets, and whose ---> stack <--- flows, bytes, answers --- embedder
//!                       \________________|__________________/
//!                                   recorder                 inputs, in order, with their times
//!                                        |                   and a digest of each output
//!                                   tape (bytes)
//!                                        |
//!                                     replay                  the same inputs into another stack:
//!                                                             it must say the same
//! ```
//!
//! - `entry`: what is on a tape; `frame`: the checked pieces that it is in;
//! - `recorder`: writes one;
//! - `replay`: runs one, with `script` (what was said then) and `members` (the peers);
//! - `summary` and `text`: packets and entries in words.
//!
//! A stack is a function of its seed, its configuration and its inputs, so the tape of a failure is
//! that failure. What WireGuard itself does is not on it: handshakes draw keys from the system.
//!
//! # The format, version 5
//!
//! All numbers outside of frames are little-endian.
//!
//! ```text
//! tape  = "slipwire tape\n" version:u16 frame*
//! frame = length:u32 checksum:u32 body            length of the body; CRC-32 (IEEE) of it
//! ```
//!
//! The body of the first frame is a `Head` (`entry.rs`), that of each other one a sequence of whole
//! `Entry`s, each encoded as [postcard](https://postcard.jamesmunns.com/wire-format) does it. An
//! entry is an input, an output that followed from it or was asked for behind it, or what the stack
//! learned from the tunnel while it was at it. A tape that ends within a frame, or has one whose
//! checksum is wrong, is good up to there.
//!
//! A tape holds the seed, the configuration without keys, and what peers said in plaintext.

mod entry;
mod frame;
mod members;
mod recorder;
mod replay;
mod script;
mod summary;
mod text;

use std::fmt;
use std::ops::ControlFlow;

pub(crate) use entry::{Head, Output};
pub use frame::is_tape;
pub(crate) use recorder::Recorder;
pub use replay::{Difference, Replay, Step, TapeEnd};

/// Takes the bytes of a tape, in order.
pub trait TapeSink: fmt::Debug + Send {
    /// Adds some bytes at the end: the head of a tape or whole frames. With
    /// [`Break`](ControlFlow::Break) nothing more is recorded; the engine goes on as ever.
    fn append(&mut self, bytes: &[u8]) -> ControlFlow<()>;
}

/// Why no tape was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StartTapeError {
    /// There are flows, or traces of flows that have ended. A tape begins with nothing.
    NotAtRest,
    /// The configuration has a path that is no UTF-8.
    Unwritable,
}

impl fmt::Display for StartTapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAtRest => "there are flows, and a tape begins with none",
            Self::Unwritable => "the configuration has a path that is no UTF-8",
        })
    }
}

impl std::error::Error for StartTapeError {}

/// Why something is no tape that can be replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TapeError {
    /// It does not begin as a tape does.
    NoTape,
    /// It is of another version of the format.
    Version(u16),
    /// Its head is torn, damaged or contradicts itself.
    Head,
}

impl fmt::Display for TapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTape => f.write_str("it is no tape"),
            Self::Version(version) => write!(
                f,
                "it is a tape of format {version}, and this program reads format {}",
                frame::VERSION
            ),
            Self::Head => f.write_str("its head is torn or damaged"),
        }
    }
}

impl std::error::Error for TapeError {}
