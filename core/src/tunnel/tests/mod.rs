//! Live tunnels over a simulated link in virtual time. This file is the simulation; the promises
//! are in the files beside it.

mod changes;
mod congestion;
mod crowd;
mod data;
mod faults;
mod hostile;
mod recovery;
mod resolving;
mod roster;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::config::{Endpoint, Interface, Parts};
use crate::ecn::Ecn;
use crate::egress::Transmit;
use crate::event::{Event, Observer};
use crate::key::{PresharedKey, PrivateKey};
use crate::limits::DATA_OVERHEAD;
use crate::outcome::HandshakeFault;
use crate::tunnel::*;

const MTU: u16 = 1420;
const LATENCY: Duration = Duration::from_millis(20);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn private_key(end: usize) -> PrivateKey {
    let mut entropy = [(end as u8).wrapping_add(1); 32];
    entropy[8..16].copy_from_slice(&(end as u64).to_be_bytes());
    PrivateKey::from_entropy(entropy)
}

fn seed(end: usize) -> [u8; 32] {
    let mut seed = [end as u8; 32];
    seed[8..16].copy_from_slice(&(end as u64).to_be_bytes());
    seed
}

fn outer(end: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, (end as u8).wrapping_add(1)], 51820))
}

fn inner_address(end: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0001 + end as u32)
}

/// The end `other` as a peer: reached nowhere, kept alive never.
fn peer(other: usize) -> config::Peer {
    config::Peer::new(private_key(other).public_key())
        .with_name(format!("end {other}"))
        .with_allowed_ips([format!("{}/32", inner_address(other)).parse().unwrap()])
}

/// The same with its address known.
fn reachable(other: usize) -> config::Peer {
    peer(other).with_endpoint(outer(other))
}

/// The same, with persistent keepalive too.
fn kept_alive(other: usize) -> config::Peer {
    reachable(other).with_persistent_keepalive(NonZeroU16::new(25))
}

fn config(end: usize, peers: Vec<config::Peer>) -> Config {
    let address = format!("{}/24", inner_address(end)).parse().unwrap();
    let mut parts = Parts::new(Interface::new(private_key(end), [address]));
    parts.interface.mtu = MTU;
    parts.peers = peers;
    Config::new(parts).unwrap()
}

/// An IPv4 packet of `len` bytes (24 or more) that carries a number.
fn packet(source: Ipv4Addr, destination: Ipv4Addr, number: u32, len: usize) -> Vec<u8> {
    let mut packet = vec![0; len];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    packet[20..24].copy_from_slice(&number.to_be_bytes());
    packet
}

fn number_of(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[20..24].try_into().unwrap())
}

#[derive(Clone, Debug)]
struct Datagram {
    source: SocketAddr,
    destination: SocketAddr,
    ecn: Ecn,
    bytes: Vec<u8>,
}

impl Datagram {
    fn new(source: SocketAddr, destination: SocketAddr, bytes: Vec<u8>) -> Self {
        Self { source, destination, ecn: Ecn::NotEct, bytes }
    }

    fn is_initiation(&self) -> bool {
        self.bytes[0] == 1
    }

    fn is_response(&self) -> bool {
        self.bytes[0] == 2
    }
}

type Loss = dyn FnMut(Instant, &Datagram) -> bool;

/// Why handshakes came to nothing, as an observer hears it.
#[derive(Clone, Default, Debug)]
struct Faults(Arc<Mutex<BTreeSet<HandshakeFault>>>);

impl Observer for Faults {
    fn event(&mut self, event: Event<'_>, _: Instant) {
        if let Event::HandshakeRefused { fault, .. } = event {
            self.0.lock().unwrap().insert(fault);
        }
    }
}

struct End {
    tunnel: Tunnel,
    egress: Egress,
    monitor: Monitor,
    faults: Faults,
    address: SocketAddr,
    /// How far this end's epoch lies before that of the simulation.
    epoch: Duration,
    received: Vec<Vec<u8>>,
}

