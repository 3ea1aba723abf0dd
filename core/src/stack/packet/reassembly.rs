//! Fragments of peers, put together.
//!
//! Reassembly is bounded in packets, bytes and time, for each peer and for all; at a bound the peer
//! that holds most loses the packet that it began first. Fragments that
//! overlap end the whole packet (RFC 5722, applied to IPv4 as well); an exact repetition does not
//! (RFC 8200, section 4.5).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet};

use crate::id::PeerId;
use crate::limits::{
    FRAGMENT_PIECES_MAX, FRAGMENT_TIMEOUT, FRAGMENTED_LEN_MAX, FRAGMENTED_LEN_PEER_MAX,
    FRAGMENTED_MAX, FRAGMENTED_PEER_MAX,
};
use crate::stack::keyed_hash::KeyedState;
use crate::stack::limit::shares::Ranking;
use crate::stack::packet::fragmentation::FRAGMENT_HEADER_LEN;
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
    packets: Ranking,
    bytes: Ranking,
    /// Bytes of all packets.
    len_max: usize,
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
    /// A table that takes up to an eighth of `memory` bytes.
    pub(crate) fn new(hash_key: (u64, u64), memory: usize) -> Self {
        Self {
            partials: HashMap::with_hasher(KeyedState::new(hash_key)),
            order: VecDeque::new(),
            packets: Ranking::default(),
            bytes: Ranking::default(),
            len_max: FRAGMENTED_LEN_MAX.min(memory / 8),
        }
    }

    /// Bytes that all packets together may have.
    pub(crate) const fn len_max(&self) -> usize {
        self.len_max
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
        self.make_room(&fragment);
        let partial = self.partials.entry(key).or_insert_with(|| {
            self.order.push_back((now + FRAGMENT_TIMEOUT, key));
            self.packets.add(key.peer, 1);
            Partial::default()
        });
        let before = partial.len();
        let added = partial.add(&fragment);
        self.bytes.add(key.peer, partial.len() - before);
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

    /// Makes room for a fragment. The packet that it is of stays.
    fn make_room(&mut self, fragment: &Fragment<'_>) {
        let (key, peer) = (fragment.key, fragment.key.peer);
        let (known, held) = self.partials.get(&key).map_or((0, 0), |p| (1, p.payload.len()));
        let end = fragment.offset + fragment.payload.len();
        let more = end.saturating_sub(held) + size_of::<(usize, usize)>();
        let len_peer_max = FRAGMENTED_LEN_PEER_MAX.min(self.len_max / 2);
        loop {
            let giver = if self.packets.of(peer) - known >= FRAGMENTED_PEER_MAX
                || self.bytes.of(peer) + more > len_peer_max
            {
                Some(peer)
            } else if self.packets.total() - known >= FRAGMENTED_MAX {
                self.packets.most().map(|(peer, _)| peer)
            } else if self.bytes.total() + more > self.len_max {
                self.bytes.most().map(|(peer, _)| peer)
            } else {
                return;
            };
            let others = self.order.iter().map(|(_, other)| other);
            let victim = others.copied().find(|other| Some(other.peer) == giver && *other != key);
            // What is left is this packet.
            let Some(victim) = victim else { return };
            self.forget(&victim);
        }
    }

    fn forget(&mut self, key: &Key) -> Option<Partial> {
        self.order.retain(|(_, other)| other != key);
        let partial = self.partials.remove(key)?;
        self.packets.take(key.peer, 1);
        self.bytes.take(key.peer, partial.len());
        if self.partials.is_empty() {
            self.partials.shrink_to_fit();
            self.order.shrink_to_fit();
        }
        Some(partial)
    }
}

impl Partial {
    /// Bytes that it takes.
    const fn len(&self) -> usize {
        self.header.len() + self.payload.len() + self.pieces.len() * size_of::<(usize, usize)>()
    }

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
mod tests;
