//! How much may be in flight, and how fast it may leave.
//!
//! - [`cubic`]: a window that falls with each loss. [`hystart`] ends its slow start, [`prr`] lets
//!   it fall while a loss is repaired, [`curve`] lets it grow, [`ceiling`] keeps the queue short;
//! - [`bbr`]: a model of the path says it.
//!
//! Tests play flows over a `narrow_path`.

pub(in crate::stack::tcp) mod bbr;
mod ceiling;
pub(in crate::stack::tcp) mod cubic;
mod curve;
mod hystart;
#[cfg(test)]
mod narrow_path;
mod prr;

use std::time::Duration;

use bbr::Bbr;
use cubic::Cubic;

use crate::config::CongestionControl;
use crate::stack::tcp::sender::delivery::RateSample;
use crate::time::Instant;

/// Segments that an unknown path is sent at first (RFC 6928), and after a long rest.
pub(in crate::stack::tcp) const INITIAL_SEGMENTS: u64 = 10;

/// What an acknowledgement said, as far as congestion control has to know.
#[derive(Clone, Copy, Debug)]
pub(in crate::stack::tcp) struct Progress {
    /// Everything before this position has arrived (SND.UNA).
    pub(in crate::stack::tcp) acknowledged_to: u64,
    /// The position behind all that was ever sent (SND.NXT).
    pub(in crate::stack::tcp) sent_to: u64,
    /// Bytes that this acknowledgement says to have arrived, in order or not (RFC 9937's
    /// DeliveredData).
    pub(in crate::stack::tcp) delivered: u64,
    /// The sum of those since the connection began.
    pub(in crate::stack::tcp) delivered_total: u64,
    /// Bytes that are lost as it seems now, and did not seem so before.
    pub(in crate::stack::tcp) lost: u64,
    /// Bytes in flight after it (RFC 6675's pipe).
    pub(in crate::stack::tcp) flight: u64,
    /// The round-trip time of what it acknowledges, if that can be told.
    pub(in crate::stack::tcp) round_trip: Option<Duration>,
    /// The smoothed one (RFC 6298).
    pub(in crate::stack::tcp) smoothed: Option<Duration>,
    pub(in crate::stack::tcp) rate: Option<RateSample>,
    /// The window, and nothing else, held back what else there was to send before this came.
    pub(in crate::stack::tcp) is_window_limited: bool,
}

/// One way to find out how much a path takes. All counts are bytes of payload.
pub(in crate::stack::tcp) trait Controller {
    /// Something leaves, new or again, after which `flight` bytes are in flight. `was_idle`: there
    /// was nothing in flight before.
    fn handle_sent(&mut self, bytes: u64, flight: u64, was_idle: bool, now: Instant);

    /// An acknowledgement came. One that ends or takes back a recovery has been told before.
    fn handle_progress(&mut self, progress: &Progress, now: Instant);

    /// Something is lost: an episode of recovery begins, with so many bytes in flight before that
    /// was known, up to the position `sent_to`.
    fn handle_congestion(&mut self, flight: u64, sent_to: u64, now: Instant);

    /// The last episode's repair has arrived.
    fn handle_recovered(&mut self, now: Instant);

    /// The retransmission timer has expired: everything in flight counts as lost.
    fn handle_expiry(&mut self, now: Instant);

    /// Nothing was lost after all: the last congestion or expiry is taken back.
    fn handle_undo(&mut self, now: Instant);

    /// Segments carry so many bytes from now on.
    fn set_segment_len(&mut self, len: u64);

    /// How many bytes may be in flight.
    fn window(&self) -> u64;

    /// How many bytes a second may leave; `None` for as many as the window allows.
    fn pacing_rate(&self) -> Option<u64>;
}

/// The controller of a connection.
#[derive(Debug)]
pub(in crate::stack::tcp) enum Congestion {
    Cubic(Box<Cubic>),
    Bbr(Box<Bbr>),
}

impl Congestion {
    /// That of a connection that may send `initial_window` bytes at first, in segments of
    /// `segment_len`: over one `round_trip`, if that is known and they are more than an unknown
    /// path would get. `seed` tells flows apart.
    pub(in crate::stack::tcp) fn new(
        control: CongestionControl,
        initial_window: u64,
        segment_len: u64,
        round_trip: Option<Duration>,
        seed: u64,
        now: Instant,
    ) -> Self {
        match control {
            CongestionControl::Cubic => {
                Self::Cubic(Box::new(Cubic::new(initial_window, segment_len, round_trip, now)))
            }
            CongestionControl::Bbr => {
                Self::Bbr(Box::new(Bbr::new(initial_window, segment_len, round_trip, seed, now)))
            }
        }
    }

    /// What the path takes is known: it was full.
    pub(in crate::stack::tcp) fn has_been_full(&self) -> bool {
        match self {
            // A loss does not say so, and queues are seen by the round trips they make.
            Self::Cubic(_) => false,
            Self::Bbr(bbr) => bbr.has_been_full(),
        }
    }

    fn controller(&self) -> &dyn Controller {
        match self {
            Self::Cubic(cubic) => &**cubic,
            Self::Bbr(bbr) => &**bbr,
        }
    }

    fn controller_mut(&mut self) -> &mut dyn Controller {
        match self {
            Self::Cubic(cubic) => &mut **cubic,
            Self::Bbr(bbr) => &mut **bbr,
        }
    }
}

impl Controller for Congestion {
    fn handle_sent(&mut self, bytes: u64, flight: u64, was_idle: bool, now: Instant) {
        self.controller_mut().handle_sent(bytes, flight, was_idle, now);
    }

    fn handle_progress(&mut self, progress: &Progress, now: Instant) {
        self.controller_mut().handle_progress(progress, now);
    }

    fn handle_congestion(&mut self, flight: u64, sent_to: u64, now: Instant) {
        self.controller_mut().handle_congestion(flight, sent_to, now);
    }

    fn handle_recovered(&mut self, now: Instant) {
        self.controller_mut().handle_recovered(now);
    }

    fn handle_expiry(&mut self, now: Instant) {
        self.controller_mut().handle_expiry(now);
    }

    fn handle_undo(&mut self, now: Instant) {
        self.controller_mut().handle_undo(now);
    }

    fn set_segment_len(&mut self, len: u64) {
        self.controller_mut().set_segment_len(len);
    }

    fn window(&self) -> u64 {
        self.controller().window()
    }

    fn pacing_rate(&self) -> Option<u64> {
        self.controller().pacing_rate()
    }
}
