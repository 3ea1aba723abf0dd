//! How much is acknowledged at once beyond the rate: BBR.extra_acked (draft-ietf-ccwg-bbr-06,
//! section 5.5.9).
//!
//! Wi-Fi, mobile networks and receivers that put segments together acknowledge in lumps. While
//! none comes, the sender has to have so much more in flight in order not to stand still.

use crate::stack::tcp::ratio::scaled;
use crate::time::Instant;

/// The largest lump of the last rounds, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aggregation {
    since: Instant,
    acked: u64,
    /// The largest of the current slot of rounds, and of the one before.
    slots: [u64; 2],
    slot_began: u64,
}

impl Aggregation {
    /// Each of the two slots, in rounds: together the ten of BBR.ExtraAckedFilterLen.
    const SLOT: u64 = 5;

    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, acked: 0, slots: [0; 2], slot_began: 0 }
    }

    /// Bytes that come beyond what the rate explains.
    pub(super) fn get(&self) -> u64 {
        self.slots[0].max(self.slots[1])
    }

    /// Nothing was in flight until now: the silence is no lump.
    pub(super) fn handle_restart(&mut self, now: Instant) {
        self.since = now;
        self.acked = 0;
    }

    /// So many bytes were acknowledged in round `round` of a path that delivers `rate` bytes a
    /// second. No lump is larger than `window`. Before the path `was_full`, when the rate is not
    /// known yet, one round is remembered only.
    pub(super) fn handle_acked(
        &mut self,
        bytes: u64,
        rate: u64,
        window: u64,
        round: u64,
        was_full: bool,
        now: Instant,
    ) {
        let slot = if was_full { Self::SLOT } else { 1 };
        if round >= self.slot_began + slot {
            let before = if was_full { self.slots[0] } else { 0 };
            self.slots = [0, before];
            self.slot_began = round;
        }
        let mut expected = self.expected(rate, now);
        if self.acked <= expected {
            self.handle_restart(now);
            expected = 0;
        }
        self.acked = self.acked.saturating_add(bytes);
        self.slots[0] = self.slots[0].max((self.acked - expected).min(window));
    }

    fn expected(&self, rate: u64, now: Instant) -> u64 {
        let since = now.as_nanos().saturating_sub(self.since.as_nanos());
        scaled(rate, since, 1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_steady_stream_has_no_lump_beyond_one_acknowledgement() {
        let mut lumps = Aggregation::new(at(0));
        for time in 1..100 {
            lumps.handle_acked(1_000, 1_000_000, 1 << 20, time / 10, true, at(time));
        }
        assert_eq!(lumps.get(), 1_000);
    }

    #[test]
    fn a_lump_is_seen_and_forgotten_after_ten_rounds() {
        let mut lumps = Aggregation::new(at(0));
        for _ in 0..20 {
            lumps.handle_acked(1_000, 1_000_000, 1 << 20, 1, true, at(20));
        }
        assert_eq!(lumps.get(), 20_000);
        for round in 2..10 {
            lumps.handle_acked(1_000, 1_000_000, 1 << 20, round, true, at(20 * round));
        }
        assert_eq!(lumps.get(), 20_000);
        for round in 10..13 {
            lumps.handle_acked(1_000, 1_000_000, 1 << 20, round, true, at(20 * round));
        }
        assert_eq!(lumps.get(), 1_000);
    }

    #[test]
    fn a_lump_is_at_most_the_window_and_short_lived_at_the_start() {
        let mut lumps = Aggregation::new(at(0));
        lumps.handle_acked(50_000, 1_000_000, 10_000, 1, false, at(20));
        assert_eq!(lumps.get(), 10_000);
        lumps.handle_acked(1_000, 1_000_000, 10_000, 2, false, at(200));
        assert_eq!(lumps.get(), 1_000);
    }

    #[test]
    fn a_silence_is_no_lump() {
        let mut lumps = Aggregation::new(at(0));
        lumps.handle_acked(5_000, 1_000_000, 1 << 20, 1, true, at(1));
        lumps.handle_restart(at(1));
        lumps.handle_acked(1_000, 1_000_000, 1 << 20, 20, true, at(2));
        lumps.handle_acked(1_000, 1_000_000, 1 << 20, 26, true, at(3));
        assert_eq!(lumps.get(), 1_000);
    }
}
