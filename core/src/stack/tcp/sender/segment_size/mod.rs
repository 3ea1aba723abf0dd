//! How large a segment may be where the path says nothing about it: packets that are too large may
//! vanish without a word (a hole; RFC 4821, RFC 8899).
//!
//! ```text
//!           two full ones are lost, none          the full one that was sent to find
//!           arrives, and a smaller one does       out is lost, smaller ones are not
//!   certain ------------------------------> suspected ----------------------> certain, smaller
//!      ^                                        |                                   |
//!      +----------------------------------------+       one larger one at a time    |
//!      |           it arrives                           is sent: until one is lost  |
//!      +----------------------------------------------------------------------------+
//! ```
//!
//! A loss has nothing to do with sizes most of the time. So a suspicion costs smaller segments for
//! a round trip, and what was believed without cause is found out by the search that follows.
//!
//! Which sizes are worth trying is said by [`steps`].
//!
//! Lengths are those of payloads where the sender speaks, of whole IP packets inside.

mod steps;
#[cfg(test)]
mod tests;

use crate::stack::tcp::path::FoundSize;
use crate::stack::tcp::sender::segment_size::steps::{larger, safer};
use crate::time::Instant;

/// Segments that are so many bytes short of full ones, for their options, count as full.
const OPTIONS_LEN: u16 = 40;
/// Full segments that are lost in a row, at least, before their size is the suspected cause.
const SUSPICIOUS_LOSSES: u32 = 2;
/// How often a larger size is tried in vain before it is given up (RFC 8899's MAX_PROBES is 3; a
/// real loss in between is found out by the next search).
const TRIES: u8 = 2;
/// Segments that follow one of a size that is tried: so its loss is noticed soon.
const FOLLOWERS: u64 = 8;

/// What is new about the size of segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SizeNews {
    /// There is a hole: what was lost for its size was lost to no congestion.
    Hole(FoundSize),
    /// A search has found out something.
    Found(FoundSize),
}

/// A segment of another size that is sent to see whether it arrives.
#[derive(Clone, Copy, Debug)]
struct SizeTrial {
    /// Bytes of the packet.
    len: u16,
    sent_at: Option<Instant>,
    tries: u8,
}

/// Full segments that were lost, and none of their size that left later has arrived.
#[derive(Clone, Copy, Debug)]
struct Suspicion {
    losses: u32,
    /// When the first and the last of them left.
    first: Instant,
    last: Instant,
    /// A smaller one that left between two of them has arrived.
    is_repeated: bool,
}

/// Whether the size of now is believed to fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Belief {
    /// It is as good as known.
    Certain,
    /// The size before may be too large: it is tried once more, `retries` times if that is lost.
    Suspected { before: u16, retries: u8 },
}

/// The size of a connection's segments. Tell it of everything that leaves
/// ([`handle_sent`](Self::handle_sent)), arrives and is lost; then ask it for
/// [news](Self::take_news), and for the length of the [next](Self::next_len) segment.
#[derive(Debug)]
pub(in crate::stack::tcp) struct SegmentSize {
    /// Bytes of headers of each packet.
    overhead: u16,
    /// Bytes of the largest packet that the tunnel takes.
    full: u16,
    /// Bytes of packets now.
    current: u16,
    /// Bytes of the smallest packet that is known to vanish.
    fails: Option<u16>,
    belief: Belief,
    suspicion: Option<Suspicion>,
    trial: Option<SizeTrial>,
    /// When the latest full segment that arrived had left, and the latest smaller one.
    full_arrived: Option<Instant>,
    small_arrived: Option<Instant>,
    /// How often in a row the retransmission timer has expired.
    expiries: u8,
    /// Bytes of the largest packet that has arrived lately.
    arrived: u16,
    news: Option<SizeNews>,
}

impl SegmentSize {
    /// For packets of up to `full` bytes with headers of `overhead` bytes, on a path where those of
    /// `known` bytes are known to fit, if anything is.
    pub(in crate::stack::tcp) fn new(overhead: u16, full: u16, known: Option<u16>) -> Self {
        let mut size = Self {
            overhead,
            full,
            current: full,
            fails: None,
            belief: Belief::Certain,
            suspicion: None,
            trial: None,
            full_arrived: None,
            small_arrived: None,
            expiries: 0,
            arrived: 0,
            news: None,
        };
        size.follow(known);
        size
    }

    fn payload(&self, packet: u16) -> u64 {
        // A segment carries one byte at least.
        u64::from(packet.saturating_sub(self.overhead).max(1))
    }

    fn packet(&self, payload: u64) -> u16 {
        let payload = u16::try_from(payload).unwrap_or(u16::MAX);
        payload.saturating_add(self.overhead)
    }

    /// The size that is in question.
    const fn questioned(&self) -> u16 {
        match self.belief {
            Belief::Certain => self.current,
            Belief::Suspected { before, .. } => before,
        }
    }

