//! Token buckets: one that stands alone, and a bounded table of them for source addresses.
//!
//! A bucket is a single instant, up to which what was taken has been paid for (the generic cell
//! rate algorithm), so a full bucket needs no memory: the table may forget it.

use std::hash::Hasher as _;
use std::net::IpAddr;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use crate::time::Instant;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    interval: Duration,
    tolerance: Duration,
}

impl Rate {
    /// A bucket of `burst` tokens that gets a new one each `interval`.
    pub(super) const fn new(burst: u32, interval: Duration) -> Self {
        Self { interval, tolerance: interval.saturating_mul(burst) }
    }

    /// A bucket of `burst` tokens that gets `tokens` of them back each second.
    pub(super) const fn per_second(burst: u32, tokens: u32) -> Self {
        let tokens = if tokens == 0 { 1 } else { tokens };
        Self::new(burst, Duration::from_nanos(1_000_000_000 / tokens as u64))
    }
}

/// A bucket, full at first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    paid_until: Instant,
}

impl Bucket {
    /// Whether there is a token.
    pub(super) fn has_token(&self, rate: Rate, now: Instant) -> bool {
        self.after_taking(rate, now).saturating_duration_since(now) <= rate.tolerance
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let has_token = self.has_token(rate, now);
        if has_token {
            self.paid_until = self.after_taking(rate, now);
        }
        has_token
    }

    /// Fills the bucket.
    pub(super) fn fill(&mut self) {
        *self = Self::default();
    }

    fn after_taking(&self, rate: Rate, now: Instant) -> Instant {
        self.paid_until.max(now) + rate.interval
    }
}

/// What shares one bucket: an IPv4 address, or the /64 that one IPv6 host may have to itself.
type Source = [u8; 8];

/// Buckets in one set of the table: as many sources may collide before one is forgotten.
const WAYS: usize = 8;

/// Buckets of the sources seen last. Its size is fixed, and its hash is keyed, so that nobody
/// can choose sources that push out another one.
#[derive(Debug)]
pub(super) struct SourceBuckets {
    rate: Rate,
    key: (u64, u64),
    sets: Box<[[(Source, Bucket); WAYS]]>,
}

impl SourceBuckets {
    /// A table of about `sources` buckets.
    pub(super) fn new(rate: Rate, sources: usize, key: (u64, u64)) -> Self {
        let sets = sources.div_ceil(WAYS).max(1);
        Self { rate, key, sets: vec![Default::default(); sets].into_boxed_slice() }
    }

    /// Takes a token of a source, if there is one. Where the table is too small for all sources
    /// at once, the one of a set that has taken the least is forgotten.
    pub(super) fn take(&mut self, address: IpAddr, now: Instant) -> bool {
        let source = source(address);
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        hasher.write(&source);
        let set = hasher.finish() % self.sets.len() as u64;
        let set = &mut self.sets[set as usize];
        let known = set.iter().position(|(other, _)| *other == source);
        let way = known.unwrap_or_else(|| {
            let least = set.iter().enumerate().min_by_key(|(_, (_, bucket))| bucket.paid_until);
            let way = least.map_or(0, |(way, _)| way);
            set[way] = (source, Bucket::default());
            way
        });
        set[way].1.take(self.rate, now)
    }
}

fn source(address: IpAddr) -> Source {
    let mut source = Source::default();
    match address.to_canonical() {
        // 64:ff9b::/32 is where translators have their prefixes (RFC 6052, RFC 8215), so that no
        // host's /64 looks like this.
        IpAddr::V4(address) => {
            source[..4].copy_from_slice(&[0, 0x64, 0xff, 0x9b]);
            source[4..].copy_from_slice(&address.octets());
        }
        IpAddr::V6(address) => source.copy_from_slice(&address.octets()[..8]),
    }
    source
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_then_a_rate() {
        let rate = Rate::per_second(5, 20);
        let mut bucket = Bucket::default();
        let mut now = Instant::ZERO + SECOND;
        assert_eq!((0..10).filter(|_| bucket.take(rate, now)).count(), 5);
        now += SECOND;
        assert_eq!((0..10).filter(|_| bucket.take(rate, now)).count(), 5);
        let taken = (0..1000).filter(|_| {
            now += Duration::from_millis(10);
            bucket.take(rate, now)
        });
        assert_eq!(taken.count(), 200);
    }

    #[test]
    fn a_refusal_costs_nothing() {
        let rate = Rate::new(1, SECOND);
        let mut bucket = Bucket::default();
        assert!(bucket.take(rate, Instant::ZERO));
        for _ in 0..100 {
            assert!(!bucket.take(rate, Instant::ZERO));
        }
        assert!(bucket.take(rate, Instant::ZERO + SECOND));
    }

    #[test]
    fn sources_have_buckets_of_their_own() {
        let mut buckets = SourceBuckets::new(Rate::per_second(1, 1), 64, (1, 2));
        let mut take = |text| buckets.take(address(text), Instant::ZERO);
        assert!(take("192.0.2.1") && !take("192.0.2.1"));
        assert!(take("192.0.2.2"));
        assert!(!take("::ffff:192.0.2.2"), "the same host");
        assert!(take("2001:db8::1") && !take("2001:db8::2"), "one /64");
        assert!(take("2001:db8:0:1::1"));
    }

    #[test]
    fn a_table_that_is_too_small_keeps_the_busiest() {
        let mut buckets = SourceBuckets::new(Rate::per_second(10, 1), WAYS, (1, 2));
        for _ in 0..10 {
            buckets.take(address("192.0.2.1"), Instant::ZERO);
        }
        for host in 0..200 {
            buckets.take(IpAddr::from([198, 51, 100, host]), Instant::ZERO);
        }
        assert!(!buckets.take(address("192.0.2.1"), Instant::ZERO));
    }
}
