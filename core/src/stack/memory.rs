//! Bytes buffered for all TCP flows: counted, held below a limit, and shed where they stand longest.
//!
//! At the limit a segment with data is dropped, as if it had been lost, and the embedder finds send
//! rings full. Since that alone could last as long as somebody does not read, the flow that holds
//! the most bytes is ended, one in each interval, until there is room again.

use std::time::Duration;

use crate::action::FlowId;
use crate::time::Instant;

/// How long a flow may hold up others before the next one is ended.
const SHED_INTERVAL: Duration = Duration::from_secs(1);

/// The account of all flows.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: usize,
    used: usize,
    /// Flows whose embedder waits for room in a ring, while there is none for anybody.
    starved: Vec<FlowId>,
    full_since: Option<Instant>,
}

impl Memory {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, used: 0, starved: Vec::new(), full_since: None }
    }

    /// Bytes that may still be buffered.
    pub(crate) const fn room(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    /// A flow that held `before` bytes holds `after` now.
    pub(crate) const fn account(&mut self, before: usize, after: usize) {
        self.used = self.used.saturating_sub(before).saturating_add(after);
    }

    /// Something found no room.
    pub(crate) fn handle_full(&mut self, now: Instant) {
        self.full_since.get_or_insert(now);
    }

    /// The embedder of a flow waits for room.
    pub(crate) fn handle_starved(&mut self, flow: FlowId, now: Instant) {
        self.starved.push(flow);
        self.handle_full(now);
    }

    /// The flows to be told that there is room again.
    pub(crate) fn take_relieved(&mut self) -> Vec<FlowId> {
        if self.room() < self.limit / 8 {
            return Vec::new();
        }
        self.full_since = None;
        std::mem::take(&mut self.starved)
    }

    /// When a flow has to be ended unless there is room before.
    pub(crate) fn shed_at(&self) -> Option<Instant> {
        Some(self.full_since? + SHED_INTERVAL)
    }

    /// Whether a flow has to be ended now; the next one has its time too.
    pub(crate) fn must_shed(&mut self, now: Instant) -> bool {
        let due = self.shed_at().is_some_and(|at| at <= now);
        if due {
            self.full_since = Some(now);
        }
        due
    }
}
