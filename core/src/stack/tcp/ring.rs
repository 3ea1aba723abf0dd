//! Bytes of one direction, in a ring that grows with what it has to hold.
//!
//! Nothing is allocated before the first byte. Then all that the ring may ever hold is reserved,
//! but only its active part is used, which begins anew, and small, whenever the ring is empty: so
//! few pages are touched as the flow needs at once. A page that was touched is resident from then
//! on until it is given back, whether it holds anything or not.
//!
//! ```text
//! storage  [ . . . . d d d d d _ d d . . . | - - - - - ]
//!                    start     end   furthest  active    reserved
//! ```

use std::ops::Range;

use crate::limits::PAGE_LEN;

/// Bytes that are free for the embedder to write at once, where the limit allows it.
const ROOM_MIN: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(in crate::stack::tcp) struct Ring {
    /// Empty, or [`max_len`](Self::max_len) bytes.
    storage: Vec<u8>,
    max_len: usize,
    /// Bytes of the storage in which it goes round.
    active: usize,
    /// Where in the storage its first byte is.
    head: usize,
    /// The position of its first byte.
    start: u64,
    /// Bytes that it holds in order.
    len: usize,
    /// Bytes from the first to the furthest one, gaps included; at least `len`.
    reach: usize,
    /// Bytes of the storage up to the last one that was touched.
    touched: usize,
}

impl Ring {
    /// A ring that holds up to `max_len` bytes, the first of which has the position `start`.
    pub(in crate::stack::tcp) const fn new(max_len: usize, start: u64) -> Self {
        Self {
            storage: Vec::new(),
            max_len,
            active: 0,
            head: 0,
            start,
            len: 0,
            reach: 0,
            touched: 0,
        }
    }

    /// Bytes that it can hold.
    pub(in crate::stack::tcp) const fn max_len(&self) -> usize {
        self.max_len
    }

    /// The position of its first byte.
    pub(in crate::stack::tcp) const fn start(&self) -> u64 {
        self.start
    }

    /// The position behind its last byte in order.
    pub(in crate::stack::tcp) const fn end(&self) -> u64 {
        self.start + self.len as u64
    }

    /// Bytes that it holds in order.
    pub(in crate::stack::tcp) const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing in order.
    pub(in crate::stack::tcp) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it holds nothing at all, behind gaps either.
    pub(in crate::stack::tcp) const fn is_vacant(&self) -> bool {
        self.reach == 0
    }

    /// The free part behind the end, as far as it is in one piece and `limit` bytes are held in
    /// all. There are no gaps.
    pub(in crate::stack::tcp) fn room(&mut self, limit: usize) -> &mut [u8] {
        debug_assert_eq!(self.reach, self.len, "a ring to send from has no gaps");
        let limit = limit.min(self.max_len);
        if limit <= self.len {
            return &mut [];
        }
        let needed = limit.min(self.len.saturating_add(ROOM_MIN));
        if needed > self.active {
            self.grow(self.grown_len(needed).min(limit));
        }
        let at = self.place(self.len);
        let free = self.active.min(limit) - self.len;
        let end = self.active.min(at + free);
        &mut self.storage[at..end]
    }

    /// The first `len` bytes of the room hold what comes next. Says how many they are at most.
    pub(in crate::stack::tcp) fn commit(&mut self, len: usize) -> usize {
        let len = len.min(self.active - self.len);
        self.touch(self.len, len);
        self.len += len;
        self.reach = self.reach.max(self.len);
        len
    }

    /// Bytes that may be put behind the end if no more than `room` may become resident.
    pub(in crate::stack::tcp) fn spare(&self, room: usize) -> usize {
        let bound = self.resident() + room / PAGE_LEN * PAGE_LEN;
        // The active part can grow to the bound, unless it reaches beyond it already: then it must
        // not be written to beyond the bound.
        let used = if bound < self.active { self.head + self.len } else { self.len };
        bound.min(self.max_len).saturating_sub(used)
    }

