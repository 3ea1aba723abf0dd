//! Token buckets of source addresses, in a table of fixed size.

use std::hash::Hasher as _;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use crate::bucket::{Bucket, Rate};
use crate::limits::HANDSHAKE_SOURCES_MAX;
use crate::time::Instant;

/// What shares one bucket: an IPv4 address, or the /64 that one IPv6 host may have to itself.
type SourceKey = [u8; 8];

/// Buckets in one set of the table: as many sources may collide before one is forgotten.
const WAYS: usize = 8;

const _: () = assert!(HANDSHAKE_SOURCES_MAX.is_multiple_of(WAYS), "no set is in part");

/// Buckets of the sources seen last. Its size is fixed, and its hash is keyed, so that nobody
/// can choose sources that push out another one.
#[derive(Debug)]
pub(super) struct SourceBuckets {
    rate: Rate,
    key: (u64, u64),
    sets: Box<[[(SourceKey, Bucket); WAYS]]>,
}

impl SourceBuckets {
    /// A table of about `sources` buckets.
    pub(super) fn new(rate: Rate, sources: usize, key: (u64, u64)) -> Self {
        let sets = sources.div_ceil(WAYS).max(1);
        Self { rate, key, sets: vec![Default::default(); sets].into_boxed_slice() }
    }

    /// Whether a source has a token.
    pub(super) fn has_token(&self, address: IpAddr, now: Instant) -> bool {
        let source = source(address);
        let known = self.sets[self.set_of(source)].iter().find(|(other, _)| *other == source);
        known.is_none_or(|(_, bucket)| bucket.has_token(self.rate, now))
    }

    /// Takes a token of a source, if there is one. Where the table is too small for all sources
    /// at once, the one of a set that has taken the least is forgotten.
    pub(super) fn take(&mut self, address: IpAddr, now: Instant) -> bool {
        let source = source(address);
        let set = self.set_of(source);
        let set = &mut self.sets[set];
        let known = set.iter().position(|(other, _)| *other == source);
        let way = known.unwrap_or_else(|| {
            let least = set.iter().enumerate().min_by_key(|(_, (_, bucket))| bucket.paid_until);
            let way = least.map_or(0, |(way, _)| way);
            set[way] = (source, Bucket::default());
            way
        });
        set[way].1.take(self.rate, now)
    }

    fn set_of(&self, source: SourceKey) -> usize {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        hasher.write(&source);
        // Below the number of sets.
        (hasher.finish() % self.sets.len() as u64) as usize
    }
}

fn source(address: IpAddr) -> SourceKey {
    let mut source = SourceKey::default();
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

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
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
        let has_token = |text, now| buckets.has_token(address(text), now);
        assert!(has_token("192.0.2.3", Instant::ZERO), "never seen");
        assert!(!has_token("192.0.2.1", Instant::ZERO) && !has_token("2001:db8::3", Instant::ZERO));
        assert!(has_token("192.0.2.1", Instant::from_nanos(1_000_000_000)));
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
