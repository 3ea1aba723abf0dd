//! A gateway in memory, with two peers that hold their keys but no stack: they send whatever a
//! target makes up. What comes back to them is judged.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use slipwire_core::config::{Gateway, Interface, Parts, Peer};
use slipwire_core::{Action, Config, Engine, Instant, IpNet, PrivateKey, PublicKey};

use super::wire::{self, Layout};

/// Peers of the gateway.
pub(super) const PEERS: usize = 2;
pub(super) const MTU: u16 = 1420;
/// Outputs after one input; more of them would never end.
const OUTPUTS_MAX: usize = 20_000;
const OWN: u8 = 100;
/// Older sessions are renewed before the engine gives them up.
const SESSION_AGE_MAX: Duration = Duration::from_secs(100);

pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) now: Instant,
    peers: [Raw; PEERS],
    pub(super) actions: Vec<Action>,
}

/// A peer: a tunnel, and the packets that came out of it since somebody looked.
struct Raw {
    tunnel: Tunn,
    address: SocketAddr,
    session_at: Option<Instant>,
    received: Vec<Vec<u8>>,
}

fn private_key(index: u8) -> [u8; 32] {
    [index + 1; 32]
}

fn public_key(index: u8) -> PublicKey {
    PrivateKey::from_entropy(private_key(index)).public_key()
}

/// The gateway's public key.
pub(super) fn gateway_key() -> PublicKey {
    public_key(OWN)
}

fn point(key: PublicKey) -> x25519::PublicKey {
    x25519::PublicKey::from(*key.as_bytes())
}

/// A peer's inner address.
pub(super) fn inner(peer: usize, is_v4: bool) -> IpAddr {
    let host = peer as u16 + 2;
    if is_v4 { [10, 0, 0, host as u8].into() } else { [0xfd00, 0, 0, 0, 0, 0, 0, host].into() }
}

impl World {
    pub(super) fn new() -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        // First, as it sets this thread's clock, which boringtun has for the peers too.
        let engine = engine(now);
        Self { engine, now, peers: [0, 1].map(Raw::new), actions: Vec::new() }
    }

    /// Where a peer's datagrams come from.
    pub(super) fn address(&self, peer: usize) -> SocketAddr {
        self.peers[peer].address
    }

    /// Takes what a peer has received.
    pub(super) fn received(&mut self, peer: usize) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.peers[peer].received)
    }

    /// What a peer sends to begin a session.
    pub(super) fn initiation(&mut self, peer: usize) -> Vec<u8> {
        let mut buffer = vec![0; 256];
        match self.peers[peer].tunnel.format_handshake_initiation(&mut buffer, true) {
            TunnResult::WriteToNetwork(datagram) => datagram.to_vec(),
            TunnResult::Done
            | TunnResult::Err(_)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => Vec::new(),
        }
    }

    /// A packet as the datagram that its peer sends, after a handshake if there has to be one.
    pub(super) fn seal(&mut self, peer: usize, packet: &[u8]) -> Vec<u8> {
        let fresh = |at: Instant| self.now.saturating_duration_since(at) < SESSION_AGE_MAX;
        if !self.peers[peer].session_at.is_some_and(fresh) {
            let initiation = self.initiation(peer);
            self.peers[peer].session_at = Some(self.now);
            self.hand_in(self.address(peer), &initiation);
        }
        let mut buffer = vec![0; packet.len() + 256];
        match self.peers[peer].tunnel.encapsulate(packet, &mut buffer) {
            TunnResult::WriteToNetwork(datagram) => datagram.to_vec(),
            TunnResult::Done
            | TunnResult::Err(_)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => Vec::new(),
        }
    }

    /// Has a peer send a packet.
    pub(super) fn send(&mut self, peer: usize, packet: &[u8]) {
        let datagram = self.seal(peer, packet);
        self.hand_in(self.address(peer), &datagram);
    }

    /// Has a peer send packets of one length in one train.
    pub(super) fn send_train(&mut self, peer: usize, packets: &[Vec<u8>]) {
        let datagrams: Vec<_> = packets.iter().map(|packet| self.seal(peer, packet)).collect();
        let segment_size = datagrams.first().map_or(0, Vec::len);
        let (source, train) = (self.address(peer), datagrams.concat());
        self.engine.handle_datagrams(source.into(), &train, segment_size, self.now);
        self.drain();
    }

    /// Hands a datagram in and lets peers answer what comes of it.
    pub(super) fn hand_in(&mut self, source: SocketAddr, datagram: &[u8]) {
        self.engine.handle_datagram(source, None, datagram, self.now);
        self.drain();
    }

    /// Jumps from deadline to deadline for that long.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut stops = 0;
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
            let next = self.engine.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "a deadline does not move");
            self.drain();
            stops += 1;
            assert!(stops < OUTPUTS_MAX, "time stands still");
        }
        self.now = until;
    }

    /// Takes the outputs, all but datagrams of flows: those wait for [`World::datagrams`].
    pub(super) fn drain(&mut self) {
        let mut outputs = 0;
        loop {
            while let Some(action) = self.engine.poll_action() {
                self.actions.push(action);
                outputs += 1;
                assert!(outputs < OUTPUTS_MAX, "actions without an end");
            }
            let mut answers = Vec::new();
            while let Some(train) = self.engine.poll_transmit() {
                if let Some(raw) =
                    self.peers.iter_mut().find(|raw| raw.address == train.destination)
                {
                    for segment in train.contents.chunks(train.segment_size) {
                        raw.open(segment, &mut answers);
                    }
                }
                let len = train.contents.len();
                self.engine.transmitted(len);
                outputs += 1;
                assert!(outputs < OUTPUTS_MAX, "trains without an end");
            }
            let is_done = !self.engine.service(self.now);
            if is_done && answers.is_empty() {
                break;
            }
            for (source, datagram) in answers {
                self.engine.handle_datagram(source, None, &datagram, self.now);
            }
        }
        for (index, raw) in self.peers.iter().enumerate() {
            raw.received.iter().for_each(|packet| judge(index, packet));
        }
    }

    /// Takes the datagrams of flows.
    pub(super) fn datagrams(&mut self) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        while let Some(datagram) = self.engine.poll_datagram() {
            let flow = datagram.flow;
            datagrams.push(datagram.payload.to_vec());
            self.engine.delivered(flow);
        }
        datagrams
    }
}

