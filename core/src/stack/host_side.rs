//! What the embedder says of flows: answers to offers, bytes and datagrams. Flows that it opens are
//! [`clients`](super::clients)'.

use std::net::SocketAddr;

use crate::datagram::TrafficClass;
use crate::flow::{Protocol, Refusal};
use crate::id::FlowId;
use crate::limits::PACKET_LEN_MAX;
use crate::outcome::FlowOutcome;
use crate::stack::Stack;
use crate::stack::answer::Cause;
use crate::stack::key::Ends;
use crate::stack::outlet::{Exit, Outlet};
use crate::stack::packet::icmp::{self, HEADER_LEN, Version};
use crate::stack::packet::{Packet, mark, write_icmp, write_udp};
use crate::stack::tcp::{Beginning, Connection, RingAddresses, TcpFlow};
use crate::stats::Counter;
use crate::time::Instant;

impl Stack {
    /// The embedder has a host leg for an offered flow.
    pub(super) fn handle_opened(
        &mut self,
        id: FlowId,
        port: Option<u16>,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        if let Some(port) = port {
            self.handle_bound(id, port);
        }
        let Some(key) = self.flows.get(id).map(|flow| flow.key) else { return };
        if !self.is_offered(id) {
            return;
        }
        let Some(ends) = key.ends() else { return };
        let connection = Connection::accept(&self.beginning(ends, outlet, now));
        let Some(tcp) = self.flows.get_mut(id).and_then(|flow| flow.tcp_mut()) else { return };
        let Some(mut syn) = tcp.accept(connection, now) else { return };
        // The SYN was parsed when it came.
        if let Ok(packet) = Packet::parse(&mut syn) {
            let mut exit = Exit { outlet, scratch: &mut self.scratch };
            tcp.handle_segment(packet, &mut exit, now);
        }
        self.flows.leave_half_open(key.peer);
        self.enter_eviction_order(id);
        self.make_ready(id);
    }

    /// How a connection with these ends begins, for which there is none yet.
    pub(super) fn beginning(
        &self,
        ends: Ends,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> Beginning<'_> {
        let inner = ends.remote.ip();
        let mtu = self.packet_max(ends.peer, Version::of(inner), outlet);
        let initial = Connection::initial_window(ends, mtu);
        Beginning {
            ends,
            tcp: &self.tcp,
            mtu,
            number: self.sequence_numbers.initial(ends, now),
            hint: self.paths.hint(ends.peer, inner, initial, now),
            now,
        }
    }

    /// The embedder has none.
    pub(super) fn handle_refused(
        &mut self,
        id: FlowId,
        refusal: Refusal,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let cause = Cause::Unopened(refusal);
        let is_connection = self.flows.get(id).is_some_and(|flow| flow.tcp().is_some());
        if is_connection && !self.is_offered(id) {
            // It has begun: all that is left is to end it.
            return self.handle_aborted(id, outlet);
        }
        if self.is_offered(id) {
            self.refuse_offer(id, cause, outlet, now);
        } else {
            self.refuse_mapping(id, cause, outlet, now);
        }
        self.remove(id, refusal.into(), outlet);
    }

    /// The room that a TCP flow has for bytes of the host, at least the part of it that is in one
    /// piece. It is empty before the handshake is complete; `None` if there is no such flow or its
    /// host leg ended.
    pub(crate) fn send_room(&mut self, id: FlowId) -> Option<&mut [u8]> {
        let flow = self.flows.get_mut(id)?;
        let allowance = self.memory.allowance(flow.key.peer);
        flow.tcp_mut()?.room(allowance)
    }

    /// Takes bytes of the host, and says how many.
    pub(super) fn send(&mut self, id: FlowId, bytes: &[u8], now: Instant) -> usize {
        let mut sent = 0;
        while let Some(room) = self.send_room(id) {
            if room.is_empty() {
                self.handle_full(id);
                break;
            }
            let len = room.len().min(bytes.len() - sent);
            room[..len].copy_from_slice(&bytes[sent..sent + len]);
            self.commit(id, len, now);
            sent += len;
            if sent == bytes.len() {
                break;
            }
        }
        sent
    }

