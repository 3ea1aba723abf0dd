//! A path between two WireGuard ends: two links. And the paths that TCP is measured over, in
//! virtual time and in real time alike.

use std::time::Duration;

use slipwire_core::Instant;

use crate::account::Account;
use crate::dice::{ALWAYS, Dice};
use crate::link::{Fate, Link, Profile};

/// Where a datagram goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the client's end.
    Up,
    /// To the client's end.
    Down,
}

/// Both directions of a path in time.
#[derive(Debug)]
pub struct Path {
    links: [Link; 2],
}

impl Path {
    /// A path that is the same both ways.
    pub fn new(profile: Profile, dice: &mut Dice) -> Self {
        let links = [dice.fork(), dice.fork()].map(|dice| Link::new(profile, dice));
        Self { links }
    }

    /// What becomes of a datagram of that length.
    pub fn carry(&mut self, direction: Direction, len: usize, now: Instant) -> Fate {
        self.links[direction as usize].carry(len, now)
    }

    /// What one direction carried so far.
    pub const fn account(&self, direction: Direction) -> Account {
        self.links[direction as usize].account()
    }
}

/// A path with a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamedPath {
    /// What it is called in arguments.
    pub name: &'static str,
    /// What it is, in words.
    pub words: &'static str,
    pub profile: Profile,
    /// How many connections at once it is measured with.
    pub flows: &'static [usize],
}

/// The paths that TCP is measured over.
pub const PATHS: [NamedPath; 10] = [
    NamedPath {
        name: "clean",
        words: "100 Mbit/s, 40 ms, queue 100 ms",
        flows: &[1],
        profile: bottleneck(100, 40, 100),
    },
    NamedPath {
        name: "shallow",
        words: "100 Mbit/s, 40 ms, queue 20 ms",
        flows: &[1, 4],
        profile: bottleneck(100, 40, 20),
    },
    NamedPath {
        name: "loss0.1",
        words: "50 Mbit/s, 60 ms, 0.1 % lost",
        flows: &[1],
        profile: Profile { loss: 1_000, ..bottleneck(50, 60, 100) },
    },
    NamedPath {
        name: "loss1",
        words: "50 Mbit/s, 60 ms, 1 % lost",
        flows: &[1, 4],
        profile: Profile { loss: 10_000, ..bottleneck(50, 60, 100) },
    },
    NamedPath {
        name: "bursts",
        words: "30 Mbit/s, 80 ms, 1 % lost in bursts of 5",
        flows: &[1],
        profile: Profile { burst: (2_000, 200_000), ..bottleneck(30, 80, 100) },
    },
    NamedPath {
        name: "loss0.01",
        words: "100 Mbit/s, 100 ms, 0.01 % lost",
        flows: &[1],
        profile: Profile { loss: 100, ..bottleneck(100, 100, 100) },
    },
    NamedPath {
        name: "wifi",
        words: "Wi-Fi: 40 Mbit/s, 20 ms, 0 to 10 ms jitter in order",
        flows: &[1],
        profile: Profile { jitter: Duration::from_millis(10), ..bottleneck(40, 20, 100) },
    },
    NamedPath {
        name: "reordering",
        words: "100 Mbit/s, 20 ms, 1 % of packets 5 ms late",
        flows: &[1],
        profile: Profile {
            reorder: ALWAYS / 100,
            reorder_by: (Duration::from_millis(5), Duration::from_millis(5)),
            ..bottleneck(100, 20, 100)
        },
    },
    NamedPath {
        name: "spikes",
        words: "100 Mbit/s, 20 ms, one of 25,000 datagrams up to 300 ms late, and all behind it",
        flows: &[1],
        profile: Profile {
            spike: 40,
            spike_by: Duration::from_millis(300),
            ..bottleneck(100, 20, 100)
        },
    },
    NamedPath {
        name: "hole",
        words: "100 Mbit/s, 20 ms, datagrams above 1,400 bytes vanish",
        flows: &[1],
        profile: Profile { mtu: 1_400, ..bottleneck(100, 20, 100) },
    },
];

/// A bottleneck of so many Mbit/s and such a queue, on the way of a round trip of so many
/// milliseconds.
pub const fn bottleneck(mbit: u64, round_trip_ms: u64, queue_ms: u64) -> Profile {
    let rate = mbit * 1_000_000 / 8;
    let latency = Duration::from_micros(round_trip_ms * 1_000 / 2);
    Profile { rate: Some(rate), queue: rate * queue_ms / 1_000, ..Profile::clean(latency) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Profile {
        PATHS.iter().find(|path| path.name == name).unwrap().profile
    }

    /// Sends that many full datagrams down a path at nine tenths of what it carries.
    fn fill(name: &str, datagrams: u32) -> (Path, Vec<Fate>) {
        let profile = named(name);
        let gap = Duration::from_nanos(1_452 * 1_000_000_000 / profile.rate.unwrap()) * 10 / 9;
        let mut path = Path::new(profile, &mut Dice::new(1));
        let carry = |n| path.carry(Direction::Down, 1_452, Instant::ZERO + gap * n);
        let fates = (0..datagrams).map(carry).collect();
        (path, fates)
    }

    #[test]
    fn each_direction_has_an_account_of_its_own() {
        let mut path = Path::new(named("hole"), &mut Dice::new(1));
        for (direction, len) in [
            (Direction::Up, 112),
            (Direction::Up, 512),
            (Direction::Down, 1_396),
            (Direction::Down, 1_452),
        ] {
            path.carry(direction, len, Instant::ZERO);
        }
        let up = Account { datagrams: 2, data: 1, data_bytes: 440, padded: 1, ..<_>::default() };
        assert_eq!(path.account(Direction::Up), up);
        let down = path.account(Direction::Down);
        assert_eq!((down.segments, down.segments_lost, down.lost), (2, 1, 1));
        assert_eq!(down.padded, 0);
    }

    #[test]
    fn the_paths_lose_what_their_words_say() {
        for (name, per_million) in
            [("clean", 0), ("loss0.1", 1_000), ("loss1", 10_000), ("bursts", 10_000), ("wifi", 0)]
        {
            let datagrams = 200_000;
            let (path, _) = fill(name, datagrams);
            let lost = path.account(Direction::Down).lost * 1_000_000 / u64::from(datagrams);
            let range = per_million * 8 / 10..=per_million * 12 / 10;
            assert!(range.contains(&lost), "{name}: {lost} per million");
        }
    }

    #[test]
    fn one_datagram_of_a_hundred_is_overtaken_and_jitter_overtakes_nobody() {
        let arrivals = |name| -> Vec<Instant> {
            let (_, fates) = fill(name, 10_000);
            fates.into_iter().flat_map(Fate::arrivals).map(|arrival| arrival.at).collect()
        };
        let late = arrivals("reordering").windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!((70..130).contains(&late), "{late} overtaken");
        assert!(arrivals("wifi").is_sorted() && arrivals("spikes").is_sorted());
    }

    #[test]
    fn a_queue_of_20_ms_delays_by_20_ms_at_most() {
        let mut path = Path::new(named("shallow"), &mut Dice::new(1));
        let fates = (0..1_000).map(|_| path.carry(Direction::Up, 1_452, Instant::ZERO));
        let last = fates.flat_map(Fate::arrivals).map(|arrival| arrival.at).max().unwrap();
        let waited = last.saturating_duration_since(Instant::ZERO + Duration::from_millis(20));
        assert!(waited <= Duration::from_millis(20), "{waited:?}");
        assert!(waited >= Duration::from_millis(19), "{waited:?}");
    }
}
