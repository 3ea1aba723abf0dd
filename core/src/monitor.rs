//! [`Monitor`]: what is counted of all, and of each peer beside that, and who hears of events.

use crate::event::{Event, Observer};
use crate::id::PeerId;
use crate::stats::{Counter, Stats};
use crate::time::Instant;

/// What watches an engine.
#[derive(Debug)]
pub(crate) struct Monitor {
    stats: Stats,
    observer: Option<Box<dyn Observer>>,
}

impl Monitor {
    pub(crate) const fn new() -> Self {
        Self { stats: Stats::new(), observer: None }
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

    pub(crate) fn set_observer(&mut self, observer: Option<Box<dyn Observer>>) {
        self.observer = observer;
    }

    /// Whether anybody hears of events.
    pub(crate) const fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// Lets the observer hear of an event.
    pub(crate) fn tell(&mut self, event: Event<'_>, now: Instant) {
        if let Some(observer) = &mut self.observer {
            observer.event(event, now);
        }
    }

    /// What watches a peer, whose own counters these are.
    pub(crate) const fn of_peer<'a>(
        &'a mut self,
        peer: PeerId,
        own: &'a mut Stats,
    ) -> PeerMonitor<'a> {
        PeerMonitor { all: self, own, peer }
    }
}

/// What watches one peer, and with it all.
#[derive(Debug)]
pub(crate) struct PeerMonitor<'a> {
    all: &'a mut Monitor,
    own: &'a mut Stats,
    /// Its name.
    pub(crate) peer: PeerId,
}

impl PeerMonitor<'_> {
    pub(crate) fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    pub(crate) fn add(&mut self, counter: Counter, amount: u64) {
        self.all.add(counter, amount);
        self.own.add(counter, amount);
    }

    /// Lets the observer hear of an event.
    pub(crate) fn tell(&mut self, event: Event<'_>, now: Instant) {
        self.all.tell(event, now);
    }

    /// A datagram is the peer's beyond doubt. When it came it was counted for all.
    pub(crate) fn handle_authentic(&mut self, datagram: &[u8]) {
        self.own.count(Counter::DatagramsIn);
        self.own.add(Counter::BytesIn, datagram.len() as u64);
    }
}
