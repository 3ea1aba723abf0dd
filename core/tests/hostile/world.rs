//! One engine, and peers that hold its keys but no stack: each sends whatever packets it likes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use mock_instant::MockClock;
use slipwire_core::config::{Gateway, Interface, Parts, Peer};
use slipwire_core::{Action, Config, Engine, FlowId, Instant, PrivateKey, PublicKey};

/// Older sessions are replaced before they are used.
const SESSION_AGE_MAX: Duration = Duration::from_secs(100);
/// Calls in which the outputs of one input must be drained.
const DRAIN_CALLS_MAX: usize = 20_000;

pub(crate) fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A peer: a tunnel, and the packets that came out of it.
pub(crate) struct Raw {
    tunnel: Tunn,
    address: SocketAddr,
    session_at: Option<Instant>,
    pub(crate) received: Vec<Vec<u8>>,
    /// It takes nothing in and says nothing any more.
    pub(crate) gone: bool,
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) peers: Vec<Raw>,
    pub(crate) now: Instant,
    pub(crate) actions: Vec<Action>,
    pub(crate) datagrams: Vec<(FlowId, SocketAddr, Vec<u8>)>,
}

fn scalar(index: usize) -> [u8; 32] {
    [index as u8 + 1; 32]
}

fn public_key(index: usize) -> PublicKey {
    PrivateKey::from_entropy(scalar(index)).public_key()
}

fn point(key: &PublicKey) -> x25519::PublicKey {
    x25519::PublicKey::from(*key.as_bytes())
}

const OWN: usize = 100;

/// The inner addresses of a peer: 10.0.0.2 and fd00::2 for the first.
pub(crate) fn inner(peer: usize, v6: bool, port: u16) -> SocketAddr {
    let ip = if v6 { format!("fd00::{}", peer + 2) } else { format!("10.0.0.{}", peer + 2) };
    SocketAddr::new(ip.parse().unwrap(), port)
}

impl World {
    pub(crate) fn new(peers: usize, change: impl FnOnce(&mut Parts)) -> Self {
        let own = ["10.0.0.1/24", "fd00::1/64"].map(|address| address.parse().unwrap());
        let key = PrivateKey::from_entropy(scalar(OWN));
        let peer = |index| {
            let inner = [false, true].map(|v6| inner(index, v6, 0).ip().into());
            let peer = Peer::new(public_key(index)).with_name(format!("peer {index}"));
            peer.with_allowed_ips(inner)
        };
        let mut gateway = Gateway::default();
        gateway.peer_to_peer = true;
        let mut parts = Parts::new(Interface::new(key, own));
        parts.peers.extend((0..peers).map(peer));
        parts.gateway = Some(gateway);
        change(&mut parts);
        let now = Instant::from_nanos(1_000_000_000);
        let engine = Engine::new(&Config::new(parts).unwrap(), [9; 32], now);
        let raw = |index: usize| Raw {
            tunnel: Tunn::new(
                x25519::StaticSecret::from(scalar(index)),
                point(&public_key(OWN)),
                None,
                None,
                index as u32 + 1,
                // Its own limit is reset by a timer that nobody calls here.
                Some(Arc::new(RateLimiter::new(&point(&public_key(index)), u64::MAX))),
            ),
            address: SocketAddr::from(([198, 51, 100, index as u8 + 1], 4000)),
            session_at: None,
            received: Vec::new(),
            gone: false,
        };
        let (actions, datagrams) = (Vec::new(), Vec::new());
        set_clock(now);
        Self { engine, peers: (0..peers).map(raw).collect(), now, actions, datagrams }
    }

    /// Hands a packet of a peer to the engine through its tunnel, and drains what follows.
    pub(crate) fn send(&mut self, peer: usize, packet: &[u8]) {
        self.push(peer, packet);
        self.drain();
    }

