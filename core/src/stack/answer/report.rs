//! What whoever listens hears of refusals.

use std::net::SocketAddr;

use crate::event::Event;
use crate::flow::Protocol;
use crate::id::PeerId;
use crate::outcome::FlowOutcome;
use crate::rules::{Query, RuleAction};
use crate::stack::Stack;
use crate::stack::key::FlowKey;
use crate::stack::outlet::Outlet;
use crate::stack::packet::{Packet, Transport};

impl Stack {
    /// Counts something of a peer that was refused, and lets whoever listens hear of it.
    pub(in crate::stack) fn note_refused(
        &self,
        key: &FlowKey,
        destination: SocketAddr,
        outcome: FlowOutcome,
        outlet: &mut dyn Outlet,
    ) {
        if let Some(counter) = outcome.counter() {
            outlet.count(key.peer, counter);
        }
        self.report_refused(key, destination, outcome, outlet);
    }

    /// The same for a packet of which nobody has asked yet what it would open.
    pub(in crate::stack) fn note_packet_refused(
        &self,
        peer: PeerId,
        packet: &Packet<'_>,
        outcome: FlowOutcome,
        outlet: &mut dyn Outlet,
    ) {
        let (protocol, [from, to]) = match packet.transport {
            Transport::Tcp { source_port, destination_port } => {
                (Protocol::Tcp, [source_port, destination_port])
            }
            Transport::Udp { source_port, destination_port } => {
                (Protocol::Udp, [source_port, destination_port])
            }
            Transport::Icmp | Transport::Other => (Protocol::Icmp, [0, 0]),
        };
        let inner = SocketAddr::new(packet.source, from);
        let key = FlowKey { protocol, peer, inner, outer: None };
        self.note_refused(&key, SocketAddr::new(packet.destination, to), outcome, outlet);
    }

    /// Lets whoever listens hear that something of a peer was refused, and by which rule.
    pub(in crate::stack) fn report_refused(
        &self,
        key: &FlowKey,
        destination: SocketAddr,
        outcome: FlowOutcome,
        outlet: &mut dyn Outlet,
    ) {
        if !outlet.is_observed() {
            return;
        }
        let FlowKey { protocol, peer, inner: source, .. } = *key;
        let Some(identity) = outlet.identity(peer) else { return };
        let query = Query { peer: identity.public_key, protocol, source: source.ip(), destination };
        let matched = self.policy.rule_for(&query);
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
