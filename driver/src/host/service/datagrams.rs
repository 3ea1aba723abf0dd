//! Services of datagrams: [`DatagramService`], and a flow in its hands, [`PeerDatagrams`].

use std::fmt;

use slipwire_core::{Engine, FlowId, FlowMeta, Instant, Refusal, TrafficClass};

use super::{ServiceId, Services};

/// What takes the datagrams of peers: see
/// [`Driver::serve_datagrams`](crate::Driver::serve_datagrams). A closure that answers each
/// datagram is one.
///
/// What one address and port of a peer sends to one address and port is a flow. It ends when
/// nothing has been sent for a while, either way
/// ([`udp_idle_timeout`](slipwire_core::config::Mappings::udp_idle_timeout), or to port 53
/// [`dns_idle_timeout`](slipwire_core::config::Mappings::dns_idle_timeout)).
///
/// All calls come from within [`Driver::turn`](crate::Driver::turn), one at a time, and hold up
/// everything else as long as they take.
pub trait DatagramService: Send + 'static {
    /// A peer has sent the first datagram of a flow: `meta` says who it is, where from, and where
    /// to. By default each is accepted.
    ///
    /// # Errors
    /// What the peer is told instead.
    fn accept(&mut self, flow: FlowId, meta: &FlowMeta) -> Result<(), Refusal> {
        let _ = (flow, meta);
        Ok(())
    }

    /// A datagram has come, the first one of its flow too.
    fn receive(&mut self, payload: &[u8], flow: &mut PeerDatagrams<'_>);

    /// A flow is over. This is the last call about it, and comes once for each that was accepted,
    /// unless the service itself is removed.
    fn ended(&mut self, flow: FlowId) {
        let _ = flow;
    }
}

impl<F: FnMut(&[u8], &mut PeerDatagrams<'_>) + Send + 'static> DatagramService for F {
    fn receive(&mut self, payload: &[u8], flow: &mut PeerDatagrams<'_>) {
        self(payload, flow);
    }
}

/// One flow of a peer's datagrams, for as long as a call takes.
pub struct PeerDatagrams<'a> {
    flow: FlowId,
    served: &'a ServedDatagrams,
    engine: &'a mut Engine,
    now: Instant,
}

impl PeerDatagrams<'_> {
    /// Names the flow for [`Driver::datagrams`](crate::Driver::datagrams), later.
    pub const fn id(&self) -> FlowId {
        self.flow
    }

    /// Whose it is, where it came from, and where it was meant to go: as it is now, since peers and
    /// rules may have changed.
    pub fn meta(&self) -> &FlowMeta {
        self.engine.meta(self.flow).unwrap_or(&self.served.meta)
    }

    /// Sends a datagram to the peer, from the address that the flow was meant for. What is too
    /// large, or finds no room in the tunnel, is lost, as a network would lose it.
    pub fn send(&mut self, payload: &[u8]) {
        // A flow that is over has its last action on the way.
        if let Ok(mut flow) = self.engine.flow(self.flow) {
            let source = self.served.meta.destination;
            flow.send_datagram(source, TrafficClass::DEFAULT, payload, self.now);
        }
    }
}

impl fmt::Debug for PeerDatagrams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerDatagrams").field("flow", &self.flow).finish_non_exhaustive()
    }
}

/// The host leg of a flow of datagrams that is served.
#[derive(Debug)]
pub(crate) struct ServedDatagrams {
    service: ServiceId,
    /// As it was when it was accepted, for whoever asks of a flow that is over.
    meta: FlowMeta,
}

impl ServedDatagrams {
    pub(crate) const fn new(service: ServiceId, meta: FlowMeta) -> Self {
        Self { service, meta }
    }

    pub(crate) const fn service(&self) -> ServiceId {
        self.service
    }

    /// The flow in somebody's hands.
    pub(crate) const fn lend<'a>(
        &'a self,
        flow: FlowId,
        engine: &'a mut Engine,
        now: Instant,
    ) -> PeerDatagrams<'a> {
        PeerDatagrams { flow, served: self, engine, now }
    }

    /// Hands a datagram to the service.
    pub(crate) fn deliver(
        &self,
        flow: FlowId,
        payload: &[u8],
        services: &mut Services,
        engine: &mut Engine,
        now: Instant,
    ) {
        if let Some(service) = services.datagrams(self.service) {
            service.receive(payload, &mut self.lend(flow, engine, now));
        }
    }
}
