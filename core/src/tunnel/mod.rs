//! The WireGuard half of an engine: datagrams outside, IP packets of peers inside.
//!
//! ```text
//! datagram -> demux -> handshake gate -> peer -> allowed IPs -> packet, and whose it is
//!                      (handshakes)  (boringtun)
//! packet for a peer ------------------> peer -> egress
//! ```
//!
//! It answers handshakes, keeps tunnels alive, follows peers that roam, and knows which peer owns
//! which inner address. A datagram that is not what it claims to be changes nothing but a counter.
//! What packets carry, beyond their version, length and source, is the stack's; sending the trains
//! and resolving names is the embedder's.
//!
//! - [`demux`]: tells datagrams apart, and finds the peer that one is for;
//! - [`handshakes`]: handshake messages, through [`handshake_gate`], which counts their sources in
//!   [`handshake_sources`];
//! - [`roster`]: peers come and go; [`peer`]: one of them, with its sessions;
//! - [`supervisor`]: keeps its tunnel alive; [`clock`]: the clock that boringtun reads;
//! - [`endpoint`]: where a peer is reached; [`endpoint_mtu`]: how large a datagram may be there;
//! - [`inner`]: what is asked of the packets inside; [`wire`]: what a peer hears from and speaks
//!   into.
//!
//! Not done, as boringtun does not: a new session after 2^60 messages (none gets there within the
//! three minutes that a session lives).

mod clock;
mod demux;
mod endpoint;
mod endpoint_mtu;
mod handshake_gate;
mod handshake_sources;
mod handshakes;
mod inner;
mod peer;
mod roster;
mod supervisor;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use boringtun::noise::rate_limiter::RateLimiter;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::arrival::Arrival;
use crate::config::{self, Config};
use crate::ecn::leave_tunnel;
use crate::egress::Egress;
use crate::id::{Identity, PeerId};
use crate::key::PublicKey;
use crate::limits::{QUEUED_LEN_MAX, SCRATCH_LEN};
use crate::monitor::Monitor;
use crate::routing::{AllowedIps, Route};
use crate::stats::Counter;
use crate::time::Instant;
use crate::timer::Timers;
use crate::tunnel::clock::Clock;
use crate::tunnel::demux::{Demux, WireGuardMessage};
use crate::tunnel::endpoint_mtu::{EndpointMtu, News};
use crate::tunnel::handshake_gate::Gate;
use crate::tunnel::handshakes::Notices;
use crate::tunnel::peer::{OwnEnd, TunnelPeer};
use crate::tunnel::roster::Roster;
use crate::tunnel::wire::PeerWire;

/// Data with this counter or a higher one is not taken (REJECT_AFTER_MESSAGES of the WireGuard
/// paper); boringtun's own arithmetic overflows just above.
const COUNTER_END: u64 = u64::MAX - (1 << 13);
/// How far a deadline lies ahead at least, once due ones have fired.
const DEADLINE_MIN: Duration = Duration::from_millis(1);
/// How often buffers that a burst has left behind are freed.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);

/// All peers of one end.
///
/// Inputs are `handle_*` and [`send`](Self::send), outputs go to the [`Egress`] or are returned;
/// afterwards [`poll_move`](Self::poll_move) and [`poll_resolve`](Self::poll_resolve) have to be
/// drained and [`poll_timeout`](Self::poll_timeout) asked for the next deadline.
pub(crate) struct Tunnel {
    own: OwnEnd,
    public_key: PublicKey,
    mtu: u16,
    rng: ChaCha20Rng,
    clock: Clock,
    gate: Gate,
    notices: Notices,
    peers: Roster,
    demux: Demux,
    /// Bytes of packets that wait for handshakes, of all peers.
    queued_len: usize,
    allowed_ips: AllowedIps,
    timers: Timers,
    questions: VecDeque<PeerId>,
    /// Peers whose paths are to be measured.
    path_questions: VecDeque<PeerId>,
    /// Peers that are reached by another path than before.
    moves: VecDeque<PeerId>,
    settled_at: Instant,
    /// Where packets are decrypted to.
    plaintext: Box<[u8]>,
    /// Where boringtun writes what it wants to say.
    scratch: Box<[u8]>,
}

