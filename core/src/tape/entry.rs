//! What is on a tape.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::datagram::Travel;
use crate::id::{FlowId, PeerId};
use crate::routing::Member;
use crate::stack::input::{Input, Reply};
use crate::stack::{Setup, Stack};
use crate::time::Instant;

/// Bytes of a packet that are kept beside its digest, so that people see what it was.
pub(crate) const PACKET_HEAD_LEN: usize = 60;

/// What a tape begins with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The version of the program, for people.
    pub(crate) program: String,
    pub(crate) seed: [u8; 32],
    pub(crate) first_generation: u32,
    pub(crate) at: Instant,
    pub(crate) setup: Setup,
    pub(crate) members: Vec<Member>,
}

/// One thing on a tape. An input that is written is still somebody's: `I` is a reference then.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Entry<'a, I = Input<'a>> {
    /// Something happened, so many nanoseconds after the input before it.
    Input { after_ns: u64, input: I },
    /// The stack said something, or somebody looked.
    #[serde(borrow)]
    Output(Output<'a>),
    /// The answer to whether there is room has changed with the `questions`-th question since it
    /// last did. It is true at first.
    Room { questions: u32, has_room: bool },
    /// The answer to how large a packet may be.
    PathMtu(u16),
}

/// What a stack says, while an input is run or when it is looked at between two of them. Bytes are
/// told by their CRC-32.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Output<'a> {
    /// A packet to a peer.
    Packet {
        peer: PeerId,
        len: u32,
        /// Its first bytes.
        #[serde(with = "serde_bytes")]
        head: &'a [u8],
        digest: u32,
    },
    /// Something was counted, by its name.
    Count(&'a str),
    /// It answered an input.
    Reply(Reply),
    /// When it wants to be woken.
    Deadline(Option<Instant>),
    /// The next action, when it was asked for.
    Action(Option<Action>),
    /// The datagram that was taken off the queue, if there was one.
    Datagram(Option<TapedDatagram>),
    /// How much room a flow has for bytes of the host, before some come; `None` if it takes none.
    Room { flow: FlowId, room: Option<u32> },
    /// How much a flow has received, before the host takes the first `taken` bytes of it.
    Received { flow: FlowId, len: u32, taken: u32, digest: u32 },
}

/// A datagram for a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct TapedDatagram {
    pub(crate) flow: FlowId,
    pub(crate) remote: SocketAddr,
    pub(crate) travel: Travel,
    pub(crate) len: u32,
    pub(crate) digest: u32,
    /// No other waits behind it.
    pub(crate) is_last: bool,
}

impl<'a> Output<'a> {
    /// A packet to a peer.
    pub(crate) fn packet(peer: PeerId, packet: &'a [u8]) -> Self {
        Self::Packet {
            peer,
            len: packet.len() as u32,
            head: &packet[..packet.len().min(PACKET_HEAD_LEN)],
            digest: crc32fast::hash(packet),
        }
    }

    /// What was answered, unless there was nothing to say.
    pub(crate) fn reply(reply: Reply) -> Option<Self> {
        (reply != Reply::Done).then_some(Self::Reply(reply))
    }

    /// How much room a flow has.
    pub(crate) fn room(stack: &mut Stack, flow: FlowId) -> Self {
        Self::Room { flow, room: stack.send_room(flow).map(|room| room.len() as u32) }
    }

    /// What a flow has received, of which the host takes the first `taken` bytes.
    pub(crate) fn received(stack: &mut Stack, flow: FlowId, taken: u32) -> Self {
        let received = stack.received(flow);
        let digest = crc32fast::hash(&received[..received.len().min(taken as usize)]);
        Self::Received { flow, len: received.len() as u32, taken, digest }
    }

    /// Takes the next datagram off the queue.
    pub(crate) fn take_datagram(stack: &mut Stack) -> Self {
        let datagram = stack.poll_datagram().map(|next| TapedDatagram {
            flow: next.flow,
            remote: next.remote,
            travel: next.travel,
            len: next.payload.len() as u32,
            digest: crc32fast::hash(next.payload),
            is_last: false,
        });
        stack.pop_datagram();
        let is_last = stack.poll_datagram().is_none();
        Self::Datagram(datagram.map(|datagram| TapedDatagram { is_last, ..datagram }))
    }
}
