//! Services: flows that the embedder itself answers, from inside the tunnel and without a host
//! socket. Which flows these are is for rules to say
//! ([`RuleAction::Serve`](slipwire_core::rules::RuleAction::Serve)); here each finds its service by
//! the port that it was meant for.
//!
//! ```text
//!   ports.rs      which ports a service has
//!   stream.rs     services of byte streams, and one stream in their hands
//!   datagrams.rs  services of datagrams, and one flow of these in their hands
//!   page.rs       a service of streams: one request, one answer
//! ```

pub(crate) mod datagrams;
pub(crate) mod page;
pub(crate) mod ports;
pub(crate) mod stream;

use std::collections::BTreeMap;

use slipwire_core::{FlowId, FlowMeta, Protocol, Refusal};

use self::datagrams::{DatagramService, ServedDatagrams};
use self::ports::{Ports, PortsTaken};
use self::stream::{AnyStreamService, ServedStream, StreamEnd, StreamService, WithStates};
use super::HostLeg;

/// Names a service of a [`Driver`](crate::Driver); no two have the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServiceId(u64);

/// A service, of either kind.
pub(crate) enum Server {
    Streams(Box<dyn AnyStreamService>),
    Datagrams(Box<dyn DatagramService>),
}

impl Server {
    pub(crate) fn of_streams(service: impl StreamService) -> Self {
        Self::Streams(Box::new(WithStates::new(service)))
    }

    pub(crate) fn of_datagrams(service: impl DatagramService) -> Self {
        Self::Datagrams(Box::new(service))
    }

    const fn protocol(&self) -> Protocol {
        match self {
            Self::Streams(_) => Protocol::Tcp,
            Self::Datagrams(_) => Protocol::Udp,
        }
    }
}

/// Every service, with its ports.
#[derive(Default)]
pub(crate) struct Services {
    services: BTreeMap<ServiceId, (Ports, Server)>,
    added: u64,
}

impl Services {
    /// Adds a service.
    ///
    /// # Errors
    /// Another one of its kind has one of the ports.
    pub(crate) fn add(&mut self, ports: Ports, server: Server) -> Result<ServiceId, PortsTaken> {
        let taken = |(_, other): &(ServiceId, &Ports)| other.collide(&ports);
        if let Some((other, _)) = self.alike(server.protocol()).find(taken) {
            return Err(PortsTaken { other });
        }
        self.added += 1;
        let id = ServiceId(self.added);
        self.services.insert(id, (ports, server));
        Ok(id)
    }

    /// Says whether there was such a service.
    pub(crate) fn remove(&mut self, id: ServiceId) -> bool {
        self.services.remove(&id).is_some()
    }

    /// Finds a flow its service, and asks that whether it takes the flow.
    pub(crate) fn accept(&mut self, flow: FlowId, meta: &FlowMeta) -> Result<HostLeg, Refusal> {
        let service = self.find(meta.protocol, meta.destination.port()).ok_or(Refusal::Refused)?;
        let (_, server) = self.services.get_mut(&service).ok_or(Refusal::Refused)?;
        match server {
            Server::Streams(streams) => {
                streams.accept(flow, meta)?;
                Ok(HostLeg::ServedStream(ServedStream::new(service, meta.clone())))
            }
            Server::Datagrams(datagrams) => {
                datagrams.accept(flow, meta)?;
                Ok(HostLeg::ServedDatagrams(ServedDatagrams::new(service, meta.clone())))
            }
        }
    }

    /// The service that a port is of.
    fn find(&self, protocol: Protocol, port: u16) -> Option<ServiceId> {
        let named = self.alike(protocol).find(|(_, ports)| ports.name(port));
        let rest = || self.alike(protocol).find(|(_, ports)| **ports == Ports::Rest);
        named.or_else(rest).map(|(service, _)| service)
    }

    fn alike(&self, protocol: Protocol) -> impl Iterator<Item = (ServiceId, &Ports)> {
        let services = self.services.iter();
        let alike = services.filter(move |(_, (_, server))| server.protocol() == protocol);
        alike.map(|(id, (ports, _))| (*id, ports))
    }

    /// The flow is over, and its service hears of it, if it has one.
    pub(crate) fn handle_ended(&mut self, flow: FlowId, leg: &HostLeg, end: StreamEnd) {
        match leg {
            HostLeg::ServedStream(stream) => {
                if let Some(service) = self.streams(stream.service()) {
                    service.ended(flow, end);
                }
            }
            HostLeg::ServedDatagrams(datagrams) => {
                if let Some(service) = self.datagrams(datagrams.service()) {
                    service.ended(flow);
                }
            }
            HostLeg::Tcp(_) | HostLeg::Datagrams(_) | HostLeg::Client { .. } => {}
        }
    }

    /// A service of streams.
    pub(crate) fn streams(&mut self, id: ServiceId) -> Option<&mut dyn AnyStreamService> {
        match self.services.get_mut(&id)? {
            (_, Server::Streams(streams)) => Some(&mut **streams),
            (_, Server::Datagrams(_)) => None,
        }
    }

    /// A service of datagrams.
    pub(crate) fn datagrams(&mut self, id: ServiceId) -> Option<&mut dyn DatagramService> {
        match self.services.get_mut(&id)? {
            (_, Server::Datagrams(datagrams)) => Some(&mut **datagrams),
            (_, Server::Streams(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::datagrams::PeerDatagrams;
    use super::page::Page;
    use super::*;

    fn page() -> Server {
        Server::of_streams(Page::new(|_: &FlowMeta| Vec::new()))
    }

    fn echo() -> Server {
        Server::of_datagrams(|payload: &[u8], flow: &mut PeerDatagrams<'_>| flow.send(payload))
    }

    #[test]
    fn a_port_is_of_the_service_that_names_it_before_the_one_that_has_the_rest() {
        let mut services = Services::default();
        let rest = services.add(Ports::Rest, page()).unwrap();
        let range = services.add((8000..=8999).into(), page()).unwrap();
        let one = services.add(80.into(), page()).unwrap();
        let datagrams = services.add(80.into(), echo()).unwrap();
        let found = |port| services.find(Protocol::Tcp, port);
        assert_eq!([80, 8000, 8999, 9000].map(found), [one, range, range, rest].map(Some));
        let found = |port| services.find(Protocol::Udp, port);
        assert_eq!([80, 8000].map(found), [Some(datagrams), None]);
        assert_eq!(services.find(Protocol::Icmp, 0), None);
    }

    #[test]
    fn a_port_has_one_service_until_that_is_removed() {
        let mut services = Services::default();
        let first = services.add((80..=90).into(), page()).unwrap();
        assert_eq!(services.add(85.into(), page()), Err(PortsTaken { other: first }));
        assert!(services.add(85.into(), echo()).is_ok(), "datagrams are of another kind");
        assert!(services.remove(first) && !services.remove(first));
        let second = services.add(85.into(), page()).unwrap();
        assert_ne!(first, second);
    }
}
