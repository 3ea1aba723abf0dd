//! What a peer hears from, and speaks into.

use rand_chacha::ChaCha20Rng;

use crate::egress::{Egress, Reservation};
use crate::monitor::PeerMonitor;
use crate::stats::Counter;
use crate::time::Instant;

/// What a peer needs to hear and to say something.
pub(super) struct PeerWire<'a> {
    /// Where packets are decrypted to.
    pub(super) plaintext: &'a mut [u8],
    /// Where boringtun writes its messages.
    pub(super) scratch: &'a mut [u8],
    pub(super) egress: &'a mut Egress,
    pub(super) monitor: PeerMonitor<'a>,
    pub(super) rng: &'a mut ChaCha20Rng,
    /// Bytes of packets to the peer that may wait for its handshake.
    pub(super) queue_max: usize,
    pub(super) now: Instant,
}

/// Copies a datagram to where it leaves, if there is room, and has it counted.
pub(super) fn deliver(
    datagram: &[u8],
    room: Option<Reservation<'_>>,
    mut add: impl FnMut(Counter, u64),
) {
    let Some(mut reservation) = room else { return add(Counter::DropEgressFull, 1) };
    reservation.buffer().copy_from_slice(datagram);
    reservation.commit(datagram.len());
    add(Counter::DatagramsOut, 1);
    add(Counter::BytesOut, datagram.len() as u64);
}
