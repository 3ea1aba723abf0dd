//! What the tunnel asks of the IP packets that it carries: a header that does not lie about
//! lengths, and padding. Everything else about them is the stack's.

use crate::limits::PADDING_MULTIPLE;

/// Whether a decrypted packet is as long as its own header, at least. boringtun has cut it to the
/// length that it claims, and that claim may be anything, zero too.
pub(super) fn holds_its_header(packet: &[u8]) -> bool {
    match packet.first().map(|first| (first >> 4, usize::from(first & 0xf) * 4)) {
        Some((4, header_len)) => header_len >= 20 && packet.len() >= header_len,
        Some((6, _)) => packet.len() >= 40,
        Some(_) | None => false,
    }
}

/// Zeroes what follows a packet of `len` bytes up to its padded length, and returns that: at most
/// `mtu`, and at most what the buffer holds.
pub(super) fn pad(buffer: &mut [u8], len: usize, mtu: usize) -> usize {
    let padded = len.next_multiple_of(PADDING_MULTIPLE).min(mtu).min(buffer.len()).max(len);
    if let Some(padding) = buffer.get_mut(len..padded) {
        padding.fill(0);
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_padded_with_zeros_within_the_mtu() {
        let padded = |len, mtu| {
            let mut buffer = [0xff; 64];
            let padded = pad(&mut buffer, len, mtu);
            assert!(buffer[len..padded].iter().all(|byte| *byte == 0));
            assert!(buffer[padded..].iter().all(|byte| *byte == 0xff));
            padded
        };
        assert_eq!(padded(33, 1420), 48);
        assert_eq!(padded(48, 1420), 48);
        assert_eq!(padded(33, 40), 40);
        assert_eq!(padded(63, 1420), 64);
        assert_eq!(padded(0, 1420), 0);
    }

    #[test]
    fn padding_stays_within_the_buffer() {
        assert_eq!(pad(&mut [1; 20], 20, 1420), 20);
        assert_eq!(pad(&mut [1; 20], 18, 1420), 20);
    }

    #[test]
    fn a_header_that_is_cut_is_seen() {
        let v4 = |len: usize| [&[0x45][..], &[0; 60]].concat()[..len].to_vec();
        let v6 = |len: usize| [&[0x60][..], &[0; 60]].concat()[..len].to_vec();
        assert!(holds_its_header(&v4(20)) && !holds_its_header(&v4(19)));
        assert!(holds_its_header(&v6(40)) && !holds_its_header(&v6(39)));
        assert!(!holds_its_header(&[]) && !holds_its_header(&[0; 60]));
        let mut options = v4(20);
        options[0] = 0x46;
        assert!(!holds_its_header(&options));
        options[0] = 0x44;
        assert!(!holds_its_header(&options));
    }
}
