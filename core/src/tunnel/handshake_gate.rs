//! The gate before any Diffie-Hellman: which handshake messages are worth the work.
//!
//! A message needs the right first MAC, which shows that its sender knows our public key. That is
//! all, unless this end is under load: when the work that came to nothing is more than what it can
//! afford ([`HANDSHAKES_WASTED_RATE`]), and for a second after. Messages of peers are never waste,
//! so that any number of them may call at once, from one address too. Under load it depends on
//! whether the sender has shown that it receives at its address, by sending back a cookie in the
//! second MAC (sections 5.3 and 5.4.7 of WireGuard's paper):
//!
//! - With a cookie only what its own address, and others with a cookie, have wasted counts against
//!   it. Nobody can forge that.
//! - Without one what was wasted in the name of its address counts, and all that was wasted. If
//!   that is too much it is answered by a cookie, and admitted next time.
//!
//! Nothing is remembered here but what fixed tables hold. Messages that the gate admits are not
//! authenticated by that: only the peer's own tunnel does this.

use std::net::IpAddr;

use boringtun::noise::TunnResult;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::x25519;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore as _;

use crate::bucket::{Bucket, Rate};
use crate::limits::{
    HANDSHAKE_LOAD_LASTS, HANDSHAKE_SOURCES_MAX, HANDSHAKES_WASTED_PROVEN_RATE,
    HANDSHAKES_WASTED_RATE, HANDSHAKES_WASTED_SOURCE_BURST, HANDSHAKES_WASTED_SOURCE_RATE,
};
use crate::outcome::HandshakeFault;
use crate::time::Instant;
use crate::tunnel::handshake_sources::SourceBuckets;

/// Bytes of a cookie reply.
pub(super) const COOKIE_REPLY_LEN: usize = 64;

const WASTED: Rate = Rate::per_second(HANDSHAKES_WASTED_RATE, HANDSHAKES_WASTED_RATE);
const WASTED_PROVEN: Rate =
    Rate::per_second(HANDSHAKES_WASTED_PROVEN_RATE, HANDSHAKES_WASTED_PROVEN_RATE);
const WASTED_BY_SOURCE: Rate =
    Rate::per_second(HANDSHAKES_WASTED_SOURCE_BURST, HANDSHAKES_WASTED_SOURCE_RATE);

/// Which message of a handshake it is. Each kind has its own share, so that a flood of
/// initiations does not keep the answers to our own from coming in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HandshakeKind {
    /// The first message.
    Initiation,
    /// The second one.
    Response,
}

/// What a sender has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    /// Nothing: its address may be forged.
    None,
    /// That it receives at its address.
    Cookie,
}

/// What came of a message that was admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effort {
    /// A peer's message, or none that any work was done for.
    Due,
    /// Diffie-Hellmans for nothing.
    Wasted,
}

/// What the gate says.
#[derive(Debug)]
pub(super) enum GateVerdict {
    /// The message may be handled; what comes of it is to be told.
    Admitted(Proof),
    /// The sender is to show first that it receives at its address: this is the answer to it.
    Challenged([u8; COOKIE_REPLY_LEN]),
    /// The message is dropped.
    Refused(HandshakeFault),
}

/// The gate of one end.
pub(super) struct Gate {
    /// Verifies both MACs and makes cookies. Its limit is zero, so that it takes only messages
    /// with a valid cookie; when to do without is decided here.
    macs: RateLimiter,
    initiations: Account,
    responses: Account,
}

impl Gate {
    /// The gate of the end with this public key. boringtun's clock must have been set.
    pub(super) fn new(public_key: &x25519::PublicKey, rng: &mut ChaCha20Rng) -> Self {
        Self {
            macs: RateLimiter::new(public_key, 0),
            initiations: Account::new(rng),
            responses: Account::new(rng),
        }
    }

    /// Judges a datagram in the shape of a handshake message.
    pub(super) fn judge(
        &mut self,
        kind: HandshakeKind,
        source: IpAddr,
        datagram: &[u8],
        now: Instant,
    ) -> GateVerdict {
        let mut cookie_reply = [0; COOKIE_REPLY_LEN];
        let proof = match self.macs.verify_packet(Some(source), datagram, &mut cookie_reply) {
            Ok(_) => Proof::Cookie,
            Err(TunnResult::WriteToNetwork(_)) => Proof::None,
            Err(_) => return GateVerdict::Refused(HandshakeFault::WrongMac),
        };
        match (self.account(kind).admits(proof, source, now), proof) {
            (true, _) => GateVerdict::Admitted(proof),
            (false, Proof::None) => GateVerdict::Challenged(cookie_reply),
            (false, Proof::Cookie) => GateVerdict::Refused(HandshakeFault::SourceRate),
        }
    }