impl End {
    fn new(index: usize, config: &Config, epoch: Duration) -> Self {
        let (faults, mut monitor) = (Faults::default(), Monitor::new());
        monitor.set_observer(Some(Box::new(faults.clone())));
        Self {
            tunnel: Tunnel::new(config, seed(index), Instant::ZERO + epoch),
            egress: Egress::new(),
            monitor,
            faults,
            address: outer(index),
            epoch,
            received: Vec::new(),
        }
    }

    fn numbers(&self) -> Vec<u32> {
        self.received.iter().map(|packet| number_of(packet)).collect()
    }

    fn first_peer(&self) -> &TunnelPeer {
        self.tunnel.peers.get(PeerId::first(0)).unwrap()
    }

    /// Where its first peer is.
    fn endpoint(&self) -> Option<SocketAddr> {
        self.first_peer().endpoint().in_use()
    }

    fn count(&self, counter: Counter) -> u64 {
        self.monitor.stats().value(counter)
    }
}

/// Ends, the datagrams between them, and the time.
struct Net {
    now: Instant,
    ends: Vec<End>,
    in_flight: BTreeMap<(Instant, u64), Datagram>,
    serial: u64,
    /// Everything that was sent, lost or not.
    sent: Vec<(Instant, Datagram)>,
    /// Whether a datagram is lost.
    loses: Box<Loss>,
}

impl Net {
    fn new(configs: impl IntoIterator<Item = Config>) -> Self {
        Self::with_epochs(configs.into_iter().map(|config| (config, Duration::ZERO)))
    }

    fn with_epochs(configs: impl IntoIterator<Item = (Config, Duration)>) -> Self {
        let ends = configs.into_iter().enumerate();
        let mut net = Self {
            now: Instant::ZERO,
            ends: ends.map(|(index, (config, epoch))| End::new(index, &config, epoch)).collect(),
            in_flight: BTreeMap::new(),
            serial: 0,
            sent: Vec::new(),
            loses: Box::new(|_, _| false),
        };
        net.run(Duration::ZERO);
        net
    }

    /// Two ends, of which the first knows where the second is.
    fn pair() -> Self {
        Self::new([config(0, vec![reachable(1)]), config(1, vec![peer(0)])])
    }

    /// The same, with a session.
    fn connected() -> Self {
        let mut net = Self::pair();
        net.send(0, 1, 0);
        net.run(seconds(1));
        net.send(1, 0, 0);
        net.run(seconds(1));
        assert_eq!((net.ends[0].numbers(), net.ends[1].numbers()), (vec![0], vec![0]));
        net
    }

    fn now_at(&self, end: usize) -> Instant {
        self.now + self.ends[end].epoch
    }

    /// Sends a numbered packet from one end to another.
    fn send(&mut self, from: usize, to: usize, number: u32) {
        self.send_packet(from, packet(inner_address(from), inner_address(to), number, 100));
    }

    /// Sends any packet to whoever owns its (IPv4) destination.
    fn send_packet(&mut self, from: usize, mut packet: Vec<u8>) {
        let now = self.now_at(from);
        let len = packet.len();
        packet.resize(len + 15, 0xff);
        let destination: [u8; 4] = packet[16..20].try_into().unwrap();
        let End { tunnel, egress, monitor, .. } = &mut self.ends[from];
        let id = tunnel.route(destination.into()).unwrap().peer;
        tunnel.send(id, &mut packet, len, egress, monitor, now);
        self.drain(from);
    }

    /// Hands a datagram to an end at once.
    fn deliver(&mut self, to: usize, datagram: &Datagram) {
        let now = self.now_at(to);
        let End { tunnel, egress, monitor, address, received, .. } = &mut self.ends[to];
        let &Datagram { source, ecn, .. } = datagram;
        let arrival = Arrival { source, local: Some(address.ip()), ecn };
        let bytes = &datagram.bytes;
        if let Some((_, packet)) = tunnel.handle_datagram(arrival, bytes, egress, monitor, now) {
            received.push(packet.to_vec());
        }
        self.drain(to);
    }