    /// Its first bytes, as many as are in one piece.
    pub(in crate::stack::tcp) fn front(&self) -> &[u8] {
        let end = self.active.min(self.head + self.len);
        &self.storage[self.head..end]
    }

    /// Its first `len` bytes are not needed any more. Says how many they are at most.
    pub(in crate::stack::tcp) fn discard(&mut self, len: usize) -> usize {
        let len = len.min(self.len);
        if len > 0 {
            self.head = self.place(len);
            self.start += len as u64;
            self.len -= len;
            self.reach -= len;
        }
        if self.is_vacant() {
            self.head = 0;
            self.active = 0;
        }
        len
    }

    /// Copies the bytes from the position `from` on, all of which it holds.
    pub(in crate::stack::tcp) fn copy_to(&self, from: u64, out: &mut [u8]) {
        let offset = self.offset(from);
        debug_assert!(offset + out.len() <= self.reach, "it holds them");
        if out.is_empty() {
            return;
        }
        let at = self.place(offset);
        let (first, rest) = out.split_at_mut(out.len().min(self.active - at));
        first.copy_from_slice(&self.storage[at..at + first.len()]);
        rest.copy_from_slice(&self.storage[..rest.len()]);
    }

    /// Takes bytes that may be behind a gap, between its start and `max_len` bytes behind that.
    pub(in crate::stack::tcp) fn write_ahead(&mut self, position: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let offset = self.offset(position);
        let end = offset + bytes.len();
        debug_assert!(end <= self.max_len, "it has room for them");
        if end > self.active {
            self.grow(self.grown_len(end));
        }
        let at = self.place(offset);
        let (first, rest) = bytes.split_at(bytes.len().min(self.active - at));
        self.storage[at..at + first.len()].copy_from_slice(first);
        self.storage[..rest.len()].copy_from_slice(rest);
        self.touch(offset, bytes.len());
        self.reach = self.reach.max(end);
    }

    /// There is no gap before this position any more.
    pub(in crate::stack::tcp) fn advance_to(&mut self, end: u64) {
        let len = self.offset(end);
        debug_assert!(self.len <= len && len <= self.reach, "what is in order has arrived");
        self.len = len;
    }

    /// Bytes that are resident.
    pub(in crate::stack::tcp) const fn resident(&self) -> usize {
        self.touched.next_multiple_of(PAGE_LEN)
    }

    /// Bytes that would become resident if it held everything up to this position.
    pub(in crate::stack::tcp) fn growth(&self, end: u64) -> usize {
        let needed = self.offset(end).min(self.max_len);
        let active = if needed > self.active { self.grown_len(needed) } else { self.active };
        let touched = self.touched.max(active.min(self.head + needed));
        touched.next_multiple_of(PAGE_LEN) - self.resident()
    }

    /// Where it is in memory; nowhere before the first byte came.
    pub(in crate::stack::tcp) fn addresses(&self) -> Range<usize> {
        if self.storage.is_empty() {
            return 0..0;
        }
        let Range { start, end } = self.storage.as_ptr_range();
        start.expose_provenance()..end.expose_provenance()
    }

    /// Its pages are given back, if it holds nothing.
    pub(in crate::stack::tcp) const fn give_back(&mut self) {
        if self.is_vacant() {
            self.touched = 0;
        }
    }

    /// How far behind the start a position is.
    fn offset(&self, position: u64) -> usize {
        debug_assert!(position >= self.start, "it is not gone yet");
        usize::try_from(position.saturating_sub(self.start)).unwrap_or(usize::MAX)
    }

    /// Where in the storage the byte is that is so far behind the start; not beyond the active
    /// part.
    const fn place(&self, offset: usize) -> usize {
        let place = self.head + offset;
        if place >= self.active { place - self.active } else { place }
    }

    /// Bytes behind the start were written.
    fn touch(&mut self, offset: usize, len: usize) {
        let end = self.active.min(self.head + offset + len);
        self.touched = self.touched.max(end);
    }

    /// The active part that holds `needed` bytes. It grows by a quarter at least, so that all that
    /// is moved over time is a few times what there is in the end.
    fn grown_len(&self, needed: usize) -> usize {
        let len = needed.max(self.active + self.active / 4);
        len.next_multiple_of(PAGE_LEN).min(self.max_len)
    }

