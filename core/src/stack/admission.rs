//! What limits let in: one more TCP flow or not, and which mapping goes for one more.

use crate::action::{Abort, Action, FlowId, Target};
use crate::stack::Stack;
use crate::stack::flow::{FlowKey, Full};
use crate::time::Instant;

/// Mappings that are looked at to find one of the right protocol.
const VICTIMS_MAX: usize = 64;

impl Stack {
    /// Counts one more TCP flow whose host leg is connecting, if its peer may have it.
    pub(super) fn admit_tcp(&mut self, key: &FlowKey, target: &Target) -> Result<(), Full> {
        match self.flows.is_full(key, target) {
            Some(full) => Err(full),
            None => self.flows.enter_half_open(key.peer),
        }
    }

    /// Makes room for one more mapping: at a limit the peer's own that is nearest to its end goes.
    /// A peer that has none gets the place of whichever is nearest to its end, unless it is the
    /// peer's share that is used up. `None` if there is none that may go.
    pub(super) fn make_room(&mut self, key: &FlowKey, target: &Target) -> Option<()> {
        let Some(full) = self.flows.is_full(key, target) else { return Some(()) };
        let FlowKey { protocol, peer, .. } = *key;
        let flows = &self.flows;
        let deadline = |slot| Some(flows.get(flows.current(slot)?)?.mapping()?.deadline());
        let own = self.claims.nearest(peer, protocol, deadline);
        let of_protocol = |slot: &usize| {
            let flow = flows.current(*slot).and_then(|id| flows.get(id));
            flow.is_some_and(|flow| flow.key.protocol == protocol)
        };
        let any =
            || self.mapping_timers.iter().take(VICTIMS_MAX).map(|(_, slot)| slot).find(of_protocol);
        let slot = match full {
            Full::Peer => own,
            Full::Process => own.or_else(any),
        };
        let id = self.flows.current(slot?)?;
        self.actions.push_back(Action::Aborted(id, Abort::Limit));
        self.remove(id);
        // It may have gone for nothing: where sockets are short, one that has none.
        self.flows.is_full(key, target).is_none().then_some(())
    }

    /// Sees to it that a mapping ends, and can be ended to make room.
    pub(super) fn watch_mapping(&mut self, id: FlowId, deadline: Instant) {
        self.mapping_timers.set(id.slot(), Some(deadline));
        if let Some(FlowKey { peer, protocol, .. }) = self.flows.get(id).map(|flow| flow.key) {
            self.claims.insert(peer, protocol, deadline, id.slot());
        }
    }
}
