//! What a flow learns of its path, round trip by round trip, for the flows that follow it; and how
//! the first flight of one that was told more than nothing fares
//! (draft-ietf-tsvwg-careful-resume).

use std::time::Duration;

use crate::stack::tcp::path::{Hint, Learnt};
use crate::stack::tcp::sender::congestion::Progress;

/// What one flow has learnt since it was last asked.
#[derive(Default, Debug)]
pub(super) struct Lessons {
    learnt: Learnt,
    /// A round is over when so many bytes have been delivered in all.
    round_ends_at: u64,
    /// The most that was in flight in this round, and whether anything of it was lost.
    flight: u64,
    has_lost: bool,
    /// A round has ended since.
    is_due: bool,
    trial: Option<Trial>,
    retreat: Option<Retreat>,
}

/// A first flight of which something was lost, or that met another path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Retreat {
    /// Bytes of it.
    pub(crate) flight: u64,
    /// Bytes that were lost of it; none if the path is another one.
    pub(crate) lost: u64,
}

/// A first flight of more than an unknown path would get.
#[derive(Clone, Copy, Debug)]
struct Trial {
    hint: Hint,
    /// Until this position has been acknowledged.
    to: u64,
}

/// What one acknowledgement says, as far as there is something to learn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lesson<'a> {
    pub(super) progress: &'a Progress,
    /// Bytes that were in flight before it.
    pub(super) flight_before: u64,
    pub(super) lowest: Option<Duration>,
    pub(super) variation: Option<Duration>,
    pub(super) reordering: Option<Duration>,
    /// What the path takes is known.
    pub(super) is_full: bool,
}

impl Lessons {
    /// Of a flow on a path of which that is known; `initial`: the bytes that an unknown one would
    /// get at first.
    pub(super) fn new(hint: &Hint, initial: u64) -> Self {
        let is_more = hint.first_flight > initial;
        let trial = is_more.then_some(Trial { hint: *hint, to: 1 + hint.first_flight });
        Self { trial, ..Self::default() }
    }

    /// Whether the path turns out to be another than it was told to be: the flow goes on as if it
    /// had been told nothing.
    pub(super) fn handle(&mut self, lesson: &Lesson<'_>) -> bool {
        let progress = lesson.progress;
        let learnt = &mut self.learnt;
        learnt.smoothed = progress.smoothed;
        learnt.lowest = lesson.lowest;
        learnt.variation = lesson.variation;
        learnt.reordering = lesson.reordering;
        learnt.round_trip = progress.round_trip.or(learnt.round_trip);
        learnt.rate = learnt.rate.max(progress.rate.map(|sample| sample.rate));
        learnt.is_full |= lesson.is_full;
        learnt.delivered += progress.delivered;
        learnt.lost += progress.lost;
        self.flight = self.flight.max(lesson.flight_before);
        self.has_lost |= progress.lost > 0;
        if progress.delivered_total >= self.round_ends_at {
            if !self.has_lost {
                self.learnt.flight = self.learnt.flight.max(self.flight);
            }
            self.round_ends_at = progress.delivered_total + progress.flight;
            (self.flight, self.has_lost, self.is_due) = (0, false, true);
        }
        self.judge(progress)
    }

    /// How the first flight fares.
    fn judge(&mut self, progress: &Progress) -> bool {
        let Some(trial) = self.trial else { return false };
        let is_other = progress.round_trip.is_some_and(|time| !trial.hint.resembles(time));
        if is_other || progress.lost > 0 {
            self.trial = None;
            self.retreat = Some(Retreat { flight: trial.hint.first_flight, lost: progress.lost });
        } else if progress.acknowledged_to >= trial.to {
            self.trial = None;
        }
        is_other
    }

    /// What was learnt since this was last asked, if that is worth to be told.
    pub(super) fn take(&mut self) -> Option<Learnt> {
        let is_due = std::mem::take(&mut self.is_due) && self.learnt.delivered > 0;
        is_due.then(|| std::mem::take(&mut self.learnt))
    }

    /// The first flight was too much.
    pub(super) const fn take_retreat(&mut self) -> Option<Retreat> {
        self.retreat.take()
    }
}
