//! One direction of the path between two hosts: what becomes of each datagram, decided by dice
//! and by what the link carries already, never by what is in the datagram.

use std::collections::VecDeque;
use std::time::Duration;

use slipwire_core::Instant;

use crate::account::{Account, holds_data};
use crate::dice::{ALWAYS, Dice};

/// How a link behaves. Chances are per million, for each datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Profile {
    pub latency: Duration,
    /// Added to the latency, up to this; datagrams keep their order.
    pub jitter: Duration,
    /// Bytes a second; `None` for as many as there are.
    pub rate: Option<u64>,
    /// Bytes that may wait for the rate; more are lost.
    pub queue: u64,
    pub loss: u32,
    /// The chance that a burst of losses begins, and that it ends.
    pub burst: (u32, u32),
    /// Held back by [`reorder_by`](Self::reorder_by), so that later ones overtake it.
    pub reorder: u32,
    /// At least and at most.
    pub reorder_by: (Duration, Duration),
    /// Late by up to [`spike_by`](Self::spike_by), and all that follow wait behind it.
    pub spike: u32,
    pub spike_by: Duration,
    pub duplicate: u32,
    pub corrupt: u32,
    /// The largest datagram that passes.
    pub mtu: usize,
}

impl Profile {
    /// A link that loses nothing.
    pub const fn clean(latency: Duration) -> Self {
        Self {
            latency,
            jitter: Duration::ZERO,
            rate: None,
            queue: u64::MAX,
            loss: 0,
            burst: (0, ALWAYS),
            reorder: 0,
            reorder_by: (Duration::ZERO, Duration::ZERO),
            spike: 0,
            spike_by: Duration::ZERO,
            duplicate: 0,
            corrupt: 0,
            mtu: usize::MAX,
        }
    }

    /// The same link without faults: as far and as fast, and with room for what waits.
    pub const fn healed(self) -> Self {
        Self { rate: self.rate, mtu: self.mtu, ..Self::clean(self.latency) }
    }
}

/// One arrival of a datagram, and the damage done to it on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    pub at: Instant,
    pub damage: Option<Damage>,
}

/// A byte that changed, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    pub position: usize,
    pub mask: u8,
}

/// What happens to a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Lost,
    Arrives(Arrival),
    ArrivesTwice(Arrival, Arrival),
}

impl Fate {
    /// Every arrival, if any.
    pub fn arrivals(self) -> impl Iterator<Item = Arrival> {
        let (first, second) = match self {
            Self::Lost => (None, None),
            Self::Arrives(arrival) => (Some(arrival), None),
            Self::ArrivesTwice(first, second) => (Some(first), Some(second)),
        };
        first.into_iter().chain(second)
    }
}

impl Arrival {
    /// The datagram as it arrives.
    pub fn damaged(self, datagram: &[u8]) -> Vec<u8> {
        let mut bytes = datagram.to_vec();
        if let Some(Damage { position, mask }) = self.damage
            && let Some(byte) = bytes.get_mut(position)
        {
            *byte ^= mask;
        }
        bytes
    }
}

/// A link in time.
#[derive(Debug)]
pub struct Link {
    profile: Profile,
    dice: Dice,
    in_burst: bool,
    is_cut: bool,
    /// Every n-th datagram is lost, counted without dice; 0 for none.
    lose_every: u64,
    carried: u64,
    /// Places among the datagrams with data of those that are lost without dice, in order.
    condemned: VecDeque<u64>,
    /// When the link has sent all that waits for its rate.
    free_at: Instant,
    /// The last arrival in order.
    latest: Instant,
    account: Account,
}

impl Link {
    pub fn new(profile: Profile, dice: Dice) -> Self {
        Self {
            profile,
            dice,
            in_burst: false,
            is_cut: false,
            lose_every: 0,
            carried: 0,
            condemned: VecDeque::new(),
            free_at: Instant::ZERO,
            latest: Instant::ZERO,
            account: Account::default(),
        }
    }

    /// Behaves otherwise from now on. What waits for the rate has left by the old one.
    pub const fn set_profile(&mut self, profile: Profile) {
        self.profile = profile;
    }

