//! Packets that are too large for a path: cut where they may be, answered with the size that fits
//! where one peer sends them to another, and smaller from the next one on where a peer's network
//! says so.
//!
//! ICMP errors are believed only if they quote what is on the way (RFC 5927), and within what every
//! path carries. What hosts are sent is [`answer`](super::answer)'s.

use std::net::IpAddr;

use smoltcp::wire::Ipv4Packet;

use crate::config::MTU_IPV6_MIN;
use crate::flow::Protocol;
use crate::id::PeerId;
use crate::path_mtu::{believable, plateau_below};
use crate::stack::Stack;
use crate::stack::answer::Cause;
use crate::stack::key::FlowKey;
use crate::stack::outlet::Outlet;
use crate::stack::packet::icmp::{self, Quoted, QuotedProtocol, Version};
use crate::stack::packet::{Packet, fragmentation};
use crate::stack::table::FlowKind;
use crate::stack::tcp::FlowStage;
use crate::stats::Counter;
use crate::time::Instant;

impl Stack {
    /// Bytes of the largest packet that a peer may be sent. IPv6 has at least its smallest MTU,
    /// even if the datagrams around it are cut then (RFC 8200, section 5).
    pub(super) fn packet_max(
        &self,
        peer: PeerId,
        version: Version,
        outlet: &mut dyn Outlet,
    ) -> u16 {
        let path_mtu = outlet.path_mtu(peer);
        let path_mtu = match version {
            Version::V4 => path_mtu,
            Version::V6 => path_mtu.max(MTU_IPV6_MIN),
        };
        path_mtu.min(self.mtu)
    }

    /// Sends the packet at the start of the scratch buffer, in fragments if it has more than `mtu`
    /// bytes, which are at most the tunnel's.
    pub(super) fn send_cut(&mut self, peer: PeerId, len: usize, mtu: u16, outlet: &mut dyn Outlet) {
        let mtu = usize::from(mtu);
        if len <= mtu {
            return outlet.send(peer, &mut self.scratch, len);
        }
        self.next_identification = self.next_identification.wrapping_add(1);
        let packet = &self.scratch[..len];
        fragmentation::cut(packet, mtu, self.next_identification, &mut self.piece, |piece, len| {
            outlet.send(peer, piece, len);
        });
    }

    /// Passes a packet of the peer `from` on to the peer `to`, of which `piece_len` bytes came at
    /// once at most. What is too large and may not be cut is answered with the size that fits.
    pub(super) fn hand_over(
        &mut self,
        from: PeerId,
        to: PeerId,
        mut packet: Packet<'_>,
        piece_len: usize,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let mtu = self.packet_max(to, Version::of(packet.source), outlet);
        let may_be_cut =
            packet.source.is_ipv4() && !Ipv4Packet::new_unchecked(packet.bytes()).dont_frag();
        if piece_len > usize::from(mtu) && !may_be_cut {
            return self.refuse(from, &packet, Cause::TooBig { mtu }, outlet, now);
        }
        packet.decrement_ttl();
        outlet.count(from, Counter::PacketsOverlay);
        let len = packet.bytes().len();
        self.scratch[..len].copy_from_slice(packet.bytes());
        self.send_cut(to, len, mtu, outlet);
    }

    /// The way to a peer's endpoint carries less than it did: its connections get along with that.
    /// It looks at every flow, which is why it is for news only.
    pub(super) fn handle_path_mtu(&mut self, peer: PeerId, outlet: &mut dyn Outlet, now: Instant) {
        for id in self.flows.ids_of(peer) {
            let Some(key) = self.flows.get(id).map(|flow| flow.key) else { continue };
            let mtu = self.packet_max(peer, Version::of(key.inner.ip()), outlet);
            let tcp = self.flows.get_mut(id).and_then(|flow| flow.tcp_mut());
            let connection = tcp.and_then(|tcp| tcp.connection_mut());
            if connection.is_some_and(|connection| connection.handle_too_big(mtu, now)) {
                self.make_ready(id);
            }
        }
    }

    /// A router behind a peer could not pass on what we sent as `destination`, which its error went
    /// to, and says that packets of `mtu` bytes get through.
    pub(super) fn handle_too_big(
        &mut self,
        peer: PeerId,
        destination: IpAddr,
        mtu: u16,
        quote: &[u8],
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let version = Version::of(destination);
        let quoted = icmp::read_quote(version, quote);
        let is_news =
            quoted.filter(|quoted| quoted.source.ip() == destination).and_then(|quoted| {
                // Routers older than RFC 1191 do not say (its section 5).
                let mtu = if mtu == 0 { plateau_below(quoted.len) } else { mtu };
                // One that could pass the packet on has no reason to complain.
                let mtu = believable(mtu, version == Version::V6);
                let mtu = mtu.filter(|mtu| usize::from(*mtu) < quoted.len)?;
                self.lower_flow(peer, &quoted, mtu, outlet, now)
            });
        let counter = match is_news {
            Some(true) => Counter::PathLowered,
            // Everything that was on the way is complained about, one by one.
            Some(false) => return,
            None => Counter::DropNoFlow,
        };
        outlet.count(peer, counter);
    }

    /// Lets the flow of a quoted packet send at most `mtu` bytes at once. Says whether that is
    /// news; `None` if there is no such flow, or it did not send that.
    fn lower_flow(
        &mut self,
        peer: PeerId,
        quoted: &Quoted,
        mtu: u16,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> Option<bool> {
        let inner = quoted.destination;
        let ours = |protocol| FlowKey { protocol, peer, inner, outer: Some(quoted.source) };
        let any_hosts = |protocol| FlowKey { protocol, peer, inner, outer: None };
        let find = |key| self.flows.find(&key);
        let id = match quoted.protocol {
            QuotedProtocol::Tcp(_) => find(ours(Protocol::Tcp)),
            QuotedProtocol::Udp => {
                find(ours(Protocol::Udp)).or_else(|| find(any_hosts(Protocol::Udp)))
            }
            QuotedProtocol::Echo => find(any_hosts(Protocol::Icmp)),
            // Of ours none goes to a peer.
            QuotedProtocol::EchoRequest => None,
        }?;
        let widest = self.packet_max(peer, Version::of(inner.ip()), outlet);
        let flow = self.flows.get_mut(id)?;
        let speaks_as_one = flow.key.outer.is_some();
        let is_news = match (&mut flow.kind, quoted.protocol) {
            (FlowKind::Tcp(tcp), QuotedProtocol::Tcp(sequence)) => {
                let FlowStage::Live(connection) = tcp.stage_mut() else { return None };
                connection.sent(sequence).then(|| connection.handle_too_big(mtu, now))?
            }
            (FlowKind::Mapping(mapping), QuotedProtocol::Udp | QuotedProtocol::Echo) => {
                // One that speaks as a single host was found by that host.
                let is_sent = speaks_as_one || mapping.admits(quoted.source);
                is_sent.then(|| mapping.path_mtu_mut().lower(mtu, widest, now))?
            }
            (
                FlowKind::Tcp(_),
                QuotedProtocol::Udp | QuotedProtocol::Echo | QuotedProtocol::EchoRequest,
            )
            | (FlowKind::Mapping(_), QuotedProtocol::Tcp(_) | QuotedProtocol::EchoRequest) => {
                return None;
            }
        };
        if is_news {
            self.make_ready(id);
        }
        Some(is_news)
    }
}
