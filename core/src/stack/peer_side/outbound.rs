//! Datagrams and echo requests of peers on their way to hosts.
//!
//! A peer's socket has one mapping for all the hosts that it speaks with (RFC 4787, REQ-1). Only
//! where a rule gives datagrams another target do they have a mapping of their own, for each place
//! that they were meant for, so that answers are known to be from there.

use std::net::SocketAddr;

use crate::action::Action;
use crate::flow::{Protocol, Target};
use crate::id::FlowId;
use crate::limits::{CONTACTS_MAX, CONTACTS_MIN, CONTACTS_TOTAL_MAX};
use crate::outcome::FlowOutcome;
use crate::policy::{Offer, Toward, Verdict};
use crate::stack::Stack;
use crate::stack::key::FlowKey;
use crate::stack::limit::room::Full;
use crate::stack::mapping::Mapping;
use crate::stack::outlet::Outlet;
use crate::stack::packet::Packet;
use crate::stack::packet::icmp::Reason;
use crate::stack::table::{FlowKind, new_meta};
use crate::stats::Counter;
use crate::time::Instant;

/// A datagram or echo request of a peer.
#[derive(Debug)]
pub(in crate::stack) struct Outbound<'a> {
    /// What its shared mapping goes by.
    pub(in crate::stack) key: FlowKey,
    pub(in crate::stack) destination: SocketAddr,
    pub(in crate::stack) toward: Toward,
    /// The packet that it came in.
    pub(in crate::stack) packet: &'a Packet<'a>,
    pub(in crate::stack) payload: &'a [u8],
}

impl Stack {
    /// Takes a datagram or echo request to wherever it goes.
    pub(in crate::stack) fn handle_outbound(
        &mut self,
        datagram: &Outbound<'_>,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let Outbound { key, destination, toward, packet, .. } = datagram;
        if let Some(id) = self.mapping_for(datagram) {
            return self.pass_on(id, datagram, outlet, now);
        }
        // A mapping speaks with any number of hosts, each of which is judged once.
        let offer = match self.decide(key, *destination, *toward, outlet) {
            Verdict::Offer(offer) => offer,
            Verdict::Protected if self.is_mapped(key.protocol, *destination) => {
                Offer::plain(Target::Host(*destination))
            }
            Verdict::Drop => {
                return self.note_refused(key, *destination, FlowOutcome::Dropped, outlet);
            }
            verdict
            @ (Verdict::Reject | Verdict::Protected | Verdict::NoPeer | Verdict::Closed) => {
                let (counter, reason) = match (&verdict, toward) {
                    // As a kernel's WireGuard says it.
                    (Verdict::NoPeer, _) => (Counter::NoPeer, Reason::Host),
                    (Verdict::Protected, _) => (Counter::Protected, Reason::Prohibited),
                    // A host says so of a port where nobody listens.
                    (Verdict::Closed, _) | (_, Toward::Own) => (Counter::DropNoFlow, Reason::Port),
                    (_, Toward::Host) => (Counter::Rejected, Reason::Prohibited),
                };
                outlet.count(key.peer, counter);
                let outcome = match verdict {
                    Verdict::NoPeer => FlowOutcome::NoPeer,
                    Verdict::Protected => FlowOutcome::Protected,
                    Verdict::Closed => FlowOutcome::PortClosed,
                    Verdict::Reject | Verdict::Offer(_) | Verdict::Drop => FlowOutcome::Rejected,
                };
                self.report_refused(key, *destination, outcome, outlet);
                return self.refuse(key.peer, packet, reason, outlet, now);
            }
        };
        let is_shared = offer.is_relay(*destination);
        let known = if is_shared { self.flows.find(key) } else { None };
        match known.or_else(|| self.open_mapping(datagram, offer, outlet, now)) {
            Some(id) => self.pass_on(id, datagram, outlet, now),
            None => {
                outlet.count(key.peer, Counter::LimitReached);
                self.refuse(key.peer, packet, Reason::Prohibited, outlet, now);
            }
        }
    }

    /// The mapping that a datagram belongs to without anybody being asked: one for its destination
    /// alone, or the shared one if it has sent there before.
    fn mapping_for(&self, datagram: &Outbound<'_>) -> Option<FlowId> {
        let Outbound { key, destination, toward, .. } = datagram;
        if key.protocol == Protocol::Udp
            && (*toward == Toward::Own || self.policy.redirects_datagrams())
        {
            let own = self.flows.find(&FlowKey { outer: Some(*destination), ..*key });
            if own.is_some() {
                return own;
            }
        }
        let shared = self.flows.find(key)?;
        let mapping = self.flows.get(shared)?.mapping()?;
        // A port of the host is open only as long as it is a mapping's, which may be over by now.
        let may_close = self.policy.is_host_address(destination.ip());
        (!may_close && mapping.has_sent_to(*destination)).then_some(shared)
    }

    /// Gives a datagram to the embedder.
    fn pass_on(
        &mut self,
        id: FlowId,
        datagram: &Outbound<'_>,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let Outbound { key, destination, packet, payload, .. } = datagram;
        let Self { flows, contacts, mappings, .. } = self;
        let per_peer = flows.limits().per_peer;
        let mapping = flows.get_mut(id).and_then(|flow| flow.mapping_mut());
        let Some(mapping) = mapping else { return };
        let before = mapping.contacts();
        let contacts_max = || {
            let has_room = contacts.has_room(key.peer, CONTACTS_TOTAL_MAX, per_peer);
            if has_room { CONTACTS_MAX / 2 } else { CONTACTS_MIN }
        };
        let remote = mapping.handle_outbound(key.inner, *destination, mappings, contacts_max, now);
        let after = mapping.contacts();
        if after < before {
            outlet.count(key.peer, Counter::ContactsForgotten);
        }
        contacts.take(key.peer, before.saturating_sub(after));
        contacts.add(key.peer, after.saturating_sub(before));
        if self.datagrams.push(key.peer, id, remote, packet.onward(), payload).is_err() {
            outlet.count(key.peer, Counter::DropQueueFull);
        }
    }

    /// Opens a mapping for a peer; `None` at a limit.
    fn open_mapping(
        &mut self,
        datagram: &Outbound<'_>,
        offer: Offer,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> Option<FlowId> {
        let Outbound { key, destination, .. } = *datagram;
        let elsewhere = offer.elsewhere(destination);
        let (mapping, counter) = match (key.protocol, elsewhere) {
            (Protocol::Icmp, _) => (Mapping::echo(&self.mappings, now), Counter::IcmpOpened),
            (Protocol::Udp | Protocol::Tcp, None) => {
                (Mapping::udp(&self.mappings, now), Counter::UdpOpened)
            }
            (Protocol::Udp | Protocol::Tcp, Some(remote)) => {
                (Mapping::redirected(destination, remote, &self.mappings, now), Counter::UdpOpened)
            }
        };
        let key = FlowKey { outer: elsewhere.map(|_| destination), ..key };
        let meta = new_meta(key, key.inner, destination, offer, outlet)?;
        if let Err(Full(bound)) = self.make_room(&key, &meta.target, outlet) {
            self.report_refused(&key, destination, bound.outcome(), outlet);
            return None;
        }
        let deadline = mapping.deadline();
        let id = self.insert(key, meta, FlowKind::Mapping(mapping), outlet, now);
        self.mapping_timers.set(id.slot(), Some(deadline));
        self.actions.push_back(Action::Open(id));
        outlet.count(key.peer, counter);
        Some(id)
    }
}
