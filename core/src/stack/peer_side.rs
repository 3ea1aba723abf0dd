//! What peers send: each packet finds its flow, opens one, or is answered for what it is.

use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::TcpPacket;

use crate::action::{Abort, Action, FlowId, FlowMeta, PeerId, Protocol, Target};
use crate::stack::flow::{Flow, FlowKey, FlowKind};
use crate::stack::icmp::{self, HEADER_LEN, Message, QuotedProtocol, Reason, Version};
use crate::stack::mapping::Mapping;
use crate::stack::packet::{Packet, Transport, UDP_HEADER_LEN, write_icmp};
use crate::stack::policy::Verdict;
use crate::stack::reassembly::Intake;
use crate::stack::tcp::{self, Ends, Exit, Stage, Straggler, TcpFlow};
use crate::stack::{Outlet, Stack};
use crate::stats::Counter;
use crate::time::Instant;

/// Where a packet was meant to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Direction {
    /// One of our own tunnel addresses.
    Own,
    /// The host's network.
    Host,
}

impl Stack {
    /// Takes one packet of a peer. Its inner source belongs to that peer.
    pub(crate) fn handle_packet(
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
            Intake::Dropped(reason) => outlet.count(reason),
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
            Err(reason) => return outlet.count(reason),
        };
        if !may_be_a_source(packet.source) || self.is_own(packet.source) {
            return outlet.count(Counter::DropSource);
        }
        if self.is_own(packet.destination) {
            return self.deliver(peer, packet, Direction::Own, outlet, now);
        }
        if packet.ttl <= 1 {
            outlet.count(Counter::DropTtl);
            return self.refuse(peer, &packet, Reason::TtlExceeded, outlet, now);
        }
        let owner = outlet.route(packet.destination);
        match owner.filter(|_| !self.policy.excludes(packet.destination)) {
            Some(route) if route.peer == peer && route.prefix_len > 0 => {
                // Its own network, which it has come from.
                outlet.count(Counter::Rejected);
                return self.refuse(peer, &packet, Reason::Prohibited, outlet, now);
            }
            Some(route) if route.peer != peer => {
                if self.policy.allows_overlay() {
                    let len = piece_len.unwrap_or(packet.bytes().len());
                    return self.hand_over(peer, route.peer, packet, len, outlet, now);
                }
                // A peer that takes everything is a way out, not the owner of each address.
                if route.prefix_len > 0 {
                    outlet.count(Counter::Rejected);
                    return self.refuse(peer, &packet, Reason::Prohibited, outlet, now);
                }
            }
            Some(_) | None => {}
        }
        self.deliver(peer, packet, Direction::Host, outlet, now);
    }

    fn deliver(
        &mut self,
        peer: PeerId,
        packet: Packet<'_>,
        direction: Direction,
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
                self.handle_tcp(ends, packet, direction, outlet, now);
            }
            Transport::Udp { source_port, destination_port } => {
                let source = SocketAddr::new(packet.source, source_port);
                let destination = SocketAddr::new(packet.destination, destination_port);
                match direction {
                    Direction::Own => {
                        self.handle_client_reply(peer, source, destination, &packet, outlet, now);
                    }
                    Direction::Host => {
                        let key = mapping_key(Protocol::Udp, peer, source);
                        let payload = &packet.transport_bytes()[UDP_HEADER_LEN..];
                        self.handle_outbound(key, destination, &packet, payload, outlet, now);
                    }
                }
            }
            Transport::Icmp => self.handle_icmp(peer, &packet, direction, outlet, now),
        }
    }

    fn handle_tcp(
        &mut self,
        ends: Ends,
        packet: Packet<'_>,
        direction: Direction,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let key = FlowKey {
            protocol: Protocol::Tcp,
            peer: ends.peer,
            inner: ends.remote,
            outer: Some(ends.local),
        };
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
            Some(Straggler::Ignore) => return outlet.count(Counter::DropNoFlow),
            Some(Straggler::NewConnection) | None => {}
        }
        let opens = segment.syn() && !segment.ack() && !segment.rst() && !segment.fin();
        if !opens {
            outlet.count(Counter::DropNoFlow);
            let silent = direction == Direction::Host
                && self.policy.verdict(ends.local.ip()) == Verdict::Drop;
            if !silent && is_one_host(ends.local.ip()) {
                let mut exit = Exit { outlet, scratch: &mut self.scratch };
                tcp::refuse_segment(ends, &segment, &mut exit);
            }
            return;
        }
        let offer = match direction {
            Direction::Own if self.policy.is_service(ends.local.port()) => {
                Ok(Target::Service(ends.local.port()))
            }
            Direction::Own => Err(Some(Counter::Rejected)),
            Direction::Host => match self.policy.verdict(ends.local.ip()) {
                Verdict::Relay => Ok(Target::Host(ends.local)),
                Verdict::Reject => Err(Some(Counter::Rejected)),
                Verdict::Protected => Err(Some(Counter::Protected)),
                Verdict::Drop => Err(None),
            },
        };
        let offer = offer.and_then(|target| {
            let meta = new_meta(key, ends.remote, ends.local, target, outlet).ok_or(None)?;
            self.admit_tcp(&key).map_err(|_| Some(Counter::LimitReached))?;
            Ok(meta)
        });
        match offer {
            Ok(meta) => {
                let flow = TcpFlow::offered(packet.bytes(), now);
                let id = self.insert(key, meta, FlowKind::Tcp(flow));
                self.tcp_timers.set(id.slot(), Some(now + self.tcp.connect_timeout));
                self.actions.push_back(Action::Open(id));
                outlet.count(Counter::TcpOpened);
            }
            Err(Some(counter)) => {
                outlet.count(counter);
                if is_one_host(ends.local.ip()) {
                    let mut exit = Exit { outlet, scratch: &mut self.scratch };
                    tcp::refuse_segment(ends, &segment, &mut exit);
                }
            }
            Err(None) => outlet.count(Counter::DropPolicy),
        }
    }

    fn handle_segment(
        &mut self,
        id: FlowId,
        packet: Packet<'_>,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let Some(tcp) = self.flows.get_mut(id).and_then(|flow| flow.tcp_mut()) else { return };
        match tcp.stage() {
            Stage::Offered(syn) => {
                // A repeated SYN is the same attempt; a reset takes it back.
                let header_len = packet.bytes().len() - packet.transport_bytes().len();
                let segment = TcpPacket::new_unchecked(packet.transport_bytes());
                let syn = syn.get(header_len..).and_then(|syn| TcpPacket::new_checked(syn).ok());
                if syn.is_some_and(|syn| tcp::takes_back(&syn, &segment)) {
                    self.actions.push_back(Action::Aborted(id, Abort::Reset));
                    self.remove(id);
                }
            }
            Stage::Live(_) => {
                let segment = TcpPacket::new_unchecked(packet.transport_bytes());
                let len = segment.payload().len();
                if len > 0 && len > self.memory.room() {
                    outlet.count(Counter::DropMemory);
                    return self.memory.handle_full(now);
                }
                let mut exit = Exit { outlet, scratch: &mut self.scratch };
                tcp.handle_segment(packet, &mut exit, now);
                self.account(id);
                self.make_ready(id);
            }
        }
    }

    /// A datagram to one of our own addresses: the answer to a local client, or nobody's.
    fn handle_client_reply(
        &mut self,
        peer: PeerId,
        source: SocketAddr,
        destination: SocketAddr,
        packet: &Packet<'_>,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let protocol = Protocol::Udp;
        let key = FlowKey { protocol, peer, inner: source, outer: Some(destination) };
        let Some(id) = self.flows.find(&key) else {
            outlet.count(Counter::DropNoFlow);
            return self.refuse(peer, packet, Reason::Port, outlet, now);
        };
        if let Some(mapping) = self.flows.get_mut(id).and_then(|flow| flow.mapping_mut()) {
            mapping.handle_client_traffic(now);
        }
        let payload = &packet.transport_bytes()[UDP_HEADER_LEN..];
        if self.datagrams.push(id, source, packet.onward(), payload).is_err() {
            outlet.count(Counter::DropQueueFull);
        }
    }

    /// A datagram or echo request to a host.
    fn handle_outbound(
        &mut self,
        key: FlowKey,
        destination: SocketAddr,
        packet: &Packet<'_>,
        payload: &[u8],
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        // Each datagram names its own host, so that each is judged.
        match self.policy.verdict(destination.ip()) {
            Verdict::Relay => {}
            Verdict::Protected if self.is_mapped(key.protocol, destination) => {}
            Verdict::Drop => return outlet.count(Counter::DropPolicy),
            verdict @ (Verdict::Reject | Verdict::Protected) => {
                let protected = verdict == Verdict::Protected;
                outlet.count(if protected { Counter::Protected } else { Counter::Rejected });
                return self.refuse(key.peer, packet, Reason::Prohibited, outlet, now);
            }
        }
        let known = self.flows.find(&key);
        let id = match known.or_else(|| self.open_mapping(key, destination, outlet, now)) {
            Some(id) => id,
            None => {
                outlet.count(Counter::LimitReached);
                return self.refuse(key.peer, packet, Reason::Prohibited, outlet, now);
            }
        };
        if let Some(mapping) = self.flows.get_mut(id).and_then(|flow| flow.mapping_mut()) {
            mapping.handle_outbound(destination, &self.mappings, now);
        }
        if self.datagrams.push(id, destination, packet.onward(), payload).is_err() {
            outlet.count(Counter::DropQueueFull);
        }
    }

    /// Opens a mapping for a peer; `None` at a limit.
    fn open_mapping(
        &mut self,
        key: FlowKey,
        destination: SocketAddr,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> Option<FlowId> {
        self.make_room(&key)?;
        let target = Target::Host(destination);
        let meta = new_meta(key, key.inner, destination, target, outlet)?;
        let (mapping, counter) = if key.protocol == Protocol::Icmp {
            (Mapping::echo(&self.mappings, now), Counter::IcmpOpened)
        } else {
            (Mapping::udp(&self.mappings, now), Counter::UdpOpened)
        };
        let deadline = mapping.deadline();
        let id = self.insert(key, meta, FlowKind::Mapping(mapping));
        self.watch_mapping(id, deadline);
        self.actions.push_back(Action::Open(id));
        outlet.count(counter);
        Some(id)
    }

    fn handle_icmp(
        &mut self,
        peer: PeerId,
        packet: &Packet<'_>,
        direction: Direction,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let version = Version::of(packet.source);
        let message = packet.transport_bytes();
        match (icmp::read(version, message), direction) {
            (Message::EchoRequest { .. }, Direction::Own) => {
                let head = icmp::own_echo_reply_head(version, message);
                let (from, to) = (packet.destination, packet.source);
                let body = &message[HEADER_LEN..];
                if let Some(len) = write_icmp(&mut self.scratch, from, to, &head, body) {
                    let mtu = self.packet_max(peer, version, outlet);
                    self.send_cut(peer, len, mtu, outlet);
                }
            }
            (Message::EchoRequest { identifier }, Direction::Host) => {
                let source = SocketAddr::new(packet.source, identifier);
                let key = mapping_key(Protocol::Icmp, peer, source);
                let destination = SocketAddr::new(packet.destination, 0);
                self.handle_outbound(key, destination, packet, message, outlet, now);
            }
            (Message::Unreachable { quote }, Direction::Own) => {
                self.handle_unreachable(peer, version, quote, outlet);
            }
            (Message::TooBig { mtu, quote }, _) => {
                self.handle_too_big(peer, packet.destination, mtu, quote, outlet, now);
            }
            // It ends no connection (RFC 5461), and no host hears that a peer's socket is closed.
            (Message::Unreachable { .. }, Direction::Host) => {
                outlet.count(Counter::PeerUnreachable);
            }
            (Message::Other, _) => outlet.count(Counter::DropProtocol),
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
                self.remove(id);
            }
            None => outlet.count(Counter::DropNoFlow),
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
            return outlet.count(Counter::DropIcmpRate);
        }
        // A hop speaks for itself. Everything else is said in the name of the destination: the
        // peer may not accept our own address from us.
        let from = match reason {
            Reason::TtlExceeded => self.own_address_for(source).unwrap_or(destination),
            Reason::Port
            | Reason::Host
            | Reason::Network
            | Reason::Prohibited
            | Reason::TooBig { .. } => destination,
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

    pub(super) fn insert(&mut self, key: FlowKey, meta: FlowMeta, kind: FlowKind) -> FlowId {
        self.flows.insert(Flow { key, meta, kind, ready: false })
    }
}

/// What a new flow is about; `None` if its peer has gone.
pub(super) fn new_meta(
    key: FlowKey,
    source: SocketAddr,
    destination: SocketAddr,
    target: Target,
    outlet: &dyn Outlet,
) -> Option<FlowMeta> {
    let (peer, protocol) = (outlet.identity(key.peer)?, key.protocol);
    Some(FlowMeta { peer, protocol, source, destination, target })
}

const fn mapping_key(protocol: Protocol, peer: PeerId, inner: SocketAddr) -> FlowKey {
    FlowKey { protocol, peer, inner, outer: None }
}

/// Whether an address may stand as the source of a packet.
pub(super) fn may_be_a_source(address: IpAddr) -> bool {
    is_one_host(address) && !address.is_loopback()
}

/// Whether an address may be that of one host, which an answer may go to or come from.
fn is_one_host(address: IpAddr) -> bool {
    let broadcast = match address {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    !(address.is_multicast() || address.is_unspecified() || broadcast)
}