impl Tunnel {
    /// The end that `config` describes. `seed` is entropy that no outsider may know.
    pub(crate) fn new(config: &Config, seed: [u8; 32], now: Instant) -> Self {
        let config::Parts { interface, peers, .. } = config.parts();
        let clock = Clock::new(now);
        let mut rng = ChaCha20Rng::from_seed(seed);
        let private_key = interface.private_key.secret();
        let public_key = interface.private_key.public_key();
        let point = public_key.point();
        let mut tunnel = Self {
            mtu: interface.mtu,
            gate: Gate::new(&point, &mut rng),
            notices: Notices::default(),
            own: OwnEnd { private_key, no_limit: Arc::new(RateLimiter::new(&point, u64::MAX)) },
            public_key,
            rng,
            clock,
            peers: Roster::default(),
            demux: Demux::default(),
            queued_len: 0,
            allowed_ips: AllowedIps::default(),
            timers: Timers::default(),
            questions: VecDeque::new(),
            path_questions: VecDeque::new(),
            moves: VecDeque::new(),
            settled_at: now,
            plaintext: vec![0; SCRATCH_LEN].into_boxed_slice(),
            scratch: vec![0; SCRATCH_LEN].into_boxed_slice(),
        };
        for peer in peers {
            tunnel.add_peer(peer, now);
        }
        tunnel
    }
}

/// Getters.
impl Tunnel {
    /// The peer that owns an inner address, and how specific its claim is.
    pub(crate) fn route(&self, address: IpAddr) -> Option<Route> {
        self.allowed_ips.route(address)
    }

    /// Our own identity.
    pub(crate) const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The buffer that [`handle_datagram`](Self::handle_datagram) decrypts into, so that it can be
    /// taken out for as long as somebody looks at a packet and sends through the tunnel at once.
    pub(crate) fn plaintext_mut(&mut self) -> &mut Box<[u8]> {
        &mut self.plaintext
    }

    /// Who a peer is.
    pub(crate) fn identity(&self, peer: PeerId) -> Option<&Arc<Identity>> {
        self.peer(peer).map(TunnelPeer::identity)
    }

    /// Bytes of the largest packet that gets to a peer in one datagram, at most the tunnel's MTU.
    pub(crate) fn path_mtu(&self, peer: PeerId, now: Instant) -> u16 {
        self.peer(peer).map_or(self.mtu, |peer| peer.path_mtu(now))
    }

    fn peer(&self, peer: PeerId) -> Option<&TunnelPeer> {
        self.peers.get(peer)
    }
}

/// Inputs.
impl Tunnel {
    /// Takes one datagram. Returns the IP packet that a peer sent in it: its header is whole, it is
    /// as long as it says, its source belongs to that peer, and it has the mark that congestion on
    /// the way has left it with.
    pub(crate) fn handle_datagram(
        &mut self,
        arrival: Arrival,
        datagram: &[u8],
        egress: &mut Egress,
        monitor: &mut Monitor,
        now: Instant,
    ) -> Option<(PeerId, &mut [u8])> {
        let now = self.clock.set(now);
        monitor.count(Counter::DatagramsIn);
        monitor.add(Counter::BytesIn, datagram.len() as u64);
        match WireGuardMessage::parse(datagram).filter(|_| datagram.len() <= SCRATCH_LEN) {
            Some(WireGuardMessage::Initiation(initiation)) => {
                self.handle_initiation(arrival, &initiation, datagram, egress, monitor, now);
                None
            }
            Some(WireGuardMessage::Response { receiver }) => {
                self.handle_response(arrival, receiver, datagram, egress, monitor, now);
                None
            }
            Some(WireGuardMessage::CookieReply { receiver }) => {
                let id = self.receiver(receiver, monitor)?;
                self.enter(id, egress, monitor, now, |peer, wire| {
                    peer.handle_cookie_reply(arrival, datagram, wire);
                })
                .and(None)
            }
            Some(WireGuardMessage::Data { counter: COUNTER_END.., .. }) => {
                monitor.count(Counter::DropCounterRange);
                None
            }
            Some(WireGuardMessage::Data { receiver, .. }) => {
                self.handle_data(arrival, receiver, datagram, egress, monitor, now)
            }
            None => {
                monitor.count(Counter::DropMalformed);
                None
            }
        }
    }

