//! The table of flows: found by id from the embedder's side and by key from the tunnel's side, in
//! constant time.

use std::collections::HashMap;
use std::net::SocketAddr;

use slab::Slab;

use crate::flow::{FlowMeta, Protocol};
use crate::id::{FlowId, PeerId};
use crate::limits::Limits;
use crate::policy::Offer;
use crate::stack::key::FlowKey;
use crate::stack::keyed_hash::KeyedState;
use crate::stack::limit::bound::{Bound, bounds, has_socket};
use crate::stack::limit::eviction::Sort;
use crate::stack::limit::shares::Ranking;
use crate::stack::mapping::Mapping;
use crate::stack::outlet::Outlet;
use crate::stack::tcp::{FlowStage, TcpFlow};
use crate::state::{FlowState, FlowStatus, Transfer};
use crate::time::Instant;

/// One flow.
#[derive(Debug)]
pub(crate) struct FlowEntry {
    pub(crate) key: FlowKey,
    pub(crate) meta: FlowMeta,
    pub(crate) kind: FlowKind,
    pub(crate) opened_at: Instant,
    /// Whether it waits in the stack's ready queue.
    pub(crate) ready: bool,
}

/// What is particular to a flow's protocol.
#[derive(Debug)]
pub(crate) enum FlowKind {
    Tcp(TcpFlow),
    Mapping(Mapping),
}

impl FlowEntry {
    /// What it is where one of its peer's flows has to go.
    pub(crate) const fn sort(&self) -> Sort {
        let has_socket = has_socket(self.key.protocol, &self.meta.target);
        match (&self.kind, self.key.protocol) {
            (FlowKind::Tcp(tcp), _) => match tcp.stage() {
                FlowStage::Offered(_) => Sort::Connecting,
                FlowStage::Live(_) if has_socket => Sort::Connected,
                FlowStage::Live(_) => Sort::Served,
            },
            (FlowKind::Mapping(_), Protocol::Icmp) => Sort::Echo,
            (FlowKind::Mapping(_), _) if has_socket => Sort::Udp,
            (FlowKind::Mapping(_), _) => Sort::UdpClient,
        }
    }

    /// Whether there is one less of a bound without it.
    fn counts_as(&self, bound: Bound) -> bool {
        let is_half_open = bound == Bound::HalfOpen && self.sort() == Sort::Connecting;
        is_half_open || bounds(self.key.protocol, &self.meta.target).any(|counted| counted == bound)
    }

    /// The time by which flows of one sort go in order.
    pub(crate) fn turn(&self) -> Instant {
        match &self.kind {
            FlowKind::Tcp(tcp) => tcp.active_at(),
            FlowKind::Mapping(mapping) => mapping.deadline(),
        }
    }

    /// What has moved between it and its host leg.
    pub(crate) const fn transfer(&self) -> Transfer {
        match &self.kind {
            FlowKind::Tcp(tcp) => tcp.transfer(),
            FlowKind::Mapping(mapping) => mapping.transfer,
        }
    }

    /// What can be read of it.
    pub(crate) fn state(&self, id: FlowId) -> FlowState<'_> {
        let (status, active_at) = match &self.kind {
            FlowKind::Tcp(tcp) => (tcp.status(), tcp.active_at()),
            FlowKind::Mapping(mapping) => (FlowStatus::Active, mapping.active_at()),
        };
        let Self { meta, opened_at, .. } = self;
        let transfer = self.transfer();
        FlowState { id, meta, status, opened_at: *opened_at, active_at, transfer }
    }

    pub(crate) const fn tcp(&self) -> Option<&TcpFlow> {
        match &self.kind {
            FlowKind::Tcp(tcp) => Some(tcp),
            FlowKind::Mapping(_) => None,
        }
    }

    pub(crate) const fn tcp_mut(&mut self) -> Option<&mut TcpFlow> {
        match &mut self.kind {
            FlowKind::Tcp(tcp) => Some(tcp),
            FlowKind::Mapping(_) => None,
        }
    }

    pub(crate) const fn mapping(&self) -> Option<&Mapping> {
        match &self.kind {
            FlowKind::Tcp(_) => None,
            FlowKind::Mapping(mapping) => Some(mapping),
        }
    }

    pub(crate) const fn mapping_mut(&mut self) -> Option<&mut Mapping> {
        match &mut self.kind {
            FlowKind::Tcp(_) => None,
            FlowKind::Mapping(mapping) => Some(mapping),
        }
    }
}

