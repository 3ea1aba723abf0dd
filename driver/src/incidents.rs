//! Errors of sockets that live on. Each is counted; each kind is logged at most once a minute, so
//! that a network that is down does not fill a disk.

use std::io;
use std::time::Duration;

use log::Level;
use slipwire_core::Instant;

const QUIET: Duration = Duration::from_secs(60);

/// Kinds told apart; there are fewer than that in practice, and the rest share the last.
const KINDS_MAX: usize = 32;

/// What went wrong at one sort of socket.
#[derive(Debug)]
pub(crate) struct Incidents {
    what: &'static str,
    level: Level,
    kinds: Vec<IncidentKind>,
    count: u64,
}

#[derive(Debug)]
struct IncidentKind {
    code: Option<i32>,
    loud_at: Instant,
    unlogged: u64,
}

impl Incidents {
    /// Incidents that are logged at `level` as being about `what`.
    pub(crate) const fn new(what: &'static str, level: Level) -> Self {
        Self { what, level, kinds: Vec::new(), count: 0 }
    }

    /// How many there were.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Counts one, and logs it unless one of its kind was logged a short while ago.
    pub(crate) fn report(&mut self, error: &io::Error, now: Instant) {
        self.count += 1;
        let Some(unlogged) = self.kind(error).due(now) else { return };
        if unlogged == 0 {
            log::log!(self.level, "{}: {error}", self.what);
        } else {
            log::log!(self.level, "{}: {error} ({unlogged} more since the last report)", self.what);
        }
    }

    fn kind(&mut self, error: &io::Error) -> &mut IncidentKind {
        let code = error.raw_os_error();
        let known = self.kinds.iter().position(|kind| kind.code == code);
        let index = known.unwrap_or_else(|| {
            if self.kinds.len() < KINDS_MAX {
                self.kinds.push(IncidentKind { code, loud_at: Instant::ZERO, unlogged: 0 });
            }
            self.kinds.len() - 1
        });
        &mut self.kinds[index]
    }
}

impl IncidentKind {
    /// How many were kept quiet before this one, if this one is to be logged.
    fn due(&mut self, now: Instant) -> Option<u64> {
        if now < self.loud_at {
            self.unlogged += 1;
            return None;
        }
        self.loud_at = now + QUIET;
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incidents() -> Incidents {
        Incidents::new("test", Level::Debug)
    }

    #[test]
    fn a_kind_is_loud_once_a_minute() {
        let mut incidents = incidents();
        let error = io::Error::from_raw_os_error(101);
        let kind = incidents.kind(&error);
        assert_eq!(kind.due(Instant::ZERO), Some(0));
        assert_eq!(kind.due(Instant::ZERO + QUIET / 3), None);
        assert_eq!(kind.due(Instant::ZERO + QUIET / 2), None);
        assert_eq!(kind.due(Instant::ZERO + QUIET), Some(2));
    }

    #[test]
    fn every_incident_counts_and_kinds_are_bounded() {
        let mut incidents = incidents();
        for code in 1..200 {
            incidents.report(&io::Error::from_raw_os_error(code), Instant::ZERO);
        }
        assert_eq!(incidents.count(), 199);
        assert_eq!(incidents.kinds.len(), KINDS_MAX);
    }
}
