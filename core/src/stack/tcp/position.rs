//! Places in the two streams of a connection, and their numbers on the wire.

use smoltcp::wire::TcpSeqNumber;

/// Where a stream begins on the wire. Positions are counted from there in 64 bits, so that none
/// comes round: the SYN is at 0, the first byte at 1, the FIN behind the last one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Origin(pub(super) TcpSeqNumber);

impl Origin {
    /// The position that a sequence number stands for: of all that it could be the one that is
    /// nearest to `near`. `None` if that lies before the beginning.
    pub(super) fn position(self, number: TcpSeqNumber, near: u64) -> Option<u64> {
        let distance = number.0.wrapping_sub(self.number(near).0);
        near.checked_add_signed(distance.into())
    }

    /// The sequence number of a position.
    pub(super) const fn number(self, position: u64) -> TcpSeqNumber {
        // Sequence numbers are positions modulo 2^32.
        TcpSeqNumber(self.0.0.wrapping_add(position as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_nearest_and_do_not_come_round() {
        let origin = Origin(TcpSeqNumber(-5));
        assert_eq!(origin.number(0), TcpSeqNumber(-5));
        assert_eq!(origin.number((1 << 32) + 7), TcpSeqNumber(2));
        for near in [0_u64, 1, 5, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 50) + 12_345] {
            for distance in [-(1 << 31), -1_000, -1, 0, 1, 77, (1 << 31) - 1] {
                let position = near.checked_add_signed(distance);
                let number = TcpSeqNumber(origin.number(near).0.wrapping_add(distance as i32));
                assert_eq!(origin.position(number, near), position, "{near} {distance}");
            }
        }
    }
}
