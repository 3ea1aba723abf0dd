//! The stack: flows of IP packets on the tunnel's side, flows of bytes and datagrams on the
//! embedder's side.
//!
//! ```text
//!   packets of peers --> peer_side --> flows (TCP, mappings) --> actions, datagrams, rings
//!   packets to peers <-- outlet    <-- flows                 <-- host_side
//! ```
//!
//! It knows peers by id only; sessions, endpoints and keys are the tunnel's. What passes between
//! the two, an IP packet and a peer, is the seam.

mod answer;
mod coalescer;
mod host_side;
pub(crate) mod input;
mod key;
mod keyed_hash;
mod limit;
mod mapping;
pub(crate) mod outlet;
mod overlay;
mod packet;
mod path_mtu;
mod peer_side;
mod ports;
mod reach;
mod recheck;
mod setup;
mod state;
mod table;
mod tcp;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;

use ipnet::IpNet;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::action::Action;
use crate::bucket::{Bucket, Rate};
use crate::config;
use crate::datagram::Datagram;
use crate::event::Event;
use crate::flow::{Abort, FlowMeta, Refusal, Target};
use crate::id::{FlowId, PeerId};
use crate::limits::{ICMP_ERRORS_BURST, ICMP_ERRORS_RATE, Limits, SCRATCH_LEN};
use crate::outcome::FlowOutcome;
use crate::policy::Policy;
use crate::rules::Rule;
use crate::stack::coalescer::Coalescer;
use crate::stack::limit::eviction::Claims;
use crate::stack::limit::memory::Memory;
use crate::stack::limit::shares::Holdings;
use crate::stack::mapping::hairpin::ExternalPorts;
use crate::stack::mapping::queue::Datagrams;
use crate::stack::outlet::{Exit, Outlet};
use crate::stack::overlay::conversations::Conversations;
use crate::stack::packet::icmp::Version;
use crate::stack::packet::reassembly::Fragments;
use crate::stack::ports::Ports;
pub(crate) use crate::stack::setup::Setup;
use crate::stack::table::{FlowEntry, FlowKind, FlowTable};
use crate::stack::tcp::{FlowStage, NextTurn, SequenceNumbers, TcpFlow, TimeWaits};
use crate::stats::Counter;
use crate::time::Instant;
use crate::timer::Timers;

/// All flows of an engine.
#[derive(Debug)]
pub(crate) struct Stack {
    own_addresses: Vec<IpNet>,
    mtu: u16,
    tcp: config::Tcp,
    mappings: config::Mappings,
    policy: Policy,
    flows: FlowTable,
    time_waits: TimeWaits,
    sequence_numbers: SequenceNumbers,
    fragments: Fragments,
    coalescer: Coalescer,
    memory: Memory,
    /// Flows to be serviced, in turn.
    ready: VecDeque<FlowId>,
    /// Flows with more to send than there is room for.
    blocked: VecDeque<FlowId>,
    tcp_timers: Timers,
    mapping_timers: Timers,
    claims: Claims,
    external_ports: ExternalPorts,
    conversations: Conversations,
    /// The hosts that mappings remember.
    contacts: Holdings,
    actions: VecDeque<Action>,
    datagrams: Datagrams,
    icmp_errors: Vec<Bucket>,
    rng: ChaCha20Rng,
    ports: Ports,
    next_identification: u32,
    /// Where packets are written.
    scratch: Vec<u8>,
    /// Where fragments of them are written.
    piece: Vec<u8>,
}

/// What the tunnel may add to a packet in place.
const PADDING_MAX: usize = 15;

