//! A peer wants a new flow: finds it a host leg, or says why there is none.

use std::io;
use std::net::SocketAddr;

use slipwire_core::{Engine, FlowId, Instant, Protocol, Refusal, Target};

use super::datagram::DatagramLeg;
use super::icmp::{self, Family};
use super::tcp::Connection;
use super::{Host, Leg, offers, udp};
use crate::refusal::refusal;
use crate::service::Exchange;
use crate::token::Origin;

impl Host {
    /// Takes [`Action::Open`](slipwire_core::Action::Open). A connection has to wait for its turn;
    /// a mapping has not, since its datagrams follow.
    pub(crate) fn offer(&mut self, flow: FlowId, engine: &mut Engine, now: Instant) {
        let Some(meta) = engine.meta(flow) else { return };
        let waits = match meta.protocol {
            Protocol::Tcp => self.offers.push(meta.peer.public_key, flow).is_ok(),
            Protocol::Udp | Protocol::Icmp => false,
        };
        if !waits {
            self.open(flow, engine, now);
        }
    }

    /// Whether connections wait for their turn.
    pub(crate) fn has_offers(&self) -> bool {
        !self.offers.is_empty()
    }

    /// Begins connections, within a budget.
    pub(crate) fn begin(&mut self, engine: &mut Engine, now: Instant) {
        let mut begun = 0;
        while begun < offers::CONNECTS
            && let Some(flow) = self.offers.pop()
        {
            begun += usize::from(engine.meta(flow).is_some());
            self.open(flow, engine, now);
        }
    }

    /// Finds a flow its host leg, and says so at once but for a connect, whose result comes as an
    /// event.
    fn open(&mut self, flow: FlowId, engine: &mut Engine, now: Instant) {
        let Some(meta) = engine.meta(flow) else { return };
        let (protocol, source, target) = (meta.protocol, meta.source, meta.target);
        let (peer, destination) = (&meta.peer.name, meta.destination);
        log::debug!("{flow:?}: {protocol} of {peer}, {source} to {destination}");
        match self.host_leg(protocol, source, target, now) {
            Ok(leg) => {
                let is_connecting = matches!(leg, Leg::Tcp(_));
                if let Leg::Datagrams(leg) = &leg
                    && protocol == Protocol::Udp
                    && let Some(port) = leg.port()
                {
                    engine.handle_bound(flow, port, now);
                }
                self.legs.insert(flow, leg);
                if !is_connecting {
                    engine.handle_opened(flow, now);
                }
            }
            Err(refusal) => {
                log::debug!("{flow:?}: refused, {refusal:?}");
                engine.handle_refused(flow, refusal, now);
            }
        }
    }

    fn host_leg(
        &mut self,
        protocol: Protocol,
        source: SocketAddr,
        target: Target,
        now: Instant,
    ) -> Result<Leg, Refusal> {
        match (target, protocol) {
            (Target::Service(port), Protocol::Tcp) if self.serves(port) => {
                Ok(Leg::Service(Exchange::new(port)))
            }
            (Target::Service(_), _) => Err(Refusal::Refused),
            // A flow that was opened here has its host leg.
            (Target::Client, _) => Err(Refusal::Prohibited),
            // The last descriptors are for the program itself.
            (Target::Host(_), _) if self.legs.sockets() >= self.sockets_max => {
                Err(Refusal::Exhausted)
            }
            (Target::Host(target), _) => {
                self.host_socket(protocol, source, target).map_err(|error| {
                    let refusal = refusal(&error);
                    if refusal == Refusal::Exhausted {
                        self.lost_flows.report(&error, now);
                    }
                    refusal
                })
            }
        }
    }

    fn host_socket(
        &mut self,
        protocol: Protocol,
        source: SocketAddr,
        target: SocketAddr,
    ) -> io::Result<Leg> {
        let token = Origin::Leg(self.legs.next_key()).token();
        let family = Family::of(target);
        let socket = match protocol {
            Protocol::Tcp => {
                return Connection::connect(target, token, &self.registry).map(Leg::Tcp);
            }
            Protocol::Udp => udp::open(source)?,
            Protocol::Icmp => icmp::open(family).inspect_err(|error| self.ping.warn(error))?,
        };
        DatagramLeg::register(socket, family, token, &self.registry).map(Leg::Datagrams)
    }

    fn serves(&self, port: u16) -> bool {
        self.services.iter().any(|(served, _)| *served == port)
    }
}
