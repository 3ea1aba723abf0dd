//! How flows end before their time, and what they leave: a reset for the far end, room for others.

use crate::action::Action;
use crate::event::Event;
use crate::flow::{Abort, Target};
use crate::id::{FlowId, PeerId};
use crate::outcome::FlowOutcome;
use crate::stack::Stack;
use crate::stack::outlet::{Exit, Outlet};
use crate::stack::packet::icmp::Version;
use crate::stack::table::FlowKind;
use crate::stack::tcp::{self, FlowStage, TcpFlow};
use crate::stats::Counter;

impl Stack {
    /// Ends every flow, with resets where there is somebody to hear them.
    pub(super) fn shut_down(&mut self, outlet: &mut dyn Outlet) {
        for id in self.flows.ids() {
            self.abort(id, Abort::ShutDown, outlet);
        }
    }

    /// Ends the flow of a peer that holds the most bytes. One whose bytes nobody needs goes last:
    /// they are about to be given back. It looks at every flow, which is why it is done so rarely.
    pub(super) fn shed(&mut self, peer: PeerId, outlet: &mut dyn Outlet) {
        let held = |id: &FlowId| {
            let tcp = self.flows.get(*id).filter(|flow| flow.key.peer == peer)?.tcp()?;
            Some((tcp.needs_rings(), tcp.accounted()))
        };
        let ids = self.flows.ids().into_iter().filter(|id| held(id).is_some());
        let Some(id) = ids.max_by_key(held) else { return };
        outlet.count(peer, Counter::LimitReached);
        self.abort(id, Abort::Limit, outlet);
    }

    /// Ends a flow in both directions.
    pub(super) fn abort(&mut self, id: FlowId, reason: Abort, outlet: &mut dyn Outlet) {
        self.send_reset(id, outlet);
        self.actions.push_back(Action::Aborted(id, reason));
        self.remove(id, reason.into(), outlet);
    }

    /// Tells the far end of a TCP flow that it is gone.
    pub(super) fn send_reset(&mut self, id: FlowId, outlet: &mut dyn Outlet) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let key = flow.key;
        let mut exit = Exit { outlet, scratch: &mut self.scratch };
        match flow.tcp_mut().map(TcpFlow::stage_mut) {
            Some(FlowStage::Live(connection)) => connection.send_reset(&mut exit),
            Some(FlowStage::Offered(syn)) => tcp::refuse_syn(&key, syn, &mut exit),
            None => {}
        }
    }

    /// Takes a flow out of everything that knows it by slot, and says what became of it.
    pub(super) fn remove(&mut self, id: FlowId, outcome: FlowOutcome, outlet: &mut dyn Outlet) {
        let Some(flow) = self.flows.remove(id) else { return };
        outlet.tell(Event::FlowEnded { flow: flow.state(id), outcome });
        self.drop_orphans();
        self.tcp_timers.set(id.slot(), None);
        self.mapping_timers.set(id.slot(), None);
        self.eviction.remove(id.slot());
        if let Some(slots) = self.flows.shrink() {
            self.tcp_timers.shrink(slots);
            self.mapping_timers.shrink(slots);
            self.eviction.shrink(slots);
        }
        if flow.meta.target == Target::Client {
            self.ports.give_back(flow.key);
        }
        match flow.kind {
            FlowKind::Tcp(tcp) => {
                self.memory.account(flow.key.peer, tcp.accounted(), 0);
                self.memory.forget(flow.key.peer, id);
                self.paths.account(flow.key.peer, tcp.flight(), 0);
                if matches!(tcp.stage(), FlowStage::Offered(_)) {
                    self.flows.leave_half_open(flow.key.peer);
                }
            }
            FlowKind::Mapping(mapping) => {
                self.contacts.take(flow.key.peer, mapping.contacts());
                if let Some(port) = mapping.external_port {
                    self.external_ports.remove(Version::of(flow.key.inner.ip()), port);
                }
            }
        }
    }
}
