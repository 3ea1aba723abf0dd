//! How many ICMP errors a peer gets (RFC 1812, section 4.3.2.8, and RFC 4443, section 2.4 (f)).

use crate::bucket::{Bucket, Rate};
use crate::id::PeerId;
use crate::limits::{ICMP_ERRORS_BURST, ICMP_ERRORS_RATE};
use crate::time::Instant;

/// A bucket for each peer, by its slot.
#[derive(Debug, Default)]
pub(in crate::stack) struct ErrorRates(Vec<Bucket>);

impl ErrorRates {
    /// Whether one more error may go to a peer.
    pub(in crate::stack) fn take(&mut self, peer: PeerId, now: Instant) -> bool {
        let Self(buckets) = self;
        let index = peer.slot();
        if buckets.len() <= index {
            buckets.resize(index + 1, Bucket::default());
        }
        buckets[index].take(Rate::per_second(ICMP_ERRORS_BURST, ICMP_ERRORS_RATE), now)
    }

    /// The next peer in the slot of this one has had no error yet.
    pub(in crate::stack) fn forget_peer(&mut self, peer: PeerId) {
        if let Some(bucket) = self.0.get_mut(peer.slot()) {
            *bucket = Bucket::default();
        }
    }
}