    fn is_full(&self, packet: u16) -> bool {
        packet.saturating_add(OPTIONS_LEN) > self.questioned()
    }

    /// Bytes of payload of a full segment.
    pub(in crate::stack::tcp) fn len(&self) -> u64 {
        self.payload(self.current)
    }

    /// Bytes of payload of the segment that is sent next, at most, where `run` bytes in one piece
    /// are to be sent and `left` in all: more than [`len`](Self::len) if one of another size is to
    /// be tried.
    pub(in crate::stack::tcp) fn next_len(&self, run: u64, left: u64) -> u64 {
        let usual = self.len();
        let Some(trial) = self.trial.filter(|trial| trial.sent_at.is_none()) else { return usual };
        let len = self.payload(trial.len);
        let followers = match self.belief {
            // What was lost is to get through, and whether that works is to be known soon.
            Belief::Suspected { .. } => 1,
            Belief::Certain => usual * FOLLOWERS,
        };
        if run >= len && left >= len + followers { len } else { usual }
    }

    /// Bytes of payload of what a tail loss probe or the retransmission timer sends again: fewer
    /// than [`len`](Self::len) where nobody knows whether that fits, and fewer each time.
    pub(in crate::stack::tcp) fn repeat_len(&self) -> u64 {
        let steps = match self.full_arrived {
            // One expiry alone is a loss like any other.
            Some(_) => self.expiries.saturating_sub(1),
            None => self.expiries.max(1),
        };
        self.payload((0..steps).fold(self.current, |len, _| safer(len)))
    }

    /// A segment leaves.
    pub(in crate::stack::tcp) fn handle_sent(&mut self, len: u64, now: Instant) {
        let packet = self.packet(len);
        if let Some(trial) = &mut self.trial
            && trial.sent_at.is_none()
            && packet == trial.len
        {
            trial.sent_at = Some(now);
        }
    }

    fn is_trial(&self, packet: u16, sent_at: Instant) -> bool {
        self.trial.is_some_and(|trial| {
            packet == trial.len && trial.sent_at.is_some_and(|at| sent_at >= at)
        })
    }

    /// A segment that left at `sent_at` has arrived. One of no length is a part of one that was cut
    /// anew since, which says nothing of sizes.
    pub(in crate::stack::tcp) fn handle_arrived(&mut self, len: u64, sent_at: Instant) {
        self.expiries = 0;
        if len == 0 {
            return;
        }
        let packet = self.packet(len);
        self.arrived = self.arrived.max(packet);
        if self.is_trial(packet, sent_at) {
            return self.handle_trial_arrived(packet);
        }
        if self.is_full(packet) {
            self.full_arrived = self.full_arrived.max(Some(sent_at));
            if self.suspicion.is_some_and(|suspicion| sent_at >= suspicion.first) {
                self.dispel();
            }
        } else {
            self.small_arrived = self.small_arrived.max(Some(sent_at));
            self.judge();
        }
    }

    /// A segment that left at `sent_at` is lost. Says whether that was for its size, as far as is
    /// known: then it is no sign of congestion (RFC 4821, section 7.5).
    pub(in crate::stack::tcp) fn handle_lost(&mut self, len: u64, sent_at: Instant) -> bool {
        let packet = self.packet(len);
        if self.is_trial(packet, sent_at) {
            self.handle_trial_lost(packet);
            return true;
        }
        if packet > self.questioned() {
            return self.fails.is_some_and(|fails| packet >= fails);
        }
        if !self.is_full(packet) {
            if let Belief::Suspected { retries, .. } = &mut self.belief {
                // The path loses small ones, too: one trial more says more.
                *retries = TRIES - 1;
            }
            return false;
        }
        if self.full_arrived.is_none_or(|arrived| arrived < sent_at) {
            let suspicion = self.suspicion.get_or_insert(Suspicion {
                losses: 0,
                first: sent_at,
                last: sent_at,
                is_repeated: false,
            });
            let first = suspicion.first;
            suspicion.is_repeated |=
                self.small_arrived.is_some_and(|small| small >= first && small < sent_at);
            suspicion.losses += 1;
            suspicion.first = suspicion.first.min(sent_at);
            suspicion.last = suspicion.last.max(sent_at);
            self.judge();
        }
        false
    }

    /// The retransmission timer has expired; what was lost by that has been told.
    pub(in crate::stack::tcp) const fn handle_expiry(&mut self) {
        self.expiries = self.expiries.saturating_add(1);
    }

    /// What was lost lately was not.
    pub(in crate::stack::tcp) fn handle_undone(&mut self) {
        self.dispel();
    }

    /// Full segments arrive.
    fn dispel(&mut self) {
        self.suspicion = None;
        if let Belief::Suspected { before, .. } = self.belief {
            self.current = before;
            self.belief = Belief::Certain;
            self.trial = None;
        }
    }

