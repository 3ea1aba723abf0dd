//! The host side of flows: carries out core's actions on sockets of this host.
//!
//! ```text
//!   flow_table.rs     the host legs of all flows, and whose turn it is
//!   work.rs           what a turn came to
//!   connect_queue.rs  peers' connections that wait to be begun
//!   guard.rs          whether its target is this host itself
//!   route_cache.rs    what the kernel has said of that
//!   open.rs           a peer's flow gets its host leg
//!   forward.rs        a local client gets its flow
//!   dial.rs           connects, from which port
//!   tcp.rs            a flow of bytes, over a socket of stream.rs
//!   keepalive.rs      whether its other end is still there
//!   proxy.rs          what a host is told of the peer first
//!   serve.rs          a flow that the embedder answers, by one of the services of service/
//!   datagram.rs       a flow of datagrams, over the sockets of udp.rs and icmp.rs
//!   source_ports.rs   which ports flows may have
//!   send.rs           datagrams on their way to hosts
//!   error_queue.rs    which of them did not arrive
//!   echo.rs           the header of a ping
//! ```
//!
//! Which flow may reach what has been decided by core.

mod connect_queue;
mod datagram;
mod dial;
mod echo;
mod error_queue;
mod flow_table;
mod forward;
pub(crate) mod guard;
mod icmp;
pub(crate) mod keepalive;
mod open;
pub(crate) mod proxy;
mod route_cache;
pub(crate) mod send;
mod serve;
pub(crate) mod service;
pub(crate) mod source_ports;
mod stream;
mod tcp;
pub(crate) mod udp;
mod work;

use std::net::{IpAddr, SocketAddr};

use log::Level;
use mio::Registry;
use mio::event::Event;
use slipwire_core::{Abort, Engine, FlowId, Instant, Undelivered};

use self::connect_queue::ConnectQueue;
use self::datagram::DatagramSocket;
use self::dial::Dialer;
use self::flow_table::FlowTable;
use self::guard::Guard;
use self::icmp::PingSockets;
use self::keepalive::HostKeepalive;
use self::service::Services;
use self::service::datagrams::ServedDatagrams;
use self::service::stream::{ServedStream, StreamEnd};
use self::source_ports::SourcePorts;
use self::tcp::Connection;
use self::work::Work;
use crate::datagrams::batches::Batches;
use crate::datagrams::train::TrainBuilder;
use crate::incidents::Incidents;
use crate::listen::Listener;
use crate::listen::table::Forwards;

/// The host's end of one flow.
#[derive(Debug)]
pub(crate) enum HostLeg {
    /// A connection, to a host or from a local client.
    Tcp(Connection),
    /// A socket for the datagrams of a mapping.
    Datagrams(DatagramSocket),
    /// One of the clients of a UDP forward, who share its socket.
    Client { listener: usize, client: SocketAddr },
    /// A stream that a service of the embedder has.
    ServedStream(ServedStream),
    /// Datagrams that a service of the embedder has.
    ServedDatagrams(ServedDatagrams),
}

impl HostLeg {
    const fn has_socket(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Datagrams(_) => true,
            Self::Client { .. } | Self::ServedStream(_) | Self::ServedDatagrams(_) => false,
        }
    }

    /// The connection over a socket, if it is one.
    const fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Tcp(connection) => Some(connection),
            Self::Datagrams(_)
            | Self::Client { .. }
            | Self::ServedStream(_)
            | Self::ServedDatagrams(_) => None,
        }
    }
}

