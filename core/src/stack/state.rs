//! What can be read of a stack while it runs.

use crate::id::{FlowId, PeerId};
use crate::limits::Limits;
use crate::stack::Stack;
use crate::stack::limit::bound::Bound;
use crate::stack::limit::shares::Ranking;
use crate::state::{FlowState, PathState, Usage};
use crate::time::Instant;

impl Stack {
    /// What a peer has of each bound.
    pub(crate) fn usage_of(&self, peer: PeerId) -> Usage {
        self.usage_by(|held| held.of(peer), self.memory.held_by(peer))
    }

    /// What is known of the path to a peer.
    pub(crate) fn path_of(&self, peer: PeerId, now: Instant) -> PathState {
        self.paths.state(peer, now)
    }

    /// What all peers have of each bound.
    pub(crate) fn usage(&self) -> Usage {
        self.usage_by(Ranking::total, self.memory.held())
    }

    fn usage_by(&self, amount: impl Fn(&Ranking) -> usize, memory: usize) -> Usage {
        let held = |bound| amount(self.flows.held(bound));
        Usage {
            tcp_flows: held(Bound::Tcp),
            udp_flows: held(Bound::Udp),
            icmp_flows: held(Bound::Icmp),
            half_open: held(Bound::HalfOpen),
            sockets: held(Bound::Sockets),
            memory,
        }
    }

    pub(crate) const fn limits(&self) -> &Limits {
        self.flows.limits()
    }

    /// What can be read of a flow.
    pub(crate) fn flow_state(&self, flow: FlowId) -> Option<FlowState<'_>> {
        self.flows.state(flow)
    }

    /// What can be read of every flow.
    pub(crate) fn flow_states(&self) -> impl Iterator<Item = FlowState<'_>> {
        self.flows.states()
    }
}
