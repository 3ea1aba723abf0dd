//! What is on a tape.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::datagram::{TrafficClass, Travel, Undelivered};
use crate::flow::{OpenError, Refusal};
use crate::id::{FlowId, PeerId};
use crate::routing::Member;
use crate::rules::Rule;
use crate::stack::Setup;
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

/// One thing on a tape.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Entry<'a> {
    /// Something happened, so many nanoseconds after the input before it.
    Input {
        after_ns: u64,
        #[serde(borrow)]
        input: Input<'a>,
    },
    /// The stack said something.
    #[serde(borrow)]
    Output(Output<'a>),
    /// The answer to whether there is room has changed with the `questions`-th question since it
    /// last did. It is true at first.
    Room { questions: u32, has_room: bool },
    /// The answer to how large a packet may be.
    PathMtu(u16),
}

/// What can happen to a stack.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Input<'a> {
    /// A packet of a peer.
    Packet {
        peer: PeerId,
        #[serde(with = "serde_bytes")]
        bytes: &'a [u8],
    },
    Timeout,
    /// Flows that are ready get their turn.
    Pump,
    PathMtu(PeerId),
    HostAddresses(Vec<IpAddr>),
    Rules(Vec<Rule>),
    PeerAdded(Member),
    /// Those that have another name or other addresses.
    PeersChanged(Vec<Member>),
    PeerRemoved(PeerId),
    ShutDown,
    Opened(FlowId),
    Bound {
        flow: FlowId,
        port: u16,
    },
    Refused {
        flow: FlowId,
        refusal: Refusal,
    },
    OpenTcp(SocketAddr),
    OpenUdp(SocketAddr),
    /// Bytes of the host.
    Send {
        flow: FlowId,
        #[serde(with = "serde_bytes")]
        bytes: &'a [u8],
    },
    /// The host took so many bytes.
    Receive {
        flow: FlowId,
        len: u32,
    },
    HostEnded(FlowId),
    Aborted(FlowId),
    /// A datagram of a host.
    Datagram {
        flow: FlowId,
        remote: SocketAddr,
        traffic_class: TrafficClass,
        #[serde(with = "serde_bytes")]
        payload: &'a [u8],
    },
    Undelivered {
        flow: FlowId,
        undelivered: Undelivered,
    },
    /// No more packets follow at once.
    TrainEnd,
    /// The pages of a flow's rings were given back.
    RingsGivenBack(FlowId),
}

/// What a stack says. Bytes are told by their CRC-32.
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
    Opened(Result<FlowId, OpenError>),
    /// How much room a flow had for bytes of the host; `None` if there was no such flow.
    Room(Option<u32>),
    /// What the host could take from a flow, and what it took.
    Lent(Option<Lent>),
    /// Whether there was such a flow.
    Known(bool),
    /// When it wants to be woken.
    Deadline(Option<Instant>),
    /// The next action, when it was asked for.
    Action(Option<Action>),
    /// The next datagram for a host, when it was asked for.
    Datagram(Option<TapedDatagram>),
}

/// Bytes of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Lent {
    pub(crate) len: u32,
    /// Of those that were taken.
    pub(crate) digest: u32,
}

/// A datagram for a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct TapedDatagram {
    pub(crate) flow: FlowId,
    pub(crate) remote: SocketAddr,
    pub(crate) travel: Travel,
    pub(crate) len: u32,
    pub(crate) digest: u32,
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

    /// Bytes that were lent, of which the first `taken` were taken.
    pub(crate) fn lent(lent: &[u8], taken: usize) -> Self {
        let digest = crc32fast::hash(&lent[..taken.min(lent.len())]);
        Self::Lent(Some(Lent { len: lent.len() as u32, digest }))
    }

    /// A datagram for a host, if there is one.
    pub(crate) fn datagram(datagram: Option<&crate::Datagram<'_>>) -> Self {
        Self::Datagram(datagram.map(|datagram| TapedDatagram {
            flow: datagram.flow,
            remote: datagram.remote,
            travel: datagram.travel,
            len: datagram.payload.len() as u32,
            digest: crc32fast::hash(datagram.payload),
        }))
    }
}
