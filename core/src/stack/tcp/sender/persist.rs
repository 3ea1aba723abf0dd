//! A window that stays shut is asked again (RFC 9293, section 3.8.6.1): the segment that opened it
//! may have been lost, and nobody repeats what carries nothing.

use std::time::Duration;

use crate::time::Instant;

/// The longest pause between two questions (RFC 9293, section 3.8.6.1, lets it grow; RFC 6298,
/// section 2.5, bounds it).
pub(super) const PERSIST_PAUSE_MAX: Duration = Duration::from_secs(60);

/// The questions to a far end that takes nothing.
#[derive(Debug, Default)]
pub(super) struct Persist {
    due_at: Option<Instant>,
    pause: Duration,
}

impl Persist {
    /// Something waits for the window alone; `timeout` is what a segment would wait for.
    pub(super) fn wait(&mut self, timeout: Duration, now: Instant) {
        if self.due_at.is_none() {
            self.pause = timeout.min(PERSIST_PAUSE_MAX);
            self.due_at = Some(now + self.pause);
        }
    }

    /// Nothing waits for it any more.
    pub(super) const fn end(&mut self) {
        self.due_at = None;
    }

    pub(super) const fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// Whether it is time to ask; the next question takes twice as long.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        let is_due = self.due_at.is_some_and(|at| at <= now);
        if is_due {
            self.pause = (self.pause * 2).min(PERSIST_PAUSE_MAX);
            self.due_at = Some(now + self.pause);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shut_window_is_asked_ever_more_rarely_and_for_ever() {
        let (mut persist, mut now) = (Persist::default(), Instant::ZERO);
        assert!(!persist.take_due(now));
        let mut pauses = Vec::new();
        for _ in 0..12 {
            persist.wait(Duration::from_millis(200), now);
            let due_at = persist.due_at().unwrap();
            assert!(!persist.take_due(Instant::from_nanos(due_at.as_nanos() - 1)));
            pauses.push(due_at.saturating_duration_since(now).as_millis());
            now = due_at;
            assert!(persist.take_due(now));
        }
        let expected = [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200];
        assert_eq!(pauses[..9], expected);
        assert_eq!(pauses[9..], [60_000; 3]);
        persist.end();
        assert!(!persist.take_due(now + PERSIST_PAUSE_MAX * 2));
        persist.wait(Duration::from_millis(300), now);
        assert_eq!(persist.due_at(), Some(now + Duration::from_millis(300)), "it begins anew");
    }
}