/// The host side of all flows.
pub(crate) struct Host {
    registry: Registry,
    /// Only a gateway has something to keep from peers.
    guard: Option<Guard>,
    flows: FlowTable,
    connects: ConnectQueue,
    dialer: Dialer,
    forwards: Forwards,
    services: Services,
    ping: PingSockets,
    source_ports: SourcePorts,
    /// How many flows may have a socket of their own.
    sockets_max: usize,
    keepalive: HostKeepalive,
    batches: Batches,
    outgoing: TrainBuilder,
    /// The datagram that a service gets.
    served: Vec<u8>,
    /// What peers are to be told of datagrams that could not be sent.
    undelivered: Vec<(FlowId, Undelivered)>,
    lost_datagrams: Incidents,
    lost_clients: Incidents,
    /// Flows of peers for which the system had nothing left.
    lost_flows: Incidents,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("flows", &self.flows)
            .field("forwards", &self.forwards)
            .field("ping", &self.ping)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// A host without flows, in which at most `sockets_max` flows have a socket.
    pub(crate) fn new(
        registry: Registry,
        guard: Option<Guard>,
        forwards: Forwards,
        sockets_max: usize,
        keepalive: HostKeepalive,
        batches: Batches,
    ) -> Self {
        Self {
            registry,
            guard,
            flows: FlowTable::default(),
            connects: ConnectQueue::default(),
            dialer: Dialer::default(),
            forwards,
            services: Services::default(),
            ping: PingSockets::probe(),
            source_ports: SourcePorts::read(),
            sockets_max,
            keepalive,
            batches,
            outgoing: TrainBuilder::default(),
            served: Vec::new(),
            undelivered: Vec::new(),
            lost_datagrams: Incidents::new("datagrams lost at the host", Level::Debug),
            lost_clients: Incidents::new("clients of a forward have to wait", Level::Warn),
            lost_flows: Incidents::new("a peer was refused a flow", Level::Warn),
        }
    }

    pub(crate) const fn forwards(&self) -> &Forwards {
        &self.forwards
    }

    pub(crate) const fn ping(&self) -> &PingSockets {
        &self.ping
    }
}

/// Events.
impl Host {
    pub(crate) fn note_listener(&mut self, index: usize, event: &Event) {
        self.forwards.note(index, event);
    }

    pub(crate) fn note_flow(&mut self, key: usize, event: &Event) {
        match self.flows.by_key(key) {
            Some((_, HostLeg::Tcp(connection))) => connection.note(event),
            Some((_, HostLeg::Datagrams(socket))) => socket.note(event),
            Some((
                _,
                HostLeg::Client { .. } | HostLeg::ServedStream(_) | HostLeg::ServedDatagrams(_),
            ))
            | None => return,
        }
        self.flows.wake(key);
    }
}

/// Actions.
impl Host {
    pub(crate) fn established(&mut self, flow: FlowId) {
        if let Some((key, HostLeg::Tcp(connection))) = self.flows.by_flow(flow) {
            connection.handle_established();
            self.flows.wake(key);
        }
    }

    pub(crate) fn readable(&mut self, flow: FlowId) {
        let Some((key, leg)) = self.flows.by_flow(flow) else { return };
        match leg {
            HostLeg::Tcp(connection) => connection.handle_readable(),
            HostLeg::ServedStream(stream) => stream.handle_readable(),
            HostLeg::Datagrams(_) | HostLeg::Client { .. } | HostLeg::ServedDatagrams(_) => {
                return;
            }
        }
        self.flows.wake(key);
    }

    pub(crate) fn writable(&mut self, flow: FlowId) {
        let Some((key, leg)) = self.flows.by_flow(flow) else { return };
        match leg {
            HostLeg::Tcp(connection) => connection.handle_writable(),
            HostLeg::ServedStream(_) => {}
            HostLeg::Datagrams(_) | HostLeg::Client { .. } | HostLeg::ServedDatagrams(_) => {
                return;
            }
        }
        self.flows.wake(key);
    }

    pub(crate) fn shut_down(&mut self, flow: FlowId) {
        let Some((key, leg)) = self.flows.by_flow(flow) else { return };
        match leg {
            HostLeg::Tcp(connection) => connection.shut_down(),
            HostLeg::ServedStream(stream) => {
                stream.handle_end();
                self.flows.wake(key);
            }
            HostLeg::Datagrams(_) | HostLeg::Client { .. } | HostLeg::ServedDatagrams(_) => {}
        }
    }

    pub(crate) fn close(&mut self, flow: FlowId) {
        log::debug!("{flow:?}: closed");
        // Whatever socket there is closes in good order by being dropped.
        if let Some(leg) = self.remove(flow) {
            self.services.handle_ended(flow, &leg, StreamEnd::Complete);
        }
    }

