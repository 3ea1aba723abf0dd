//! Initial sequence numbers: each connection between two sockets begins above where the one before
//! it began, and nobody else can tell where (RFC 9293, section 3.4.1, MUST-8; RFC 6528).
//!
//! A far end that remembers the last connection in TIME-WAIT takes a SYN for a new one by just
//! that (RFC 9293, section 3.6.1, and RFC 1122, section 4.2.2.13).

use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::TcpSeqNumber;

use crate::stack::key::Ends;
use crate::stack::keyed_hash::KeyedState;
use crate::time::Instant;

/// RFC 9293's clock of initial sequence numbers, in nanoseconds: it comes round in 4.77 hours.
const TICK_NS: u64 = 4_000;

/// Chooses initial sequence numbers.
#[derive(Debug)]
pub(crate) struct SequenceNumbers {
    secret: KeyedState,
}

impl SequenceNumbers {
    /// `secret` serves nothing else.
    pub(crate) const fn new(secret: (u64, u64)) -> Self {
        Self { secret: KeyedState::new(secret) }
    }

    /// Where a connection between these sockets begins: RFC 6528's M + F. Whose they are is left
    /// out, since the far end does not know: a peer that is configured anew has the same sockets.
    pub(crate) fn initial(&self, ends: Ends, now: Instant) -> TcpSeqNumber {
        let mut hasher = self.secret.build_hasher();
        let mut packed = [0; 36];
        for (at, socket) in [(0, ends.local), (18, ends.remote)] {
            packed[at..at + 16].copy_from_slice(&wide(socket));
            packed[at + 16..at + 18].copy_from_slice(&socket.port().to_be_bytes());
        }
        hasher.write(&packed);
        let ticks = now.as_nanos() / TICK_NS;
        TcpSeqNumber(hasher.finish().wrapping_add(ticks) as i32)
    }
}

fn wide(socket: SocketAddr) -> [u8; 16] {
    match socket.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::id::PeerId;

    fn ends(local: &str, remote: &str) -> Ends {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        Ends { local, remote, peer: PeerId::first(0) }
    }

    #[test]
    fn numbers_of_the_same_sockets_rise_with_the_clock_and_those_of_others_tell_nothing() {
        let numbers = SequenceNumbers::new((1, 2));
        let (own, remote) = ("10.0.0.1:50000", "10.0.0.2:80");
        let at = |millis| Instant::ZERO + Duration::from_millis(millis);
        let first = numbers.initial(ends(own, remote), at(0));
        assert_eq!(numbers.initial(ends(own, remote), at(1_000)), first + 250_000);
        let again = Ends { peer: PeerId::first(7), ..ends(own, remote) };
        assert_eq!(numbers.initial(again, at(0)), first, "a peer that is configured anew");
        for (local, remote) in [
            ("10.0.0.1:50001", remote),
            (own, "10.0.0.2:81"),
            (own, "10.0.0.3:80"),
            ("10.0.0.9:50000", remote),
        ] {
            let other = numbers.initial(ends(local, remote), at(0));
            assert!((other.0.wrapping_sub(first.0)).unsigned_abs() > 1 << 16, "{local} {remote}");
        }
        let other_secret = SequenceNumbers::new((1, 3)).initial(ends(own, remote), at(0));
        assert_ne!(other_secret, first);
    }
}
