//! Connections that have ended in good order, remembered for a while: their last segments may
//! have been lost, and the far end repeats its FIN until it hears an acknowledgement.
//!
//! An entry holds no ring and no timer of its own: all live equally long, so that they expire in
//! the order in which they came. When there are too many, the oldest of the peer that has most is
//! forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use smoltcp::wire::TcpPacket;

use crate::limits::{TIME_WAIT, TIME_WAITS_MAX};
use crate::stack::key::FlowKey;
use crate::stack::keyed_hash::KeyedState;
use crate::stack::limit::shares::Ranking;
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
    key: FlowKey,
    standing: Standing,
    until: Instant,
}

/// Which connection it was that ended: they are numbered as they come.
type Number = u64;

/// The ended connections.
#[derive(Debug)]
pub(crate) struct TimeWaits {
    by_number: BTreeMap<Number, Ended>,
    by_key: HashMap<FlowKey, Number, KeyedState>,
    /// By the slot of the peer.
    by_peer: BTreeSet<(usize, Number)>,
    ranking: Ranking,
    next_number: Number,
}

impl TimeWaits {
    pub(crate) fn new(hash_key: (u64, u64)) -> Self {
        Self {
            by_number: BTreeMap::new(),
            by_key: HashMap::with_hasher(KeyedState::new(hash_key)),
            by_peer: BTreeSet::new(),
            ranking: Ranking::default(),
            next_number: 0,
        }
    }

    /// Remembers how a connection ended.
    pub(crate) fn insert(&mut self, key: FlowKey, standing: Standing, now: Instant) {
        self.handle_timeout(now);
        self.forget(&key);
        if self.by_number.len() >= TIME_WAITS_MAX
            && let Some(oldest) = self.oldest_of_the_largest()
        {
            self.forget(&oldest);
        }
        let number = self.next_number;
        self.next_number += 1;
        self.by_number.insert(number, Ended { key, standing, until: now + TIME_WAIT });
        self.by_key.insert(key, number);
        self.by_peer.insert((key.peer.slot(), number));
        self.ranking.add(key.peer, 1);
    }

    /// The connection that ended first of those of the peer that has most.
    fn oldest_of_the_largest(&self) -> Option<FlowKey> {
        let (peer, _) = self.ranking.most()?;
        let (_, number) = self.by_peer.range((peer.slot(), 0)..).next()?;
        self.by_number.get(number).map(|ended| ended.key)
    }

    fn forget(&mut self, key: &FlowKey) {
        let Some(number) = self.by_key.remove(key) else { return };
        self.by_number.remove(&number);
        self.by_peer.remove(&(key.peer.slot(), number));
        self.ranking.take(key.peer, 1);
    }

    /// Looks at a segment without a flow; `None` if it belongs to no ended connection either.
    pub(crate) fn handle_segment(
        &mut self,
        key: &FlowKey,
        segment: &TcpPacket<&[u8]>,
        now: Instant,
    ) -> Option<Straggler> {
        self.handle_timeout(now);
        let Ended { standing, .. } = *self.by_number.get(self.by_key.get(key)?)?;
        if segment.rst() {
            return Some(Straggler::Ignore);
        }
        if segment.syn() && segment.seq_number() > standing.acknowledgement {
            self.forget(key);
            return Some(Straggler::NewConnection);
        }
        if segment.fin() {
            // The far end is not done either (RFC 9293, section 3.10.7.4).
            self.insert(*key, standing, now);
        }
        let says_something = segment.syn() || segment.fin() || !segment.payload().is_empty();
        Some(if says_something { Straggler::Acknowledge(standing) } else { Straggler::Ignore })
    }

    /// Whether none is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// Whether an ended connection is remembered by this key.
    pub(crate) fn contains(&self, key: &FlowKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// When the last one is forgotten, so that its memory is given back even if nobody asks any
    /// more. Those before it need no attention of their own.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.by_number.last_key_value().map(|(_, ended)| ended.until)
    }

    /// Forgets connections that ended long enough ago.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, Ended { key, until, .. })) = self.by_number.first_key_value() {
            if *until > now {
                break;
            }
            let key = *key;
            self.forget(&key);
        }
        if self.by_key.is_empty() && self.by_key.capacity() > 64 {
            self.by_key.shrink_to_fit();
        }
    }
}
