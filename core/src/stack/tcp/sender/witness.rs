//! Who hears what became of each segment.

use crate::stack::tcp::sender::delivery::Delivery;
use crate::stack::tcp::sender::loss::{Fate, Witness};
use crate::stack::tcp::sender::segment_size::SegmentSize;
use crate::time::Instant;

/// How fast segments arrive, and whether large ones do.
pub(super) struct Ledger<'a> {
    pub(super) delivery: &'a mut Delivery,
    pub(super) size: &'a mut SegmentSize,
    /// Bytes that were lost for the size of their segments, which is no sign of congestion (RFC
    /// 4821, section 7.5).
    pub(super) lost_to_size: u64,
}

impl<'a> Ledger<'a> {
    pub(super) const fn new(delivery: &'a mut Delivery, size: &'a mut SegmentSize) -> Self {
        Self { delivery, size, lost_to_size: 0 }
    }
}

impl Witness for Ledger<'_> {
    fn handle_delivered(&mut self, fate: &Fate, now: Instant) {
        self.delivery.handle_delivered(fate.bytes, &fate.stamp, fate.sent_at, now);
        if fate.segment_len > 0 {
            self.size.handle_arrived(fate.segment_len, fate.sent_at);
        }
    }

    fn handle_lost(&mut self, fate: &Fate) {
        self.delivery.handle_lost(fate.bytes);
        if fate.segment_len > 0 && self.size.handle_lost(fate.segment_len, fate.sent_at) {
            self.lost_to_size += fate.bytes;
        }
    }
}
