//! A tape while it is replayed: what was said then, beside what is said now.

use crate::id::FlowId;
use crate::stack::input::Input;
use crate::tape::entry::{Entry, Head, Output};
use crate::tape::frame::{Frames, Next};
use crate::tape::summary::Summary;
use crate::tape::{TapeError, text};

/// The entries of a tape, one after another.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    frames: Frames<'a>,
    /// Bytes of the tape before the frame that is read.
    frame_at: usize,
    /// What is left of it.
    rest: &'a [u8],
    next: Option<Entry<'a>>,
    end: Option<&'static str>,
    is_over: bool,
    has_room: bool,
    questions: u32,
    /// The first output that was another one.
    deviation: Option<Deviation>,
}

/// Something else was said than is on the tape.
#[derive(Debug)]
pub(crate) struct Deviation {
    pub(crate) recorded: String,
    pub(crate) replayed: String,
    /// What tells whose flow it is about.
    pub(crate) subject: Subject,
}

/// Whose flow an output is about.
#[derive(Debug)]
pub(crate) enum Subject {
    Flow(FlowId),
    /// That of a packet, of which this says all that is known.
    Packet(Summary),
    Nobody,
}

impl Subject {
    /// Whose flow an input is about.
    pub(crate) fn of_input(input: &Input<'_>) -> Self {
        match input {
            Input::Packet { bytes, .. } => {
                Summary::of(bytes.as_slice()).map_or(Self::Nobody, Self::Packet)
            }
            other => text::flow_of_input(other).map_or(Self::Nobody, Self::Flow),
        }
    }

    /// The flow, if it is named.
    pub(crate) const fn flow(&self) -> Option<FlowId> {
        match self {
            Self::Flow(flow) => Some(*flow),
            Self::Packet(_) | Self::Nobody => None,
        }
    }

    fn of(output: &Output<'_>) -> Self {
        let packet = || match output {
            Output::Packet { head, .. } => Summary::of(head).map(Self::Packet),
            _ => None,
        };
        text::flow_of_output(output).map(Self::Flow).or_else(packet).unwrap_or(Self::Nobody)
    }
}

impl<'a> Script<'a> {
    /// Opens a tape and reads its head.
    pub(crate) fn open(tape: &'a [u8]) -> Result<(Head, Self), TapeError> {
        let mut frames = Frames::new(tape)?;
        let Next::Body(body) = frames.next() else { return Err(TapeError::Head) };
        let head = postcard::from_bytes(body).map_err(|_| TapeError::Head)?;
        let script = Self {
            frame_at: frames.position(),
            frames,
            rest: &[],
            next: None,
            end: None,
            is_over: false,
            has_room: true,
            questions: 0,
            deviation: None,
        };
        Ok((head, script))
    }

    /// Bytes of the tape before the frame that is read.
    pub(crate) const fn position(&self) -> usize {
        self.frame_at
    }

    /// Why the tape ends before its end, once it is over.
    pub(crate) const fn tear(&self) -> Option<&'static str> {
        self.end
    }

    pub(crate) fn peek(&mut self) -> Option<&Entry<'a>> {
        if self.next.is_none() {
            self.next = self.read();
        }
        self.next.as_ref()
    }

    pub(crate) fn take(&mut self) -> Option<Entry<'a>> {
        self.peek();
        self.next.take()
    }

    /// Nothing that follows makes sense.
    pub(crate) fn tear_here(&mut self, why: &'static str) {
        self.is_over = true;
        self.end = Some(why);
        self.next = None;
    }

    fn read(&mut self) -> Option<Entry<'a>> {
        while self.rest.is_empty() && !self.is_over {
            self.frame_at = self.frames.position();
            match self.frames.next() {
                Next::Body(body) => self.rest = body,
                Next::End => self.is_over = true,
                Next::Torn(why) => self.tear_here(why),
            }
        }
        if self.is_over {
            return None;
        }
        match postcard::take_from_bytes(self.rest) {
            Ok((entry, rest)) => {
                self.rest = rest;
                Some(entry)
            }
            Err(_) => {
                self.tear_here("an entry can't be read");
                None
            }
        }
    }

    /// The stack says something: it has to be what comes next. Where the tape ends there is nothing
    /// to compare it with. What differs stays where it is. Says whether it was the same.
    pub(crate) fn expect(&mut self, output: &Output<'_>) -> bool {
        match self.peek() {
            Some(Entry::Output(recorded)) if recorded == output => {
                self.next = None;
                true
            }
            None => true,
            Some(other) => {
                let recorded = match other {
                    Entry::Input { .. } => "nothing".to_owned(),
                    other => text::entry(other),
                };
                let (replayed, subject) = (text::output(output), Subject::of(output));
                self.deviate(Deviation { recorded, replayed, subject });
                false
            }
        }
    }

    /// Whether there was room when the stack asked for it.
    pub(crate) fn has_room(&mut self) -> bool {
        self.questions = self.questions.saturating_add(1);
        let asked = self.questions;
        if let Some(Entry::Room { questions, has_room }) = self.peek()
            && *questions == asked
        {
            self.has_room = *has_room;
            self.questions = 0;
            self.next = None;
        }
        self.has_room
    }

    /// How large a packet could be when the stack asked.
    pub(crate) fn path_mtu(&mut self, otherwise: u16) -> u16 {
        match self.peek() {
            Some(Entry::PathMtu(path_mtu)) => {
                let path_mtu = *path_mtu;
                self.next = None;
                path_mtu
            }
            None => otherwise,
            Some(other) => {
                let recorded = text::entry(other);
                let replayed = "the size of a packet is asked for".into();
                self.deviate(Deviation { recorded, replayed, subject: Subject::Nobody });
                otherwise
            }
        }
    }

    /// Notes that something else happens than is on the tape.
    pub(crate) fn deviate(&mut self, deviation: Deviation) {
        self.deviation.get_or_insert(deviation);
    }

    /// Notes that the tape has something that is not asked for.
    pub(crate) fn skip(&mut self) {
        let Some(unasked) = self.take() else { return };
        let subject = match &unasked {
            Entry::Output(output) => Subject::of(output),
            Entry::Input { .. } | Entry::Room { .. } | Entry::PathMtu(_) => Subject::Nobody,
        };
        let (recorded, replayed) = (text::entry(&unasked), "nothing".into());
        self.deviate(Deviation { recorded, replayed, subject });
    }

    pub(crate) fn deviation(&mut self) -> Option<Deviation> {
        self.deviation.take()
    }
}