impl Stack {
    /// A stack without flows. `first_generation` is that of every flow slot: later than any that an
    /// earlier stack of the same engine has used.
    pub(crate) fn new(setup: &Setup, seed: [u8; 32], first_generation: u32) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let hash_key = (rng.next_u64(), rng.next_u64());
        let Limits { memory, per_peer, .. } = setup.limits;
        let fragments = Fragments::new(hash_key, memory);
        Self {
            own_addresses: setup.addresses.clone(),
            mtu: setup.mtu,
            tcp: setup.tcp.clone(),
            mappings: setup.mappings.clone(),
            policy: Policy::new(setup.gateway.clone(), &setup.addresses),
            flows: FlowTable::new(setup.limits.clone(), hash_key, first_generation),
            time_waits: TimeWaits::new(hash_key),
            sequence_numbers: SequenceNumbers::new((rng.next_u64(), rng.next_u64())),
            coalescer: Coalescer::default(),
            memory: Memory::new(memory - fragments.len_max(), per_peer),
            fragments,
            ready: VecDeque::new(),
            blocked: VecDeque::new(),
            tcp_timers: Timers::default(),
            mapping_timers: Timers::default(),
            claims: Claims::default(),
            external_ports: ExternalPorts::default(),
            conversations: Conversations::new(hash_key),
            contacts: Holdings::default(),
            actions: VecDeque::new(),
            datagrams: Datagrams::default(),
            icmp_errors: Vec::new(),
            ports: Ports::new(hash_key),
            next_identification: rng.next_u32(),
            rng,
            scratch: vec![0; SCRATCH_LEN],
            piece: vec![0; usize::from(setup.mtu) + PADDING_MAX],
        }
    }

    /// What a stack in the place of this one would have to be made of.
    pub(crate) fn setup(&self) -> Setup {
        Setup {
            addresses: self.own_addresses.clone(),
            mtu: self.mtu,
            tcp: self.tcp.clone(),
            mappings: self.mappings.clone(),
            gateway: self.policy.gateway(),
            limits: self.flows.limits().clone(),
        }
    }

    /// Whether nothing is left of what happened so far, so that another stack could go on from here.
    pub(crate) fn is_at_rest(&self, now: Instant) -> bool {
        self.flows.is_empty()
            && self.actions.is_empty()
            && self.datagrams.is_empty()
            && self.time_waits.is_empty()
            && self.fragments.poll_timeout().is_none()
            && (!self.policy.has_rules() || self.conversations.are_at_rest(now))
    }

    /// The rules, if they are others than at first.
    pub(crate) fn changed_rules(&self) -> Option<Vec<Rule>> {
        self.conversations.have_rules_changed().then(|| self.policy.rules().to_vec())
    }

    /// A generation later than those of all flows that ever were.
    pub(crate) fn next_generation(&self) -> u32 {
        self.flows.next_generation()
    }

    pub(crate) fn meta(&self, flow: FlowId) -> Option<&FlowMeta> {
        self.flows.get(flow).map(|flow| &flow.meta)
    }

    /// The first flow of which that is true. It looks at every flow.
    pub(crate) fn find(&self, is_it: impl Fn(&FlowMeta) -> bool) -> Option<FlowId> {
        self.flows.ids().into_iter().find(|id| self.meta(*id).is_some_and(&is_it))
    }

    /// Ends every flow, with resets where there is somebody to hear them.
    fn shut_down(&mut self, outlet: &mut dyn Outlet) {
        for id in self.flows.ids() {
            self.abort(id, Abort::ShutDown, outlet);
        }
    }

    /// Lets time pass: wakes the flows whose deadlines are due.
    fn handle_timeout(&mut self, outlet: &mut dyn Outlet, now: Instant) {
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

    /// Ends the flow of a peer that holds the most bytes. One whose bytes nobody needs goes last:
    /// they are about to be given back. It looks at every flow, which is why it is done so rarely.
    fn shed(&mut self, peer: PeerId, outlet: &mut dyn Outlet) {
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
    fn abort(&mut self, id: FlowId, reason: Abort, outlet: &mut dyn Outlet) {
        self.send_reset(id, outlet);
        self.actions.push_back(Action::Aborted(id, reason));
        self.remove(id, reason.into(), outlet);
    }

    /// Tells the far end of a TCP flow that it is gone.
    fn send_reset(&mut self, id: FlowId, outlet: &mut dyn Outlet) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let key = flow.key;
        let mut exit = Exit { outlet, scratch: &mut self.scratch };
        match flow.tcp_mut().map(TcpFlow::stage_mut) {
            Some(FlowStage::Live(connection)) => connection.send_reset(&mut exit),
            Some(FlowStage::Offered(syn)) => tcp::refuse_syn(&key, syn, &mut exit),
            None => {}
        }
    }

    /// Brings the account of a flow up to date.
    fn account(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let peer = flow.key.peer;
        if let Some(tcp) = flow.tcp_mut() {
            let before = tcp.accounted();
            self.memory.account(peer, before, tcp.take_account());
        }
    }

    /// Whether [`Input::Service`](input::Input::Service) would change nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.blocked.is_empty() && self.memory.shed_at().is_none()
    }

    /// Services every flow that is ready, once. Says whether it is worth while to look at what came
    /// of it and to do so again: there is something new to tell, or a flow has more to send.
    fn service(&mut self, outlet: &mut dyn Outlet, now: Instant) -> bool {
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

    fn service_flow(&mut self, id: FlowId, outlet: &mut dyn Outlet, now: Instant) {
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
                    self.refuse_offer(id, Refusal::TimedOut, outlet, now);
                }
                self.remove(id, outcome, outlet);
            }
        }
    }

    /// The next thing for the embedder to do, which leaves the queue.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next datagram for a host. It stays there.
    pub(crate) fn poll_datagram(&self) -> Option<Datagram<'_>> {
        self.datagrams.front()
    }

    /// The embedder has taken the next datagram.
    pub(crate) fn pop_datagram(&mut self) {
        let Self { flows, datagrams, .. } = self;
        if let Some(next) = datagrams.front()
            && let Some(mapping) = flows.get_mut(next.flow).and_then(FlowEntry::mapping_mut)
        {
            mapping.transfer.bytes_in += next.payload.len() as u64;
        }
        self.datagrams.pop();
        self.drop_orphans();
    }

    /// Drops the datagrams at the front whose flow is over, so that the next one never is.
    fn drop_orphans(&mut self) {
        while let Some(next) = self.datagrams.front()
            && self.flows.get(next.flow).is_none()
        {
            self.datagrams.pop();
        }
    }

    fn is_offered(&self, id: FlowId) -> bool {
        let tcp = self.flows.get(id).and_then(|flow| flow.tcp());
        tcp.is_some_and(|tcp| matches!(tcp.stage(), FlowStage::Offered(_)))
    }

    fn make_ready(&mut self, id: FlowId) {
        if let Some(flow) = self.flows.get_mut(id)
            && !flow.ready
        {
            flow.ready = true;
            self.ready.push_back(id);
        }
    }

    /// Takes a flow out of everything that knows it by slot, and says what became of it.
    fn remove(&mut self, id: FlowId, outcome: FlowOutcome, outlet: &mut dyn Outlet) {
        let Some(flow) = self.flows.remove(id) else { return };
        outlet.tell(Event::FlowEnded { flow: flow.state(id), outcome });
        self.drop_orphans();
        self.tcp_timers.set(id.slot(), None);
        self.mapping_timers.set(id.slot(), None);
        self.claims.remove(id.slot());
        if let Some(slots) = self.flows.shrink() {
            self.tcp_timers.shrink(slots);
            self.mapping_timers.shrink(slots);
            self.claims.shrink(slots);
        }
        if flow.meta.target == Target::Client {
            self.ports.give_back(flow.key);
        }
        match flow.kind {
            FlowKind::Tcp(tcp) => {
                self.memory.account(flow.key.peer, tcp.accounted(), 0);
                self.memory.forget(flow.key.peer, id);
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

    /// Our addresses inside the tunnel.
    pub(crate) fn own_addresses(&self) -> &[IpNet] {
        &self.own_addresses
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.own_addresses.iter().any(|own| own.addr() == address)
    }

    /// Our tunnel address of the IP version of `target`: on its network if we have one there.
    fn own_address_for(&self, target: IpAddr) -> Option<IpAddr> {
        let same = |own: &&IpNet| own.addr().is_ipv4() == target.is_ipv4();
        let mut candidates = self.own_addresses.iter().filter(same);
        let near = candidates.clone().find(|own| own.contains(&target));
        near.or_else(|| candidates.next()).map(IpNet::addr)
    }

    /// Whether one more ICMP error may go to a peer.
    fn may_send_error(&mut self, peer: PeerId, now: Instant) -> bool {
        let index = peer.slot();
        if self.icmp_errors.len() <= index {
            self.icmp_errors.resize(index + 1, Bucket::default());
        }
        self.icmp_errors[index].take(Rate::per_second(ICMP_ERRORS_BURST, ICMP_ERRORS_RATE), now)
    }
}
