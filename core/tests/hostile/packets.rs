//! Inner packets made by hand, so that any field of them may lie.

use std::net::{IpAddr, SocketAddr};

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const ICMPV6: u8 = 58;

/// The one's complement sum of RFC 1071 over several parts of even length but the last.
fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let total: u32 = words
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    let folded = (total & 0xffff) + (total >> 16);
    (folded & 0xffff) as u16 + (folded >> 16) as u16
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// An IP packet around `payload`, whose own checksum is as it is.
pub(crate) fn ip(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ttl: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = match source {
        IpAddr::V4(_) => {
            let mut header = vec![0x45, 0, 0, 0, 0, 7, 0, 0, ttl, protocol, 0, 0];
            header[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
            header
        }
        IpAddr::V6(_) => {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, ttl];
            header[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
            header
        }
    };
    packet.extend(octets(source));
    packet.extend(octets(destination));
    mend_ip(&mut packet);
    packet.extend_from_slice(payload);
    packet
}

/// Makes the checksum of an IPv4 header right again.
pub(crate) fn mend_ip(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 && packet.len() >= 20 {
        packet[10..12].fill(0);
        let check = !sum(&[&packet[..20]]);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
    }
}

/// Fills in the checksum of a transport header, which is at `at`.
fn checked(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    at: usize,
    mut bytes: Vec<u8>,
) -> Vec<u8> {
    bytes[at..at + 2].fill(0);
    let len = (bytes.len() as u32).to_be_bytes();
    let check = if protocol == ICMP {
        !sum(&[&bytes])
    } else {
        !sum(&[&octets(source), &octets(destination), &len, &[0, protocol], &bytes])
    };
    let check = if check == 0 && protocol == UDP { 0xffff } else { check };
    bytes[at..at + 2].copy_from_slice(&check.to_be_bytes());
    bytes
}

/// A TCP segment before it is written.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// A multiple of 4 bytes.
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    pub(crate) fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            source,
            destination,
            sequence: 0,
            acknowledgement: 0,
            flags: 0,
            window: 65_535,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.source.port().to_be_bytes());
        bytes.extend(self.destination.port().to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgement.to_be_bytes());
        bytes.extend([(5 + self.options.len() as u8 / 4) << 4, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.options);
        bytes.extend(&self.payload);
        let (source, destination) = (self.source.ip(), self.destination.ip());
        ip(source, destination, TCP, 64, &checked(source, destination, TCP, 16, bytes))
    }

    /// Reads a packet as a whole segment; `None` if it is something else.
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        let (source, destination, segment) = match packet.first()? >> 4 {
            4 if *packet.get(9)? == TCP => {
                let len = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
                let address = |at: usize| {
                    Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?))
                };
                (address(12)?, address(16)?, packet.get(20..len)?)
            }
            6 if *packet.get(6)? == TCP => {
                let len = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
                let address = |at: usize| {
                    Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?))
                };
                (address(8)?, address(24)?, packet.get(40..40 + len)?)
            }
            _ => return None,
        };
        let header_len = usize::from(segment.get(12)? >> 4) * 4;
        let payload = segment.get(header_len.max(20)..)?.to_vec();
        let word = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
        let long = |at: usize| u32::from(word(at)) << 16 | u32::from(word(at + 2));
        Some(Self {
            source: SocketAddr::new(source, word(0)),
            destination: SocketAddr::new(destination, word(2)),
            sequence: long(4),
            acknowledgement: long(8),
            flags: segment[13],
            window: word(14),
            options: segment[20..header_len.max(20)].to_vec(),
            payload,
        })
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The sequence number after it.
    pub(crate) fn end(&self) -> u32 {
        let marks = u32::from(self.has(SYN)) + u32::from(self.has(FIN));
        self.sequence.wrapping_add(self.payload.len() as u32).wrapping_add(marks)
    }
}

pub(crate) fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    bytes.extend((8 + payload.len() as u16).to_be_bytes());
    bytes.extend([0; 2]);
    bytes.extend(payload);
    let (source, destination) = (source.ip(), destination.ip());
    ip(source, destination, UDP, 64, &checked(source, destination, UDP, 6, bytes))
}

/// An ICMP or ICMPv6 message, whose checksum is filled in.
pub(crate) fn icmp(source: IpAddr, destination: IpAddr, message: Vec<u8>) -> Vec<u8> {
    let protocol = if source.is_ipv4() { ICMP } else { ICMPV6 };
    ip(source, destination, protocol, 64, &checked(source, destination, protocol, 2, message))
}

/// The piece of a packet from `start` to `end` behind its IP header, said to lie at `offset`.
pub(crate) fn fragment(
    packet: &[u8],
    start: usize,
    end: usize,
    offset: usize,
    more: bool,
    id: u16,
) -> Vec<u8> {
    let header_len = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let payload = &packet[header_len..];
    let chunk = &payload[start.min(payload.len())..end.min(payload.len())];
    if header_len == 20 {
        let mut piece = [&packet[..20], chunk].concat();
        let len = piece.len() as u16;
        piece[2..4].copy_from_slice(&len.to_be_bytes());
        piece[4..6].copy_from_slice(&id.to_be_bytes());
        let field = (offset / 8) as u16 & 0x1fff | u16::from(more) << 13;
        piece[6..8].copy_from_slice(&field.to_be_bytes());
        mend_ip(&mut piece);
        piece
    } else {
        let field = (offset as u16 & !7) | u16::from(more);
        let [high, low] = field.to_be_bytes();
        let [id_high, id_low] = id.to_be_bytes();
        let mut piece = packet[..40].to_vec();
        let next = std::mem::replace(&mut piece[6], FRAGMENT);
        piece.extend([next, 0, high, low, 0, 0, id_high, id_low]);
        piece.extend(chunk);
        let len = (piece.len() - 40) as u16;
        piece[4..6].copy_from_slice(&len.to_be_bytes());
        piece
    }
}
