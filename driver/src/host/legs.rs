//! The host legs of all flows, and which of them have something to do.
//!
//! A flow's id names it to core, a leg's key names it to mio. An id whose flow is over may still
//! be known here until its last action comes, while core already uses its slot for another flow:
//! so ids are looked up whole.

use std::collections::{HashMap, VecDeque};

use slab::Slab;
use slipwire_core::FlowId;

use super::Leg;

/// Places that are kept although no leg needs them.
const PLACES_KEPT: usize = 256;

#[derive(Debug)]
struct Entry {
    flow: FlowId,
    leg: Leg,
    /// Whether it is in the ready queue, so that it is there once.
    queued: bool,
}

/// Every host leg.
#[derive(Debug, Default)]
pub(crate) struct Legs {
    entries: Slab<Entry>,
    keys: HashMap<FlowId, usize>,
    /// Keys of legs with something to do, in the order of their turns. A key whose leg is gone is
    /// skipped, and if another leg has it by now, that one finds nothing to do.
    ready: VecDeque<usize>,
    /// Keys of ready legs that have to wait for the tunnel.
    stalled: Vec<usize>,
    /// Legs that have a socket of their own.
    sockets: usize,
}

impl Legs {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many of them have a socket of their own.
    pub(crate) const fn sockets(&self) -> usize {
        self.sockets
    }

    /// The key that the next leg gets.
    pub(crate) fn next_key(&self) -> usize {
        self.entries.vacant_key()
    }

    pub(crate) fn insert(&mut self, flow: FlowId, leg: Leg) {
        self.sockets += usize::from(leg.has_socket());
        let key = self.entries.insert(Entry { flow, leg, queued: false });
        self.keys.insert(flow, key);
    }

    pub(crate) fn remove(&mut self, flow: FlowId) -> Option<Leg> {
        let key = self.keys.remove(&flow)?;
        let leg = self.entries.try_remove(key)?.leg;
        self.sockets -= usize::from(leg.has_socket());
        self.shrink();
        Some(leg)
    }

    /// Gives memory back if a flood has left much more of it than legs need; looked at only now
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

    pub(crate) fn by_flow(&mut self, flow: FlowId) -> Option<(usize, &mut Leg)> {
        let key = *self.keys.get(&flow)?;
        self.entries.get_mut(key).map(|entry| (key, &mut entry.leg))
    }

    pub(crate) fn by_key(&mut self, key: usize) -> Option<(FlowId, &mut Leg)> {
        self.entries.get_mut(key).map(|entry| (entry.flow, &mut entry.leg))
    }

    /// The flows whose leg is such a one. It looks at every leg.
    pub(crate) fn flows(&self, is_it: impl Fn(FlowId, &Leg) -> bool) -> Vec<FlowId> {
        let entries = self.entries.iter().map(|(_, entry)| entry);
        entries.filter(|entry| is_it(entry.flow, &entry.leg)).map(|entry| entry.flow).collect()
    }

    /// Gives a leg a turn, after those that wait already.
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

    /// The leg whose turn it is.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let key = self.ready.pop_front()?;
        if let Some(entry) = self.entries.get_mut(key) {
            entry.queued = false;
        }
        Some(key)
    }

    /// Takes a leg out of turn until [`resume`](Self::resume).
    pub(crate) fn stall(&mut self, key: usize) {
        if let Some(entry) = self.entries.get_mut(key)
            && !entry.queued
        {
            entry.queued = true;
            self.stalled.push(key);
        }
    }

    /// Gives every stalled leg a turn.
    pub(crate) fn resume(&mut self) {
        self.ready.extend(self.stalled.drain(..));
    }
}
