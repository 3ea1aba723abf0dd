//! The policy changes, or peers come and go, while flows live: those that can't go on as they are
//! end, and no other notices.

use std::net::{IpAddr, SocketAddr};

use crate::flow::{Abort, Target};
use crate::id::{FlowId, PeerId};
use crate::policy::{Course, Denial, Owner, Toward};
use crate::rules::Rule;
use crate::stack::Stack;
use crate::stack::outlet::Outlet;
use crate::stack::table::FlowKind;
use crate::time::Instant;

impl Stack {
    /// Replaces the rules.
    pub(super) fn set_rules(&mut self, rules: Vec<Rule>, outlet: &mut dyn Outlet) {
        self.policy.set_rules(rules);
        self.judge_conversations_again(outlet);
        self.judge_again(outlet);
    }

    /// Replaces the addresses of the host.
    pub(super) fn set_host_addresses(&mut self, addresses: Vec<IpAddr>, outlet: &mut dyn Outlet) {
        if self.policy.set_host_addresses(addresses) {
            self.judge_again(outlet);
        }
    }

    /// A peer has come: it may own addresses now that flows of others lead to.
    pub(super) fn handle_peer_added(&mut self, outlet: &mut dyn Outlet) {
        self.recheck_owners(outlet);
    }

    /// Peers have changed: they may own other addresses now, and be called something else.
    pub(super) fn handle_peers_changed(&mut self, outlet: &mut dyn Outlet) {
        for id in self.flows.ids() {
            if let Some(flow) = self.flows.get_mut(id)
                && let Some(identity) = outlet.identity(flow.key.peer)
            {
                flow.meta.peer = identity;
            }
        }
        self.recheck_owners(outlet);
    }

    /// A peer is reached by another path than before.
    pub(super) fn handle_peer_moved(&mut self, peer: PeerId, now: Instant) {
        self.paths.forget(peer);
        for id in self.flows.ids_of(peer) {
            let flow = self.flows.get_mut(id);
            let connection = flow.and_then(|flow| flow.tcp_mut()?.connection_mut());
            if let Some(connection) = connection {
                connection.sender_mut().handle_moved(now);
            }
        }
    }

    /// A peer is about to go. Connections that have ended are left to be forgotten in their time.
    pub(super) fn remove_peer(&mut self, peer: PeerId, outlet: &mut dyn Outlet) {
        for id in self.flows.ids_of(peer) {
            self.abort(id, Abort::NoPeer, outlet);
        }
        let owner = |address| outlet.route(address).map(|route| route.peer);
        self.conversations.retain_owners(|address| owner(address).filter(|owner| *owner != peer));
        self.fragments.forget_peer(peer);
        self.error_rates.forget_peer(peer);
        self.paths.remove(peer);
    }

    /// Addresses may be another peer's now, at either end of a flow.
    fn recheck_owners(&mut self, outlet: &mut dyn Outlet) {
        self.conversations.retain_owners(|address| outlet.route(address).map(|route| route.peer));
        for id in self.flows.ids() {
            if !self.keeps_its_way(id, outlet) {
                self.abort(id, Abort::NoPeer, outlet);
            }
        }
    }

    /// Whether packets still go where they went when the flow was opened, and come from there.
    fn keeps_its_way(&mut self, id: FlowId, outlet: &dyn Outlet) -> bool {
        let Self { flows, policy, contacts, .. } = self;
        let Some(flow) = flows.get_mut(id) else { return true };
        let (key, destination) = (flow.key, flow.meta.destination);
        let inner_owner = outlet.route(key.inner.ip()).map(|route| route.peer);
        if inner_owner != Some(key.peer) {
            return false;
        }
        let leaves_here = |remote: SocketAddr| {
            let owner = outlet.route(remote.ip()).map(|route| Owner::of(route, key.peer));
            policy.course(remote.ip(), owner, || false) == Course::Host
        };
        match &mut flow.kind {
            FlowKind::Mapping(mapping) if key.outer.is_none() => {
                contacts.take(key.peer, mapping.retain(leaves_here));
                mapping.has_contacts()
            }
            FlowKind::Mapping(_) | FlowKind::Tcp(_) => {
                flow.meta.target != Target::Host(destination) || leaves_here(destination)
            }
        }
    }

    fn judge_again(&mut self, outlet: &mut dyn Outlet) {
        for id in self.flows.ids() {
            if !self.stands(id) {
                self.abort(id, Abort::Forbidden, outlet);
            }
        }
    }

    /// Whether a flow may go on as it is.
    fn stands(&mut self, id: FlowId) -> bool {
        let Self { flows, policy, own_addresses, external_ports, contacts, .. } = self;
        let Some(flow) = flows.get_mut(id) else { return true };
        if flow.meta.target == Target::Client {
            return true;
        }
        let (key, destination) = (flow.key, flow.meta.destination);
        let is_own = own_addresses.iter().any(|own| own.addr() == destination.ip());
        let toward = if is_own { Toward::Own } else { Toward::Host };
        let peer = flow.meta.peer.public_key;
        let decide = |destination: SocketAddr| policy.decide(&key.query(peer, destination), toward);
        match &mut flow.kind {
            // It speaks with many hosts, each of which was judged by itself.
            FlowKind::Mapping(mapping) if key.outer.is_none() => {
                let forgotten = mapping.retain(|remote| match decide(remote) {
                    Ok(offer) => offer.is_relay(remote),
                    Err(Denial::Protected) => {
                        external_ports.contain(remote) && policy.is_host_address(remote.ip())
                    }
                    Err(Denial::Rejected | Denial::NoPeer | Denial::Closed | Denial::Dropped) => {
                        false
                    }
                });
                contacts.take(key.peer, forgotten);
                mapping.has_contacts()
            }
            FlowKind::Mapping(_) | FlowKind::Tcp(_) => match decide(destination) {
                Ok(offer) => {
                    flow.meta.rule = offer.rule;
                    let is_same = offer.proxy_protocol == flow.meta.proxy_protocol;
                    is_same && offer.target == flow.meta.target
                }
                Err(_) => false,
            },
        }
    }
}
