//! IP packets that start here.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use smoltcp::phy::ChecksumCapabilities;
#[cfg(test)]
use smoltcp::wire::TcpRepr;
use smoltcp::wire::{
    IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, TcpControl, TcpPacket, TcpSeqNumber,
    UdpPacket, UdpRepr, checksum,
};

use crate::datagram::TrafficClass;
use crate::stack::packet::{
    IPV4_HEADER_LEN, IPV6_HEADER_LEN, TCP_HEADER_LEN, TTL, UDP_HEADER_LEN, icmpv6_checksum,
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

/// The header of a TCP segment that starts here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentHeader<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) sequence: TcpSeqNumber,
    pub(crate) acknowledgement: Option<TcpSeqNumber>,
    pub(crate) window: u16,
    pub(crate) control: TcpControl,
    /// A multiple of four bytes, at most 40.
    pub(crate) options: &'a [u8],
}

/// Writes a TCP segment, whose payload of `payload_len` bytes `fill` puts in its place, and returns
/// the length of the packet. `None` if it does not fit, as for [`write_udp`].
pub(crate) fn write_segment(
    buffer: &mut [u8],
    header: &SegmentHeader<'_>,
    payload_len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Option<usize> {
    let (source, destination) = (header.source.ip(), header.destination.ip());
    let header_len = TCP_HEADER_LEN + header.options.len();
    let len = header_len + payload_len;
    let layout = write_ip(buffer, source, destination, IpProtocol::Tcp, len)?;
    let bytes = &mut buffer[layout.transport];
    bytes[TCP_HEADER_LEN..header_len].copy_from_slice(header.options);
    fill(&mut bytes[header_len..]);
    let mut segment = TcpPacket::new_unchecked(bytes);
    segment.set_src_port(header.source.port());
    segment.set_dst_port(header.destination.port());
    segment.set_seq_number(header.sequence);
    segment.set_ack_number(header.acknowledgement.unwrap_or_default());
    segment.set_window_len(header.window);
    // At most 60.
    segment.set_header_len(header_len as u8);
    segment.clear_flags();
    match header.control {
        TcpControl::None => {}
        TcpControl::Psh => segment.set_psh(true),
        TcpControl::Syn => segment.set_syn(true),
        TcpControl::Fin => segment.set_fin(true),
        TcpControl::Rst => segment.set_rst(true),
    }
    segment.set_ack(header.acknowledgement.is_some());
    segment.set_urgent_at(0);
    segment.fill_checksum(&source.into(), &destination.into());
    Some(layout.total_len)
}

/// Writes a TCP segment and returns the length of the packet.
#[cfg(test)]
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
