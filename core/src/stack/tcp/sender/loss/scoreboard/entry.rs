//! One segment that was sent.

use std::ops::Range;

use crate::stack::tcp::sender::delivery::Stamp;
use crate::time::Instant;

/// Where links end.
pub(super) const NONE: u32 = u32::MAX;

/// The number of an entry. Numbers come round, at [`NONE`]; only differences count.
pub(in crate::stack::tcp::sender::loss) type SegmentId = u32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::stack::tcp::sender::loss) enum SegmentState {
    /// It is on the way, or lost without anybody knowing.
    InFlight,
    /// It has arrived behind a gap.
    Sacked,
    /// It is to be sent again, the last `left` bytes of it at least.
    Lost,
}

/// A segment that was sent.
#[derive(Clone, Copy, Debug)]
pub(in crate::stack::tcp::sender::loss) struct SentSegment {
    /// The position behind it. It begins where the one before it ends.
    pub(in crate::stack::tcp::sender::loss) end: u64,
    /// When it left, the last time.
    pub(in crate::stack::tcp::sender::loss) sent_at: Instant,
    pub(super) delivered: u64,
    pub(super) delivered_at: Instant,
    pub(super) first_sent_at: Instant,
    pub(super) lost: u64,
    /// Of the stamp, as a window is at most 1 GiB.
    pub(super) in_flight: u32,
    pub(super) previous: SegmentId,
    /// Of a SACKed one: an entry behind it before which all are SACKed.
    pub(super) next: SegmentId,
    /// Of a lost one: bytes at its end that have not been sent again yet.
    pub(super) left: u32,
    /// Bytes of the longest segment that carried a part of it, the last time.
    pub(in crate::stack::tcp::sender::loss) segment_len: u32,
    pub(in crate::stack::tcp::sender::loss) state: SegmentState,
    pub(super) is_app_limited: bool,
    /// How often it was sent.
    pub(in crate::stack::tcp::sender::loss) sendings: u8,
}

impl SentSegment {
    pub(super) fn new(range: &Range<u64>, stamp: &Stamp, now: Instant) -> Self {
        let mut entry = Self {
            end: range.end,
            sent_at: now,
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            lost: 0,
            in_flight: 0,
            previous: NONE,
            next: NONE,
            left: 0,
            segment_len: narrow(range.end - range.start),
            state: SegmentState::InFlight,
            is_app_limited: false,
            sendings: 1,
        };
        entry.set_stamp(stamp);
        entry
    }

    pub(super) fn set_stamp(&mut self, stamp: &Stamp) {
        self.delivered = stamp.delivered;
        self.delivered_at = stamp.delivered_at;
        self.first_sent_at = stamp.first_sent_at;
        self.lost = stamp.lost;
        self.in_flight = narrow(stamp.in_flight);
        self.is_app_limited = stamp.is_app_limited;
    }

    pub(in crate::stack::tcp::sender::loss) fn stamp(&self) -> Stamp {
        Stamp {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            in_flight: self.in_flight.into(),
            lost: self.lost,
            is_app_limited: self.is_app_limited,
        }
    }

    pub(in crate::stack::tcp::sender::loss) const fn was_repeated(&self) -> bool {
        self.sendings > 1
    }

    pub(super) fn handle_repeated(&mut self, stamp: &Stamp, now: Instant) {
        self.sent_at = now;
        self.sendings = self.sendings.saturating_add(1);
        self.set_stamp(stamp);
    }
}

/// What does not fit is as good as the largest that does: lengths of segments and windows.
pub(super) fn narrow(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
