//! IP packets that start here.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, TcpPacket, TcpRepr, UdpPacket, UdpRepr,
    checksum,
};

use crate::datagram::TrafficClass;
use crate::stack::packet::{
    IPV4_HEADER_LEN, IPV6_HEADER_LEN, TTL, UDP_HEADER_LEN, icmpv6_checksum,
};

/// Where a packet's parts are, once its IP header is written.
struct Layout {
    transport: Range<usize>,
    total_len: usize,
}

/// Writes the IP header of a packet with `payload_len` bytes behind it. `None` if it does not fit
/// into `buffer`, or if the addresses are of two IP versions.
fn write_ip(
    buffer: &mut [u8],
    source: IpAddr,
    destination: IpAddr,
    protocol: IpProtocol,
    payload_len: usize,
) -> Option<Layout> {
    let header_len = match (source, destination) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
            let total_len = IPV4_HEADER_LEN + payload_len;
            if total_len > buffer.len() || total_len > usize::from(u16::MAX) {
                return None;
            }
            let repr =
                Ipv4Repr { src_addr, dst_addr, next_header: protocol, payload_len, hop_limit: TTL };
            let checksums = ChecksumCapabilities::default();
            repr.emit(&mut Ipv4Packet::new_unchecked(&mut buffer[..total_len]), &checksums);
            IPV4_HEADER_LEN
        }
        (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => {
            let total_len = IPV6_HEADER_LEN + payload_len;
            if total_len > buffer.len() || payload_len > usize::from(u16::MAX) {
                return None;
            }
            let repr =
                Ipv6Repr { src_addr, dst_addr, next_header: protocol, payload_len, hop_limit: TTL };
            repr.emit(&mut Ipv6Packet::new_unchecked(&mut buffer[..total_len]));
            IPV6_HEADER_LEN
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    let total_len = header_len + payload_len;
    Some(Layout { transport: header_len..total_len, total_len })
}

/// Writes a TCP segment and returns the length of the packet.
pub(crate) fn write_tcp(
    buffer: &mut [u8],
    source: IpAddr,
    destination: IpAddr,
    segment: &TcpRepr<'_>,
) -> Option<usize> {
    let layout = write_ip(buffer, source, destination, IpProtocol::Tcp, segment.buffer_len())?;
    segment.emit(
        &mut TcpPacket::new_unchecked(&mut buffer[layout.transport]),
        &source.into(),
        &destination.into(),
        &ChecksumCapabilities::default(),
    );
    Some(layout.total_len)
}

/// Writes a UDP datagram and returns the length of the packet.
pub(crate) fn write_udp(
    buffer: &mut [u8],
    source: SocketAddr,
    destination: SocketAddr,
    payload: &[u8],
) -> Option<usize> {
    let length = UDP_HEADER_LEN + payload.len();
    let layout = write_ip(buffer, source.ip(), destination.ip(), IpProtocol::Udp, length)?;
    UdpRepr { src_port: source.port(), dst_port: destination.port() }.emit(
        &mut UdpPacket::new_unchecked(&mut buffer[layout.transport]),
        &source.ip().into(),
        &destination.ip().into(),
        payload.len(),
        |target| target.copy_from_slice(payload),
        &ChecksumCapabilities::default(),
    );
    Some(layout.total_len)
}

/// Gives a packet that starts here a traffic class.
pub(crate) fn mark(packet: &mut [u8], TrafficClass(class): TrafficClass) {
    match packet.first().map(|byte| byte >> 4) {
        // Which is what packets start with.
        _ if class == 0 => {}
        Some(4) => {
            packet[1] = class;
            Ipv4Packet::new_unchecked(packet).fill_checksum();
        }
        Some(6) => Ipv6Packet::new_unchecked(packet).set_traffic_class(class),
        _ => {}
    }
}

/// Writes an ICMP message, whose checksum it fills in, and returns the length of the packet. The
/// message is `head` (at least the 4 bytes up to the checksum) and then `body`.
pub(crate) fn write_icmp(
    buffer: &mut [u8],
    source: IpAddr,
    destination: IpAddr,
    head: &[u8; 8],
    body: &[u8],
) -> Option<usize> {
    let protocol = match source {
        IpAddr::V4(_) => IpProtocol::Icmp,
        IpAddr::V6(_) => IpProtocol::Icmpv6,
    };
    let layout = write_ip(buffer, source, destination, protocol, head.len() + body.len())?;
    let message = &mut buffer[layout.transport];
    message[..8].copy_from_slice(head);
    message[8..].copy_from_slice(body);
    message[2..4].fill(0);
    let sum = match source {
        IpAddr::V4(_) => checksum::data(message),
        IpAddr::V6(_) => icmpv6_checksum(&source.into(), &destination.into(), message),
    };
    message[2..4].copy_from_slice(&(!sum).to_be_bytes());
    Some(layout.total_len)
}
