//! What the embedder says: answers to offers, flows of its own, bytes and datagrams.

use std::net::SocketAddr;

use rand_chacha::rand_core::RngCore;

use crate::config::RefusedAnswer;
use crate::datagram::TrafficClass;
use crate::flow::{FlowMeta, NoFlow, OpenError, Protocol, Refusal, Target};
use crate::id::{FlowId, PeerId};
use crate::limits::PACKET_LEN_MAX;
use crate::outcome::FlowOutcome;
use crate::policy::Offer;
use crate::stack::Stack;
use crate::stack::key::{Ends, FlowKey};
use crate::stack::limit::room::Full;
use crate::stack::mapping::Mapping;
use crate::stack::outlet::{Exit, Outlet};
use crate::stack::packet::icmp::{self, HEADER_LEN, Reason, Version};
use crate::stack::packet::{Packet, mark, write_icmp, write_udp};
use crate::stack::table::{FlowKind, new_meta};
use crate::stack::tcp::{self, Addresses, Connection, FlowStage, TcpFlow};
use crate::stats::Counter;
use crate::time::Instant;

/// Ports that are tried before a flow is refused: a peer may speak from the target to any of them.
const PORT_TRIES_MAX: usize = 128;

impl Stack {
    /// The embedder has a host leg for an offered flow.
    pub(crate) fn handle_opened(&mut self, id: FlowId, outlet: &mut dyn Outlet, now: Instant) {
        let Some(key) = self.flows.get(id).map(|flow| flow.key) else { return };
        let mtu = self.packet_max(key.peer, Version::of(key.inner.ip()), outlet);
        let tcp = self.flows.get_mut(id).and_then(|flow| flow.tcp_mut());
        let (Some(ends), Some(tcp)) = (key.ends(), tcp) else { return };
        if !matches!(tcp.stage(), FlowStage::Offered(_)) {
            return;
        }
        let begin = self.sequence_numbers.initial(ends, now);
        let connection = Connection::accept(ends, &self.tcp, mtu, begin, now);
        let Some(mut syn) = tcp.accept(connection, now) else { return };
        // The SYN was parsed when it came.
        if let Ok(packet) = Packet::parse(&mut syn) {
            let mut exit = Exit { outlet, scratch: &mut self.scratch };
            tcp.handle_segment(packet, &mut exit, now);
        }
        self.flows.leave_half_open(key.peer);
        self.stake_claim(id);
        self.make_ready(id);
    }

    /// The embedder has none.
    pub(crate) fn handle_refused(
        &mut self,
        id: FlowId,
        refusal: Refusal,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let Some(flow) = self.flows.get(id) else { return };
        let (peer, destination) = (flow.key.peer, flow.meta.destination);
        let outcome = FlowOutcome::from(refusal);
        if let Some(counter) = outcome.counter() {
            outlet.count(peer, counter);
        }
        if self.is_offered(id) {
            self.refuse_offer(id, refusal, outlet, now);
        } else {
            self.refuse_mapping(id, destination, refusal, outlet, now);
        }
        self.remove(id, outcome, outlet);
    }

    /// Answers the SYN of an offer.
    pub(super) fn refuse_offer(
        &mut self,
        id: FlowId,
        refusal: Refusal,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let Some(flow) = self.flows.get(id) else { return };
        let key = flow.key;
        if let Some(FlowStage::Offered(syn)) = flow.tcp().map(TcpFlow::stage) {
            let mut syn = syn.clone();
            self.refuse_syn(&key, &mut syn, refusal, outlet, now);
        }
    }

