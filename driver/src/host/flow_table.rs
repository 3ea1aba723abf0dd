//! The host legs of all flows, and which of them have something to do.
//!
//! A flow's id names it to core, a host leg's key names it to mio. An id whose flow is over may
//! still be known here until its last action comes, while core already uses its slot for another
//! flow: so ids are looked up whole.

use std::collections::{HashMap, VecDeque};

use slab::Slab;
use slipwire_core::FlowId;

use super::HostLeg;

/// Places that are kept although no flow needs them.
const PLACES_KEPT: usize = 256;

#[derive(Debug)]
struct HostedFlow {
    flow: FlowId,
    leg: HostLeg,
    /// Whether it is in the ready queue, so that it is there once.
    queued: bool,
}

/// The host legs of all flows.
#[derive(Debug, Default)]
pub(crate) struct FlowTable {
    entries: Slab<HostedFlow>,
    keys: HashMap<FlowId, usize>,
    /// Keys of flows with something to do, in the order of their turns. A key whose flow is gone is
    /// skipped, and if another flow has it by now, that one finds nothing to do.
    ready: VecDeque<usize>,
    /// Keys of ready flows that have to wait for the tunnel.
    stalled: Vec<usize>,
    /// How many of the host legs have a socket of their own.
    sockets: usize,
}

impl FlowTable {
    /// How many host legs have a socket of their own.
    pub(crate) const fn sockets(&self) -> usize {
        self.sockets
    }

    /// The key that the next flow gets.
    pub(crate) fn next_key(&self) -> usize {
        self.entries.vacant_key()
    }

    /// Returns the flow's key.
    pub(crate) fn insert(&mut self, flow: FlowId, leg: HostLeg) -> usize {
        self.sockets += usize::from(leg.has_socket());
        let key = self.entries.insert(HostedFlow { flow, leg, queued: false });
        self.keys.insert(flow, key);
        key
    }

    pub(crate) fn remove(&mut self, flow: FlowId) -> Option<HostLeg> {
        let key = self.keys.remove(&flow)?;
        let leg = self.entries.try_remove(key)?.leg;
        self.sockets -= usize::from(leg.has_socket());
        self.shrink();
        Some(leg)
    }

    /// Gives memory back if a flood has left much more of it than flows need; looked at only now
    /// and then, since it takes as long as there are places.
    fn shrink(&mut self) {
        let (len, capacity) = (self.entries.len(), self.entries.capacity());
        let is_time = len == 0 || len.is_power_of_two();
        if is_time && capacity > PLACES_KEPT && len <= capacity / 4 {
            self.entries.shrink_to_fit();
            self.keys.shrink_to(2 * len);
            self.ready.shrink_to(2 * len);
        }
    }

    pub(crate) fn by_flow(&mut self, flow: FlowId) -> Option<(usize, &mut HostLeg)> {
        let key = *self.keys.get(&flow)?;
        self.entries.get_mut(key).map(|entry| (key, &mut entry.leg))
    }

    pub(crate) fn by_key(&mut self, key: usize) -> Option<(FlowId, &mut HostLeg)> {
        self.entries.get_mut(key).map(|entry| (entry.flow, &mut entry.leg))
    }

    /// The flows whose host leg is such a one. It looks at all of them.
    pub(crate) fn matching(&self, is_it: impl Fn(FlowId, &HostLeg) -> bool) -> Vec<FlowId> {
        let entries = self.entries.iter().map(|(_, entry)| entry);
        entries.filter(|entry| is_it(entry.flow, &entry.leg)).map(|entry| entry.flow).collect()
    }

    /// Gives a flow a turn, after those that wait already.
    pub(crate) fn wake(&mut self, key: usize) {
        if let Some(entry) = self.entries.get_mut(key)
            && !entry.queued
        {
            entry.queued = true;
            self.ready.push_back(key);
        }
    }

    /// How many turns are waiting.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The flow whose turn it is.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let key = self.ready.pop_front()?;
        if let Some(entry) = self.entries.get_mut(key) {
            entry.queued = false;
        }
        Some(key)
    }

    /// Takes a flow out of turn until [`resume`](Self::resume).
    pub(crate) fn stall(&mut self, key: usize) {
        if let Some(entry) = self.entries.get_mut(key)
            && !entry.queued
        {
            entry.queued = true;
            self.stalled.push(key);
        }
    }

    /// Gives every stalled flow a turn.
    pub(crate) fn resume(&mut self) {
        self.ready.extend(self.stalled.drain(..));
    }
}
