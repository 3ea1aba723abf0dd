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
use crate::policy::{Denial, Offer, Toward};
use crate::stack::Stack;
use crate::stack::answer::Cause;
use crate::stack::key::FlowKey;
use crate::stack::limit::room::Full;
use crate::stack::mapping::Mapping;
use crate::stack::outlet::Outlet;
use crate::stack::packet::Packet;
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
        let Outbound { key, packet, .. } = datagram;
        if let Some(id) = self.mapping_for(datagram) {
            return self.pass_on(id, datagram, outlet, now);
        }
        match self.find_mapping(datagram, outlet, now) {
            Ok(id) => self.pass_on(id, datagram, outlet, now),
            Err(cause) => self.refuse(key.peer, packet, cause, outlet, now),
        }
    }

    /// The mapping for a datagram to a host that is judged now, each once: a mapping speaks with
    /// any number of them.
    fn find_mapping(
        &mut self,
        datagram: &Outbound<'_>,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> Result<FlowId, Cause> {
        let Outbound { key, destination, toward, .. } = datagram;
        let offer = match self.decide(key, *destination, *toward, outlet) {
            Ok(offer) => offer,
            Err(Denial::Protected) if self.is_mapped(key.protocol, *destination) => {
                Offer::plain(Target::Host(*destination))
            }
            Err(denial) => return Err(Cause::Denied(denial, *toward)),
        };
        let is_shared = offer.is_relay(*destination);
        let known = if is_shared { self.flows.find(key) } else { None };
        match known {
            Some(id) => Ok(id),
            None => self.open_mapping(datagram, offer, outlet, now),
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

    /// Opens a mapping for a peer.
    fn open_mapping(
        &mut self,
        datagram: &Outbound<'_>,
        offer: Offer,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> Result<FlowId, Cause> {
        let Outbound { key, destination, toward, .. } = *datagram;
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
        let meta = new_meta(key, key.inner, destination, offer, outlet);
        let meta = meta.ok_or(Cause::Denied(Denial::Dropped, toward))?;
        self.make_room(&key, &meta.target, outlet).map_err(|Full(bound)| Cause::Limit(bound))?;
        let deadline = mapping.deadline();
        let id = self.insert(key, meta, FlowKind::Mapping(mapping), outlet, now);
        self.mapping_timers.set(id.slot(), Some(deadline));
        self.actions.push_back(Action::Open(id));
        outlet.count(key.peer, counter);
        Ok(id)
    }
}
