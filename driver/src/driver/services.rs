//! Services that the embedder answers flows with: added, removed, and their flows in the
//! embedder's hands.

use slipwire_core::{FlowId, NoFlow};

use super::Driver;
use crate::clock;
use crate::host::service::datagrams::{DatagramService, PeerDatagrams};
use crate::host::service::ports::{Ports, PortsTaken};
use crate::host::service::stream::{PeerStream, StreamService};
use crate::host::service::{Server, ServiceId};

/// Services: what answers the flows of peers that a rule gives to the embedder
/// ([`RuleAction::Serve`](slipwire_core::rules::RuleAction::Serve)), to whichever address they were
/// meant. A flow to a port that has no service is refused, as on a host where nobody listens.
///
/// They may come before the first turn and between any two. Nothing of them is on a tape but what
/// they do to their flows.
impl Driver {
    /// Has `service` answer TCP connections to `ports`: one (`80`), a range (`8000..=8999`), or all
    /// that no other service names (`..`).
    ///
    /// # Errors
    /// Another service of streams has one of the ports.
    pub fn serve_streams(
        &mut self,
        ports: impl Into<Ports>,
        service: impl StreamService,
    ) -> Result<ServiceId, PortsTaken> {
        self.host.serve(ports.into(), Server::of_streams(service))
    }

    /// The same for UDP datagrams.
    ///
    /// # Errors
    /// Another service of datagrams has one of the ports.
    pub fn serve_datagrams(
        &mut self,
        ports: impl Into<Ports>,
        service: impl DatagramService,
    ) -> Result<ServiceId, PortsTaken> {
        self.host.serve(ports.into(), Server::of_datagrams(service))
    }

    /// Removes a service, and resets its flows. Says whether there was such a service.
    pub fn remove_service(&mut self, service: ServiceId) -> bool {
        self.is_undrained = true;
        self.host.stop_serving(service, &mut self.engine, clock::now())
    }

    /// A stream that a service has accepted, to read and write between turns. In the next turn,
    /// which does not block, the service is [called](StreamService::ready) too.
    ///
    /// # Errors
    /// [`NoFlow`] if it is over, or no stream of a service.
    pub fn stream(&mut self, flow: FlowId) -> Result<PeerStream<'_>, NoFlow> {
        self.is_undrained = true;
        self.host.stream(flow, &mut self.engine, clock::now())
    }

    /// A flow of datagrams that a service has accepted, to send to between turns. The next turn
    /// does not block.
    ///
    /// # Errors
    /// [`NoFlow`] if it is over, or no flow of a service.
    pub fn datagrams(&mut self, flow: FlowId) -> Result<PeerDatagrams<'_>, NoFlow> {
        self.is_undrained = true;
        self.host.datagrams(flow, &mut self.engine, clock::now())
    }
}
