//! The stack against peers made by hand: each test sends the very packets that it is about.

mod answers;
mod belief;
mod door;
mod events;
mod icmp;
mod idle;
mod into_tunnel;
mod lifecycle;
mod limits;
mod memory;
mod meta;
mod overlay;
mod peers;
mod reach;
mod reincarnation;
mod repeating;
mod requirements;
mod reuse;
mod rules;
mod sizes;
mod state;
mod tcp;
mod time_wait;
mod udp;
mod undelivered;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use smoltcp::wire::{TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

use crate::action::Action;
use crate::config::{Config, DefaultAction, Gateway, Interface, Parts, Tcp};
use crate::datagram::TrafficClass;
use crate::event::Event;
use crate::flow::NoFlow;
use crate::id::{FlowId, Identity, PeerId};
use crate::key::PrivateKey;
use crate::limits::SCRATCH_LEN;
use crate::outcome::FlowOutcome;
use crate::routing::Route;
use crate::rules::{Rule, RuleAction};
use crate::stack::input::{Input, PacketBytes};
use crate::stack::outlet::Outlet;
use crate::stack::packet::{Packet, Transport, write_icmp, write_tcp, write_udp};
use crate::stack::{Setup, Stack};
use crate::state::Transfer;
use crate::stats::{Counter, Stats};
use crate::time::Instant;

const ALICE: PeerId = PeerId::first(0);
const BOB: PeerId = PeerId::first(1);
const CAROL: PeerId = PeerId::first(2);
const ALICE_IP: &str = "10.0.0.2";
const BOB_IP: &str = "10.0.0.3";
const CAROL_IP: &str = "10.0.0.4";
const OWN_IP: &str = "10.0.0.1";
const HOST: &str = "192.0.2.80:80";

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What whoever listens heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    Opened(FlowId),
    Ended(FlowId, FlowOutcome, Transfer),
    /// Why, and by which rule.
    Refused(FlowOutcome, Option<usize>),
}

impl Heard {
    fn of(event: Event<'_>) -> Self {
        match event {
            Event::FlowOpened(flow) => Self::Opened(flow.id),
            Event::FlowEnded { flow, outcome } => Self::Ended(flow.id, outcome, flow.transfer),
            Event::FlowRefused { outcome, rule, .. } => Self::Refused(outcome, rule),
            Event::PeerUp { .. }
            | Event::PeerDown { .. }
            | Event::PeerSilent { .. }
            | Event::HandshakeRefused { .. } => panic!("the stack knows nothing of that"),
        }
    }

    fn outcome(self) -> Option<FlowOutcome> {
        match self {
            Self::Opened(_) => None,
            Self::Ended(_, outcome, _) | Self::Refused(outcome, _) => Some(outcome),
        }
    }
}

/// What the stack sent: the peer and the packet.
type Sent = (PeerId, Vec<u8>);

struct Recorder {
    sent: Vec<Sent>,
    room: bool,
    /// An address that Bob owns beside his own.
    taken: Option<IpAddr>,
    path_mtu: u16,
    stats: Stats,
    by_peer: BTreeMap<PeerId, Stats>,
    heard: Vec<Heard>,
}

impl Outlet for Recorder {
    fn has_room(&mut self) -> bool {
        self.room
    }

    fn send(&mut self, peer: PeerId, buffer: &mut [u8], len: usize) {
        assert!(buffer.len() >= len + 15, "the tunnel pads in place");
        self.sent.push((peer, buffer[..len].to_vec()));
    }

    fn route(&self, destination: IpAddr) -> Option<Route> {
        if self.taken == Some(destination) {
            return Some(Route { peer: BOB, prefix_len: 32 });
        }
        let v6 = destination.is_ipv6();
        let text = destination.to_string();
        let (peer, prefix_len) = match text.as_str() {
            ALICE_IP | "fd00::2" => (ALICE, if v6 { 128 } else { 32 }),
            BOB_IP => (BOB, 32),
            CAROL_IP => (CAROL, 32),
            _ if text.starts_with("172.16.") => (ALICE, 12),
            _ => return None,
        };
        Some(Route { peer, prefix_len })
    }

    fn path_mtu(&mut self, _: PeerId) -> u16 {
        self.path_mtu
    }

    fn identity(&self, peer: PeerId) -> Option<Arc<Identity>> {
        let name = ["alice", "bob", "carol"].get(peer.slot()).unwrap_or(&"another");
        let public_key = PrivateKey::from_entropy([peer.slot as u8 + 1; 32]).public_key();
        Some(Arc::new(Identity { name: (*name).into(), public_key }))
    }

