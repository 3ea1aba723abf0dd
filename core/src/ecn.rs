//! Explicit congestion notification of datagrams and of the packets in them: what goes from one
//! header to the other where a tunnel begins and ends (RFC 6040).

/// The mark of an IP header (RFC 3168, section 5).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Ecn {
    /// The sender can't be told of congestion: packets are dropped instead.
    #[default]
    NotEct,
    /// The sender can be told: ECT(1).
    Ect1,
    /// The sender can be told: ECT(0).
    Ect0,
    /// A router on the way was congested.
    Ce,
}

impl Ecn {
    /// The mark in the two lowest bits of a type of service or traffic class; others do not matter.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two lowest bits of a type of service or traffic class.
    pub const fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0b00,
            Self::Ect1 => 0b01,
            Self::Ect0 => 0b10,
            Self::Ce => 0b11,
        }
    }

    /// The mark of an IP packet, which the datagram around it gets too (RFC 6040, section 4.1:
    /// normal mode).
    pub(crate) const fn of(packet: &[u8]) -> Self {
        match packet {
            [first, second, ..] if *first >> 4 == 4 => Self::from_bits(*second),
            [first, second, ..] if *first >> 4 == 6 => Self::from_bits(*second >> 4),
            _ => Self::NotEct,
        }
    }

    /// What a packet with this mark has to leave the tunnel with if the datagram around it came
    /// with the mark `outer` (RFC 6040, section 4.2). `None`: it is to be dropped, as whoever was
    /// congested would have dropped it.
    const fn after(self, outer: Self) -> Option<Self> {
        Some(match (self, outer) {
            (Self::NotEct, Self::NotEct | Self::Ect0 | Self::Ect1) => Self::NotEct,
            (Self::NotEct, Self::Ce) => return None,
            (Self::Ect0, Self::NotEct | Self::Ect0) => Self::Ect0,
            (Self::Ect0, Self::Ect1) => Self::Ect1,
            (Self::Ect1, Self::NotEct | Self::Ect0 | Self::Ect1) => Self::Ect1,
            (Self::Ect0 | Self::Ect1, Self::Ce) | (Self::Ce, _) => Self::Ce,
        })
    }
}

/// Gives an IP packet the mark that it has to leave the tunnel with, if the datagram around it came
/// with the mark `outer`. Returns whether it may leave at all.
pub(crate) fn leave_tunnel(packet: &mut [u8], outer: Ecn) -> bool {
    let inner = Ecn::of(packet);
    let Some(mark) = inner.after(outer) else { return false };
    if mark == inner {
        return true;
    }
    match packet {
        [first, second, ..] if *first >> 4 == 6 => {
            *second = *second & !0x30 | mark.bits() << 4;
        }
        [first, second, _, _, _, _, _, _, _, _, high, low, ..] if *first >> 4 == 4 => {
            let before = u16::from_be_bytes([*first, *second]);
            *second = *second & !0b11 | mark.bits();
            let after = u16::from_be_bytes([*first, *second]);
            let checksum = u16::from_be_bytes([*high, *low]);
            [*high, *low] = updated(checksum, before, after).to_be_bytes();
        }
        _ => {}
    }
    true
}

/// A checksum after one word of what it covers has changed (RFC 1624, equation 3).
const fn updated(checksum: u16, before: u16, after: u16) -> u16 {
    let sum = !checksum as u32 + !before as u32 + after as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use smoltcp::wire::{Ipv4Packet, Ipv6Packet};

    use super::*;
    use crate::ecn::Ecn::{Ce, Ect0, Ect1, NotEct};

    const MARKS: [Ecn; 4] = [NotEct, Ect1, Ect0, Ce];

    fn ipv4(mark: Ecn, identification: u16) -> Vec<u8> {
        let mut packet = vec![0; 20];
        let mut header = Ipv4Packet::new_unchecked(&mut packet);
        header.set_version(4);
        header.set_header_len(20);
        header.set_total_len(20);
        header.set_dscp(46);
        header.set_ecn(mark.bits());
        header.set_ident(identification);
        header.fill_checksum();
        packet
    }

    fn ipv6(mark: Ecn) -> Vec<u8> {
        let mut packet = vec![0; 40];
        let mut header = Ipv6Packet::new_unchecked(&mut packet);
        header.set_version(6);
        header.set_traffic_class(46 << 2 | mark.bits());
        header.set_flow_label(0xabcde);
        packet
    }

    /// Figure 4 of RFC 6040: a row for each inner mark, a column for each outer one.
    #[test]
    fn packets_leave_as_rfc_6040_says() {
        let columns = [NotEct, Ect0, Ect1, Ce];
        let rows = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce); 4]),
        ];
        for (inner, row) in rows {
            for (outer, leaves) in columns.into_iter().zip(row) {
                assert_eq!(inner.after(outer), leaves, "{inner:?} in {outer:?}");
            }
        }
    }

    #[test]
    fn only_the_mark_and_the_checksum_change() {
        for inner in MARKS {
            for outer in MARKS {
                let Some(mark) = inner.after(outer) else {
                    assert!(!leave_tunnel(&mut ipv6(inner), outer));
                    continue;
                };
                let mut packet = ipv6(inner);
                assert!(leave_tunnel(&mut packet, outer));
                assert_eq!((Ecn::of(&packet), packet), (mark, ipv6(mark)));
                // Each checksum there can be, 0x0000 and 0xffff among them.
                for identification in 0..=u16::MAX {
                    let mut packet = ipv4(inner, identification);
                    assert!(leave_tunnel(&mut packet, outer));
                    assert!(Ipv4Packet::new_unchecked(&packet).verify_checksum());
                    assert_eq!(Ecn::of(&packet), mark);
                }
            }
        }
    }

    #[test]
    fn what_is_no_packet_has_no_mark() {
        for packet in [&[][..], &[0x45], &[0x00, 0xff], &[0xff, 0xff]] {
            assert_eq!(Ecn::of(packet), NotEct);
            assert!(leave_tunnel(&mut packet.to_vec(), Ect0));
        }
    }
}
