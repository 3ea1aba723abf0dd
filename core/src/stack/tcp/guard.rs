//! What smoltcp 0.14 does not check: the guard looks at every segment of a connection before
//! smoltcp does, and at every segment that smoltcp sends.
//!
//! It keeps its own picture of the sequence space from the outside: what was sent, what was
//! acknowledged, and which window was offered. From that it
//!
//! - accepts a reset only where it is exactly due, and challenges others (RFC 5961, section 3);
//! - challenges a SYN on a live connection (RFC 5961, section 4);
//! - drops what acknowledges nothing, as smoltcp does (RFC 9293, section 3.10.7.4);
//! - drops what exceeds the window that was offered, and takes the FIN off a segment that
//!   overlaps its end, so that a cut never looks like an end;
//! - raises a stale acknowledgement on a segment with data, which smoltcp would drop whole;
//! - keeps a segment that was overtaken from changing the window;
//! - raises the sequence number of an acknowledgement that smoltcp sends while it sends again;
//! - tells how many bytes an acknowledgement is for, where smoltcp's slow start counts just one;
//! - lowers the far end's window to what the [path](super::flight_limit) holds, and has a
//!   duplicate acknowledgement look like one although that changes (RFC 5681, section 2).
//!
//! It says when to go back and send again ([`recovery`](super::go_back)), and leaves
//! reassembly, retransmission itself and congestion control to smoltcp.

use std::time::Duration;

use smoltcp::wire::{TcpOption, TcpPacket, TcpSeqNumber};

use crate::stack::tcp::flight_limit::Path;
use crate::stack::tcp::go_back::{DELAY_MAX, LONE_DELAY_MAX, Recovery};
use crate::time::Instant;

/// Challenge ACKs are sent at most this often (RFC 5961, section 7), in nanoseconds.
const CHALLENGE_INTERVAL_NS: u64 = 100_000_000;

/// What a window is not filled up to because no whole segment fits.
const WINDOW_SPARE: usize = 4_096;

/// What becomes of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// It may go on to smoltcp, perhaps mended.
    Pass,
    /// It says nothing that helps.
    Drop,
    /// It must be answered with an acknowledgement of where the connection stands.
    Challenge,
    /// The far end reset the connection.
    Reset,
}

/// The guard of one connection.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Whether this end sent the first SYN.
    initiator: bool,
    /// Whether our SYN-ACK is all that was sent, and nobody has acknowledged it: smoltcp repeats it
    /// by itself, so that a repeated SYN needs no answer.
    awaits_first_ack: bool,
    /// Whether anything was sent yet.
    started: bool,
    /// Whether both ends know each other's sequence numbers.
    synchronized: bool,
    /// The window scale that the far end must apply to what we offer.
    shift: u8,
    /// After everything that was ever sent.
    send_next: TcpSeqNumber,
    /// What stands right before that: the last byte of data, or, with none, the FIN.
    last_sent: Option<u8>,
    /// Where the last segment begins that was sent for the first time.
    last_start: TcpSeqNumber,
    /// The highest acknowledgement that arrived.
    acknowledged: TcpSeqNumber,
    /// The last acknowledgement that was sent.
    receive_next: TcpSeqNumber,
    /// The end of the last segment that arrived in order, perhaps not acknowledged yet.
    received_to: TcpSeqNumber,
    /// The end of everything that arrived, with gaps or without.
    arrived_to: TcpSeqNumber,
    /// Bytes by which that has moved since [`take_arrived`](Self::take_arrived).
    arrived: usize,
    /// The end of the window that was offered.
    offered_to: TcpSeqNumber,
    /// Bytes of the window that was last offered.
    window_len: usize,
    /// The scale of the far end's windows.
    far_shift: u8,
    /// The window that the far end offers, once it has offered one to what follows our SYN.
    far_offer: Option<WindowOffer>,
    /// The window that smoltcp was told last, from what was acknowledged then.
    told: usize,
    /// What the last segment acknowledged while congestion control held back more than that window.
    uncounted: Option<Uncounted>,
    path: Path,
    recovery: Recovery,
    /// The sequence number after the far end's FIN.
    fin_end: Option<TcpSeqNumber>,
    challenged_at: Option<Instant>,
}

/// A window that the far end offers.
#[derive(Clone, Copy, Debug)]
struct WindowOffer {
    to: TcpSeqNumber,
    /// The sequence number of the segment that said so (RFC 9293's SND.WL1).
    at: TcpSeqNumber,
}

/// Bytes that one segment acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uncounted {
    pub(crate) from: TcpSeqNumber,
    pub(crate) len: usize,
}

