//! What is out, what of it is lost, and when the time is up.
//!
//! ```text
//!   sent ------------> scoreboard <---- acknowledged, SACKed
//!                        |    |              |
//!            time is up  |    +--> rack -----+--> rtt
//!                        v          | lost
//!                   tail_probe      v
//!                              episode --> began, recovered, undone
//! ```
//!
//! - here: what was sent, and what can be asked;
//! - [`acknowledgement`]: what one changes;
//! - [`timers`]: what becomes of what is not acknowledged in time;
//! - [`scoreboard`]: each segment that is out;
//! - [`rack`]: what is lost by time;
//! - [`rtt`]: how long a round trip takes, and how long to wait for one;
//! - [`episode`]: losses that are one event, and those that were none;
//! - [`tail_probe`]: what asks after the end of a flight.
//!
//! There are no packets here, and nothing says how much may be sent: that is for congestion
//! control. A far end that lies in what it acknowledges makes us send too much or too little to
//! it, and costs no more time for each acknowledgement than one that does not: a look-up for each
//! block, and what is new.

mod acknowledgement;
mod episode;
mod rack;
mod rtt;
mod scoreboard;
mod tail_probe;
#[cfg(test)]
mod tests;
mod timers;

use std::ops::Range;
use std::time::Duration;

use crate::stack::tcp::sender::delivery::Stamp;
use crate::time::Instant;
use episode::Episodes;
use rack::Rack;
use rtt::RttEstimator;
use scoreboard::{Scoreboard, SentSegment};
use tail_probe::TailProbe;

pub(in crate::stack::tcp) use acknowledgement::{AckReport, Acknowledgement, Unsent};
pub(in crate::stack::tcp) use timers::Expiry;

/// What is known of a path before anything is measured.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::stack::tcp) struct LossHint {
    /// The usual round trip.
    pub(in crate::stack::tcp) smoothed: Option<Duration>,
    /// How much it varies (RTTVAR).
    pub(in crate::stack::tcp) variation: Option<Duration>,
    /// How much later than others segments come, where the path is known to reorder.
    pub(in crate::stack::tcp) reordering: Option<Duration>,
}

/// Who hears what became of each segment.
pub(in crate::stack::tcp) trait Witness {
    /// It has arrived, in order or not.
    fn handle_delivered(&mut self, fate: &Fate, now: Instant);

    /// It is lost, as it seems.
    fn handle_lost(&mut self, fate: &Fate);
}

/// What became of a segment.
#[derive(Clone, Copy, Debug)]
pub(in crate::stack::tcp) struct Fate {
    /// Bytes that are delivered or lost.
    pub(in crate::stack::tcp) bytes: u64,
    /// The longest segment that carried some of them the last time; zero if only a part of it is
    /// acknowledged, which says nothing of lengths.
    pub(in crate::stack::tcp) segment_len: u64,
    /// When it left, the last time.
    pub(in crate::stack::tcp) sent_at: Instant,
    /// What was noted then.
    pub(in crate::stack::tcp) stamp: Stamp,
}

impl Fate {
    fn of(entry: &SentSegment, bytes: u64) -> Self {
        Self {
            bytes,
            segment_len: entry.segment_len.into(),
            sent_at: entry.sent_at,
            stamp: entry.stamp(),
        }
    }
}

/// Detects what is lost of one connection's bytes. For each segment that leaves: `handle_sent`; for
/// each that comes with an ACK: `handle_acknowledgement`; at the `deadline`: `handle_timeout`.
#[derive(Debug)]
pub(in crate::stack::tcp) struct LossRecovery {
    board: Scoreboard,
    rtt: RttEstimator,
    rack: Rack,
    episodes: Episodes,
    probe: Option<TailProbe>,
    /// When waiting for an acknowledgement began, as far as the retransmission timer goes.
    waiting_since: Instant,
    /// When the end of the flight is asked after.
    probe_at: Option<Instant>,
    /// When the next segment is lost by time.
    reordered_until: Option<Instant>,
    /// Those that the far end has not reported to have come twice.
    unanswered: u64,
}

impl LossRecovery {
    /// Nothing was sent before the position `start`: zero if the SYN is to be told of as well.
    pub(in crate::stack::tcp) fn new(start: u64, hint: &LossHint) -> Self {
        Self {
            board: Scoreboard::new(start),
            rtt: RttEstimator::new(hint.smoothed, hint.variation),
            rack: Rack::new(start, hint.reordering),
            episodes: Episodes::default(),
            probe: None,
            waiting_since: Instant::ZERO,
            probe_at: None,
            reordered_until: None,
            unanswered: 0,
        }
    }

