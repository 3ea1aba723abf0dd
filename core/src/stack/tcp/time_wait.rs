//! Connections that have ended in good order, remembered for a while: their last segments may
//! have been lost, and the far end repeats its FIN until it hears an acknowledgement.
//!
//! An entry holds no ring and no timer of its own: all live equally long, so that they expire in
//! the order in which they came.

use std::collections::{HashMap, VecDeque};

use smoltcp::wire::TcpPacket;

use crate::limits::{TIME_WAIT, TIME_WAITS_MAX};
use crate::stack::flow::{FlowKey, KeyedState};
use crate::stack::tcp::Standing;
use crate::time::Instant;

/// What a segment of an ended connection deserves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Straggler {
    /// An acknowledgement of where the connection ended.
    Acknowledge(Standing),
    /// Nothing.
    Ignore,
    /// It is a new connection's SYN; the old one is forgotten (RFC 9293, section 3.6.1).
    NewConnection,
}

#[derive(Clone, Copy, Debug)]
struct Ended {
    standing: Standing,
    until: Instant,
}

/// The ended connections.
#[derive(Debug)]
pub(crate) struct TimeWaits {
    standings: HashMap<FlowKey, Ended, KeyedState>,
    order: VecDeque<(Instant, FlowKey)>,
}

impl TimeWaits {
    pub(crate) fn new(hash_key: (u64, u64)) -> Self {
        let standings = HashMap::with_hasher(KeyedState::new(hash_key));
        Self { standings, order: VecDeque::new() }
    }

    /// Remembers how a connection ended. At the bound the oldest is forgotten.
    pub(crate) fn insert(&mut self, key: FlowKey, standing: Standing, now: Instant) {
        self.handle_timeout(now);
        if self.order.len() >= TIME_WAITS_MAX
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.standings.remove(&oldest);
        }
        let until = now + TIME_WAIT;
        self.standings.insert(key, Ended { standing, until });
        self.order.push_back((until, key));
    }

    /// Looks at a segment without a flow; `None` if it belongs to no ended connection either.
    pub(crate) fn handle_segment(
        &mut self,
        key: &FlowKey,
        segment: &TcpPacket<&[u8]>,
        now: Instant,
    ) -> Option<Straggler> {
        self.handle_timeout(now);
        let Ended { standing, .. } = *self.standings.get(key)?;
        if segment.rst() {
            return Some(Straggler::Ignore);
        }
        if segment.syn() && segment.seq_number() > standing.acknowledgement {
            self.standings.remove(key);
            return Some(Straggler::NewConnection);
        }
        let says_something = segment.syn() || segment.fin() || !segment.payload().is_empty();
        Some(if says_something { Straggler::Acknowledge(standing) } else { Straggler::Ignore })
    }

    /// Whether none is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.standings.is_empty()
    }

    /// Whether an ended connection is remembered by this key.
    pub(crate) fn contains(&self, key: &FlowKey) -> bool {
        self.standings.contains_key(key)
    }

    /// When the last one is forgotten, so that its memory is given back even if nobody asks any
    /// more. Those before it need no attention of their own.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.order.back().map(|(at, _)| *at)
    }

    /// Forgets connections that ended long enough ago.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, key)) = self.order.front() {
            if *at > now {
                break;
            }
            // The same key may have ended again since.
            if self.standings.get(key).is_some_and(|ended| ended.until == *at) {
                self.standings.remove(key);
            }
            self.order.pop_front();
        }
        if self.order.is_empty() && self.order.capacity() > 64 {
            self.order.shrink_to_fit();
            self.standings.shrink_to_fit();
        }
    }
}
