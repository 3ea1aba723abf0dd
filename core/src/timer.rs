//! A deadline queue: one deadline for each slot, moved in O(log n), earliest first.

use std::collections::BTreeSet;

use crate::time::Instant;

/// Deadlines of slots (indexes of a slab).
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Instant, usize)>,
    armed: Vec<Option<Instant>>,
}

impl Timers {
    /// Sets, moves or (`None`) clears the deadline of a slot.
    pub(crate) fn set(&mut self, slot: usize, deadline: Option<Instant>) {
        if self.armed.len() <= slot {
            if deadline.is_none() {
                return;
            }
            self.armed.resize(slot + 1, None);
        }
        let armed = std::mem::replace(&mut self.armed[slot], deadline);
        if armed == deadline {
            return;
        }
        if let Some(at) = armed {
            self.queue.remove(&(at, slot));
        }
        if let Some(at) = deadline {
            self.queue.insert((at, slot));
        }
    }

    /// Makes sure that the slot fires at `deadline` or earlier. Cheaper than [`set`](Self::set)
    /// for deadlines that mostly move later: who fires early sets its true deadline then.
    pub(crate) fn set_no_later(&mut self, slot: usize, deadline: Instant) {
        match self.armed.get(slot) {
            Some(Some(armed)) if *armed <= deadline => {}
            _ => self.set(slot, Some(deadline)),
        }
    }

    /// Forgets slots from this one on; none of them is armed.
    pub(crate) fn shrink(&mut self, slots: usize) {
        self.armed.truncate(slots);
        self.armed.shrink_to_fit();
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// How many slots are armed.
    #[cfg(test)]
    pub(crate) fn armed(&self) -> usize {
        self.queue.len()
    }

    /// Takes the slot with the earliest deadline if that is not later than `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<usize> {
        let (at, slot) = self.queue.first().copied()?;
        if at > now {
            return None;
        }
        self.set(slot, None);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn slots_fire_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set(3, Some(at(30)));
        timers.set(1, Some(at(10)));
        timers.set(2, Some(at(20)));
        timers.set(2, None);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(40)), Some(1));
        assert_eq!(timers.pop_due(at(40)), Some(3));
        assert_eq!(timers.pop_due(at(40)), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_deadline_moves() {
        let mut timers = Timers::default();
        timers.set(0, Some(at(10)));
        timers.set(0, Some(at(50)));
        assert_eq!(timers.pop_due(at(20)), None);
        timers.set_no_later(0, at(60));
        assert_eq!(timers.next(), Some(at(50)));
        timers.set_no_later(0, at(5));
        assert_eq!(timers.pop_due(at(5)), Some(0));
    }

    #[test]
    fn clearing_what_was_never_set_is_harmless() {
        let mut timers = Timers::default();
        timers.set(7, None);
        assert_eq!(timers.pop_due(at(u64::MAX)), None);
    }
}
