//! The overlay: packets between peers go through as they are, without a flow.
//!
//! Rules have their say in each of them: a packet passes if it begins something that its sender may
//! begin, or if it belongs to what one of the two ends may. What it belongs to is remembered by
//! [`conversations`], also while there are no rules, for those that may come. Where nothing is
//! remembered (the gateway has started anew, or there were too many), an echo reply is taken for
//! the answer to a request that might be, a datagram for the first of its kind, and a connection
//! for one that an end may have, if there is one. Once the rules have changed it may have begun
//! under others, by an end that may no longer: then both ends have to be allowed to.

pub(crate) mod conversations;

use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::TcpPacket;

use crate::flow::Protocol;
use crate::id::PeerId;
use crate::policy::{Course, OverlaySay, Owner, Policy};
use crate::stack::Stack;
use crate::stack::outlet::Outlet;
use crate::stack::overlay::conversations::{
    Begun, ConversationEnd, ConversationEnds, ConversationKind, Conversations,
};
use crate::stack::packet::icmp::{self, HEADER_LEN, IcmpMessage, QuotedProtocol, Version};
use crate::stack::packet::{Packet, Transport};
use crate::stack::table::FlowTable;
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
        let owner = outlet.route(packet.destination);
        let Self { flows, conversations, policy, .. } = self;
        let a_rule_takes = || {
            let Some(owner) = owner.filter(|_| policy.judges_overlay()) else { return false };
            let rules = OverlayRules { flows, policy, outlet };
            let way = OverlayWay { from: peer, to: owner.peer };
            !rules.let_pass(way, packet, conversations, now)
        };
        let seen = owner.map(|route| Owner::of(route, peer));
        let course = policy.course(packet.destination, seen, a_rule_takes);
        (course, owner.map(|route| route.peer))
    }

    /// The rules have changed: conversations of peers end that may not begin under them.
    pub(super) fn judge_conversations_again(&mut self, outlet: &dyn Outlet) {
        let Self { flows, conversations, policy, .. } = self;
        let rules = OverlayRules { flows, policy, outlet };
        conversations.judge_again(|kind, ends| {
            let protocol = match kind {
                ConversationKind::Connection => Protocol::Tcp,
                ConversationKind::Datagrams => Protocol::Udp,
            };
            rules.say(protocol, ends) == OverlaySay::Pass
        });
    }
}

/// From one peer to another.
#[derive(Clone, Copy)]
struct OverlayWay {
    from: PeerId,
    to: PeerId,
}

impl OverlayWay {
    /// The sockets that a packet on this way goes from and to.
    const fn ends(self, source: SocketAddr, destination: SocketAddr) -> ConversationEnds {
        ConversationEnds {
            first: ConversationEnd { peer: self.from, socket: source },
            other: ConversationEnd { peer: self.to, socket: destination },
        }
    }
}

/// What the rules say of packets between peers.
struct OverlayRules<'a> {
    flows: &'a FlowTable,
    policy: &'a Policy,
    outlet: &'a dyn Outlet,
}

