//! What the two rings of a connection have of memory.
//!
//! A ring is reserved at once, but its pages are there only once bytes have come to them, and from
//! then on until they are given back, whether the ring holds anything or not: one that is never
//! empty, or that walks on with what it holds, has all of them in the end.

use std::ops::Range;

use crate::limits::PAGE_LEN;

/// Capacities of 2^k - 1 bytes: smoltcp scales the window of its SYN-ACK after the fact, and with
/// any other capacity the scaled window would reach past the end of the ring.
pub(super) const fn ring_len(configured: usize) -> usize {
    let bits = usize::BITS - configured.leading_zeros();
    if configured.is_power_of_two() { configured - 1 } else { (1 << (bits - 1)) - 1 }
}

/// Where a connection's rings are.
pub(crate) type Addresses = [Range<usize>; 2];

/// Both rings of a connection.
#[derive(Debug)]
pub(super) struct Rings {
    addresses: Addresses,
    receive: Touched,
    send: Touched,
    /// Where the next byte goes in the send ring, which begins at its start whenever it is empty;
    /// beyond its end once it has come round.
    written: usize,
}

impl Rings {
    pub(super) fn new(receive: &[u8], send: &[u8]) -> Self {
        Self {
            addresses: [receive, send].map(|ring| {
                let Range { start, end } = ring.as_ptr_range();
                start.expose_provenance()..end.expose_provenance()
            }),
            receive: Touched::new(receive.len()),
            send: Touched::new(send.len()),
            written: 0,
        }
    }

    /// Bytes of both that are resident.
    pub(super) const fn resident(&self) -> usize {
        self.receive.resident() + self.send.resident()
    }

    /// Bytes that would be resident beside those if so many came behind all that have come.
    pub(super) fn growth(&self, more: usize) -> usize {
        self.receive.growth(more)
    }

    /// So many bytes came behind all that have come, gaps among them.
    pub(super) fn handle_received(&mut self, more: usize) {
        self.receive.extend(more);
    }

    /// Bytes that the send ring may take if no more than `room` may become resident; it holds
    /// `queued` now.
    pub(super) fn send_room(&self, queued: usize, room: usize) -> usize {
        let written = if queued == 0 { 0 } else { self.written };
        self.send.spare(written, room)
    }

    /// The embedder has put `len` bytes behind the `queued` ones in the send ring.
    pub(super) fn handle_sent(&mut self, queued: usize, len: usize) {
        self.written = if queued == 0 { len } else { self.written.saturating_add(len) };
        self.send.reach(self.written);
    }

    /// Nothing in them is needed, and their pages are given back.
    pub(super) const fn give_back(&mut self) {
        self.receive.clear();
        self.send.clear();
    }

    /// Where they are.
    pub(super) fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }
}

/// How far bytes have come in a ring since its pages were given back.
#[derive(Debug)]
struct Touched {
    ring_len: usize,
    /// Bytes from the first to the last that was touched.
    len: usize,
}

impl Touched {
    const fn new(ring_len: usize) -> Self {
        Self { ring_len, len: 0 }
    }

    const fn resident(&self) -> usize {
        self.len.next_multiple_of(PAGE_LEN)
    }

    /// Bytes that would be resident beside those, were `more` bytes touched behind the last.
    fn growth(&self, more: usize) -> usize {
        self.after(more).next_multiple_of(PAGE_LEN) - self.resident()
    }

    /// Bytes behind the first `used` that may be touched if no more than `room` may become
    /// resident.
    fn spare(&self, used: usize, room: usize) -> usize {
        if self.len == self.ring_len {
            return usize::MAX;
        }
        (self.resident() + room / PAGE_LEN * PAGE_LEN).saturating_sub(used)
    }

    /// So many bytes were touched behind the last.
    fn extend(&mut self, more: usize) {
        self.len = self.after(more);
    }

    /// The first `len` bytes were touched.
    fn reach(&mut self, len: usize) {
        self.len = self.len.max(len.min(self.ring_len));
    }

    const fn clear(&mut self) {
        self.len = 0;
    }

    fn after(&self, more: usize) -> usize {
        self.len.saturating_add(more).min(self.ring_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_walks_on_has_all_its_pages_in_the_end_and_no_more() {
        let mut rings = Rings::new(&[0; 65_535], &[0; 65_535]);
        assert_eq!([1, 4097, 1 << 20].map(|more| rings.growth(more)), [4096, 8192, 65_536]);
        rings.handle_received(1);
        assert_eq!((rings.resident(), rings.growth(4095), rings.growth(4096)), (4096, 0, 4096));
        for _ in 0..100 {
            rings.handle_received(1000);
        }
        assert_eq!((rings.resident(), rings.growth(1000)), (65_536, 0));
        rings.give_back();
        assert_eq!(rings.resident(), 0);
    }

    #[test]
    fn the_send_ring_uses_again_what_it_has_touched() {
        let mut rings = Rings::new(&[0; 65_535], &[0; 65_535]);
        assert_eq!([0, 4095, 4096, 9999].map(|room| rings.send_room(0, room)), [0, 0, 4096, 8192]);
        for _ in 0..20 {
            rings.handle_sent(0, 5000);
        }
        assert_eq!((rings.resident(), rings.send_room(5000, 0)), (8192, 3192));
        assert_eq!(rings.send_room(0, 0), 8192, "it begins at its start when it is empty");
        for _ in 0..20 {
            rings.handle_sent(5000, 5000);
        }
        assert_eq!((rings.resident(), rings.send_room(5000, 0)), (65_536, usize::MAX));
    }
}
