//! What an acknowledgement changes.

use std::ops::Range;
use std::time::Duration;

use crate::stack::tcp::sender::loss::episode::EpisodeCause;
use crate::stack::tcp::sender::loss::scoreboard::SentSegment;
use crate::stack::tcp::sender::loss::tail_probe::ProbeFate;
use crate::stack::tcp::sender::loss::{Fate, LossRecovery, Witness};
use crate::time::Instant;

/// What the far end says to have. None of it has to be true.
#[derive(Clone, Copy, Debug)]
pub(in crate::stack::tcp) struct Acknowledgement<'a> {
    /// Everything before this position.
    pub(in crate::stack::tcp) to: u64,
    /// What has arrived behind that (RFC 2018), at most four blocks; or, in the first, what has
    /// come twice (RFC 2883).
    pub(in crate::stack::tcp) blocks: &'a [Range<u64>],
}

impl Acknowledgement<'_> {
    /// What has come twice (RFC 2883, section 4).
    fn duplicate(&self) -> Option<Range<u64>> {
        let first = self.blocks.first().filter(|block| block.start < block.end)?;
        let is_within = |outer: &Range<u64>| outer.start <= first.start && first.end <= outer.end;
        let is_duplicate = first.end <= self.to || self.blocks.get(1).is_some_and(is_within);
        is_duplicate.then(|| first.clone())
    }
}

/// An acknowledgement of what was never sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::stack::tcp) struct Unsent;

/// What an acknowledgement has changed. All counts are bytes.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::stack::tcp) struct AckReport {
    /// By how much SND.UNA has moved.
    pub(in crate::stack::tcp) acked: u64,
    /// What has arrived, in order or not, as far as it was not known to.
    pub(in crate::stack::tcp) delivered: u64,
    /// What is held to be lost, and was not before.
    pub(in crate::stack::tcp) lost: u64,
    /// What was in flight before.
    pub(in crate::stack::tcp) flight_before: u64,
    /// The round trip of the newest segment that has arrived, if it was sent once (Karn).
    pub(in crate::stack::tcp) round_trip: Option<Duration>,
    /// What came twice for our doing.
    pub(in crate::stack::tcp) duplicate: u64,
    /// What it means to congestion control.
    pub(in crate::stack::tcp) events: LossEvents,
}

/// What congestion control has to be told, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::stack::tcp) struct LossEvents {
    /// The last episode was a mistake, be it over or not.
    pub(in crate::stack::tcp) undone: bool,
    /// The episode's repair has arrived.
    pub(in crate::stack::tcp) recovered: bool,
    /// There was a loss, and a tail loss probe has repaired it already (RFC 8985, section 7.4).
    pub(in crate::stack::tcp) repaired_by_probe: bool,
    /// An episode has begun.
    pub(in crate::stack::tcp) began: bool,
}

/// What the segments that have arrived tell together.
#[derive(Default)]
struct AckNews {
    delivered: u64,
    /// Of the newest that was sent once: when.
    newest_sent_at: Option<Instant>,
    /// One shows that the retransmission timer had expired too soon.
    refute: bool,
}

impl LossRecovery {
    /// Takes an acknowledgement.
    ///
    /// # Errors
    /// [`Unsent`] if it acknowledges what was never sent; nothing has changed then. Blocks that
    /// can't be true are ignored.
    pub(in crate::stack::tcp) fn handle_acknowledgement(
        &mut self,
        ack: &Acknowledgement<'_>,
        witness: &mut impl Witness,
        now: Instant,
    ) -> Result<AckReport, Unsent> {
        let (before, sent_to) = (self.board.start(), self.board.sent_to());
        if ack.to > sent_to {
            return Err(Unsent);
        }
        let mut report = AckReport { flight_before: self.board.flight(), ..Default::default() };
        let duplicate = ack.duplicate().filter(|block| block.end <= sent_to);
        let arrivals = self.handle_arrivals(ack, witness, now);
        report.acked = self.board.start() - before;
        report.delivered = arrivals.delivered;
        report.round_trip =
            arrivals.newest_sent_at.map(|sent_at| now.saturating_duration_since(sent_at));
        if let Some(sample) = report.round_trip {
            self.rtt.handle_sample(sample, self.board.start(), sent_to);
        }
        if report.acked > 0 {
            self.waiting_since = now;
        }
        // Karn's algorithm: only what was sent once says how long a round trip takes now.
        if report.round_trip.is_some() || arrivals.refute {
            self.rtt.end_backoff();
        }
        self.handle_probe(ack, duplicate.as_ref(), &mut report);
        if let Some(block) = duplicate {
            report.duplicate = self.handle_duplicate(&block);
        }
        if arrivals.refute {
            self.board.find_all_lost();
            self.rack.forget_newest();
        }
        if arrivals.refute || self.episodes.is_refuted() {
            report.events.undone = true;
            self.episodes.undo();
        }
        if self.episodes.handle_acknowledged(self.board.start()) {
            report.events.recovered = true;
            self.rack.handle_recovered();
        }
        (report.lost, report.events.began) = self.detect_losses(witness, now);
        if report.delivered > 0 || report.acked > 0 {
            self.restart_probe_timer(now);
        }
        Ok(report)
    }