/// What a peer gets is sound, for it, and fits. What another peer sent may be as that one made it.
fn judge(peer: usize, packet: &[u8]) {
    let Some(layout) = Layout::of(packet) else { panic!("no IP packet: {packet:02x?}") };
    let destination = layout.destination(packet);
    assert_eq!(destination, inner(peer, destination.is_ipv4()), "another's packet");
    assert!(packet.len() <= usize::from(MTU), "{} bytes", packet.len());
    let source = layout.source(packet);
    if source != inner(1 - peer, source.is_ipv4()) {
        assert_eq!(wire::fault(packet), None, "{packet:02x?}");
    }
}

impl Raw {
    fn new(index: u8) -> Self {
        Self {
            tunnel: Tunn::new(
                x25519::StaticSecret::from(private_key(index)),
                point(gateway_key()),
                None,
                None,
                u32::from(index) + 1,
                // Its own limit would be reset by a timer that nobody calls here.
                Some(Arc::new(RateLimiter::new(&point(public_key(index)), u64::MAX))),
            ),
            address: SocketAddr::from(([198, 51, 100, index + 1], 4000)),
            session_at: None,
            received: Vec::new(),
        }
    }

    fn open(&mut self, datagram: &[u8], answers: &mut Vec<(SocketAddr, Vec<u8>)>) {
        let mut buffer = vec![0; datagram.len() + 256];
        let mut result = self.tunnel.decapsulate(None, datagram, &mut buffer);
        loop {
            match result {
                TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                    self.received.push(packet.to_vec());
                    return;
                }
                TunnResult::WriteToNetwork(answer) => answers.push((self.address, answer.to_vec())),
                TunnResult::Done | TunnResult::Err(_) => return,
            }
            result = self.tunnel.decapsulate(None, &[], &mut buffer);
        }
    }
}

fn engine(now: Instant) -> Engine {
    let peer = |index: u8| {
        let inner = [true, false].map(|is_v4| IpNet::from(inner(index.into(), is_v4)));
        let peer = Peer::new(public_key(index)).with_name(format!("peer {index}"));
        peer.with_allowed_ips(inner)
    };
    let own = ["10.0.0.1/24", "fd00::1/64"].map(str::parse).into_iter().flatten();
    let interface = Interface::new(PrivateKey::from_entropy(private_key(OWN)), own);
    let mut gateway = Gateway::default();
    gateway.peer_to_peer = true;
    let mut parts = Parts::new(interface);
    parts.interface.mtu = MTU;
    parts.peers = vec![peer(0), peer(1)];
    parts.gateway = Some(gateway);
    (parts.tcp.receive_buffer, parts.tcp.send_buffer) = (8 << 10, 8 << 10);
    let limits = &mut parts.limits;
    (limits.tcp_flows, limits.half_open, limits.udp_flows, limits.icmp_flows) = (8, 8, 8, 4);
    limits.memory = 1 << 20;
    match Config::new(parts) {
        Ok(config) => Engine::new(&config, [9; 32], now),
        Err(errors) => panic!("{errors:?}"),
    }
}
