//! The host side of flows: carries out core's actions on sockets of this host.
//!
//! ```text
//!   offers.rs        peers' connections that wait to be begun
//!   guard.rs         whether its target is this host itself
//!   ways.rs          what the kernel has said of that
//!   open.rs          a peer's flow gets its host leg
//!   forward.rs       a local client gets its flow
//!   dial.rs          connects, from which port
//!   legs.rs          the table of host legs, and whose turn it is
//!   tcp.rs           a leg of bytes, over a socket of stream.rs
//!   keepalive.rs     whether its other end is still there
//!   proxy.rs         what a host is told of the peer first
//!   datagram.rs      a leg of datagrams, over the sockets of udp.rs and icmp.rs
//!   source_ports.rs  which ports flows may have
//!   outbox.rs        datagrams that leave together
//!   batches.rs       many datagrams in one system call
//!   travel.rs        how far its datagrams go, whether in pieces, and how they are marked
//!   error_queue.rs   which of them did not arrive
//! ```
//!
//! Which flow may reach what has been decided by core.

pub(crate) mod batches;
mod datagram;
mod dial;
mod error_queue;
mod forward;
pub(crate) mod guard;
pub(crate) mod icmp;
pub(crate) mod keepalive;
mod legs;
mod offers;
mod open;
pub(crate) mod outbox;
pub(crate) mod proxy;
mod source_ports;
mod stream;
mod tcp;
pub(crate) mod travel;
mod udp;
mod ways;

use std::net::{IpAddr, SocketAddr};

use log::Level;
use mio::Registry;
use mio::event::Event;
use slipwire_core::{Abort, Datagram, Engine, FlowId, Instant, Loss, Refusal, Target, Undelivered};

use self::batches::Batches;
use self::datagram::DatagramLeg;
use self::dial::Dialer;
use self::guard::{Barrier, Guard};
use self::icmp::PingSockets;
use self::keepalive::HostKeepalive;
use self::legs::Legs;
use self::offers::Offers;
use self::outbox::Outbox;
use self::source_ports::SourcePorts;
use self::tcp::Connection;
use crate::incidents::Incidents;
use crate::listen::Listener;
use crate::refusal::datagram_refusal;
use crate::service::Exchange;
use crate::settings::Page;

/// What a turn of a leg came to, and how many bytes it moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// There is nothing to do before the next event or action.
    Done { moved: usize },
    /// The budget ended first.
    More { moved: usize },
    /// The leg is at its end, and core knows.
    Over,
}

impl Work {
    pub(crate) const NOTHING: Self = Self::Done { moved: 0 };
}

/// The host's end of one flow.
#[derive(Debug)]
pub(crate) enum Leg {
    /// A connection, to a host or from a local client.
    Tcp(Connection),
    /// A socket for the datagrams of a mapping.
    Datagrams(DatagramLeg),
    /// One of the clients of a UDP forward, who share its socket.
    Client { listener: usize, client: SocketAddr },
    /// The embedder itself.
    Service(Exchange),
}

impl Leg {
    const fn has_socket(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Datagrams(_) => true,
            Self::Client { .. } | Self::Service(_) => false,
        }
    }
}

/// The host side of all flows.
pub(crate) struct Host {
    registry: Registry,
    /// Only a gateway has something to keep from peers.
    guard: Option<Guard>,
    legs: Legs,
    offers: Offers,
    dialer: Dialer,
    listeners: Vec<Listener>,
    services: Vec<(u16, Page)>,
    ping: PingSockets,
    source_ports: SourcePorts,
    /// How many legs may have a socket of their own.
    sockets_max: usize,
    keepalive: HostKeepalive,
    batches: Batches,
    outbox: Outbox,
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
            .field("legs", &self.legs)
            .field("listeners", &self.listeners)
            .field("ping", &self.ping)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// A host without flows, in which at most `sockets_max` flows have a socket.
    pub(crate) fn new(
        registry: Registry,
        guard: Option<Guard>,
        listeners: Vec<Listener>,
        services: Vec<(u16, Page)>,
        sockets_max: usize,
        keepalive: HostKeepalive,
        batches: Batches,
    ) -> Self {
        Self {
            registry,
            guard,
            legs: Legs::default(),
            offers: Offers::default(),
            dialer: Dialer::default(),
            listeners,
            services,
            ping: PingSockets::probe(),
            source_ports: SourcePorts::read(),
            sockets_max,
            keepalive,
            batches,
            outbox: Outbox::default(),
            undelivered: Vec::new(),
            lost_datagrams: Incidents::new("datagrams lost at the host", Level::Debug),
            lost_clients: Incidents::new("clients of a forward have to wait", Level::Warn),
            lost_flows: Incidents::new("a peer was refused a flow", Level::Warn),
        }
    }

