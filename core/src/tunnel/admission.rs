//! The gate before any Diffie-Hellman: which handshake messages are worth the work.
//!
//! A message needs the right first MAC, which shows that its sender knows our public key. Then it
//! depends on whether the sender has shown that it receives at its address, by sending back a
//! cookie in the second MAC:
//!
//! - With a cookie only its own address limits it. Nobody else can use up that share.
//! - Without one it also competes with everybody else, and with forged senders. When there are too
//!   many, it is answered by a cookie, and admitted next time.
//!
//! Nothing is remembered here but what fixed tables hold. Messages that the gate admits are not
//! authenticated by that: only the peer's own tunnel does this.

use std::net::IpAddr;

use boringtun::noise::TunnResult;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::x25519;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore as _;

use super::sources::SourceBuckets;
use crate::bucket::{Bucket, Rate};
use crate::limits::{
    HANDSHAKE_SOURCES_MAX, HANDSHAKES_PER_SOURCE_BURST, HANDSHAKES_PER_SOURCE_RATE,
    HANDSHAKES_UNPROVEN_RATE,
};
use crate::stats::Counter;
use crate::time::Instant;

/// Bytes of a cookie reply.
pub(super) const COOKIE_REPLY_LEN: usize = 64;

const PER_SOURCE: Rate = Rate::per_second(HANDSHAKES_PER_SOURCE_BURST, HANDSHAKES_PER_SOURCE_RATE);
const UNPROVEN: Rate = Rate::per_second(HANDSHAKES_UNPROVEN_RATE, HANDSHAKES_UNPROVEN_RATE);

/// Which message of a handshake it is. Each kind has its own share, so that a flood of
/// initiations does not keep the answers to our own from coming in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HandshakeKind {
    /// The first message.
    Initiation,
    /// The second one.
    Response,
}

/// What the gate says.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The message may be handled.
    Admitted,
    /// The sender is to show first that it receives at its address: this is the answer to it.
    Challenged([u8; COOKIE_REPLY_LEN]),
    /// The message is dropped.
    Refused(Counter),
}

/// The gate of one end.
pub(super) struct Gate {
    /// Verifies both MACs and makes cookies. Its limit is zero, so that it takes only messages
    /// with a valid cookie; when to do without is decided here.
    macs: RateLimiter,
    proven: SourceBuckets,
    unproven: SourceBuckets,
    initiations: Bucket,
    responses: Bucket,
}

impl Gate {
    /// The gate of the end with this public key. boringtun's clock must have been set.
    pub(super) fn new(public_key: &x25519::PublicKey, rng: &mut ChaCha20Rng) -> Self {
        let mut buckets = || {
            let key = (rng.next_u64(), rng.next_u64());
            SourceBuckets::new(PER_SOURCE, HANDSHAKE_SOURCES_MAX, key)
        };
        Self {
            macs: RateLimiter::new(public_key, 0),
            proven: buckets(),
            unproven: buckets(),
            initiations: Bucket::default(),
            responses: Bucket::default(),
        }
    }

