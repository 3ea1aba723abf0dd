//! What will happen, in the order of time, and of planning where times are the same.

use std::collections::BTreeMap;

use slipwire_core::Instant;

/// The events that lie ahead.
#[derive(Debug)]
pub(super) struct Agenda<E> {
    events: BTreeMap<(Instant, u64), E>,
    planned: u64,
}

impl<E> Agenda<E> {
    pub(super) const fn new() -> Self {
        Self { events: BTreeMap::new(), planned: 0 }
    }

    pub(super) fn plan(&mut self, at: Instant, event: E) {
        self.planned += 1;
        self.events.insert((at, self.planned), event);
    }

    /// When the next event is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next event that is due at `now`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<E> {
        if self.next()? > now {
            return None;
        }
        self.events.pop_first().map(|(_, event)| event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_time_and_then_of_planning() {
        let mut agenda = Agenda::new();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            agenda.plan(Instant::from_nanos(at), event);
        }
        let mut seen = String::new();
        for now in [0, 1, 4, 5] {
            while let Some(event) = agenda.pop_due(Instant::from_nanos(now)) {
                seen.push(event);
            }
            seen.push('|');
        }
        assert_eq!(seen, "|ab||cd|");
    }
}
