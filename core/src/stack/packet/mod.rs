//! IP packets: read into one plain shape, and written by [`write`](mod@write). [`icmp`] reads and
//! writes the messages that are about other packets.
//!
//! Fragments have been put together before ([`reassembly`]; [`fragmentation`] cuts what is sent).
//! [`Packet::parse`] walks IPv6 extension headers and takes them out, so that nobody behind it
//! meets any; it verifies every checksum, so that nothing is allocated for a damaged packet.

pub(crate) mod fragmentation;
pub(crate) mod icmp;
pub(crate) mod reassembly;
mod write;

use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::{
    IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket, checksum,
};

use crate::datagram::{Fragmenting, TrafficClass, Travel};
use crate::id::PeerId;
use crate::stack::key::Ends;
#[cfg(test)]
pub(crate) use crate::stack::packet::write::write_tcp;
pub(crate) use crate::stack::packet::write::{
    SegmentHeader, mark, write_icmp, write_segment, write_udp,
};
use crate::stats::Counter;

/// Bytes of an IPv4 header without options.
pub(crate) const IPV4_HEADER_LEN: usize = 20;
/// Bytes of an IPv6 header.
pub(crate) const IPV6_HEADER_LEN: usize = 40;
/// Bytes of a TCP header without options.
pub(crate) const TCP_HEADER_LEN: usize = 20;
/// Bytes of a UDP header.
pub(crate) const UDP_HEADER_LEN: usize = 8;
/// The TTL and hop limit of packets that start here (RFC 1700).
pub(crate) const TTL: u8 = 64;

/// IPv6 extension headers in one packet that are walked before it is given up.
const EXTENSION_HEADERS_MAX: usize = 8;

/// What a transport header says of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transport {
    Tcp {
        source_port: u16,
        destination_port: u16,
    },
    Udp {
        source_port: u16,
        destination_port: u16,
    },
    /// ICMP over IPv4 or ICMPv6 over IPv6.
    Icmp,
    /// A protocol that is not carried.
    Other,
}

/// What the IP header of a packet says, apart from its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    len: usize,
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    fragmenting: Fragmenting,
    transport: Transport,
}

impl Header {
    /// Bytes of it.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether it is that of another packet between the same ends, on the same way.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        self == other
    }

    /// The packet that has this header, at the start of `bytes`, and carries all the rest, which is
    /// set in the header. Checksums are not.
    pub(crate) fn packet(self, bytes: &mut [u8]) -> Packet<'_> {
        let len = bytes.len();
        // No packet that is put together is longer than its header can say.
        match self.source {
            IpAddr::V4(_) => Ipv4Packet::new_unchecked(&mut *bytes).set_total_len(len as u16),
            IpAddr::V6(_) => Ipv6Packet::new_unchecked(&mut *bytes)
                .set_payload_len((len - IPV6_HEADER_LEN) as u16),
        }
        let Self { len: header_len, source, destination, ttl, fragmenting, transport } = self;
        Packet {
            bytes,
            header_len,
            transport_end: len,
            source,
            destination,
            ttl,
            fragmenting,
            transport,
        }
    }
}

/// A whole, undamaged IP packet without extension headers.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    bytes: &'a mut [u8],
    header_len: usize,
    transport_end: usize,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) fragmenting: Fragmenting,
    pub(crate) transport: Transport,
}

impl Packet<'_> {
    /// The ends of the connection that it is of, from our side; `None` if it is no TCP segment.
    pub(crate) const fn ends(&self, peer: PeerId) -> Option<Ends> {
        match self.transport {
            Transport::Tcp { source_port, destination_port } => Some(Ends {
                local: SocketAddr::new(self.destination, destination_port),
                remote: SocketAddr::new(self.source, source_port),
                peer,
            }),
            Transport::Udp { .. } | Transport::Icmp | Transport::Other => None,
        }
    }
}

impl<'a> Packet<'a> {
    /// Reads a packet.
    ///
    /// # Errors
    /// The counter that says why it has to be dropped.
    pub(crate) fn parse(bytes: &'a mut [u8]) -> Result<Self, Counter> {
        match bytes.first().map(|byte| byte >> 4) {
            Some(4) => Self::parse_v4(bytes),
            Some(6) => Self::parse_v6(bytes),
            _ => Err(Counter::DropIpHeader),
        }
    }

