//! boringtun's part of a peer: its handshakes and its sessions.
//!
//! boringtun takes a preshared key when a `Tunn` is made and never again. So another key makes
//! another `Tunn`, which has all handshakes from then on; the one before it keeps its sessions
//! until they end, as they do in the kernel, where the key is that of the next handshake. Both ends
//! have that long to change it. A bit of each receiver index tells which of the two it is of.

use std::net::IpAddr;
use std::sync::Arc;

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;

use super::written;
use crate::key::{PresharedKey, PublicKey};
use crate::time::Instant;
use crate::tunnel::demux::{SESSION_BITS, Side, is_initiation};
use crate::tunnel::supervisor::REJECT_AFTER_TIME;

/// Sessions that boringtun keeps of one peer: one that is new takes the place of the one with the
/// same index modulo this.
const SESSIONS_KEPT: u32 = 8;

const _: () = assert!(SESSIONS_KEPT <= 1 << SESSION_BITS, "each has an index of its own");

/// What every `Tunn` of an end is made of.
#[derive(Clone)]
pub(in crate::tunnel) struct OwnEnd {
    pub(in crate::tunnel) private_key: x25519::StaticSecret,
    /// boringtun wants one for each `Tunn`: the handshake gate has limited everything before.
    pub(in crate::tunnel) no_limit: Arc<RateLimiter>,
}

/// The other end of a handshake.
#[derive(Clone, Copy)]
pub(super) struct OtherEnd<'a> {
    pub(super) public_key: &'a PublicKey,
    pub(super) preshared_key: Option<&'a PresharedKey>,
}

/// The handshakes and sessions of a peer.
pub(super) struct Noise {
    tunn: Tunn,
    preshared_key: Option<PresharedKey>,
    /// Which peer it is, in receiver indexes.
    index: u32,
    side: Side,
    /// The last session that the `Tunn` has numbered.
    newest_index: u32,
    /// What is left of the time before the preshared key changed.
    retired: Option<Box<Retired>>,
    /// Whether initiations may be taken that were answered before: a `Tunn` knows only its own.
    takes_replays: bool,
}

/// A `Tunn` that makes no handshakes any more.
struct Retired {
    tunn: Tunn,
    /// When the last of its sessions has ended.
    until: Instant,
}

/// Whether there is a session to encrypt with. boringtun's clock must have been set.
fn has_session(tunn: &Tunn) -> bool {
    tunn.time_since_last_handshake().is_some()
}

fn tunn(own: &OwnEnd, other: OtherEnd<'_>, index: u32, side: Side) -> Tunn {
    let preshared_key = other.preshared_key.map(PresharedKey::bytes);
    let limiter = Some(Arc::clone(&own.no_limit));
    let (private_key, public_key) = (own.private_key.clone(), other.public_key.point());
    Tunn::new(private_key, public_key, preshared_key, None, side.tunn_index(index), limiter)
}

/// What becomes of sessions when the preshared key changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sessions {
    /// There are none.
    None,
    /// They go on until they end.
    GoOn,
}

impl Noise {
    /// Of a peer with this index. boringtun's clock must have been set.
    pub(super) fn new(own: &OwnEnd, other: OtherEnd<'_>, index: u32) -> Self {
        let side = Side::First;
        Self {
            tunn: tunn(own, other, index, side),
            preshared_key: other.preshared_key.cloned(),
            index,
            side,
            newest_index: 0,
            retired: None,
            takes_replays: false,
        }
    }

    /// The secret that is shared beside the keys.
    pub(super) const fn preshared_key(&self) -> Option<&PresharedKey> {
        self.preshared_key.as_ref()
    }

    /// Has handshakes use another preshared key from now on; one that is under way is given up.
    pub(super) fn change_preshared_key(
        &mut self,
        own: &OwnEnd,
        other: OtherEnd<'_>,
        sessions: Sessions,
        now: Instant,
    ) {
        match sessions {
            // Those of a key before the last one may still go on.
            Sessions::None => self.tunn = tunn(own, other, self.index, self.side),
            Sessions::GoOn => {
                self.side = self.side.other();
                let next = tunn(own, other, self.index, self.side);
                let tunn = std::mem::replace(&mut self.tunn, next);
                let until = now + REJECT_AFTER_TIME;
                self.retired = Some(Box::new(Retired { tunn, until }));
            }
        }
        self.preshared_key = other.preshared_key.cloned();
        self.newest_index = 0;
        self.takes_replays = true;
    }

