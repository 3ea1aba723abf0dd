//! [`Tap`]: an ear on the plaintext packets of peers, for captures.

use std::fmt;

use crate::id::{Identity, PeerId};
use crate::time::Instant;

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From a peer: decrypted, and from an inner address of that peer.
    In,
    /// To a peer: before it is encrypted, which may still fail for want of a session.
    Out,
}

/// Hears every IP packet that comes out of a tunnel or goes into one
/// ([`Engine::set_tap`](crate::Engine::set_tap)). What it does with it is the embedder's business;
/// the engine waits for it.
pub trait Tap: fmt::Debug + Send {
    /// One packet of a peer, in the order of their coming and going.
    fn packet(
        &mut self,
        peer: PeerId,
        identity: &Identity,
        direction: Direction,
        packet: &[u8],
        now: Instant,
    );
}
