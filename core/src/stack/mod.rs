//! The stack: flows of IP packets on the tunnel's side, flows of bytes and datagrams on the
//! embedder's side.
//!
//! ```text
//!   packets of peers --> peer_side --> flows (TCP, mappings) --> actions, datagrams, rings
//!   packets to peers <-- outlet    <-- flows                 <-- host_side
//!
//!   input.rs       all that can happen, and the one door for it
//!   setup.rs       what a stack is made of
//!   packet/        IP packets read and written, fragments put together
//!   coalescer.rs   segments that arrive together become one
//!   peer_side/     each packet of a peer finds its flow, opens one, or is answered
//!   overlay/       packets from peer to peer, which are no flows
//!   key.rs         what a flow goes by
//!   table.rs       the flows, by id and by key
//!   keyed_hash.rs  the hash of tables that outsiders put keys into
//!   limit/         bounds, and who gives way at them
//!   tcp/           connections
//!   mapping/       flows of UDP and ICMP, and their datagrams for hosts
//!   host_side.rs   what the embedder says of a flow
//!   clients.rs     the flows that it opens
//!   ports.rs       the ports that those speak from
//!   reach.rs       targets that turn out to be this host
//!   path_mtu.rs    packets that are too large for a path
//!   answer/        what a peer is told instead of data
//!   lessons.rs     what flows learn of paths, for each other
//!   turns.rs       time, and the turns of flows
//!   ending.rs      how flows end, and what they leave
//!   recheck.rs     rules and peers change while flows live
//!   state.rs       what can be read
//!   outlet.rs      what the stack needs of the tunnel
//! ```
//!
//! It knows peers by id only; sessions, endpoints and keys are the tunnel's. What passes between
//! the two, an IP packet and a peer, is the seam.

mod answer;
mod clients;
mod coalescer;
mod ending;
mod host_side;
pub(crate) mod input;
mod key;
mod keyed_hash;
mod lessons;
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
mod turns;

use std::collections::VecDeque;
use std::net::IpAddr;

use ipnet::IpNet;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::action::Action;
use crate::config;
use crate::datagram::Datagram;
use crate::event::Event;
use crate::flow::FlowMeta;
use crate::id::FlowId;
use crate::limits::{Limits, PADDING_MAX, SCRATCH_LEN};
use crate::policy::Policy;
use crate::rules::Rule;
use crate::stack::answer::ErrorRates;
use crate::stack::coalescer::Coalescer;
use crate::stack::key::FlowKey;
use crate::stack::limit::eviction::EvictionOrder;
use crate::stack::limit::memory::Memory;
use crate::stack::limit::shares::Holdings;
use crate::stack::mapping::hairpin::ExternalPorts;
use crate::stack::mapping::queue::Datagrams;
use crate::stack::outlet::Outlet;
use crate::stack::overlay::conversations::Conversations;
use crate::stack::packet::reassembly::Fragments;
use crate::stack::ports::Ports;
pub(crate) use crate::stack::setup::Setup;
use crate::stack::table::{FlowEntry, FlowKind, FlowTable};
use crate::stack::tcp::{FlowStage, Paths, SequenceNumbers, TimeWaits};
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
    paths: Paths,
    fragments: Fragments,
    coalescer: Coalescer,
    memory: Memory,
    /// Flows to be serviced, in turn.
    ready: VecDeque<FlowId>,
    /// Flows with more to send than there is room for.
    blocked: VecDeque<FlowId>,
    tcp_timers: Timers,
    mapping_timers: Timers,
    eviction: EvictionOrder,
    external_ports: ExternalPorts,
    conversations: Conversations,
    /// The hosts that mappings remember.
    contacts: Holdings,
    actions: VecDeque<Action>,
    datagrams: Datagrams,
    error_rates: ErrorRates,
    rng: ChaCha20Rng,
    ports: Ports,
    next_identification: u32,
    /// Where packets are written.
    scratch: Vec<u8>,
    /// Where fragments of them are written.
    piece: Vec<u8>,
}

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
            paths: Paths::default(),
            coalescer: Coalescer::default(),
            memory: Memory::new(memory - fragments.len_max(), per_peer),
            fragments,
            ready: VecDeque::new(),
            blocked: VecDeque::new(),
            tcp_timers: Timers::default(),
            mapping_timers: Timers::default(),
            eviction: EvictionOrder::default(),
            external_ports: ExternalPorts::default(),
            conversations: Conversations::new(hash_key),
            contacts: Holdings::default(),
            actions: VecDeque::new(),
            datagrams: Datagrams::default(),
            error_rates: ErrorRates::default(),
            ports: Ports::new(hash_key),
            next_identification: rng.next_u32(),
            rng,
            scratch: vec![0; SCRATCH_LEN],
            piece: vec![0; usize::from(setup.mtu) + PADDING_MAX],
        }
    }

    /// Lets a flow in, for which there is room.
    fn insert(
        &mut self,
        key: FlowKey,
        meta: FlowMeta,
        kind: FlowKind,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> FlowId {
        let id = self.flows.insert(FlowEntry { key, meta, kind, opened_at: now, ready: false });
        self.enter_eviction_order(id);
        if let Some(flow) = self.flows.state(id) {
            outlet.tell(Event::FlowOpened(flow));
        }
        id
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

    /// Whether nothing is left of what happened so far, so that another stack could go on from
    /// here.
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
}
