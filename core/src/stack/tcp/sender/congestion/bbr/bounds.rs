//! What losses say of how much the path takes, for long and for now (draft-ietf-ccwg-bbr-06,
//! section 5.5.10). `None` stands for no bound.

use super::phases::Gain;

/// The bounds that losses taught.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BbrBounds {
    /// BBR.inflight_longterm (inflight_hi): the most bytes in flight that did not overflow the
    /// path when it was probed.
    pub(super) flight: Option<u64>,
    /// BBR.bw_shortterm (bw_lo): bytes a second, until the next probe.
    pub(super) rate_now: Option<u64>,
    /// BBR.inflight_shortterm (inflight_lo): bytes in flight, until the next probe.
    pub(super) flight_now: Option<u64>,
}

impl BbrBounds {
    /// The path is about to be probed: what others did to it lately is no longer of interest.
    pub(super) fn forget_now(&mut self) {
        self.rate_now = None;
        self.flight_now = None;
    }

    /// A round without probing lost too much: no more than what arrived in it, but not less than
    /// CUBIC would keep either.
    pub(super) fn lower(&mut self, latest: &Latest, rate: u64, window: u64) {
        let rate = self.rate_now.unwrap_or(rate);
        let flight = self.flight_now.unwrap_or(window);
        self.rate_now = Some(latest.rate.max(Gain::BETA.of(rate)));
        self.flight_now = Some(latest.delivered.max(Gain::BETA.of(flight)));
    }

    /// The losses since `before` was noted were none.
    pub(super) fn undo(&mut self, before: &Self) {
        self.flight = higher(self.flight, before.flight);
        self.rate_now = higher(self.rate_now, before.rate_now);
        self.flight_now = higher(self.flight_now, before.flight_now);
    }

    /// The most that may be in flight, so that others find room.
    pub(super) fn flight_with_headroom(&self, segment_len: u64, least: u64) -> Option<u64> {
        let flight = self.flight?;
        let kept = Gain::HEADROOM.of(flight).min(flight.saturating_sub(segment_len));
        Some(kept.max(least))
    }
}

fn higher(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    Some(a?.max(b?))
}

/// What the path delivered in the last round, the most in one sample, and whether it lost any.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latest {
    /// BBR.bw_latest: bytes a second.
    pub(super) rate: u64,
    /// BBR.inflight_latest: bytes that were delivered within a round trip.
    pub(super) delivered: u64,
    has_loss: bool,
    ends_at: u64,
    is_round_end: bool,
}

impl Latest {
    /// A sample, at the beginning of an acknowledgement. `total` bytes are delivered by now.
    pub(super) fn handle_sample(&mut self, rate: u64, delivered: u64, prior: u64, total: u64) {
        self.rate = self.rate.max(rate);
        self.delivered = self.delivered.max(delivered);
        self.is_round_end = prior >= self.ends_at;
        if self.is_round_end {
            self.ends_at = total;
        }
    }

    /// The same sample, at the end of the acknowledgement: the next round begins with it.
    pub(super) fn advance(&mut self, rate: u64, delivered: u64) {
        if self.is_round_end {
            self.rate = rate;
            self.delivered = delivered;
        }
    }

    /// Something was lost. The first of a round makes the round begin anew, so that the rate of
    /// it is that of what was sent with the loss.
    pub(super) fn handle_loss(&mut self, total: u64) {
        if !self.has_loss {
            self.ends_at = total;
        }
        self.has_loss = true;
    }

    /// A round is over.
    pub(super) fn is_round_end(&self) -> bool {
        self.is_round_end
    }

    /// Whether the round that is over lost any; asked once.
    pub(super) fn take_loss(&mut self) -> bool {
        std::mem::take(&mut self.has_loss)
    }

    /// A probe is over: what it brought says nothing of what follows.
    pub(super) fn reset(&mut self) {
        self.rate = 0;
        self.delivered = 0;
        self.has_loss = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latest(rate: u64, delivered: u64) -> Latest {
        Latest { rate, delivered, ..Latest::default() }
    }

    #[test]
    fn a_lossy_round_lowers_to_what_arrived_or_to_seven_tenths() {
        let mut bounds = BbrBounds::default();
        bounds.lower(&latest(900, 100), 1_000, 1_000);
        assert_eq!((bounds.rate_now, bounds.flight_now), (Some(900), Some(699)));
        bounds.lower(&latest(100, 600), 1_000, 1_000);
        assert_eq!((bounds.rate_now, bounds.flight_now), (Some(629), Some(600)));
        bounds.forget_now();
        assert_eq!((bounds.rate_now, bounds.flight_now), (None, None));
    }

    #[test]
    fn an_undo_gives_back_the_wider_bound() {
        let before = BbrBounds { flight: Some(1_000), rate_now: None, flight_now: Some(10) };
        let mut bounds = BbrBounds { flight: Some(700), rate_now: Some(1), flight_now: Some(20) };
        bounds.undo(&before);
        assert_eq!(bounds.flight, Some(1_000));
        assert_eq!((bounds.rate_now, bounds.flight_now), (None, Some(20)));
    }

    #[test]
    fn headroom_is_a_segment_at_least() {
        let some = |flight| BbrBounds { flight: Some(flight), ..BbrBounds::default() };
        assert_eq!(BbrBounds::default().flight_with_headroom(1_000, 4_000), None);
        assert_eq!(some(100_000).flight_with_headroom(1_000, 4_000), Some(85_156));
        assert_eq!(some(6_000).flight_with_headroom(1_000, 4_000), Some(5_000));
        assert_eq!(some(2_000).flight_with_headroom(1_000, 4_000), Some(4_000));
    }

    #[test]
    fn the_latest_are_those_of_one_round() {
        let mut latest = Latest::default();
        latest.handle_sample(100, 10, 0, 1_000);
        assert!(latest.is_round_end());
        latest.advance(100, 10);
        latest.handle_sample(500, 50, 500, 2_000);
        assert!(!latest.is_round_end());
        latest.handle_loss(2_500);
        latest.handle_loss(2_900);
        latest.handle_sample(90, 9, 2_499, 3_000);
        assert!(!latest.is_round_end(), "the loss began the round anew");
        latest.handle_sample(80, 8, 2_500, 3_500);
        assert!(latest.is_round_end());
        assert!(latest.take_loss());
        assert!(!latest.take_loss());
        assert_eq!((latest.rate, latest.delivered), (500, 50));
        latest.advance(80, 8);
        assert_eq!((latest.rate, latest.delivered), (80, 8));
    }
}
