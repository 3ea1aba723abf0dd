//! One TCP connection inside the tunnel: segments in, segments out, two rings, a deadline.
//!
//! - here: what it is made of, and what others may ask and do;
//! - [`handshake`]: until both ends know each other's numbers;
//! - [`incoming`]: what is believed of a segment (RFC 9293, section 3.10.7; RFC 5961);
//! - [`outgoing`]: what leaves, and how it is written.
//!
//! A connection is two streams that know little of each other: [`Sender`] has ours, [`Receiver`]
//! the far end's. So the states of RFC 9293 after its handshake are not a list here, but what both
//! say together ([`Phase`]).

mod handshake;
mod incoming;
mod outgoing;

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use smoltcp::wire::{TcpControl, TcpPacket, TcpSeqNumber};

use crate::config;
use crate::path_mtu::PathMtu;
use crate::stack::key::Ends;
use crate::stack::outlet::Exit;
use crate::stack::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, Packet, TCP_HEADER_LEN};
use crate::stack::tcp::bare::{Standing, send_standing};
use crate::stack::tcp::connection::handshake::{Handshake, Progression};
use crate::stack::tcp::path::Hint;
use crate::stack::tcp::position::Origin;
use crate::stack::tcp::receiver::{AckDue, Receiver};
use crate::stack::tcp::segment::FarSegment;
use crate::stack::tcp::sender::Sender;
use crate::stack::tcp::sender::congestion::INITIAL_SEGMENTS;
use crate::time::{Instant, earlier};

/// Where a connection's rings are.
pub(crate) type RingAddresses = [Range<usize>; 2];

/// A connection ended the way it must not: the peer's end is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WasReset;

/// Where a connection is in its life, as far as others need to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The handshake is not complete.
    Opening,
    /// The far end may still send: ESTABLISHED, FIN-WAIT-1, FIN-WAIT-2.
    Open,
    /// The far end ended its direction: CLOSE-WAIT, CLOSING, LAST-ACK.
    FarEnded,
    /// Both directions ended and everything of ours is acknowledged: TIME-WAIT, CLOSED.
    Over,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    ends: Ends,
    handshake: Handshake,
    /// Where our stream begins.
    ours: Origin,
    /// Where the far end's does, once it has said so.
    theirs: Origin,
    sender: Sender,
    receiver: Receiver,
    /// The scale of the far end's windows.
    far_shift: u8,
    /// Both ends understand SACK blocks.
    may_sack: bool,
    /// Bytes of payload that the far end takes in one segment.
    far_segment_len: u16,
    /// The largest packets as long as no path is known to be narrower, and those of now.
    mtu_max: u16,
    mtu: u16,
    path_mtu: PathMtu,
    /// The largest packets that the far end is asked to send: as large as arrive there.
    packet_max: u16,
    /// The window that was last offered, as it stood there.
    window: u16,
    /// The position of the last acknowledgement that was sent.
    acknowledged_to: u64,
    challenged_at: Option<Instant>,
    /// Silence after which the far end is asked whether it is there (RFC 9293, section 3.8.4).
    keepalive: Duration,
    /// When it was last heard, or asked.
    heard_at: Instant,
    /// Over, and the far end knows, or gone: nothing is sent any more.
    at_rest: bool,
}

/// How a connection begins.
#[derive(Debug)]
pub(crate) struct Beginning<'a> {
    pub(crate) ends: Ends,
    pub(crate) tcp: &'a config::Tcp,
    /// Bytes of the largest packet that the way to the peer carries.
    pub(crate) mtu: u16,
    /// Where our stream begins.
    pub(crate) number: TcpSeqNumber,
    /// What is known of the path.
    pub(crate) hint: Hint,
    pub(crate) now: Instant,
}

impl Connection {
    /// Bytes that an unknown path gets at first, in packets of at most `mtu` bytes.
    pub(crate) const fn initial_window(ends: Ends, mtu: u16) -> u64 {
        INITIAL_SEGMENTS * mtu.saturating_sub(headers_len(ends)) as u64
    }

    /// Waits for the far end's SYN, which is to be handed in next.
    pub(crate) fn accept(beginning: &Beginning<'_>) -> Self {
        Self::new(beginning, Progression::Listen)
    }

    /// Opens a connection; its SYN leaves with the next [`transmit`](Self::transmit).
    pub(crate) fn connect(beginning: &Beginning<'_>) -> Self {
        Self::new(beginning, Progression::SynSent)
    }

