//! What a peer hears from, and speaks into.

use rand_chacha::ChaCha20Rng;

use crate::egress::{Egress, Reservation};
use crate::stats::{Counter, Stats};
use crate::time::Instant;

/// What a peer needs to hear and to say something.
pub(super) struct Wire<'a> {
    /// Where packets are decrypted to.
    pub(super) plaintext: &'a mut [u8],
    /// Where boringtun writes its messages.
    pub(super) scratch: &'a mut [u8],
    pub(super) egress: &'a mut Egress,
    pub(super) stats: &'a mut Stats,
    pub(super) rng: &'a mut ChaCha20Rng,
    /// Bytes of packets to the peer that may wait for its handshake.
    pub(super) queue_max: usize,
    pub(super) now: Instant,
}

/// Copies a datagram to where it leaves, if there is room.
pub(super) fn deliver(datagram: &[u8], room: Option<Reservation<'_>>, stats: &mut Stats) {
    let Some(mut reservation) = room else {
        stats.count(Counter::DropEgressFull);
        return;
    };
    reservation.buffer().copy_from_slice(datagram);
    reservation.commit(datagram.len());
    stats.count(Counter::DatagramsOut);
    stats.add(Counter::BytesOut, datagram.len() as u64);
}
