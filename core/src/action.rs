//! Everything that core says to its embedder.

use std::marker::PhantomData;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::flow::Abort;
use crate::id::{FlowId, PeerId};

/// Something that the embedder has to do. Actions of one flow come in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Action {
    /// A peer wants a new flow: look at [`Engine::meta`](crate::Engine::meta), then answer with
    /// [`Flow::opened`](crate::Flow::opened) or [`Flow::refused`](crate::Flow::refused), now or
    /// later. The peer hears nothing before that. UDP and ICMP flows need an answer too; their
    /// datagrams wait behind this action.
    Open(FlowId),
    /// A TCP flow that the embedder opened is established in the tunnel.
    Established(FlowId),
    /// A TCP flow has bytes for the host: [take](crate::Flow::received) them until there are none
    /// or the host takes no more. It is said again only after the ring was empty.
    Readable(FlowId),
    /// A TCP flow whose send ring was full has room again: read the host again and
    /// [send](crate::Flow::send).
    Writable(FlowId),
    /// The rings of a TCP flow held bytes, and have been empty for two seconds, or just now where
    /// memory is short: whoever can give it back to the system asks for it by
    /// [`Flow::lend_idle_rings`](crate::Flow::lend_idle_rings).
    Idle(FlowId),
    /// The peer ended its direction and the host has been given every byte: shut down writing.
    Shutdown(FlowId),
    /// The flow is over in good order; both directions are complete. The id is stale from now on.
    Closed(FlowId),
    /// The flow is over and bytes may be missing: reset the host leg. The id is stale from now on.
    Aborted(FlowId, Abort),
    /// Resolve the name of a peer's endpoint
    /// ([`PeerState::endpoint_name`](crate::PeerState::endpoint_name)) without blocking, then call
    /// [`handle_resolved`](crate::Engine::handle_resolved).
    Resolve(PeerId),
}

impl Action {
    /// The flow that it is about.
    pub const fn flow(self) -> Option<FlowId> {
        match self {
            Self::Open(flow)
            | Self::Established(flow)
            | Self::Readable(flow)
            | Self::Writable(flow)
            | Self::Idle(flow)
            | Self::Shutdown(flow)
            | Self::Closed(flow)
            | Self::Aborted(flow, _) => Some(flow),
            Self::Resolve(_) => None,
        }
    }
}

/// The memory of a flow's rings, of which nothing is needed. As long as this lives nobody looks at
/// it.
#[derive(Debug)]
pub struct IdleRings<'a> {
    addresses: [Range<usize>; 2],
    _engine: PhantomData<&'a mut ()>,
}

impl IdleRings<'_> {
    pub(crate) const fn new(addresses: [Range<usize>; 2]) -> Self {
        Self { addresses, _engine: PhantomData }
    }

    /// The exposed addresses of both rings, whose pages are to be given back. They were allocated
    /// by the global allocator, hold initialized bytes, and may hold any others afterwards, which
    /// is what makes it sound to have the system replace whole pages of them (`madvise`,
    /// `MADV_DONTNEED`).
    pub fn addresses(&self) -> [Range<usize>; 2] {
        self.addresses.clone()
    }
}