/// A header to answer with: sequence number, acknowledgement, window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    pub(crate) sequence: TcpSeqNumber,
    pub(crate) acknowledgement: TcpSeqNumber,
    pub(crate) window: u16,
}

impl Guard {
    /// `receive_buffer_len` is the capacity of the ring behind the connection.
    pub(crate) fn new(initiator: bool, receive_buffer_len: usize) -> Self {
        let zero = TcpSeqNumber(0);
        Self {
            initiator,
            awaits_first_ack: !initiator,
            started: false,
            synchronized: false,
            shift: window_shift(receive_buffer_len),
            send_next: zero,
            last_sent: None,
            last_start: zero,
            acknowledged: zero,
            receive_next: zero,
            received_to: zero,
            arrived_to: zero,
            arrived: 0,
            offered_to: zero,
            window_len: 0,
            far_shift: 0,
            far_offer: None,
            told: 0,
            uncounted: None,
            path: Path::default(),
            recovery: Recovery::default(),
            fin_end: None,
            challenged_at: None,
        }
    }

    /// Where the connection stands, as the far end has been told.
    pub(crate) fn standing(&self) -> Standing {
        Standing {
            sequence: self.send_next,
            acknowledgement: self.receive_next,
            window: (self.window_len >> self.shift).min(usize::from(u16::MAX)) as u16,
        }
    }

    /// Where the connection stands after the far end's FIN; `None` before one arrived.
    pub(crate) fn final_standing(&self) -> Option<Standing> {
        let acknowledgement = self.fin_end?;
        Some(Standing { acknowledgement, ..self.standing() })
    }

    /// Whether `sequence` is of something sent and not acknowledged yet.
    pub(crate) fn in_flight(&self, sequence: TcpSeqNumber) -> bool {
        sequence >= self.acknowledged && sequence < self.send_next
    }

    /// Whether everything before `sequence` has arrived, and nothing from there on.
    pub(crate) fn waits_for(&self, sequence: TcpSeqNumber) -> bool {
        self.synchronized && sequence == self.received_to && !self.has_gap()
    }

    /// Bytes between the end of everything that arrived and that of a segment.
    pub(crate) fn news(&self, segment: &TcpPacket<&[u8]>) -> usize {
        let len = segment.payload().len();
        let end = segment.seq_number() + len;
        if self.synchronized && len > 0 && end > self.arrived_to {
            end - self.arrived_to
        } else {
            0
        }
    }

    /// Bytes that arrived behind everything before them, and gaps that they left.
    pub(crate) const fn take_arrived(&mut self) -> usize {
        std::mem::replace(&mut self.arrived, 0)
    }

    /// Whether something is missing before what has arrived.
    pub(crate) fn has_gap(&self) -> bool {
        self.arrived_to > self.received_to
    }

    /// What the segment that arrived last acknowledged, if that has to be counted byte by byte.
    /// smoltcp's congestion control counts acknowledgements, and there may be just one for all that
    /// arrived at once: RFC 3465 has it count bytes.
    pub(crate) const fn take_uncounted(&mut self) -> Option<Uncounted> {
        self.uncounted.take()
    }

    /// The path does not carry segments of the size that was sent: all that is on the way is sent
    /// again.
    pub(crate) fn handle_too_big(&mut self) {
        if self.acknowledged < self.send_next {
            self.recovery.handle_too_big();
        }
    }

    /// When something has to be sent again unless it is acknowledged.
    pub(crate) fn repeat_at(&self) -> Option<Instant> {
        self.recovery.deadline(self.path.round_trip(), self.delay_max())
    }

    /// Whether it is time to send everything again that is not acknowledged.
    pub(crate) fn take_go_back(&mut self, now: Instant) -> bool {
        let delay_max = self.delay_max();
        let goes_back = self.recovery.take_go_back(self.path.round_trip(), delay_max, now);
        if goes_back {
            self.path.handle_lost(self.flight(), now);
        }
        goes_back
    }

    /// How long the far end may delay the acknowledgement of what was sent.
    fn delay_max(&self) -> Duration {
        if self.acknowledged >= self.last_start { LONE_DELAY_MAX } else { DELAY_MAX }
    }

    /// Bytes that were sent and not acknowledged.
    fn flight(&self) -> usize {
        self.send_next - self.acknowledged
    }

