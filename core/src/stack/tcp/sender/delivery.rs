//! How fast what was sent arrives (draft-cheng-iccrg-delivery-rate-estimation).

use std::time::Duration;

use crate::time::Instant;

/// What is noted of delivery when a segment leaves, with each segment that is out.
#[derive(Clone, Copy, Debug)]
pub(in crate::stack::tcp) struct Stamp {
    /// Bytes that had been delivered, on the connection as a whole.
    pub(in crate::stack::tcp) delivered: u64,
    /// When the last of those were said to be.
    pub(in crate::stack::tcp) delivered_at: Instant,
    /// When the first segment left of the flight that the sample is to be about.
    pub(in crate::stack::tcp) first_sent_at: Instant,
    /// Bytes in flight with this segment.
    pub(in crate::stack::tcp) in_flight: u64,
    /// Bytes that had been lost, on the connection as a whole.
    pub(in crate::stack::tcp) lost: u64,
    /// The application had less to send than the path could have taken.
    pub(in crate::stack::tcp) is_app_limited: bool,
}

/// How fast bytes were delivered between the time that a segment left and its acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(in crate::stack::tcp) struct RateSample {
    /// Bytes a second.
    pub(in crate::stack::tcp) rate: u64,
    /// Bytes that were delivered in the interval.
    pub(in crate::stack::tcp) delivered: u64,
    /// Bytes that were lost in it.
    pub(in crate::stack::tcp) lost: u64,
    /// The longer of the time that they took to leave and to be acknowledged.
    pub(in crate::stack::tcp) interval: Duration,
    /// Of the newest segment that was acknowledged: what was delivered when it left, what was in
    /// flight then, and whether the application limited it.
    pub(in crate::stack::tcp) prior_delivered: u64,
    /// See `prior_delivered`.
    pub(in crate::stack::tcp) prior_in_flight: u64,
    /// See `prior_delivered`.
    pub(in crate::stack::tcp) is_app_limited: bool,
}
