//! The options of segments, read and written (RFC 9293, section 3.2; RFC 7323; RFC 2018).

use std::ops::Range;

use smoltcp::wire::TcpSeqNumber;

use crate::stack::tcp::position::Origin;

/// SACK blocks that one segment can carry: more options don't fit (RFC 2018, section 3).
pub(super) const BLOCKS_MAX: usize = 4;

const END: u8 = 0;
const PADDING: u8 = 1;
const SEGMENT_LEN: u8 = 2;
const WINDOW_SHIFT: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
/// RFC 7323, section 2.3: more than 14 means 14.
pub(super) const WINDOW_SHIFT_MAX: u8 = 14;

/// What a SYN offers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Offers {
    /// Bytes of payload that a segment may carry.
    pub(super) segment_len: Option<u16>,
    /// The scale of the windows to come (RFC 7323): at most 14.
    pub(super) window_shift: Option<u8>,
    /// SACK blocks are understood (RFC 2018).
    pub(super) sack: bool,
}

/// The blocks of a SACK option, as sequence numbers: untrusted, in the order of the segment.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct WireBlocks {
    blocks: [(u32, u32); BLOCKS_MAX],
    len: usize,
}

impl WireBlocks {
    /// Writes the positions that the blocks stand for, those near `near`, and says how many there
    /// are.
    pub(super) fn positions(
        &self,
        origin: Origin,
        near: u64,
        positions: &mut [Range<u64>; BLOCKS_MAX],
    ) -> usize {
        let mut len = 0;
        for (start, end) in &self.blocks[..self.len] {
            let position = |number: u32| origin.position(TcpSeqNumber(number as i32), near);
            if let (Some(start), Some(end)) = (position(*start), position(*end)) {
                positions[len] = start..end;
                len += 1;
            }
        }
        len
    }
}

/// Reads the options of a segment. What is malformed ends them (RFC 9293, section 3.1).
pub(super) fn read(mut options: &[u8]) -> (Offers, WireBlocks) {
    let (mut offers, mut blocks) = (Offers::default(), WireBlocks::default());
    loop {
        let (kind, len) = match options {
            [] | [END, ..] => break,
            [PADDING, rest @ ..] => {
                options = rest;
                continue;
            }
            [_] => break,
            [kind, len, ..] => (*kind, usize::from(*len)),
        };
        if len < 2 || len > options.len() {
            break;
        }
        let (option, rest) = options.split_at(len);
        match (kind, &option[2..]) {
            (SEGMENT_LEN, [high, low]) => {
                offers.segment_len = Some(u16::from_be_bytes([*high, *low]));
            }
            (WINDOW_SHIFT, [shift]) => offers.window_shift = Some((*shift).min(WINDOW_SHIFT_MAX)),
            (SACK_PERMITTED, []) => offers.sack = true,
            (SACK, numbers) => {
                let pairs = numbers.as_chunks::<4>().0.as_chunks::<2>().0;
                blocks.len = pairs.len().min(BLOCKS_MAX);
                for (place, [start, end]) in blocks.blocks.iter_mut().zip(pairs) {
                    *place = (u32::from_be_bytes(*start), u32::from_be_bytes(*end));
                }
            }
            _ => {}
        }
        options = rest;
    }
    (offers, blocks)
}

/// Options on their way out, always a multiple of four bytes.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Options {
    bytes: Padded,
    len: usize,
}

/// A header has 60 bytes at most, of which 20 are no options.
#[derive(Clone, Copy, Debug)]
struct Padded([u8; 40]);

impl Default for Padded {
    fn default() -> Self {
        Self([PADDING; 40])
    }
}

impl Options {
    /// Those of a SYN.
    pub(super) fn of_syn(offers: Offers) -> Self {
        let mut options = Self::default();
        if let Some(len) = offers.segment_len {
            let [high, low] = len.to_be_bytes();
            options.push(&[SEGMENT_LEN, 4, high, low]);
        }
        if let Some(shift) = offers.window_shift {
            options.push(&[PADDING, WINDOW_SHIFT, 3, shift]);
        }
        if offers.sack {
            options.push(&[PADDING, PADDING, SACK_PERMITTED, 2]);
        }
        options
    }

    /// Those of a segment that says what has arrived out of order.
    pub(super) fn of_blocks(blocks: &[Range<u64>], origin: Origin) -> Self {
        let mut options = Self::default();
        let blocks = &blocks[..blocks.len().min(BLOCKS_MAX)];
        if blocks.is_empty() {
            return options;
        }
        // At most 34.
        options.push(&[PADDING, PADDING, SACK, 2 + 8 * blocks.len() as u8]);
        for block in blocks {
            for edge in [block.start, block.end] {
                options.push(&origin.number(edge).0.to_be_bytes());
            }
        }
        options
    }

    fn push(&mut self, bytes: &[u8; 4]) {
        self.bytes.0[self.len..self.len + 4].copy_from_slice(bytes);
        self.len += 4;
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes.0[..self.len]
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_up_to_what_is_malformed() {
        let (offers, blocks) =
            read(&[1, 2, 4, 0x05, 0xb4, 3, 3, 20, 4, 2, 77, 3, 9, 0, 2, 4, 1, 1]);
        let expected = Offers { segment_len: Some(1460), window_shift: Some(14), sack: true };
        assert_eq!((offers, blocks.len), (expected, 0));
        for malformed in [&[2][..], &[2, 4, 1], &[2, 0, 0, 0], &[3, 1, 5], &[4, 200], &[2, 3, 1]] {
            assert_eq!(read(malformed).0, Offers::default(), "{malformed:?}");
        }
    }

    #[test]
    fn blocks_are_read_as_positions_and_those_before_the_beginning_are_none() {
        let origin = Origin(TcpSeqNumber(100));
        let mut option = vec![5, 26];
        for number in [110_u32, 120, 90, 95, 130, 140] {
            option.extend(number.to_be_bytes());
        }
        let mut positions = [const { 0..0 }; BLOCKS_MAX];
        let len = read(&option).1.positions(origin, 5, &mut positions);
        assert_eq!(positions[..len], [10..20, 30..40]);
        // More than fit are cut off, and what is half there is not read.
        let mut option = vec![5, 2 + 37];
        option.resize(39, 0);
        assert_eq!(read(&option).1.len, BLOCKS_MAX);
        assert_eq!(read(&[5, 6, 1, 2, 3, 4]).1.len, 0);
    }

    #[test]
    fn what_is_written_is_read() {
        let origin = Origin(TcpSeqNumber(-10));
        let offers = Offers { segment_len: Some(1380), window_shift: Some(7), sack: true };
        let written = Options::of_syn(offers);
        assert_eq!((read(written.as_slice()).0, written.len()), (offers, 12));
        assert_eq!(Options::of_syn(Offers::default()).len(), 0);
        let blocks = [5..7, 20..40, (1 << 33)..(1 << 33) + 9, 1..2, 3..4];
        for count in 0..=blocks.len() {
            let written = Options::of_blocks(&blocks[..count], origin);
            let mut positions = [const { 0..0 }; BLOCKS_MAX];
            let len = read(written.as_slice()).1.positions(origin, 1, &mut positions);
            assert_eq!(len, count.min(BLOCKS_MAX));
            assert_eq!(positions[..len.min(2)], blocks[..len.min(2)]);
        }
    }
}
