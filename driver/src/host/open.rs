//! A peer wants a new flow: finds it a host leg, or says why there is none.

use std::io;
use std::net::SocketAddr;

use slipwire_core::{Engine, FlowId, FlowMeta, Instant, Protocol, Refusal, Target};

use super::datagram::DatagramSocket;
use super::guard::Pass;
use super::stream::Stream;
use super::tcp::Connection;
use super::{Host, HostLeg, connect_queue, icmp, proxy, udp};
use crate::datagrams::family::Family;

use crate::refusal::refusal;
use crate::token::Origin;

impl Host {
    /// Takes [`Action::Open`](slipwire_core::Action::Open). A connection has to wait for its turn;
    /// a mapping has not, since its datagrams follow.
    pub(crate) fn handle_open(&mut self, flow: FlowId, engine: &mut Engine, now: Instant) {
        let Some(meta) = engine.meta(flow) else { return };
        match meta.protocol {
            Protocol::Tcp => {
                if let Some(first) = self.connects.push(meta.peer.public_key, flow)
                    && let Ok(first) = engine.flow(first)
                {
                    first.refused(Refusal::TimedOut, now);
                }
            }
            Protocol::Udp | Protocol::Icmp => self.open(flow, engine, now),
        }
    }

    /// Whether connections wait for their turn.
    pub(crate) fn has_connects(&self) -> bool {
        !self.connects.is_empty()
    }

    /// Begins connections, within a budget.
    pub(crate) fn begin_connects(&mut self, engine: &mut Engine, now: Instant) {
        let mut begun = 0;
        while begun < connect_queue::CONNECTS_MAX
            && let Some(flow) = self.connects.pop()
        {
            begun += usize::from(engine.meta(flow).is_some());
            self.open(flow, engine, now);
        }
    }

    /// Finds a flow its host leg, and says so at once but for a connect, whose result comes as an
    /// event.
    fn open(&mut self, flow: FlowId, engine: &mut Engine, now: Instant) {
        let asked: &Engine = engine;
        let Some(meta) = asked.meta(flow) else { return };
        let FlowMeta { protocol, source, destination, .. } = meta;
        log::debug!("{flow:?}: {protocol} of {}, {source} to {destination}", meta.peer.name);
        let is_udp = *protocol == Protocol::Udp;
        let leg = self.host_leg(flow, meta, asked, now);
        // It lives: its meta was there.
        let Ok(mut handle) = engine.flow(flow) else { return };
        match leg {
            Ok(leg) => {
                let opened = match &leg {
                    HostLeg::Tcp(_) => None,
                    HostLeg::Datagrams(socket) => Some(socket.port().filter(|_| is_udp)),
                    HostLeg::Client { .. }
                    | HostLeg::ServedStream(_)
                    | HostLeg::ServedDatagrams(_) => Some(None),
                };
                let key = self.flows.insert(flow, leg);
                if let Some(port) = opened {
                    handle.opened(port, now);
                    // A service may be the first to speak.
                    self.flows.wake(key);
                }
            }
            Err(refusal) => {
                log::debug!("{flow:?}: refused, {refusal:?}");
                handle.refused(refusal, now);
            }
        }
    }

    fn host_leg(
        &mut self,
        flow: FlowId,
        meta: &FlowMeta,
        engine: &Engine,
        now: Instant,
    ) -> Result<HostLeg, Refusal> {
        // The last descriptors are for the program itself.
        let is_full = self.flows.sockets() >= self.sockets_max;
        let leg = match (&meta.target, meta.protocol) {
            (Target::Embedder, _) => return self.services.accept(flow, meta),
            // A flow that was opened here has its host leg, and a Unix socket is a stream.
            (Target::Client, _) | (Target::Unix(_), Protocol::Udp | Protocol::Icmp) => {
                return Err(Refusal::Prohibited);
            }
            (Target::Host(_) | Target::Unix(_), _) if is_full => return Err(Refusal::Exhausted),
            (Target::Host(target), Protocol::Tcp) => {
                let pass = self.pass(flow, meta.protocol, *target, engine)?;
                let stream = self.dialer.connect(*target).map(Stream::Tcp);
                stream.and_then(|stream| self.connection(stream, pass, meta))
            }
            (Target::Unix(path), Protocol::Tcp) => {
                Stream::connect_unix(path).and_then(|stream| self.connection(stream, None, meta))
            }
            (Target::Host(target), Protocol::Udp | Protocol::Icmp) => {
                self.pass(flow, meta.protocol, *target, engine)?;
                self.datagram_socket(meta, *target)
            }
        };
        leg.map_err(|error| {
            let refusal = refusal(&error);
            if refusal == Refusal::Exhausted {
                self.lost_flows.report(&error, now);
            }
            refusal
        })
    }

    /// Lets a flow go to a target that is not this host itself, or where core says that it may.
    fn pass(
        &mut self,
        flow: FlowId,
        protocol: Protocol,
        target: SocketAddr,
        engine: &Engine,
    ) -> Result<Option<Pass>, Refusal> {
        let Some(guard) = &mut self.guard else { return Ok(None) };
        let pass = guard.admit(flow, protocol, target, engine);
        pass.map(Some).map_err(|barrier| barrier.refusal())
    }

    fn connection(
        &self,
        stream: Stream,
        pass: Option<Pass>,
        meta: &FlowMeta,
    ) -> io::Result<HostLeg> {
        let token = Origin::Flow(self.flows.next_key()).token();
        let header = proxy::header(meta)?;
        Connection::connecting(stream, pass, header, self.keepalive, token, &self.registry)
            .map(HostLeg::Tcp)
    }

    fn datagram_socket(&mut self, meta: &FlowMeta, target: SocketAddr) -> io::Result<HostLeg> {
        let token = Origin::Flow(self.flows.next_key()).token();
        let family = Family::of(target);
        let socket = match meta.protocol {
            // A redirect may change the IP version, too.
            Protocol::Udp | Protocol::Tcp => {
                let source = SocketAddr::new(family.unspecified(), meta.source.port());
                udp::open(source, &self.source_ports)?
            }
            Protocol::Icmp => icmp::open(family).inspect_err(|error| self.ping.warn(error))?,
        };
        let takes_trains = meta.protocol == Protocol::Udp;
        DatagramSocket::register(socket, family, takes_trains, token, &self.registry)
            .map(HostLeg::Datagrams)
    }
}