    pub(crate) fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    pub(crate) const fn ping(&self) -> &PingSockets {
        &self.ping
    }

    /// How many flows have a host leg.
    pub(crate) fn flows(&self) -> usize {
        self.legs.len()
    }
}

/// Events.
impl Host {
    pub(crate) fn note_listener(&mut self, index: usize, event: &Event) {
        if let Some(listener) = self.listeners.get_mut(index) {
            listener.note(event);
        }
    }

    pub(crate) fn note_leg(&mut self, key: usize, event: &Event) {
        match self.legs.by_key(key) {
            Some((_, Leg::Tcp(connection))) => connection.note(event),
            Some((_, Leg::Datagrams(leg))) => leg.note(event),
            Some((_, Leg::Client { .. } | Leg::Service(_))) | None => return,
        }
        self.legs.wake(key);
    }
}

/// Actions.
impl Host {
    pub(crate) fn established(&mut self, flow: FlowId) {
        if let Some((key, Leg::Tcp(connection))) = self.legs.by_flow(flow) {
            connection.handle_established();
            self.legs.wake(key);
        }
    }

    pub(crate) fn readable(&mut self, flow: FlowId) {
        let Some((key, leg)) = self.legs.by_flow(flow) else { return };
        match leg {
            Leg::Tcp(connection) => connection.handle_readable(),
            Leg::Service(_) => {}
            Leg::Datagrams(_) | Leg::Client { .. } => return,
        }
        self.legs.wake(key);
    }

    pub(crate) fn writable(&mut self, flow: FlowId) {
        let Some((key, leg)) = self.legs.by_flow(flow) else { return };
        match leg {
            Leg::Tcp(connection) => connection.handle_writable(),
            Leg::Service(_) => {}
            Leg::Datagrams(_) | Leg::Client { .. } => return,
        }
        self.legs.wake(key);
    }

    pub(crate) fn shut_down(&mut self, flow: FlowId, engine: &mut Engine, now: Instant) {
        match self.legs.by_flow(flow) {
            Some((_, Leg::Tcp(connection))) => connection.shut_down(),
            Some((_, Leg::Service(exchange))) => exchange.handle_end(flow, engine, now),
            Some((_, Leg::Datagrams(_) | Leg::Client { .. })) | None => {}
        }
    }

    pub(crate) fn close(&mut self, flow: FlowId) {
        log::debug!("{flow:?}: closed");
        // Whatever socket there is closes in good order by being dropped.
        self.remove(flow);
    }

    pub(crate) fn abort(&mut self, flow: FlowId, why: Abort) {
        log::debug!("{flow:?}: aborted, {why}");
        if let Some(Leg::Tcp(connection)) = self.remove(flow) {
            connection.reset();
        }
    }

    /// Forgets a flow. Its socket leaves epoll by being closed.
    fn remove(&mut self, flow: FlowId) -> Option<Leg> {
        let leg = self.legs.remove(flow)?;
        if let Leg::Client { listener, client } = leg
            && let Some(Listener::Udp(forward)) = self.listeners.get_mut(listener)
        {
            forward.clients_mut().remove(client, flow);
        }
        Some(leg)
    }

    /// What bars a flow's datagram from where it goes, if anything does.
    pub(crate) fn barrier(
        &mut self,
        flow: FlowId,
        remote: SocketAddr,
        engine: &Engine,
    ) -> Option<Barrier> {
        let guard = self.guard.as_mut().filter(|guard| !guard.has_just_passed(flow, remote))?;
        let meta = engine.meta(flow)?;
        match meta.target {
            Target::Host(_) => guard.admit_datagram(flow, meta.protocol, remote, engine).err(),
            Target::Unix(_) | Target::Embedder | Target::Client => None,
        }
    }

    /// Does not send a datagram, and says so to its peer.
    pub(crate) fn hold_back(&mut self, datagram: &Datagram<'_>, barrier: Barrier, now: Instant) {
        let refusal = match barrier {
            Barrier::Host => Some(Refusal::Protected),
            Barrier::NoWay(error) => {
                self.lost_datagrams.report(&error, now);
                datagram_refusal(&error)
            }
        };
        if let Some(refusal) = refusal {
            let Datagram { flow, remote, payload, .. } = *datagram;
            let echo_sequence = icmp::echo_sequence(payload);
            let loss = Loss::Refused(refusal);
            self.undelivered.push((flow, Undelivered { remote, echo_sequence, loss }));
        }
    }