impl OverlayRules<'_> {
    /// What they say of something that the first end begins. A peer that has gone begins nothing.
    fn say(&self, protocol: Protocol, ends: &ConversationEnds) -> OverlaySay {
        let Some(identity) = self.outlet.identity(ends.first.peer) else { return OverlaySay::Stop };
        let query = ends.key(protocol).query(identity.public_key, ends.other.socket);
        self.policy.say_of_overlay(&query)
    }

    fn may_begin(&self, protocol: Protocol, ends: &ConversationEnds) -> bool {
        self.say(protocol, ends) == OverlaySay::Pass
    }

    /// Whether a packet goes to its owner, as far as the rules are concerned.
    fn let_pass(
        &self,
        way: OverlayWay,
        packet: &Packet<'_>,
        conversations: &mut Conversations,
        now: Instant,
    ) -> bool {
        let socket = SocketAddr::new;
        let ends = |from, to| way.ends(socket(packet.source, from), socket(packet.destination, to));
        match packet.transport {
            Transport::Other | Transport::Icmp if !self.policy.has_rules() => true,
            Transport::Tcp { source_port, destination_port } => {
                let ends = ends(source_port, destination_port);
                let segment = TcpPacket::new_unchecked(packet.transport_bytes());
                let begins = segment.syn() && !segment.ack();
                !self.has_flow(Protocol::Tcp, &ends)
                    && self.let_segment_pass(ends, begins, conversations, now)
            }
            Transport::Udp { source_port, destination_port } => {
                let ends = ends(source_port, destination_port);
                !self.has_flow(Protocol::Udp, &ends)
                    && self.let_datagram_pass(ends, conversations, now)
            }
            // It is not carried.
            Transport::Other => false,
            Transport::Icmp => {
                let version = Version::of(packet.source);
                let message = packet.transport_bytes();
                let echo = ends(0, 0);
                match icmp::read(version, message) {
                    IcmpMessage::EchoReply => self.may_begin(Protocol::Icmp, &echo.reversed()),
                    _ if icmp::is_error(version, message) => {
                        let quote = &message[HEADER_LEN..];
                        self.let_error_pass(way, packet.destination, quote, conversations, now)
                    }
                    _ => self.may_begin(Protocol::Icmp, &echo),
                }
            }
        }
    }

    /// Whether a rule has led what is between two sockets elsewhere.
    fn has_flow(&self, protocol: Protocol, ends: &ConversationEnds) -> bool {
        self.flows.find(&ends.key(protocol)).is_some()
    }

    fn let_segment_pass(
        &self,
        ends: ConversationEnds,
        begins: bool,
        conversations: &mut Conversations,
        now: Instant,
    ) -> bool {
        let (kind, maker) = (ConversationKind::Connection, ends.first.peer);
        let sockets = [ends.first.socket, ends.other.socket];
        if !begins && conversations.know(kind, sockets, now) {
            return true;
        }
        let begun = if begins {
            self.may_begin(Protocol::Tcp, &ends).then_some(Begun::ByFirst(ends))
        } else {
            self.under_way(ends, conversations.have_rules_changed())
        };
        let Some(begun) = begun else { return false };
        conversations.add(kind, begun, maker, now);
        true
    }

    /// Who may have begun a connection that is under way and not known, if it is to go on.
    fn under_way(&self, ends: ConversationEnds, have_rules_changed: bool) -> Option<Begun> {
        let may_begin = |ends| self.may_begin(Protocol::Tcp, &ends);
        match (may_begin(ends), may_begin(ends.reversed())) {
            (true, true) => Some(Begun::ByEither(ends)),
            (true, false) if !have_rules_changed => Some(Begun::ByFirst(ends)),
            (false, true) if !have_rules_changed => Some(Begun::ByFirst(ends.reversed())),
            (true | false, true | false) => None,
        }
    }

    fn let_datagram_pass(
        &self,
        ends: ConversationEnds,
        conversations: &mut Conversations,
        now: Instant,
    ) -> bool {
        let (kind, maker) = (ConversationKind::Datagrams, ends.first.peer);
        if conversations.know(kind, [ends.first.socket, ends.other.socket], now) {
            return true;
        }
        let begins = self.may_begin(Protocol::Udp, &ends);
        if begins {
            conversations.add(kind, Begun::ByFirst(ends), maker, now);
        }
        begins
    }

    /// Whether an ICMP error passes: it does if the packet would that it quotes, which `to` has
    /// sent to the peer that the error comes from.
    fn let_error_pass(
        &self,
        way: OverlayWay,
        to: IpAddr,
        quote: &[u8],
        conversations: &mut Conversations,
        now: Instant,
    ) -> bool {
        let Some(quoted) = icmp::read_quote(Version::of(to), quote) else { return false };
        let owner = self.outlet.route(quoted.destination.ip()).map(|route| route.peer);
        if quoted.source.ip() != to || owner != Some(way.from) {
            return false;
        }
        let ends =
            OverlayWay { from: way.to, to: way.from }.ends(quoted.source, quoted.destination);
        let sockets = [quoted.source, quoted.destination];
        match quoted.protocol {
            QuotedProtocol::Tcp(_) => {
                conversations.know(ConversationKind::Connection, sockets, now)
                    || self.under_way(ends, conversations.have_rules_changed()).is_some()
            }
            QuotedProtocol::Udp => {
                conversations.know(ConversationKind::Datagrams, sockets, now)
                    || self.may_begin(Protocol::Udp, &ends)
            }
            QuotedProtocol::EchoRequest => self.may_begin(Protocol::Icmp, &ends),
            QuotedProtocol::Echo => self.may_begin(Protocol::Icmp, &ends.reversed()),
        }
    }
}
