//! What can be read of an engine while it runs.

use super::Engine;
use crate::id::FlowId;
use crate::state::FlowState;

/// State. To read it changes nothing, and nothing is kept for it but sums.
impl Engine {
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
