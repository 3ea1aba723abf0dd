//! How much the far end may have on the way: what the path delivers in a few round trips, so that
//! no sender waits for us, and no queue of the whole ring stands before a slow path.
//!
//! A receiver sees how fast its reader takes what arrives, and knows the lowest round-trip time
//! from the handshake. The window is [`ROUNDS`] times what is taken in one, and what is taken in
//! [`SPARE`]; twice that as long as the rate rises, since a sender in slow start has twice as much
//! on the way with each round, and sees a larger window one round later. It grows at once. It
//! shrinks only by a trial: if less arrives after it, the path has become longer, not the queue;
//! all is as before then, and the round trip is what the window takes.

use std::time::Duration;

use crate::stack::tcp::ratio::{per_second, scaled, within};
use crate::time::Instant;

/// What may be on the way at first.
pub(super) const INITIAL_LEN: u64 = 64 << 10;

/// Round trips that may be on the way: one fills the path, a congestion controller that has
/// halved fills it with two, and one that models it has up to two and what it probes with.
const ROUNDS: u32 = 3;

/// Time that may be on the way beyond those: paths without a queue have jitter and clumps.
const SPARE: Duration = Duration::from_millis(50);
/// More than any window: twice as much can be counted.
const TARGET_MAX: u64 = 1 << 62;

/// The shortest interval in which a rate is measured.
const ROUND_MIN: Duration = Duration::from_millis(4);

/// Intervals, the best of which is the rate.
const RATES: usize = 8;

/// Intervals without a higher rate after which it rises no more.
const FLAT_MAX: u32 = 3;

/// How long the window has to be too large before it shrinks.
const SHRINK_AFTER: Duration = Duration::from_secs(2);

/// For how long it is measured what comes of that.
const TRIAL_MIN: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct WindowSize {
    len: u64,
    max: u64,
    /// The lowest round-trip time.
    lowest: Option<Duration>,
    /// When the edge was moved on, and the first position that could not be sent before.
    mark: Option<(Instant, u64)>,
    /// When the interval began, and bytes that were taken in it.
    began_at: Option<Instant>,
    taken: u64,
    /// Bytes that were taken since the connection began.
    total: u64,
    /// Bytes a second of the last intervals.
    rates: [u64; RATES],
    next_rate: usize,
    /// The rate that the next has to exceed to rise, and intervals since one did.
    peak: u64,
    flat: u32,
    /// Since when it is too large.
    excessive_since: Option<TakenMark>,
    trial: Option<ShrinkTrial>,
}

/// Bytes that had been taken at some time.
#[derive(Clone, Copy, Debug)]
struct TakenMark {
    at: Instant,
    total: u64,
}

impl TakenMark {
    /// Bytes a second since then, pauses included.
    fn rate(self, now: TakenMark) -> u64 {
        per_second(now.total - self.total, now.at.saturating_duration_since(self.at))
    }
}

/// The window has shrunk.
#[derive(Debug)]
struct ShrinkTrial {
    /// What it was, and how fast bytes were taken then.
    len: u64,
    rate: u64,
    /// When all has come that was on the way, and from when on the rate is measured.
    settles_at: Instant,
    settled: Option<TakenMark>,
    ends_at: Instant,
}

impl WindowSize {
    pub(super) fn new(max: u64) -> Self {
        Self {
            len: INITIAL_LEN.min(max),
            max,
            lowest: None,
            mark: None,
            began_at: None,
            taken: 0,
            total: 0,
            rates: [0; RATES],
            next_rate: 0,
            peak: 0,
            flat: 0,
            excessive_since: None,
            trial: None,
        }
    }

    /// Bytes that may be on the way or wait for the reader.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// A round trip took so long.
    pub(super) fn set_round_trip(&mut self, measured: Duration) {
        self.lowest = Some(self.lowest.map_or(measured, |lowest| lowest.min(measured)));
    }

    /// The edge of the window was moved on from this position.
    pub(super) const fn handle_offered(&mut self, from: u64, now: Instant) {
        if self.mark.is_none() {
            self.mark = Some((now, from));
        }
    }

    /// Something has arrived; `highest` is behind the furthest of all.
    pub(super) fn handle_arrived(&mut self, highest: u64, now: Instant) {
        if let Some((at, _)) = self.mark.filter(|(_, edge)| highest > *edge) {
            // Dynamic right-sizing: it could be sent a round trip ago at the latest.
            self.mark = None;
            self.set_round_trip(now.saturating_duration_since(at).max(Duration::from_micros(1)));
        }
    }

