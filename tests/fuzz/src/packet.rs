//! Packets of authenticated peers, and an embedder that does what it likes.
//!
//! A script of commands: a byte that says what in its low 4 bits. Up to 9 a packet follows, as
//! bytes; the high bits say how it is dressed up: 16 another peer's, 32 with its peer's source, 64
//! with right lengths and checksums, 128 with sequence numbers that count from where the connection
//! is. 10 and above are the embedder's and the clock's.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use slipwire_core::{Action, FlowId, Loss, Refusal, TrafficClass, Undelivered};

use super::gateway::{World, inner};
use super::script::Script;
use super::wire::{self, Layout, TCP};

const COMMANDS_MAX: usize = 64;
const LEN_END: u16 = 1500;
/// Flows of either kind that the embedder opens in one run.
const OPENED_MAX: usize = 8;
const SYN: u8 = 2;
const FIN: u8 = 1;
const REFUSALS: [Refusal; 7] = [
    Refusal::Refused,
    Refusal::TimedOut,
    Refusal::HostUnreachable,
    Refusal::NetworkUnreachable,
    Refusal::Prohibited,
    Refusal::Exhausted,
    Refusal::Protected,
];

/// Both ends of a connection with their ports, the peer's first.
type Ends = (IpAddr, [u8; 2], IpAddr, [u8; 2]);

struct Run {
    world: World,
    flows: Vec<FlowId>,
    /// What the engine last sent on a connection: its acknowledgement, and the end of its bytes.
    heard: BTreeMap<Ends, (u32, u32)>,
    opened: usize,
}

pub(super) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut run = Run { world: World::new(), flows: Vec::new(), heard: BTreeMap::new(), opened: 0 };
    for _ in 0..COMMANDS_MAX {
        if run.command(&mut script).is_none() {
            break;
        }
        run.settle();
    }
    run.end();
}

impl Run {
    fn command(&mut self, script: &mut Script<'_>) -> Option<()> {
        let what = script.byte()?;
        let now = self.world.now;
        match what & 15 {
            0..=7 => {
                let packet = script.bytes(LEN_END)?.to_vec();
                let packet = self.dress(what, packet);
                self.world.send(sender(what), &packet);
            }
            8 | 9 => {
                let packet = script.bytes(LEN_END)?.to_vec();
                let first = self.dress(what, packet);
                let second = continuation(first.clone());
                self.world.send_train(sender(what), &[first, second]);
            }
            10 => self.answer(script.byte()?),
            11 => {
                let flow = self.flow(script)?;
                let len = usize::from(script.word()?);
                self.write(flow, len);
            }
            12 => {
                let flow = self.flow(script)?;
                let len = usize::from(script.word()?);
                if let Ok(mut flow) = self.world.engine.flow(flow) {
                    let len = flow.received().len().min(len);
                    flow.consume(len, now);
                }
            }
            13 => {
                let flow = self.flow(script)?;
                self.end_flow(flow, script.byte()?);
            }
            14 => self.world.pass(Duration::from_millis(u64::from(script.word()?))),
            _ => self.open(script.byte()?),
        }
        Some(())
    }

    /// A flow of this run, perhaps one that is over.
    fn flow(&self, script: &mut Script<'_>) -> Option<FlowId> {
        let index = usize::from(script.byte()?);
        self.flows.get(index % self.flows.len().max(1)).copied()
    }

    /// Makes a packet look more like one of a connection of its sender, as `dress` says.
    fn dress(&self, dress: u8, mut packet: Vec<u8>) -> Vec<u8> {
        let peer = sender(dress);
        if let Some(layout) = Layout::of(&packet) {
            if dress & 32 != 0 {
                let source = inner(peer, layout.source(&packet).is_ipv4());
                layout.set_source(&mut packet, source);
            }
            if dress & 128 != 0 {
                self.put_in_sequence(layout, &mut packet);
            }
            if dress & 64 != 0 {
                wire::mend(&mut packet);
            }
        }
        packet
    }

    /// Adds to a segment's numbers those that its connection is at.
    fn put_in_sequence(&self, layout: Layout, packet: &mut [u8]) {
        let at = layout.header_len;
        if layout.protocol != TCP || packet.len() < at + 20 {
            return;
        }
        let ports = |place: usize| [packet[place], packet[place + 1]];
        let ends = (layout.source(packet), ports(at), layout.destination(packet), ports(at + 2));
        let Some((acknowledged, end)) = self.heard.get(&ends) else { return };
        for (place, base) in [(at + 4, acknowledged), (at + 8, end)] {
            let number = base.wrapping_add(word(packet, place));
            packet[place..place + 4].copy_from_slice(&number.to_be_bytes());
        }
    }