    /// Whether sizes matter, by what was lost and what was not.
    fn judge(&mut self) {
        let Some(suspicion) = self.suspicion else { return };
        let smaller = safer(self.questioned());
        if suspicion.losses < SUSPICIOUS_LOSSES || smaller >= self.questioned() {
            return;
        }
        let passes = |left: Instant| self.small_arrived.is_some_and(|small| small >= left);
        if suspicion.is_repeated && passes(suspicion.last) {
            self.conclude();
        } else if self.belief == Belief::Certain && passes(suspicion.first) {
            self.belief = Belief::Suspected { before: self.current, retries: 0 };
            self.trial = Some(SizeTrial { len: self.current, sent_at: None, tries: 0 });
            self.current = smaller;
        }
    }

    /// It is a hole.
    fn conclude(&mut self) {
        let fails = self.questioned();
        self.current = safer(fails);
        self.fails = Some(fails);
        self.belief = Belief::Certain;
        self.suspicion = None;
        self.full_arrived = None;
        self.search_below();
        let is_searched = self.trial.is_none();
        let found = FoundSize { fits: self.current, fails: self.fails, is_searched };
        self.news = Some(SizeNews::Hole(found));
    }

    /// Tries the next size between what fits and what does not, if there is any.
    fn search_below(&mut self) {
        let next = larger(self.current, self.full);
        let may_fit = |next: &u16| self.fails.is_none_or(|fails| *next < fails);
        let next = next.filter(may_fit);
        self.trial = next.map(|len| SizeTrial { len, sent_at: None, tries: 0 });
    }

    fn handle_trial_arrived(&mut self, packet: u16) {
        match self.belief {
            Belief::Suspected { .. } => {
                self.full_arrived = self.trial.and_then(|trial| trial.sent_at);
                self.dispel();
            }
            Belief::Certain => {
                self.full_arrived = self.trial.and_then(|trial| trial.sent_at);
                self.current = packet;
                self.search_below();
                self.tell_found();
            }
        }
    }

    fn handle_trial_lost(&mut self, packet: u16) {
        let Some(trial) = &mut self.trial else { return };
        (trial.sent_at, trial.tries) = (None, trial.tries + 1);
        match self.belief {
            Belief::Suspected { retries, .. } if trial.tries > retries => self.conclude(),
            Belief::Certain if trial.tries >= TRIES => {
                self.fails = Some(packet);
                self.trial = None;
                self.tell_found();
            }
            Belief::Suspected { .. } | Belief::Certain => {}
        }
    }

    fn tell_found(&mut self) {
        let is_searched = self.trial.is_none();
        if self.current >= self.full {
            self.fails = None;
        }
        let found = FoundSize { fits: self.current, fails: self.fails, is_searched };
        // What was lost is still to be told first.
        self.news = match self.news {
            Some(SizeNews::Hole(_)) => Some(SizeNews::Hole(found)),
            Some(SizeNews::Found(_)) | None => Some(SizeNews::Found(found)),
        };
    }

    /// What is new, once.
    pub(in crate::stack::tcp) const fn take_news(&mut self) -> Option<SizeNews> {
        self.news.take()
    }

    /// Bytes of the largest packet that has arrived since this was last asked; 0 if none has.
    pub(in crate::stack::tcp) const fn take_arrived(&mut self) -> u16 {
        let arrived = self.arrived;
        self.arrived = 0;
        arrived
    }

    /// Others know that packets of `known` bytes fit, or that all do.
    pub(in crate::stack::tcp) fn follow(&mut self, known: Option<u16>) {
        let known = known.unwrap_or(self.full).min(self.full);
        let is_open = self.trial.is_some() || self.belief != Belief::Certain;
        if known == self.current || is_open && known >= self.current {
            return;
        }
        self.current = known;
        (self.belief, self.suspicion, self.trial) = (Belief::Certain, None, None);
        self.fails = (known < self.full).then_some(self.fails).flatten();
    }

    /// Larger packets are to be tried again, one at a time.
    pub(in crate::stack::tcp) fn search(&mut self) {
        if self.belief == Belief::Certain && self.trial.is_none() && self.current < self.full {
            self.fails = None;
            self.search_below();
        }
    }

    /// The tunnel takes packets of `full` bytes from now on, or a router on the way does.
    pub(in crate::stack::tcp) fn set_full(&mut self, full: u16) {
        let was_full = self.current >= self.full;
        self.full = full;
        if was_full || self.current > full {
            self.current = full;
        }
        if self.questioned() > full || self.trial.is_some_and(|trial| trial.len > full) {
            (self.belief, self.suspicion, self.trial) = (Belief::Certain, None, None);
        }
    }

    /// The path is another one, of which nothing is known.
    pub(in crate::stack::tcp) fn begin_anew(&mut self) {
        *self = Self::new(self.overhead, self.full, None);
    }
}
