//! IPv4 packets as a program would send them that has no kernel between itself and the network:
//! any flags, any fragment, any source. And as much of reading as it takes to see the answers.

use std::net::{Ipv4Addr, SocketAddrV4};

/// TCP's flags.
pub mod flags {
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Ends one at once.
    pub const RST: u8 = 0x04;
    /// Acknowledges.
    pub const ACK: u8 = 0x10;
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const IP_HEADER_LEN: usize = 20;
const TCP_HEADER_LEN: usize = 20;
const UDP_HEADER_LEN: usize = 8;
const MORE_FRAGMENTS: u16 = 0x2000;

/// A TCP segment without data.
pub fn segment(
    [source, destination]: [SocketAddrV4; 2],
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
) -> Vec<u8> {
    let mut segment = Vec::with_capacity(TCP_HEADER_LEN);
    segment.extend(source.port().to_be_bytes());
    segment.extend(destination.port().to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledgement.to_be_bytes());
    segment.extend([(TCP_HEADER_LEN as u8 / 4) << 4, flags]);
    segment.extend(u16::MAX.to_be_bytes());
    segment.extend([0; 4]);
    checksummed(&mut segment, 16, TCP, [source, destination]);
    packet([source, destination], TCP, 0, 0, &segment)
}

/// A UDP datagram.
pub fn datagram([source, destination]: [SocketAddrV4; 2], payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(UDP_HEADER_LEN + payload.len());
    datagram.extend(source.port().to_be_bytes());
    datagram.extend(destination.port().to_be_bytes());
    datagram.extend(((UDP_HEADER_LEN + payload.len()) as u16).to_be_bytes());
    datagram.extend([0; 2]);
    datagram.extend(payload);
    checksummed(&mut datagram, 6, UDP, [source, destination]);
    packet([source, destination], UDP, 0, 0, &datagram)
}

/// A piece from the middle of a UDP datagram: `offset` counts bytes and must be a multiple of 8, as
/// must the payload's length.
pub fn fragment(
    ends: [SocketAddrV4; 2],
    identification: u16,
    offset: u16,
    payload: &[u8],
) -> Vec<u8> {
    packet(ends, UDP, identification, MORE_FRAGMENTS | (offset / 8), payload)
}

fn packet(
    ends: [SocketAddrV4; 2],
    protocol: u8,
    identification: u16,
    fragmentation: u16,
    payload: &[u8],
) -> Vec<u8> {
    let length = (IP_HEADER_LEN + payload.len()) as u16;
    let mut packet = Vec::with_capacity(usize::from(length));
    packet.extend([0x45, 0]);
    packet.extend(length.to_be_bytes());
    packet.extend(identification.to_be_bytes());
    packet.extend(fragmentation.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(ends[0].ip().octets());
    packet.extend(ends[1].ip().octets());
    let sum = checksum(&packet, 0);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// Writes the checksum of a segment or datagram, which covers its addresses, at `place`.
fn checksummed(bytes: &mut [u8], place: usize, protocol: u8, ends: [SocketAddrV4; 2]) {
    let pseudo_header: u32 = ends.iter().map(|end| sum(&end.ip().octets())).sum();
    let initial = pseudo_header + u32::from(protocol) + bytes.len() as u32;
    let checksum = checksum(bytes, initial);
    bytes[place..place + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn checksum(bytes: &[u8], initial: u32) -> u16 {
    let mut sum = initial + sum(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).sum()
}

/// What a gateway answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A TCP segment.
    Segment {
        /// Where it comes from and goes to.
        ends: [SocketAddrV4; 2],
        /// Its flags.
        flags: u8,
        /// Its sequence number.
        sequence: u32,
        /// What it acknowledges.
        acknowledgement: u32,
    },
    /// An ICMP message.
    Icmp {
        /// Its type.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// Anything else.
    Other,
}

/// Reads a packet without options, whose checksums are believed.
pub fn read(packet: &[u8]) -> Answer {
    let Some((header, body)) = packet.split_at_checked(IP_HEADER_LEN) else { return Answer::Other };
    let address =
        |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let half = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let word = |at: usize| u32::from(half(at)) << 16 | u32::from(half(at + 2));
    match (header[9], body.len()) {
        (TCP, TCP_HEADER_LEN..) => Answer::Segment {
            ends: [(12, 0), (16, 2)].map(|(ip, port)| SocketAddrV4::new(address(ip), half(port))),
            flags: body[13],
            sequence: word(4),
            acknowledgement: word(8),
        },
        (ICMP, 8..) => Answer::Icmp { kind: body[0], code: body[1] },
        _ => Answer::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_its_checksums_add_up() {
        let ends = ["10.0.0.1:5", "10.0.0.2:6"].map(|end| end.parse().unwrap());
        let packet = segment(ends, flags::SYN | flags::ACK, 7, 8);
        let flags = flags::SYN | flags::ACK;
        assert_eq!(read(&packet), Answer::Segment { ends, flags, sequence: 7, acknowledgement: 8 });
        assert_eq!(checksum(&packet[..IP_HEADER_LEN], 0), 0);
        let pseudo_header = sum(&packet[12..20]) + u32::from(TCP) + TCP_HEADER_LEN as u32;
        assert_eq!(checksum(&packet[IP_HEADER_LEN..], pseudo_header), 0);
        assert_eq!(read(&datagram(ends, b"odd")), Answer::Other);
    }
}
