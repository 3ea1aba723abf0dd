//! What happens to the stack of a world, through its one door.

use std::net::SocketAddr;

use crate::datagram::{TrafficClass, Undelivered};
use crate::flow::{OpenError, Refusal};
use crate::id::{FlowId, PeerId};
use crate::routing::Member;
use crate::rules::Rule;
use crate::stack::input::{Input, Reply};
use crate::stack::outlet::Outlet as _;
use crate::stack::tests::World;

impl World {
    pub(super) fn input(&mut self, input: Input<'_>) -> Reply {
        self.stack.handle(input, &mut self.wire, self.now)
    }

    pub(super) fn service(&mut self) -> bool {
        self.input(Input::Service) == Reply::Serviced { has_more: true }
    }

    pub(super) fn opened(&mut self, flow: FlowId) {
        self.input(Input::Opened { flow, port: None });
    }

    /// The host leg is there, on this port.
    pub(super) fn opened_at(&mut self, flow: FlowId, port: u16) {
        self.input(Input::Opened { flow, port: Some(port) });
    }

    pub(super) fn refused(&mut self, flow: FlowId, refusal: Refusal) {
        self.input(Input::Refused { flow, refusal });
    }

    pub(super) fn host_ended(&mut self, flow: FlowId) {
        self.input(Input::HostEnded(flow));
    }

    pub(super) fn aborted(&mut self, flow: FlowId) {
        self.input(Input::Aborted(flow));
    }

    pub(super) fn open_tcp(&mut self, target: SocketAddr) -> Result<FlowId, OpenError> {
        opened(self.input(Input::OpenTcp(target)))
    }

    pub(super) fn open_udp(&mut self, target: SocketAddr) -> Result<FlowId, OpenError> {
        opened(self.input(Input::OpenUdp(target)))
    }

    /// Bytes of the host; says how many were taken.
    pub(super) fn send(&mut self, flow: FlowId, bytes: &[u8]) -> usize {
        match self.input(Input::Send { flow, bytes }) {
            Reply::Taken(len) => len as usize,
            other => panic!("{other:?}"),
        }
    }

    /// The host fills all the room that there is in one piece; says how much.
    pub(super) fn fill(&mut self, flow: FlowId) -> usize {
        let len = self.stack.send_room(flow).unwrap().len();
        self.input(Input::Sent { flow, len });
        len
    }

    /// The host takes all that is there in one piece.
    pub(super) fn take(&mut self, flow: FlowId) -> Vec<u8> {
        let bytes = self.stack.received(flow).to_vec();
        self.input(Input::Receive { flow, len: bytes.len() as u32 });
        bytes
    }

    /// Sends a datagram of a host that asks for nothing in particular.
    pub(super) fn send_datagram(&mut self, flow: FlowId, remote: SocketAddr, payload: &[u8]) {
        let traffic_class = TrafficClass::DEFAULT;
        self.input(Input::Datagram { flow, remote, traffic_class, payload });
    }

    pub(super) fn undelivered(&mut self, flow: FlowId, undelivered: Undelivered) {
        self.input(Input::Undelivered { flow, undelivered });
    }

    pub(super) fn give_back_rings(&mut self, flow: FlowId) -> bool {
        self.input(Input::RingsGivenBack(flow)) == Reply::GivenBack(true)
    }

    pub(super) fn path_mtu(&mut self, peer: PeerId) {
        self.input(Input::PathMtu(peer));
    }

    pub(super) fn set_rules(&mut self, rules: Vec<Rule>) {
        self.input(Input::Rules(rules));
    }

    /// The host has that many sockets.
    pub(super) fn limit_sockets(&mut self, sockets: usize) {
        self.input(Input::SocketLimit(sockets));
    }

    /// Some peer was added.
    pub(super) fn peer_added(&mut self) {
        let (id, allowed_ips) = (PeerId::first(99), Vec::new());
        let public_key = self.wire.identity(id).unwrap().public_key;
        self.input(Input::PeerAdded(Member { id, name: "new".into(), public_key, allowed_ips }));
    }

    pub(super) fn remove_peer(&mut self, peer: PeerId) {
        self.input(Input::PeerRemoved(peer));
    }

    /// Takes the datagrams that wait; says how many.
    pub(super) fn drop_datagrams(&mut self) -> usize {
        self.datagrams().len()
    }
}

fn opened(reply: Reply) -> Result<FlowId, OpenError> {
    match reply {
        Reply::Opened(opened) => opened,
        other => panic!("{other:?}"),
    }
}
