//! Time, and the turns of flows: whose deadline has passed, or who has something to send or to
//! tell, is ready, and each that is ready is serviced in turn.

use crate::action::Action;
use crate::id::FlowId;
use crate::outcome::FlowOutcome;
use crate::stack::Stack;
use crate::stack::answer::Cause;
use crate::stack::outlet::{Exit, Outlet};
use crate::stack::tcp::NextTurn;
use crate::time::Instant;

impl Stack {
    /// Lets time pass: wakes the flows whose deadlines are due.
    pub(super) fn handle_timeout(&mut self, outlet: &mut dyn Outlet, now: Instant) {
        self.fragments.handle_timeout(now);
        self.time_waits.handle_timeout(now);
        self.ports.handle_timeout(now);
        if let Some(peer) = self.memory.take_shed(now) {
            self.shed(peer, outlet);
        }
        while let Some(slot) = self.tcp_timers.pop_due(now) {
            if let Some(id) = self.flows.current(slot) {
                self.make_ready(id);
            }
        }
        while let Some(slot) = self.mapping_timers.pop_due(now) {
            let Some(id) = self.flows.current(slot) else { continue };
            let Some(mapping) = self.flows.get_mut(id).and_then(|flow| flow.mapping_mut()) else {
                continue;
            };
            let deadline = mapping.deadline();
            if deadline > now {
                self.mapping_timers.set(slot, Some(deadline));
            } else {
                self.actions.push_back(Action::Closed(id));
                self.remove(id, FlowOutcome::Expired, outlet);
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = [
            self.tcp_timers.next(),
            self.mapping_timers.next(),
            self.fragments.poll_timeout(),
            self.time_waits.poll_timeout(),
            self.ports.poll_timeout(),
            self.memory.shed_at(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Brings the account of a flow up to date.
    pub(super) fn account(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let peer = flow.key.peer;
        if let Some(tcp) = flow.tcp_mut() {
            let before = tcp.accounted();
            self.memory.account(peer, before, tcp.take_account());
        }
    }

    /// Whether [`Input::Service`](crate::stack::input::Input::Service) would change nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.blocked.is_empty() && self.memory.shed_at().is_none()
    }

    /// Services every flow that is ready, once. Says whether it is worth while to look at what came
    /// of it and to do so again: there is something new to tell, or a flow has more to send.
    pub(super) fn service(&mut self, outlet: &mut dyn Outlet, now: Instant) -> bool {
        if self.is_idle() {
            return false;
        }
        if outlet.has_room() {
            self.ready.append(&mut self.blocked);
        }
        for id in self.memory.take_relieved() {
            if let Some(tcp) = self.flows.get_mut(id).and_then(|flow| flow.tcp_mut()) {
                tcp.relieve();
            }
            self.make_ready(id);
        }
        let (turns, told) = (self.ready.len(), self.actions.len());
        for _ in 0..turns {
            let Some(id) = self.ready.pop_front() else { break };
            self.service_flow(id, outlet, now);
        }
        self.actions.len() > told || !self.ready.is_empty()
    }

    pub(super) fn service_flow(&mut self, id: FlowId, outlet: &mut dyn Outlet, now: Instant) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.ready = false;
        let peer = flow.key.peer;
        let Some(tcp) = flow.tcp_mut() else { return };
        let mut exit = Exit { outlet, scratch: &mut self.scratch };
        let allowance = self.memory.allowance(peer);
        let next = tcp.service(id, &self.tcp, allowance, &mut self.actions, &mut exit, now);
        if tcp.starves(allowance) {
            self.memory.handle_starved(peer, id, now);
        }
        self.account(id);
        self.learn(id, now);
        match next {
            NextTurn::Rest(deadline) => {
                if let Some(deadline) = deadline {
                    self.tcp_timers.set_no_later(id.slot(), deadline);
                }
            }
            NextTurn::Again => {
                if let Some(flow) = self.flows.get_mut(id) {
                    flow.ready = true;
                }
                let queue = if outlet.has_room() { &mut self.ready } else { &mut self.blocked };
                queue.push_back(id);
            }
            NextTurn::Over(outcome) => {
                if self.is_offered(id) {
                    self.refuse_offer(id, Cause::Unanswered, outlet, now);
                }
                self.remove(id, outcome, outlet);
            }
        }
    }

    pub(super) fn make_ready(&mut self, id: FlowId) {
        if let Some(flow) = self.flows.get_mut(id)
            && !flow.ready
        {
            flow.ready = true;
            self.ready.push_back(id);
        }
    }
}
