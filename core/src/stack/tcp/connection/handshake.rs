//! Until both ends know each other's numbers: our SYN or SYN-ACK, and when it is repeated.

use std::time::Duration;

use smoltcp::wire::TcpSeqNumber;

use crate::limits::BUFFER_MAX;
use crate::stack::tcp::connection::{Connection, WasReset, headers_len};
use crate::stack::tcp::options::{Offers, WINDOW_SHIFT_MAX};
use crate::stack::tcp::path::Hint;
use crate::stack::tcp::position::Origin;
use crate::stack::tcp::segment::FarSegment;
use crate::time::Instant;

/// What a far end that does not say takes in one segment (RFC 9293, section 3.7.1).
pub(super) const SEGMENT_LEN_DEFAULT: u16 = 536;
/// The smallest segments that a far end may ask for: each costs a packet.
const SEGMENT_LEN_MIN: u16 = 48;
/// How long the first SYN of an unknown path waits (RFC 6298, section 2.1).
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);
/// How long it waits at least, whatever is known: who answers may have to connect elsewhere first.
const TIMEOUT_MIN: Duration = Duration::from_millis(300);
/// The longest that a repeated one waits.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

const _: () = assert!(
    BUFFER_MAX >> WINDOW_SHIFT_MAX <= 1 << 16,
    "the largest window can be said with the largest scale"
);

/// How far the handshake is: RFC 9293's states before ESTABLISHED.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progression {
    Listen,
    SynSent,
    SynReceived,
    Complete,
}

/// The handshake of a connection.
#[derive(Debug)]
pub(super) struct Handshake {
    progression: Progression,
    /// When the SYN leaves, or leaves again; `None` when there is none to send.
    due_at: Option<Instant>,
    /// When it left for the first time.
    sent_at: Option<Instant>,
    /// It left more than once, so that nobody knows which one was answered (Karn).
    was_repeated: bool,
    timeout: Duration,
    /// The far end took it for a part of an earlier connection, and has been told to forget that.
    was_mistaken: bool,
}

impl Handshake {
    pub(super) fn new(progression: Progression, hint: &Hint, now: Instant) -> Self {
        let due_at = (progression == Progression::SynSent).then_some(now);
        let known = hint.smoothed.zip(hint.variation);
        let timeout = known.map(|(smoothed, variation)| smoothed + variation * 4);
        Self {
            progression,
            due_at,
            sent_at: None,
            was_repeated: false,
            timeout: timeout.unwrap_or(TIMEOUT).clamp(TIMEOUT_MIN, TIMEOUT),
            was_mistaken: false,
        }
    }

    pub(super) const fn is_complete(&self) -> bool {
        matches!(self.progression, Progression::Complete)
    }

    /// Whether both ends have said where their streams begin.
    pub(super) const fn knows_both(&self) -> bool {
        matches!(self.progression, Progression::SynReceived | Progression::Complete)
    }

    pub(super) const fn progression(&self) -> Progression {
        self.progression
    }

    pub(super) const fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// The position behind what was sent.
    pub(super) const fn sent_to(&self) -> u64 {
        self.sent_at.is_some() as u64
    }

    /// The SYN leaves.
    pub(super) fn handle_sent(&mut self, now: Instant) {
        self.was_repeated = self.sent_at.is_some();
        self.sent_at.get_or_insert(now);
        self.due_at = Some(now + self.timeout);
        self.timeout = (self.timeout * 2).min(TIMEOUT_MAX);
    }

    /// The far end has ours.
    fn complete(&mut self) {
        self.progression = Progression::Complete;
        self.due_at = None;
    }

    /// How long the answer took, if it is known of which SYN it is.
    fn round_trip(&self, now: Instant) -> Option<Duration> {
        self.sent_at.filter(|_| !self.was_repeated).map(|at| now.saturating_duration_since(at))
    }
}

/// What a segment before the end of the handshake comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answered {
    /// It is used up.
    Done,
    /// It says nothing that helps.
    Dropped,
    /// It is about an earlier connection, which the far end must forget: a reset is due, from this
    /// number.
    Mistaken(TcpSeqNumber),
}

impl Connection {
    /// Takes the SYN that a connection was made for.
    pub(super) fn handle_first(&mut self, segment: &FarSegment<'_>, now: Instant) {
        if !segment.syn || segment.rst {
            return;
        }
        self.handle_syn(segment, now);
        self.handshake.progression = Progression::SynReceived;
        self.handshake.due_at = Some(now);
    }

    /// RFC 9293, section 3.10.7.3.
    ///
    /// # Errors
    /// [`WasReset`] if the segment is a reset that is due.
    pub(super) fn handle_in_syn_sent(
        &mut self,
        segment: &FarSegment<'_>,
        now: Instant,
    ) -> Result<Answered, WasReset> {
        let expected = self.ours.number(self.handshake.sent_to());
        let acknowledges = segment.acknowledgement == Some(expected);
        if segment.rst {
            return if acknowledges { Err(WasReset) } else { Ok(Answered::Dropped) };
        }
        if let Some(number) = segment.acknowledgement.filter(|_| !acknowledges) {
            // Sooner than it would be repeated anyway, but only once.
            if !self.handshake.was_mistaken {
                self.handshake.was_mistaken = true;
                self.handshake.due_at = Some(now);
            }
            return Ok(Answered::Mistaken(number));
        }
        if !segment.syn {
            return Ok(Answered::Dropped);
        }
        self.handle_syn(segment, now);
        if acknowledges {
            self.establish(segment, now);
            self.receiver.request_ack();
        } else {
            // Both ends call each other (RFC 9293, section 3.5).
            self.handshake.progression = Progression::SynReceived;
            self.handshake.due_at = Some(now);
        }
        Ok(Answered::Done)
    }

    /// Takes what the far end's SYN says.
    fn handle_syn(&mut self, segment: &FarSegment<'_>, now: Instant) {
        let offers = segment.offers();
        self.theirs = Origin(segment.sequence);
        self.may_sack = offers.sack;
        match offers.window_shift {
            Some(shift) => self.far_shift = shift,
            // RFC 7323, section 2.2: both or none.
            None => {
                self.far_shift = 0;
                self.receiver.set_unscaled();
            }
        }
        let offered = offers.segment_len.filter(|len| *len > 0).unwrap_or(SEGMENT_LEN_DEFAULT);
        self.far_segment_len = offered.max(SEGMENT_LEN_MIN);
        self.heard_at = now;
    }

    /// The far end has acknowledged our SYN.
    pub(super) fn establish(&mut self, segment: &FarSegment<'_>, now: Instant) {
        let round_trip = self.handshake.round_trip(now);
        self.handshake.complete();
        self.mtu = 0;
        self.fit_path(now);
        // A SYN's window is never scaled (RFC 7323, section 2.2).
        let shift = if segment.syn { 0 } else { self.far_shift };
        self.sender.begin(round_trip, u64::from(segment.window) << shift, now);
        if let Some(round_trip) = round_trip {
            self.receiver.set_round_trip(round_trip);
        }
    }

    /// What our SYN offers. One that answers offers nothing that it was not offered.
    pub(super) fn offers(&self) -> Offers {
        let is_first = self.handshake.progression == Progression::SynSent;
        let shift = self.receiver.shift();
        let scales = is_first || shift > 0 || self.far_shift > 0;
        Offers {
            segment_len: Some(self.packet_max.saturating_sub(headers_len(self.ends))),
            window_shift: scales.then_some(shift),
            sack: self.may_sack,
        }
    }
}