    /// Takes a round trip that was measured by other means: that of a handshake.
    pub(in crate::stack::tcp) fn handle_round_trip(&mut self, sample: Duration) {
        self.rtt.handle_sample(sample, self.board.start(), self.board.sent_to());
    }

    /// A segment leaves that carries these positions: new ones from [`sent_to`](Self::sent_to) on,
    /// some again, or both. What it says for the first time has to follow on what was sent.
    pub(in crate::stack::tcp) fn handle_sent(
        &mut self,
        range: Range<u64>,
        stamp: Stamp,
        now: Instant,
    ) {
        let (start, sent_to) = (self.board.start(), self.board.sent_to());
        // A timer that runs goes on, but for what is first in line (RFC 6298, section 5.1).
        if self.board.flight() == 0 || range.start <= start {
            self.waiting_since = now;
        }
        if range.start < sent_to {
            let again = range.start..range.end.min(sent_to);
            let bytes = self.board.repeat(&again, &stamp, now);
            self.unanswered += bytes;
            self.episodes.handle_repeated(bytes, sent_to, now);
        }
        if range.end > sent_to {
            self.board.push(range.end, &stamp, now);
        }
        if matches!(self.probe, Some(TailProbe::Due)) {
            self.probe = Some(TailProbe::sent(range.start, sent_to, self.board.sent_to()));
        }
        self.restart_probe_timer(now);
    }

    /// What is to be sent again first: at most `len_max` bytes, which were one segment or several.
    pub(in crate::stack::tcp) fn next_lost(&self, len_max: u64) -> Option<Range<u64>> {
        self.board.next_lost(len_max)
    }

    /// Segments that are out and longer than this can't have passed: they are lost, which says
    /// nothing of congestion. Takes time for each that is out. Says how many bytes that is.
    pub(in crate::stack::tcp) fn lose_above(&mut self, len: u64) -> u64 {
        self.board.lose_above(len)
    }

    /// Bytes on the way (RFC 6675's pipe).
    pub(in crate::stack::tcp) const fn flight(&self) -> u64 {
        self.board.flight()
    }

    /// An episode of losses is on.
    #[cfg(test)]
    pub(in crate::stack::tcp) const fn is_recovering(&self) -> bool {
        self.episodes.is_on()
    }

    /// So many segments are out that none may follow.
    pub(in crate::stack::tcp) fn is_full(&self) -> bool {
        self.board.is_full()
    }

    /// Everything before this position has arrived (SND.UNA).
    pub(in crate::stack::tcp) const fn acknowledged_to(&self) -> u64 {
        self.board.start()
    }

    /// The position behind all that was sent (SND.NXT).
    pub(in crate::stack::tcp) const fn sent_to(&self) -> u64 {
        self.board.sent_to()
    }

    /// The usual round trip (SRTT), measured or known of the path.
    pub(in crate::stack::tcp) const fn smoothed(&self) -> Option<Duration> {
        self.rtt.smoothed()
    }

    /// How much it varies (RTTVAR).
    pub(in crate::stack::tcp) fn variation(&self) -> Option<Duration> {
        self.rtt.variation()
    }

    /// The lowest round trip that was measured.
    pub(in crate::stack::tcp) const fn lowest(&self) -> Option<Duration> {
        self.rtt.lowest()
    }

    /// How long to wait for an acknowledgement (RTO), longer after each time in vain.
    pub(in crate::stack::tcp) fn timeout(&self) -> Duration {
        self.rtt.timeout()
    }

    /// How much later than others segments may come on this path, if it was seen to reorder.
    pub(in crate::stack::tcp) fn reordering(&self) -> Option<Duration> {
        self.rack.reordering(&self.rtt)
    }

    /// The path is another one: round trips are as they were until one is measured.
    pub(in crate::stack::tcp) fn handle_moved(&mut self) {
        self.rtt = RttEstimator::new(self.smoothed(), self.variation());
    }

    /// Bytes that the list of what is out takes.
    pub(in crate::stack::tcp) fn resident(&self) -> usize {
        self.board.resident()
    }

    /// The flow is idle: that list's memory goes, if nothing is out.
    pub(in crate::stack::tcp) fn give_back(&mut self) {
        self.board.give_back();
    }
}
