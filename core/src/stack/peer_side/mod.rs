//! What peers send: each packet finds its flow, opens one, or is answered for what it is. Datagrams
//! go through their mapping in [`outbound`].

mod outbound;

use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::TcpPacket;

use crate::action::Action;
use crate::address::{is_one_host, may_be_a_source};
use crate::event::Event;
use crate::flow::{Abort, FlowMeta, Protocol};
use crate::id::{FlowId, PeerId};
use crate::outcome::FlowOutcome;
use crate::policy::{Course, Toward, Verdict};
use crate::rules::Query;
use crate::stack::Stack;
use crate::stack::key::{Ends, FlowKey};
use crate::stack::limit::room::Full;
use crate::stack::outlet::{Exit, Outlet};
use crate::stack::packet::icmp::{self, HEADER_LEN, IcmpMessage, QuotedProtocol, Reason, Version};
use crate::stack::packet::reassembly::Intake;
use crate::stack::packet::{Packet, Transport, UDP_HEADER_LEN, mark, write_icmp};
use crate::stack::peer_side::outbound::Outbound;
use crate::stack::table::{FlowEntry, FlowKind, new_meta};
use crate::stack::tcp::{self, FlowStage, Straggler, TcpFlow};
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
            outlet.count(peer, Counter::DropTtl);
            return self.refuse(peer, &packet, Reason::TtlExceeded, outlet, now);
        }
        if packet.transport == Transport::Other {
            return self.refuse_protocol(peer, &packet, Toward::Host, outlet, now);
        }
        match self.course(peer, &packet, outlet, now) {
            (Course::Overlay, Some(owner)) => {
                let len = piece_len.unwrap_or(packet.bytes().len());
                self.hand_over(peer, owner, packet, len, outlet, now);
            }
            (Course::Host, _) => self.deliver(peer, packet, Toward::Host, outlet, now),
            (Course::Overlay, None) | (Course::Nowhere, _) => {
                self.note_packet_refused(peer, &packet, FlowOutcome::PeersOwn, outlet);
                self.refuse(peer, &packet, Reason::Prohibited, outlet, now);
            }
        }
    }

    /// Whether a segment is the next that its connection waits for. Of others each has its own
    /// answer: by the number of those the far end knows that something was lost.
    fn is_next(&self, id: FlowId, packet: &Packet<'_>) -> bool {
        let connection = self.flows.get(id).and_then(|flow| flow.tcp()?.connection());
        let sequence = TcpPacket::new_unchecked(packet.transport_bytes()).seq_number();
        connection.is_some_and(|connection| connection.waits_for(sequence))
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

    /// The TCP flow that a packet belongs to.
    fn flow_of_segment(&self, peer: PeerId, packet: &Packet<'_>) -> Option<FlowId> {
        let Transport::Tcp { source_port, destination_port } = packet.transport else {
            return None;
        };
        self.flows.find(&FlowKey::of_connection(Ends {
            local: SocketAddr::new(packet.destination, destination_port),
            remote: SocketAddr::new(packet.source, source_port),
            peer,
        }))
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
            Transport::Tcp { source_port, destination_port } => {
                let ends = Ends {
                    local: SocketAddr::new(packet.destination, destination_port),
                    remote: SocketAddr::new(packet.source, source_port),
                    peer,
                };
                self.handle_tcp(ends, packet, toward, outlet, now);
            }
            Transport::Udp { source_port, destination_port } => {
                let source = SocketAddr::new(packet.source, source_port);
                let destination = SocketAddr::new(packet.destination, destination_port);
                let datagram = Outbound {
                    key: mapping_key(Protocol::Udp, peer, source),
                    destination,
                    toward,
                    packet: &packet,
                    payload: &packet.transport_bytes()[UDP_HEADER_LEN..],
                };
                self.handle_outbound(&datagram, outlet, now);
            }
            Transport::Icmp => self.handle_icmp(peer, &packet, toward, outlet, now),
            Transport::Other => self.refuse_protocol(peer, &packet, toward, outlet, now),
        }
    }

    fn handle_tcp(
        &mut self,
        ends: Ends,
        packet: Packet<'_>,
        toward: Toward,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let key = FlowKey::of_connection(ends);
        if let Some(id) = self.flows.find(&key) {
            return self.handle_segment(id, packet, outlet, now);
        }
        let segment = TcpPacket::new_unchecked(packet.transport_bytes());
        let straggler = self.time_waits.handle_segment(&key, &segment, now);
        match straggler {
            Some(Straggler::Acknowledge(standing)) => {
                let mut exit = Exit { outlet, scratch: &mut self.scratch };
                let control = smoltcp::wire::TcpControl::None;
                return tcp::send_standing(ends, standing, control, &mut exit);
            }
            Some(Straggler::Ignore) => return outlet.count(key.peer, Counter::DropNoFlow),
            Some(Straggler::NewConnection) | None => {}
        }
        let verdict = self.decide(&key, ends.local, toward, outlet);
        let opens = segment.syn() && !segment.ack() && !segment.rst() && !segment.fin();
        if !opens {
            outlet.count(key.peer, Counter::DropNoFlow);
            if verdict != Verdict::Drop && is_one_host(ends.local.ip()) {
                let mut exit = Exit { outlet, scratch: &mut self.scratch };
                tcp::refuse_segment(ends, &segment, &mut exit);
            }
            return;
        }
        if verdict == Verdict::NoPeer {
            // As a kernel's WireGuard says it.
            self.note_refused(&key, ends.local, FlowOutcome::NoPeer, outlet);
            return self.refuse(ends.peer, &packet, Reason::Host, outlet, now);
        }
        let offer = match verdict {
            // It could not be answered: no connection is from port 0.
            Verdict::Offer(_) if ends.remote.port() == 0 => Err(FlowOutcome::PortClosed),
            Verdict::Offer(offer) => Ok(offer),
            Verdict::Closed => Err(FlowOutcome::PortClosed),
            Verdict::Reject => Err(FlowOutcome::Rejected),
            Verdict::Protected => Err(FlowOutcome::Protected),
            Verdict::NoPeer => Err(FlowOutcome::NoPeer),
            Verdict::Drop => Err(FlowOutcome::Dropped),
        };
        let offer = offer.and_then(|offer| {
            let meta = new_meta(key, ends.remote, ends.local, offer, outlet);
            let meta = meta.ok_or(FlowOutcome::Dropped)?;
            let room = self.make_room_for_offer(&key, &meta.target, outlet);
            room.map_err(|Full(bound)| bound.outcome())?;
            Ok(meta)
        });
        match offer {
            Ok(meta) => {
                let flow = TcpFlow::offered(&packet, now);
                self.flows.enter_half_open(key.peer);
                let id = self.insert(key, meta, FlowKind::Tcp(flow), outlet, now);
                self.tcp_timers.set(id.slot(), Some(now + self.tcp.connect_timeout));
                self.actions.push_back(Action::Open(id));
                outlet.count(key.peer, Counter::TcpOpened);
            }
            Err(outcome) => {
                self.note_refused(&key, ends.local, outcome, outlet);
                if outcome != FlowOutcome::Dropped && is_one_host(ends.local.ip()) {
                    let mut exit = Exit { outlet, scratch: &mut self.scratch };
                    tcp::refuse_segment(ends, &segment, &mut exit);
                }
            }
        }
    }

    /// The verdict on a flow to `destination`; a peer that has gone is not answered.
    pub(super) fn decide(
        &self,
        key: &FlowKey,
        destination: SocketAddr,
        toward: Toward,
        outlet: &dyn Outlet,
    ) -> Verdict {
        let Some(identity) = outlet.identity(key.peer) else { return Verdict::Drop };
        let (protocol, source) = (key.protocol, key.inner.ip());
        let query = Query { peer: identity.public_key, protocol, source, destination };
        self.policy.decide(&query, toward)
    }

    fn handle_segment(
        &mut self,
        id: FlowId,
        packet: Packet<'_>,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let peer = flow.key.peer;
        let Some(tcp) = flow.tcp_mut() else { return };
        match tcp.stage() {
            FlowStage::Offered(syn) => {
                // A repeated SYN is the same attempt; a reset takes it back.
                let header_len = packet.bytes().len() - packet.transport_bytes().len();
                let segment = TcpPacket::new_unchecked(packet.transport_bytes());
                let syn = syn.get(header_len..).and_then(|syn| TcpPacket::new_checked(syn).ok());
                if syn.is_some_and(|syn| tcp::takes_back(&syn, &segment)) {
                    self.actions.push_back(Action::Aborted(id, Abort::Reset));
                    self.remove(id, FlowOutcome::PeerReset, outlet);
                }
            }
            FlowStage::Live(connection) => {
                let segment = TcpPacket::new_unchecked(packet.transport_bytes());
                let growth = connection.growth(&segment);
                if growth > 0 && growth > self.memory.room(peer) {
                    outlet.count(peer, Counter::DropMemory);
                    return self.memory.handle_held_up(peer, now);
                }
                let mut exit = Exit { outlet, scratch: &mut self.scratch };
                tcp.handle_segment(packet, &mut exit, now);
                if tcp.has_ended() {
                    self.free_ends(id, now);
                }
                self.account(id);
                self.make_ready(id);
            }
        }
    }

    /// A connection has ended in the tunnel, even if what came of it is still to be read. What the
    /// far end says from now on is about no flow.
    fn free_ends(&mut self, id: FlowId, now: Instant) {
        let Some(flow) = self.flows.get(id) else { return };
        if let Some(standing) = flow.tcp().and_then(TcpFlow::final_standing) {
            self.time_waits.insert(flow.key, standing, now);
        }
        self.flows.free_key(id);
    }

    fn handle_icmp(
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
                    key: mapping_key(Protocol::Icmp, peer, source),
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
                outlet.count(peer, Counter::DropProtocol)
            }
        }
    }

    /// Answers a packet of a protocol that is not carried as a host does that does not speak it.
    /// Rules know no such protocol; where a ping would not be answered this is not either.
    fn refuse_protocol(
        &mut self,
        peer: PeerId,
        packet: &Packet<'_>,
        toward: Toward,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        outlet.count(peer, Counter::DropProtocol);
        let key = mapping_key(Protocol::Icmp, peer, SocketAddr::new(packet.source, 0));
        let destination = SocketAddr::new(packet.destination, 0);
        if self.decide(&key, destination, toward, outlet) != Verdict::Drop {
            self.refuse(peer, packet, Reason::Protocol, outlet, now);
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

    /// Answers a packet with an ICMP error, unless that must not be (RFC 1122, section 3.2.2).
    pub(super) fn refuse(
        &mut self,
        peer: PeerId,
        packet: &Packet<'_>,
        reason: Reason,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let version = Version::of(packet.source);
        let is_error = packet.transport == Transport::Icmp
            && icmp::is_error(version, packet.transport_bytes());
        if is_error || !is_one_host(packet.destination) {
            return;
        }
        self.send_error(
            peer,
            packet.bytes(),
            packet.destination,
            packet.source,
            reason,
            outlet,
            now,
        );
    }

    /// Sends an ICMP error about `offending`, which `destination` could not be given.
    #[expect(clippy::too_many_arguments, reason = "an error is about a whole packet")]
    pub(super) fn send_error(
        &mut self,
        peer: PeerId,
        offending: &[u8],
        destination: IpAddr,
        source: IpAddr,
        reason: Reason,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        if !self.may_send_error(peer, now) {
            return outlet.count(peer, Counter::DropIcmpRate);
        }
        // What a router says it says for itself (RFC 1812, section 4.3.2.4), as a kernel in this
        // place would. The size that fits is said in the name of the destination all the same: it
        // must get through, and a peer may not accept our own address from us.
        let from = match reason {
            Reason::TtlExceeded | Reason::Host | Reason::Network | Reason::Prohibited => {
                self.own_address_for(source).unwrap_or(destination)
            }
            Reason::Port | Reason::Protocol | Reason::TooBig { .. } => destination,
        };
        self.write_error(peer, offending, from, source, reason, outlet);
    }

    /// Sends an ICMP error in the name of `from`.
    pub(super) fn write_error(
        &mut self,
        peer: PeerId,
        offending: &[u8],
        from: IpAddr,
        to: IpAddr,
        reason: Reason,
        outlet: &mut dyn Outlet,
    ) {
        let (head, quote) = reason.error(Version::of(to), offending);
        if let Some(len) = write_icmp(&mut self.scratch, from, to, &head, quote) {
            outlet.send(peer, &mut self.scratch, len);
        }
    }

    pub(super) fn insert(
        &mut self,
        key: FlowKey,
        meta: FlowMeta,
        kind: FlowKind,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> FlowId {
        let id = self.flows.insert(FlowEntry { key, meta, kind, opened_at: now, ready: false });
        self.stake_claim(id);
        if let Some(flow) = self.flows.state(id) {
            outlet.tell(Event::FlowOpened(flow));
        }
        id
    }
}

const fn mapping_key(protocol: Protocol, peer: PeerId, inner: SocketAddr) -> FlowKey {
    FlowKey { protocol, peer, inner, outer: None }
}
