//! A tape while it is replayed: what was said then, beside what is said now.

use super::TapeError;
use super::entry::{Entry, Head, Output};
use super::frame::{Frames, Next};
use super::text;

/// The entries of a tape, one after another.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    frames: Frames<'a>,
    /// What is left of the frame that is read.
    rest: &'a [u8],
    next: Option<Entry<'a>>,
    end: Option<&'static str>,
    is_over: bool,
    has_room: bool,
    questions: u32,
    /// The first output that was another one: what was recorded, and what came.
    deviation: Option<(String, String)>,
}

impl<'a> Script<'a> {
    /// Opens a tape and reads its head.
    pub(crate) fn open(tape: &'a [u8]) -> Result<(Head, Self), TapeError> {
        let mut frames = Frames::new(tape)?;
        let Next::Body(body) = frames.next() else { return Err(TapeError::Head) };
        let head = postcard::from_bytes(body).map_err(|_| TapeError::Head)?;
        let script = Self {
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

    /// Bytes of the tape that have been read.
    pub(crate) const fn position(&self) -> usize {
        self.frames.position()
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
                self.deviate(recorded, text::output(output));
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
                self.deviate(recorded, "the size of a packet is asked for".into());
                otherwise
            }
        }
    }

    /// Notes that something else happens than is on the tape.
    pub(crate) fn deviate(&mut self, recorded: String, replayed: String) {
        self.deviation.get_or_insert((recorded, replayed));
    }

    pub(crate) fn deviation(&mut self) -> Option<(String, String)> {
        self.deviation.take()
    }
}
