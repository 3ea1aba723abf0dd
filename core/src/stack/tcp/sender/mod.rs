//! What is sent, when, how fast, and again.
//!
//! ```text
//!   embedder --> ring --> new segments --+--> window, pacer --> segments out
//!                         lost segments -+
//!                              ^
//!   acknowledgements --> loss -+--> delivery --> congestion --> window, rate
//! ```
//!
//! - here: the rooms joined; [`poll`] says what leaves next, [`acknowledged`] what an
//!   acknowledgement changes;
//! - [`loss`]: what is out, what of it is lost, when the time is up;
//! - [`congestion`]: how much may be in flight, and how fast it may leave;
//! - [`pacer`]: when it leaves;
//! - [`delivery`]: how fast what was sent arrives;
//! - [`segment_size`]: how large segments may be where a path swallows large ones;
//! - [`witness`]: what became of each segment, and who hears of it;
//! - [`persist`]: a window that stays shut is asked again;
//! - [`lessons`]: what the flows that follow may know.
//!
//! Places in the stream are positions: bytes since the connection began, of 64 bits, so that none
//! comes round. The SYN is at 0, the first byte at 1, the FIN behind the last one.

mod acknowledged;
pub(super) mod congestion;
pub(super) mod delivery;
mod lessons;
mod loss;
mod pacer;
mod persist;
mod poll;
pub(super) mod segment_size;
mod witness;

use std::ops::Range;
use std::time::Duration;

use crate::config;
use crate::stack::tcp::path::{FoundSize, Hint, Learnt};
use crate::stack::tcp::ring::Ring;
use crate::stack::tcp::sender::congestion::{Congestion, Controller, INITIAL_SEGMENTS};
use crate::stack::tcp::sender::delivery::Delivery;
use crate::stack::tcp::sender::lessons::{Lessons, Retreat};
use crate::stack::tcp::sender::loss::{LossHint, LossRecovery};
use crate::stack::tcp::sender::pacer::Pacer;
use crate::stack::tcp::sender::persist::Persist;
use crate::stack::tcp::sender::segment_size::SegmentSize;
use crate::time::{Instant, earlier};

pub(super) use acknowledged::Heard;

/// The sending half of a connection.
#[derive(Debug)]
pub(crate) struct Sender {
    /// From the first byte that is not acknowledged on.
    ring: Ring,
    loss: LossRecovery,
    delivery: Delivery,
    congestion: Congestion,
    pacer: Pacer,
    persist: Persist,
    size: SegmentSize,
    window: FarWindow,
    /// Where our FIN is, once this end has ended its direction.
    fin: Option<u64>,
    /// A tail loss probe that is due, which no window holds back.
    probe: Option<Range<u64>>,
    /// When the pacer lets the next segment go.
    paced_until: Option<Instant>,
    /// The retransmission timer has expired, and nothing has left since.
    has_expired: bool,
    /// The congestion window alone held back what there was to send.
    is_window_limited: bool,
    lessons: Lessons,
    /// What was found out about sizes, for the other flows of the peer.
    found_size: Option<FoundSize>,
    hint: Hint,
    control: config::CongestionControl,
}

/// The window that the far end offers.
#[derive(Clone, Copy, Default, Debug)]
struct FarWindow {
    /// The position behind it.
    to: u64,
    /// Where in its own stream the segment stood that said so (RFC 9293's SND.WL1).
    at: u64,
    /// The most bytes that it has offered.
    len_max: u64,
}

/// Bytes that may wait to be sent whatever the path takes: what a driver reads at once.
const RING_LEN_MIN: usize = 64 << 10;

impl Sender {
    /// The stream of a connection whose handshake is still to come, on packets of up to
    /// `packet_max` bytes, of which headers take `headers_len`.
    pub(super) fn new(
        tcp: &config::Tcp,
        hint: &Hint,
        headers_len: u16,
        packet_max: u16,
        now: Instant,
    ) -> Self {
        let size = SegmentSize::new(headers_len, packet_max, hint.packet_max);
        let known = LossHint {
            smoothed: hint.smoothed,
            variation: hint.variation,
            reordering: hint.reordering,
        };
        let control = tcp.congestion;
        Self {
            ring: Ring::new(tcp.send_buffer, 1),
            loss: LossRecovery::new(1, &known),
            delivery: Delivery::new(now),
            congestion: Self::new_congestion(control, size.len(), Some(hint), now),
            pacer: Pacer::new(now),
            persist: Persist::default(),
            window: FarWindow::default(),
            fin: None,
            probe: None,
            paced_until: None,
            has_expired: false,
            is_window_limited: false,
            lessons: Lessons::new(hint, INITIAL_SEGMENTS * size.len()),
            found_size: None,
            hint: *hint,
            control,
            size,
        }
    }

    fn new_congestion(
        control: config::CongestionControl,
        segment_len: u64,
        hint: Option<&Hint>,
        now: Instant,
    ) -> Congestion {
        let initial = INITIAL_SEGMENTS * segment_len;
        let window = hint.map_or(initial, |hint| hint.first_flight.max(initial));
        let round_trip = hint.and_then(|hint| hint.smoothed);
        // When it began tells one flow from another.
        Congestion::new(control, window, segment_len, round_trip, now.as_nanos(), now)
    }

    /// Both ends know each other: the stream begins. The far end's answer took `round_trip`, if
    /// that is known, and it offers `window` bytes.
    pub(super) fn begin(&mut self, round_trip: Option<Duration>, window: u64, now: Instant) {
        self.window = FarWindow { to: 1 + window, at: 0, len_max: window };
        if let Some(round_trip) = round_trip {
            self.loss.handle_round_trip(round_trip);
        }
        // A path that is not the known one begins as one that nobody knows.
        let is_known = round_trip.is_some_and(|round_trip| self.hint.resembles(round_trip));
        let hint = Some(self.hint).filter(|_| is_known);
        self.congestion = Self::new_congestion(self.control, self.size.len(), hint.as_ref(), now);
        if !is_known {
            self.lessons = Lessons::default();
        }
        self.follow_congestion(now);
    }

