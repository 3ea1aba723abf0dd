//! Bytes that tell where they belong: each stream, direction and offset has its own.

/// The bytes of one direction of one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pattern(u64);

impl Pattern {
    pub(super) const fn new(seed: u64, stream: usize, writer: usize) -> Self {
        Self(mix(mix(seed ^ 0x5eed) ^ ((stream as u64) << 32 | writer as u64)))
    }

    /// Writes the bytes from `offset` on.
    pub(super) fn fill(self, offset: u64, buffer: &mut [u8]) {
        for (byte, at) in buffer.iter_mut().zip(offset..) {
            *byte = self.byte(at);
        }
    }

    /// Where `bytes` first differ from those at `offset`.
    pub(super) fn difference(self, offset: u64, bytes: &[u8]) -> Option<u64> {
        bytes.iter().zip(offset..).find(|(byte, at)| **byte != self.byte(*at)).map(|(_, at)| at)
    }

    const fn byte(self, at: u64) -> u8 {
        (mix(self.0 ^ (at / 8)) >> (at % 8 * 8)) as u8
    }
}

/// The finaliser of SplitMix64.
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_of_another_place_or_stream_is_noticed() {
        let pattern = Pattern::new(1, 2, 3);
        let mut bytes = [0; 100];
        pattern.fill(1_000, &mut bytes);
        assert_eq!(pattern.difference(1_000, &bytes), None);
        assert_eq!(pattern.difference(1_010, &bytes[10..]), None);
        assert!(pattern.difference(1_008, &bytes).is_some());
        assert!(Pattern::new(1, 3, 2).difference(1_000, &bytes).is_some());
        bytes[70] ^= 1;
        assert_eq!(pattern.difference(1_000, &bytes), Some(1_070));
    }
}
