//! Fragments of peers, put together.
//!
//! Reassembly is bounded in packets, bytes and time, for each peer and for all. Fragments that
//! overlap end the whole packet (RFC 5722, applied to IPv4 as well); an exact repetition does not
//! (RFC 8200, section 4.5).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet};

use crate::action::PeerId;
use crate::limits::{
    FRAGMENT_PIECES_MAX, FRAGMENT_TIMEOUT, FRAGMENTED_LEN_MAX, FRAGMENTED_LEN_PEER_MAX,
    FRAGMENTED_MAX, FRAGMENTED_PEER_MAX,
};
use crate::stack::flow::KeyedState;
use crate::stack::fragmentation::FRAGMENT_HEADER_LEN;
use crate::stack::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, ip_protocol_start};
use crate::stats::Counter;
use crate::time::Instant;

/// What packet a fragment is a piece of (RFC 791, section 3.2; RFC 8200, section 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    peer: PeerId,
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    protocol: u8,
}

/// One fragment.
#[derive(Debug)]
struct Fragment<'a> {
    key: Key,
    offset: usize,
    is_last: bool,
    /// Bytes of the whole packet that it is.
    len: usize,
    header: &'a [u8],
    payload: &'a [u8],
}

/// A packet of which not everything has come.
#[derive(Debug, Default)]
struct Partial {
    /// The IP header of the first fragment, without IPv6's extension headers.
    header: Vec<u8>,
    payload: Vec<u8>,
    /// What of the payload is there, in order, not overlapping.
    pieces: Vec<(usize, usize)>,
    payload_len: Option<usize>,
    /// Bytes of the largest fragment.
    piece_len: usize,
}

/// A fragment contradicts others of its packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Contradiction;

/// Every packet of which not everything has come.
#[derive(Debug)]
pub(crate) struct Fragments {
    partials: HashMap<Key, Partial, KeyedState>,
    /// When they came first, oldest first.
    order: VecDeque<(Instant, Key)>,
    len: usize,
}

/// What became of a packet.
#[derive(Debug)]
pub(crate) enum Intake {
    /// It is no fragment.
    Whole,
    /// It was the last piece of this packet, whose largest piece had `piece_len` bytes.
    Complete { packet: Vec<u8>, piece_len: usize },
    /// Others are missing.
    Held,
    /// It can't be used.
    Dropped(Counter),
}

impl Fragments {
    pub(crate) fn new(hash_key: (u64, u64)) -> Self {
        let partials = HashMap::with_hasher(KeyedState::new(hash_key));
        Self { partials, order: VecDeque::new(), len: 0 }
    }

    /// Looks at a packet of a peer, and keeps it if it is a fragment.
    pub(crate) fn take_in(&mut self, peer: PeerId, packet: &[u8], now: Instant) -> Intake {
        let fragment = match read(peer, packet) {
            Ok(Some(fragment)) => fragment,
            Ok(None) => return Intake::Whole,
            Err(reason) => return Intake::Dropped(reason),
        };
        self.handle_timeout(now);
        let key = fragment.key;
        if fragment.offset == 0 && fragment.is_last {
            // An atomic fragment has nothing to do with others (RFC 6946).
            let mut whole = Partial::default();
            return match whole.add(&fragment) {
                Ok(()) => whole.assemble(key.protocol),
                Err(Contradiction) => Intake::Dropped(Counter::DropFragment),
            };
        }
        let end = fragment.offset + fragment.payload.len();
        let held = self.partials.get(&key).map_or(0, |partial| partial.payload.len());
        self.make_room(&key, end.saturating_sub(held));
        let partial = self.partials.entry(key).or_insert_with(|| {
            self.order.push_back((now + FRAGMENT_TIMEOUT, key));
            Partial::default()
        });
        let before = partial.payload.len();
        let added = partial.add(&fragment);
        self.len += partial.payload.len() - before;
        match added {
            Err(Contradiction) => {
                self.forget(&key);
                Intake::Dropped(Counter::DropFragment)
            }
            Ok(()) if partial.is_complete() => match self.forget(&key) {
                Some(partial) => partial.assemble(key.protocol),
                None => Intake::Dropped(Counter::DropFragment),
            },
            Ok(()) => Intake::Held,
        }
    }