    /// Takes note of what came of a message that was admitted.
    pub(super) fn handle_effort(
        &mut self,
        effort: Effort,
        kind: HandshakeKind,
        proof: Proof,
        source: IpAddr,
        now: Instant,
    ) {
        match effort {
            Effort::Due => {}
            Effort::Wasted => self.account(kind).waste(proof, source, now),
        }
    }

    const fn account(&mut self, kind: HandshakeKind) -> &mut Account {
        match kind {
            HandshakeKind::Initiation => &mut self.initiations,
            HandshakeKind::Response => &mut self.responses,
        }
    }
}

/// What messages of one kind have wasted lately.
struct Account {
    all: Bucket,
    proven: Bucket,
    by_source: SourceBuckets,
    by_proven_source: SourceBuckets,
    loaded_until: Instant,
}

impl Account {
    fn new(rng: &mut ChaCha20Rng) -> Self {
        let mut buckets = || {
            let key = (rng.next_u64(), rng.next_u64());
            SourceBuckets::new(WASTED_BY_SOURCE, HANDSHAKE_SOURCES_MAX, key)
        };
        Self {
            all: Bucket::default(),
            proven: Bucket::default(),
            by_source: buckets(),
            by_proven_source: buckets(),
            loaded_until: Instant::ZERO,
        }
    }

    fn admits(&mut self, proof: Proof, source: IpAddr, now: Instant) -> bool {
        if self.loaded_until <= now {
            return true;
        }
        let has_share = match proof {
            Proof::None => self.all.has_token(WASTED, now) && self.by_source.has_token(source, now),
            Proof::Cookie => {
                self.proven.has_token(WASTED_PROVEN, now)
                    && self.by_proven_source.has_token(source, now)
            }
        };
        if !has_share {
            self.loaded_until = now + HANDSHAKE_LOAD_LASTS;
        }
        has_share
    }

