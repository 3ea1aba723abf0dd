//! Transfers that carry as much as they can: how much of that arrives, what it costs on the path,
//! and what a ping beside them feels.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use slipwire_bench::figures::{quantile, sorted};
use slipwire_worlds::path::Direction;

use super::{load::Load, ping, relay::Ledger, site::Site};

/// How long the last bytes may take to arrive, so that what was sent can be compared with it.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// A segment through a tunnel with an MTU of 1,420 bytes, and what timestamps take of it.
const SEGMENT: u32 = 1_380;
const TIMESTAMPS: u32 = 12;

/// What one run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bulk {
    /// Mbit/s of payload that reached the reader, from the connecting on.
    pub goodput: f64,
    /// Bytes of payload sent for each that reached the reader.
    pub sent_per_needed: f64,
    /// Segments that the path lost.
    pub lost: f64,
    /// Segments that were sent again, for whatever reason.
    pub again: f64,
    /// What a ping beside it took longer than one alone, in milliseconds: half of them, and all but
    /// one in a hundred.
    pub added_p50: f64,
    /// See [`Self::added_p50`].
    pub added_p99: f64,
    /// What part of the datagrams left the relay more than a millisecond late.
    pub late: f64,
    /// Datagrams that were lost elsewhere than on the path: sockets had no room for them.
    pub beside_path: f64,
}

/// So many connections this way for so long, over a path that was just renewed.
pub fn run(site: &Site, direction: Direction, flows: usize, time: Duration) -> Result<Bulk> {
    let alone = ping::alone(site)?;
    let (before, overflowed) = (site.ledger()?, site.overflowed()?);
    let stop_pings = AtomicBool::new(false);
    thread::scope(|scope| {
        let pings = scope.spawn(|| ping::beside(site, &stop_pings));
        let start = Instant::now();
        let load = Load::start(site, direction, flows)?;
        thread::sleep(time);
        let received: u64 = load.received().iter().sum();
        let goodput = received as f64 * 8e-6 / start.elapsed().as_secs_f64();
        stop_pings.store(true, Ordering::SeqCst);
        let pings = pings.join().map_err(|_| anyhow!("the pings panicked"))??;
        load.drain(DRAIN_LIMIT);
        let ledger = site.ledger()?.since(&before);
        let (received, segment) = (load.received().iter().sum(), load.segment());
        load.end()?;
        let bulk = Bulk::new(direction, received, segment, &ledger);
        let beside_path = (site.overflowed()? - overflowed) as f64;
        Ok(Bulk { beside_path, ..bulk.with_times(goodput, alone, &pings) })
    })
}

impl Bulk {
    /// What so many bytes cost on the path.
    fn new(direction: Direction, received: u64, segment: u32, ledger: &Ledger) -> Self {
        let account = ledger.accounts[direction as usize];
        let options = if segment + TIMESTAMPS == SEGMENT { TIMESTAMPS } else { 0 };
        // What is padded is so by anything from nothing to 15 bytes.
        let beside = account.data * u64::from(options) + account.padded * 15 / 2;
        let sent = account.data_bytes.saturating_sub(beside);
        Self {
            sent_per_needed: sent as f64 / received as f64,
            lost: account.segments_lost as f64,
            again: sent.saturating_sub(received) as f64 / f64::from(SEGMENT - options),
            late: ledger.late as f64 / ledger.left.max(1) as f64,
            ..Self::default()
        }
    }

    fn with_times(self, goodput: f64, alone: Duration, pings: &[Duration]) -> Self {
        let added = |time: &Duration| time.saturating_sub(alone).as_secs_f64() * 1e3;
        let added = sorted(pings.iter().map(added));
        let (added_p50, added_p99) = (quantile(&added, 0.5), quantile(&added, 0.99));
        Self { goodput, added_p50, added_p99, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipwire_worlds::account::Account;

    #[test]
    fn timestamps_are_no_payload_and_what_is_sent_again_is_counted_in_segments() {
        // A hundred segments of a kernel, ten of them lost and sent again.
        let account = Account {
            segments_lost: 10,
            data: 110,
            data_bytes: 110 * u64::from(SEGMENT),
            ..Account::default()
        };
        let ledger = Ledger { accounts: [account, Account::default()], left: 0, late: 0 };
        let needed = 100 * u64::from(SEGMENT - TIMESTAMPS);
        let bulk = Bulk::new(Direction::Up, needed, SEGMENT - TIMESTAMPS, &ledger);
        assert!((bulk.sent_per_needed - 1.1).abs() < 1e-9, "{bulk:?}");
        assert!((bulk.again - 10.0).abs() < 1e-9, "{bulk:?}");
        let without = Bulk::new(Direction::Up, 100 * u64::from(SEGMENT), SEGMENT, &ledger);
        assert!((without.again - 10.0).abs() < 1e-9, "{without:?}");
        // Half of what padding can be, for each packet that may have some.
        let padded = Account { data_bytes: account.data_bytes + 150, padded: 20, ..account };
        let ledger = Ledger { accounts: [padded, Account::default()], ..ledger };
        let same = Bulk::new(Direction::Up, 100 * u64::from(SEGMENT), SEGMENT, &ledger);
        assert!((same.again - 10.0).abs() < 1e-9, "{same:?}");
    }
}
