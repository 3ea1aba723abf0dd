//! Datagrams on their way from peers to the embedder: one bounded queue in one buffer.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::action::{Datagram, FlowId, Travel};
use crate::limits::DATAGRAMS_LEN_MAX;

/// What an empty queue keeps of its buffer.
const IDLE_CAPACITY: usize = 16 << 10;

/// What it keeps of its entries.
const IDLE_ENTRIES: usize = 256;

#[derive(Debug)]
struct Entry {
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
    entries: VecDeque<Entry>,
}

/// There is no room for the datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueueFull;

impl Datagrams {
    pub(crate) fn push(
        &mut self,
        flow: FlowId,
        remote: SocketAddr,
        travel: Travel,
        payload: &[u8],
    ) -> Result<(), QueueFull> {
        if self.entries.is_empty() {
            self.bytes.clear();
            self.head = 0;
        }
        // An entry costs too: no flood of empty datagrams may grow the queue without a bound.
        let cost = self.bytes.len() + (self.entries.len() + 1) * size_of::<Entry>();
        if cost + payload.len() > DATAGRAMS_LEN_MAX {
            return Err(QueueFull);
        }
        self.bytes.extend_from_slice(payload);
        self.entries.push_back(Entry { flow, remote, travel, len: payload.len() });
        Ok(())
    }

    /// What the first datagram of a flow carries. It looks at every datagram before that one.
    pub(crate) fn first_of(&self, flow: FlowId) -> Option<&[u8]> {
        let mut start = self.head;
        for entry in &self.entries {
            if entry.flow == flow {
                return self.bytes.get(start..start + entry.len);
            }
            start += entry.len;
        }
        None
    }

    /// The flow of the next datagram, and where it goes.
    pub(crate) fn front(&self) -> Option<(FlowId, SocketAddr)> {
        self.entries.front().map(|entry| (entry.flow, entry.remote))
    }

    /// Takes the next datagram.
    pub(crate) fn pop(&mut self) -> Option<Datagram<'_>> {
        let Some(Entry { flow, remote, travel, len }) = self.entries.pop_front() else {
            self.rest();
            return None;
        };
        let start = self.head;
        self.head += len;
        Some(Datagram { flow, remote, travel, payload: &self.bytes[start..self.head] })
    }

    fn rest(&mut self) {
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
    use crate::action::Fragmenting;

    const FLOW: FlowId = FlowId { slot: 1, generation: 2 };

    const TRAVEL: Travel = Travel { hop_limit: 63, fragmenting: Fragmenting::Allowed };

    fn remote() -> SocketAddr {
        "192.0.2.1:53".parse().unwrap()
    }

    #[test]
    fn datagrams_keep_their_order_and_bounds() {
        let mut queue = Datagrams::default();
        for payload in [&b"one"[..], b"", b"three"] {
            queue.push(FLOW, remote(), TRAVEL, payload).unwrap();
        }
        let mut seen = Vec::new();
        while let Some(datagram) = queue.pop() {
            seen.push(datagram.payload.to_vec());
        }
        assert_eq!(seen, [&b"one"[..], b"", b"three"]);
    }

    #[test]
    fn the_queue_is_bounded_even_for_empty_datagrams() {
        for payload in [&[][..], &[0; 1000]] {
            let mut queue = Datagrams::default();
            let mut taken = 0;
            while queue.push(FLOW, remote(), TRAVEL, payload).is_ok() {
                taken += 1;
                assert!(taken < DATAGRAMS_LEN_MAX);
            }
            assert!(taken > 100);
            while queue.pop().is_some() {}
            assert!(queue.bytes.capacity() <= IDLE_CAPACITY);
            assert!(queue.push(FLOW, remote(), TRAVEL, payload).is_ok());
        }
    }
}
