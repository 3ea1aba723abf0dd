//! One connection through a tunnel between ends that are far from each other, in virtual time: how
//! fast it is follows from how core behaves, and not from how busy the machine is.
//!
//! ```text
//!   forward engine  -- 25 ms, perhaps 1 Gbit/s with a queue of 1 MiB -->  gateway engine
//!                   <------------------- the same ---------------------
//! ```
//!
//! The sender always has more to send, and the receiver takes everything at once.

use std::time::Duration;

use slipwire_core::config::Tcp;
use slipwire_worlds::link::Profile;
use slipwire_worlds::traffic::{Traffic, Way, megabits};

const DELAY: Duration = Duration::from_millis(25);
/// What the bottleneck carries in a second, in bytes.
const RATE: u64 = 125_000_000;
/// Bytes that may wait before the bottleneck.
const QUEUE: u64 = 1 << 20;
/// Bytes of a full datagram.
const DATAGRAM_LEN: u64 = 1_452;
/// How long a connection has to become fast.
const START: Duration = Duration::from_secs(3);
/// How long it is measured then.
const STEADY: Duration = Duration::from_secs(5);

/// What a path does beside taking its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bottleneck {
    None,
    Gigabit,
}

impl Bottleneck {
    fn path(self) -> Profile {
        let far = Profile::clean(DELAY);
        match self {
            Self::None => far,
            Self::Gigabit => Profile { rate: Some(RATE), queue: QUEUE, ..far },
        }
    }

    /// Datagrams that are on the way when it is full.
    const fn holds(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Gigabit => (RATE / 1_000 * 2 * DELAY.as_millis() as u64 + QUEUE) / DATAGRAM_LEN,
        }
    }
}

/// Datagrams that were lost.
fn lost(traffic: &mut Traffic) -> u64 {
    Way::BOTH.map(|way| traffic.link(way).account().lost).iter().sum()
}

/// Both directions reach so many Mbit/s with rings of `buffer` bytes, from the first SYN and once
/// they are under way. Nothing is lost for it but by the one overshoot that ends slow start, which
/// hears of a queue a round trip late, when it has sent up to twice as much.
fn check(way: Way, buffer: usize, expected: u64) {
    for bottleneck in [Bottleneck::None, Bottleneck::Gigabit] {
        let mut traffic = Traffic::bulk(way, bottleneck.path(), buffer);
        let start = traffic.run(START);
        let overshoot = lost(&mut traffic);
        let steady = traffic.run(STEADY);
        let total = megabits(start + steady, START + STEADY);
        let steady = megabits(steady, STEADY);
        assert!(steady >= expected && total >= expected, "{bottleneck:?}: {steady}, {total}");
        assert!(overshoot <= bottleneck.holds(), "{bottleneck:?}: {overshoot}");
        assert_eq!(lost(&mut traffic), overshoot, "{bottleneck:?}, under way");
        let sent = traffic.sent(way);
        assert!(sent.repeated <= overshoot * DATAGRAM_LEN, "{sent:?}, {overshoot} lost");
    }
}

#[test]
fn a_long_path_is_as_fast_as_default_buffers_allow() {
    for way in Way::BOTH {
        check(way, Tcp::default().send_buffer, 150);
    }
}

#[test]
fn large_buffers_fill_a_long_path_into_the_gateway() {
    check(Way::ForwardToGateway, 8 << 20, 600);
}

#[test]
fn large_buffers_fill_a_long_path_out_of_the_gateway() {
    check(Way::GatewayToForward, 8 << 20, 600);
}
