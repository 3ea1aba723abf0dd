//! From the first loss until all that was out then is acknowledged: for congestion control it is
//! one event, whatever else is lost meanwhile (RFC 6582, RFC 6675). And whether it was one at all.
//!
//! An episode was a mistake if the far end reports each byte that was repeated to have come twice
//! (D-SACK; RFC 3708), or, after a timeout, if something arrives so soon that it can't be the
//! repeat's doing (as Eifel and F-RTO find it; RFC 3522, RFC 5682).

use std::ops::Range;
use std::time::Duration;

use crate::stack::tcp::sender::loss::scoreboard::SentSegment;
use crate::time::Instant;

/// What an episode began with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EpisodeCause {
    /// Segments were overtaken.
    Losses,
    /// The retransmission timer has expired.
    Expiry,
}

/// Losses that are being repaired.
#[derive(Debug)]
struct Episode {
    /// What was sent when it began: it ends when that is acknowledged.
    end: u64,
    /// The timer expired once, and there was no other trouble.
    is_lone_expiry: bool,
    /// When something was repeated first.
    repeated_at: Option<Instant>,
}

/// How an episode may turn out to have been a mistake.
#[derive(Debug)]
struct Doubt {
    cause: EpisodeCause,
    /// What it could repeat.
    range: Range<u64>,
    /// Bytes that were repeated and not reported to have come twice.
    unanswered: u64,
    has_repeated: bool,
}

/// The episode that is on, and doubts in the last one.
#[derive(Debug, Default)]
pub(super) struct Episodes {
    current: Option<Episode>,
    doubt: Option<Doubt>,
}

impl Episodes {
    pub(super) const fn is_on(&self) -> bool {
        self.current.is_some()
    }

    /// Something is lost: an episode begins, unless one is on. Says whether it did.
    pub(super) fn handle_lost(&mut self, acknowledged_to: u64, sent_to: u64) -> bool {
        if self.current.is_some() {
            return false;
        }
        self.begin(EpisodeCause::Losses, acknowledged_to, sent_to);
        true
    }

    /// The retransmission timer has expired.
    pub(super) fn handle_expiry(&mut self, acknowledged_to: u64, sent_to: u64) {
        if let Some(episode) = &mut self.current {
            episode.end = sent_to;
            episode.is_lone_expiry = false;
            self.doubt = None;
        } else {
            self.begin(EpisodeCause::Expiry, acknowledged_to, sent_to);
        }
    }

    fn begin(&mut self, cause: EpisodeCause, acknowledged_to: u64, sent_to: u64) {
        let is_lone_expiry = cause == EpisodeCause::Expiry;
        self.current = Some(Episode { end: sent_to, is_lone_expiry, repeated_at: None });
        let range = acknowledged_to..sent_to;
        self.doubt = Some(Doubt { cause, range, unanswered: 0, has_repeated: false });
    }

    /// Bytes leave again.
    pub(super) fn handle_repeated(&mut self, bytes: u64, sent_to: u64, now: Instant) {
        let Some(episode) = self.current.as_mut().filter(|_| bytes > 0) else { return };
        episode.repeated_at.get_or_insert(now);
        if let Some(doubt) = &mut self.doubt {
            doubt.unanswered += bytes;
            doubt.has_repeated = true;
            doubt.range.end = sent_to;
        }
    }

    /// A segment has arrived. Says whether the timer that began the episode had expired too soon.
    pub(super) fn is_refuted_by(
        &self,
        entry: &SentSegment,
        lowest: Option<Duration>,
        now: Instant,
    ) -> bool {
        let Some(episode) = self.current.as_ref().filter(|episode| episode.is_lone_expiry) else {
            return false;
        };
        let Some(repeated_at) = episode.repeated_at else { return entry.end <= episode.end };
        // What was never repeated, in answer to nothing that was; or the first sending of what was.
        let since = match entry.sendings {
            1 if entry.end <= episode.end => repeated_at,
            2 if entry.sent_at >= repeated_at => entry.sent_at,
            _ => return false,
        };
        lowest.is_some_and(|lowest| now.saturating_duration_since(since) < lowest)
    }

    /// The last episode was a mistake.
    pub(super) fn undo(&mut self) {
        self.current = None;
        self.doubt = None;
    }

    /// Bytes were reported to have come twice. Says what the last episode began with, if it was it
    /// that repeated them.
    pub(super) fn handle_duplicate(&mut self, block: &Range<u64>) -> Option<EpisodeCause> {
        let doubt = self.doubt.as_mut()?;
        if block.start < doubt.range.start || block.end > doubt.range.end {
            return None;
        }
        doubt.unanswered = doubt.unanswered.saturating_sub(block.end - block.start);
        Some(doubt.cause)
    }

    /// All that the last episode repeated came twice.
    pub(super) fn is_refuted(&self) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.has_repeated && doubt.unanswered == 0)
    }

    /// Everything before a position is acknowledged. Says whether that ends the episode.
    pub(super) fn handle_acknowledged(&mut self, acknowledged_to: u64) -> bool {
        self.current.take_if(|episode| acknowledged_to >= episode.end).is_some()
    }
}