    /// Whether there is a session to encrypt with.
    pub(super) fn has_session(&self) -> bool {
        let before = self.retired.as_ref().is_some_and(|retired| has_session(&retired.tunn));
        has_session(&self.tunn) || before
    }

    /// Where an initiation came from may be where an old one was sent again from: no place to go to
    /// before the peer has used what it asked for.
    pub(super) const fn takes_replays(&self) -> bool {
        self.takes_replays
    }

    /// The peer has used a session that it asked for.
    pub(super) const fn confirmed(&mut self, session: u32) {
        if self.is_current(session) {
            self.takes_replays = false;
        }
    }

    const fn is_current(&self, session: u32) -> bool {
        matches!(
            (self.side, Side::of(session)),
            (Side::First, Side::First) | (Side::Second, Side::Second)
        )
    }

    /// A session was numbered.
    pub(super) const fn numbered(&mut self, session: u32) {
        self.newest_index = session;
    }

    /// Whether the next session takes the place of this one.
    pub(super) const fn next_replaces(&self, session: u32) -> bool {
        let next = self.newest_index.wrapping_add(1);
        self.is_current(session) && session % SESSIONS_KEPT == next % SESSIONS_KEPT
    }
}

/// boringtun's calls.
impl Noise {
    /// Encrypts a packet with the session there is. Without one it is queued, and a handshake
    /// begins if none is under way.
    pub(super) fn encapsulate<'a>(
        &mut self,
        packet: &[u8],
        buffer: &'a mut [u8],
    ) -> TunnResult<'a> {
        match &mut self.retired {
            Some(retired) if !has_session(&self.tunn) && has_session(&retired.tunn) => {
                retired.tunn.encapsulate(packet, buffer)
            }
            Some(_) | None => self.tunn.encapsulate(packet, buffer),
        }
    }

    /// Encrypts the next packet that was queued.
    pub(super) fn next_queued<'a>(&mut self, buffer: &'a mut [u8]) -> Option<&'a mut [u8]> {
        // Without a session it would queue it again.
        if !has_session(&self.tunn) {
            return None;
        }
        match self.tunn.decapsulate(None, &[], buffer) {
            TunnResult::WriteToNetwork(datagram) => Some(datagram),
            TunnResult::Done
            | TunnResult::Err(_)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => None,
        }
    }

    /// Begins a handshake, even if one is under way.
    pub(super) fn initiate<'a>(&mut self, buffer: &'a mut [u8]) -> TunnResult<'a> {
        self.tunn.format_handshake_initiation(buffer, true)
    }

    /// Takes a message of a handshake.
    pub(super) fn take_handshake<'a>(
        &mut self,
        source: IpAddr,
        message: &[u8],
        buffer: &'a mut [u8],
    ) -> TunnResult<'a> {
        self.tunn.decapsulate(Some(source), message, buffer)
    }

    /// Decrypts data for a session.
    pub(super) fn take_data<'a>(
        &mut self,
        session: u32,
        datagram: &[u8],
        buffer: &'a mut [u8],
    ) -> TunnResult<'a> {
        let is_current = self.is_current(session);
        match &mut self.retired {
            Some(retired) if !is_current => retired.tunn.decapsulate(None, datagram, buffer),
            Some(_) | None => self.tunn.decapsulate(None, datagram, buffer),
        }
    }

    /// Lets boringtun look at its timers.
    pub(super) fn update_timers<'a>(&mut self, buffer: &'a mut [u8]) -> TunnResult<'a> {
        self.tunn.update_timers(buffer)
    }

    /// Lets the sessions before the last change grow old. Returns the length of a keepalive that
    /// has to be sent in one, if that is so. (boringtun also begins handshakes there, which are not
    /// sent, and without an answer it ends the sessions 90 seconds later: those of a peer that is
    /// silent, as long as the other end has not changed its key.)
    pub(super) fn update_retired(&mut self, buffer: &mut [u8], now: Instant) -> Option<usize> {
        self.retired.take_if(|retired| retired.until <= now);
        let retired = self.retired.as_mut()?;
        let len = written(&retired.tunn.update_timers(buffer))?;
        (!is_initiation(&buffer[..len]) && !has_session(&self.tunn)).then_some(len)
    }

    /// When there is nothing left of the time before the last change.
    pub(super) fn retired_until(&self) -> Option<Instant> {
        self.retired.as_ref().map(|retired| retired.until)
    }
}
