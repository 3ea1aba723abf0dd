//! Frames: a tape in checked pieces.

/// What every tape begins with.
const MAGIC: &[u8] = b"slipwire tape\n";
/// The version of the format. It grows with every change to what is encoded.
pub(crate) const VERSION: u16 = 5;
/// Bytes before a frame's body: its length and its checksum.
pub(crate) const FRAME_HEAD_LEN: usize = 8;
/// The longest body that is believed.
pub(crate) const BODY_LEN_MAX: usize = 1 << 24;

use crate::tape::TapeError;

/// Whether a file that begins like this is a tape, of whatever version. Less than its first 14
/// bytes are not enough to say so.
pub fn is_tape(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// What stands before the first frame.
pub(crate) fn preamble() -> Vec<u8> {
    [MAGIC, &VERSION.to_le_bytes()].concat()
}

/// Fills in the head of a frame whose body follows it.
pub(crate) fn seal(frame: &mut [u8]) {
    let Some((head, body)) = frame.split_at_mut_checked(FRAME_HEAD_LEN) else { return };
    head[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    head[4..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
}

/// The bodies of a tape's frames.
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    tape: &'a [u8],
    position: usize,
}

/// What comes next on a tape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next<'a> {
    Body(&'a [u8]),
    /// The tape ends behind a whole frame.
    End,
    /// What follows is no whole frame.
    Torn(&'static str),
}

impl<'a> Frames<'a> {
    /// Looks at how a tape begins.
    pub(crate) fn new(tape: &'a [u8]) -> Result<Self, TapeError> {
        let rest = tape.strip_prefix(MAGIC).ok_or(TapeError::NoTape)?;
        let version = rest.first_chunk().map(|bytes| u16::from_le_bytes(*bytes));
        match version.ok_or(TapeError::Head)? {
            VERSION => Ok(Self { tape, position: MAGIC.len() + size_of_val(&VERSION) }),
            other => Err(TapeError::Version(other)),
        }
    }

    /// Bytes before what comes next.
    pub(crate) const fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn next(&mut self) -> Next<'a> {
        let rest = &self.tape[self.position..];
        if rest.is_empty() {
            return Next::End;
        }
        let Some((head, rest)) = rest.split_first_chunk::<FRAME_HEAD_LEN>() else {
            return Next::Torn("it ends within the head of a frame");
        };
        let [l0, l1, l2, l3, c0, c1, c2, c3] = *head;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let checksum = u32::from_le_bytes([c0, c1, c2, c3]);
        if len > BODY_LEN_MAX {
            return Next::Torn("a frame is longer than any can be");
        }
        let Some(body) = rest.get(..len) else { return Next::Torn("it ends within a frame") };
        if crc32fast::hash(body) != checksum {
            return Next::Torn("the checksum of a frame is wrong");
        }
        self.position += FRAME_HEAD_LEN + len;
        Next::Body(body)
    }
}