    fn is_observed(&self) -> bool {
        true
    }

    fn tell(&mut self, event: Event<'_>) {
        self.heard.push(Heard::of(event));
    }

    fn count(&mut self, peer: PeerId, counter: Counter) {
        self.stats.count(counter);
        self.by_peer.entry(peer).or_insert_with(Stats::new).count(counter);
    }
}

/// A stack, what it sent, and the time.
struct World {
    stack: Stack,
    wire: Recorder,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Parts)) -> Self {
        Self::seeded([3; 32], change)
    }

    fn seeded(seed: [u8; 32], change: impl FnOnce(&mut Parts)) -> Self {
        let own = ["10.0.0.1/24", "fd00::1/64"].map(|address| address.parse().unwrap());
        let interface = Interface::new(PrivateKey::from_entropy([9; 32]), own);
        let page = Rule {
            to: vec!["10.0.0.1/32".parse().unwrap()],
            ports: vec![8080..=8080],
            ..Rule::any(RuleAction::Serve)
        };
        let gateway = Gateway { rules: vec![page], peer_to_peer: true, ..Gateway::default() };
        let mut parts = Parts {
            gateway: Some(gateway),
            tcp: Tcp { receive_buffer: 1 << 16, send_buffer: 1 << 16, ..Tcp::default() },
            ..Parts::new(interface)
        };
        change(&mut parts);
        let config = Config::new(parts).unwrap();
        Self {
            stack: Stack::new(&Setup::of(&config), seed, 0),
            wire: Recorder {
                sent: Vec::new(),
                room: true,
                taken: None,
                path_mtu: 1420,
                stats: Stats::new(),
                by_peer: BTreeMap::new(),
                heard: Vec::new(),
            },
            now: Instant::from_nanos(1_000_000_000),
        }
    }

    fn receive(&mut self, peer: PeerId, packet: &[u8]) {
        let bytes = PacketBytes::Own(packet.to_vec());
        self.input(Input::Packet { peer, bytes });
        self.input(Input::TrainEnd);
    }

    /// Drains the actions, and lets the stack send what is due.
    fn actions(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        loop {
            while let Some(action) = self.stack.poll_action() {
                actions.push(action);
            }
            if !self.service() {
                return actions;
            }
        }
    }

    fn sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.wire.sent)
    }

    fn only_sent(&mut self) -> Sent {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "one packet was due");
        sent.remove(0)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.input(Input::Timeout);
    }

    fn count(&self, counter: Counter) -> u64 {
        self.wire.stats.value(counter)
    }

    /// The flow that the stack asks to open.
    fn offered(&mut self) -> FlowId {
        match self.actions()[..] {
            [Action::Open(flow)] => flow,
            ref other => panic!("an offer was due: {other:?}"),
        }
    }

    fn datagrams(&mut self) -> Vec<(FlowId, SocketAddr, Vec<u8>)> {
        let mut datagrams = Vec::new();
        while let Some(datagram) = self.stack.poll_datagram() {
            datagrams.push((datagram.flow, datagram.remote, datagram.payload.to_vec()));
            self.stack.pop_datagram();
        }
        datagrams
    }
}

fn icmp(source: &str, destination: &str, head: [u8; 8], body: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0; SCRATCH_LEN];
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    let len = write_icmp(&mut buffer, source, destination, &head, body).unwrap();
    buffer.truncate(len);
    buffer
}

fn udp(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0; SCRATCH_LEN];
    let len = write_udp(&mut buffer, socket(source), socket(destination), payload).unwrap();
    buffer.truncate(len);
    buffer
}

/// A peer's end of a TCP connection, by hand.
struct Client {
    peer: PeerId,
    local: SocketAddr,
    remote: SocketAddr,
    next: TcpSeqNumber,
    acknowledged: TcpSeqNumber,
}

/// A TCP segment that the stack sent, as far as tests look.
#[derive(Debug, PartialEq, Eq)]
struct Segment {
    control: TcpControl,
    sequence: TcpSeqNumber,
    acknowledgement: Option<TcpSeqNumber>,
    payload: Vec<u8>,
}

impl Client {
    fn new(local: &str, remote: &str) -> Self {
        let acknowledged = TcpSeqNumber(0);
        let (local, remote) = (socket(local), socket(remote));
        Self { peer: ALICE, local, remote, next: TcpSeqNumber(1000), acknowledged }
    }