    fn resolve(&mut self, end: usize, addresses: &[SocketAddr]) {
        let now = self.now_at(end);
        let End { tunnel, egress, monitor, .. } = &mut self.ends[end];
        tunnel.handle_resolved(PeerId::first(0), addresses, egress, monitor, now);
        self.drain(end);
    }

    fn drain(&mut self, end: usize) {
        while let Some(train) = self.ends[end].egress.front() {
            let contents = train.contents.to_vec();
            let Transmit { destination, segment_size, ecn, .. } = train;
            for segment in contents.chunks(segment_size) {
                let source = self.ends[end].address;
                let datagram = Datagram { source, destination, ecn, bytes: segment.to_vec() };
                self.sent.push((self.now, datagram.clone()));
                if !(self.loses)(self.now, &datagram) {
                    self.serial += 1;
                    self.in_flight.insert((self.now + LATENCY, self.serial), datagram);
                }
            }
            self.ends[end].egress.transmitted(contents.len());
        }
    }

    fn deadline(&self, end: usize) -> Option<Instant> {
        let End { tunnel, epoch, .. } = &self.ends[end];
        let due = tunnel.poll_timeout()?.since_epoch().saturating_sub(*epoch);
        Some(Instant::ZERO + due)
    }

    /// Lets everything happen that happens within `duration`.
    fn run(&mut self, duration: Duration) {
        let end_of_run = self.now + duration;
        loop {
            let due = (0..self.ends.len()).filter_map(|end| Some((self.deadline(end)?, end))).min();
            let arrival = self.in_flight.first_key_value().map(|((at, _), _)| *at);
            let next = due.map(|(at, _)| at).into_iter().chain(arrival).min();
            let Some(next) = next.filter(|next| *next <= end_of_run) else { break };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, datagram) = self.in_flight.pop_first().unwrap();
                let to = self.ends.iter().position(|end| end.address == datagram.destination);
                if let Some(to) = to {
                    self.deliver(to, &datagram);
                }
            } else if let Some((_, end)) = due {
                self.fire(end);
            }
        }
        self.now = end_of_run;
    }

    fn fire(&mut self, end: usize) {
        let now = self.now_at(end);
        let End { tunnel, egress, monitor, .. } = &mut self.ends[end];
        tunnel.handle_timeout(egress, monitor, now);
        assert!(tunnel.poll_timeout().is_none_or(|due| due > now), "a deadline that fired moves");
        self.drain(end);
    }

    /// Runs for `duration` while both ends send a packet each `interval`. Returns how many each
    /// has sent.
    fn converse(&mut self, duration: Duration, interval: Duration) -> u32 {
        let rounds = (duration.as_nanos() / interval.as_nanos()) as u32;
        for round in 0..rounds {
            self.send(0, 1, round);
            self.send(1, 0, round);
            self.run(interval);
        }
        rounds
    }

    /// Replaces an end by one that knows nothing of its past.
    fn restart(&mut self, end: usize, config: &Config) {
        let now = self.now_at(end);
        self.ends[end].tunnel = Tunnel::new(config, [77; 32], now);
        self.ends[end].received.clear();
        self.run(Duration::ZERO);
    }

    fn clear_received(&mut self) {
        for end in &mut self.ends {
            end.received.clear();
        }
        self.sent.clear();
    }

    /// When initiations left an end, in whole seconds of the simulation.
    fn initiations_of(&self, end: usize) -> Vec<u64> {
        self.sent
            .iter()
            .filter(|(_, d)| d.is_initiation() && d.source == self.ends[end].address)
            .map(|(at, _)| at.as_nanos() / 1_000_000_000)
            .collect()
    }

    fn is_up(&self, end: usize) -> bool {
        self.ends[end].first_peer().session_since().is_some()
    }
}