    fn parse_v4(bytes: &'a mut [u8]) -> Result<Self, Counter> {
        let header = Ipv4Packet::new_checked(&*bytes).map_err(|_| Counter::DropIpHeader)?;
        let header_len = usize::from(header.header_len());
        let total_len = usize::from(header.total_len());
        if header_len < IPV4_HEADER_LEN || total_len < header_len {
            return Err(Counter::DropIpHeader);
        }
        if !header.verify_checksum() {
            return Err(Counter::DropChecksum);
        }
        if header.more_frags() || header.frag_offset() != 0 {
            return Err(Counter::DropFragment);
        }
        let (source, destination) = (header.src_addr(), header.dst_addr());
        let (ttl, protocol) = (header.hop_limit(), header.next_header());
        let fragmenting =
            if header.dont_frag() { Fragmenting::Forbidden } else { Fragmenting::Allowed };
        let (transport, transport_len) = read_transport(
            protocol,
            &bytes[header_len..total_len],
            &IpAddress::Ipv4(source),
            &IpAddress::Ipv4(destination),
        )?;
        Ok(Self {
            bytes: &mut bytes[..total_len],
            header_len,
            transport_end: header_len + transport_len,
            source: source.into(),
            destination: destination.into(),
            ttl,
            fragmenting,
            transport,
        })
    }

    fn parse_v6(bytes: &'a mut [u8]) -> Result<Self, Counter> {
        let header = Ipv6Packet::new_checked(&*bytes).map_err(|_| Counter::DropIpHeader)?;
        let (source, destination) = (header.src_addr(), header.dst_addr());
        let ttl = header.hop_limit();
        let mut end = IPV6_HEADER_LEN + usize::from(header.payload_len());
        let (protocol, start) = ip_protocol_start(&bytes[..end], header.next_header())?;
        if protocol == IpProtocol::Ipv6Frag {
            return Err(Counter::DropFragment);
        }
        if start > IPV6_HEADER_LEN {
            bytes.copy_within(start..end, IPV6_HEADER_LEN);
            end -= start - IPV6_HEADER_LEN;
            let mut header = Ipv6Packet::new_unchecked(&mut *bytes);
            header.set_next_header(protocol);
            // Shorter than what was read from this very field.
            header.set_payload_len((end - IPV6_HEADER_LEN) as u16);
        }
        if source.to_ipv4_mapped().is_some() || destination.to_ipv4_mapped().is_some() {
            // RFC 4291, section 2.5.5.2: a notation of programs, not an address of packets.
            return Err(Counter::DropIpHeader);
        }
        let (transport, transport_len) = read_transport(
            protocol,
            &bytes[IPV6_HEADER_LEN..end],
            &IpAddress::Ipv6(source),
            &IpAddress::Ipv6(destination),
        )?;
        Ok(Self {
            bytes: &mut bytes[..end],
            header_len: IPV6_HEADER_LEN,
            transport_end: IPV6_HEADER_LEN + transport_len,
            source: source.into(),
            destination: destination.into(),
            ttl,
            fragmenting: Fragmenting::Forbidden,
            transport,
        })
    }

    /// The same packet, which came in fragments and may go on in fragments.
    pub(crate) fn reassembled(self) -> Self {
        Self { fragmenting: Fragmenting::Allowed, ..self }
    }

    /// How the packet goes on from here, one hop later.
    pub(crate) fn onward(&self) -> Travel {
        let hop_limit = self.ttl.saturating_sub(1).max(1);
        let traffic_class = self.traffic_class();
        Travel { hop_limit, fragmenting: self.fragmenting, traffic_class }
    }

    /// How it asks to be treated.
    pub(crate) fn traffic_class(&self) -> TrafficClass {
        TrafficClass(match self.source {
            IpAddr::V4(_) => self.bytes[1],
            IpAddr::V6(_) => Ipv6Packet::new_unchecked(&*self.bytes).traffic_class(),
        })
    }

    /// What its IP header says.
    pub(crate) const fn header(&self) -> Header {
        let Self { header_len, source, destination, ttl, fragmenting, transport, .. } = *self;
        Header { len: header_len, source, destination, ttl, fragmenting, transport }
    }

    /// The whole packet.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// The transport header and what it says that follows it.
    pub(crate) fn transport_bytes(&self) -> &[u8] {
        &self.bytes[self.header_len..self.transport_end]
    }