    fn segment(&self, control: TcpControl, payload: &[u8]) -> Vec<u8> {
        let syn = control == TcpControl::Syn;
        self.write(&TcpRepr {
            src_port: self.local.port(),
            dst_port: self.remote.port(),
            control,
            seq_number: self.next,
            ack_number: (!syn).then_some(self.acknowledged),
            window_len: 60_000,
            window_scale: syn.then_some(4),
            max_seg_size: syn.then_some(1380),
            sack_permitted: syn,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        })
    }

    /// A server's answer to a SYN.
    fn syn_ack(&self, acknowledgement: TcpSeqNumber) -> Vec<u8> {
        self.write(&TcpRepr {
            src_port: self.local.port(),
            dst_port: self.remote.port(),
            control: TcpControl::Syn,
            seq_number: self.next,
            ack_number: Some(acknowledgement),
            window_len: 60_000,
            window_scale: Some(7),
            max_seg_size: Some(1380),
            sack_permitted: true,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        })
    }

    /// An acknowledgement of what was there before, with a window of nothing.
    fn shut(&self) -> Vec<u8> {
        self.write(&TcpRepr {
            src_port: self.local.port(),
            dst_port: self.remote.port(),
            control: TcpControl::None,
            seq_number: self.next,
            ack_number: Some(self.acknowledged),
            window_len: 0,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        })
    }

    fn write(&self, repr: &TcpRepr<'_>) -> Vec<u8> {
        let mut buffer = vec![0; SCRATCH_LEN];
        let len = write_tcp(&mut buffer, self.local.ip(), self.remote.ip(), repr).unwrap();
        buffer.truncate(len);
        buffer
    }

    fn send(&mut self, world: &mut World, control: TcpControl, payload: &[u8]) {
        let packet = self.segment(control, payload);
        world.receive(self.peer, &packet);
        self.next = self.next + payload.len() + control.len();
    }

    /// The segments that the stack sent to this client, in order; it acknowledges them with the
    /// next one that it sends.
    fn received(&mut self, world: &mut World) -> Vec<Segment> {
        let mut segments = Vec::new();
        for (peer, mut bytes) in world.sent() {
            assert_eq!(peer, self.peer);
            let packet = Packet::parse(&mut bytes).unwrap();
            assert_eq!((packet.source, packet.destination), (self.remote.ip(), self.local.ip()));
            assert!(matches!(packet.transport, Transport::Tcp { .. }), "TCP was due");
            let tcp = TcpPacket::new_unchecked(packet.transport_bytes());
            let control = match (tcp.syn(), tcp.fin(), tcp.rst()) {
                (true, ..) => TcpControl::Syn,
                (_, true, _) => TcpControl::Fin,
                (.., true) => TcpControl::Rst,
                _ => TcpControl::None,
            };
            if control != TcpControl::Rst {
                self.acknowledged = tcp.seq_number() + tcp.segment_len();
            }
            segments.push(Segment {
                control,
                sequence: tcp.seq_number(),
                acknowledgement: tcp.ack().then(|| tcp.ack_number()),
                payload: tcp.payload().to_vec(),
            });
        }
        segments
    }

    /// The same for another peer.
    fn of(peer: PeerId, local: &str, remote: &str) -> Self {
        Self { peer, ..Self::new(local, remote) }
    }

    /// Opens a flow through the gateway, all the way.
    fn connect(world: &mut World, local: &str, remote: &str) -> (Self, FlowId) {
        Self::new(local, remote).connected(world)
    }

    /// See [`connect`](Self::connect).
    fn connected(mut self, world: &mut World) -> (Self, FlowId) {
        let client = &mut self;
        client.send(world, TcpControl::Syn, &[]);
        let flow = world.offered();
        assert!(world.sent().is_empty(), "nothing is said before the host connected");
        world.opened(flow);
        assert!(world.actions().is_empty());
        let answer = client.received(world);
        assert_eq!(answer.len(), 1);
        assert_eq!(answer[0].control, TcpControl::Syn);
        assert_eq!(answer[0].acknowledgement, Some(client.next));
        client.send(world, TcpControl::None, &[]);
        assert!(world.actions().is_empty());
        (self, flow)
    }
}

/// Everything that a flow received, as the embedder reads it.
fn read_all(world: &mut World, flow: FlowId) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let bytes = world.take(flow);
        if bytes.is_empty() {
            return all;
        }
        all.extend(bytes);
    }
}

/// Writes as much as the send ring takes.
fn write_all(world: &mut World, flow: FlowId, bytes: &[u8]) -> usize {
    world.send(flow, bytes)
}
