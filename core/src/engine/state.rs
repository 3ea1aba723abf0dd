//! What can be read of an engine while it runs.

use super::Engine;
use crate::config::peer::Others as _;
use crate::id::{FlowId, PeerId};
use crate::key::PublicKey;
use crate::limits::Limits;
use crate::state::{FlowState, PeerState, Usage};

/// State. To read it changes nothing, and nothing is kept for it but sums.
impl Engine {
    /// Every peer, in the order of their [slots](PeerId::slot). It allocates nothing.
    pub fn peers(&self) -> impl Iterator<Item = PeerState<'_>> {
        self.tunnel.peer_states().map(|peer| self.with_stack(peer))
    }

    /// One peer; `None` once it was removed.
    pub fn peer(&self, peer: PeerId) -> Option<PeerState<'_>> {
        self.tunnel.peer_state(peer).map(|peer| self.with_stack(peer))
    }

    /// The peer with a public key.
    pub fn peer_with_key(&self, public_key: &PublicKey) -> Option<PeerId> {
        self.tunnel.with_key(public_key)
    }

    /// Adds what the stack knows of a peer.
    fn with_stack<'a>(&self, peer: PeerState<'a>) -> PeerState<'a> {
        let Self { stack, now, .. } = self;
        PeerState { path: stack.path_of(peer.id, *now), usage: stack.usage_of(peer.id), ..peer }
    }

    /// What all peers have of each bound.
    pub fn usage(&self) -> Usage {
        self.stack.usage()
    }

    /// The bounds, as they are now.
    pub const fn limits(&self) -> &Limits {
        self.stack.limits()
    }

    /// Every flow, in the order of their [slots](FlowId::slot). It looks at every slot of the table
    /// and allocates nothing.
    pub fn flows(&self) -> impl Iterator<Item = FlowState<'_>> {
        self.stack.flow_states()
    }

    /// One flow; `None` once it is over.
    pub fn flow_state(&self, flow: FlowId) -> Option<FlowState<'_>> {
        self.stack.flow_state(flow)
    }
}