    /// See [`transport_bytes`](Self::transport_bytes).
    pub(crate) fn transport_bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.header_len..self.transport_end]
    }

    /// A copy of a TCP segment without what it carries.
    pub(crate) fn head_of_segment(&self) -> Box<[u8]> {
        let segment_header = TcpPacket::new_unchecked(self.transport_bytes()).header_len();
        let mut head: Box<[u8]> =
            self.bytes[..self.header_len + usize::from(segment_header)].into();
        let mut packet = self.header().packet(&mut head);
        let (source, destination) = (packet.source.into(), packet.destination.into());
        TcpPacket::new_unchecked(packet.transport_bytes_mut()).fill_checksum(&source, &destination);
        if packet.source.is_ipv4() {
            Ipv4Packet::new_unchecked(packet.bytes).fill_checksum();
        }
        head
    }

    /// Counts one hop (RFC 1812, section 5.3.1), as a router does.
    pub(crate) fn decrement_ttl(&mut self) {
        self.ttl = self.ttl.saturating_sub(1);
        if self.source.is_ipv4() {
            let mut header = Ipv4Packet::new_unchecked(&mut *self.bytes);
            header.set_hop_limit(self.ttl);
            header.fill_checksum();
        } else {
            Ipv6Packet::new_unchecked(&mut *self.bytes).set_hop_limit(self.ttl);
        }
    }
}

/// The upper-layer protocol, or the fragment header, and where it starts (RFC 8200, section 4).
pub(crate) fn ip_protocol_start(
    bytes: &[u8],
    first: IpProtocol,
) -> Result<(IpProtocol, usize), Counter> {
    let (mut protocol, mut at) = (first, IPV6_HEADER_LEN);
    for _ in 0..=EXTENSION_HEADERS_MAX {
        match protocol {
            IpProtocol::HopByHop | IpProtocol::Ipv6Route | IpProtocol::Ipv6Opts => {
                let [next, length] = bytes
                    .get(at..at + 2)
                    .and_then(|head| <[u8; 2]>::try_from(head).ok())
                    .ok_or(Counter::DropIpHeader)?;
                // RFC 8200, section 4.4: a routing header with segments left is not for us.
                let segments_left = bytes.get(at + 3).copied().unwrap_or(0);
                if protocol == IpProtocol::Ipv6Route && segments_left != 0 {
                    return Err(Counter::DropIpHeader);
                }
                at += (usize::from(length) + 1) * 8;
                if at > bytes.len() {
                    return Err(Counter::DropIpHeader);
                }
                protocol = IpProtocol::from(next);
            }
            _ => return Ok((protocol, at)),
        }
    }
    Err(Counter::DropIpHeader)
}

/// What the transport header says, and where what it is about ends.
fn read_transport(
    protocol: IpProtocol,
    payload: &[u8],
    source: &IpAddress,
    destination: &IpAddress,
) -> Result<(Transport, usize), Counter> {
    match protocol {
        IpProtocol::Tcp => {
            let segment =
                TcpPacket::new_checked(payload).map_err(|_| Counter::DropTransportHeader)?;
            if !segment.verify_checksum(source, destination) {
                return Err(Counter::DropChecksum);
            }
            let (source_port, destination_port) = (segment.src_port(), segment.dst_port());
            Ok((Transport::Tcp { source_port, destination_port }, payload.len()))
        }
        IpProtocol::Udp => {
            let datagram =
                UdpPacket::new_checked(payload).map_err(|_| Counter::DropTransportHeader)?;
            let (source_port, destination_port) = (datagram.src_port(), datagram.dst_port());
            let ipv6 = matches!(source, IpAddress::Ipv6(_));
            // RFC 8200, section 8.1: over IPv6 the checksum is not optional.
            if (ipv6 && datagram.checksum() == 0) || !datagram.verify_checksum(source, destination)
            {
                return Err(Counter::DropChecksum);
            }
            // What follows is no part of the datagram (RFC 9868 gives it to options).
            Ok((Transport::Udp { source_port, destination_port }, datagram.len().into()))
        }
        IpProtocol::Icmp if matches!(source, IpAddress::Ipv4(_)) => {
            if payload.len() < 8 {
                return Err(Counter::DropTransportHeader);
            }
            if checksum::data(payload) != !0 {
                return Err(Counter::DropChecksum);
            }
            Ok((Transport::Icmp, payload.len()))
        }
        IpProtocol::Icmpv6 if matches!(source, IpAddress::Ipv6(_)) => {
            if payload.len() < 8 {
                return Err(Counter::DropTransportHeader);
            }
            if icmpv6_checksum(source, destination, payload) != !0 {
                return Err(Counter::DropChecksum);
            }
            Ok((Transport::Icmp, payload.len()))
        }
        // RFC 8200, section 4.7: nothing follows, and nobody is asked for anything.
        IpProtocol::Ipv6NoNxt => Err(Counter::DropProtocol),
        _ => Ok((Transport::Other, payload.len())),
    }
}

