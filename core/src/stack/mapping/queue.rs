//! Datagrams on their way from peers to the embedder: one bounded queue in one buffer.
//!
//! A peer may have as much of it as is left when its datagram is in. One that is alone has half,
//! two have a third each, and however many there are the next one finds room.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::datagram::{Datagram, Travel};
use crate::id::{FlowId, PeerId};
use crate::limits::DATAGRAMS_LEN_MAX;
use crate::stack::limit::shares::Holdings;

/// What an empty queue keeps of its buffer: as much as a few trains bring, since it is empty after
/// each.
const IDLE_CAPACITY: usize = 256 << 10;

/// What it keeps of its entries.
const IDLE_ENTRIES: usize = 1024;

const _: () = assert!(IDLE_CAPACITY <= DATAGRAMS_LEN_MAX);

#[derive(Debug)]
struct QueuedDatagram {
    peer: PeerId,
    flow: FlowId,
    remote: SocketAddr,
    travel: Travel,
    len: usize,
}

/// The queue. Its buffer fills from the front and starts again when the queue has been emptied,
/// which the embedder does after each input.
#[derive(Debug, Default)]
pub(crate) struct Datagrams {
    bytes: Vec<u8>,
    head: usize,
    entries: VecDeque<QueuedDatagram>,
    held: Holdings,
}

/// What a datagram takes. Its entry costs too: no flood of empty datagrams may grow the queue
/// without a bound.
const fn cost(len: usize) -> usize {
    len + size_of::<QueuedDatagram>()
}

/// There is no room for the datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueueFull;

impl Datagrams {
    pub(crate) fn push(
        &mut self,
        peer: PeerId,
        flow: FlowId,
        remote: SocketAddr,
        travel: Travel,
        payload: &[u8],
    ) -> Result<(), QueueFull> {
        if self.entries.is_empty() {
            self.bytes.clear();
            self.head = 0;
        }
        let len = payload.len();
        let used = self.bytes.len() + self.entries.len() * size_of::<QueuedDatagram>();
        let left = DATAGRAMS_LEN_MAX.saturating_sub(used + cost(len));
        if self.held.of(peer) + cost(len) > left {
            return Err(QueueFull);
        }
        self.held.add(peer, cost(len));
        self.bytes.extend_from_slice(payload);
        self.entries.push_back(QueuedDatagram { peer, flow, remote, travel, len });
        Ok(())
    }

    /// What waits, from the front.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        let mut rest = self.bytes.get(self.head..).unwrap_or_default();
        self.entries.iter().map_while(move |entry| {
            let (payload, behind) = rest.split_at_checked(entry.len)?;
            rest = behind;
            Some(Datagram { flow: entry.flow, remote: entry.remote, travel: entry.travel, payload })
        })
    }

    /// The next datagram. It stays there.
    pub(crate) fn front(&self) -> Option<Datagram<'_>> {
        self.iter().next()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Drops the next datagram.
    pub(crate) fn pop(&mut self) {
        let Some(QueuedDatagram { peer, len, .. }) = self.entries.pop_front() else { return };
        self.held.take(peer, cost(len));
        self.head += len;
        self.rest();
    }

    /// Bytes that there is memory for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<QueuedDatagram>()
    }

    /// Gives back what a burst has taken, once nothing of it is left.
    fn rest(&mut self) {
        if !self.entries.is_empty() {
            return;
        }
        if self.bytes.capacity() > IDLE_CAPACITY {
            self.bytes.clear();
            self.bytes.shrink_to(IDLE_CAPACITY);
            self.head = 0;
        }
        self.entries.shrink_to(IDLE_ENTRIES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagram::{Fragmenting, TrafficClass};

    const FLOW: FlowId = FlowId { slot: 1, generation: 2 };

    const TRAVEL: Travel = Travel {
        hop_limit: 63,
        fragmenting: Fragmenting::Allowed,
        traffic_class: TrafficClass::DEFAULT,
    };

    fn push(queue: &mut Datagrams, payload: &[u8]) -> Result<(), QueueFull> {
        queue.push(PeerId::first(0), FLOW, remote(), TRAVEL, payload)
    }

    fn remote() -> SocketAddr {
        "192.0.2.1:53".parse().unwrap()
    }

    #[test]
    fn datagrams_keep_their_order_and_bounds() {
        let mut queue = Datagrams::default();
        for payload in [&b"one"[..], b"", b"three"] {
            push(&mut queue, payload).unwrap();
        }
        let mut seen = Vec::new();
        while let Some(datagram) = queue.front() {
            seen.push(datagram.payload.to_vec());
            queue.pop();
        }
        assert_eq!(seen, [&b"one"[..], b"", b"three"]);
    }

    #[test]
    fn however_many_peers_fill_the_queue_the_next_one_finds_room() {
        let mut queue = Datagrams::default();
        for slot in 0..10 {
            let peer = PeerId::first(slot);
            let mut push = || queue.push(peer, FLOW, remote(), TRAVEL, &[0; 1000]);
            let count = std::iter::from_fn(|| push().ok()).count();
            assert!(count > 0, "peer {slot} of many");
        }
        while queue.front().is_some() {
            queue.pop();
        }
        assert_eq!(queue.held.total(), 0);
    }

    #[test]
    fn the_queue_is_bounded_even_for_empty_datagrams() {
        for payload in [&[][..], &[0; 1000]] {
            let mut queue = Datagrams::default();
            let mut taken = 0;
            while push(&mut queue, payload).is_ok() {
                taken += 1;
                assert!(taken < DATAGRAMS_LEN_MAX);
            }
            assert!(taken > 100);
            while queue.front().is_some() {
                queue.pop();
            }
            assert!(queue.bytes.capacity() <= IDLE_CAPACITY);
            assert!(push(&mut queue, payload).is_ok());
        }
    }
}