    /// Forgets packets that were not completed in time.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, key)) = self.order.front().copied().filter(|(at, _)| *at <= now) {
            self.forget(&key);
        }
    }

    /// Forgets what a peer has sent.
    pub(crate) fn forget_peer(&mut self, peer: PeerId) {
        let of_peer = self.order.iter().map(|(_, key)| *key).filter(|key| key.peer == peer);
        for key in of_peer.collect::<Vec<_>>() {
            self.forget(&key);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.order.front().map(|(at, _)| *at)
    }

    /// Makes room for `more` bytes of a packet: the peer's own oldest go first, then everybody's.
    fn make_room(&mut self, key: &Key, more: usize) {
        loop {
            let others = || self.order.iter().map(|(_, other)| other).filter(|other| *other != key);
            let own = || others().filter(|other| other.peer == key.peer);
            let len = |other: &Key| self.partials.get(other).map_or(0, |p| p.payload.len());
            let held = len(key) + more;
            let own_len = own().map(len).sum::<usize>() + held;
            let peer_is_full =
                own().count() >= FRAGMENTED_PEER_MAX || own_len > FRAGMENTED_LEN_PEER_MAX;
            let all_are_full =
                others().count() >= FRAGMENTED_MAX || self.len + more > FRAGMENTED_LEN_MAX;
            let victim = if peer_is_full {
                own().next()
            } else if all_are_full {
                others().next()
            } else {
                None
            };
            let Some(victim) = victim.copied() else { return };
            self.forget(&victim);
        }
    }

    fn forget(&mut self, key: &Key) -> Option<Partial> {
        self.order.retain(|(_, other)| other != key);
        let partial = self.partials.remove(key)?;
        self.len -= partial.payload.len();
        if self.partials.is_empty() {
            self.partials.shrink_to_fit();
            self.order.shrink_to_fit();
        }
        Some(partial)
    }
}

impl Partial {
    fn add(&mut self, fragment: &Fragment<'_>) -> Result<(), Contradiction> {
        let (start, end) = (fragment.offset, fragment.offset + fragment.payload.len());
        let at = self.pieces.partition_point(|(other, _)| *other < start);
        if self.pieces.get(at) == Some(&(start, end)) {
            return Ok(());
        }
        let overlaps = at.checked_sub(1).is_some_and(|before| self.pieces[before].1 > start)
            || self.pieces.get(at).is_some_and(|(next, _)| *next < end);
        let known_end = self.pieces.last().map_or(0, |(_, end)| *end);
        let misplaced = match self.payload_len {
            Some(payload_len) => fragment.is_last || end > payload_len,
            None => fragment.is_last && end < known_end,
        };
        // A piece in the middle ends where the next can begin.
        let uneven = !fragment.is_last && (end % 8 != 0 || fragment.payload.is_empty());
        let too_many = self.pieces.len() >= FRAGMENT_PIECES_MAX;
        // IPv6's length leaves its header out.
        let header_len = if fragment.header[0] >> 4 == 4 { fragment.header.len() } else { 0 };
        let too_long = header_len + end > usize::from(u16::MAX);
        if overlaps || misplaced || uneven || too_many || too_long {
            return Err(Contradiction);
        }
        if start == 0 {
            self.header = fragment.header.to_vec();
        }
        if fragment.is_last {
            self.payload_len = Some(end);
        }
        if self.payload.len() < end {
            self.payload.reserve_exact(end - self.payload.len());
            self.payload.resize(end, 0);
        }
        self.payload[start..end].copy_from_slice(fragment.payload);
        self.pieces.insert(at, (start, end));
        self.piece_len = self.piece_len.max(fragment.len);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let mut end = 0;
        for (start, next) in &self.pieces {
            if *start != end {
                return false;
            }
            end = *next;
        }
        self.payload_len == Some(end) && !self.header.is_empty()
    }

    fn assemble(mut self, protocol: u8) -> Intake {
        let mut packet = self.header;
        packet.append(&mut self.payload);
        let len = packet.len();
        // Both lengths were held below 2^16 with every piece.
        if packet[0] >> 4 == 4 {
            let mut header = Ipv4Packet::new_unchecked(&mut packet);
            header.set_total_len(len as u16);
            header.set_more_frags(false);
            header.set_frag_offset(0);
            header.fill_checksum();
        } else {
            let mut header = Ipv6Packet::new_unchecked(&mut packet);
            header.set_next_header(protocol.into());
            header.set_payload_len((len - IPV6_HEADER_LEN) as u16);
        }
        Intake::Complete { packet, piece_len: self.piece_len }
    }
}

/// Reads a packet as a fragment; `None` if it is none.
fn read(peer: PeerId, packet: &[u8]) -> Result<Option<Fragment<'_>>, Counter> {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => read_v4(peer, packet),
        Some(6) => read_v6(peer, packet),
        _ => Err(Counter::DropIpHeader),
    }
}

