//! Who hears what became of each segment.

use crate::stack::tcp::sender::delivery::Delivery;
use crate::stack::tcp::sender::loss::{Fate, Witness};
use crate::stack::tcp::sender::segment_size::SegmentSize;
use crate::time::Instant;

/// How fast segments arrive, and whether large ones do.
pub(super) struct Ledger<'a> {
    pub(super) delivery: &'a mut Delivery,
    pub(super) size: &'a mut SegmentSize,
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
        if fate.segment_len > 0 {
            self.size.handle_lost(fate.segment_len, fate.sent_at);
        }
    }
}