    /// Sends the IP packet `packet[..len]` to a peer. Up to 15 bytes behind it are overwritten:
    /// padding.
    pub(crate) fn send(
        &mut self,
        id: PeerId,
        packet: &mut [u8],
        len: usize,
        egress: &mut Egress,
        monitor: &mut Monitor,
        now: Instant,
    ) {
        let now = self.clock.set(now);
        let len = len.min(packet.len());
        if len > usize::from(self.mtu) {
            self.count(id, Counter::DropTooBig, monitor);
            return;
        }
        self.enter(id, egress, monitor, now, |peer, wire| {
            let padded = inner::pad(packet, len, peer.path_mtu(wire.now).into());
            peer.send(&packet[..padded], wire);
        });
    }

    /// Takes the addresses of a peer's endpoint; none if the name did not resolve.
    pub(crate) fn handle_resolved(
        &mut self,
        id: PeerId,
        addresses: &[SocketAddr],
        egress: &mut Egress,
        monitor: &mut Monitor,
        now: Instant,
    ) {
        let now = self.clock.set(now);
        self.enter(id, egress, monitor, now, |peer, wire| peer.handle_resolved(addresses, wire));
    }

    /// The path to `address` carries IP packets of `path_mtu` bytes. Returns the peers that have to
    /// be sent smaller packets from now on.
    pub(crate) fn handle_path_mtu(
        &mut self,
        address: IpAddr,
        path_mtu: u16,
        monitor: &mut Monitor,
        now: Instant,
    ) -> Vec<PeerId> {
        self.lower(address, monitor, |path| path.handle_measured(address, path_mtu, now))
    }

    /// A datagram of `datagram_len` bytes was too large for the path to `address`, which carries IP
    /// packets of `path_mtu` bytes, if the system knows. Returns the peers that have to be sent
    /// smaller packets from now on.
    pub(crate) fn handle_too_big(
        &mut self,
        address: IpAddr,
        datagram_len: usize,
        path_mtu: Option<u16>,
        monitor: &mut Monitor,
        now: Instant,
    ) -> Vec<PeerId> {
        self.lower(address, monitor, |path| {
            path.handle_refused(address, datagram_len, path_mtu, now)
        })
    }

    /// Lets every peer at `address` know about the path there. It looks at all peers, which is why
    /// it is for news only.
    fn lower(
        &mut self,
        address: IpAddr,
        monitor: &mut Monitor,
        tell: impl Fn(&mut EndpointMtu) -> News,
    ) -> Vec<PeerId> {
        let mut lowered = Vec::new();
        for (id, peer, own) in self.peers.iter_mut() {
            let mut monitor = monitor.of_peer(id, own);
            if peer.endpoint().in_use().is_none_or(|in_use| in_use.ip() != address) {
                continue;
            }
            match tell(peer.endpoint_mtu_mut()) {
                News::None => continue,
                News::Lowered => {}
                News::TooNarrow => monitor.count(Counter::PathTooNarrow),
            }
            monitor.count(Counter::PathLowered);
            lowered.push(id);
        }
        lowered
    }

    /// Lets time pass. Early and repeated calls do nothing.
    pub(crate) fn handle_timeout(
        &mut self,
        egress: &mut Egress,
        monitor: &mut Monitor,
        now: Instant,
    ) {
        let now = self.clock.set(now);
        while let Some(slot) = self.timers.pop_due(now) {
            let Some(id) = self.peers.current(slot) else { continue };
            if !egress.has_control_room() {
                // Many peers may be due at once: what they say must not be lost for that.
                self.timers.set(slot, Some(now + DEADLINE_MIN));
                continue;
            }
            self.enter(id, egress, monitor, now, TunnelPeer::handle_timeout);
            let deadline = self.take_questions(id);
            self.timers.set(slot, deadline.map(|at| at.max(now + DEADLINE_MIN)));
        }
        if self.settled_at + SETTLE_INTERVAL <= now {
            self.settled_at = now;
            egress.settle();
        }
    }
}

/// Outputs.
impl Tunnel {
    /// The next peer whose endpoint name has to be resolved;
    /// [`handle_resolved`](Self::handle_resolved) is awaited for it.
    pub(crate) fn poll_resolve(&mut self) -> Option<PeerId> {
        self.questions.pop_front()
    }

