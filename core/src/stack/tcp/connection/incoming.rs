//! What is believed of a segment (RFC 9293, section 3.10.7), and what is challenged (RFC 5961).

use smoltcp::wire::{TcpControl, TcpSeqNumber};

use crate::stack::outlet::Exit;
use crate::stack::packet::Packet;
use crate::stack::tcp::bare::{send_bare, send_standing};
use crate::stack::tcp::connection::handshake::{Answered, Progression};
use crate::stack::tcp::connection::{Connection, Phase, WasReset};
use crate::stack::tcp::receiver::AckDue;
use crate::stack::tcp::segment::FarSegment;
use crate::stack::tcp::sender::Heard;
use crate::stats::Counter;
use crate::time::Instant;

/// Challenge ACKs are sent at most this often (RFC 5961, section 7), in nanoseconds.
const CHALLENGE_INTERVAL_NS: u64 = 100_000_000;

/// What a segment deserves that says nothing that helps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Objection {
    /// Nothing.
    Drop,
    /// An acknowledgement of where the connection stands, unless there was one just now.
    Challenge,
}

impl Connection {
    /// Takes one segment of the far end. Those that follow its end are not for it
    /// ([`time_wait`](super::super::time_wait)).
    ///
    /// # Errors
    /// [`WasReset`] if the segment is a reset that is due.
    pub(crate) fn handle_segment(
        &mut self,
        packet: &Packet<'_>,
        exit: &mut Exit<'_>,
        now: Instant,
    ) -> Result<(), WasReset> {
        let segment = FarSegment::read(packet.transport_bytes());
        match self.handshake.progression() {
            Progression::Listen => self.handle_first(&segment, now),
            Progression::SynSent => match self.handle_in_syn_sent(&segment, now)? {
                Answered::Done => {}
                Answered::Dropped => exit.outlet.count(self.ends.peer, Counter::DropTcpGuard),
                Answered::Mistaken(number) => {
                    send_bare(self.ends, number, None, 0, TcpControl::Rst, exit);
                }
            },
            Progression::SynReceived | Progression::Complete => {
                if self.phase() == Phase::Over {
                    return Ok(());
                }
                let objection = if segment.rst {
                    Err(self.handle_reset(segment.sequence)?)
                } else {
                    self.handle_synchronized(&segment, exit, now)
                };
                if let Err(objection) = objection {
                    exit.outlet.count(self.ends.peer, Counter::DropTcpGuard);
                    if objection == Objection::Challenge {
                        self.challenge(exit, now);
                    }
                }
            }
        }
        Ok(())
    }

    /// RFC 5961, section 3: only a reset that is exactly due is one.
    fn handle_reset(&self, number: TcpSeqNumber) -> Result<Objection, WasReset> {
        let next = self.receiver.next();
        let Some(position) = self.theirs.position(number, next) else {
            return Ok(Objection::Drop);
        };
        // The far end may have heard of less than has arrived.
        if position == next || position == self.acknowledged_to {
            return Err(WasReset);
        }
        let is_in_window = position > next && position < self.receiver.offered_to();
        Ok(if is_in_window { Objection::Challenge } else { Objection::Drop })
    }

    fn handle_synchronized(
        &mut self,
        segment: &FarSegment<'_>,
        exit: &mut Exit<'_>,
        now: Instant,
    ) -> Result<(), Objection> {
        if segment.syn {
            let is_again = self.handshake.progression() == Progression::SynReceived
                && segment.sequence == self.theirs.number(0);
            if is_again && segment.acknowledgement == Some(self.ours.number(1)) {
                // Both ends have called each other (RFC 9293, section 3.5).
                self.establish(segment, now);
                self.receiver.request_ack();
                return Ok(());
            }
            // RFC 5961, section 4. Our SYN-ACK is repeated by itself.
            return Err(if is_again { Objection::Drop } else { Objection::Challenge });
        }
        let acknowledgement = segment.acknowledgement.ok_or(Objection::Drop)?;
        let next = self.receiver.next();
        // What lies before the beginning of the stream is old.
        let start = self.theirs.position(segment.sequence, next).ok_or(Objection::Challenge)?;
        let (len, offered_to) = (segment.payload.len() as u64, self.receiver.offered_to());
        // Who probed a shut window with a byte, or had no room for a FIN, stands one beyond it.
        if start > offered_to + 1 || len > 0 && start >= offered_to {
            // Who guesses is not believed; a window probe deserves to hear where the window is.
            return Err(Objection::Challenge);
        }
        self.handle_acknowledgement(segment, acknowledgement, start, now)?;
        self.heard_at = now;
        if self.receiver.is_ended() {
            if segment.len() > 0 || start < next {
                // Our acknowledgement of the FIN was lost, or this asks whether we are there.
                self.receiver.request_ack();
            }
            return Ok(());
        }
        let mut is_out_of_order = false;
        if len > 0 {
            let taken = self.receiver.handle_segment(start, segment.payload, now);
            is_out_of_order = !taken.in_order || taken.filled_gap || taken.is_duplicate;
        } else if start + 1 == next && !segment.fin {
            // It asks whether we are there (RFC 9293, section 3.8.4), or where our window is. An
            // acknowledgement that was overtaken also comes before what is next.
            self.receiver.request_ack();
        }
        // Where the window cuts a segment, its FIN is not reached.
        if segment.fin && !self.receiver.handle_fin(start + len, now) {
            is_out_of_order = true;
        }
        // RFC 5681, section 4.2. What comes in order can wait for what comes with it.
        if is_out_of_order && self.receiver.ack_due() == AckDue::Now {
            self.acknowledge(exit, now);
        }
        Ok(())
    }

    /// Takes what a segment says of our stream.
    fn handle_acknowledgement(
        &mut self,
        segment: &FarSegment<'_>,
        number: TcpSeqNumber,
        start: u64,
        now: Instant,
    ) -> Result<(), Objection> {
        if !self.handshake.is_complete() {
            // RFC 9293 wants a reset here, which anybody could provoke: RFC 5961's answer is safer.
            if number != self.ours.number(1) {
                return Err(Objection::Challenge);
            }
            self.establish(segment, now);
        }
        let acknowledged = self.sender.acknowledged_to();
        let position = self.ours.position(number, acknowledged).ok_or(Objection::Challenge)?;
        let heard = Heard {
            to: position,
            blocks: segment.blocks(),
            origin: self.ours,
            window: u64::from(segment.window) << self.far_shift,
            at: start,
        };
        // Of what was never sent, or so old that nobody says it any more (RFC 5961, section 5).
        let round_trip = self.sender.handle_acknowledgement(&heard, now);
        if let Some(round_trip) = round_trip.map_err(|_| Objection::Challenge)? {
            self.receiver.set_round_trip(round_trip);
        }
        Ok(())
    }

    fn challenge(&mut self, exit: &mut Exit<'_>, now: Instant) {
        let recently = self
            .challenged_at
            .is_some_and(|at| now.as_nanos().saturating_sub(at.as_nanos()) < CHALLENGE_INTERVAL_NS);
        if !recently {
            self.challenged_at = Some(now);
            send_standing(self.ends, self.standing(), TcpControl::None, exit);
        }
    }
}