    /// Mends a segment before it leaves, if it must: says whether it did. The checksum is not
    /// mended with it.
    ///
    /// smoltcp goes back in the sequence space to send again, and its acknowledgements go back with
    /// it. The far end drops them as old, and what they acknowledge with them (RFC 9293, section
    /// 3.10.7.4): when both ends have gone back, neither hears the other any more.
    pub(crate) fn mend_sent(&self, segment: &mut TcpPacket<&mut [u8]>) -> bool {
        let start = segment.seq_number();
        if !self.synchronized || segment.rst() {
            return false;
        }
        if segment.segment_len() == 0 && start < self.send_next {
            segment.set_seq_number(self.send_next);
            return true;
        }
        // A keepalive is a zero right before what would be sent next, even if that place was not
        // acknowledged yet: it must not become part of the stream.
        let may_be_keepalive =
            start >= self.acknowledged && start + 1 == self.send_next && !segment.fin();
        match segment.payload_mut() {
            [byte @ 0] if may_be_keepalive => match self.last_sent {
                Some(last) => *byte = last,
                None => segment.set_seq_number(self.acknowledged - 1),
            },
            _ => return false,
        }
        true
    }

    /// Looks at a segment that leaves.
    pub(crate) fn handle_sent(&mut self, segment: &TcpPacket<&[u8]>, now: Instant) {
        if segment.rst() {
            // It takes the sequence number of what it answers, not one of ours.
            return;
        }
        let end = segment.seq_number() + segment.segment_len();
        if !self.started {
            self.started = true;
            self.acknowledged = segment.seq_number();
            self.send_next = end;
            self.path.handle_sent(end, now);
        } else if end > self.send_next {
            self.send_next = end;
            self.last_start = segment.seq_number();
            self.last_sent = segment.payload().last().copied().filter(|_| !segment.fin());
            self.path.handle_sent(end, now);
        } else if segment.segment_len() > 0 {
            self.path.handle_repeated();
        }
        // A keepalive repeats what was acknowledged long ago.
        if self.synchronized && end > self.acknowledged {
            self.recovery.handle_sent(now);
        }
        // A SYN's window is never scaled (RFC 7323, section 2.2).
        let shift = if segment.syn() { 0 } else { self.shift };
        self.window_len = usize::from(segment.window_len()) << shift;
        if segment.ack() {
            let acknowledgement = segment.ack_number();
            let offered_to = acknowledgement + self.window_len;
            if !self.synchronized || offered_to > self.offered_to {
                self.offered_to = offered_to;
            }
            if !self.synchronized || acknowledgement > self.received_to {
                self.received_to = acknowledgement;
            }
            self.receive_next = acknowledgement;
            self.synchronized = true;
        }
    }

    /// Looks at a segment that arrived, whose checksum is right, and mends it where it must. The
    /// checksum is not mended with it.
    pub(crate) fn handle_received(&mut self, bytes: &mut [u8], now: Instant) -> Admission {
        let segment = TcpPacket::new_unchecked(&*bytes);
        if !self.synchronized {
            return self.handle_unsynchronized(&segment);
        }
        if segment.rst() {
            return self.handle_reset(segment.seq_number(), now);
        }
        if segment.syn() {
            return if self.awaits_first_ack { Admission::Drop } else { self.challenge(now) };
        }
        if !segment.ack() {
            return Admission::Drop;
        }
        let length = segment.payload().len();
        let start = segment.seq_number();
        let end = start + length;
        if length > 0 && start >= self.offered_to {
            // A window probe deserves to hear where the window is.
            return self.challenge(now);
        }
        let acknowledgement = segment.ack_number();
        if acknowledgement > self.send_next {
            // RFC 9293, section 3.10.7.4. smoltcp would take it up to the end of its ring.
            return self.challenge(now);
        }
        // The window may have shrunk by what its scale rounds off: smoltcp cuts where it ends now.
        let edge = self.receive_next + self.window_len;
        let cut = end > edge;
        let fin = segment.fin() && !cut;
        if fin {
            self.fin_end = Some(end + 1);
        }
        if start <= self.received_to && end > self.received_to {
            self.received_to = end.min(edge);
        }
        if length > 0 && end.min(edge) > self.arrived_to {
            self.arrived += end.min(edge) - self.arrived_to;
            self.arrived_to = end.min(edge);
        }
        let stale = acknowledgement < self.acknowledged;
        let is_update = self.handle_window(start, acknowledgement, segment.window_len());
        let is_duplicate = acknowledgement == self.acknowledged
            && acknowledgement < self.send_next
            && segment.segment_len() == 0
            && !is_update;
        self.uncounted = None;
        if acknowledgement > self.acknowledged {
            self.awaits_first_ack = false;
            let is_bare = length == 0 && !segment.fin();
            if is_bare && self.flight() + WINDOW_SPARE < self.told {
                let (from, len) = (self.acknowledged, acknowledgement - self.acknowledged);
                self.uncounted = Some(Uncounted { from, len });
            }
            self.path.handle_acknowledged(
                acknowledgement,
                acknowledgement - self.acknowledged,
                now,
            );
            self.recovery.handle_acknowledged(acknowledgement, self.send_next, now);
            self.acknowledged = acknowledgement;
        } else if is_duplicate && self.recovery.handle_duplicate(self.send_next) {
            self.path.handle_lost(self.flight(), now);
        }
        let room = match self.far_offer {
            Some(WindowOffer { to, .. }) if to > self.acknowledged => to - self.acknowledged,
            Some(_) | None => 0,
        };
        let mut room = room.min(self.path.flight_limit());
        // smoltcp takes for a duplicate what has the window of the segment before.
        if is_duplicate {
            room = self.told;
        } else if is_update && room == self.told {
            room = room.saturating_sub(1 << self.far_shift);
        }
        self.told = room;
        let window = room >> self.far_shift;
        let mut segment = TcpPacket::new_unchecked(bytes);
        segment.set_window_len(window.min(usize::from(u16::MAX)) as u16);
        if cut {
            segment.set_fin(false);
        }
        if stale && (length > 0 || fin) {
            segment.set_ack_number(self.acknowledged);
        }
        Admission::Pass
    }

