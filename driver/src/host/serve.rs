//! Flows that services of the embedder have: which there are, and what comes for them.

use slipwire_core::{Datagram, Engine, FlowId, Instant, NoFlow};

use super::service::datagrams::PeerDatagrams;
use super::service::ports::{Ports, PortsTaken};
use super::service::stream::PeerStream;
use super::service::{Server, ServiceId};
use super::{Host, HostLeg};

impl Host {
    /// Adds a service.
    pub(crate) fn serve(&mut self, ports: Ports, server: Server) -> Result<ServiceId, PortsTaken> {
        self.services.add(ports, server)
    }

    /// Removes a service, and resets its flows. Says whether there was one.
    pub(crate) fn stop_serving(
        &mut self,
        service: ServiceId,
        engine: &mut Engine,
        now: Instant,
    ) -> bool {
        let was_there = self.services.remove(service);
        let flows = self.flows.matching(|_, leg| match leg {
            HostLeg::ServedStream(stream) => stream.service() == service,
            HostLeg::ServedDatagrams(datagrams) => datagrams.service() == service,
            HostLeg::Tcp(_) | HostLeg::Datagrams(_) | HostLeg::Client { .. } => false,
        });
        self.end(&flows, "its service was removed", engine, now);
        was_there
    }

    /// A stream that a service has accepted. The service has its turn afterwards.
    pub(crate) fn stream<'a>(
        &'a mut self,
        flow: FlowId,
        engine: &'a mut Engine,
        now: Instant,
    ) -> Result<PeerStream<'a>, NoFlow> {
        // Its last action may be on the way still.
        engine.meta(flow).ok_or(NoFlow)?;
        let (key, _) = self.flows.by_flow(flow).ok_or(NoFlow)?;
        self.flows.wake(key);
        match self.flows.by_key(key) {
            Some((_, HostLeg::ServedStream(stream))) => Ok(stream.lend(flow, engine, now)),
            Some(_) | None => Err(NoFlow),
        }
    }

    /// A flow of datagrams that a service has accepted.
    pub(crate) fn datagrams<'a>(
        &'a mut self,
        flow: FlowId,
        engine: &'a mut Engine,
        now: Instant,
    ) -> Result<PeerDatagrams<'a>, NoFlow> {
        engine.meta(flow).ok_or(NoFlow)?;
        match self.flows.by_flow(flow) {
            Some((_, HostLeg::ServedDatagrams(datagrams))) => Ok(datagrams.lend(flow, engine, now)),
            Some(_) | None => Err(NoFlow),
        }
    }

    /// Takes a datagram for a service, to be [delivered](Self::deliver) once core has been left.
    pub(crate) fn take(&mut self, datagram: &Datagram<'_>) {
        self.served.clear();
        self.served.extend_from_slice(datagram.payload);
    }

    /// Hands the datagram that was taken last to the service of its flow.
    pub(crate) fn deliver(&mut self, flow: FlowId, engine: &mut Engine, now: Instant) {
        if let Some((_, HostLeg::ServedDatagrams(datagrams))) = self.flows.by_flow(flow) {
            datagrams.deliver(flow, &self.served, &mut self.services, engine, now);
        }
    }
}