fn read_v4(peer: PeerId, packet: &[u8]) -> Result<Option<Fragment<'_>>, Counter> {
    let header = Ipv4Packet::new_checked(packet).map_err(|_| Counter::DropIpHeader)?;
    if !header.more_frags() && header.frag_offset() == 0 {
        return Ok(None);
    }
    let header_len = usize::from(header.header_len());
    if header_len < IPV4_HEADER_LEN || !header.verify_checksum() {
        return Err(Counter::DropIpHeader);
    }
    Ok(Some(Fragment {
        key: Key {
            peer,
            source: header.src_addr().into(),
            destination: header.dst_addr().into(),
            identification: header.ident().into(),
            protocol: header.next_header().into(),
        },
        offset: header.frag_offset().into(),
        is_last: !header.more_frags(),
        len: header.total_len().into(),
        header: &packet[..header_len],
        payload: header.payload(),
    }))
}

fn read_v6(peer: PeerId, packet: &[u8]) -> Result<Option<Fragment<'_>>, Counter> {
    let header = Ipv6Packet::new_checked(packet).map_err(|_| Counter::DropIpHeader)?;
    let end = IPV6_HEADER_LEN + usize::from(header.payload_len());
    let (protocol, start) = ip_protocol_start(&packet[..end], header.next_header())?;
    if protocol != IpProtocol::Ipv6Frag {
        return Ok(None);
    }
    let payload_start = start + FRAGMENT_HEADER_LEN;
    let words = packet
        .get(start..payload_start)
        .filter(|_| payload_start <= end)
        .and_then(|bytes| <[u8; FRAGMENT_HEADER_LEN]>::try_from(bytes).ok())
        .ok_or(Counter::DropIpHeader)?;
    let [next, _, high, low, identification @ ..] = words;
    let offset_and_flag = u16::from_be_bytes([high, low]);
    Ok(Some(Fragment {
        key: Key {
            peer,
            source: header.src_addr().into(),
            destination: header.dst_addr().into(),
            identification: u32::from_be_bytes(identification),
            protocol: next,
        },
        offset: usize::from(offset_and_flag & !7),
        is_last: offset_and_flag & 1 == 0,
        len: end,
        header: &packet[..IPV6_HEADER_LEN],
        payload: &packet[payload_start..end],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::fragmentation::cut;
    use crate::stack::packet::{Packet, write_udp};

    const ALICE: PeerId = PeerId::first(0);
    const BOB: PeerId = PeerId::first(1);

    fn packet(v6: bool, payload_len: usize) -> Vec<u8> {
        let (source, destination) =
            if v6 { ("[fd00::2]:1", "[fd00::3]:2") } else { ("10.0.0.2:1", "10.0.0.3:2") };
        let payload: Vec<u8> = (0..payload_len).map(|n| (n / 7) as u8).collect();
        let mut buffer = vec![0; 1 << 17];
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let len = write_udp(&mut buffer, source, destination, &payload).unwrap();
        buffer.truncate(len);
        buffer
    }

    fn cut_up(packet: &[u8], mtu: usize, identification: u32) -> Vec<Vec<u8>> {
        let mut fragments = Vec::new();
        cut(packet, mtu, identification, &mut vec![0; mtu + 16], |piece, len| {
            assert!(len <= mtu);
            fragments.push(piece[..len].to_vec());
        });
        fragments
    }

    /// The TTL, identification and flags of a header that went through fragments.
    fn plain(mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes[0] >> 4 == 4 {
            let mut header = Ipv4Packet::new_unchecked(&mut bytes);
            header.set_ident(0);
            header.set_dont_frag(true);
            header.fill_checksum();
        }
        bytes
    }

    fn table() -> Fragments {
        Fragments::new((1, 2))
    }

    #[test]
    fn rfc4787_req_14_packets_of_every_size_survive_in_any_order() {
        for v6 in [false, true] {
            let largest = if v6 { 65_527 } else { 65_507 };
            for payload_len in [1_300, 1_500, 9_000, 65_000, largest] {
                let whole = packet(v6, payload_len);
                let mut fragments = cut_up(&whole, 1280, 7);
                for order in 0..3 {
                    match order {
                        0 => {}
                        1 => fragments.reverse(),
                        _ => {
                            let middle = fragments.len() / 2;
                            fragments.rotate_left(middle);
                        }
                    }
                    let mut table = table();
                    let mut complete = None;
                    for (index, fragment) in fragments.iter().enumerate() {
                        match table.take_in(ALICE, fragment, Instant::ZERO) {
                            Intake::Held => assert!(index + 1 < fragments.len()),
                            Intake::Complete { packet, piece_len } => {
                                assert_eq!(Some(piece_len), fragments.iter().map(Vec::len).max());
                                complete = Some((index, packet));
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                    let (index, mut bytes) = complete.unwrap();
                    assert_eq!(index + 1, fragments.len());
                    let parsed = Packet::parse(&mut bytes).map(|_| ());
                    assert_eq!(parsed, Ok(()), "{payload_len} bytes, order {order}");
                    assert_eq!(plain(bytes), plain(whole.clone()));
                    assert_eq!((table.len, table.order.len()), (0, 0));
                }
            }
        }
    }

    #[test]
    fn rfc4787_req_14_overlapping_fragments_end_the_packet_and_repetitions_do_not() {
        for v6 in [false, true] {
            let long = packet(v6, 3_000);
            let fragments = cut_up(&long, 1280, 7);
            let others = cut_up(&long, 1000, 7);
            let mut table = table();
            for _ in 0..3 {
                assert!(matches!(table.take_in(ALICE, &fragments[0], Instant::ZERO), Intake::Held));
            }
            let overlap = table.take_in(ALICE, &others[1], Instant::ZERO);
            assert!(matches!(overlap, Intake::Dropped(Counter::DropFragment)));
            assert_eq!((table.len, table.order.len()), (0, 0));
        }
    }

    #[test]
    fn fragments_of_two_peers_are_never_mixed() {
        let fragments = cut_up(&packet(false, 2_000), 1280, 7);
        let mut table = table();
        assert!(matches!(table.take_in(ALICE, &fragments[0], Instant::ZERO), Intake::Held));
        assert!(matches!(table.take_in(BOB, &fragments[1], Instant::ZERO), Intake::Held));
    }

    #[test]
    fn what_is_not_completed_in_time_is_forgotten() {
        let fragments = cut_up(&packet(true, 2_000), 1280, 7);
        let mut table = table();
        table.take_in(ALICE, &fragments[0], Instant::ZERO);
        let due = table.poll_timeout().unwrap();
        assert_eq!(due, Instant::ZERO + FRAGMENT_TIMEOUT);
        table.handle_timeout(due);
        assert_eq!((table.len, table.poll_timeout()), (0, None));
        assert!(matches!(table.take_in(ALICE, &fragments[1], due), Intake::Held));
    }

    #[test]
    fn rfc4787_req_14_a_thousand_fragments_without_an_end_are_bounded_and_others_do_not_feel_it() {
        let mut table = table();
        let mine = cut_up(&packet(false, 2_000), 1280, 7);
        assert!(matches!(table.take_in(BOB, &mine[0], Instant::ZERO), Intake::Held));
        for identification in 0..5_000 {
            for fragment in &cut_up(&packet(false, 60_000), 1280, identification)[1..4] {
                table.take_in(ALICE, fragment, Instant::ZERO);
            }
            assert!(table.order.len() <= FRAGMENTED_PEER_MAX + 1);
            assert!(table.len <= FRAGMENTED_LEN_PEER_MAX);
        }
        let last = table.take_in(BOB, &mine[1], Instant::ZERO);
        assert!(matches!(last, Intake::Complete { .. }), "{last:?}");
    }

    #[test]
    fn pieces_that_lie_are_dropped() {
        let fragments = cut_up(&packet(false, 3_000), 1280, 7);
        // An end before what is there already.
        let mut early_end = fragments[1].clone();
        let mut header = Ipv4Packet::new_unchecked(&mut early_end);
        header.set_more_frags(false);
        header.fill_checksum();
        let mut table = table();
        table.take_in(ALICE, &fragments[2], Instant::ZERO);
        let lie = table.take_in(ALICE, &early_end, Instant::ZERO);
        assert!(matches!(lie, Intake::Dropped(_)));
        // An offset at the end of the range.
        let mut far = fragments[1].clone();
        let mut header = Ipv4Packet::new_unchecked(&mut far);
        header.set_frag_offset(65_528);
        header.fill_checksum();
        assert!(matches!(table.take_in(ALICE, &far, Instant::ZERO), Intake::Dropped(_)));
        assert_eq!(table.len, 0);
        for len in 0..fragments[0].len() {
            let cut_off = table.take_in(ALICE, &fragments[0][..len], Instant::ZERO);
            assert!(matches!(cut_off, Intake::Dropped(_)), "{len}");
        }
    }
}
