//! ICMP messages of peers: echo requests are answered or go to their mapping, and errors are about
//! what the peer was sent.

use std::net::SocketAddr;

use crate::action::Action;
use crate::flow::{Abort, Protocol};
use crate::id::PeerId;
use crate::outcome::FlowOutcome;
use crate::policy::Toward;
use crate::stack::key::FlowKey;
use crate::stack::outlet::Outlet;
use crate::stack::packet::icmp::{self, HEADER_LEN, IcmpMessage, QuotedProtocol, Version};
use crate::stack::packet::{Packet, mark, write_icmp};
use crate::stack::peer_side::outbound::Outbound;
use crate::stack::{Stack, tcp};
use crate::stats::Counter;
use crate::time::Instant;

impl Stack {
    /// Takes an ICMP message.
    pub(super) fn handle_icmp(
        &mut self,
        peer: PeerId,
        packet: &Packet<'_>,
        toward: Toward,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let version = Version::of(packet.source);
        let message = packet.transport_bytes();
        match (icmp::read(version, message), toward) {
            (IcmpMessage::EchoRequest { .. }, Toward::Own) => {
                let head = icmp::own_echo_reply_head(version, message);
                let (from, to) = (packet.destination, packet.source);
                let body = &message[HEADER_LEN..];
                if let Some(len) = write_icmp(&mut self.scratch, from, to, &head, body) {
                    // RFC 1349, section 5.1: as the request.
                    mark(&mut self.scratch[..len], packet.traffic_class());
                    let mtu = self.packet_max(peer, version, outlet);
                    self.send_cut(peer, len, mtu, outlet);
                }
            }
            (IcmpMessage::EchoRequest { identifier }, Toward::Host) => {
                let source = SocketAddr::new(packet.source, identifier);
                let datagram = Outbound {
                    key: FlowKey::of_mapping(Protocol::Icmp, peer, source),
                    destination: SocketAddr::new(packet.destination, 0),
                    toward,
                    packet,
                    payload: message,
                };
                self.handle_outbound(&datagram, outlet, now);
            }
            (IcmpMessage::Unreachable { quote }, Toward::Own) => {
                self.handle_unreachable(peer, version, quote, outlet);
            }
            (IcmpMessage::TooBig { mtu, quote }, _) => {
                self.handle_too_big(peer, packet.destination, mtu, quote, outlet, now);
            }
            // It ends no connection (RFC 5461), and no host hears that a peer's socket is closed.
            (IcmpMessage::Unreachable { .. }, Toward::Host) => {
                outlet.count(peer, Counter::PeerUnreachable);
            }
            (IcmpMessage::EchoReply | IcmpMessage::Other, _) => {
                outlet.count(peer, Counter::DropProtocol);
            }
        }
    }

    /// An ICMP error about something that we sent. It ends a connection only while that is being
    /// opened (RFC 5461), and only if it quotes what is in flight (RFC 5927).
    fn handle_unreachable(
        &mut self,
        peer: PeerId,
        version: Version,
        quote: &[u8],
        outlet: &mut dyn Outlet,
    ) {
        let flow = icmp::read_quote(version, quote).and_then(|quoted| {
            let QuotedProtocol::Tcp(sequence) = quoted.protocol else { return None };
            let protocol = Protocol::Tcp;
            let outer = Some(quoted.source);
            let key = FlowKey { protocol, peer, inner: quoted.destination, outer };
            let id = self.flows.find(&key)?;
            let connection = self.flows.get_mut(id)?.tcp_mut()?.connection_mut()?;
            let opening = connection.phase() == tcp::Phase::Opening;
            (opening && connection.sent(sequence)).then_some(id)
        });
        match flow {
            Some(id) => {
                self.actions.push_back(Action::Aborted(id, Abort::Unreachable));
                self.remove(id, FlowOutcome::PeerUnreachable, outlet);
            }
            None => outlet.count(peer, Counter::DropNoFlow),
        }
    }
}
