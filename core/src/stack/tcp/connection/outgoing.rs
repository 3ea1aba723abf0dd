//! What leaves, and how it is written.

use std::ops::Range;

use smoltcp::wire::TcpControl;

use crate::stack::outlet::Exit;
use crate::stack::packet::SegmentHeader;
use crate::stack::tcp::bare::send_segment;
use crate::stack::tcp::connection::handshake::Progression;
use crate::stack::tcp::connection::{Connection, Phase};
use crate::stack::tcp::options::{BLOCKS_MAX, Options};
use crate::stack::tcp::receiver::AckDue;
use crate::time::{Instant, earlier};

impl Connection {
    /// Sends what is due, at most `budget` segments. Says whether there may be more, for which
    /// there was no room in the tunnel or in the budget.
    pub(crate) fn transmit(&mut self, budget: usize, exit: &mut Exit<'_>, now: Instant) -> bool {
        if self.at_rest {
            return false;
        }
        match self.phase() {
            Phase::Opening => self.transmit_syn(exit, now),
            Phase::Over => {
                if self.receiver.ack_due() != AckDue::No {
                    self.acknowledge(exit, now);
                }
                self.at_rest = true;
                false
            }
            Phase::Open | Phase::FarEnded => self.transmit_stream(budget, exit, now),
        }
    }

    fn transmit_syn(&mut self, exit: &mut Exit<'_>, now: Instant) -> bool {
        let is_due = self.handshake.due_at().is_some_and(|at| at <= now);
        if !is_due || !exit.outlet.has_room() {
            return is_due;
        }
        let answers = self.handshake.progression() == Progression::SynReceived;
        // A SYN's window is never scaled (RFC 7323, section 2.2).
        let window = self.receiver.window().min(u16::MAX.into()) as u16;
        let options = Options::of_syn(self.offers());
        let header = SegmentHeader {
            source: self.ends.local,
            destination: self.ends.remote,
            sequence: self.ours.number(0),
            acknowledgement: answers.then(|| self.theirs.number(self.receiver.next())),
            window,
            control: TcpControl::Syn,
            options: options.as_slice(),
        };
        send_segment(self.ends.peer, &header, 0, |_| {}, exit);
        self.window = window;
        if answers {
            self.handle_acknowledged(u64::from(window), now);
        }
        self.handshake.handle_sent(now);
        false
    }

    fn transmit_stream(&mut self, budget: usize, exit: &mut Exit<'_>, now: Instant) -> bool {
        self.fit_path(now);
        self.sender.handle_timeout(now);
        for _ in 0..budget {
            let options = self.block_options();
            let next = self.sender.poll(options.len(), now);
            if !exit.outlet.has_room() {
                return next.is_some() || self.is_bare_due(now);
            }
            let Some(range) = next else {
                self.transmit_bare(exit, now);
                return false;
            };
            self.send(range.clone(), &options, exit, now);
            self.sender.handle_sent(range, now);
        }
        true
    }

    /// Sends what carries nothing, if it is due and nothing else has said it.
    fn transmit_bare(&mut self, exit: &mut Exit<'_>, now: Instant) {
        if self.keepalive_at().is_some_and(|at| at <= now) {
            self.heard_at = now;
            self.ask(exit, now);
        } else if self.sender.take_persist(now) {
            self.ask(exit, now);
        }
        // Each says of one segment that it came twice.
        for _ in 0..BLOCKS_MAX {
            if self.acknowledge_at().is_none_or(|at| at > now) {
                break;
            }
            self.acknowledge(exit, now);
        }
    }

    /// Whether something is due that carries nothing.
    fn is_bare_due(&self, now: Instant) -> bool {
        let due = earlier(self.acknowledge_at(), self.keepalive_at());
        earlier(due, self.sender.persists_at()).is_some_and(|at| at <= now)
    }

    /// Asks the far end for an acknowledgement, with a place before what it waits for (RFC 9293,
    /// sections 3.8.4 and 3.8.6.1).
    fn ask(&mut self, exit: &mut Exit<'_>, now: Instant) {
        let before = self.sender.acknowledged_to() - 1;
        self.send(before..before, &Options::default(), exit, now);
    }

    /// Says what has arrived.
    pub(super) fn acknowledge(&mut self, exit: &mut Exit<'_>, now: Instant) {
        let (sent_to, options) = (self.sender.sent_to(), self.block_options());
        self.send(sent_to..sent_to, &options, exit, now);
    }

    /// What has arrived behind a gap, or twice.
    fn block_options(&self) -> Options {
        if !self.may_sack {
            return Options::default();
        }
        Options::of_blocks(self.receiver.blocks().as_slice(), self.theirs)
    }

    /// Sends one segment with that part of our stream, its FIN included.
    fn send(&mut self, range: Range<u64>, options: &Options, exit: &mut Exit<'_>, now: Instant) {
        let shift = self.receiver.shift();
        let window = self.receiver.window() >> shift;
        // The receiver never offers more than its scale can say.
        self.window = window.min(u16::MAX.into()) as u16;
        let fin = self.sender.fin_position();
        let has_fin = !range.is_empty() && fin.is_some_and(|fin| range.end > fin);
        // A segment carries less than 65,536 bytes.
        let payload_len = (range.end - range.start) as usize - usize::from(has_fin);
        let is_last = payload_len > 0 && self.sender.is_last(range.end);
        let control = match (has_fin, is_last) {
            (true, _) => TcpControl::Fin,
            (false, true) => TcpControl::Psh,
            (false, false) => TcpControl::None,
        };
        let header = SegmentHeader {
            source: self.ends.local,
            destination: self.ends.remote,
            sequence: self.ours.number(range.start),
            acknowledgement: Some(self.theirs.number(self.receiver.next())),
            window: self.window,
            control,
            options: options.as_slice(),
        };
        let fill = |payload: &mut [u8]| self.sender.copy_to(range.start, payload);
        send_segment(self.ends.peer, &header, payload_len, fill, exit);
        self.handle_acknowledged(u64::from(self.window) << shift, now);
    }

    /// What has arrived was acknowledged, and so much more offered.
    fn handle_acknowledged(&mut self, window: u64, now: Instant) {
        self.acknowledged_to = self.receiver.next();
        self.receiver.handle_acknowledged(window, now);
    }
}
