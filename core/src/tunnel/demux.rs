//! Tells datagrams apart, and finds the peer that one is for.
//!
//! Everything but an initiation names its receiver by an index. boringtun numbers the sessions of a
//! tunnel in the low 8 bits of it, and one more says which [`Side`] of a change they are on, so a
//! peer has one random number of 23 bits, which says nothing about how many peers there are. An
//! initiation names its sender by a static key, which only proves something once the peer's own
//! tunnel accepts it.

use std::collections::BTreeMap;

use boringtun::noise::{HandshakeInit, Packet, Tunn};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore as _;

use crate::id::PeerId;
use crate::key::{KEY_LEN, PublicKey};

/// The bits of a receiver index that number the sessions of one `Tunn`.
pub(super) const SESSION_BITS: u32 = 8;
/// Those that do not say which peer it is.
const PEER_SHIFT: u32 = SESSION_BITS + 1;
/// The bits of a peer's index.
const INDEX_MASK: u32 = u32::MAX >> PEER_SHIFT;

/// Which of the two `Tunn`s of a peer it is, before and after its preshared key changed; they take
/// turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    First,
    Second,
}

impl Side {
    /// That of a receiver index.
    pub(super) const fn of(receiver: u32) -> Self {
        if receiver >> SESSION_BITS & 1 == 0 { Self::First } else { Self::Second }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// What boringtun puts before the numbers of sessions, for the peer with an index.
    pub(super) const fn tunn_index(self, index: u32) -> u32 {
        index << 1 | self as u32
    }
}

/// A datagram in the shape of a WireGuard message; nothing in it is verified.
#[derive(Debug)]
pub(super) enum WireGuardMessage<'a> {
    /// The first message of a handshake.
    Initiation(HandshakeInit<'a>),
    /// The second message of a handshake.
    Response {
        /// The session that it is for.
        receiver: u32,
    },
    /// The answer to a handshake message for which the other end was too busy.
    CookieReply {
        /// The session that it is for.
        receiver: u32,
    },
    /// An encrypted packet, or a keepalive.
    Data {
        /// The session that it is for.
        receiver: u32,
        /// Its number in that session.
        counter: u64,
    },
}

impl<'a> WireGuardMessage<'a> {
    /// Reads the type, and checks the length that goes with it.
    pub(super) fn parse(datagram: &'a [u8]) -> Option<Self> {
        Some(match Tunn::parse_incoming_packet(datagram).ok()? {
            Packet::HandshakeInit(initiation) => Self::Initiation(initiation),
            Packet::HandshakeResponse(response) => {
                Self::Response { receiver: response.receiver_idx }
            }
            Packet::PacketCookieReply(reply) => Self::CookieReply { receiver: reply.receiver_idx },
            Packet::PacketData(data) => {
                let counter = datagram.get(8..16)?.try_into().ok()?;
                Self::Data { receiver: data.receiver_idx, counter: u64::from_le_bytes(counter) }
            }
        })
    }
}

/// Whether a message made by boringtun is an initiation.
pub(super) fn is_initiation(message: &[u8]) -> bool {
    message.first() == Some(&1)
}

/// The session that a handshake message made by boringtun opens at our end.
pub(super) fn sender_index(message: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(message.get(4..8)?.try_into().ok()?))
}

/// The session at our end that a response answers.
pub(super) fn receiver_index(response: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(response.get(8..12)?.try_into().ok()?))
}

/// The ways from a datagram to a peer. Trees, because their cost can't be raised from outside.
#[derive(Debug, Default)]
pub(super) struct Demux {
    by_index: BTreeMap<u32, PeerId>,
    /// The index of the peer with a key.
    indexes: BTreeMap<[u8; KEY_LEN], u32>,
}

impl Demux {
    /// Draws an index that no peer has.
    pub(super) fn unused_index(&self, rng: &mut ChaCha20Rng) -> u32 {
        // Memory ends far below 2^22 peers, so that each draw finds a free index at least every
        // other time.
        loop {
            let index = rng.next_u32() & INDEX_MASK;
            if !self.by_index.contains_key(&index) {
                return index;
            }
        }
    }

    /// Adds a peer, whose index is unused.
    pub(super) fn insert(&mut self, peer: PeerId, index: u32, key: &PublicKey) {
        self.by_index.insert(index, peer);
        self.indexes.insert(*key.as_bytes(), index);
    }

    /// Forgets the peer with a key.
    pub(super) fn remove(&mut self, key: &PublicKey) {
        if let Some(index) = self.indexes.remove(key.as_bytes()) {
            self.by_index.remove(&index);
        }
    }

    /// The peer that a receiver index belongs to.
    pub(super) fn by_receiver(&self, receiver: u32) -> Option<PeerId> {
        self.by_index.get(&(receiver >> PEER_SHIFT)).copied()
    }

    /// The peer with a static key.
    pub(super) fn by_key(&self, key: &[u8; KEY_LEN]) -> Option<PeerId> {
        self.indexes.get(key).and_then(|index| self.by_index.get(index)).copied()
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;
    use crate::key::PrivateKey;

    #[test]
    fn each_type_has_its_length() {
        for (kind, len) in [(1_u32, 148), (2, 92), (3, 64), (4, 32)] {
            let mut datagram = [0; 150];
            datagram[..4].copy_from_slice(&kind.to_le_bytes());
            assert!(WireGuardMessage::parse(&datagram[..len]).is_some());
            assert!(WireGuardMessage::parse(&datagram[..len - 1]).is_none());
            assert_eq!(WireGuardMessage::parse(&datagram[..len + 1]).is_some(), kind == 4);
            datagram[1] = 1;
            assert!(WireGuardMessage::parse(&datagram[..len]).is_none(), "reserved bytes are zero");
        }
        assert!(WireGuardMessage::parse(&[]).is_none());
    }

    #[test]
    fn indexes_are_unique_and_have_23_bits() {
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let mut demux = Demux::default();
        for peer in 0..5000 {
            let index = demux.unused_index(&mut rng);
            assert!(index < 1 << 23 && demux.by_receiver(index << 9).is_none());
            demux.by_index.insert(index, PeerId::first(peer));
            for side in [Side::First, Side::Second] {
                let last = side.tunn_index(index) << 8 | 0xff;
                assert_eq!(demux.by_receiver(last), Some(PeerId::first(peer)));
                assert_eq!(Side::of(last), side);
            }
        }
        assert_eq!(demux.by_index.len(), 5000);
    }

    #[test]
    fn a_peer_is_found_by_its_key() {
        let key = |byte| PrivateKey::from_entropy([byte; 32]).public_key();
        let mut demux = Demux::default();
        demux.insert(PeerId::first(4), 9, &key(3));
        assert_eq!(demux.by_key(key(3).as_bytes()), Some(PeerId::first(4)));
        assert_eq!(demux.by_key(key(5).as_bytes()), None);
        assert_eq!(demux.by_receiver(9 << 9), Some(PeerId::first(4)));
        demux.remove(&key(3));
        assert_eq!(demux.by_key(key(3).as_bytes()), None);
        assert_eq!(demux.by_receiver(9 << 9), None);
    }
}
