//! When to send again, sooner than smoltcp would.
//!
//! smoltcp repeats one segment for three duplicate acknowledgements, and else waits for a timeout
//! of a second and more. That leaves a connection idle whenever two segments of one window are
//! lost. Here are more reasons to go back to what is not acknowledged:
//!
//! - a partial acknowledgement: what was repeated has arrived, and the next segment is missing too
//!   (RFC 6582, section 3.2);
//! - nothing was acknowledged for about two round trips and a delayed acknowledgement (the probe
//!   timeout of RFC 8985, section 7.2), doubled each time;
//! - the far end took a SYN for part of an earlier connection.

use std::time::Duration;

use smoltcp::wire::TcpSeqNumber;

use crate::time::Instant;

/// Duplicate acknowledgements that mean a loss (RFC 5681, section 3.2).
const DUPLICATES: u32 = 3;
/// How long the far end may delay an acknowledgement, and its process wait for a processor, when
/// several segments are on the way: the second one is acknowledged at once.
pub(crate) const DELAY_MAX: Duration = Duration::from_millis(60);
/// The same, when there is only one (RFC 8985, section 7.2).
pub(crate) const LONE_DELAY_MAX: Duration = Duration::from_millis(200);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The state of one connection's sender.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    duplicates: u32,
    /// What was in flight when a loss was noticed.
    recover_to: Option<TcpSeqNumber>,
    /// Since when an acknowledgement is awaited.
    waiting_since: Option<Instant>,
    /// Times that nothing came.
    doublings: u32,
    must_go_back: bool,
    went_back_at: Option<Instant>,
}

impl Recovery {
    /// Something was sent.
    pub(crate) fn handle_sent(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// The far end acknowledged more, up to `acknowledgement`; everything up to `sent_to` is on the
    /// way.
    pub(crate) fn handle_acknowledged(
        &mut self,
        acknowledgement: TcpSeqNumber,
        sent_to: TcpSeqNumber,
        now: Instant,
    ) {
        self.duplicates = 0;
        self.doublings = 0;
        self.waiting_since = (acknowledgement < sent_to).then_some(now);
        if let Some(recover_to) = self.recover_to.take()
            && acknowledgement < recover_to
        {
            self.must_go_back = true;
        }
    }

    /// The far end acknowledged the same again. Says whether that means a loss.
    pub(crate) const fn handle_duplicate(&mut self, sent_to: TcpSeqNumber) -> bool {
        self.duplicates = self.duplicates.saturating_add(1);
        let is_loss = self.duplicates == DUPLICATES;
        if is_loss {
            self.recover_to = Some(sent_to);
        }
        is_loss
    }

    /// The far end answered our SYN with what it remembers of an earlier connection, and is told to
    /// forget that: the SYN is sent again, unless that did not help.
    pub(crate) const fn handle_mistaken(&mut self) {
        self.must_go_back |= self.went_back_at.is_none();
    }

    /// What was sent is too large for the path: nothing of it can be waited for.
    pub(crate) const fn handle_too_big(&mut self) {
        self.must_go_back = true;
        self.went_back_at = None;
    }

    /// When to go back unless something is acknowledged.
    pub(crate) fn deadline(
        &self,
        round_trip: Option<Duration>,
        delay_max: Duration,
    ) -> Option<Instant> {
        let wait = round_trip?.saturating_mul(2).saturating_add(delay_max);
        let wait = wait.saturating_mul(1 << self.doublings.min(16)).min(WAIT_MAX);
        Some(self.waiting_since? + wait)
    }

    /// Whether it is time to go back; it counts as done.
    pub(crate) fn take_go_back(
        &mut self,
        round_trip: Option<Duration>,
        delay_max: Duration,
        now: Instant,
    ) -> bool {
        let late = self.deadline(round_trip, delay_max).is_some_and(|at| at <= now);
        if late {
            self.doublings = self.doublings.saturating_add(1);
            self.waiting_since = Some(now);
        }
        // More often than once in a round trip, nothing can have come of it.
        let recently = self
            .went_back_at
            .zip(round_trip)
            .is_some_and(|(at, round_trip)| now.saturating_duration_since(at) < round_trip);
        let goes_back = (std::mem::take(&mut self.must_go_back) && !recently) || late;
        if goes_back {
            self.went_back_at = Some(now);
        }
        goes_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Option<Duration> = Some(Duration::from_millis(20));

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_partial_acknowledgement_goes_back_at_once_and_a_full_one_does_not() {
        for (acknowledgement, goes_back) in [(50, true), (100, false), (150, false)] {
            let mut recovery = Recovery::default();
            recovery.handle_sent(at(0));
            for _ in 0..DUPLICATES {
                assert!(!recovery.take_go_back(ROUND_TRIP, DELAY_MAX, at(1)));
                recovery.handle_duplicate(TcpSeqNumber(100));
            }
            recovery.handle_acknowledged(TcpSeqNumber(acknowledgement), TcpSeqNumber(200), at(2));
            assert_eq!(
                recovery.take_go_back(ROUND_TRIP, DELAY_MAX, at(2)),
                goes_back,
                "{acknowledgement}"
            );
            assert!(!recovery.take_go_back(ROUND_TRIP, DELAY_MAX, at(2)), "once");
        }
    }

    #[test]
    fn silence_goes_back_and_each_time_later() {
        let mut recovery = Recovery::default();
        recovery.handle_sent(at(0));
        assert_eq!(recovery.deadline(ROUND_TRIP, DELAY_MAX), Some(at(100)));
        assert!(!recovery.take_go_back(ROUND_TRIP, DELAY_MAX, at(99)));
        assert!(recovery.take_go_back(ROUND_TRIP, DELAY_MAX, at(100)));
        assert_eq!(recovery.deadline(ROUND_TRIP, DELAY_MAX), Some(at(300)));
        assert!(recovery.take_go_back(ROUND_TRIP, DELAY_MAX, at(300)));
        assert_eq!(recovery.deadline(ROUND_TRIP, DELAY_MAX), Some(at(700)));
        recovery.handle_acknowledged(TcpSeqNumber(1), TcpSeqNumber(2), at(650));
        assert_eq!(recovery.deadline(ROUND_TRIP, DELAY_MAX), Some(at(750)));
    }

    #[test]
    fn what_is_too_large_goes_back_at_once_even_just_after_a_loss() {
        let mut recovery = Recovery::default();
        recovery.handle_sent(at(0));
        assert!(recovery.take_go_back(ROUND_TRIP, DELAY_MAX, at(100)));
        recovery.handle_too_big();
        assert!(recovery.take_go_back(ROUND_TRIP, DELAY_MAX, at(101)));
        assert!(!recovery.take_go_back(ROUND_TRIP, DELAY_MAX, at(102)), "once");
    }

    #[test]
    fn what_was_taken_for_an_earlier_connection_is_sent_again_once() {
        let mut recovery = Recovery::default();
        recovery.handle_mistaken();
        assert!(recovery.take_go_back(None, DELAY_MAX, at(1)));
        recovery.handle_mistaken();
        assert!(!recovery.take_go_back(None, DELAY_MAX, at(2)));
    }

    #[test]
    fn with_nothing_on_the_way_there_is_no_deadline() {
        let mut recovery = Recovery::default();
        recovery.handle_sent(at(0));
        recovery.handle_acknowledged(TcpSeqNumber(2), TcpSeqNumber(2), at(1));
        assert_eq!(recovery.deadline(ROUND_TRIP, DELAY_MAX), None);
        recovery.handle_sent(at(5));
        assert_eq!(recovery.deadline(None, DELAY_MAX), None, "nor before anything was measured");
    }
}