    /// Judges a datagram in the shape of a handshake message.
    pub(super) fn judge(
        &mut self,
        kind: HandshakeKind,
        source: IpAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Verdict {
        let mut cookie_reply = [0; COOKIE_REPLY_LEN];
        match self.macs.verify_packet(Some(source), datagram, &mut cookie_reply) {
            Ok(_) if self.proven.take(source, now) => Verdict::Admitted,
            Ok(_) => Verdict::Refused(Counter::DropHandshakeRate),
            Err(TunnResult::WriteToNetwork(_)) => {
                if self.admits_unproven(kind, source, now) {
                    Verdict::Admitted
                } else {
                    Verdict::Challenged(cookie_reply)
                }
            }
            Err(_) => Verdict::Refused(Counter::DropHandshake),
        }
    }

    fn admits_unproven(&mut self, kind: HandshakeKind, source: IpAddr, now: Instant) -> bool {
        let all = match kind {
            HandshakeKind::Initiation => &mut self.initiations,
            HandshakeKind::Response => &mut self.responses,
        };
        self.unproven.take(source, now) && all.take(UNPROVEN, now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use boringtun::noise::Tunn;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::super::clock::Clock;
    use super::*;
    use crate::key::PrivateKey;

    struct Fixture {
        gate: Gate,
        sender: Tunn,
        clock: Clock,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            let now = Instant::ZERO;
            let clock = Clock::new(now);
            let public = PrivateKey::from_entropy([1; 32]).public_key().point();
            let gate = Gate::new(&public, &mut ChaCha20Rng::from_seed([9; 32]));
            let secret = PrivateKey::from_entropy([2; 32]).secret();
            Self { gate, sender: Tunn::new(secret, public, None, None, 1, None), clock, now }
        }

        fn initiation(&mut self) -> Vec<u8> {
            let mut buffer = [0; 256];
            match self.sender.format_handshake_initiation(&mut buffer, true) {
                TunnResult::WriteToNetwork(message) => message.to_vec(),
                other => panic!("{other:?}"),
            }
        }

        fn judge(&mut self, source: [u8; 4], datagram: &[u8]) -> Verdict {
            self.gate.judge(HandshakeKind::Initiation, source.into(), datagram, self.now)
        }

        fn wait(&mut self, duration: Duration) {
            self.now = self.clock.set(self.now + duration);
        }
    }

    const SENDER: [u8; 4] = [192, 0, 2, 1];

    #[test]
    fn a_wrong_mac_is_refused_and_costs_its_source_nothing() {
        let mut fixture = Fixture::new();
        let good = fixture.initiation();
        let mut bad = good.clone();
        bad[20] ^= 1;
        for _ in 0..1000 {
            let verdict = fixture.judge(SENDER, &bad);
            assert!(matches!(verdict, Verdict::Refused(Counter::DropHandshake)));
        }
        assert!(matches!(fixture.judge(SENDER, &good), Verdict::Admitted));
    }

    #[test]
    fn a_flood_with_the_address_of_a_peer_does_not_lock_the_peer_out() {
        let mut fixture = Fixture::new();
        let flood = fixture.initiation();
        for _ in 0..HANDSHAKES_PER_SOURCE_BURST {
            assert!(matches!(fixture.judge(SENDER, &flood), Verdict::Admitted));
        }
        let initiation = fixture.initiation();
        let Verdict::Challenged(cookie_reply) = fixture.judge(SENDER, &initiation) else {
            panic!("the share of that address is used up");
        };
        fixture.sender.decapsulate(None, &cookie_reply, &mut [0; 256]);
        let proven = fixture.initiation();
        for _ in 0..1000 {
            fixture.judge(SENDER, &flood);
        }
        assert!(matches!(fixture.judge(SENDER, &proven), Verdict::Admitted));
        let elsewhere = fixture.judge([192, 0, 2, 2], &proven);
        assert!(matches!(elsewhere, Verdict::Admitted), "as one without a cookie");
    }

    #[test]
    fn a_flood_from_everywhere_asks_for_cookies() {
        let mut fixture = Fixture::new();
        let flood = fixture.initiation();
        let admitted = (0..10_000_u16).filter(|host| {
            let [a, b] = host.to_be_bytes();
            matches!(fixture.judge([10, 0, a, b], &flood), Verdict::Admitted)
        });
        assert_eq!(admitted.count(), HANDSHAKES_UNPROVEN_RATE as usize);
        let initiation = fixture.initiation();
        let response = HandshakeKind::Response;
        let verdict = fixture.gate.judge(response, SENDER.into(), &initiation, fixture.now);
        assert!(matches!(verdict, Verdict::Admitted), "the answers to our own still come in");
        fixture.wait(Duration::from_secs(1));
        assert!(matches!(fixture.judge(SENDER, &initiation), Verdict::Admitted));
    }

    #[test]
    fn a_source_with_a_cookie_has_its_limit_too() {
        let mut fixture = Fixture::new();
        let first = fixture.initiation();
        for _ in 0..HANDSHAKES_PER_SOURCE_BURST {
            fixture.judge(SENDER, &first);
        }
        let Verdict::Challenged(cookie_reply) = fixture.judge(SENDER, &first) else {
            panic!("the share of that address is used up");
        };
        fixture.sender.decapsulate(None, &cookie_reply, &mut [0; 256]);
        let admitted = (0..100).filter(|_| {
            let proven = fixture.initiation();
            matches!(fixture.judge(SENDER, &proven), Verdict::Admitted)
        });
        assert_eq!(admitted.count(), HANDSHAKES_PER_SOURCE_BURST as usize);
    }
}
