//! The policy changes while flows live: those that it would not let in any more as they are end,
//! and no other notices.

use std::net::{IpAddr, SocketAddr};

use crate::action::{Abort, FlowId, Target};
use crate::rules::{Query, Rule};
use crate::stack::flow::FlowKind;
use crate::stack::policy::{Direction, Verdict};
use crate::stack::{Outlet, Stack};

impl Stack {
    /// Replaces the rules.
    pub(crate) fn set_rules(&mut self, rules: Vec<Rule>, outlet: &mut dyn Outlet) {
        self.policy.set_rules(rules);
        self.conversations.clear();
        self.judge_again(outlet);
    }

    /// Replaces the addresses of the host.
    pub(crate) fn set_host_addresses(&mut self, addresses: Vec<IpAddr>, outlet: &mut dyn Outlet) {
        if self.policy.set_host_addresses(addresses) {
            self.judge_again(outlet);
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
        let Self { flows, policy, own_addresses, external_ports, .. } = self;
        let Some(flow) = flows.get_mut(id) else { return true };
        if flow.meta.target == Target::Client {
            return true;
        }
        let (key, destination) = (flow.key, flow.meta.destination);
        let is_own = own_addresses.iter().any(|own| own.addr() == destination.ip());
        let direction = if is_own { Direction::Own } else { Direction::Host };
        let peer = flow.meta.peer.public_key;
        let decide = |destination: SocketAddr| {
            let (protocol, source) = (key.protocol, key.inner.ip());
            policy.decide(&Query { peer, protocol, source, destination }, direction)
        };
        match &mut flow.kind {
            // It speaks with many hosts, each of which was judged by itself.
            FlowKind::Mapping(mapping) if key.outer.is_none() => {
                mapping.retain(|remote| match decide(remote) {
                    Verdict::Offer(offer) => offer.is_relay(remote),
                    Verdict::Protected => {
                        external_ports.contain(remote) && policy.is_host_address(remote.ip())
                    }
                    Verdict::Reject | Verdict::Drop => false,
                });
                mapping.has_contacts()
            }
            FlowKind::Mapping(_) | FlowKind::Tcp(_) => match decide(destination) {
                Verdict::Offer(offer) => {
                    flow.meta.rule = offer.rule;
                    let is_same = offer.proxy_protocol == flow.meta.proxy_protocol;
                    is_same && offer.target == flow.meta.target
                }
                Verdict::Reject | Verdict::Protected | Verdict::Drop => false,
            },
        }
    }
}
