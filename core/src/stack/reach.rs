//! Targets that turn out to be the host itself: core knows the addresses that it was told of, the
//! system knows all, by its routes. The embedder asks the system, and core says what the rules say.

use std::net::SocketAddr;

use crate::flow::Target;
use crate::id::FlowId;
use crate::stack::Stack;

impl Stack {
    /// Whether a flow may reach the host itself at `target`: a rule names it, or leads there, or a
    /// peer's mapping has that port.
    pub(crate) fn may_reach_host(&self, id: FlowId, target: SocketAddr) -> bool {
        let Some(flow) = self.flows.get(id) else { return false };
        let meta = &flow.meta;
        let destination = match meta.target {
            Target::Host(host) if host != meta.destination => meta.destination,
            // Datagrams go where each of them says.
            Target::Host(_) => target,
            // Nobody dials it.
            Target::Unix(_) | Target::Embedder | Target::Client => return true,
        };
        let query = flow.key.query(meta.peer.public_key, destination);
        self.policy.opens(&query, target) || self.is_mapped(meta.protocol, target)
    }
}
