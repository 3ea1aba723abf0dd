//! The local end of a UDP forward: each client address has a flow of its own into the tunnel, and
//! gets only what comes back through that.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use mio::event::Event;
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use slipwire_core::{FlowId, Instant, TrafficClass};
use socket2::{Domain, Protocol, Socket, Type};

use crate::batch::Truncated;
use crate::datagrams::batches::{self, Batches, ReceivedFrom, Trains};
use crate::datagrams::family::Family;
use crate::datagrams::train::Train;
use crate::datagrams::ttl_and_df;
use crate::incidents::Incidents;
use crate::settings::Forward;
use crate::socket_options::{Wish, wish};

/// What may wait in the socket of a forward, in bytes as the system counts them.
const RECEIVE_BUFFER_LEN: usize = 4 << 20;

/// Places of clients that are kept although there are few.
const CLIENTS_KEPT: usize = 256;

/// A socket, where its clients want to go, and who they are.
#[derive(Debug)]
pub(crate) struct UdpForward {
    to: SocketAddr,
    local: SocketAddr,
    socket: UdpSocket,
    readable: bool,
    trains: Trains,
    family: Family,
    /// How the datagrams are marked that it sends now.
    traffic_class: TrafficClass,
    clients: Clients,
}

/// Who uses a forward: one flow for each client; core bounds the flows.
#[derive(Debug, Default)]
pub(crate) struct Clients(HashMap<SocketAddr, FlowId>);

impl UdpForward {
    pub(crate) fn bind(forward: &Forward, token: Token, registry: &Registry) -> io::Result<Self> {
        let domain = Domain::for_address(forward.listen);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if forward.listen.is_ipv6() {
            wish(Wish::OnlyV6, socket.set_only_v6(true));
        }
        // All clients share it. Where the system allows no more it stays as it is.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_LEN);
        socket.set_nonblocking(true)?;
        socket.bind(&forward.listen.into())?;
        batches::coalesce(&socket);
        let family = Family::of(forward.listen);
        ttl_and_df::ask_for_class(&socket, family);
        let mut socket = UdpSocket::from_std(socket.into());
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Self {
            to: forward.to,
            local: socket.local_addr()?,
            socket,
            readable: true,
            trains: Trains::default(),
            family,
            traffic_class: TrafficClass::DEFAULT,
            clients: Clients::default(),
        })
    }

    pub(crate) const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Where it leads, in the tunnel.
    pub(crate) const fn to(&self) -> SocketAddr {
        self.to
    }

    pub(crate) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_error();
    }

    pub(crate) const fn is_ready(&self) -> bool {
        self.readable
    }

    /// Delivers one batch of datagrams, with what they say of themselves, if there are any.
    ///
    /// # Errors
    /// Any error of the socket; it has been cleared by being read.
    pub(crate) fn receive(
        &mut self,
        batches: &mut Batches,
        mut deliver: impl FnMut(&mut Clients, ReceivedFrom, Result<&[u8], Truncated>),
    ) -> io::Result<()> {
        let Self { socket, clients, .. } = self;
        match batches.receive(socket, |from, datagram| deliver(clients, from, datagram)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(())
            }
            result => result,
        }
    }

    /// Leaves the socket alone until its next datagram comes.
    pub(crate) const fn rest(&mut self) {
        self.readable = false;
    }

    pub(crate) const fn clients_mut(&mut self) -> &mut Clients {
        &mut self.clients
    }

    /// Sends datagrams to a client. What the host can't take now is lost.
    pub(crate) fn reply(
        &mut self,
        client: SocketAddr,
        train: &Train<'_>,
        batches: &mut Batches,
        incidents: &mut Incidents,
        now: Instant,
    ) {
        let class = train.heading.travel.traffic_class;
        ttl_and_df::set_class(&self.socket, self.family, self.traffic_class, class);
        self.traffic_class = class;
        match batches.send(&self.socket, Some(&mut self.trains), &train.to(client)) {
            Ok(true) => {}
            Ok(false) => {
                let singly = train.datagrams().map(|payload| self.socket.send_to(payload, client));
                singly.filter_map(Result::err).for_each(|error| incidents.report(&error, now));
            }
            Err(error) => incidents.report(&error, now),
        }
    }
}

impl Clients {
    pub(crate) fn flow(&self, client: SocketAddr) -> Option<FlowId> {
        self.0.get(&client).copied()
    }

    pub(crate) fn add(&mut self, client: SocketAddr, flow: FlowId) {
        self.0.insert(client, flow);
    }

    /// Forgets a client's flow, unless the client has another by now.
    pub(crate) fn remove(&mut self, client: SocketAddr, flow: FlowId) {
        if self.flow(client) == Some(flow) {
            self.0.remove(&client);
            let len = self.0.len();
            if self.0.capacity() > CLIENTS_KEPT && len <= self.0.capacity() / 8 {
                self.0.shrink_to(2 * len);
            }
        }
    }
}