    /// How it behaves.
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// Loses those of the datagrams that hold data, counted from now on; the next is 0.
    pub fn lose_data(&mut self, places: impl IntoIterator<Item = u64>) {
        self.condemned = places.into_iter().map(|place| self.account.data + place).collect();
    }

    /// Cuts the link, or mends it.
    pub const fn set_cut(&mut self, is_cut: bool) {
        self.is_cut = is_cut;
    }

    /// Loses every n-th datagram from now on; none for 0.
    pub const fn lose_every(&mut self, nth: u64) {
        self.lose_every = nth;
    }

    /// What it was given and lost so far. What arrives damaged is lost too.
    pub const fn account(&self) -> Account {
        self.account
    }

    /// Ends every fault.
    pub fn heal(&mut self) {
        self.profile = self.profile.healed();
        self.in_burst = false;
        self.is_cut = false;
        self.lose_every = 0;
        self.condemned.clear();
    }

    /// What becomes of a datagram of that length.
    pub fn carry(&mut self, len: usize, now: Instant) -> Fate {
        let fate = self.fate(len, now);
        self.account.add(len, fate.arrivals().all(|arrival| arrival.damage.is_some()));
        fate
    }

    fn fate(&mut self, len: usize, now: Instant) -> Fate {
        if self.is_condemned(len) || self.is_lost(len) {
            return Fate::Lost;
        }
        let Some(sent_at) = self.leaves_queue_at(len as u64, now) else { return Fate::Lost };
        let first = self.arrival(len, sent_at);
        if self.dice.chance(self.profile.duplicate) {
            return Fate::ArrivesTwice(first, self.arrival(len, sent_at));
        }
        Fate::Arrives(first)
    }

    fn is_condemned(&mut self, len: usize) -> bool {
        let is_next = holds_data(len) && self.condemned.front() == Some(&self.account.data);
        is_next && self.condemned.pop_front().is_some()
    }

    fn is_lost(&mut self, len: usize) -> bool {
        let (begins, ends) = self.profile.burst;
        self.in_burst =
            if self.in_burst { !self.dice.chance(ends) } else { self.dice.chance(begins) };
        self.carried += 1;
        let counted_out = self.lose_every > 0 && self.carried.is_multiple_of(self.lose_every);
        let lost = self.dice.chance(self.profile.loss) || counted_out;
        lost || self.in_burst || self.is_cut || len > self.profile.mtu
    }

    /// When the datagram has passed the bottleneck; `None` if it finds the queue full.
    fn leaves_queue_at(&mut self, len: u64, now: Instant) -> Option<Instant> {
        let Some(rate) = self.profile.rate else { return Some(now) };
        let waiting = self.free_at.saturating_duration_since(now);
        let waiting_bytes = waiting.as_nanos() * u128::from(rate) / 1_000_000_000;
        if waiting_bytes + u128::from(len) > u128::from(self.profile.queue) {
            return None;
        }
        self.free_at = self.free_at.max(now) + Duration::from_nanos(len * 1_000_000_000 / rate);
        Some(self.free_at)
    }

