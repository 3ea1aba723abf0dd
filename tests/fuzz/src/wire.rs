//! As much of IP as it takes to make a packet pass for a sound one, and to judge one.

use std::net::{IpAddr, SocketAddr};

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;

/// Where things are in a packet without IPv4 options or IPv6 extension headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Where the transport header begins.
    pub(super) header_len: usize,
    pub(super) protocol: u8,
    addresses: (usize, usize),
    is_fragment: bool,
}

impl Layout {
    /// Reads a packet that is long enough for its IP header.
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 if packet.len() >= 20 => Some(Self {
                header_len: usize::from(packet[0] & 15) * 4,
                protocol: packet[9],
                addresses: (12, 4),
                is_fragment: packet[6] & 0x3f != 0 || packet[7] != 0,
            }),
            6 if packet.len() >= 40 => Some(Self {
                header_len: 40,
                protocol: packet[6],
                addresses: (8, 16),
                is_fragment: false,
            }),
            _ => None,
        }
    }

    const fn is_v4(self) -> bool {
        self.addresses.1 == 4
    }

    pub(super) fn source(self, packet: &[u8]) -> IpAddr {
        self.address(packet, 0)
    }

    pub(super) fn destination(self, packet: &[u8]) -> IpAddr {
        self.address(packet, 1)
    }

    fn address(self, packet: &[u8], index: usize) -> IpAddr {
        let (start, len) = self.addresses;
        let bytes = &packet[start + index * len..][..len];
        match <[u8; 4]>::try_from(bytes) {
            Ok(v4) => v4.into(),
            Err(_) => <[u8; 16]>::try_from(bytes).map_or(IpAddr::from([0; 4]), IpAddr::from),
        }
    }

    /// Writes one of the addresses; one of the other version is left alone.
    pub(super) fn set_source(self, packet: &mut [u8], address: IpAddr) {
        let (start, _) = self.addresses;
        match address {
            IpAddr::V4(v4) if self.is_v4() => packet[start..][..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) if !self.is_v4() => packet[start..][..16].copy_from_slice(&v6.octets()),
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
    }

    /// Where the transport's checksum is, if the transport is there and has one.
    fn checksum(self, packet: &[u8]) -> Option<usize> {
        let offset = match (self.protocol, self.is_v4()) {
            (TCP, _) => 16,
            (UDP, _) => 6,
            (ICMP, true) | (ICMPV6, false) => 2,
            _ => return None,
        };
        let at = self.header_len + offset;
        (!self.is_fragment && packet.len() >= at + 2).then_some(at)
    }

    /// The sum over the transport and what of the IP header goes into it.
    fn transport_sum(self, packet: &[u8]) -> u16 {
        let body = &packet[self.header_len..];
        if self.protocol == ICMP {
            return sum(&[body]);
        }
        let (start, len) = self.addresses;
        let length = (body.len() as u32).to_be_bytes();
        sum(&[&packet[start..start + 2 * len], &length, &[0, self.protocol], body])
    }
}

/// Makes lengths and checksums right.
pub(super) fn mend(packet: &mut [u8]) {
    let Some(layout) = Layout::of(packet) else { return };
    let len = packet.len();
    if layout.protocol == UDP && len >= layout.header_len + 8 && !layout.is_fragment {
        let body_len = (len - layout.header_len) as u16;
        packet[layout.header_len + 4..][..2].copy_from_slice(&body_len.to_be_bytes());
    }
    if let Some(at) = layout.checksum(packet) {
        packet[at..at + 2].fill(0);
        let check = match !layout.transport_sum(packet) {
            0 if layout.protocol == UDP => 0xffff,
            check => check,
        };
        packet[at..at + 2].copy_from_slice(&check.to_be_bytes());
    }
    mend_ip(packet);
}

/// The same for the IP header only.
pub(super) fn mend_ip(packet: &mut [u8]) {
    let Some(layout) = Layout::of(packet) else { return };
    let len = packet.len();
    if layout.is_v4() {
        packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    } else {
        packet[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
    }
    if layout.is_v4() && layout.header_len <= len {
        packet[10..12].fill(0);
        let check = !sum(&[&packet[..layout.header_len]]);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
    }
}

/// What is wrong with a packet that an honest end sent.
pub(super) fn fault(packet: &[u8]) -> Option<&'static str> {
    let Some(layout) = Layout::of(packet) else { return Some("no IP header") };
    let len = if layout.is_v4() {
        usize::from(u16::from_be_bytes([packet[2], packet[3]]))
    } else {
        40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]))
    };
    if len != packet.len() || layout.header_len > len {
        return Some("wrong length");
    }
    if layout.is_v4() && sum(&[&packet[..layout.header_len]]) != 0xffff {
        return Some("wrong IP checksum");
    }
    if layout.checksum(packet).is_some() && layout.transport_sum(packet) != 0xffff {
        return Some("wrong transport checksum");
    }
    None
}

/// A UDP datagram in one packet, as large as it is.
pub(super) fn datagram(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut packet = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, UDP, 0, 0];
            header.extend(from.octets());
            header.extend(to.octets());
            header
        }
        (from, to) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let mut header = vec![0x60, 0, 0, 0, 0, 0, UDP, 64];
            header.extend(octets(from));
            header.extend(octets(to));
            header
        }
    };
    packet.extend(source.port().to_be_bytes());
    packet.extend(destination.port().to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(payload);
    mend(&mut packet);
    packet
}

/// The one's complement sum of RFC 1071 over parts of even length but the last.
fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let total: u64 = words
        .map(|word| u64::from(word[0]) << 8 | word.get(1).map_or(0, |low| u64::from(*low)))
        .sum();
    let mut folded = total;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    folded as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mended_has_no_fault() {
        for (from, to) in [("10.0.0.2:5", "192.0.2.1:6"), ("[fd00::2]:5", "[2001:db8::1]:6")] {
            let ends: [SocketAddr; 2] = [from, to].map(|end| end.parse().unwrap());
            let mut packet = datagram(ends[0], ends[1], b"odd");
            assert_eq!(fault(&packet), None);
            *packet.last_mut().unwrap() ^= 1;
            assert_eq!(fault(&packet), Some("wrong transport checksum"));
            packet.pop();
            assert_eq!(fault(&packet), Some("wrong length"));
            mend(&mut packet);
            assert_eq!(fault(&packet), None);
        }
    }
}