    /// The host waits for room.
    fn handle_full(&mut self, id: FlowId) {
        if let Some(tcp) = self.flows.get_mut(id).and_then(|flow| flow.tcp_mut()) {
            tcp.handle_full();
            self.make_ready(id);
        }
    }

    /// The host has filled the first `len` bytes of the room. Says how many were taken: as many as
    /// if it had [sent](Self::send) them.
    pub(super) fn handle_sent(&mut self, id: FlowId, len: usize, now: Instant) -> usize {
        let Some(room) = self.send_room(id).map(|room| room.len()) else { return 0 };
        if room == 0 {
            self.handle_full(id);
        } else {
            self.commit(id, len.min(room), now);
        }
        len.min(room)
    }

    fn commit(&mut self, id: FlowId, len: usize, now: Instant) {
        if let Some(tcp) = self.flows.get_mut(id).and_then(|flow| flow.tcp_mut()) {
            tcp.commit(len, now);
            self.account(id);
            self.make_ready(id);
        }
    }

    /// What a TCP flow has received, at least the part of it that is in one piece; nothing if there
    /// is no such flow.
    pub(crate) fn received(&mut self, id: FlowId) -> &[u8] {
        let tcp = self.flows.get_mut(id).and_then(|flow| flow.tcp_mut());
        tcp.map_or(&[], TcpFlow::received)
    }

    /// The host has taken the first `len` bytes of that.
    pub(super) fn handle_taken(&mut self, id: FlowId, len: usize, now: Instant) {
        if let Some(tcp) = self.flows.get_mut(id).and_then(|flow| flow.tcp_mut()) {
            tcp.consume(len, now);
            self.account(id);
            self.make_ready(id);
        }
    }

    /// Where the rings of a TCP flow are.
    pub(crate) fn ring_addresses(&self, id: FlowId) -> Option<RingAddresses> {
        Some(self.flows.get(id)?.tcp()?.connection()?.ring_addresses())
    }

    /// The pages of a TCP flow's rings are given back, if nothing in them is needed. Says whether
    /// they are.
    pub(super) fn give_back_rings(&mut self, id: FlowId) -> bool {
        let tcp = self.flows.get_mut(id).and_then(|flow| flow.tcp_mut());
        let connection = tcp.and_then(TcpFlow::connection_mut);
        let are_given_back = connection.is_some_and(Connection::give_back_rings);
        if are_given_back {
            self.account(id);
        }
        are_given_back
    }

    /// The host leg of a TCP flow ended in good order.
    pub(super) fn handle_shutdown(&mut self, id: FlowId) {
        if let Some(tcp) = self.flows.get_mut(id).and_then(|flow| flow.tcp_mut()) {
            tcp.handle_host_ended();
            self.make_ready(id);
        }
    }

    /// The host leg of a flow failed.
    pub(super) fn handle_aborted(&mut self, id: FlowId, outlet: &mut dyn Outlet) {
        self.send_reset(id, outlet);
        self.remove(id, FlowOutcome::HostReset, outlet);
    }

    /// Sends one datagram of a mapping into the tunnel.
    pub(super) fn send_datagram(
        &mut self,
        id: FlowId,
        remote: SocketAddr,
        traffic_class: TrafficClass,
        payload: &[u8],
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let key = flow.key;
        let Some(mapping) = flow.mapping_mut() else { return };
        if !mapping.handle_inbound(remote, now) {
            return outlet.count(key.peer, Counter::DropFiltered);
        }
        let (source, path_mtu) = (key.outer.unwrap_or(remote), mapping.path_mtu());
        let written = if key.protocol == Protocol::Icmp {
            let version = Version::of(key.inner.ip());
            match icmp::echo_reply_head(version, payload, key.inner.port()) {
                Some(head) => {
                    let body = &payload[HEADER_LEN..];
                    write_icmp(&mut self.scratch, source.ip(), key.inner.ip(), &head, body)
                }
                None => return outlet.count(key.peer, Counter::DropProtocol),
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
    }
}