    /// The same without draining: more of the same batch follows.
    pub(crate) fn push(&mut self, peer: usize, packet: &[u8]) {
        self.connect(peer);
        set_clock(self.now);
        let mut buffer = vec![0; packet.len() + 256];
        match self.peers[peer].tunnel.encapsulate(packet, &mut buffer) {
            TunnResult::WriteToNetwork(datagram) => {
                let source = self.peers[peer].address;
                self.engine.handle_datagram(source, None, datagram, self.now);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Makes a fresh session if the last one is old.
    fn connect(&mut self, peer: usize) {
        let fresh = |at: Instant| self.now.saturating_duration_since(at) < SESSION_AGE_MAX;
        if self.peers[peer].session_at.is_some_and(fresh) {
            return;
        }
        set_clock(self.now);
        self.peers[peer].session_at = Some(self.now);
        let mut buffer = vec![0; 256];
        let raw = &mut self.peers[peer];
        match raw.tunnel.format_handshake_initiation(&mut buffer, true) {
            TunnResult::WriteToNetwork(datagram) => {
                self.engine.handle_datagram(raw.address, None, datagram, self.now);
            }
            other => panic!("{other:?}"),
        }
        self.drain();
    }

    /// Drains the engine onto the peers, and their tunnels' answers back.
    pub(crate) fn drain(&mut self) {
        let mut calls = 0;
        let mut bounded = || {
            calls += 1;
            assert!(calls < DRAIN_CALLS_MAX, "outputs end");
        };
        loop {
            while let Some(action) = self.engine.poll_action() {
                bounded();
                self.actions.push(action);
            }
            while let Some(datagram) = self.engine.poll_datagram() {
                bounded();
                let flow = datagram.flow;
                self.datagrams.push((flow, datagram.remote, datagram.payload.to_vec()));
                self.engine.delivered(flow);
            }
            let mut answers = VecDeque::new();
            while let Some(train) = self.engine.poll_transmit() {
                bounded();
                let raw = self.peers.iter_mut().find(|raw| raw.address == train.destination);
                let raw = raw.filter(|raw| !raw.gone);
                for datagram in raw.into_iter().flat_map(|raw| {
                    let segments = train.contents.chunks(train.segment_size);
                    segments.flat_map(|segment| raw.open(segment, self.now)).collect::<Vec<_>>()
                }) {
                    answers.push_back(datagram);
                }
                let len = train.contents.len();
                self.engine.transmitted(len);
            }
            if !self.engine.service(self.now) && answers.is_empty() {
                return;
            }
            for (source, datagram) in answers {
                bounded();
                self.engine.handle_datagram(source, None, &datagram, self.now);
            }
        }
    }

    /// Jumps from deadline to deadline for some time. Says how many there were.
    pub(crate) fn pass(&mut self, time: Duration) -> usize {
        let until = self.now + time;
        let mut wakes = 0;
        self.drain();
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.wake();
            wakes += 1;
        }
        self.now = until;
        wakes
    }

    pub(crate) fn wake(&mut self) {
        self.engine.handle_timeout(self.now);
        assert!(self.engine.poll_timeout().is_none_or(|at| at > self.now), "deadlines move");
        self.drain();
    }

    /// Takes what a peer received.
    pub(crate) fn received(&mut self, peer: usize) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.peers[peer].received)
    }
}

impl Raw {
    /// Takes a datagram in. Returns what the tunnel answers.
    fn open(&mut self, datagram: &[u8], now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        set_clock(now);
        let mut buffer = vec![0; datagram.len().max(256) + 64];
        let mut answers = Vec::new();
        let mut result = self.tunnel.decapsulate(None, datagram, &mut buffer);
        loop {
            match result {
                TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                    self.received.push(packet.to_vec());
                    return answers;
                }
                TunnResult::WriteToNetwork(answer) => answers.push((self.address, answer.to_vec())),
                TunnResult::Done | TunnResult::Err(_) => return answers,
            }
            result = self.tunnel.decapsulate(None, &[], &mut buffer);
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the clock of the peers' tunnels")]
fn set_clock(now: Instant) {
    MockClock::set_time(Duration::from_nanos(now.as_nanos()));
}