    /// The reader has taken so many bytes.
    pub(super) fn handle_taken(&mut self, bytes: u64, now: Instant) {
        self.total += bytes;
        self.taken += bytes;
        let Some(lowest) = self.lowest else {
            // As much as a sender in slow start needs.
            self.grow_to(INITIAL_LEN + self.len_for(self.taken));
            return;
        };
        let round = lowest.max(ROUND_MIN);
        let Some(began_at) = self.began_at else {
            self.began_at = Some(now);
            self.taken = bytes;
            self.grow_to(INITIAL_LEN + self.len_for(bytes));
            return;
        };
        let interval = now.saturating_duration_since(began_at);
        if interval < round {
            if lowest >= ROUND_MIN {
                self.grow_to(INITIAL_LEN + self.len_for(self.taken));
            }
            return;
        }
        let taken = std::mem::take(&mut self.taken);
        self.began_at = Some(now);
        // After a pause nothing is known of the rate.
        if interval <= 3 * round + SPARE {
            self.handle_rate(per_second(taken, interval), lowest, now);
        }
    }

    /// Bytes were taken at this rate for an interval.
    fn handle_rate(&mut self, rate: u64, lowest: Duration, now: Instant) {
        self.rates[self.next_rate] = rate;
        self.next_rate = (self.next_rate + 1) % RATES;
        if rate > self.peak + self.peak / 4 {
            self.peak = rate;
            self.flat = 0;
        } else {
            self.flat = self.flat.saturating_add(1);
        }
        let best = self.rates.iter().copied().max().unwrap_or(rate);
        let target = INITIAL_LEN + within(best, ROUNDS * lowest + SPARE).min(TARGET_MAX);
        self.grow_to(if self.is_rising() { 2 * target } else { target });
        let mark = TakenMark { at: now, total: self.total };
        if let Some(trial) = &mut self.trial {
            if trial.settles_at <= now {
                trial.settled.get_or_insert(mark);
            }
            if trial.ends_at <= now {
                self.end_trial(lowest, mark);
            }
            return;
        }
        if target >= self.len / 4 * 3 {
            self.excessive_since = None;
            return;
        }
        let since = *self.excessive_since.get_or_insert(mark);
        if now.saturating_duration_since(since.at) >= SHRINK_AFTER.max(RATES as u32 * lowest) {
            self.begin_trial(since.rate(mark), now);
        }
    }

    /// The window shrinks, to see what comes of it.
    fn begin_trial(&mut self, rate: u64, now: Instant) {
        self.excessive_since = None;
        let takes = time_for(self.len, rate);
        let settles_at = now + 2 * takes;
        let ends_at = settles_at + (2 * takes).max(TRIAL_MIN);
        self.trial = Some(ShrinkTrial { len: self.len, rate, settles_at, settled: None, ends_at });
        self.len -= self.len / 4;
    }

    /// If less came with the smaller window, it was not a queue that it was too large for.
    fn end_trial(&mut self, lowest: Duration, now: TakenMark) {
        let Some(trial) = self.trial.take() else { return };
        let rate = trial.settled.map_or(trial.rate, |settled| settled.rate(now));
        if rate < trial.rate - trial.rate / 8 {
            self.lowest = Some(lowest.max(time_for(trial.len, trial.rate)));
            self.len = self.len.max(trial.len);
        }
    }

    /// Whether the rate rises, as in slow start.
    const fn is_rising(&self) -> bool {
        self.flat < FLAT_MAX
    }

    /// What may be on the way if so many bytes arrived in a round trip or less.
    fn len_for(&self, bytes: u64) -> u64 {
        let rounds = if self.is_rising() { 2 * ROUNDS } else { ROUNDS };
        bytes.saturating_mul(u64::from(rounds))
    }

    fn grow_to(&mut self, len: u64) {
        self.len = self.len.max(len.min(self.max));
    }
}

/// How long so many bytes take at this rate; at most a minute.
fn time_for(bytes: u64, rate: u64) -> Duration {
    Duration::from_nanos(scaled(bytes, 1_000_000_000, rate)).min(Duration::from_secs(60))
}