    /// What leaves is paced as congestion control says.
    fn follow_congestion(&mut self, now: Instant) {
        self.pacer.set_rate(self.congestion.pacing_rate(), now);
    }

    /// Packets have at most so many bytes.
    pub(super) fn set_packet_max(&mut self, packet_max: u16) {
        self.size.set_full(packet_max);
        self.congestion.set_segment_len(self.size.len());
    }

    /// The path does not carry segments as large as those that were sent: they are lost, and that
    /// is no sign of congestion.
    pub(crate) fn lose_larger(&mut self) {
        self.loss.lose_above(self.size.len());
    }

    /// How many bytes the ring should hold: twice what may be in flight, so that there is always
    /// more when an acknowledgement comes.
    fn ring_len(&self) -> usize {
        let wanted = usize::try_from(self.congestion.window().saturating_mul(2));
        self.ring.max_len().min(wanted.unwrap_or(usize::MAX).max(RING_LEN_MIN))
    }

    /// Whether the ring has room, memory aside.
    pub(super) fn has_room(&self) -> bool {
        self.fin.is_none() && self.ring.len() < self.ring_len()
    }

    /// Bytes that the ring may take if no more than `room` may become resident.
    pub(super) fn send_room(&self, room: usize) -> usize {
        self.ring.spare(room).min(self.ring_len().saturating_sub(self.ring.len()))
    }

    /// The free part of the ring, of which no more than `limit` bytes may be used. `None` once the
    /// stream has an end.
    pub(super) fn room(&mut self, limit: usize) -> Option<&mut [u8]> {
        if self.fin.is_some() {
            return None;
        }
        Some(self.ring.room(self.ring.len() + limit))
    }

    /// The first `len` bytes of the room are to be sent. Says how many that are.
    pub(super) fn commit(&mut self, len: usize) -> usize {
        if self.fin.is_some() { 0 } else { self.ring.commit(len) }
    }

    /// Nothing follows what is in the ring but a FIN.
    pub(super) fn end(&mut self) {
        self.fin.get_or_insert(self.ring.end());
    }

    /// Whether the far end has acknowledged our FIN.
    pub(super) fn has_ended(&self) -> bool {
        self.fin.is_some_and(|fin| self.loss.acknowledged_to() > fin)
    }

    pub(super) const fn fin_position(&self) -> Option<u64> {
        self.fin
    }

    /// Whether nothing that waits to be sent is behind this position.
    pub(super) fn is_last(&self, end: u64) -> bool {
        end >= self.ring.end()
    }

    /// Whether nothing waits to be sent or acknowledged but a FIN.
    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Whether something is out that the far end has not acknowledged.
    pub(super) fn awaits_acknowledgement(&self) -> bool {
        self.loss.sent_to() > self.loss.acknowledged_to() || self.fin.is_some() && !self.has_ended()
    }

    pub(super) fn acknowledged_to(&self) -> u64 {
        self.loss.acknowledged_to()
    }

    pub(super) fn sent_to(&self) -> u64 {
        self.loss.sent_to()
    }

    pub(super) fn flight(&self) -> u64 {
        self.loss.flight()
    }

    /// Copies a part of the stream.
    pub(super) fn copy_to(&self, from: u64, payload: &mut [u8]) {
        if !payload.is_empty() {
            self.ring.copy_to(from, payload);
        }
    }

    /// When [`poll`](Self::poll) is due for a reason of time.
    pub(super) fn deadline(&self) -> Option<Instant> {
        earlier(earlier(self.loss.deadline(), self.paced_until), self.persist.due_at())
    }

    /// When the far end is to be asked for its window.
    pub(super) const fn persists_at(&self) -> Option<Instant> {
        self.persist.due_at()
    }

    /// Bytes of memory that are held.
    pub(super) fn resident(&self) -> usize {
        self.ring.resident() + self.loss.resident()
    }

    pub(super) fn ring_addresses(&self) -> Range<usize> {
        self.ring.addresses()
    }

    pub(super) fn give_back(&mut self) {
        self.ring.give_back();
        self.loss.give_back();
    }

    /// The way to the peer is another one: nothing that was learnt holds (RFC 9000, section 9.4,
    /// says so of QUIC).
    pub(crate) fn handle_moved(&mut self, now: Instant) {
        self.size.begin_anew();
        self.loss.handle_moved();
        let len = self.size.len();
        self.congestion = Self::new_congestion(self.control, len, None, now);
        self.lessons = Lessons::default();
        self.follow_congestion(now);
    }

    /// What was learnt of the path since this was last asked, about once a round trip.
    pub(crate) fn take_learnt(&mut self) -> Option<Learnt> {
        let learnt = self.lessons.take()?;
        Some(Learnt { packet_arrived: self.size.take_arrived(), ..learnt })
    }

    /// The first flight was too much for the path.
    pub(crate) const fn take_retreat(&mut self) -> Option<Retreat> {
        self.lessons.take_retreat()
    }

    /// What was found out about the size that fits.
    pub(crate) const fn take_found_size(&mut self) -> Option<FoundSize> {
        self.found_size.take()
    }

    /// What is known of the size that fits, and whether this flow is to try larger ones.
    pub(crate) fn follow_size(&mut self, known: Option<u16>, searches: bool) {
        self.size.follow(known);
        if searches {
            self.size.search();
        }
        self.congestion.set_segment_len(self.size.len());
    }
}