    fn refuse_syn(
        &mut self,
        key: &FlowKey,
        syn: &mut [u8],
        refusal: Refusal,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let answer = match refusal {
            Refusal::Refused => self.tcp.refused,
            Refusal::Exhausted | Refusal::Protected => RefusedAnswer::Reset,
            // A host that is silent has refused nothing.
            Refusal::TimedOut
            | Refusal::HostUnreachable
            | Refusal::NetworkUnreachable
            | Refusal::Prohibited => RefusedAnswer::Icmp,
        };
        match answer {
            RefusedAnswer::Reset => {
                let mut exit = Exit { outlet, scratch: &mut self.scratch };
                tcp::refuse_syn(key, syn, &mut exit);
            }
            RefusedAnswer::Icmp => {
                let (Some(ends), Ok(packet)) = (key.ends(), Packet::parse(syn)) else { return };
                let reason = Reason::of_refusal(refusal);
                let (to, from) = (ends.remote.ip(), ends.local.ip());
                self.send_error(key.peer, packet.bytes(), from, to, reason, outlet, now);
            }
            RefusedAnswer::Drop => {}
        }
    }

    /// Opens a connection into the tunnel.
    pub(crate) fn open_tcp(
        &mut self,
        target: SocketAddr,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> Result<FlowId, OpenError> {
        let (key, meta) = self.new_client(Protocol::Tcp, target, outlet, now)?;
        let ends = Ends { local: meta.source, remote: target, peer: key.peer };
        let begin = self.sequence_numbers.initial(ends, now);
        let mtu = self.packet_max(key.peer, Version::of(target.ip()), outlet);
        let connection = Connection::connect(ends, &self.tcp, mtu, begin, now);
        let flow = FlowKind::Tcp(TcpFlow::opened(connection, now));
        let id = self.insert(key, meta, flow, outlet, now);
        outlet.count(key.peer, Counter::TcpOpened);
        self.make_ready(id);
        Ok(id)
    }

    /// Opens a UDP mapping into the tunnel.
    pub(crate) fn open_udp(
        &mut self,
        target: SocketAddr,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> Result<FlowId, OpenError> {
        let (key, meta) = self.new_client(Protocol::Udp, target, outlet, now)?;
        let mapping = Mapping::client(&self.mappings, now);
        let deadline = mapping.deadline();
        let id = self.insert(key, meta, FlowKind::Mapping(mapping), outlet, now);
        self.mapping_timers.set(id.slot(), Some(deadline));
        outlet.count(key.peer, Counter::UdpOpened);
        Ok(id)
    }

    /// Finds a flow of ours an address and a port to speak from, and makes room for it.
    fn new_client(
        &mut self,
        protocol: Protocol,
        target: SocketAddr,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> Result<(FlowKey, FlowMeta), OpenError> {
        let peer = owner(target, outlet)?;
        let address = self.own_address_for(target.ip()).ok_or(OpenError::NoAddress)?;
        let mut local = SocketAddr::new(address, 0);
        let portless = FlowKey { protocol, peer, inner: target, outer: Some(local) };
        let room = self.find_room(&portless, &Target::Client).map_err(|Full(_)| {
            outlet.count(peer, Counter::LimitReached);
            OpenError::Limit
        })?;
        let offer = Offer::plain(Target::Client);
        let meta = new_meta(portless, local, target, offer, outlet).ok_or(OpenError::NoPeer)?;
        for _ in 0..PORT_TRIES_MAX {
            let port = self.ports.take(portless, self.rng.next_u32(), now);
            local.set_port(port.ok_or(OpenError::Limit)?);
            let key = FlowKey { outer: Some(local), ..portless };
            if self.flows.find(&key).is_none() && !self.time_waits.contains(&key) {
                self.clear(room, outlet);
                return Ok((key, FlowMeta { source: local, ..meta }));
            }
            self.ports.give_back(key);
        }
        Err(OpenError::Limit)
    }

    /// Lends the send ring of a TCP flow.
    pub(crate) fn send<R>(
        &mut self,
        id: FlowId,
        fill: impl FnOnce(&mut [u8]) -> (usize, R),
        now: Instant,
    ) -> Result<R, NoFlow> {
        let flow = self.flows.get_mut(id).ok_or(NoFlow)?;
        let allowance = self.memory.allowance(flow.key.peer);
        let tcp = flow.tcp_mut().ok_or(NoFlow)?;
        let result = tcp.send(fill, allowance, now).ok_or(NoFlow)?;
        self.account(id);
        self.make_ready(id);
        Ok(result)
    }

    /// Lends the receive ring of a TCP flow.
    pub(crate) fn receive<R>(
        &mut self,
        id: FlowId,
        take: impl FnOnce(&[u8]) -> (usize, R),
        now: Instant,
    ) -> Result<R, NoFlow> {
        let tcp = self.flows.get_mut(id).and_then(|flow| flow.tcp_mut()).ok_or(NoFlow)?;
        let result = tcp.receive(take, now).ok_or(NoFlow)?;
        self.account(id);
        self.make_ready(id);
        Ok(result)
    }

    /// Where the rings of a TCP flow are, if nothing in them is needed: their pages count as given
    /// back.
    pub(crate) fn give_back_rings(&mut self, id: FlowId) -> Option<Addresses> {
        let connection = self.flows.get_mut(id)?.tcp_mut()?.connection_mut()?;
        let addresses = connection.give_back_rings()?;
        self.account(id);
        Some(addresses)
    }

    /// The host leg of a TCP flow ended in good order.
    pub(crate) fn handle_shutdown(&mut self, id: FlowId) {
        if let Some(tcp) = self.flows.get_mut(id).and_then(|flow| flow.tcp_mut()) {
            tcp.handle_host_ended();
            self.make_ready(id);
        }
    }

    /// The host leg of a flow failed.
    pub(crate) fn handle_aborted(&mut self, id: FlowId, outlet: &mut dyn Outlet) {
        self.send_reset(id, outlet);
        self.remove(id, FlowOutcome::HostReset, outlet);
    }

    /// Sends one datagram of a mapping into the tunnel.
    pub(crate) fn send_marked_datagram(
        &mut self,
        id: FlowId,
        remote: SocketAddr,
        traffic_class: TrafficClass,
        payload: &[u8],
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> Result<(), NoFlow> {
        let flow = self.flows.get_mut(id).ok_or(NoFlow)?;
        let key = flow.key;
        let mapping = flow.mapping_mut().ok_or(NoFlow)?;
        if !mapping.handle_inbound(remote, now) {
            outlet.count(key.peer, Counter::DropFiltered);
            return Ok(());
        }
        let (source, path_mtu) = (key.outer.unwrap_or(remote), mapping.path_mtu());
        let written = if key.protocol == Protocol::Icmp {
            let version = Version::of(key.inner.ip());
            match icmp::echo_reply_head(version, payload, key.inner.port()) {
                Some(head) => {
                    let body = &payload[HEADER_LEN..];
                    write_icmp(&mut self.scratch, source.ip(), key.inner.ip(), &head, body)
                }
                None => {
                    outlet.count(key.peer, Counter::DropProtocol);
                    return Ok(());
                }
            }
        } else {
            write_udp(&mut self.scratch, source, key.inner, payload)
        };
        match written {
            Some(len) if len <= PACKET_LEN_MAX => {
                mapping.transfer.bytes_out += payload.len() as u64;
                mark(&mut self.scratch[..len], traffic_class);
                let widest = self.packet_max(key.peer, Version::of(key.inner.ip()), outlet);
                self.send_cut(key.peer, len, path_mtu.limit(widest, now), outlet);
            }
            Some(_) | None => outlet.count(key.peer, Counter::DropTooBig),
        }
        Ok(())
    }
}

/// The peer behind which the target of a local client is.
fn owner(target: SocketAddr, outlet: &dyn Outlet) -> Result<PeerId, OpenError> {
    if target.port() == 0 {
        return Err(OpenError::NoPort);
    }
    let route = outlet.route(target.ip()).ok_or(OpenError::NoPeer)?;
    Ok(route.peer)
}
