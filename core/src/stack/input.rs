//! All that can happen to a stack, and what it answers.
//!
//! [`Stack::handle`] is the one way in: an engine, a replay and the tests of the stack go through
//! it, and what has no variant of [`Input`] can't happen. Looking changes nothing and is no input:
//! [`meta`](Stack::meta), [`send_room`](Stack::send_room), [`received`](Stack::received),
//! [`poll_datagram`](Stack::poll_datagram), [`poll_timeout`](Stack::poll_timeout).

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::datagram::{TrafficClass, Undelivered};
use crate::flow::{OpenError, Refusal};
use crate::id::{FlowId, PeerId};
use crate::routing::Member;
use crate::rules::Rule;
use crate::stack::Stack;
use crate::stack::outlet::Outlet;
use crate::time::Instant;

/// What can happen to a stack. What names a flow that is over, or is not of that kind, changes
/// nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Input<'a> {
    /// A packet of a peer, to whom its inner source belongs. Nothing may come of it before the
    /// [`TrainEnd`](Self::TrainEnd) of the train that it is of.
    Packet { peer: PeerId, bytes: PacketBytes<'a> },
    /// No more packets follow at once.
    TrainEnd,
    /// Time has passed.
    Timeout,
    /// Flows that are ready have their turn: they send what is due, and say what is new.
    Service,
    /// Packets of another size fit the way to a peer.
    PathMtu(PeerId),
    /// A peer is reached by another path: its address outside the tunnel, or ours, has changed.
    PeerMoved(PeerId),
    /// The host has other addresses.
    HostAddresses(Vec<IpAddr>),
    /// The host has so many sockets for flows.
    SocketLimit(usize),
    /// There are other rules, which are [valid](crate::config::check::rules).
    Rules(Vec<Rule>),
    /// A peer has come, and owns its addresses from now on.
    PeerAdded(Member),
    /// Peers have other names or other addresses from now on.
    PeersChanged(Vec<Member>),
    /// A peer is about to go.
    PeerRemoved(PeerId),
    /// Everything ends.
    ShutDown,
    /// A local client wants a connection into the tunnel. Answered by [`Reply::Opened`].
    OpenTcp(SocketAddr),
    /// A local client wants to send datagrams into the tunnel. Answered by [`Reply::Opened`].
    OpenUdp(SocketAddr),
    /// The host leg is there, with this port if it is a socket of datagrams of its own.
    Opened { flow: FlowId, port: Option<u16> },
    /// There is no host leg.
    Refused { flow: FlowId, refusal: Refusal },
    /// The host has bytes for a TCP flow, of which as many are taken as there is
    /// [room](Stack::send_room) for. If not all are, or there is no room for any, the flow says
    /// when there is. Answered by [`Reply::Taken`].
    Send {
        flow: FlowId,
        #[serde(with = "serde_bytes")]
        bytes: &'a [u8],
    },
    /// The host has taken so many of the bytes that a TCP flow has [received](Stack::received).
    Receive { flow: FlowId, len: u32 },
    /// The host leg of a TCP flow ended in good order.
    HostEnded(FlowId),
    /// The host leg has failed.
    Aborted(FlowId),
    /// A datagram of a host.
    Datagram {
        flow: FlowId,
        remote: SocketAddr,
        traffic_class: TrafficClass,
        #[serde(with = "serde_bytes")]
        payload: &'a [u8],
    },
    /// A datagram for a host was lost.
    Undelivered { flow: FlowId, undelivered: Undelivered },
    /// The pages of a flow's [rings](Stack::ring_addresses) are given back, if nothing in them is
    /// needed. Answered by [`Reply::GivenBack`].
    RingsGivenBack(FlowId),
    /// The same as [`Send`](Self::Send) of bytes that the host has put at the front of the
    /// [room](Stack::send_room) already. A tape has the bytes, and so has this as that.
    #[serde(skip)]
    Sent { flow: FlowId, len: usize },
}

/// The bytes of a packet, in which the stack may write.
#[derive(Debug)]
pub(crate) enum PacketBytes<'a> {
    /// In a buffer of the caller.
    Lent(&'a mut [u8]),
    /// From a tape.
    Own(Vec<u8>),
}

impl PacketBytes<'_> {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }
}

impl Serialize for PacketBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.as_slice())
    }
}

impl<'de> Deserialize<'de> for PacketBytes<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_bytes::deserialize(deserializer).map(Self::Own)
    }
}

/// What a stack answers at once. All else that it says goes to its [`Outlet`], or waits to be
/// polled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// There is nothing to say.
    Done,
    /// The flow of a local client.
    Opened(Result<FlowId, OpenError>),
    /// How many of the host's bytes were taken.
    Taken(u32),
    /// Whether nothing in the rings was needed.
    GivenBack(bool),
    /// Whether it is worth while to look at what came of it and to do so again: there is something
    /// new to tell, or a flow has more to send.
    Serviced { has_more: bool },
}

impl Stack {
    /// Takes what happens.
    pub(crate) fn handle(
        &mut self,
        input: Input<'_>,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> Reply {
        match input {
            Input::Packet { peer, mut bytes } => {
                self.handle_packet(peer, bytes.as_mut_slice(), outlet, now);
            }
            Input::TrainEnd => self.handle_train_end(outlet, now),
            Input::Timeout => self.handle_timeout(outlet, now),
            Input::Service => return Reply::Serviced { has_more: self.service(outlet, now) },
            Input::PathMtu(peer) => self.handle_path_mtu(peer, outlet, now),
            Input::PeerMoved(peer) => self.handle_peer_moved(peer, now),
            Input::HostAddresses(addresses) => self.set_host_addresses(addresses, outlet),
            Input::SocketLimit(sockets) => self.set_socket_limit(sockets, outlet),
            Input::Rules(rules) => self.set_rules(rules, outlet),
            Input::PeerAdded(_) => self.handle_peer_added(outlet),
            Input::PeersChanged(_) => self.handle_peers_changed(outlet),
            Input::PeerRemoved(peer) => self.remove_peer(peer, outlet),
            Input::ShutDown => self.shut_down(outlet),
            Input::OpenTcp(target) => return Reply::Opened(self.open_tcp(target, outlet, now)),
            Input::OpenUdp(target) => return Reply::Opened(self.open_udp(target, outlet, now)),
            Input::Opened { flow, port } => self.handle_opened(flow, port, outlet, now),
            Input::Refused { flow, refusal } => self.handle_refused(flow, refusal, outlet, now),
            Input::Send { flow, bytes } => {
                return Reply::Taken(self.send(flow, bytes, now) as u32);
            }
            Input::Sent { flow, len } => {
                return Reply::Taken(self.handle_sent(flow, len, now) as u32);
            }
            Input::Receive { flow, len } => self.handle_taken(flow, len as usize, now),
            Input::HostEnded(flow) => self.handle_shutdown(flow),
            Input::Aborted(flow) => self.handle_aborted(flow, outlet),
            Input::Datagram { flow, remote, traffic_class, payload } => {
                self.send_datagram(flow, remote, traffic_class, payload, outlet, now);
            }
            Input::Undelivered { flow, undelivered } => {
                self.handle_undelivered(flow, undelivered, outlet, now);
            }
            Input::RingsGivenBack(flow) => return Reply::GivenBack(self.give_back_rings(flow)),
        }
        Reply::Done
    }
}