    /// The next endpoint to which the path is to be measured; there may be no answer.
    pub(crate) fn poll_path_question(&mut self) -> Option<SocketAddr> {
        while let Some(id) = self.path_questions.pop_front() {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            peer.endpoint_mtu_mut().take_question();
            if let Some(address) = peer.endpoint().in_use() {
                return Some(address);
            }
        }
        None
    }

    /// The next peer that is reached by another path than before: its address or ours has changed.
    pub(crate) fn poll_move(&mut self) -> Option<PeerId> {
        self.moves.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due. Always later than the latest `now`
    /// after a call of it.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}

impl Tunnel {
    fn handle_data(
        &mut self,
        arrival: Arrival,
        receiver: u32,
        datagram: &[u8],
        egress: &mut Egress,
        monitor: &mut Monitor,
        now: Instant,
    ) -> Option<(PeerId, &mut [u8])> {
        let id = self.receiver(receiver, monitor)?;
        let packet = self.enter(id, egress, monitor, now, |peer, wire| {
            peer.handle_data(arrival, receiver, datagram, wire)
        })??;
        if !self.allowed_ips.owns(id, packet.source) {
            self.count(id, Counter::DropSource, monitor);
            return None;
        }
        let packet = &mut self.plaintext[..packet.len];
        let mut monitor = monitor.of_peer(id, self.peers.stats_mut(id)?);
        if !leave_tunnel(packet, arrival.ecn) {
            monitor.count(Counter::DropEcn);
            return None;
        }
        monitor.count(Counter::PacketsIn);
        Some((id, packet))
    }

    /// Counts something of a peer, or of one that has gone.
    pub(crate) fn count(&mut self, id: PeerId, counter: Counter, monitor: &mut Monitor) {
        match self.peers.stats_mut(id) {
            Some(own) => monitor.of_peer(id, own).count(counter),
            None => monitor.count(counter),
        }
    }

    fn receiver(&self, receiver: u32, monitor: &mut Monitor) -> Option<PeerId> {
        let id = self.demux.by_receiver(receiver);
        if id.is_none() {
            monitor.count(Counter::DropNoSession);
        }
        id
    }

    /// Lets a peer do something, and takes note of what it wants afterwards.
    fn enter<R>(
        &mut self,
        id: PeerId,
        egress: &mut Egress,
        monitor: &mut Monitor,
        now: Instant,
        act: impl FnOnce(&mut TunnelPeer, &mut PeerWire<'_>) -> R,
    ) -> Option<R> {
        let (peer, own) = self.peers.get_mut_with_stats(id)?;
        let monitor = monitor.of_peer(id, own);
        let plaintext = &mut self.plaintext;
        let (scratch, rng) = (&mut self.scratch, &mut self.rng);
        let queued_for_others = self.queued_len - peer.queued_len();
        let queue_max = QUEUED_LEN_MAX.saturating_sub(queued_for_others) / 2;
        let mut wire = PeerWire { plaintext, scratch, egress, monitor, rng, queue_max, now };
        let result = act(peer, &mut wire);
        peer.tell_standing(&mut wire);
        if peer.take_move() {
            self.moves.push_back(id);
        }
        self.queued_len = queued_for_others + peer.queued_len();
        self.arm(id);
        Some(result)
    }

    /// Takes a peer's questions, and makes sure that it has its turn at its deadline. Most
    /// deadlines move on with each packet: who has a turn too early does nothing.
    fn arm(&mut self, id: PeerId) {
        match self.take_questions(id) {
            Some(at) => self.timers.set_no_later(id.slot(), at),
            None => self.timers.set(id.slot(), None),
        }
    }

    /// Takes a peer's questions. Returns its deadline.
    fn take_questions(&mut self, id: PeerId) -> Option<Instant> {
        let peer = self.peers.get_mut(id)?;
        if peer.take_question() {
            self.questions.push_back(id);
        }
        if peer.endpoint().in_use().is_some() && peer.endpoint_mtu_mut().open_question() {
            self.path_questions.push_back(id);
        }
        peer.deadline()
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("peers", &self.peers.len()).finish_non_exhaustive()
    }
}
