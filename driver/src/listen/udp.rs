//! The local end of a UDP forward: each client address has a flow of its own into the tunnel, and
//! gets only what comes back through that.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use mio::event::Event;
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use slipwire_core::{FlowId, Instant};
use socket2::{Domain, Protocol, Socket, Type};

use crate::incidents::Incidents;
use crate::settings::Forward;

/// Places of clients that are kept although there are few.
const CLIENTS_KEPT: usize = 256;

/// A socket, where its clients want to go, and who they are.
#[derive(Debug)]
pub(crate) struct UdpForward {
    to: SocketAddr,
    local: SocketAddr,
    socket: UdpSocket,
    readable: bool,
    /// One flow for each client; core bounds the flows.
    clients: HashMap<SocketAddr, FlowId>,
}

impl UdpForward {
    pub(crate) fn bind(forward: &Forward, token: Token, registry: &Registry) -> io::Result<Self> {
        let domain = Domain::for_address(forward.listen);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if forward.listen.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&forward.listen.into())?;
        let mut socket = UdpSocket::from_std(socket.into());
        registry.register(&mut socket, token, Interest::READABLE)?;
        let local = socket.local_addr()?;
        Ok(Self { to: forward.to, local, socket, readable: true, clients: HashMap::new() })
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

    /// The next datagram's length and its sender; `None` if none waits.
    ///
    /// # Errors
    /// Any error of the socket; it has been cleared by being read.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        match self.socket.recv_from(buffer) {
            Ok(datagram) => Ok(Some(datagram)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Leaves the socket alone until its next datagram comes.
    pub(crate) const fn rest(&mut self) {
        self.readable = false;
    }

    pub(crate) fn flow(&self, client: SocketAddr) -> Option<FlowId> {
        self.clients.get(&client).copied()
    }

    pub(crate) fn add(&mut self, client: SocketAddr, flow: FlowId) {
        self.clients.insert(client, flow);
    }

    /// Forgets a client's flow, unless the client has another by now.
    pub(crate) fn remove(&mut self, client: SocketAddr, flow: FlowId) {
        if self.flow(client) == Some(flow) {
            self.clients.remove(&client);
            let len = self.clients.len();
            if self.clients.capacity() > CLIENTS_KEPT && len <= self.clients.capacity() / 8 {
                self.clients.shrink_to(2 * len);
            }
        }
    }

    /// Sends a datagram to a client. If the host can't take it now it is lost.
    pub(crate) fn reply(
        &self,
        client: SocketAddr,
        payload: &[u8],
        incidents: &mut Incidents,
        now: Instant,
    ) {
        if let Err(error) = self.socket.send_to(payload, client) {
            incidents.report(&error, now);
        }
    }
}
