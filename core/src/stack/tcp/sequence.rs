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

/// The seed of an interface of smoltcp whose first connection is to begin at `number`.
///
/// smoltcp 0.14 has no other way to choose one. It draws two numbers of a generator (PCG RXS-M-XS,
/// 64 bits of state): an IPv4 identification, again for as long as that is zero, and then where the
/// connection begins. Each step of the generator can be undone, so this walks back from a state
/// that yields `number`.
pub(super) fn seed_for(number: TcpSeqNumber) -> u64 {
    let yields = |low: u64| u64::from(number.0 as u32) << generator::SHIFT | low;
    let before = |low| generator::state_before(yields(low));
    // One in 65,536 draws a zero: not all of eight do.
    let drawn = (0..8).map(before).find(|state| generator::identification(*state) != 0);
    generator::state_before(drawn.unwrap_or_default())
}

/// smoltcp's `rand`.
mod generator {
    const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
    const INCREMENT: u64 = 0x7590_ef39;
    /// Of a state whose three highest bits are zero, the 32 bits above these are the number.
    pub(super) const SHIFT: u32 = 29;

    /// The multiplier's inverse modulo 2^64, by Newton's method: each step doubles the bits that
    /// are right, of which an odd number has three to begin with.
    const INVERSE: u64 = {
        let mut inverse = MULTIPLIER;
        let mut right = 3;
        while right < u64::BITS {
            let error = 2u64.wrapping_sub(MULTIPLIER.wrapping_mul(inverse));
            inverse = inverse.wrapping_mul(error);
            right *= 2;
        }
        inverse
    };

    pub(super) const fn state_before(state: u64) -> u64 {
        state.wrapping_sub(INCREMENT).wrapping_mul(INVERSE)
    }

    /// The IPv4 identification that comes of this state.
    pub(super) const fn identification(state: u64) -> u16 {
        let number = (state >> (SHIFT as u64 - (state >> 61))) as u32;
        (number ^ (number >> 16)) as u16
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smoltcp::iface::{Config, Interface, SocketSet};
    use smoltcp::phy::{Device as _, Loopback, Medium, RxToken as _};
    use smoltcp::socket::tcp::{Socket, SocketBuffer};
    use smoltcp::time::Instant as EngineInstant;
    use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, TcpPacket};

    use super::*;
    use crate::id::PeerId;

    fn ends(local: &str, remote: &str) -> Ends {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        Ends { local, remote, peer: PeerId::first(0) }
    }

    /// Where smoltcp itself begins with this seed.
    fn begins_at(seed: u64) -> TcpSeqNumber {
        let now = EngineInstant::ZERO;
        let mut device = Loopback::new(Medium::Ip);
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, now);
        let own = IpAddress::v4(10, 0, 0, 1);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(own, 32)).unwrap());
        let ring = || SocketBuffer::new(vec![0; 64]);
        let mut socket = Socket::new(ring(), ring());
        socket.connect(interface.context(), (own, 80), (own, 1024)).unwrap();
        let mut sockets = SocketSet::new(Vec::new());
        sockets.add(socket);
        interface.poll_egress(now, &mut device, &mut sockets);
        let (packet, _) = device.receive(now).unwrap();
        packet.consume(|packet| TcpPacket::new_unchecked(&packet[20..]).seq_number())
    }

    #[test]
    fn smoltcp_begins_where_it_is_to() {
        let mut dice = 1u32;
        for _ in 0..2_000 {
            dice = dice.wrapping_mul(0x9e37_79b9) ^ dice >> 15;
            let number = TcpSeqNumber(dice as i32);
            assert_eq!(begins_at(seed_for(number)), number);
        }
        for number in [0, 1, -1, i32::MIN, i32::MAX].map(TcpSeqNumber) {
            assert_eq!(begins_at(seed_for(number)), number);
        }
    }

    #[test]
    fn an_identification_that_is_drawn_again_does_not_shift_the_number() {
        let draws_zero = |number: &u64| {
            let state = generator::state_before(number << generator::SHIFT);
            generator::identification(state) == 0
        };
        let number = (0..1 << 24).find(draws_zero).expect("one in 65,536 does");
        let number = TcpSeqNumber(number as u32 as i32);
        assert_eq!(begins_at(seed_for(number)), number);
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
