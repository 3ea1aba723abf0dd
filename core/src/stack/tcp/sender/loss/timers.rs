//! What becomes of what is not acknowledged in time.
//!
//! | timer | runs while | what it does |
//! |---|---|---|
//! | reordering (RFC 8985, 6.2) | something was overtaken, but not by long | takes it for lost |
//! | probe (RFC 8985, 7) | nothing is missing, and the end of the flight is not acknowledged | sends a segment that makes the far end say what it has |
//! | retransmission (RFC 6298) | something is out | takes for lost what is overdue, and what is first in line |

use std::ops::Range;

use crate::stack::tcp::sender::loss::rack::Evidence;
use crate::stack::tcp::sender::loss::scoreboard::SegmentId;
use crate::stack::tcp::sender::loss::tail_probe::TailProbe;
use crate::stack::tcp::sender::loss::{Fate, LossRecovery, Witness};
use crate::time::{Instant, earlier};

/// SACKed segments that speak for a loss (RFC 5681's three duplicates).
const DUPLICATES: usize = 3;

/// What became of the time being up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::stack::tcp) enum Expiry {
    /// It was not.
    Nothing,
    /// Bytes are lost.
    Lost {
        /// How many.
        lost: u64,
        /// An episode begins by that.
        began: bool,
    },
    /// A segment has to leave now, whatever congestion control says: a new one if there is one and
    /// the far end's window has room, else these positions again.
    Probe(Range<u64>),
    /// Nothing was heard for too long: everything is to be repaired from the first position on, as
    /// slowly as on an unknown path.
    Expired {
        /// Bytes that are lost, and were not held to be before.
        lost: u64,
    },
}

impl LossRecovery {
    /// When [`handle_timeout`](Self::handle_timeout) is to be called next.
    pub(in crate::stack::tcp) fn deadline(&self) -> Option<Instant> {
        earlier(self.reordered_until, earlier(self.probe_at, self.expires_at()))
    }

    /// When the retransmission timer expires. It stands while what is lost waits for its turn.
    fn expires_at(&self) -> Option<Instant> {
        let waits = self.board.flight() > 0 || !self.board.has_lost() && !self.board.is_empty();
        waits.then(|| self.waiting_since + self.rtt.timeout())
    }

    /// Time has passed.
    pub(in crate::stack::tcp) fn handle_timeout(
        &mut self,
        witness: &mut impl Witness,
        now: Instant,
    ) -> Expiry {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.reordered_until) {
            let (lost, began) = self.detect_losses(witness, now);
            if lost > 0 {
                return Expiry::Lost { lost, began };
            }
        }
        let has_expired = is_due(self.expires_at());
        if has_expired || is_due(self.probe_at) {
            // Where both are due, a probe comes first: it costs less if nothing is lost (RFC 8985,
            // section 7.2).
            if self.probe_at.take().is_some()
                && let Some(tail) = self.board.back()
            {
                self.probe = Some(TailProbe::Due);
                self.waiting_since = now;
                return Expiry::Probe(tail);
            }
            if has_expired {
                return Expiry::Expired { lost: self.expire(witness, now) };
            }
        }
        Expiry::Nothing
    }

    /// What is overdue is lost, and what is first in line (RFC 8985, section 6.3).
    fn expire(&mut self, witness: &mut impl Witness, now: Instant) -> u64 {
        let window = self.rack.window(&self.rtt, self.evidence());
        let mut lost = 0;
        while let Some(oldest) = self.board.oldest() {
            if self.rack.overdue_at(self.board.entry(oldest), window) > now {
                break;
            }
            lost += self.lose(oldest, witness);
        }
        lost += self.board.lose_pieces();
        if let Some(front) = self.board.front() {
            let entry = *self.board.entry(front);
            let bytes = self.board.lose_front();
            if bytes > 0 {
                witness.handle_lost(&Fate::of(&entry, bytes));
            }
            lost += bytes;
        }
        self.episodes.handle_expiry(self.board.start(), self.board.sent_to());
        self.rtt.back_off();
        self.waiting_since = now;
        (self.probe, self.probe_at, self.reordered_until) = (None, None, None);
        lost
    }

    /// Takes for lost what was overtaken for long enough, and sets the timer for what was not. Says
    /// how many bytes are lost, and whether an episode begins by that.
    pub(super) fn detect_losses(
        &mut self,
        witness: &mut impl Witness,
        now: Instant,
    ) -> (u64, bool) {
        let window = self.rack.window(&self.rtt, self.evidence());
        let mut lost = 0;
        self.reordered_until = loop {
            let Some(oldest) = self.board.oldest() else { break None };
            match self.rack.lost_at(self.board.entry(oldest), window) {
                Some(at) if at <= now => lost += self.lose(oldest, witness),
                at => break at,
            }
        };
        if lost == 0 {
            return (0, false);
        }
        self.probe_at = None;
        (lost, self.episodes.handle_lost(self.board.start(), self.board.sent_to()))
    }

    fn lose(&mut self, id: SegmentId, witness: &mut impl Witness) -> u64 {
        let entry = *self.board.entry(id);
        let bytes = self.board.lose(id);
        witness.handle_lost(&Fate::of(&entry, bytes));
        bytes
    }

    fn evidence(&self) -> Evidence {
        let is_strong = self.episodes.is_on() || self.board.sacked() >= DUPLICATES;
        if is_strong { Evidence::Strong } else { Evidence::Weak }
    }

    /// Something new was heard or sent: the end of the flight is asked after later, or not at all
    /// (RFC 8985, section 7.2).
    pub(super) fn restart_probe_timer(&mut self, now: Instant) {
        let is_wanted = self.board.flight() > 0
            && self.board.sacked() == 0
            && !self.board.has_lost()
            && !self.episodes.is_on()
            && self.probe.is_none();
        // It is as old as it is, whatever was heard of others since; if those came late, it will.
        let usual = self.rtt.smoothed().unwrap_or_default();
        let probe_at = |sent_at: Instant| {
            (sent_at + self.rtt.probe_timeout(self.board.len())).max(now + usual / 2)
        };
        self.probe_at = self.board.last_sent_at().filter(|_| is_wanted).map(probe_at);
    }
}
