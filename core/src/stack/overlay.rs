//! The overlay: packets between peers go through as they are, without a flow.
//!
//! Rules have their say in each of them: a packet passes if it begins something that its sender may
//! begin, or if it belongs to what one of the two ends may. What it belongs to is
//! [remembered](super::conversations). Where nothing is (the gateway has started anew, or there
//! were too many), a connection is taken for one that an end may have, if there is one; an echo reply
//! for the answer to a request that might be; and a datagram for the first of its kind.

use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::TcpPacket;

use crate::action::{PeerId, Protocol};
use crate::rules::Query;
use crate::stack::conversations::{Conversations, End, Ends, Kind, Standing};
use crate::stack::flow::{FlowKey, FlowTable};
use crate::stack::icmp::{self, HEADER_LEN, Message, QuotedProtocol, Version};
use crate::stack::packet::{Packet, Transport};
use crate::stack::policy::{Course, OverlaySay, Policy};
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
        let owner = outlet.route(packet.destination);
        let Self { flows, conversations, policy, .. } = self;
        let a_rule_takes = || {
            let Some(owner) = owner.filter(|_| policy.has_rules()) else { return false };
            let rules = OverlayRules { flows, policy, outlet };
            let way = Way { from: peer, to: owner.peer };
            !rules.let_pass(way, packet, conversations, now)
        };
        let seen = owner.map(|route| route.owner_for(peer));
        let course = policy.course(packet.destination, seen, a_rule_takes);
        (course, owner.map(|route| route.peer))
    }

    /// The rules have changed: conversations of peers end that may not begin under them.
    pub(super) fn judge_conversations_again(&mut self, outlet: &dyn Outlet) {
        let Self { flows, conversations, policy, .. } = self;
        let rules = OverlayRules { flows, policy, outlet };
        conversations.judge_again(|kind, ends| {
            let protocol = match kind {
                Kind::Connection => Protocol::Tcp,
                Kind::Datagrams => Protocol::Udp,
            };
            rules.say(protocol, ends) == OverlaySay::Pass
        });
    }
}

/// From one peer to another.
#[derive(Clone, Copy)]
struct Way {
    from: PeerId,
    to: PeerId,
}

impl Way {
    /// The sockets that a packet on this way goes from and to.
    const fn ends(self, source: SocketAddr, destination: SocketAddr) -> Ends {
        Ends {
            first: End { peer: self.from, socket: source },
            other: End { peer: self.to, socket: destination },
        }
    }
}

/// Whoever would have begun what `ends` only go on with.
const fn reversed(ends: Ends) -> Ends {
    Ends { first: ends.other, other: ends.first }
}

/// What the rules say of packets between peers.
struct OverlayRules<'a> {
    flows: &'a FlowTable,
    policy: &'a Policy,
    outlet: &'a dyn Outlet,
}

impl OverlayRules<'_> {
    /// What they say of something that the first end begins. A peer that has gone begins nothing.
    fn say(&self, protocol: Protocol, ends: &Ends) -> OverlaySay {
        let Some(identity) = self.outlet.identity(ends.first.peer) else { return OverlaySay::Stop };
        let (source, destination) = (ends.first.socket.ip(), ends.other.socket);
        let query = Query { peer: identity.public_key, protocol, source, destination };
        self.policy.say_of_overlay(&query)
    }

    fn may_begin(&self, protocol: Protocol, ends: &Ends) -> bool {
        self.say(protocol, ends) == OverlaySay::Pass
    }

    /// Whether a packet goes to its owner, as far as the rules are concerned.
    fn let_pass(
        &self,
        way: Way,
        packet: &Packet<'_>,
        conversations: &mut Conversations,
        now: Instant,
    ) -> bool {
        let socket = SocketAddr::new;
        let ends = |from, to| way.ends(socket(packet.source, from), socket(packet.destination, to));
        match packet.transport {
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
                    Message::EchoReply => self.may_begin(Protocol::Icmp, &reversed(echo)),
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
    fn has_flow(&self, protocol: Protocol, ends: &Ends) -> bool {
        let Ends { first, other } = ends;
        let (inner, outer) = (first.socket, Some(other.socket));
        self.flows.find(&FlowKey { protocol, peer: first.peer, inner, outer }).is_some()
    }

    fn let_segment_pass(
        &self,
        ends: Ends,
        begins: bool,
        conversations: &mut Conversations,
        now: Instant,
    ) -> bool {
        let (kind, maker) = (Kind::Connection, ends.first.peer);
        let sockets = [ends.first.socket, ends.other.socket];
        let standing = conversations.find(kind, sockets, now).filter(|_| !begins);
        match standing {
            Some(Standing::Open) => return true,
            Some(Standing::Ended) => return false,
            None => {}
        }
        let back = reversed(ends);
        let ends = match self.say(Protocol::Tcp, &ends) {
            OverlaySay::Pass => ends,
            OverlaySay::Stop if !begins && self.may_begin(Protocol::Tcp, &back) => back,
            OverlaySay::Stop | OverlaySay::Elsewhere => return false,
        };
        conversations.begin(kind, ends, maker);
        true
    }

    fn let_datagram_pass(
        &self,
        ends: Ends,
        conversations: &mut Conversations,
        now: Instant,
    ) -> bool {
        let (kind, maker) = (Kind::Datagrams, ends.first.peer);
        if conversations.find(kind, [ends.first.socket, ends.other.socket], now).is_some() {
            return true;
        }
        let begins = self.may_begin(Protocol::Udp, &ends);
        if begins {
            conversations.begin(kind, ends, maker);
        }
        begins
    }

    /// Whether an ICMP error passes: it does if the packet would that it quotes, which `to` has sent
    /// to the peer that the error comes from.
    fn let_error_pass(
        &self,
        way: Way,
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
        let ends = Way { from: way.to, to: way.from }.ends(quoted.source, quoted.destination);
        let sockets = [quoted.source, quoted.destination];
        let may_either =
            |protocol| self.may_begin(protocol, &ends) || self.may_begin(protocol, &reversed(ends));
        match quoted.protocol {
            QuotedProtocol::Tcp(_) => match conversations.find(Kind::Connection, sockets, now) {
                Some(standing) => standing == Standing::Open,
                None => may_either(Protocol::Tcp),
            },
            QuotedProtocol::Udp => {
                conversations.find(Kind::Datagrams, sockets, now).is_some()
                    || self.may_begin(Protocol::Udp, &ends)
            }
            QuotedProtocol::EchoRequest => self.may_begin(Protocol::Icmp, &ends),
            QuotedProtocol::Echo => self.may_begin(Protocol::Icmp, &reversed(ends)),
        }
    }
}
