//! The overlay: packets between peers go through as they are, without a flow.
//!
//! Rules still have their say where something begins: a connection's SYN, an echo request, the
//! first datagram between two sockets. What follows, and what comes back, is not asked again.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use smoltcp::wire::TcpPacket;

use crate::action::{PeerId, Protocol};
use crate::rules::Query;
use crate::stack::flow::{FlowKey, KeyedState};
use crate::stack::icmp::{self, Message, Version};
use crate::stack::packet::{Packet, Transport};
use crate::stack::{Outlet, Stack};
use crate::time::Instant;

/// Where a packet goes that is not for us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// To another peer.
    Peer(PeerId),
    /// To the host's network, or wherever a rule leads.
    Host,
    /// It is refused.
    Nowhere,
}

impl Stack {
    /// Finds the way of a packet.
    pub(super) fn way(
        &mut self,
        peer: PeerId,
        packet: &Packet<'_>,
        outlet: &dyn Outlet,
        now: Instant,
    ) -> Way {
        let owner = outlet.route(packet.destination);
        let Some(route) = owner.filter(|_| !self.policy.excludes(packet.destination)) else {
            return Way::Host;
        };
        // A peer that takes everything is a way out, not the owner of each address.
        let is_owned = route.prefix_len > 0;
        if route.peer == peer {
            // Its own network, which the packet has come from.
            return if is_owned { Way::Nowhere } else { Way::Host };
        }
        if self.policy.has_rules() && self.a_rule_takes(peer, packet, outlet, now) {
            Way::Host
        } else if self.policy.allows_overlay() {
            Way::Peer(route.peer)
        } else if is_owned {
            Way::Nowhere
        } else {
            Way::Host
        }
    }

    /// Whether a rule does something else with a packet to another peer than let it go there.
    fn a_rule_takes(
        &mut self,
        peer: PeerId,
        packet: &Packet<'_>,
        outlet: &dyn Outlet,
        now: Instant,
    ) -> bool {
        let socket = |address, port| SocketAddr::new(address, port);
        let (protocol, source, destination) = match packet.transport {
            Transport::Tcp { source_port, destination_port } => (
                Protocol::Tcp,
                socket(packet.source, source_port),
                socket(packet.destination, destination_port),
            ),
            Transport::Udp { source_port, destination_port } => (
                Protocol::Udp,
                socket(packet.source, source_port),
                socket(packet.destination, destination_port),
            ),
            Transport::Icmp => {
                (Protocol::Icmp, socket(packet.source, 0), socket(packet.destination, 0))
            }
        };
        let key = FlowKey { protocol, peer, inner: source, outer: Some(destination) };
        if protocol != Protocol::Icmp && self.flows.find(&key).is_some() {
            return true;
        }
        let begins = match protocol {
            Protocol::Tcp => {
                let segment = TcpPacket::new_unchecked(packet.transport_bytes());
                segment.syn() && !segment.ack()
            }
            Protocol::Udp => !self.conversations.go_on(source, destination, now),
            Protocol::Icmp => {
                let message = icmp::read(Version::of(packet.source), packet.transport_bytes());
                matches!(message, Message::EchoRequest { .. })
            }
        };
        let Some(identity) = outlet.identity(peer).filter(|_| begins) else { return false };
        let (peer, source_ip) = (identity.public_key, source.ip());
        let query = Query { peer, protocol, source: source_ip, destination };
        let takes = self.policy.rules_out_overlay(&query);
        if !takes && protocol == Protocol::Udp {
            self.conversations.begin(source, destination);
        }
        takes
    }
}

/// How long a conversation is remembered at least (RFC 4787, REQ-5: two minutes or more).
const GENERATION: Duration = Duration::from_secs(150);
/// Conversations that are remembered, in each of two generations.
const CONVERSATIONS_MAX: usize = 8_192;

/// Pairs of sockets of peers that exchange datagrams, as the rules let them. When there are too
/// many, the older half is asked about again.
#[derive(Debug)]
pub(crate) struct Conversations {
    current: HashSet<(SocketAddr, SocketAddr), KeyedState>,
    previous: HashSet<(SocketAddr, SocketAddr), KeyedState>,
    turned_at: Instant,
}

impl Conversations {
    pub(crate) fn new(hash_key: (u64, u64)) -> Self {
        let set = || HashSet::with_hasher(KeyedState::new(hash_key));
        Self { current: set(), previous: set(), turned_at: Instant::ZERO }
    }

    /// Whether two sockets already talk, whoever began; they go on then.
    fn go_on(&mut self, source: SocketAddr, destination: SocketAddr, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.turned_at);
        if age >= 2 * GENERATION {
            self.clear();
        }
        if age >= GENERATION || self.current.len() >= CONVERSATIONS_MAX {
            let current = self.empty();
            self.previous = std::mem::replace(&mut self.current, current);
            self.turned_at = now;
        }
        let pairs = [(source, destination), (destination, source)];
        if pairs.iter().any(|pair| self.current.contains(pair)) {
            return true;
        }
        let known = pairs.into_iter().find(|pair| self.previous.contains(pair));
        self.current.extend(known);
        known.is_some()
    }

    fn begin(&mut self, source: SocketAddr, destination: SocketAddr) {
        self.current.insert((source, destination));
    }

    /// Forgets them all: the rules have changed.
    pub(crate) fn clear(&mut self) {
        (self.current, self.previous) = (self.empty(), self.empty());
    }

    fn empty(&self) -> HashSet<(SocketAddr, SocketAddr), KeyedState> {
        HashSet::with_hasher(*self.current.hasher())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(n: usize) -> SocketAddr {
        SocketAddr::new([10, 0, (n / 250) as u8, (n % 250) as u8].into(), 1)
    }

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn answers_belong_to_a_conversation_and_keep_it() {
        let mut conversations = Conversations::new((1, 2));
        assert!(!conversations.go_on(socket(1), socket(2), at(0)));
        conversations.begin(socket(1), socket(2));
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
            if !conversations.go_on(socket(n), socket(n + 1), at(0)) {
                conversations.begin(socket(n), socket(n + 1));
            }
            assert!(conversations.current.len() <= CONVERSATIONS_MAX);
        }
        assert!(conversations.previous.len() <= CONVERSATIONS_MAX);
    }
}
