//! What flows learn of their peers' paths, and what they are told of it.

use crate::id::{FlowId, PeerId};
use crate::stack::Stack;
use crate::time::Instant;

impl Stack {
    /// Takes what a flow has learnt since it was last asked, and tells it what others have.
    pub(super) fn learn(&mut self, id: FlowId, now: Instant) {
        let Self { flows, paths, .. } = self;
        let Some(flow) = flows.get_mut(id) else { return };
        let (peer, inner) = (flow.key.peer, flow.key.inner.ip());
        let Some(tcp) = flow.tcp_mut() else { return };
        let (before, after) = tcp.take_flight();
        if before != after {
            paths.account(peer, before, after);
        }
        let Some(connection) = tcp.connection_mut() else { return };
        let sender = connection.sender_mut();
        if let Some(retreat) = sender.take_retreat() {
            paths.retreat(peer, inner, retreat.flight, retreat.lost, now);
        }
        if let Some(learnt) = sender.take_learnt() {
            paths.learn(peer, inner, &learnt, now);
            let searches = paths.take_search(peer, inner, now);
            sender.follow_size(paths.packet_max(peer, inner, now), searches);
        }
        if let Some(found) = sender.take_found_size()
            && paths.handle_size(peer, inner, found, now)
        {
            self.lower_flows(peer, now);
        }
    }

    /// Packets that were large enough for a peer's path so far vanish there: its flows need not
    /// each find that out. It looks at every flow, which is why it is for news only.
    fn lower_flows(&mut self, peer: PeerId, now: Instant) {
        for id in self.flows.ids_of(peer) {
            let Some(flow) = self.flows.get_mut(id) else { continue };
            let inner = flow.key.inner.ip();
            let connection = flow.tcp_mut().and_then(|tcp| tcp.connection_mut());
            if let Some(connection) = connection {
                let sender = connection.sender_mut();
                sender.follow_size(self.paths.packet_max(peer, inner, now), false);
                sender.lose_larger();
                self.make_ready(id);
            }
        }
    }
}
