//! A host socket and the application behind it: what it sends and when, how it reads, when it stops
//! or breaks off. The leg of a flow meets it as a driver meets a socket: it may read, write, find
//! nothing to read or no room, the end, or a reset.

use std::time::Duration;

use slipwire_core::Instant;

/// What an application waits for before it sends its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cue {
    /// Nothing.
    Start,
    /// The first byte of the other side, or its end.
    FirstByte,
    /// The other side's end.
    FarEnd,
}

/// When an application ends its direction after its last byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// At once: the other direction lives on.
    AtOnce,
    /// After the other side ended.
    AfterFarEnd,
}

/// How fast bytes move between an application and its socket: so many at once, with a pause after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pace {
    pub(super) bytes: u64,
    pub(super) pause: Duration,
    /// A long rest when this many bytes have moved.
    pub(super) rest: Option<(u64, Duration)>,
}

/// What breaks a connection off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Break {
    Never,
    /// A reset after that many bytes were sent.
    AfterSending(u64),
    /// A reset after that many bytes were received.
    AfterReceiving(u64),
}

/// What an application does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Script {
    pub(super) sends: u64,
    pub(super) cue: Cue,
    pub(super) writing: Pace,
    pub(super) reading: Pace,
    pub(super) ending: Ending,
    pub(super) breaks: Break,
    /// Bytes that the socket holds for the application.
    pub(super) buffer: u64,
    /// The most that one system call moves.
    pub(super) call: u64,
}

/// A socket in time.
#[derive(Debug)]
pub(super) struct Socket {
    script: Script,
    written: Progress,
    read: Progress,
    /// Bytes that left for the flow.
    pub(super) sent: u64,
    /// Bytes that came from the flow.
    pub(super) received: u64,
    far_ended: bool,
    in_a_hurry: bool,
}

/// How far the application is with one direction, and when it goes on.
#[derive(Debug)]
struct Progress {
    bytes: u64,
    at: Instant,
}

impl Progress {
    /// Moves towards `end` as far as the pace allows by `now`. Says whether more is to come by
    /// itself, and when.
    fn advance(&mut self, end: u64, pace: Pace, hurry: bool, now: Instant) -> Option<Instant> {
        while self.bytes < end {
            if hurry {
                self.bytes = end;
                break;
            }
            if self.at > now {
                return Some(self.at);
            }
            let before = self.bytes;
            self.bytes = end.min(before + pace.bytes);
            let rest = pace.rest.filter(|(after, _)| before < *after && *after <= self.bytes);
            self.at = now + rest.map_or(pace.pause, |(_, rest)| rest);
        }
        None
    }
}

impl Socket {
    pub(super) const fn new(script: Script, now: Instant) -> Self {
        Self {
            script,
            written: Progress { bytes: 0, at: now },
            read: Progress { bytes: 0, at: now },
            sent: 0,
            received: 0,
            far_ended: false,
            in_a_hurry: false,
        }
    }

    /// Lets the application act. Returns when it acts next by itself.
    pub(super) fn advance(&mut self, now: Instant) -> Option<Instant> {
        let Script { sends, cue, writing, reading, .. } = self.script;
        let may_send = match cue {
            Cue::Start => true,
            Cue::FirstByte => self.received > 0 || self.far_ended,
            Cue::FarEnd => self.far_ended,
        };
        let end = if may_send { sends } else { 0 };
        let write_at = self.written.advance(end, writing, self.in_a_hurry, now);
        let read_at = self.read.advance(self.received, reading, self.in_a_hurry, now);
        write_at.into_iter().chain(read_at).min()
    }

    /// Ends every pause.
    pub(super) const fn hurry(&mut self) {
        self.in_a_hurry = true;
    }

    /// Bytes that one call reads.
    pub(super) fn readable(&self) -> u64 {
        (self.written.bytes - self.sent).min(self.script.call)
    }

    /// Whether a read finds the end: everything was sent, and the application ended.
    pub(super) fn is_at_end(&self) -> bool {
        let may_end = match self.script.ending {
            Ending::AtOnce => true,
            Ending::AfterFarEnd => self.far_ended,
        };
        may_end && self.sent == self.script.sends
    }

    /// Bytes that one call writes.
    pub(super) fn writable(&self) -> u64 {
        let held = self.received - self.read.bytes;
        self.script.buffer.saturating_sub(held).min(self.script.call)
    }

    /// The flow has given every byte.
    pub(super) const fn shut_down(&mut self) {
        self.far_ended = true;
    }

    /// Whether the application breaks off now.
    pub(super) const fn breaks(&self) -> bool {
        match self.script.breaks {
            Break::Never => false,
            Break::AfterSending(bytes) => self.sent >= bytes,
            Break::AfterReceiving(bytes) => self.received >= bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Pace = Pace { bytes: u64::MAX / 2, pause: Duration::ZERO, rest: None };

    fn script() -> Script {
        Script {
            sends: 100,
            cue: Cue::Start,
            writing: FAST,
            reading: FAST,
            ending: Ending::AtOnce,
            breaks: Break::Never,
            buffer: 50,
            call: 1_000,
        }
    }

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_slow_writer_writes_piece_by_piece_and_rests() {
        let rest = Some((60, Duration::from_secs(1)));
        let writing = Pace { bytes: 30, pause: Duration::from_millis(10), rest };
        let mut socket = Socket::new(Script { writing, ..script() }, at(0));
        let mut seen = Vec::new();
        let mut now = at(0);
        while let Some(next) = socket.advance(now) {
            seen.push((now, socket.readable()));
            now = next;
        }
        assert_eq!(seen, [(at(0), 30), (at(10), 60), (at(1010), 90)]);
        assert_eq!(socket.readable(), 100);
    }

    #[test]
    fn a_slow_reader_closes_the_socket_for_writing() {
        let reading = Pace { bytes: 20, pause: Duration::from_millis(10), rest: None };
        let mut socket = Socket::new(Script { reading, ..script() }, at(0));
        socket.advance(at(0));
        socket.received += socket.writable();
        assert_eq!(socket.writable(), 0);
        assert_eq!(socket.advance(at(0)), Some(at(10)));
        assert_eq!(socket.writable(), 20);
        socket.hurry();
        assert_eq!((socket.advance(at(0)), socket.writable()), (None, 50));
    }

    #[test]
    fn an_answer_waits_for_its_cue_and_the_end_for_the_other_end() {
        let script = Script { cue: Cue::FarEnd, ending: Ending::AfterFarEnd, ..script() };
        let mut socket = Socket::new(script, at(0));
        socket.advance(at(0));
        assert_eq!((socket.readable(), socket.is_at_end()), (0, false));
        socket.shut_down();
        socket.advance(at(0));
        assert_eq!((socket.readable(), socket.is_at_end()), (100, false));
        socket.sent = 100;
        assert!(socket.is_at_end());
    }
}
