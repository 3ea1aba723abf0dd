//! What an acknowledgement changes.

use std::time::Duration;

use crate::stack::tcp::options::{BLOCKS_MAX, WireBlocks};
use crate::stack::tcp::position::Origin;
use crate::stack::tcp::sender::congestion::{Controller, Progress};
use crate::stack::tcp::sender::delivery::RateSample;
use crate::stack::tcp::sender::lessons::Lesson;
use crate::stack::tcp::sender::loss::{AckReport, Acknowledgement, Unsent};
use crate::stack::tcp::sender::segment_size::SizeNews;
use crate::stack::tcp::sender::witness::Ledger;
use crate::stack::tcp::sender::{FarWindow, Sender};
use crate::time::Instant;

/// What a segment says of our stream.
#[derive(Clone, Copy, Debug)]
pub(in crate::stack::tcp) struct Heard {
    /// Everything before this position has arrived.
    pub(in crate::stack::tcp) to: u64,
    /// What has arrived behind that, or twice.
    pub(in crate::stack::tcp) blocks: WireBlocks,
    /// Where our stream begins.
    pub(in crate::stack::tcp) origin: Origin,
    /// Bytes that may be sent behind `to`.
    pub(in crate::stack::tcp) window: u64,
    /// Where the segment stands in the far end's stream.
    pub(in crate::stack::tcp) at: u64,
}

impl Sender {
    /// Takes what a segment says of our stream. The round-trip time is of what it acknowledges, if
    /// that can be told.
    ///
    /// # Errors
    /// [`Unsent`] if it can't be true; nothing has changed then.
    pub(in crate::stack::tcp) fn handle_acknowledgement(
        &mut self,
        heard: &Heard,
        now: Instant,
    ) -> Result<Option<Duration>, Unsent> {
        let (before, sent_to) = (self.loss.acknowledged_to(), self.loss.sent_to());
        let is_ancient = heard.to.saturating_add(self.window.len_max) < before;
        if heard.to > sent_to || is_ancient {
            return Err(Unsent);
        }
        self.handle_window(heard);
        let mut positions = [const { 0..0 }; BLOCKS_MAX];
        let count = heard.blocks.positions(heard.origin, before, &mut positions);
        let acknowledgement = Acknowledgement { to: heard.to, blocks: &positions[..count] };
        let mut ledger = Ledger::new(&mut self.delivery, &mut self.size);
        let report = self.loss.handle_acknowledgement(&acknowledgement, &mut ledger, now)?;
        let for_size = report.lost > 0 && ledger.lost_to_size == report.lost;
        let rate = self.delivery.take_sample(self.loss.lowest());
        self.discard_acknowledged();
        self.handle_events(&report, for_size, now);
        self.handle_report(&report, rate, now);
        self.handle_size_news(now);
        self.follow_congestion(now);
        Ok(report.round_trip)
    }

    /// What was acknowledged need not be kept.
    fn discard_acknowledged(&mut self) {
        let data_to = self.loss.acknowledged_to().min(self.ring.end());
        // At most what the ring holds.
        self.ring.discard((data_to - self.ring.start()) as usize);
        if self.loss.acknowledged_to() == self.loss.sent_to() {
            self.probe = None;
        }
    }

    /// Tells congestion control what has become of episodes of loss. `for_size`: that is why all
    /// was lost that is new.
    fn handle_events(&mut self, report: &AckReport, for_size: bool, now: Instant) {
        let (events, sent_to) = (report.events, self.loss.sent_to());
        let congestion = &mut self.congestion;
        if events.undone {
            congestion.handle_undo(now);
            self.size.handle_undone();
        }
        if events.recovered {
            congestion.handle_recovered(now);
        }
        if events.repaired_by_probe {
            // RFC 8985, section 7.4.2: a loss that nobody else noticed.
            congestion.handle_congestion(report.flight_before, sent_to, now);
            congestion.handle_recovered(now);
        }
        if events.began {
            congestion.handle_congestion(report.flight_before, sent_to, now);
            if for_size {
                congestion.handle_undo(now);
            }
        }
    }

    fn handle_report(&mut self, report: &AckReport, rate: Option<RateSample>, now: Instant) {
        let progress = Progress {
            acknowledged_to: self.loss.acknowledged_to(),
            sent_to: self.loss.sent_to(),
            delivered: report.delivered,
            delivered_total: self.delivery.delivered(),
            lost: report.lost,
            flight: self.loss.flight(),
            round_trip: report.round_trip,
            smoothed: self.loss.smoothed(),
            rate,
            is_window_limited: std::mem::take(&mut self.is_window_limited),
        };
        let is_other = self.lessons.handle(&Lesson {
            progress: &progress,
            flight_before: report.flight_before,
            lowest: self.loss.lowest(),
            variation: self.loss.variation(),
            reordering: self.loss.reordering(),
            is_full: self.congestion.has_been_full(),
        });
        if is_other {
            let len = self.size.len();
            self.congestion = Self::new_congestion(self.control, len, None, now);
        }
        self.congestion.handle_progress(&progress, now);
    }

    /// Sizes that do not fit were found, or larger ones that do.
    pub(super) fn handle_size_news(&mut self, now: Instant) {
        let Some(news) = self.size.take_news() else { return };
        let (SizeNews::Hole(found) | SizeNews::Found(found)) = news;
        if matches!(news, SizeNews::Hole(_)) {
            // What was lost was no sign of congestion.
            self.congestion.handle_undo(now);
            self.loss.lose_above(self.size.len());
        }
        self.congestion.set_segment_len(self.size.len());
        self.found_size = Some(found);
    }

    /// Takes note of the window that a segment offers. One that was overtaken must not take back
    /// what a later one has offered (RFC 9293, section 3.10.7.4), but may offer more, from where
    /// its own acknowledgement stands.
    fn handle_window(&mut self, heard: &Heard) {
        let before = self.loss.acknowledged_to();
        let to = heard.to + heard.window;
        let at = heard.at;
        let is_latest = heard.to > before || heard.to == before && at >= self.window.at;
        if !is_latest && to <= self.window.to {
            return;
        }
        let len_max = self.window.len_max.max(heard.window);
        self.window = FarWindow { to, at, len_max };
    }
}