/// The one's complement sum over an ICMPv6 message and its pseudo header (RFC 4443, section 2.3).
fn icmpv6_checksum(source: &IpAddress, destination: &IpAddress, message: &[u8]) -> u16 {
    checksum::combine(&[
        checksum::pseudo_header(source, destination, IpProtocol::Icmpv6, message.len() as u32),
        checksum::data(message),
    ])
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn datagram(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; 2048];
        let len = write_udp(&mut buffer, socket(source), socket(destination), payload).unwrap();
        buffer.truncate(len);
        buffer
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (source, destination) in
            [("10.0.0.2:1000", "1.2.3.4:53"), ("[fd00::2]:9", "[fd00::3]:10")]
        {
            let mut bytes = datagram(source, destination, b"hello");
            let packet = Packet::parse(&mut bytes).unwrap();
            assert_eq!(packet.source, socket(source).ip());
            assert_eq!(packet.destination, socket(destination).ip());
            assert_eq!(
                packet.transport,
                Transport::Udp {
                    source_port: socket(source).port(),
                    destination_port: socket(destination).port()
                }
            );
            assert_eq!(&packet.transport_bytes()[UDP_HEADER_LEN..], b"hello");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        for (source, destination) in
            [("10.0.0.2:1000", "1.2.3.4:53"), ("[fd00::2]:9", "[fd00::3]:10")]
        {
            let good = datagram(source, destination, b"hello");
            // Traffic class, flow label and hop limit of IPv6 are covered by no checksum.
            let covered = if socket(source).is_ipv4() { 0 } else { 8 };
            for bit in covered * 8..good.len() * 8 {
                let mut bytes = good.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(Packet::parse(&mut bytes).is_err(), "{source}: bit {bit}");
            }
        }
    }

    #[test]
    fn every_truncation_is_an_error_and_no_panic() {
        for (source, destination) in
            [("10.0.0.2:1000", "1.2.3.4:53"), ("[fd00::2]:9", "[fd00::3]:10")]
        {
            let good = datagram(source, destination, b"hello");
            for len in 0..good.len() {
                assert!(Packet::parse(&mut good[..len].to_vec()).is_err());
            }
        }
    }

    fn with_extension_headers(count: usize, kind: u8) -> Vec<u8> {
        let plain = datagram("[fd00::2]:9", "[fd00::3]:10", b"hello");
        let mut bytes = plain[..IPV6_HEADER_LEN].to_vec();
        bytes[6] = kind;
        for index in 0..count {
            let next = if index + 1 == count { 17 } else { kind };
            bytes.extend([next, 0, 1, 4, 0, 0, 0, 0]);
        }
        bytes.extend(&plain[IPV6_HEADER_LEN..]);
        let payload_len = (bytes.len() - IPV6_HEADER_LEN) as u16;
        bytes[4..6].copy_from_slice(&payload_len.to_be_bytes());
        bytes
    }

    #[test]
    fn extension_headers_are_taken_out_up_to_a_bound() {
        let plain = datagram("[fd00::2]:9", "[fd00::3]:10", b"hello");
        for count in 1..=EXTENSION_HEADERS_MAX {
            let mut bytes = with_extension_headers(count, 60);
            assert_eq!(Packet::parse(&mut bytes).unwrap().bytes(), plain);
        }
        let mut bytes = with_extension_headers(EXTENSION_HEADERS_MAX + 1, 60);
        assert_eq!(Packet::parse(&mut bytes).unwrap_err(), Counter::DropIpHeader);
    }

    #[test]
    fn a_routing_header_with_segments_left_is_refused() {
        let mut bytes = with_extension_headers(1, 43);
        assert_eq!(Packet::parse(&mut bytes).unwrap_err(), Counter::DropIpHeader);
        let mut bytes = with_extension_headers(1, 43);
        bytes[IPV6_HEADER_LEN + 3] = 0;
        assert!(Packet::parse(&mut bytes).is_ok());
    }

    #[test]
    fn a_hop_is_counted_and_the_checksum_follows() {
        for (source, destination) in
            [("10.0.0.2:1000", "1.2.3.4:53"), ("[fd00::2]:9", "[fd00::3]:10")]
        {
            let mut bytes = datagram(source, destination, b"x");
            Packet::parse(&mut bytes).unwrap().decrement_ttl();
            assert_eq!(Packet::parse(&mut bytes).unwrap().ttl, TTL - 1);
        }
    }
}
