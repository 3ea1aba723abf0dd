//! What is lost by time: whatever left sufficiently long before something that has arrived (RFC
//! 8985, section 6).
//!
//! How long is sufficient depends on how much the path reorders. The window for that widens with
//! each round trip in which the far end reports that something was repeated for nothing (D-SACK),
//! and is at least as wide as what was seen to come late.

use std::time::Duration;

use crate::stack::tcp::sender::loss::rtt::RttEstimator;
use crate::stack::tcp::sender::loss::scoreboard::SentSegment;
use crate::time::Instant;

/// Recoveries without a needless repeat after which the window is narrower again (RFC 8985, section
/// 6.2, step 4).
const RECOVERIES_REMEMBERED: u32 = 16;

/// How much speaks for a loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Evidence {
    /// Three segments are SACKed, or something was lost just now (RFC 8985, section 6.2, step 4).
    Strong,
    Weak,
}

/// What RACK knows of one connection.
#[derive(Debug)]
pub(super) struct Rack {
    /// Of the segment that left last of those that have arrived: when it left, and its end.
    newest: Option<(Instant, u64)>,
    /// Its round trip.
    round_trip: Duration,
    /// The highest position that has arrived.
    farthest: u64,
    /// `farthest` before this acknowledgement.
    farthest_before: u64,
    /// Something came late that was never sent again.
    has_reordered: bool,
    /// The latest that something came, with some margin.
    lateness: Duration,
    /// The window in quarters of the lowest round trip.
    multiplier: u32,
    /// Recoveries until it is one again.
    recoveries_left: u32,
    /// One D-SACK counts in each round trip, which ends when this is acknowledged.
    round_end: u64,
}

impl Rack {
    pub(super) fn new(start: u64, reordering: Option<Duration>) -> Self {
        Self {
            newest: None,
            round_trip: Duration::ZERO,
            farthest: start,
            farthest_before: start,
            has_reordered: reordering.is_some(),
            lateness: reordering.unwrap_or_default(),
            multiplier: 1,
            recoveries_left: RECOVERIES_REMEMBERED,
            round_end: start,
        }
    }

    /// An acknowledgement begins: what it says in any order is no reordering.
    pub(super) const fn begin_acknowledgement(&mut self) {
        self.farthest_before = self.farthest;
    }

    /// A segment has arrived (steps 2 and 3).
    pub(super) fn handle_delivered(
        &mut self,
        entry: &SentSegment,
        rtt: &RttEstimator,
        now: Instant,
    ) {
        let round_trip = now.saturating_duration_since(entry.sent_at);
        if entry.end > self.farthest {
            self.farthest = entry.end;
        }
        if entry.was_repeated() {
            if rtt.lowest().is_some_and(|lowest| round_trip < lowest) {
                // It was an earlier sending that arrived.
                return;
            }
        } else if entry.end < self.farthest_before {
            self.has_reordered = true;
            let late = round_trip.saturating_sub(self.round_trip);
            self.lateness = self.lateness.max(late + late / 4);
        }
        if self.newest.is_none_or(|newest| (entry.sent_at, entry.end) > newest) {
            self.newest = Some((entry.sent_at, entry.end));
            self.round_trip = round_trip;
        }
    }

    /// Something was repeated for nothing: the window was too narrow.
    pub(super) fn handle_duplicate(&mut self, acknowledged_to: u64, sent_to: u64) {
        self.has_reordered = true;
        if acknowledged_to >= self.round_end {
            self.round_end = sent_to.max(acknowledged_to + 1);
            self.multiplier = self.multiplier.saturating_add(1);
        }
        self.recoveries_left = RECOVERIES_REMEMBERED;
    }

    /// An episode of losses is over.
    pub(super) fn handle_recovered(&mut self) {
        self.recoveries_left -= 1;
        if self.recoveries_left == 0 {
            self.multiplier = 1;
            self.lateness /= 2;
            self.recoveries_left = RECOVERIES_REMEMBERED;
        }
    }

    /// A timer had expired too soon: what seemed to be the repeat's arrival was not, and tells
    /// nothing of what left before the repeat.
    pub(super) const fn forget_newest(&mut self) {
        self.newest = None;
    }

    /// How much later than others something may come without being lost.
    pub(super) fn window(&self, rtt: &RttEstimator, evidence: Evidence) -> Duration {
        if !self.has_reordered && evidence == Evidence::Strong {
            return Duration::ZERO;
        }
        let quarters = (rtt.lowest().unwrap_or_default() / 4).saturating_mul(self.multiplier);
        quarters.max(self.lateness).min(rtt.smoothed().unwrap_or_default())
    }

    /// The window, if the path was seen to reorder.
    pub(super) fn reordering(&self, rtt: &RttEstimator) -> Option<Duration> {
        self.has_reordered.then(|| self.window(rtt, Evidence::Weak))
    }

    /// When a segment is lost that is in flight, if something has arrived that left after it.
    pub(super) fn lost_at(&self, entry: &SentSegment, window: Duration) -> Option<Instant> {
        let is_overtaken = self.newest.is_some_and(|newest| newest > (entry.sent_at, entry.end));
        is_overtaken.then(|| self.overdue_at(entry, window))
    }

    /// When a segment has been out for longer than the last round trip and the window.
    pub(super) fn overdue_at(&self, entry: &SentSegment, window: Duration) -> Instant {
        entry.sent_at + self.round_trip + window
    }
}