    fn waste(&mut self, proof: Proof, source: IpAddr, now: Instant) {
        self.all.take(WASTED, now);
        match proof {
            Proof::None => self.by_source.take(source, now),
            Proof::Cookie => {
                self.proven.take(WASTED_PROVEN, now);
                self.by_proven_source.take(source, now)
            }
        };
        if !self.all.has_token(WASTED, now) {
            self.loaded_until = now + HANDSHAKE_LOAD_LASTS;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use boringtun::noise::Tunn;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;
    use crate::key::PrivateKey;
    use crate::tunnel::clock::Clock;

    const SENDER: [u8; 4] = [192, 0, 2, 1];
    const FLOODER: [u8; 4] = [203, 0, 113, 66];

    /// A gate, and a sender of initiations that all come to nothing unless it is said otherwise.
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

        /// Handles an initiation, if it is admitted.
        fn handle(&mut self, source: [u8; 4], initiation: &[u8], effort: Effort) -> GateVerdict {
            let kind = HandshakeKind::Initiation;
            let verdict = self.gate.judge(kind, source.into(), initiation, self.now);
            if let GateVerdict::Admitted(proof) = verdict {
                self.gate.handle_effort(effort, kind, proof, source.into(), self.now);
            }
            verdict
        }

        /// Whether an initiation of a peer is handled.
        fn admits(&mut self, source: [u8; 4], initiation: &[u8]) -> bool {
            matches!(self.handle(source, initiation, Effort::Due), GateVerdict::Admitted(_))
        }

        /// How many of so many initiations are handled, all of which come to nothing.
        fn flood(&mut self, source: [u8; 4], initiation: &[u8], count: u32) -> usize {
            let handled = (0..count).filter(|_| {
                let verdict = self.handle(source, initiation, Effort::Wasted);
                matches!(verdict, GateVerdict::Admitted(_))
            });
            handled.count()
        }

        /// An initiation with a cookie for an address that a flood comes from.
        fn proven(&mut self, source: [u8; 4]) -> Vec<u8> {
            let first = self.initiation();
            self.flood(source, &first, HANDSHAKES_WASTED_RATE);
            let GateVerdict::Challenged(reply) = self.handle(source, &first, Effort::Due) else {
                panic!("the share of that address is used up");
            };
            self.sender.decapsulate(None, &reply, &mut [0; 256]);
            self.initiation()
        }

        fn wait(&mut self, duration: Duration) {
            self.now = self.clock.set(self.now + duration);
        }
    }

    #[test]
    fn a_wrong_mac_is_refused_and_costs_nothing() {
        let mut fixture = Fixture::new();
        let good = fixture.initiation();
        let mut bad = good.clone();
        bad[20] ^= 1;
        for _ in 0..1000 {
            let verdict = fixture.handle(SENDER, &bad, Effort::Wasted);
            assert!(matches!(verdict, GateVerdict::Refused(HandshakeFault::WrongMac)));
        }
        assert!(fixture.admits(SENDER, &good));
    }

    #[test]
    fn peers_are_never_load() {
        let mut fixture = Fixture::new();
        let initiation = fixture.initiation();
        for _ in 0..10_000 {
            assert!(fixture.admits(SENDER, &initiation));
        }
    }

    #[test]
    fn load_lasts_as_long_as_something_is_refused_and_a_second_more() {
        let mut fixture = Fixture::new();
        let flood = fixture.initiation();
        fixture.flood(FLOODER, &flood, HANDSHAKES_WASTED_RATE);
        let mut handled = 0;
        for _ in 0..300 {
            handled += fixture.flood(FLOODER, &flood, 1);
            fixture.wait(Duration::from_millis(10));
        }
        let share = 3 * HANDSHAKES_WASTED_SOURCE_RATE as usize;
        assert!((share - 1..=share + 1).contains(&handled), "{handled}");
        fixture.wait(HANDSHAKE_LOAD_LASTS);
        assert_eq!(fixture.flood(FLOODER, &flood, 100), 100);
    }

    #[test]
    fn under_load_a_source_without_waste_is_heard() {
        let mut fixture = Fixture::new();
        let flood = fixture.initiation();
        fixture.flood(FLOODER, &flood, HANDSHAKES_WASTED_RATE);
        let mut handled = 0;
        for _ in 0..1000 {
            handled += fixture.flood(FLOODER, &flood, 20);
            fixture.wait(Duration::from_millis(5));
            assert!(fixture.admits(SENDER, &flood));
        }
        let share = 5 * HANDSHAKES_WASTED_SOURCE_RATE as usize;
        assert!(handled <= share + 1, "{handled}");
    }

    #[test]
    fn a_flood_with_the_address_of_a_peer_does_not_lock_the_peer_out() {
        let mut fixture = Fixture::new();
        let flood = fixture.initiation();
        let proven = fixture.proven(SENDER);
        for _ in 0..1000 {
            fixture.flood(SENDER, &flood, 20);
            assert!(fixture.admits(SENDER, &proven));
            fixture.wait(Duration::from_millis(1));
        }
        fixture.flood(FLOODER, &flood, HANDSHAKES_WASTED_RATE);
        assert!(!fixture.admits(FLOODER, &proven), "a cookie is of one address");
    }

    #[test]
    fn a_flood_with_cookies_uses_up_its_own_share_only() {
        let mut fixture = Fixture::new();
        let flood = fixture.proven(FLOODER);
        let proven = fixture.proven(SENDER);
        let handled = fixture.flood(FLOODER, &flood, 1000);
        assert_eq!(handled, HANDSHAKES_WASTED_SOURCE_BURST as usize);
        let verdict = fixture.handle(FLOODER, &flood, Effort::Wasted);
        assert!(matches!(verdict, GateVerdict::Refused(HandshakeFault::SourceRate)));
        assert!((0..1000).all(|_| fixture.admits(SENDER, &proven)));
    }

    #[test]
    fn a_flood_from_everywhere_costs_no_more_than_its_share() {
        let mut fixture = Fixture::new();
        let flood = fixture.initiation();
        let mut handled = 0;
        for second in 0..10 {
            for host in 0..10_000_u16 {
                let [a, b] = host.to_be_bytes();
                handled += fixture.flood([10, second, a, b], &flood, 1);
                fixture.wait(Duration::from_micros(100));
            }
        }
        let share = HANDSHAKES_WASTED_RATE as usize;
        assert!((10 * share..=11 * share + 1).contains(&handled), "{handled}");
        let kind = HandshakeKind::Response;
        let verdict = fixture.gate.judge(kind, FLOODER.into(), &flood, fixture.now);
        assert!(
            matches!(verdict, GateVerdict::Admitted(_)),
            "the answers to our own still come in"
        );
    }
}
