//! Random packets of two peers and a moody embedder, many times over. A run is named by its seed.

#[path = "random/forge.rs"]
mod forge;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use slipwire_core::{Action, FlowId, Loss, Protocol, Refusal, TrafficClass, Undelivered};

use crate::dice::Dice;
use crate::good_client::{GOOD_LEN, GOOD_PORT, GoodClient, good_byte};
use crate::packets::{self, SYN, Segment};
use crate::world::{World, inner, socket};

const SEEDS: u64 = 200;
const STEPS: usize = 500;
const PEERS: usize = 2;
const TCP_FLOWS: usize = 16;
const UDP_FLOWS: usize = 8;
const ICMP_FLOWS: usize = 4;

/// Both ends of a connection, the peer's first.
type Pair = (SocketAddr, SocketAddr);

struct Run {
    dice: Dice,
    world: World,
    /// Every flow that ever was.
    flows: Vec<FlowId>,
    unread: Vec<FlowId>,
    /// What the engine last sent on each connection.
    heard: BTreeMap<Pair, Segment>,
    good: GoodClient,
    /// Whether the embedder still has moods.
    moody: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        let world = World::new(PEERS, |parts| {
            parts.limits.tcp_flows = TCP_FLOWS;
            parts.limits.half_open = TCP_FLOWS / 2;
            parts.limits.udp_flows = UDP_FLOWS;
            parts.limits.icmp_flows = ICMP_FLOWS;
            // Sessions with a peer that is gone cost a handshake each few seconds.
            parts.tcp.idle_timeout =
                Duration::from_secs(if seed.is_multiple_of(20) { 7_440 } else { 600 });
            parts.tcp.receive_buffer = 4096 << (seed % 6);
            parts.tcp.send_buffer = 4096 << (seed % 5);
        });
        Self {
            dice: Dice::new(seed),
            world,
            flows: Vec::new(),
            unread: Vec::new(),
            heard: BTreeMap::new(),
            good: GoodClient::default(),
            moody: true,
        }
    }

    fn play(&mut self) {
        for _ in 0..STEPS {
            match self.dice.below(12) {
                0..=6 => self.send_hostile(),
                7 => self.be_moody(),
                8..=9 => self.send_good(),
                10 => {
                    let micros = self.dice.pick(&[1, 900, 50_000, 1_500_000]);
                    self.pass(Duration::from_micros(micros));
                }
                _ if self.dice.chance(5) => self.pass(Duration::from_secs(130)),
                _ => self.world.wake(),
            }
            self.settle();
            self.check_limits();
        }
        self.end();
    }

    /// Lets time pass, and the embedder do its work at each stop.
    fn pass(&mut self, time: Duration) {
        let until = self.world.now + time;
        for stop in 0.. {
            assert!(stop < 20_000, "time stands still");
            self.settle();
            let next = self.world.engine.poll_timeout().filter(|at| *at <= until);
            let Some(at) = next else { break };
            self.world.now = self.world.now.max(at);
            self.world.wake();
        }
        self.world.now = until;
    }

    fn end(&mut self) {
        self.moody = false;
        for peer in &mut self.world.peers {
            peer.gone = true;
        }
        self.pass(Duration::from_secs(3 * 3_600));
        let alive: Vec<_> = self
            .flows
            .iter()
            .filter_map(|flow| self.world.engine.meta(*flow).map(|meta| (*flow, meta.clone())))
            .collect();
        assert!(alive.is_empty(), "left: {alive:?}");
        let wakes = self.world.pass(Duration::from_secs(3_600));
        assert!(wakes < 2_000, "{wakes} times awake for nothing");
        for peer in 0..PEERS {
            self.world.peers[peer].gone = false;
            self.fill_shares(peer);
        }
    }

    /// What ended has given back all that it had: a peer gets its whole share again.
    fn fill_shares(&mut self, peer: usize) {
        let host = socket("192.0.2.80:80");
        let mut packets = Vec::new();
        for port in 20_000..20_000 + TCP_FLOWS as u16 {
            let source = inner(peer, false, port);
            packets.push(Segment { flags: SYN, ..Segment::new(source, host) }.bytes());
            packets.push(packets::udp(source, host, b""));
            let [high, low] = port.to_be_bytes();
            let echo = vec![8, 0, 0, 0, high, low, 0, 0];
            packets.push(packets::icmp(source.ip(), host.ip(), echo));
        }
        let (mut offered, mut connects) = (BTreeMap::new(), Vec::new());
        for packet in packets {
            self.world.send(peer, &packet);
            for action in std::mem::take(&mut self.world.actions) {
                if let Action::Open(flow) = action {
                    let protocol = self.world.engine.meta(flow).map(|meta| meta.protocol);
                    *offered.entry(protocol).or_insert(0) += 1;
                    connects.extend((protocol == Some(Protocol::Tcp)).then_some(flow));
                }
            }
        }
        // Each makes room for the next, within half of the half-open flows for one.
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
            assert_eq!(offered.get(&Some(protocol)), Some(&TCP_FLOWS));
        }
        connects.retain(|flow| self.world.engine.meta(*flow).is_some());
        assert_eq!(connects.len(), TCP_FLOWS / 4);
    }

    fn check_limits(&self) {
        let mut live = BTreeMap::new();
        for meta in self.flows.iter().filter_map(|flow| self.world.engine.meta(*flow)) {
            *live.entry(meta.protocol).or_insert(0) += 1;
        }
        for (protocol, limit) in
            [(Protocol::Tcp, TCP_FLOWS), (Protocol::Udp, UDP_FLOWS), (Protocol::Icmp, ICMP_FLOWS)]
        {
            assert!(live.get(&protocol).is_none_or(|count| *count <= limit), "{live:?}");
        }
    }

    // The embedder.

    /// Does what actions ask for, until there are none.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "actions without end");
            let actions = std::mem::take(&mut self.world.actions);
            self.world.datagrams.clear();
            for (peer, raw) in self.world.peers.iter_mut().enumerate() {
                for packet in std::mem::take(&mut raw.received) {
                    let Some(segment) = Segment::read(&packet) else { continue };
                    if peer == 0 && segment.destination.port() == GOOD_PORT {
                        self.good.hear(&segment);
                    } else {
                        self.heard.insert((segment.destination, segment.source), segment);
                    }
                }
            }
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.act(action);
            }
            self.world.drain();
        }
    }

    fn act(&mut self, action: Action) {
        let now = self.world.now;
        match action {
            Action::Open(flow) => {
                self.flows.push(flow);
                // It may be gone already.
                let Ok(mut offer) = self.world.engine.flow(flow) else { return };
                let meta = offer.meta();
                if meta.source.port() == GOOD_PORT && meta.protocol == Protocol::Tcp {
                    self.good.flow = Some(flow);
                    return offer.opened(None, now);
                }
                match self.dice.below(6) {
                    0 => {
                        let refusal = self.dice.pick(&[
                            Refusal::Refused,
                            Refusal::TimedOut,
                            Refusal::HostUnreachable,
                            Refusal::NetworkUnreachable,
                            Refusal::Prohibited,
                            Refusal::Exhausted,
                            Refusal::Protected,
                        ]);
                        offer.refused(refusal, now);
                    }
                    1 => {}
                    _ => offer.opened(None, now),
                }
            }
            Action::Established(flow) | Action::Writable(flow) => self.write(flow),
            Action::Readable(flow) => {
                if self.moody && self.dice.chance(30) && Some(flow) != self.good.flow {
                    self.unread.push(flow);
                } else {
                    self.read(flow);
                }
            }
            Action::Shutdown(flow) => {
                if (self.dice.chance(70) || !self.moody)
                    && let Ok(mut flow) = self.world.engine.flow(flow)
                {
                    flow.shut_down(now);
                }
            }
            Action::Closed(flow) | Action::Aborted(flow, _) => {
                assert!(self.world.engine.meta(flow).is_none(), "its id is stale");
                if Some(flow) == self.good.flow {
                    self.good.over = true;
                }
            }
            Action::Idle(flow) => {
                if let Ok(flow) = self.world.engine.flow(flow) {
                    let _ = flow.lend_idle_rings(now);
                }
            }
            Action::Resolve(peer) => self.world.engine.handle_resolved(peer, &[], now),
        }
    }

    fn write(&mut self, flow: FlowId) {
        let share = self.dice.below(101);
        let now = self.world.now;
        let Ok(mut flow) = self.world.engine.flow(flow) else { return };
        let room = flow.send_room(now).len();
        flow.commit(room * share / 100, now);
    }

    fn read(&mut self, flow: FlowId) {
        let good = (Some(flow) == self.good.flow).then_some(&mut self.good.got);
        let mut got = Vec::new();
        loop {
            let most = if self.moody { self.dice.below(3_000) + 1 } else { usize::MAX };
            let Ok(mut flow) = self.world.engine.flow(flow) else { break };
            let bytes = flow.received();
            let len = bytes.len().min(most);
            if len == 0 {
                break;
            }
            got.extend_from_slice(&bytes[..len]);
            flow.consume(len, self.world.now);
        }
        if let Some(good) = good {
            good.extend(got);
            let right = good.iter().enumerate().all(|(at, byte)| *byte == good_byte(at));
            assert!(right && good.len() <= GOOD_LEN, "a good stream is a prefix of itself");
        }
    }

    /// Does something to some flow, which may be long gone.
    fn be_moody(&mut self) {
        let now = self.world.now;
        if self.dice.chance(20) {
            let port = self.dice.below(3) as u16;
            let peer = self.dice.below(PEERS);
            let target = inner(peer, self.dice.chance(50), port);
            let opened = if self.dice.chance(50) {
                self.world.engine.open_tcp(target, now)
            } else {
                self.world.engine.open_udp(target, now)
            };
            self.flows.extend(opened);
        }
        if let Some(flow) = self.unread.pop() {
            self.read(flow);
        }
        if self.flows.is_empty() {
            return;
        }
        let flow = self.dice.pick(&self.flows);
        if Some(flow) == self.good.flow {
            return;
        }
        let remote = self.dice.pick(&hosts());
        let len = self.dice.pick(&[0, 1, 7, 8, 9, 1_392, 1_393, 9_000, 65_507, 65_508, 70_000]);
        let mut payload = self.dice.bytes(len);
        if let Some(kind) = payload.first_mut() {
            *kind = self.dice.pick(&[0, 129, 8, 3, 255]);
        }
        let what = self.dice.below(9);
        let Ok(mut handle) = self.world.engine.flow(flow) else { return self.world.drain() };
        match what {
            0 => handle.opened(None, now),
            1 => handle.refused(Refusal::HostUnreachable, now),
            2 => handle.abort(now),
            3 => handle.shut_down(now),
            4 | 5 => handle.send_datagram(remote, TrafficClass::DEFAULT, &payload, now),
            6 => {
                let loss = self.dice.pick(&[
                    Loss::Refused(Refusal::Refused),
                    Loss::TimeExceeded { hop: remote.ip() },
                    Loss::TooBig { mtu: 0 },
                    Loss::TooBig { mtu: u16::MAX },
                ]);
                let echo_sequence = self.dice.pick(&[None, Some(7)]);
                let undelivered = Undelivered { remote, echo_sequence, loss };
                handle.undelivered(undelivered, now);
                handle.opened(Some(remote.port()), now);
            }
            7 => self.write(flow),
            _ => self.read(flow),
        }
        self.world.drain();
    }

    // The peers.

    fn send_hostile(&mut self) {
        let peer = self.dice.below(PEERS);
        let packet = self.hostile_packet(peer);
        let packets = if self.dice.chance(15) { self.cut_up(&packet) } else { vec![packet] };
        for mut packet in packets {
            if self.dice.chance(12) {
                for _ in 0..=self.dice.below(4) {
                    let at = self.dice.below(packet.len().min(80));
                    packet[at] ^= 1 << self.dice.below(8);
                }
                if self.dice.chance(50) {
                    packets::mend_ip(&mut packet);
                }
            }
            if self.dice.chance(3) {
                packet.truncate(self.dice.below(packet.len()));
            }
            // The good connection is not theirs to touch.
            let good =
                Segment::read(&packet).is_some_and(|segment| segment.source.port() == GOOD_PORT);
            if good || packet.is_empty() {
                continue;
            }
            self.world.push(peer, &packet);
            if self.dice.chance(70) {
                self.world.drain();
                self.settle();
            }
        }
    }

    fn send_good(&mut self) {
        if self.good.over {
            return;
        }
        for mut segment in self.good.segments() {
            if self.dice.chance(10) {
                continue;
            }
            if self.dice.chance(10) {
                // Overlaps what was sent, with the same bytes.
                segment.payload.truncate(segment.payload.len() / 2);
            }
            self.world.send(0, &segment.bytes());
            self.settle();
        }
    }
}

fn hosts() -> Vec<SocketAddr> {
    ["192.0.2.80:80", "192.0.2.81:443", "192.0.2.80:53", "[2001:db8::80]:80", "192.0.2.80:0"]
        .map(socket)
        .to_vec()
}

#[test]
fn no_peer_and_no_embedder_breaks_the_engine() {
    for seed in 0..SEEDS {
        let outcome = catch_unwind(AssertUnwindSafe(|| Run::new(seed).play()));
        if let Err(panic) = outcome {
            eprintln!("seed {seed}");
            resume_unwind(panic);
        }
    }
}