    pub(crate) fn abort(&mut self, flow: FlowId, why: Abort) {
        log::debug!("{flow:?}: aborted, {why}");
        match self.remove(flow) {
            Some(HostLeg::Tcp(connection)) => connection.reset(),
            Some(leg) => self.services.handle_ended(flow, &leg, StreamEnd::Aborted(why)),
            None => {}
        }
    }

    /// Forgets a flow. Its socket leaves epoll by being closed.
    fn remove(&mut self, flow: FlowId) -> Option<HostLeg> {
        let leg = self.flows.remove(flow)?;
        if let HostLeg::Client { listener, client } = leg
            && let Some(Listener::Udp(forward)) = self.forwards.listener_mut(listener)
        {
            forward.clients_mut().remove(client, flow);
        }
        Some(leg)
    }
}

/// Changes of this host and of the rules.
impl Host {
    /// What led to another host may lead to this one now, and the other way round.
    pub(crate) fn forget_routes(&mut self) {
        if let Some(guard) = &mut self.guard {
            guard.forget();
        }
    }

    /// Ends the connections that are bound to an address which this host has no more: nothing that
    /// is sent to them arrives, and nobody says so.
    pub(crate) fn handle_addresses_gone(
        &mut self,
        gone: &[IpAddr],
        engine: &mut Engine,
        now: Instant,
    ) {
        let is_bound = |leg: &HostLeg| {
            let local = leg.connection().and_then(Connection::local_ip);
            local.is_some_and(|ip| gone.contains(&ip))
        };
        if !gone.is_empty() {
            let flows = self.flows.matching(|_, leg| is_bound(leg));
            self.end(&flows, "its address at this host is gone", engine, now);
        }
    }

    /// Ends the connections to this host itself that the rules do not allow any more. Core does
    /// not know that they are that where a route alone makes them so.
    pub(crate) fn handle_rules_changed(&mut self, engine: &mut Engine, now: Instant) {
        self.forget_routes();
        let is_barred = |flow, leg: &HostLeg| {
            let target = leg.connection().and_then(Connection::target_at_this_host);
            target.is_some_and(|target| !engine.may_reach_host(flow, target))
        };
        let flows = self.flows.matching(is_barred);
        self.end(&flows, "the rules keep it from this host", engine, now);
    }

    fn end(&mut self, flows: &[FlowId], why: &str, engine: &mut Engine, now: Instant) {
        for flow in flows {
            log::debug!("{flow:?}: {why}");
            if let Ok(flow) = engine.flow(*flow) {
                flow.abort(now);
            }
            if let Some(HostLeg::Tcp(connection)) = self.remove(*flow) {
                connection.reset();
            }
        }
    }
}

/// Turns of flows.
impl Host {
    /// How many flows wait for their turn.
    pub(crate) fn ready(&self) -> usize {
        self.flows.ready()
    }

    pub(crate) fn next(&mut self) -> Option<usize> {
        self.flows.next()
    }

    /// Whether a flow's turn makes datagrams for the tunnel, which are lost when it has no room.
    /// Bytes are not: they wait in their ring.
    pub(crate) fn needs_room(&mut self, key: usize) -> bool {
        matches!(self.flows.by_key(key), Some((_, HostLeg::Datagrams(_))))
    }

    pub(crate) fn stall(&mut self, key: usize) {
        self.flows.stall(key);
    }

    pub(crate) fn resume(&mut self) {
        self.flows.resume();
    }

    /// Gives a flow its turn. Returns how many bytes it moved.
    pub(crate) fn work(&mut self, key: usize, engine: &mut Engine, now: Instant) -> usize {
        let Some((flow, leg)) = self.flows.by_key(key) else { return 0 };
        let work = match leg {
            HostLeg::Tcp(connection) => connection.work(flow, self.guard.as_mut(), engine, now),
            HostLeg::Datagrams(socket) => {
                socket.work(flow, &mut self.batches, &mut self.lost_datagrams, engine, now)
            }
            HostLeg::ServedStream(stream) => stream.work(flow, &mut self.services, engine, now),
            HostLeg::Client { .. } | HostLeg::ServedDatagrams(_) => Work::NOTHING,
        };
        match work {
            Work::Done { moved } => moved,
            Work::More { moved } => {
                self.flows.wake(key);
                moved
            }
            Work::Over => {
                self.remove(flow);
                0
            }
        }
    }
}