    /// Sends a datagram to the host, at the latest with [`flush`](Self::flush).
    pub(crate) fn send_datagram(&mut self, datagram: &Datagram<'_>, now: Instant) {
        if !self.outbox.takes(datagram) {
            self.flush(now);
        }
        self.outbox.push(datagram);
    }

    /// Sends the datagrams that wait for others.
    pub(crate) fn flush(&mut self, now: Instant) {
        let Self { legs, listeners, batches, outbox, undelivered, lost_datagrams, .. } = self;
        let Some(train) = outbox.train() else { return };
        let flow = train.heading.flow;
        match legs.by_flow(flow) {
            Some((_, Leg::Datagrams(leg))) => {
                let undelivered = |what| undelivered.push((flow, what));
                leg.send(&train, batches, undelivered, lost_datagrams, now);
            }
            Some((_, Leg::Client { listener, client })) => {
                if let Some(Listener::Udp(forward)) = listeners.get_mut(*listener) {
                    forward.reply(*client, &train, batches, lost_datagrams, now);
                }
            }
            Some((_, Leg::Tcp(_) | Leg::Service(_))) | None => {}
        }
        outbox.clear();
    }

    /// What a peer is to be told of a datagram that could not be sent.
    pub(crate) fn pop_undelivered(&mut self) -> Option<(FlowId, Undelivered)> {
        self.undelivered.pop()
    }
}

/// Changes of this host and of the rules.
impl Host {
    /// What led to another host may lead to this one now, and the other way round.
    pub(crate) fn forget_ways(&mut self) {
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
        let is_bound = |leg: &Leg| match leg {
            Leg::Tcp(connection) => connection.local_ip().is_some_and(|ip| gone.contains(&ip)),
            Leg::Datagrams(_) | Leg::Client { .. } | Leg::Service(_) => false,
        };
        if !gone.is_empty() {
            let flows = self.legs.flows(|_, leg| is_bound(leg));
            self.end(&flows, "its address at this host is gone", engine, now);
        }
    }

    /// Ends the connections to this host itself that the rules do not allow any more. Core does
    /// not know that they are that where a route alone makes them so.
    pub(crate) fn handle_rules_changed(&mut self, engine: &mut Engine, now: Instant) {
        self.forget_ways();
        let is_barred = |flow, leg: &Leg| match leg {
            Leg::Tcp(connection) => connection
                .target_at_this_host()
                .is_some_and(|target| !engine.may_reach_host(flow, target)),
            Leg::Datagrams(_) | Leg::Client { .. } | Leg::Service(_) => false,
        };
        let flows = self.legs.flows(is_barred);
        self.end(&flows, "the rules keep it from this host", engine, now);
    }

    fn end(&mut self, flows: &[FlowId], why: &str, engine: &mut Engine, now: Instant) {
        for flow in flows {
            log::debug!("{flow:?}: {why}");
            engine.handle_aborted(*flow, now);
            if let Some(Leg::Tcp(connection)) = self.remove(*flow) {
                connection.reset();
            }
        }
    }
}

/// Turns of legs.
impl Host {
    /// How many legs wait for their turn.
    pub(crate) fn ready(&self) -> usize {
        self.legs.ready()
    }

    pub(crate) fn next(&mut self) -> Option<usize> {
        self.legs.next()
    }

    /// Whether a leg's turn makes datagrams for the tunnel, which are lost when it has no room.
    /// Bytes are not: they wait in their ring.
    pub(crate) fn needs_room(&mut self, key: usize) -> bool {
        matches!(self.legs.by_key(key), Some((_, Leg::Datagrams(_))))
    }

    pub(crate) fn stall(&mut self, key: usize) {
        self.legs.stall(key);
    }

    pub(crate) fn resume(&mut self) {
        self.legs.resume();
    }

    /// Gives a leg its turn. Returns how many bytes it moved.
    pub(crate) fn work(&mut self, key: usize, engine: &mut Engine, now: Instant) -> usize {
        let Some((flow, leg)) = self.legs.by_key(key) else { return 0 };
        let work = match leg {
            Leg::Tcp(connection) => connection.work(flow, self.guard.as_mut(), engine, now),
            Leg::Datagrams(leg) => {
                leg.work(flow, &mut self.batches, &mut self.lost_datagrams, engine, now)
            }
            Leg::Service(exchange) => exchange.work(flow, &self.services, engine, now),
            Leg::Client { .. } => Work::NOTHING,
        };
        match work {
            Work::Done { moved } => moved,
            Work::More { moved } => {
                self.legs.wake(key);
                moved
            }
            Work::Over => {
                self.remove(flow);
                0
            }
        }
    }
}
