//! What TCP may send again: twice what links lost, and a first flight of each stream, which may
//! take longer than any timer waits before something is known of the path. Where links hold back
//! every tenth datagram or more, by more than a round trip, it may be a quarter of everything:
//! nobody waits longer than a round trip for what was overtaken (RFC 8985, section 6.2), and what
//! came late is learnt from what was repeated for nothing.
//!
//! It is asked of runs in which nothing befalls hosts: what was sent into a partition, to a host
//! that stood still or is gone, or at a clock that jumped has to be sent again, and how much that
//! is says nothing.

use super::oracle::{Violation, ensure};
use super::plan::Plan;
use slipwire_worlds::ledger::Sent;

/// Segments that each direction of a stream may send again though nothing was lost: a first flight
/// (RFC 6928).
const NEEDLESS: u64 = 10;
/// The chance of being held back, per million, from which on repeats for nothing are many.
const REORDERING: u32 = 100_000;

pub(super) fn check(plan: &Plan, sent: Sent, lost: u64) -> Result<(), Violation> {
    if !plan.faults.is_empty() {
        return Ok(());
    }
    let segment = plan.hosts.iter().map(|host| u64::from(host.mtu)).max().unwrap_or_default();
    let directions = 2 * plan.streams.len() as u64;
    let reorders = plan.links.iter().flatten().any(|link| link.reorder >= REORDERING);
    let needless = if reorders { sent.needed() / 4 } else { 0 };
    let most = 2 * lost + NEEDLESS * directions * segment + needless;
    ensure!(
        sent.repeated <= most,
        "{} of {} bytes were sent again, and {lost} were lost",
        sent.repeated,
        sent.bytes
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::Fault;

    #[test]
    fn a_flood_is_a_violation_unless_faults_excuse_it() {
        let mut plan = Plan::new(0);
        plan.faults.clear();
        for link in plan.links.iter_mut().flatten() {
            link.reorder = 0;
        }
        let sent = Sent { bytes: 20_000_000, repeated: 10_000_000 };
        assert!(check(&plan, sent, 4_000_000).is_err());
        assert_eq!(check(&plan, sent, 5_000_000), Ok(()));
        plan.links[0][0].reorder = REORDERING;
        assert_eq!(check(&plan, sent, 4_000_000), Ok(()));
        assert!(check(&plan, sent, 2_000_000).is_err());
        plan.faults.push((Duration::ZERO, Fault::Roam(1)));
        assert_eq!(check(&plan, sent, 0), Ok(()));
    }
}