/// Slots that are kept although nobody needs them.
const SLOTS_KEPT: usize = 256;

/// Every flow of an engine.
#[derive(Debug)]
pub(crate) struct FlowTable {
    slots: Slab<FlowEntry>,
    generations: Vec<u32>,
    by_key: HashMap<FlowKey, usize, KeyedState>,
    /// What peers have of each bound.
    held: [Ranking; Bound::COUNT],
    limits: Limits,
    /// Of slots that no flow has lived in.
    first_generation: u32,
}

impl FlowTable {
    pub(crate) fn new(limits: Limits, hash_key: (u64, u64), first_generation: u32) -> Self {
        Self {
            slots: Slab::new(),
            generations: Vec::new(),
            by_key: HashMap::with_hasher(KeyedState::new(hash_key)),
            held: Default::default(),
            limits,
            first_generation,
        }
    }

    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) const fn set_socket_limit(&mut self, sockets: usize) {
        self.limits.sockets = sockets;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// A generation later than those of all flows that ever were.
    pub(crate) fn next_generation(&self) -> u32 {
        self.generations.iter().copied().max().unwrap_or(self.first_generation).wrapping_add(1)
    }

    pub(crate) fn find(&self, key: &FlowKey) -> Option<FlowId> {
        self.by_key.get(key).map(|slot| self.id_of(*slot))
    }

    pub(crate) fn get(&self, id: FlowId) -> Option<&FlowEntry> {
        self.is_current(id).then(|| self.slots.get(id.slot())).flatten()
    }

    pub(crate) fn get_mut(&mut self, id: FlowId) -> Option<&mut FlowEntry> {
        if !self.is_current(id) {
            return None;
        }
        self.slots.get_mut(id.slot())
    }

    /// The id of the flow that lives in a slot now.
    pub(crate) fn current(&self, slot: usize) -> Option<FlowId> {
        self.slots.contains(slot).then(|| self.id_of(slot))
    }

    /// What peers have of a bound.
    pub(crate) const fn held(&self, bound: Bound) -> &Ranking {
        &self.held[bound as usize]
    }

    /// The peer that has to give way before `newcomer` may have one more; `None` if there is room
    /// once the `leaving` ones have gone.
    pub(crate) fn who_gives_way(
        &self,
        bound: Bound,
        newcomer: PeerId,
        leaving: &[FlowId],
    ) -> Option<PeerId> {
        let (limit, share) = (bound.limit(&self.limits), self.limits.per_peer);
        let leaving = leaving.iter().filter_map(|id| self.get(*id));
        let leaving = leaving.filter(|flow| flow.counts_as(bound)).map(|flow| flow.key.peer);
        self.held(bound).who_gives_way(newcomer, limit, share, leaving)
    }

    /// The host leg of a TCP flow has been asked for.
    pub(crate) fn enter_half_open(&mut self, peer: PeerId) {
        self.held[Bound::HalfOpen as usize].add(peer, 1);
    }

    /// The host leg of a TCP flow is there, or will never be.
    pub(crate) fn leave_half_open(&mut self, peer: PeerId) {
        self.held[Bound::HalfOpen as usize].take(peer, 1);
    }

    /// Adds a flow whose key is not in the table yet.
    pub(crate) fn insert(&mut self, flow: FlowEntry) -> FlowId {
        let key = flow.key;
        for bound in bounds(key.protocol, &flow.meta.target) {
            self.held[bound as usize].add(key.peer, 1);
        }
        let slot = self.slots.insert(flow);
        if self.generations.len() <= slot {
            self.generations.resize(slot + 1, self.first_generation);
        }
        self.by_key.insert(key, slot);
        self.id_of(slot)
    }

    /// Takes a flow out; its id is stale from then on.
    pub(crate) fn remove(&mut self, id: FlowId) -> Option<FlowEntry> {
        if !self.is_current(id) {
            return None;
        }
        let flow = self.slots.try_remove(id.slot())?;
        self.generations[id.slot()] = self.generations[id.slot()].wrapping_add(1);
        self.forget_key(&flow.key, id);
        for bound in bounds(flow.key.protocol, &flow.meta.target) {
            self.held[bound as usize].take(flow.key.peer, 1);
        }
        Some(flow)
    }

    /// Lets another flow have the key of this one, which is found by its id alone from now on.
    pub(crate) fn free_key(&mut self, id: FlowId) {
        if let Some(key) = self.get(id).map(|flow| flow.key) {
            self.forget_key(&key, id);
        }
    }

    fn forget_key(&mut self, key: &FlowKey, id: FlowId) {
        if self.by_key.get(key) == Some(&id.slot()) {
            self.by_key.remove(key);
        }
    }

    /// Gives memory back if a flood has left much more of it than flows need. Says how many slots
    /// are left then: flows live in none beyond. Generations stay, or stale ids would come true.
    pub(crate) fn shrink(&mut self) -> Option<usize> {
        let (len, capacity) = (self.slots.len(), self.slots.capacity());
        // Looked at only now and then, since it takes as long as there are slots.
        let is_time = len == 0 || len.is_power_of_two();
        if !is_time || capacity <= SLOTS_KEPT || len > capacity / 4 {
            return None;
        }
        self.slots.shrink_to_fit();
        self.by_key.shrink_to(2 * len);
        Some(self.slots.capacity())
    }

    /// How many slots there is memory for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// Every flow, in the order of the slots.
    pub(crate) fn ids(&self) -> Vec<FlowId> {
        self.slots.iter().map(|(slot, _)| self.id_of(slot)).collect()
    }

    /// Every flow of a peer. It looks at all there are.
    pub(crate) fn ids_of(&self, peer: PeerId) -> Vec<FlowId> {
        let of_peer = self.slots.iter().filter(|(_, flow)| flow.key.peer == peer);
        of_peer.map(|(slot, _)| self.id_of(slot)).collect()
    }

    /// What can be read of a flow.
    pub(crate) fn state(&self, id: FlowId) -> Option<FlowState<'_>> {
        self.get(id).map(|flow| flow.state(id))
    }

    /// What can be read of every flow, in the order of the slots.
    pub(crate) fn states(&self) -> impl Iterator<Item = FlowState<'_>> {
        self.slots.iter().map(|(slot, flow)| flow.state(self.id_of(slot)))
    }

    fn id_of(&self, slot: usize) -> FlowId {
        // The limits keep slots far below 2^32.
        FlowId { slot: slot as u32, generation: self.generations[slot] }
    }

    fn is_current(&self, id: FlowId) -> bool {
        self.generations.get(id.slot()) == Some(&id.generation)
    }
}

/// What a new flow is about; `None` if its peer has gone.
pub(crate) fn new_meta(
    key: FlowKey,
    source: SocketAddr,
    destination: SocketAddr,
    offer: Offer,
    outlet: &dyn Outlet,
) -> Option<FlowMeta> {
    let (peer, protocol) = (outlet.identity(key.peer)?, key.protocol);
    let Offer { target, rule, proxy_protocol } = offer;
    Some(FlowMeta { peer, protocol, source, destination, target, rule, proxy_protocol })
}
