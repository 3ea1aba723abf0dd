//! When the next segments may leave, so that a window does not leave at once.
//!
//! A bucket that fills at the rate of the path. What leaves leaves in quanta, of which each makes
//! a full train: the loop's timers are as fine as a millisecond, and a train is cheaper than its
//! segments.

use std::time::Duration;

use crate::stack::tcp::ratio::within;
use crate::time::Instant;

/// A quantum is what leaves in this time at the rate,
const QUANTUM: Duration = Duration::from_millis(2);
/// or about 16 segments,
const QUANTUM_LEN: i64 = 24 << 10;
/// unless those take longer than this at the rate.
const QUANTUM_SLOW: Duration = Duration::from_millis(8);
/// Two segments leave together on any path.
const QUANTUM_LEN_MIN: i64 = 3 << 10;

/// The bucket of one connection.
#[derive(Debug)]
pub(in crate::stack::tcp) struct Pacer {
    /// Bytes a second.
    rate: Option<u64>,
    /// Bytes that may leave, up to two quanta. Less than none after a segment that was longer than
    /// what was left.
    tokens: i64,
    filled_at: Instant,
    /// The bucket was empty: the next segment waits for a whole quantum.
    is_waiting: bool,
}

impl Pacer {
    /// One that lets everything leave, until it is given a rate.
    pub(in crate::stack::tcp) const fn new(now: Instant) -> Self {
        Self { rate: None, tokens: 0, filled_at: now, is_waiting: false }
    }

    /// So many bytes a second may leave from now on, or as many as there are.
    pub(in crate::stack::tcp) fn set_rate(&mut self, bytes_per_second: Option<u64>, now: Instant) {
        if self.rate == bytes_per_second {
            return;
        }
        self.fill(now);
        let was_free = self.rate.is_none();
        self.rate = bytes_per_second.map(|rate| rate.max(1));
        if was_free {
            (self.tokens, self.is_waiting) = (self.quantum(), false);
        }
    }

    /// How many bytes may leave now.
    ///
    /// # Errors
    /// When the next quantum may leave, if nothing may now.
    pub(in crate::stack::tcp) fn allowance(&mut self, now: Instant) -> Result<u64, Instant> {
        let Some(rate) = self.rate else { return Ok(u64::MAX) };
        self.fill(now);
        let quantum = self.quantum();
        if self.tokens >= quantum || self.tokens > 0 && !self.is_waiting {
            self.is_waiting = false;
            return Ok(self.tokens.unsigned_abs());
        }
        self.is_waiting = true;
        let missing = u128::from(quantum.abs_diff(self.tokens)) * 1_000_000_000;
        let wait = u64::try_from(missing.div_ceil(u128::from(rate))).unwrap_or(u64::MAX);
        Err(self.filled_at + Duration::from_nanos(wait))
    }

    /// So many bytes have left.
    pub(in crate::stack::tcp) const fn spend(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.tokens = self.tokens.saturating_sub_unsigned(bytes);
        }
    }

    fn quantum(&self) -> i64 {
        let part = |time| share(self.rate.unwrap_or(0), time);
        part(QUANTUM).max(QUANTUM_LEN.min(part(QUANTUM_SLOW))).max(QUANTUM_LEN_MIN)
    }

    fn fill(&mut self, now: Instant) {
        let Some(rate) = self.rate else {
            self.filled_at = now;
            return;
        };
        let more = share(rate, now.saturating_duration_since(self.filled_at));
        // Parts of a byte are not lost.
        if more > 0 {
            self.tokens = self.tokens.saturating_add(more).min(2 * self.quantum());
            self.filled_at = now;
        }
    }
}

/// What a rate makes in some time.
fn share(rate: u64, time: Duration) -> i64 {
    const MOST: i64 = i64::MAX / 4;
    i64::try_from(within(rate, time)).unwrap_or(MOST).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u64 = 1_448;

    /// Sends for a second whatever may leave, woken `late` after each deadline; the bytes and the
    /// longest train.
    fn run(rate: u64, late: Duration) -> (u64, u64) {
        let mut pacer = Pacer::new(Instant::ZERO);
        pacer.set_rate(Some(rate), Instant::ZERO);
        let (mut now, mut sent, mut longest) = (Instant::ZERO, 0, 0);
        while now < Instant::ZERO + Duration::from_secs(1) {
            let mut train = 0;
            while pacer.allowance(now).is_ok() {
                pacer.spend(LEN);
                train += LEN;
            }
            (sent, longest) = (sent + train, longest.max(train));
            now = pacer.allowance(now).unwrap_err() + late;
        }
        (sent, longest)
    }

    #[test]
    fn the_rate_is_kept_with_late_timers_too() {
        for rate in [12_500, 125_000, 1_250_000, 12_500_000, 125_000_000] {
            for late in [Duration::ZERO, Duration::from_millis(1)] {
                let (sent, longest) = run(rate, late);
                let quantum = (rate / 500).max((24 << 10).min(rate / 125)).max(3 << 10);
                let most = rate + 2 * quantum + LEN;
                assert!((rate * 9 / 10..=most).contains(&sent), "{rate} {late:?}: {sent}");
                assert!(longest <= 2 * quantum + LEN, "{rate} {late:?}: {longest}");
            }
        }
    }

    #[test]
    fn trains_are_full_where_it_is_fast() {
        let mut pacer = Pacer::new(Instant::ZERO);
        pacer.set_rate(Some(12_500_000), Instant::ZERO);
        pacer.spend(25_000);
        let at = pacer.allowance(Instant::ZERO).unwrap_err();
        assert_eq!(at, Instant::from_nanos(2_000_000));
        assert!(pacer.allowance(Instant::from_nanos(1_900_000)).is_err(), "no part of a quantum");
        assert_eq!(pacer.allowance(at), Ok(25_000));
        pacer.spend(24_000);
        assert_eq!(pacer.allowance(at), Ok(1_000), "a quantum that has begun leaves whole");
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut pacer = Pacer::new(Instant::ZERO);
        pacer.spend(1 << 40);
        assert_eq!(pacer.allowance(Instant::ZERO), Ok(u64::MAX));
        pacer.set_rate(Some(1_000_000), Instant::ZERO);
        assert!(pacer.allowance(Instant::ZERO).is_ok(), "the first quantum neither");
    }

    #[test]
    fn a_pause_saves_up_two_quanta_and_no_more() {
        let mut pacer = Pacer::new(Instant::ZERO);
        pacer.set_rate(Some(12_500_000), Instant::ZERO);
        let later = Instant::ZERO + Duration::from_secs(100);
        assert_eq!(pacer.allowance(later), Ok(50_000));
    }
}