    fn new(beginning: &Beginning<'_>, progression: Progression) -> Self {
        let Beginning { ends, tcp, mtu, number, hint, now } = beginning;
        let packet_max = hint.packet_max.map_or(*mtu, |max| max.min(*mtu));
        let segment_len = packet_max.saturating_sub(headers_len(*ends));
        let receiver = Receiver::new(tcp.receive_buffer, segment_len.into());
        let sender = Sender::new(tcp, hint, headers_len(*ends), *mtu, *now);
        Self {
            ends: *ends,
            handshake: Handshake::new(progression, hint, *now),
            ours: Origin(*number),
            theirs: Origin(TcpSeqNumber(0)),
            sender,
            receiver,
            far_shift: 0,
            may_sack: true,
            far_segment_len: handshake::SEGMENT_LEN_DEFAULT,
            mtu_max: *mtu,
            mtu: 0,
            path_mtu: PathMtu::NONE,
            packet_max,
            window: 0,
            acknowledged_to: 0,
            challenged_at: None,
            keepalive: tcp.keepalive,
            heard_at: *now,
            at_rest: false,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        if !self.handshake.is_complete() {
            return Phase::Opening;
        }
        match (self.sender.has_ended(), self.receiver.is_ended()) {
            (true, true) => Phase::Over,
            (false, true) => Phase::FarEnded,
            (_, false) => Phase::Open,
        }
    }

    /// The far end is gone: nothing more is sent.
    pub(crate) const fn silence(&mut self) {
        self.at_rest = true;
    }

    /// The path carries just packets of `mtu` bytes. If that is news, what was sent too large is
    /// sent again with the next [`transmit`](Self::transmit). Says whether it is.
    pub(crate) fn handle_too_big(&mut self, mtu: u16, now: Instant) -> bool {
        let is_news = self.path_mtu.lower(mtu, self.mtu_max, now);
        if is_news {
            self.fit_path(now);
            self.sender.lose_larger();
        }
        is_news
    }

    /// Has segments be of the size that the path carries.
    fn fit_path(&mut self, now: Instant) {
        let mtu = self.path_mtu.limit(self.mtu_max, now);
        if mtu != self.mtu {
            self.mtu = mtu;
            let far_max = self.far_segment_len.saturating_add(headers_len(self.ends));
            self.sender.set_packet_max(mtu.min(far_max));
        }
    }

    /// When [`transmit`](Self::transmit) is due for a reason of time; not later than `now` means
    /// at once.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        if self.at_rest {
            return None;
        }
        if !self.handshake.is_complete() {
            return self.handshake.due_at();
        }
        let reasons = earlier(self.sender.deadline(), self.acknowledge_at());
        earlier(reasons, self.keepalive_at())
    }

    /// When the far end is to be asked whether it is there. While something is on the way to it,
    /// its silence is noticed without.
    fn keepalive_at(&self) -> Option<Instant> {
        let is_quiet = self.handshake.is_complete() && !self.sender.awaits_acknowledgement();
        is_quiet.then(|| self.heard_at + self.keepalive)
    }

    /// When what has arrived is to be acknowledged.
    fn acknowledge_at(&self) -> Option<Instant> {
        match self.receiver.ack_due() {
            AckDue::No => None,
            AckDue::At(at) => Some(at),
            AckDue::Now => Some(Instant::ZERO),
        }
    }

    /// The free part of the send ring, which is empty before the connection is established, and of
    /// which no more than `limit` bytes may be used. `None` once this end has ended its direction.
    pub(crate) fn room(&mut self, limit: usize) -> Option<&mut [u8]> {
        if self.phase() == Phase::Opening {
            return Some(&mut []);
        }
        self.sender.room(limit)
    }

    /// The first `len` bytes of the room hold what is to be sent. Says how many that are.
    pub(crate) fn commit(&mut self, len: usize) -> usize {
        if self.phase() == Phase::Opening { 0 } else { self.sender.commit(len) }
    }

    /// Bytes that the send ring may take if no more than `room` may become resident.
    pub(crate) fn send_room(&self, room: usize) -> usize {
        self.sender.send_room(room)
    }

    /// Whether the send ring has room, memory aside.
    pub(crate) fn has_room(&self) -> bool {
        self.handshake.is_complete() && self.sender.has_room()
    }

    /// Bytes that would become resident with this segment.
    pub(crate) fn growth(&self, segment: &TcpPacket<&[u8]>) -> usize {
        let len = segment.payload().len();
        let start = self.theirs.position(segment.seq_number(), self.receiver.next());
        match start {
            Some(start) if len > 0 && self.handshake.knows_both() => {
                self.receiver.growth(start, len)
            }
            Some(_) | None => 0,
        }
    }

    /// Bytes of both rings that are resident, and of what is kept of segments that are out.
    pub(crate) fn resident(&self) -> usize {
        self.receiver.resident() + self.sender.resident()
    }

    /// The front of the receive ring.
    pub(crate) fn received(&mut self) -> &[u8] {
        if self.phase() == Phase::Opening { &[] } else { self.receiver.received() }
    }

    /// The first `len` bytes of those were taken. Says how many that are.
    pub(crate) fn consume(&mut self, len: usize) -> usize {
        if self.has_received() { self.receiver.consume(len) } else { 0 }
    }

    /// Whether bytes wait in the receive ring.
    pub(crate) fn has_received(&self) -> bool {
        self.phase() != Phase::Opening && self.receiver.has_received()
    }

    /// Whether the rings hold something that is needed, perhaps behind a gap.
    pub(crate) fn needs_rings(&self) -> bool {
        self.receiver.needs_ring() || !self.sender.is_empty()
    }

    /// Where the rings are.
    pub(crate) fn ring_addresses(&self) -> RingAddresses {
        [self.receiver.addresses(), self.sender.ring_addresses()]
    }

    /// The pages of the rings are given back, if nothing in them is needed. Says whether they are.
    pub(crate) fn give_back_rings(&mut self) -> bool {
        let is_unused = !self.needs_rings();
        if is_unused {
            self.receiver.give_back();
            self.sender.give_back();
        }
        is_unused
    }

    /// Whether everything before `sequence` has arrived, and nothing from there on.
    pub(crate) fn waits_for(&self, sequence: TcpSeqNumber) -> bool {
        self.handshake.knows_both()
            && sequence == self.theirs.number(self.receiver.next())
            && !self.receiver.has_gap()
    }

    /// Whether a segment says no more than that the far end is there: it carries nothing, comes
    /// after all that has arrived, and there is nothing that it could acknowledge. A keepalive of
    /// the far end comes before that (RFC 9293, section 3.8.4).
    pub(crate) fn is_answer_to_keepalive(&self, packet: &Packet<'_>) -> bool {
        let segment = FarSegment::read(packet.transport_bytes());
        segment.len() == 0
            && !segment.syn
            && !segment.rst
            && self.phase() != Phase::Opening
            && self.waits_for(segment.sequence)
            && !self.awaits_acknowledgement()
    }

    /// Whether bytes or a FIN of ours wait for an acknowledgement, or to leave.
    pub(crate) fn awaits_acknowledgement(&self) -> bool {
        !self.sender.is_empty() || self.sender.awaits_acknowledgement()
    }

    /// Ends this end's direction: a FIN follows what is in the send ring.
    pub(crate) fn shut_down(&mut self) {
        self.sender.end();
    }

    /// Tells the far end that the connection is gone, unless it is over for it, so that there may
    /// be another between the same ends.
    pub(crate) fn send_reset(&self, exit: &mut Exit<'_>) {
        if self.at_rest || self.phase() == Phase::Over {
            return;
        }
        send_standing(self.ends, self.standing(), TcpControl::Rst, exit);
    }

    /// Where the connection stands, as the far end has been told.
    fn standing(&self) -> Standing {
        let sent_to = if self.phase() == Phase::Opening {
            self.handshake.sent_to()
        } else {
            self.sender.sent_to()
        };
        Standing {
            sequence: self.ours.number(sent_to),
            acknowledgement: self.theirs.number(self.receiver.next()),
            window: self.window,
        }
    }

    /// Where the connection stands after the far end's FIN, for whoever answers stragglers; `None`
    /// before one arrived.
    pub(crate) fn final_standing(&self) -> Option<Standing> {
        self.receiver.is_ended().then(|| self.standing())
    }

    /// Whether this is the sequence number of a segment in flight, as an ICMP error quotes it.
    pub(crate) fn sent(&self, sequence: TcpSeqNumber) -> bool {
        let (from, to) = if self.phase() == Phase::Opening {
            (0, self.handshake.sent_to())
        } else {
            (self.sender.acknowledged_to(), self.sender.sent_to())
        };
        self.ours.position(sequence, from).is_some_and(|position| (from..to).contains(&position))
    }

    /// What is sent, and what it learns.
    pub(crate) const fn sender_mut(&mut self) -> &mut Sender {
        &mut self.sender
    }

    /// Bytes that are on the way to the far end.
    pub(crate) fn flight(&self) -> u64 {
        self.sender.flight()
    }
}

/// What the headers of a packet without options take of it.
const fn headers_len(ends: Ends) -> u16 {
    let header_len = match ends.remote.ip() {
        IpAddr::V4(_) => IPV4_HEADER_LEN,
        IpAddr::V6(_) => IPV6_HEADER_LEN,
    };
    // At most 60.
    (header_len + TCP_HEADER_LEN) as u16
}
