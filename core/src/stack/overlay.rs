//! The overlay: packets between peers go through as they are, without a flow.
//!
//! Rules still have their say where something begins: a connection's SYN, an echo request, the
//! first datagram between two sockets. What follows, and what comes back, is not asked again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use smoltcp::wire::TcpPacket;

use crate::action::{PeerId, Protocol};
use crate::rules::Query;
use crate::stack::flow::{FlowKey, FlowTable, KeyedState};
use crate::stack::icmp::{self, Message, Version};
use crate::stack::packet::{Packet, Transport};
use crate::stack::policy::{Course, Policy};
use crate::stack::{Outlet, Stack};
use crate::time::Instant;

impl Stack {
    /// Which way a packet goes, and the peer that owns its destination, if any does.
    pub(super) fn course(
        &mut self,
        peer: PeerId,
        packet: &Packet<'_>,
        outlet: &dyn Outlet,
        now: Instant,
    ) -> (Course, Option<PeerId>) {
        let route = outlet.route(packet.destination);
        let owner = route.map(|route| route.owner_for(peer));
        let Self { flows, conversations, policy, .. } = self;
        let a_rule_takes = || {
            policy.has_rules()
                && a_rule_takes(flows, conversations, policy, peer, packet, outlet, now)
        };
        let course = policy.course(packet.destination, owner, a_rule_takes);
        (course, route.map(|route| route.peer))
    }
}

/// Whether a rule does something else with a packet to another peer than let it go there.
fn a_rule_takes(
    flows: &FlowTable,
    conversations: &mut Conversations,
    policy: &Policy,
    peer: PeerId,
    packet: &Packet<'_>,
    outlet: &dyn Outlet,
    now: Instant,
) -> bool {
    let (protocol, [from, to]) = match packet.transport {
        Transport::Tcp { source_port, destination_port } => {
            (Protocol::Tcp, [source_port, destination_port])
        }
        Transport::Udp { source_port, destination_port } => {
            (Protocol::Udp, [source_port, destination_port])
        }
        Transport::Icmp => (Protocol::Icmp, [0, 0]),
    };
    let source = SocketAddr::new(packet.source, from);
    let destination = SocketAddr::new(packet.destination, to);
    let key = FlowKey { protocol, peer, inner: source, outer: Some(destination) };
    if protocol != Protocol::Icmp && flows.find(&key).is_some() {
        return true;
    }
    let begins = match protocol {
        Protocol::Tcp => {
            let segment = TcpPacket::new_unchecked(packet.transport_bytes());
            segment.syn() && !segment.ack()
        }
        Protocol::Udp => !conversations.go_on(source, destination, now),
        Protocol::Icmp => {
            let message = icmp::read(Version::of(packet.source), packet.transport_bytes());
            matches!(message, Message::EchoRequest { .. })
        }
    };
    let Some(identity) = outlet.identity(peer).filter(|_| begins) else { return false };
    let query = Query { peer: identity.public_key, protocol, source: source.ip(), destination };
    let takes = policy.rules_out_overlay(&query);
    if !takes && protocol == Protocol::Udp {
        conversations.begin(peer, source, destination);
    }
    takes
}

/// How long a conversation is remembered at least (RFC 4787, REQ-5: two minutes or more).
const GENERATION: Duration = Duration::from_secs(150);
/// Conversations that are remembered, in each of two generations.
const CONVERSATIONS_MAX: usize = 8_192;
/// Those that one peer began.
const CONVERSATIONS_PEER_MAX: usize = CONVERSATIONS_MAX / 2;

/// Pairs of sockets of peers that exchange datagrams, as the rules let them. When there are too
/// many, the older half is asked about again; those of a peer with too many, each time.
#[derive(Debug)]
pub(crate) struct Conversations {
    current: Generation,
    previous: Generation,
    turned_at: Instant,
}

impl Conversations {
    pub(crate) fn new(hash_key: (u64, u64)) -> Self {
        let hasher = KeyedState::new(hash_key);
        let generation = || Generation::new(hasher);
        Self { current: generation(), previous: generation(), turned_at: Instant::ZERO }
    }