    /// Makes the active part larger, and moves what had come round.
    fn grow(&mut self, active: usize) {
        if self.storage.is_empty() {
            // Zeroed pages of the allocator: reserved, and touched only when bytes come.
            self.storage = vec![0; self.max_len];
        }
        let before = std::mem::replace(&mut self.active, active);
        let Some(round) = (self.head + self.reach).checked_sub(before) else { return };
        let moved = round.min(active - before);
        self.storage.copy_within(..moved, before);
        self.storage.copy_within(moved..round, 0);
        self.touched = self.touched.max(before + moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = PAGE_LEN;

    /// Splitmix64.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((mixed ^ mixed >> 29) >> 8) as usize % bound
        }
    }

    /// The byte that belongs to a position.
    fn byte(position: u64) -> u8 {
        (position.wrapping_mul(0x9e37_79b9) >> 11) as u8
    }

    fn bytes(from: u64, len: usize) -> Vec<u8> {
        (from..from + len as u64).map(byte).collect()
    }

    /// Puts as many bytes behind the end as there is room for in one piece, `len` at most.
    fn put(ring: &mut Ring, limit: usize, len: usize) -> usize {
        let end = ring.end();
        let room = ring.room(limit);
        let len = len.min(room.len());
        room[..len].copy_from_slice(&bytes(end, len));
        ring.commit(len)
    }

    fn assert_holds(ring: &Ring) {
        let mut held = vec![0; ring.len()];
        ring.copy_to(ring.start(), &mut held);
        assert_eq!(held, bytes(ring.start(), held.len()));
        assert!(ring.front() == &held[..ring.front().len()]);
        assert_eq!(ring.front().is_empty(), ring.is_empty());
    }

    #[test]
    fn nothing_is_reserved_before_the_first_byte() {
        let mut ring = Ring::new(1 << 20, 1);
        assert_eq!((ring.storage.capacity(), ring.addresses()), (0, 0..0));
        assert_eq!((ring.front().len(), ring.discard(5), ring.commit(5)), (0, 0, 0));
        ring.write_ahead(1, &[]);
        ring.advance_to(1);
        ring.copy_to(1, &mut []);
        assert_eq!(ring.room(0), [0; 0]);
        assert_eq!((ring.resident(), ring.storage.capacity()), (0, 0));
        put(&mut ring, 100, 100);
        assert_eq!(ring.addresses().len(), 1 << 20);
    }

    #[test]
    fn what_is_sent_comes_out_as_it_went_in() {
        for seed in 0..6 {
            let mut dice = Dice(seed);
            let max_len = 1 + dice.below(200_000);
            let mut ring = Ring::new(max_len, 1);
            for _ in 0..200 {
                let limit = dice.below(max_len + max_len / 4);
                let (before, room) = (ring.len(), dice.below(6) * PAGE);
                let limit = limit.min(before + ring.spare(room));
                let resident = ring.resident();
                let put = put(&mut ring, limit, dice.below(100_000));
                assert!(put == 0 || before + put <= limit.min(max_len));
                assert!(put > 0 || limit <= before || ring.room(limit).is_empty());
                assert!(ring.resident() <= resident + room, "as much as was to spare");
                assert_holds(&ring);
                let most = ring.len() + 1;
                ring.discard(dice.below(most));
                assert_holds(&ring);
                if dice.below(40) == 0 {
                    ring.discard(usize::MAX);
                    ring.give_back();
                    assert_eq!(ring.resident(), 0);
                }
            }
        }
    }

    #[test]
    fn there_is_room_up_to_the_limit_in_two_pieces_at_most() {
        let mut dice = Dice(7);
        let mut ring = Ring::new(150_000, 1);
        for _ in 0..2_000 {
            let limit = ring.len() + dice.below(60_000);
            let wanted = limit.min(150_000).saturating_sub(ring.len());
            let first = put(&mut ring, limit, usize::MAX);
            let second = put(&mut ring, limit, usize::MAX);
            assert_eq!(first + second, wanted);
            let len = ring.len();
            ring.discard(dice.below(len + 1));
        }
    }

