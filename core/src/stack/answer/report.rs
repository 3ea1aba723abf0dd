//! What whoever listens hears of refusals.

use std::net::SocketAddr;

use crate::event::Event;
use crate::flow::Protocol;
use crate::id::PeerId;
use crate::outcome::FlowOutcome;
use crate::rules::RuleAction;
use crate::stack::Stack;
use crate::stack::answer::table::Cause;
use crate::stack::key::FlowKey;
use crate::stack::outlet::Outlet;
use crate::stack::packet::icmp::{self, IcmpMessage, Version};
use crate::stack::packet::{Packet, Transport};

impl Stack {
    /// Lets whoever listens hear that a packet of a peer was refused.
    pub(super) fn report_packet(
        &self,
        peer: PeerId,
        packet: &Packet<'_>,
        cause: Cause,
        outlet: &mut dyn Outlet,
    ) {
        if cause.outcome().is_none() || !outlet.is_observed() {
            return;
        }
        let (protocol, [from, to]) = match packet.transport {
            Transport::Tcp { source_port, destination_port } => {
                (Protocol::Tcp, [source_port, destination_port])
            }
            Transport::Udp { source_port, destination_port } => {
                (Protocol::Udp, [source_port, destination_port])
            }
            Transport::Icmp | Transport::Other => (Protocol::Icmp, [identifier(packet), 0]),
        };
        let key = FlowKey::of_mapping(protocol, peer, SocketAddr::new(packet.source, from));
        self.report(&key, SocketAddr::new(packet.destination, to), cause, outlet);
    }

    /// Lets whoever listens hear that something of a peer was refused, and by which rule.
    pub(super) fn report(
        &self,
        key: &FlowKey,
        destination: SocketAddr,
        cause: Cause,
        outlet: &mut dyn Outlet,
    ) {
        let Some(outcome) = cause.outcome().filter(|_| outlet.is_observed()) else { return };
        let FlowKey { protocol, peer, inner: source, .. } = *key;
        let Some(identity) = outlet.identity(peer) else { return };
        let matched = self.policy.rule_for(&key.query(identity.public_key, destination));
        let (rule, outcome) = match (outcome, matched) {
            // No rule is asked about these.
            (FlowOutcome::PeersOwn, _) => (None, outcome),
            (FlowOutcome::Rejected, Some((place, rule))) if rule.action == RuleAction::Reject => {
                (Some(place), outcome)
            }
            // Behind our own addresses is nothing but what rules put there.
            (FlowOutcome::Rejected, _) if self.is_own(destination.ip()) => {
                (None, FlowOutcome::PortClosed)
            }
            (_, matched) => (matched.map(|(place, _)| place), outcome),
        };
        let identity = &*identity;
        outlet.tell(Event::FlowRefused {
            peer,
            identity,
            protocol,
            source,
            destination,
            rule,
            outcome,
        });
    }
}

/// The identifier of an echo request, 0 for anything else.
fn identifier(packet: &Packet<'_>) -> u16 {
    if packet.transport != Transport::Icmp {
        return 0;
    }
    match icmp::read(Version::of(packet.source), packet.transport_bytes()) {
        IcmpMessage::EchoRequest { identifier } => identifier,
        IcmpMessage::EchoReply
        | IcmpMessage::Unreachable { .. }
        | IcmpMessage::TooBig { .. }
        | IcmpMessage::Other => 0,
    }
}
