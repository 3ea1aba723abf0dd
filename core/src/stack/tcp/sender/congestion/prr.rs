//! How fast the window falls while a loss is repaired: proportional rate reduction (RFC 9937).
//!
//! What leaves is a share of what arrives, so that the path is neither silent nor flooded, and at
//! the end of the repair as much is in flight as congestion control wants.

/// One episode of repair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prr {
    /// What was in flight when it began (RecoverFS).
    recover_flight: u64,
    delivered: u64,
    sent: u64,
    /// How many bytes may be in flight.
    window: u64,
}

impl Prr {
    /// Something is lost of the `flight` bytes that were in flight. Until it is known what arrived
    /// meanwhile, as much may leave as was lost.
    pub(super) fn new(flight: u64) -> Self {
        Self { recover_flight: flight.max(1), delivered: 0, sent: 0, window: flight }
    }

    pub(super) const fn window(&self) -> u64 {
        self.window
    }

    pub(super) const fn handle_sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// `delivered` bytes have arrived, after which `flight` are in flight; `threshold` are to be
    /// at the end. The acknowledgement `is_safe` if it moved SND.UNA on and told of no more losses.
    pub(super) fn handle_progress(
        &mut self,
        delivered: u64,
        flight: u64,
        threshold: u64,
        segment_len: u64,
        is_safe: bool,
    ) {
        self.delivered += delivered;
        let mut may_leave = if flight > threshold {
            let share = u128::from(self.delivered) * u128::from(threshold);
            let share = share.div_ceil(u128::from(self.recover_flight));
            u64::try_from(share).unwrap_or(u64::MAX).saturating_sub(self.sent)
        } else {
            // The slow start reduction bound (SSRB), or without progress what is conserved.
            let extra = if is_safe { segment_len } else { 0 };
            let bound = self.delivered.saturating_sub(self.sent).max(delivered) + extra;
            bound.min(threshold - flight)
        };
        if self.sent == 0 {
            // Fast retransmit does not wait.
            may_leave = may_leave.max(segment_len);
        }
        self.window = flight + may_leave;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u64 = 1000;

    /// A flight of a hundred segments of which so many first ones are lost, down to 70: what is in
    /// flight after each acknowledgement and what was sent for it.
    fn repair(lost: u64, threshold: u64) -> (Vec<u64>, u64) {
        let mut prr = Prr::new(100 * LEN);
        let mut flight = (100 - lost) * LEN;
        let mut flights = Vec::new();
        for ack in 0..100 - lost {
            flight -= LEN;
            prr.handle_progress(LEN, flight, threshold * LEN, LEN, ack > 0);
            while flight + LEN <= prr.window() {
                flight += LEN;
                prr.handle_sent(LEN);
            }
            flights.push(flight / LEN);
        }
        (flights, prr.sent / LEN)
    }

    #[test]
    fn a_single_loss_is_repaired_at_once_and_the_flight_sinks_to_the_threshold() {
        let (flights, sent) = repair(1, 70);
        assert_eq!(flights[0], 99, "the lost one leaves at once");
        assert!(flights.windows(2).all(|pair| pair[0].abs_diff(pair[1]) <= 1), "{flights:?}");
        assert_eq!(*flights.last().unwrap(), 70);
        assert!((69..=71).contains(&sent), "{sent}");
    }

    #[test]
    fn after_many_losses_the_flight_grows_back_to_the_threshold_without_a_burst() {
        let (flights, _) = repair(60, 70);
        assert!(flights.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{flights:?}");
        assert_eq!(*flights.last().unwrap(), 70);
    }

    #[test]
    fn more_losses_are_answered_with_what_arrives() {
        let mut prr = Prr::new(100 * LEN);
        prr.handle_sent(LEN);
        prr.handle_progress(2 * LEN, 20 * LEN, 70 * LEN, LEN, false);
        assert_eq!(prr.window(), 22 * LEN);
        prr.handle_progress(2 * LEN, 18 * LEN, 70 * LEN, LEN, true);
        assert_eq!(prr.window(), 18 * LEN + 4 * LEN, "what has not left counts, and one more");
    }

    #[test]
    fn before_anything_was_acknowledged_what_was_lost_may_leave() {
        assert_eq!(Prr::new(10 * LEN).window(), 10 * LEN);
    }
}
