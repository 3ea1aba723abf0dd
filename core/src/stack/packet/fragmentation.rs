//! Packets for peers, cut into fragments (RFC 791, section 3.2; RFC 8200, section 4.5). The tests
//! are those of [`reassembly`](super::reassembly), which puts them together again.

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet};

use crate::stack::packet::IPV6_HEADER_LEN;

/// Bytes of IPv6's fragment header.
pub(crate) const FRAGMENT_HEADER_LEN: usize = 8;

/// Cuts a packet into fragments of at most `mtu` bytes, each written into `piece`, and hands each
/// to `emit` with its length. What is no packet is not sent.
pub(crate) fn cut(
    packet: &[u8],
    mtu: usize,
    identification: u32,
    piece: &mut [u8],
    mut emit: impl FnMut(&mut [u8], usize),
) {
    let (header_len, fragment_header_len) = match packet.first().map(|byte| byte >> 4) {
        Some(4) => (usize::from(packet[0] & 0xf) * 4, 0),
        Some(6) => (IPV6_HEADER_LEN, FRAGMENT_HEADER_LEN),
        _ => return,
    };
    let front_len = header_len + fragment_header_len;
    if packet.len() < header_len || mtu < front_len + 8 || piece.len() < mtu {
        return;
    }
    let (header, payload) = packet.split_at(header_len);
    let step = (mtu - front_len) & !7;
    for (index, chunk) in payload.chunks(step).enumerate() {
        let offset = index * step;
        let is_last = offset + chunk.len() == payload.len();
        let len = front_len + chunk.len();
        piece[..header_len].copy_from_slice(header);
        piece[front_len..len].copy_from_slice(chunk);
        if fragment_header_len == 0 {
            let mut header = Ipv4Packet::new_unchecked(&mut *piece);
            header.set_dont_frag(false);
            header.set_ident(identification as u16);
            header.set_more_frags(!is_last);
            header.set_frag_offset(offset as u16);
            header.set_total_len(len as u16);
            header.fill_checksum();
        } else {
            let mut header = Ipv6Packet::new_unchecked(&mut *piece);
            let protocol = header.next_header();
            header.set_next_header(IpProtocol::Ipv6Frag);
            header.set_payload_len((len - header_len) as u16);
            let offset_and_flag = (offset as u16) | u16::from(!is_last);
            let fragment_header = &mut piece[header_len..front_len];
            fragment_header[..2].copy_from_slice(&[protocol.into(), 0]);
            fragment_header[2..4].copy_from_slice(&offset_and_flag.to_be_bytes());
            fragment_header[4..].copy_from_slice(&identification.to_be_bytes());
        }
        emit(piece, len);
    }
}