    #[test]
    fn what_arrives_in_any_order_comes_out_in_order() {
        for seed in 0..6 {
            let mut dice = Dice(seed);
            let max_len = 1 + dice.below(60_000);
            let mut ring = Ring::new(max_len, 1);
            let mut has = vec![false; 400_000];
            for _ in 0..200 {
                let at = ring.start() + dice.below(max_len) as u64;
                let window_end = ring.start() + max_len as u64;
                let len = dice.below(4_000).min((window_end - at) as usize);
                let grows = ring.growth(at + len as u64);
                let resident = ring.resident();
                ring.write_ahead(at, &bytes(at, len));
                assert!(ring.resident() <= resident + grows, "growth tells all of it");
                has[at as usize..at as usize + len].fill(true);
                let arrived = has[ring.start() as usize..].iter().take_while(|has| **has).count();
                if dice.below(3) == 0 {
                    // The first that is missing.
                    let at = ring.start() + arrived as u64;
                    let len = dice.below(3_000).min((window_end - at) as usize);
                    ring.write_ahead(at, &bytes(at, len));
                    has[at as usize..at as usize + len].fill(true);
                }
                let arrived = has[ring.start() as usize..].iter().take_while(|has| **has).count();
                ring.advance_to(ring.start() + arrived as u64);
                assert_holds(&ring);
                let front = ring.front().len();
                ring.discard(dice.below(front + 1));
            }
        }
    }

    #[test]
    fn what_is_touched_is_counted_and_used_again() {
        let mut ring = Ring::new(65_536, 1);
        assert_eq!([1, 2, 4098, 1 << 20].map(|end| ring.growth(end)), [0, PAGE, 2 * PAGE, 65_536]);
        for _ in 0..20 {
            assert_eq!(put(&mut ring, usize::MAX, 5000), 5000);
            ring.discard(5000);
        }
        assert_eq!((ring.resident(), ring.spare(0)), (2 * PAGE, 2 * PAGE));
        put(&mut ring, 8192, 5000);
        assert_eq!((ring.spare(0), ring.spare(PAGE - 1), ring.spare(PAGE)), (3192, 3192, 7288));
        assert_eq!(ring.growth(ring.end() + 3192), 0);
        assert_eq!(ring.growth(ring.end() + 3193), PAGE);
        ring.give_back();
        assert_eq!(ring.resident(), 2 * PAGE, "they are needed");
        ring.discard(5000);
        ring.give_back();
        assert_eq!(ring.resident(), 0);
    }

    #[test]
    fn a_ring_that_walks_on_has_what_its_limit_needs_and_no_more() {
        let mut ring = Ring::new(1 << 20, 1);
        for _ in 0..1_000 {
            put(&mut ring, 100_000, usize::MAX);
            ring.discard(30_000);
            assert!(!ring.is_empty());
        }
        assert_eq!(ring.resident(), 100_000usize.next_multiple_of(PAGE));
        let mut ring = Ring::new(1 << 20, 1);
        for _ in 0..1_000 {
            ring.write_ahead(ring.end() + 20_000, &[1; 1000]);
            ring.write_ahead(ring.end(), &[1; 20_000]);
            ring.advance_to(ring.end() + 21_000);
            ring.discard(if ring.start() == 1 { 10_000 } else { 21_000 });
        }
        assert!(ring.resident() <= 48 << 10, "{}", ring.resident());
    }

    #[test]
    fn one_byte_behind_a_gap_counts_with_the_gap() {
        let mut ring = Ring::new(1 << 20, 1);
        let end = 1 + (1 << 19);
        let growth = ring.growth(end);
        ring.write_ahead(end - 1, &[7]);
        assert_eq!((ring.resident(), growth), (1 << 19, 1 << 19));
        assert!(ring.is_empty() && !ring.is_vacant());
        ring.give_back();
        assert_eq!(ring.resident(), 1 << 19);
    }
}