    /// Takes what has arrived off the scoreboard, or marks it there.
    fn handle_arrivals(
        &mut self,
        ack: &Acknowledgement<'_>,
        witness: &mut impl Witness,
        now: Instant,
    ) -> AckNews {
        let mut arrivals = AckNews::default();
        self.rack.begin_acknowledgement();
        while let Some((entry, news)) = self.board.pop(ack.to) {
            self.handle_arrival(&entry, news, &mut arrivals, witness, now);
        }
        if let Some((entry, news)) = self.board.trim(ack.to) {
            arrivals.delivered += news;
            if news > 0 {
                witness.handle_delivered(&Fate { segment_len: 0, ..Fate::of(&entry, news) }, now);
            }
        }
        let (start, sent_to) = (self.board.start(), self.board.sent_to());
        for block in ack.blocks {
            if block.end > sent_to {
                continue;
            }
            let mut from = block.start.max(start);
            while from < block.end {
                let Some((entry, news)) = self.board.sack_next(&mut from, block.end) else { break };
                self.handle_arrival(&entry, news, &mut arrivals, witness, now);
            }
        }
        arrivals
    }

    /// Takes a segment that has arrived, `news` bytes of which were not known to.
    fn handle_arrival(
        &mut self,
        entry: &SentSegment,
        news: u64,
        arrivals: &mut AckNews,
        witness: &mut impl Witness,
        now: Instant,
    ) {
        if news == 0 {
            return;
        }
        arrivals.delivered += news;
        arrivals.refute |= self.episodes.is_refuted_by(entry, self.rtt.lowest(), now);
        if !entry.was_repeated() {
            arrivals.newest_sent_at = arrivals.newest_sent_at.max(Some(entry.sent_at));
        }
        self.rack.handle_delivered(entry, &self.rtt, now);
        witness.handle_delivered(&Fate::of(entry, news), now);
    }

    /// Takes what an acknowledgement says of a tail loss probe.
    fn handle_probe(
        &mut self,
        ack: &Acknowledgement<'_>,
        duplicate: Option<&Range<u64>>,
        report: &mut AckReport,
    ) {
        let Some(probe) = self.probe else { return };
        if duplicate.is_some_and(|block| probe.is_duplicate(block)) {
            self.probe = None;
            return;
        }
        let is_bare = report.acked == 0 && ack.blocks.is_empty();
        match probe.fate(ack.to, is_bare) {
            ProbeFate::Open => {}
            ProbeFate::Over => self.probe = None,
            ProbeFate::Repaired => {
                self.probe = None;
                report.events.repaired_by_probe = !self.episodes.is_on();
            }
        }
    }

    /// Takes what has come twice. Says how many bytes of it are our doing: networks duplicate
    /// packets, too.
    fn handle_duplicate(&mut self, block: &Range<u64>) -> u64 {
        let len = block.end - block.start;
        if self.unanswered == 0 {
            return 0;
        }
        let ours = len.min(self.unanswered);
        self.unanswered -= ours;
        if self.episodes.handle_duplicate(block) == Some(EpisodeCause::Losses) {
            self.rack.handle_duplicate(self.board.start(), self.board.sent_to());
        }
        ours
    }
}
