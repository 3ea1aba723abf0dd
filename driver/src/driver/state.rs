//! What can be read of a driver while it runs, and heard.

use slipwire_core::{FlowId, FlowState, Instant, Observer, PeerId, PeerState, Stats};

use super::Driver;
use crate::clock;

/// State and events. To read it changes nothing, and costs nothing until somebody asks.
impl Driver {
    /// The driver's time, which all times of [`PeerState`], [`FlowState`] and
    /// [events](slipwire_core::Event) are of: how long ago something was is this
    /// [less](Instant::saturating_duration_since) its time. It goes on while the machine sleeps.
    pub fn now() -> Instant {
        clock::now()
    }

    /// Every peer: see [`Engine::peers`](slipwire_core::Engine::peers).
    pub fn peers(&self) -> impl Iterator<Item = PeerState<'_>> {
        self.engine.peers()
    }

    /// One peer; `None` once it was removed.
    pub fn peer(&self, peer: PeerId) -> Option<PeerState<'_>> {
        self.engine.peer(peer)
    }

    /// Every flow: see [`Engine::flows`](slipwire_core::Engine::flows). It looks at each.
    pub fn flows(&self) -> impl Iterator<Item = FlowState<'_>> {
        self.engine.flows()
    }

    /// One flow; `None` once it is over.
    pub fn flow_state(&self, flow: FlowId) -> Option<FlowState<'_>> {
        self.engine.flow_state(flow)
    }

    /// How many flows there are, without a look at each.
    pub fn flow_count(&self) -> usize {
        let usage = self.engine.usage();
        usage.tcp_flows + usage.udp_flows + usage.icmp_flows
    }

    /// The counters of all peers, those that were removed too, and of what is of no peer.
    pub const fn stats(&self) -> &Stats {
        self.engine.stats()
    }

    /// Has `observer` hear of every [`Event`](slipwire_core::Event) from now on, or nobody: peers
    /// that come up and go down, flows that open and end, and what was refused and why, also by
    /// hosts. It is called in the middle of a [`turn`](Driver::turn); what it wants to do to the
    /// driver has to wait until that is over (a channel is a good place).
    pub fn set_observer(&mut self, observer: Option<Box<dyn Observer>>) {
        self.engine.set_observer(observer);
    }
}
