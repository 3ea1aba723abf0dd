//! [`Recorder`]: writes a tape while an engine runs.

use std::fmt;

use serde::Serialize;

use crate::action::Action;
use crate::id::PeerId;
use crate::limits::PACKET_LEN_MAX;
use crate::stack::Stack;
use crate::stack::input::{Input, Reply};
use crate::stats::Counter;
use crate::tape::entry::{Entry, Head, Output};
use crate::tape::frame::{BODY_LEN_MAX, FRAME_HEAD_LEN, preamble, seal};
use crate::tape::{StartTapeError, TapeSink};
use crate::time::Instant;

/// Bytes of entries that are gathered before they are written.
const FRAME_LEN: usize = 64 << 10;

const _: () = assert!(FRAME_LEN + PACKET_LEN_MAX < BODY_LEN_MAX, "a frame is believed");

/// Writes down what happens at the seam.
pub(crate) struct Recorder {
    sink: Box<dyn TapeSink>,
    /// The frame that fills; its head is filled in when it leaves.
    frame: Vec<u8>,
    /// When the last input came.
    at: Instant,
    has_room: bool,
    /// Questions for room since the answer last changed.
    questions: u32,
    /// Whether it is on the tape that there were no more actions.
    no_action: bool,
    /// The sink takes no more.
    is_over: bool,
}

impl Recorder {
    /// Begins a tape.
    ///
    /// # Errors
    /// [`StartTapeError::Unwritable`].
    pub(crate) fn new(sink: Box<dyn TapeSink>, head: &Head) -> Result<Self, StartTapeError> {
        let mut recorder = Self {
            sink,
            frame: Vec::with_capacity(2 * FRAME_LEN),
            at: head.at,
            has_room: true,
            questions: 0,
            no_action: true,
            is_over: false,
        };
        recorder.clear();
        recorder.encode(head);
        if recorder.is_over {
            return Err(StartTapeError::Unwritable);
        }
        recorder.is_over = recorder.sink.append(&preamble()).is_break();
        recorder.flush();
        Ok(recorder)
    }

    /// Whether nothing more is recorded.
    pub(crate) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether something waits to be written.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.frame.len() > FRAME_HEAD_LEN && !self.is_over
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self) {
        if self.is_waiting() {
            seal(&mut self.frame);
            self.is_over = self.sink.append(&self.frame).is_break();
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.frame.clear();
        self.frame.extend([0; FRAME_HEAD_LEN]);
    }

    fn encode(&mut self, what: &impl Serialize) {
        match postcard::to_extend(what, std::mem::take(&mut self.frame)) {
            Ok(frame) => self.frame = frame,
            Err(error) => {
                log::debug!("tape: {error}");
                self.is_over = true;
            }
        }
    }

    fn write(&mut self, entry: &Entry<'_, &Input<'_>>) {
        if self.is_over {
            return;
        }
        self.encode(entry);
        if self.frame.len() >= FRAME_LEN {
            self.flush();
        }
    }

    /// Something is about to happen to `stack`.
    pub(crate) fn input(&mut self, input: &Input<'_>, stack: &mut Stack, now: Instant) {
        match *input {
            Input::Sent { flow, len } => {
                self.output(Output::room(stack, flow));
                let room = stack.send_room(flow).unwrap_or_default();
                let bytes = &room[..len.min(room.len())];
                self.write_input(&Input::Send { flow, bytes }, now);
            }
            Input::Send { flow, .. } => {
                self.output(Output::room(stack, flow));
                self.write_input(input, now);
            }
            Input::Receive { flow, len } => {
                self.output(Output::received(stack, flow, len));
                self.write_input(input, now);
            }
            _ => self.write_input(input, now),
        }
    }

    fn write_input(&mut self, input: &Input<'_>, now: Instant) {
        let after_ns = now.as_nanos().saturating_sub(self.at.as_nanos());
        self.at = now;
        self.write(&Entry::Input { after_ns, input });
    }

    /// The stack says something.
    pub(crate) fn output(&mut self, output: Output<'_>) {
        self.write(&Entry::Output(output));
    }

    /// It answers an input.
    pub(crate) fn reply(&mut self, reply: Reply) {
        if let Some(output) = Output::reply(reply) {
            self.output(output);
        }
    }

    /// It sends a packet.
    pub(crate) fn packet(&mut self, peer: PeerId, packet: &[u8]) {
        self.output(Output::packet(peer, packet));
    }

    /// It counts.
    pub(crate) fn count(&mut self, counter: Counter) {
        self.output(Output::Count(counter.name()));
    }

    /// It asked for room.
    pub(crate) fn answer_room(&mut self, has_room: bool) {
        self.questions = self.questions.saturating_add(1);
        if self.has_room != has_room {
            self.has_room = has_room;
            let questions = std::mem::take(&mut self.questions);
            self.write(&Entry::Room { questions, has_room });
        }
    }

    /// It asked how large a packet may be.
    pub(crate) fn answer_path_mtu(&mut self, path_mtu: u16) {
        self.write(&Entry::PathMtu(path_mtu));
    }

    /// An action was asked for. That there was none is said once.
    pub(crate) fn action(&mut self, action: Option<Action>) {
        if action.is_some() || !self.no_action {
            self.output(Output::Action(action));
        }
        self.no_action = action.is_none();
    }
}

/// What waits is written even if a panic ends the engine: that tape is worth most.
impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("sink", &self.sink).finish_non_exhaustive()
    }
}
