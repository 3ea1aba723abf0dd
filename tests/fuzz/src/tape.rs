//! Tapes that others wrote: whatever is on one, a replay ends, by a difference, by a tear or at the
//! end.

use std::sync::OnceLock;

use slipwire_core::tape::{Replay, Step};

use slipwire_sim as sim;

/// Bytes before the first frame, and of a frame's head.
const PREAMBLE_LEN: usize = 16;
const HEAD_LEN: usize = 8;
/// Inputs that are run: more than fit into what a fuzzer makes.
const INPUTS_MAX: u64 = 100_000;

/// A short tape to begin with.
fn good() -> &'static [u8] {
    static TAPE: OnceLock<Vec<u8>> = OnceLock::new();
    TAPE.get_or_init(|| sim::tape_of(1))
}

/// An even byte first: what follows as a tape, and as the entries of one whose checksum is right.
/// An odd one: what follows are changes to a good tape, three bytes for the place and one to put
/// there, after which its checksums are made right.
pub(super) fn run(data: &[u8]) {
    match data.split_first() {
        Some((mode, rest)) if mode % 2 == 1 => {
            let mut tape = good().to_vec();
            for change in rest.chunks_exact(4).take(32) {
                let place = usize::from(u16::from_le_bytes([change[0], change[1]]))
                    + (usize::from(change[2]) << 16);
                let len = tape.len();
                tape[PREAMBLE_LEN + HEAD_LEN + place % (len - PREAMBLE_LEN - HEAD_LEN)] = change[3];
            }
            reseal(&mut tape);
            replay(&tape);
        }
        Some((_, rest)) => {
            // With its checksum, or no fuzzer gets past the first frame.
            let mut tape = good().to_vec();
            let mut frame = vec![0; HEAD_LEN];
            frame.extend_from_slice(rest);
            seal(&mut frame);
            let head = first_frame_len(&tape);
            tape.truncate(PREAMBLE_LEN + head);
            tape.extend_from_slice(&frame);
            replay(&tape);
            replay(rest);
        }
        None => replay(data),
    }
}

fn replay(tape: &[u8]) {
    let Ok(mut replay) = Replay::new(tape) else { return };
    while let Ok(Step::Same) = replay.step() {
        if replay.number() > INPUTS_MAX {
            return;
        }
    }
}

fn first_frame_len(tape: &[u8]) -> usize {
    let len = tape[PREAMBLE_LEN..].first_chunk().map_or(0, |len| u32::from_le_bytes(*len));
    HEAD_LEN + len as usize
}

fn seal(frame: &mut [u8]) {
    let (head, body) = frame.split_at_mut(HEAD_LEN);
    head[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    head[4..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
}

/// Makes every checksum of a tape right, as far as its frames are whole.
pub fn reseal(tape: &mut [u8]) {
    let mut rest = tape.get_mut(PREAMBLE_LEN..).unwrap_or_default();
    while let Some(len) = rest.first_chunk().map(|len| u32::from_le_bytes(*len) as usize) {
        let Some((frame, behind)) = rest.split_at_mut_checked(HEAD_LEN + len) else { return };
        seal(frame);
        rest = behind;
    }
}
