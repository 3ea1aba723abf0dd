//! What peers send: each packet finds its way to a flow, to another peer, or to its refusal.
//!
//! - [`segments`]: those of TCP;
//! - [`outbound`]: datagrams and echo requests, through their mapping;
//! - [`messages`]: the other messages of ICMP.
//!
//! What is refused is told so by [`answer`](super::answer).

mod messages;
mod outbound;
mod segments;

use std::net::SocketAddr;

use crate::address::may_be_a_source;
use crate::flow::Protocol;
use crate::id::PeerId;
use crate::policy::{Course, Denial, Offer, Toward};
use crate::stack::Stack;
use crate::stack::answer::Cause;
use crate::stack::key::FlowKey;
use crate::stack::outlet::Outlet;
use crate::stack::packet::reassembly::Intake;
use crate::stack::packet::{Packet, Transport, UDP_HEADER_LEN};
use crate::stack::peer_side::outbound::Outbound;
use crate::stats::Counter;
use crate::time::Instant;

impl Stack {
    /// Takes one packet of a peer. Its inner source belongs to that peer. Nothing may come of it
    /// before the [end of the train](Self::handle_train_end) that it is of.
    pub(super) fn handle_packet(
        &mut self,
        peer: PeerId,
        bytes: &mut [u8],
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        match self.fragments.take_in(peer, bytes, now) {
            Intake::Whole => {
                self.handle_whole_packet(peer, Packet::parse(bytes), None, outlet, now);
            }
            Intake::Complete { packet: mut whole, piece_len } => {
                let packet = Packet::parse(&mut whole).map(Packet::reassembled);
                self.handle_whole_packet(peer, packet, Some(piece_len), outlet, now);
            }
            Intake::Held => {}
            Intake::Dropped(reason) => outlet.count(peer, reason),
        }
    }

    /// Takes a packet, which had pieces of `piece_len` bytes at most if it came in fragments.
    fn handle_whole_packet(
        &mut self,
        peer: PeerId,
        packet: Result<Packet<'_>, Counter>,
        piece_len: Option<usize>,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let packet = match packet {
            Ok(packet) => packet,
            Err(reason) => return outlet.count(peer, reason),
        };
        if self.coalescer.join(peer, &packet) {
            return;
        }
        self.handle_train_end(outlet, now);
        // Of a flow everything that is asked below was asked when it was opened.
        if packet.ttl > 1
            && let Some(id) = self.flow_of_segment(peer, &packet)
        {
            let waits = self.is_next(id, &packet) && self.coalescer.hold(id, peer, &packet);
            if !waits {
                self.handle_segment(id, packet, outlet, now);
            }
            return;
        }
        if !may_be_a_source(packet.source) || self.is_own(packet.source) {
            return outlet.count(peer, Counter::DropSource);
        }
        if self.is_own(packet.destination) {
            return self.deliver(peer, packet, Toward::Own, outlet, now);
        }
        if packet.ttl <= 1 {
            return self.refuse(peer, &packet, Cause::TtlExceeded, outlet, now);
        }
        // No rule leads it to a peer either.
        if packet.transport == Transport::Other {
            return self.deliver(peer, packet, Toward::Host, outlet, now);
        }
        match self.course(peer, &packet, outlet, now) {
            (Course::Overlay, Some(owner)) => {
                let len = piece_len.unwrap_or(packet.bytes().len());
                self.hand_over(peer, owner, packet, len, outlet, now);
            }
            (Course::Host, _) => self.deliver(peer, packet, Toward::Host, outlet, now),
            (Course::Overlay, None) | (Course::Nowhere, _) => {
                self.refuse(peer, &packet, Cause::PeersNetwork, outlet, now);
            }
        }
    }

    /// No more packets follow now: what waited for them goes to its flow.
    pub(super) fn handle_train_end(&mut self, outlet: &mut dyn Outlet, now: Instant) {
        let Some((id, header, mut bytes)) = self.coalescer.take() else { return };
        self.handle_segment(id, header.packet(&mut bytes), outlet, now);
        self.coalescer.give_back(bytes);
    }

    /// Whether packets wait for the end of their train.
    pub(crate) const fn is_in_train(&self) -> bool {
        self.coalescer.is_holding()
    }

    fn deliver(
        &mut self,
        peer: PeerId,
        packet: Packet<'_>,
        toward: Toward,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        match packet.transport {
            Transport::Tcp { .. } => {
                // Every segment has ends.
                let Some(ends) = packet.ends(peer) else { return };
                self.handle_tcp(ends, packet, toward, outlet, now);
            }
            Transport::Udp { source_port, destination_port } => {
                let source = SocketAddr::new(packet.source, source_port);
                let destination = SocketAddr::new(packet.destination, destination_port);
                let datagram = Outbound {
                    key: FlowKey::of_mapping(Protocol::Udp, peer, source),
                    destination,
                    toward,
                    packet: &packet,
                    payload: &packet.transport_bytes()[UDP_HEADER_LEN..],
                };
                self.handle_outbound(&datagram, outlet, now);
            }
            Transport::Icmp => self.handle_icmp(peer, &packet, toward, outlet, now),
            Transport::Other => {
                let ping = SocketAddr::new(packet.source, 0);
                let ping = FlowKey::of_mapping(Protocol::Icmp, peer, ping);
                let destination = SocketAddr::new(packet.destination, 0);
                let decision = self.decide(&ping, destination, toward, outlet);
                self.refuse(peer, &packet, Cause::Protocol(decision.err()), outlet, now);
            }
        }
    }

    /// What the policy says of a flow to `destination`. A peer that has gone is not answered.
    fn decide(
        &self,
        key: &FlowKey,
        destination: SocketAddr,
        toward: Toward,
        outlet: &dyn Outlet,
    ) -> Result<Offer, Denial> {
        let identity = outlet.identity(key.peer).ok_or(Denial::Dropped)?;
        self.policy.decide(&key.query(identity.public_key, destination), toward)
    }
}