    /// Notes the window that a segment offers, and says whether that is another one. One that was
    /// overtaken must not take back what a later one has offered (RFC 9293, section 3.10.7.4), and
    /// offers from where its own acknowledgement stands. smoltcp would take any window for the
    /// latest.
    fn handle_window(
        &mut self,
        start: TcpSeqNumber,
        acknowledgement: TcpSeqNumber,
        window: u16,
    ) -> bool {
        let to = acknowledgement + (usize::from(window) << self.far_shift);
        let is_news = self.far_offer.is_none_or(|old| {
            let is_latest = acknowledgement > self.acknowledged
                || acknowledgement == self.acknowledged && start >= old.at;
            is_latest || to > old.to
        });
        let is_another = is_news && self.far_offer.is_none_or(|old| to != old.to);
        if is_news {
            self.far_offer = Some(WindowOffer { to, at: start });
        }
        is_another
    }

    fn handle_unsynchronized(&mut self, segment: &TcpPacket<&[u8]>) -> Admission {
        if segment.rst() {
            // RFC 9293, section 3.10.7.3: it must acknowledge our SYN.
            let due = self.initiator && segment.ack() && segment.ack_number() == self.send_next;
            return if due { Admission::Reset } else { Admission::Drop };
        }
        let is_mistaken = segment.ack() && segment.ack_number() != self.send_next;
        if self.initiator && is_mistaken {
            // smoltcp resets what the far end remembers (RFC 9293, section 3.10.7.3).
            self.recovery.handle_mistaken();
        }
        if segment.syn() {
            match window_scale(segment) {
                Some(shift) => self.far_shift = shift,
                None => self.shift = 0,
            }
            self.received_to = segment.seq_number() + 1;
            self.arrived_to = self.received_to;
            // Even a reset that comes before any answer has to acknowledge the SYN.
            self.receive_next = self.received_to;
            if self.initiator && segment.ack() && segment.ack_number() == self.send_next {
                self.acknowledged = self.send_next;
                self.offered_to = self.received_to + self.window_len;
                self.synchronized = true;
            }
        }
        Admission::Pass
    }

    fn handle_reset(&mut self, sequence: TcpSeqNumber, now: Instant) -> Admission {
        let after_fin = self.fin_end == Some(sequence);
        if sequence == self.receive_next || sequence == self.received_to || after_fin {
            Admission::Reset
        } else if sequence > self.receive_next && sequence < self.offered_to {
            self.challenge(now)
        } else {
            Admission::Drop
        }
    }

    fn challenge(&mut self, now: Instant) -> Admission {
        let recently = self
            .challenged_at
            .is_some_and(|at| now.as_nanos().saturating_sub(at.as_nanos()) < CHALLENGE_INTERVAL_NS);
        if recently {
            return Admission::Drop;
        }
        self.challenged_at = Some(now);
        Admission::Challenge
    }
}

/// The shift that smoltcp offers for a ring of this capacity.
fn window_shift(capacity: usize) -> u8 {
    let bits = usize::BITS - capacity.leading_zeros();
    // At most 48 on any machine.
    bits.saturating_sub(16) as u8
}

/// The window scale that a SYN offers (RFC 7323, section 2).
fn window_scale(segment: &TcpPacket<&[u8]>) -> Option<u8> {
    let mut options = segment.options();
    while !options.is_empty() {
        match TcpOption::parse(options) {
            // RFC 7323, section 2.3: more than 14 means 14, as smoltcp takes it too.
            Ok((_, TcpOption::WindowScale(shift))) => return Some(shift.min(14)),
            Ok((_, TcpOption::EndOfList)) | Err(_) => return None,
            Ok((rest, _)) => options = rest,
        }
    }
    None
}
