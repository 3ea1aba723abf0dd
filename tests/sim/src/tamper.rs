//! An engine broken on purpose: what it says is changed on its way to the world, to show that the
//! oracle would notice an engine that says so.

use slipwire_core::{Abort, Action};

/// One way to be broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// A byte of a stream is another.
    WrongByte,
    /// A stream's bytes are given twice.
    RepeatedBytes,
    /// A byte of a datagram is another.
    WrongDatagram,
    /// The far end's end is not told.
    LostShutdown,
    /// An end is told where there was an abort.
    AbortAsEnd,
    /// An abort is told where there was an end.
    EndAsAbort,
    /// A flow is over and nobody is told.
    LeakedFlow,
    /// Bytes arrive and nobody is told.
    LostReadable,
    /// There is room and nobody is told.
    LostWritable,
    /// A refused connect counts as established.
    RefusedEstablished,
    /// An action comes twice.
    Twice,
}

impl Mutant {
    /// Each of them.
    pub const ALL: [Self; 11] = [
        Self::WrongByte,
        Self::RepeatedBytes,
        Self::WrongDatagram,
        Self::LostShutdown,
        Self::AbortAsEnd,
        Self::EndAsAbort,
        Self::LeakedFlow,
        Self::LostReadable,
        Self::LostWritable,
        Self::RefusedEstablished,
        Self::Twice,
    ];

    /// What becomes of an action.
    pub(super) fn action(self, action: Action) -> [Option<Action>; 2] {
        match (self, action) {
            (Self::LostShutdown, Action::Shutdown(_))
            | (Self::LeakedFlow, Action::Closed(_))
            | (Self::LostReadable, Action::Readable(_))
            | (Self::LostWritable, Action::Writable(_)) => [None, None],
            (Self::AbortAsEnd, Action::Aborted(flow, Abort::Reset)) => {
                [Some(Action::Shutdown(flow)), Some(Action::Closed(flow))]
            }
            (Self::EndAsAbort, Action::Closed(flow)) => {
                [Some(Action::Aborted(flow, Abort::Reset)), None]
            }
            (Self::RefusedEstablished, Action::Aborted(flow, Abort::Reset)) => {
                [Some(Action::Established(flow)), Some(action)]
            }
            (Self::Twice, Action::Shutdown(_) | Action::Established(_) | Action::Closed(_)) => {
                [Some(action), Some(action)]
            }
            (_, _) => [Some(action), None],
        }
    }

    /// What becomes of bytes that a flow received.
    pub(super) fn stream(self, at: u64, bytes: &mut Vec<u8>) {
        match self {
            Self::WrongByte => {
                if let Some(byte) = bytes.last_mut().filter(|_| at > 1_000) {
                    *byte ^= 1;
                }
            }
            Self::RepeatedBytes if at > 1_000 => {
                let again = bytes.clone();
                bytes.extend(again);
            }
            _ => {}
        }
    }

    /// What becomes of a datagram.
    pub(super) fn datagram(self, payload: &mut [u8]) {
        if let (Self::WrongDatagram, Some(byte)) = (self, payload.first_mut()) {
            *byte ^= 0x80;
        }
    }
}
