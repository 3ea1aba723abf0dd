//! [`Monitor`]: the counters of all, and of each peer beside them.

use crate::stats::{Counter, Stats};

/// What an engine counts.
#[derive(Debug)]
pub(crate) struct Monitor {
    stats: Stats,
}

impl Monitor {
    pub(crate) const fn new() -> Self {
        Self { stats: Stats::new() }
    }

    pub(crate) const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Counts what is of no peer.
    pub(crate) fn count(&mut self, counter: Counter) {
        self.stats.count(counter);
    }

    /// Adds what is of no peer.
    pub(crate) fn add(&mut self, counter: Counter, amount: u64) {
        self.stats.add(counter, amount);
    }

    /// What one peer is counted by, whose own counters these are.
    pub(crate) const fn of_peer<'a>(&'a mut self, own: &'a mut Stats) -> PeerMonitor<'a> {
        PeerMonitor { all: self, own }
    }
}

/// What is counted of one peer, and with it of all.
#[derive(Debug)]
pub(crate) struct PeerMonitor<'a> {
    all: &'a mut Monitor,
    own: &'a mut Stats,
}

impl PeerMonitor<'_> {
    pub(crate) fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    pub(crate) fn add(&mut self, counter: Counter, amount: u64) {
        self.all.add(counter, amount);
        self.own.add(counter, amount);
    }

    /// A datagram is the peer's beyond doubt. When it came it was counted for all.
    pub(crate) fn handle_authentic(&mut self, datagram: &[u8]) {
        self.own.count(Counter::DatagramsIn);
        self.own.add(Counter::BytesIn, datagram.len() as u64);
    }
}