    /// Takes note of actions, and of where connections are.
    fn settle(&mut self) {
        self.world.drain();
        self.world.datagrams();
        for peer in [0, 1] {
            for packet in self.world.received(peer) {
                self.hear(&packet);
            }
        }
        let mut ended = Vec::new();
        for action in &self.world.actions {
            match action {
                Action::Open(flow) if !self.flows.contains(flow) => self.flows.push(*flow),
                Action::Closed(flow) | Action::Aborted(flow, _) => ended.push(*flow),
                Action::Open(_)
                | Action::Established(_)
                | Action::Readable(_)
                | Action::Writable(_)
                | Action::Idle(_)
                | Action::Shutdown(_)
                | Action::Resolve(_) => {}
            }
        }
        for flow in ended {
            assert!(self.world.engine.meta(flow).is_none(), "{flow:?} is over and is not");
        }
        // What waits for an answer stays; see `answer`.
        self.world.actions.retain(|action| matches!(action, Action::Open(_)));
    }

    fn hear(&mut self, packet: &[u8]) {
        let Some(layout) = Layout::of(packet) else { return };
        let at = layout.header_len;
        if layout.protocol != TCP || packet.len() < at + 20 {
            return;
        }
        let flags = packet[at + 13];
        let marks = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        let data = packet.len().saturating_sub(at + usize::from(packet[at + 12] >> 4) * 4) as u32;
        let end = word(packet, at + 4).wrapping_add(data).wrapping_add(marks);
        let ports = |place: usize| [packet[place], packet[place + 1]];
        let ends = (layout.destination(packet), ports(at + 2), layout.source(packet), ports(at));
        self.heard.insert(ends, (word(packet, at + 8), end));
    }

    /// Answers every flow that waits: opened, or refused for one of the reasons.
    fn answer(&mut self, how: u8) {
        let now = self.world.now;
        for action in std::mem::take(&mut self.world.actions) {
            let Action::Open(flow) = action else { continue };
            let Ok(mut flow) = self.world.engine.flow(flow) else { continue };
            match REFUSALS.get(usize::from(how)) {
                Some(refusal) => flow.refused(*refusal, now),
                None => flow.opened(Some(1000 + u16::from(how)), now),
            }
        }
    }

    /// Bytes or a datagram of the host leg.
    fn write(&mut self, flow: FlowId, len: usize) {
        let now = self.world.now;
        let Ok(mut flow) = self.world.engine.flow(flow) else { return };
        let room = flow.send_room(now);
        let filled = len.min(room.len());
        room[..filled].fill(b'w');
        flow.commit(filled, now);
        let remote = flow.meta().destination;
        // An echo reply of either version, if that is what it is.
        let kind = if remote.is_ipv4() { 0 } else { 129 };
        let mut payload = vec![0; len];
        payload.iter_mut().take(1).for_each(|first| *first = kind);
        flow.send_datagram(remote, TrafficClass::DEFAULT, &payload, now);
    }

    fn end_flow(&mut self, flow: FlowId, how: u8) {
        let now = self.world.now;
        let engine = &mut self.world.engine;
        match how & 7 {
            4 => return engine.handle_too_big([198, 51, 100, 1].into(), 1400, None, now),
            5 => {
                let path_mtu = u16::from(how) << 3;
                return engine.handle_path_mtu([198, 51, 100, 1].into(), path_mtu, now);
            }
            _ => {}
        }
        let Ok(mut flow) = engine.flow(flow) else { return };
        let remote = flow.meta().destination;
        let loss = match how & 7 {
            0 => return flow.shut_down(now),
            1 => return flow.abort(now),
            2 => Loss::TimeExceeded { hop: remote.ip() },
            3 => Loss::TooBig { mtu: u16::from(how) << 4 },
            _ => Loss::Refused(REFUSALS[usize::from(how >> 3) % REFUSALS.len()]),
        };
        let echo_sequence = (how & 128 != 0).then_some(1);
        flow.undelivered(Undelivered { remote, echo_sequence, loss }, now);
    }

    /// Opens a flow to a peer.
    fn open(&mut self, how: u8) {
        if self.opened == OPENED_MAX {
            return;
        }
        self.opened += 1;
        let target = SocketAddr::new(inner(usize::from(how >> 1 & 1), how & 4 == 0), 80);
        let now = self.world.now;
        let engine = &mut self.world.engine;
        let opened =
            if how & 1 == 0 { engine.open_tcp(target, now) } else { engine.open_udp(target, now) };
        self.flows.extend(opened);
    }

    /// Shut down, nothing is left.
    fn end(&mut self) {
        self.world.engine.shut_down(self.world.now);
        self.world.drain();
        for flow in &self.flows {
            assert!(self.world.engine.meta(*flow).is_none(), "{flow:?} is left");
        }
    }
}

fn word(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

/// Who sends a packet that is dressed like this.
fn sender(dress: u8) -> usize {
    usize::from(dress >> 4 & 1)
}

/// The segment that follows a segment, and carries the same; anything else just comes twice.
fn continuation(mut packet: Vec<u8>) -> Vec<u8> {
    if let Some(layout) = Layout::of(&packet)
        && layout.protocol == TCP
        && packet.len() >= layout.header_len + 20
    {
        let at = layout.header_len;
        let header_len = at + usize::from(packet[at + 12] >> 4) * 4;
        let payload_len = packet.len().saturating_sub(header_len) as u32;
        let next = word(&packet, at + 4).wrapping_add(payload_len);
        packet[at + 4..at + 8].copy_from_slice(&next.to_be_bytes());
        wire::mend(&mut packet);
    }
    packet
}