    /// Whether two sockets already talk, whoever began; they go on then.
    fn go_on(&mut self, source: SocketAddr, destination: SocketAddr, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.turned_at);
        if age >= 2 * GENERATION {
            self.clear();
        }
        if age >= GENERATION || self.current.begun_by.len() >= CONVERSATIONS_MAX {
            let current = self.current.successor();
            self.previous = std::mem::replace(&mut self.current, current);
            self.turned_at = now;
        }
        let pairs = [(source, destination), (destination, source)];
        if pairs.iter().any(|pair| self.current.begun_by.contains_key(pair)) {
            return true;
        }
        let known = |pair| Some((pair, *self.previous.begun_by.get(&pair)?));
        let Some((pair, peer)) = pairs.into_iter().find_map(known) else { return false };
        self.current.insert(pair, peer);
        true
    }

    /// A peer has begun one.
    fn begin(&mut self, peer: PeerId, source: SocketAddr, destination: SocketAddr) {
        self.current.insert((source, destination), peer);
    }

    /// Whether none is remembered.
    pub(crate) fn is_empty(&self, now: Instant) -> bool {
        let generations = [&self.current, &self.previous];
        generations.iter().all(|generation| generation.begun_by.is_empty())
            || now.saturating_duration_since(self.turned_at) >= 2 * GENERATION
    }

    /// Forgets them all: the rules have changed.
    pub(crate) fn clear(&mut self) {
        (self.current, self.previous) = (self.current.successor(), self.current.successor());
    }
}

/// The conversations of some time.
#[derive(Debug)]
struct Generation {
    begun_by: HashMap<(SocketAddr, SocketAddr), PeerId, KeyedState>,
    count: HashMap<PeerId, usize, KeyedState>,
}

impl Generation {
    fn new(hasher: KeyedState) -> Self {
        let (begun_by, count) = (HashMap::with_hasher(hasher), HashMap::with_hasher(hasher));
        Self { begun_by, count }
    }

    fn successor(&self) -> Self {
        Self::new(*self.count.hasher())
    }

    /// Adds a pair that is not there, unless its peer has its share.
    fn insert(&mut self, pair: (SocketAddr, SocketAddr), peer: PeerId) {
        let count = self.count.entry(peer).or_default();
        if *count < CONVERSATIONS_PEER_MAX {
            *count += 1;
            self.begun_by.insert(pair, peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: PeerId = PeerId::first(0);
    const BOB: PeerId = PeerId::first(1);

    fn socket(n: usize) -> SocketAddr {
        SocketAddr::new([10, (n / 62_500) as u8, (n / 250 % 250) as u8, (n % 250) as u8].into(), 1)
    }

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn answers_belong_to_a_conversation_and_keep_it() {
        let mut conversations = Conversations::new((1, 2));
        assert!(!conversations.go_on(socket(1), socket(2), at(0)));
        conversations.begin(ALICE, socket(1), socket(2));
        for secs in (0..2_000).step_by(100) {
            assert!(conversations.go_on(socket(2), socket(1), at(secs)), "{secs}");
        }
        assert!(!conversations.go_on(socket(2), socket(3), at(0)));
        assert!(!conversations.go_on(socket(1), socket(2), at(2_400)));
    }

    #[test]
    fn conversations_are_bounded() {
        let mut conversations = Conversations::new((1, 2));
        for n in 0..4 * CONVERSATIONS_MAX {
            let peer = PeerId::first((n % 5) as u32);
            if !conversations.go_on(socket(n), socket(n + 1), at(0)) {
                conversations.begin(peer, socket(n), socket(n + 1));
            }
            assert!(conversations.current.begun_by.len() <= CONVERSATIONS_MAX);
        }
        assert!(conversations.previous.begun_by.len() <= CONVERSATIONS_MAX);
    }

    #[test]
    fn a_peer_that_talks_to_everybody_ends_no_conversation_of_others() {
        let mut conversations = Conversations::new((1, 2));
        conversations.begin(BOB, socket(1), socket(0));
        for n in 2..4 * CONVERSATIONS_MAX {
            if !conversations.go_on(socket(n), socket(n + 1), at(0)) {
                conversations.begin(ALICE, socket(n), socket(n + 1));
            }
        }
        assert!(conversations.go_on(socket(0), socket(1), at(0)));
    }
}
