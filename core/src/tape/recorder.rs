//! [`Recorder`]: writes a tape while an engine runs.

use std::fmt;

use serde::Serialize;

use crate::action::Action;
use crate::id::{FlowId, PeerId};
use crate::stats::Counter;
use crate::tape::entry::{Entry, Head, Input, Output};
use crate::tape::frame::{FRAME_HEAD_LEN, preamble, seal};
use crate::tape::{StartTapeError, TapeSink};
use crate::time::Instant;

/// Bytes of entries that are gathered before they are written.
const FRAME_LEN: usize = 64 << 10;

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
    /// Whether it is on the tape that there were no more actions, and no more datagrams.
    no_action: bool,
    no_datagram: bool,
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
            no_datagram: true,
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

    fn write(&mut self, entry: &Entry<'_>) {
        if self.is_over {
            return;
        }
        self.encode(entry);
        if self.frame.len() >= FRAME_LEN {
            self.flush();
        }
    }

    /// Something happens.
    pub(crate) fn input(&mut self, input: Input<'_>, now: Instant) {
        let after_ns = now.as_nanos().saturating_sub(self.at.as_nanos());
        self.at = now;
        self.write(&Entry::Input { after_ns, input });
    }

    /// The stack says something.
    pub(crate) fn output(&mut self, output: Output<'_>) {
        self.write(&Entry::Output(output));
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

    /// The host had bytes for a flow, or there was no such flow.
    pub(crate) fn send(&mut self, flow: FlowId, room: Option<usize>, bytes: &[u8], now: Instant) {
        self.input(Input::Send { flow, bytes }, now);
        self.output(Output::Room(room.map(|room| room as u32)));
    }

    /// The host took the first `len` bytes of those that a flow has, or there was no such flow.
    pub(crate) fn receive(&mut self, flow: FlowId, lent: Option<&[u8]>, len: usize, now: Instant) {
        self.input(Input::Receive { flow, len: len as u32 }, now);
        self.output(lent.map_or(Output::Lent(None), |lent| Output::lent(lent, len)));
    }

    /// An action was asked for. That there was none is said once.
    pub(crate) fn action(&mut self, action: Option<Action>) {
        if action.is_some() || !self.no_action {
            self.output(Output::Action(action));
        }
        self.no_action = action.is_none();
    }

    /// A datagram was asked for. That there was none is said once.
    pub(crate) fn datagram(&mut self, datagram: Option<&crate::Datagram<'_>>) {
        if datagram.is_some() || !self.no_datagram {
            self.output(Output::datagram(datagram));
        }
        self.no_datagram = datagram.is_none();
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