    fn arrival(&mut self, len: usize, sent_at: Instant) -> Arrival {
        let Profile { latency, jitter, reorder, reorder_by, corrupt, .. } = self.profile;
        let mut at = sent_at + latency + self.dice.time(Duration::ZERO, jitter);
        // Without spikes nothing is thrown for them: other throws stay as they are.
        if self.profile.spike > 0 && self.dice.chance(self.profile.spike) {
            at += self.dice.time(Duration::ZERO, self.profile.spike_by);
        }
        let at = if self.dice.chance(reorder) {
            at + self.dice.time(reorder_by.0, reorder_by.1)
        } else {
            self.latest = self.latest.max(at);
            self.latest
        };
        let damage = self.dice.chance(corrupt).then(|| Damage {
            position: self.dice.between(0, len.saturating_sub(1) as u64) as usize,
            mask: 1 << self.dice.between(0, 7),
        });
        Arrival { at, damage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Duration = Duration::from_millis(10);

    fn arrivals(profile: Profile, gap: Duration) -> Vec<Option<Instant>> {
        let mut link = Link::new(profile, Dice::new(1));
        let at = |n: u32| Instant::ZERO + gap * n;
        let fates = (0..200).map(|n| match link.carry(1000, at(n)) {
            Fate::Lost => None,
            Fate::Arrives(arrival) | Fate::ArrivesTwice(arrival, _) => Some(arrival.at),
        });
        fates.collect()
    }

    #[test]
    fn a_clean_link_delays_and_nothing_else() {
        let gap = Duration::from_millis(1);
        for (n, at) in (0..).zip(arrivals(Profile::clean(LATENCY), gap)) {
            assert_eq!(at, Some(Instant::ZERO + gap * n + LATENCY));
        }
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let gap = Duration::from_millis(1);
        let jitter = Profile { jitter: LATENCY, ..Profile::clean(LATENCY) };
        assert!(arrivals(jitter, gap).is_sorted());
        let reorder = Profile {
            reorder: 100_000,
            reorder_by: (Duration::ZERO, LATENCY),
            ..Profile::clean(LATENCY)
        };
        assert!(!arrivals(reorder, gap).is_sorted());
    }

    #[test]
    fn a_spike_holds_back_all_that_follows() {
        let gap = Duration::from_millis(1);
        let spike = Profile { spike: 50_000, spike_by: LATENCY * 10, ..Profile::clean(LATENCY) };
        let seen = arrivals(spike, gap);
        assert!(seen.is_sorted() && seen.iter().all(Option::is_some));
        let late =
            (0..).zip(&seen).filter(|(n, at)| **at > Some(Instant::ZERO + gap * *n + LATENCY));
        assert!((50..150).contains(&late.count()));
    }

    #[test]
    fn datagrams_with_data_are_lost_by_their_places() {
        let mut link = Link::new(Profile::clean(LATENCY), Dice::new(1));
        assert_ne!(link.carry(1_000, Instant::ZERO), Fate::Lost);
        link.lose_data([1, 2]);
        let mut lost = |len| link.carry(len, Instant::ZERO) == Fate::Lost;
        let seen = [1_100, 100, 1_100, 100, 200, 1_100].map(&mut lost);
        assert_eq!(seen, [false, false, true, false, true, false]);
        let account = link.account();
        assert_eq!((account.data, account.data_lost), (5, 2));
        assert_eq!((account.segments, account.segments_lost, account.bytes_lost), (3, 1, 1_300));
    }

    #[test]
    fn what_arrives_damaged_is_lost() {
        let damage = Profile { corrupt: ALWAYS, ..Profile::clean(LATENCY) };
        let mut link = Link::new(damage, Dice::new(1));
        assert_ne!(link.carry(1_000, Instant::ZERO), Fate::Lost);
        assert_eq!(link.account().lost, 1);
    }

    #[test]
    fn a_full_queue_loses_what_the_rate_does_not_carry() {
        let rate = Profile { rate: Some(100_000), queue: 20_000, ..Profile::clean(LATENCY) };
        // Twice as many bytes as the rate carries.
        let seen = arrivals(rate, Duration::from_millis(5));
        let lost = seen.iter().filter(|at| at.is_none()).count();
        assert!((70..100).contains(&lost), "{lost} lost");
        let last = seen.into_iter().flatten().max().unwrap();
        assert!(last <= Instant::ZERO + Duration::from_millis(5 * 200 + 200) + LATENCY);
    }

    #[test]
    fn bursts_lose_neighbours() {
        let burst = Profile { burst: (20_000, 200_000), ..Profile::clean(LATENCY) };
        let seen = arrivals(burst, LATENCY);
        let lost = seen.iter().filter(|at| at.is_none()).count();
        let pairs = seen.windows(2).filter(|pair| pair == &[None, None]).count();
        assert!(lost > 5 && pairs * 2 > lost, "{lost} lost, {pairs} pairs");
    }

    #[test]
    fn a_healed_link_loses_nothing() {
        let awful = Profile { loss: 500_000, burst: (500_000, 1_000), ..Profile::clean(LATENCY) };
        let mut link = Link::new(awful, Dice::new(1));
        link.set_cut(true);
        assert_eq!(link.carry(1, Instant::ZERO), Fate::Lost);
        link.heal();
        assert!((0..100).all(|_| link.carry(1, Instant::ZERO) != Fate::Lost));
    }
}
