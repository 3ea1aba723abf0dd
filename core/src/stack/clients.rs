//! Flows that the embedder opens into the tunnel, for clients of its own: each needs a peer, and an
//! address and a port of ours to speak from.

use std::net::SocketAddr;

use rand_chacha::rand_core::RngCore;

use crate::flow::{FlowMeta, OpenError, Protocol, Target};
use crate::id::{FlowId, PeerId};
use crate::policy::Offer;
use crate::stack::Stack;
use crate::stack::key::{Ends, FlowKey};
use crate::stack::limit::room::Full;
use crate::stack::mapping::Mapping;
use crate::stack::outlet::Outlet;
use crate::stack::table::{FlowKind, new_meta};
use crate::stack::tcp::{Connection, TcpFlow};
use crate::stats::Counter;
use crate::time::Instant;

/// Ports that are tried before a flow is refused: a peer may speak from the target to any of them.
const PORT_TRIES_MAX: usize = 128;

impl Stack {
    /// Opens a connection into the tunnel.
    pub(super) fn open_tcp(
        &mut self,
        target: SocketAddr,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> Result<FlowId, OpenError> {
        let (key, meta) = self.new_client(Protocol::Tcp, target, outlet, now)?;
        let ends = Ends { local: meta.source, remote: target, peer: key.peer };
        let connection = Connection::connect(&self.beginning(ends, outlet, now));
        let flow = FlowKind::Tcp(TcpFlow::opened(connection, now));
        let id = self.insert(key, meta, flow, outlet, now);
        outlet.count(key.peer, Counter::TcpOpened);
        self.make_ready(id);
        Ok(id)
    }

    /// Opens a UDP mapping into the tunnel.
    pub(super) fn open_udp(
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
}

/// The peer behind which the target of a local client is.
fn owner(target: SocketAddr, outlet: &dyn Outlet) -> Result<PeerId, OpenError> {
    if target.port() == 0 {
        return Err(OpenError::NoPort);
    }
    let route = outlet.route(target.ip()).ok_or(OpenError::NoPeer)?;
    Ok(route.peer)
}
