//! Ports that flows of ours speak from: of each target, the one that has been unused for longest.
//!
//! A far end remembers for minutes what it spoke with last (TIME-WAIT), so ports go round: a pool
//! for each target, since ports of other targets do not count there, beginning anywhere (RFC 6056,
//! section 3.3.3). A pool lives while it is asked and for a while after. It only says what to try
//! next: that a port is free, the table of flows knows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::flow::Protocol;
use crate::limits::{PORT_POOLS_MAX, TIME_WAITS_MAX};
use crate::stack::key::FlowKey;
use crate::stack::keyed_hash::KeyedState;
use crate::time::Instant;

/// The first port: those below are for services (RFC 6056, section 3.2).
const FIRST: u16 = 1_024;
/// All ports from there on.
const COUNT: u16 = u16::MAX - FIRST + 1;
/// Twice the longest that a segment lives (RFC 9293, section 3.4.2): nobody remembers longer.
const REMEMBERED: Duration = Duration::from_secs(240);

const _: () = assert!(TIME_WAITS_MAX < COUNT as usize / 2, "else ports come too early");

/// The pools of all targets.
#[derive(Debug)]
pub(crate) struct Ports {
    pools: HashMap<FlowKey, Pool, KeyedState>,
    /// Their targets by [`Pool::asked`].
    by_age: BTreeMap<(Instant, u64), FlowKey>,
    /// How often any was asked.
    count: u64,
}

impl Ports {
    pub(crate) fn new(hash_key: (u64, u64)) -> Self {
        let pools = HashMap::with_hasher(KeyedState::new(hash_key));
        Self { pools, by_age: BTreeMap::new(), count: 0 }
    }

    /// The next port for a flow with this key, whose own port is not looked at. If its target is
    /// new, ports begin at `dice`, which is any number. `None` if all ports are in use.
    pub(crate) fn take(&mut self, key: FlowKey, dice: u32, now: Instant) -> Option<u16> {
        self.handle_timeout(now);
        let target = target(key);
        if self.pools.len() >= PORT_POOLS_MAX
            && !self.pools.contains_key(&target)
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.pools.remove(&oldest);
        }
        let first = (dice % u32::from(COUNT)) as u16;
        let pool = self.pools.entry(target).or_insert_with(|| Pool::new(first));
        self.count += 1;
        self.by_age.remove(&pool.asked);
        pool.asked = (now, self.count);
        self.by_age.insert(pool.asked, target);
        pool.take()
    }

    /// The flow with this key is over.
    pub(crate) fn give_back(&mut self, key: FlowKey) {
        let port = key.outer.map(|outer| outer.port());
        if let (Some(pool), Some(port)) = (self.pools.get_mut(&target(key)), port) {
            pool.give_back(port);
        }
    }

    /// When the last pool may be forgotten. Those before it need no attention of their own.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.by_age.last_key_value().map(|((asked_at, _), _)| *asked_at + REMEMBERED)
    }

    /// Forgets pools that were not asked for long, unless ports of them are in use.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(oldest) = self.by_age.first_entry()
            && oldest.key().0 + REMEMBERED <= now
        {
            let target = oldest.remove();
            match self.pools.get_mut(&target) {
                Some(pool) if pool.is_in_use() => {
                    self.count += 1;
                    pool.asked = (now, self.count);
                    self.by_age.insert(pool.asked, target);
                }
                Some(_) | None => drop(self.pools.remove(&target)),
            }
        }
        if self.pools.is_empty() && self.pools.capacity() > 64 {
            self.pools.shrink_to_fit();
        }
    }

    /// How many targets are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.pools.len()
    }
}

/// What the flows that share a pool have in common: their target. UDP's have all targets of a peer
/// in common, because to a NAT at the far end datagrams from one port are of one socket, wherever
/// they go (RFC 4787, REQ-1): clients would be one there.
fn target(key: FlowKey) -> FlowKey {
    let portless = |address: SocketAddr| SocketAddr::new(address.ip(), 0);
    let any = match key.inner {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let inner = match key.protocol {
        Protocol::Tcp => key.inner,
        Protocol::Udp | Protocol::Icmp => SocketAddr::new(any, 0),
    };
    FlowKey { inner, outer: key.outer.map(portless), ..key }
}

/// The ports of one target, counted from [`FIRST`]. Each has its turn in a round of all.
#[derive(Debug)]
struct Pool {
    /// Whose turn is next.
    hand: u16,
    /// The ports that are in use or [miss a turn](Self::missing), 64 in each word.
    taken: BTreeMap<u16, u64>,
    /// Those that came back shortly before their turn: each waits for the next one.
    missing: BTreeSet<u16>,
    /// When a port was taken last, or the pool was kept because some are in use; and which of all
    /// such times that was.
    asked: (Instant, u64),
}

impl Pool {
    const WORDS: u16 = COUNT / 64;

    fn new(first: u16) -> Self {
        let (taken, missing) = (BTreeMap::new(), BTreeSet::new());
        Self { hand: first, taken, missing, asked: (Instant::ZERO, 0) }
    }

    fn is_in_use(&self) -> bool {
        let taken: u32 = self.taken.values().map(|word| word.count_ones()).sum();
        taken as usize > self.missing.len()
    }

    fn take(&mut self) -> Option<u16> {
        let next = match self.next_free() {
            Some(next) => next,
            None => {
                self.pass_over(0..COUNT);
                self.next_free()?
            }
        };
        if next < self.hand {
            self.pass_over(self.hand..COUNT);
            self.pass_over(0..next);
        } else {
            self.pass_over(self.hand..next);
        }
        *self.taken.entry(next / 64).or_default() |= 1 << (next % 64);
        self.hand = (next + 1) % COUNT;
        Some(FIRST + next)
    }

    fn give_back(&mut self, port: u16) {
        // A pool that was made anew does not know what flows of before have.
        let Some(place) = port.checked_sub(FIRST).filter(|place| self.is_taken(*place)) else {
            return;
        };
        let turns_before =
            (u32::from(place) + u32::from(COUNT) - u32::from(self.hand)) % u32::from(COUNT);
        if turns_before < u32::from(COUNT / 2) {
            self.missing.insert(place);
        } else {
            self.free(place);
        }
    }

    /// The first free place from the hand on, and round.
    fn next_free(&self) -> Option<u16> {
        let (word, bit) = (self.hand / 64, self.hand % 64);
        // The hand's own word twice: what is behind the hand comes last.
        (0..=Self::WORDS).find_map(|step| {
            let at = (word + step) % Self::WORDS;
            let behind = if step == 0 { (1 << bit) - 1 } else { 0 };
            let taken = self.taken.get(&at).copied().unwrap_or(0) | behind;
            (taken != u64::MAX).then(|| at * 64 + taken.trailing_ones() as u16)
        })
    }

    fn is_taken(&self, place: u16) -> bool {
        self.taken.get(&(place / 64)).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// These places have missed their turn.
    fn pass_over(&mut self, places: std::ops::Range<u16>) {
        while let Some(place) = self.missing.range(places.clone()).next().copied() {
            self.missing.remove(&place);
            self.free(place);
        }
    }

    fn free(&mut self, place: u16) {
        if let Some(word) = self.taken.get_mut(&(place / 64)) {
            *word &= !(1 << (place % 64));
            if *word == 0 {
                self.taken.remove(&(place / 64));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PeerId;

    fn key(target: u32, port: u16) -> FlowKey {
        let [.., a, b] = target.to_be_bytes();
        let inner = SocketAddr::from(([172, 16, a, b], 80));
        let outer = Some(SocketAddr::from(([10, 0, 0, 1], port)));
        FlowKey { protocol: Protocol::Tcp, peer: PeerId::first(0), inner, outer }
    }

    fn ports() -> Ports {
        Ports::new((1, 2))
    }

    const NOW: Instant = Instant::ZERO;
    const ANYWHERE: u32 = 60_123;

    /// Opens and closes so many, and says which ports they had.
    fn short_flows(ports: &mut Ports, count: usize) -> Vec<u16> {
        let one = |_| {
            let port = ports.take(key(0, 0), ANYWHERE, NOW).unwrap();
            ports.give_back(key(0, port));
            port
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn each_port_has_its_turn_before_any_comes_again() {
        let mut ports = ports();
        let count = usize::from(COUNT);
        let round = short_flows(&mut ports, count);
        let all: BTreeSet<u16> = round.iter().copied().collect();
        assert_eq!(all.len(), count);
        assert_eq!(all.first(), Some(&1_024));
        assert_eq!(short_flows(&mut ports, count), round, "the next round");
    }

    #[test]
    fn a_port_that_was_used_for_long_does_not_come_again_soon() {
        let mut ports = ports();
        let long = ports.take(key(0, 0), ANYWHERE, NOW).unwrap();
        // Its turn is next.
        let others = short_flows(&mut ports, usize::from(COUNT) - 1);
        assert!(!others.contains(&long));
        ports.give_back(key(0, long));
        assert!(!short_flows(&mut ports, usize::from(COUNT) - 1).contains(&long));
        assert_eq!(short_flows(&mut ports, 1), [long]);
    }

    #[test]
    fn every_port_can_be_in_use_and_each_that_comes_back_is_found() {
        let mut ports = ports();
        let take = |ports: &mut Ports| ports.take(key(0, 0), ANYWHERE, NOW);
        let used: BTreeSet<u16> = (0..COUNT).map(|_| take(&mut ports).unwrap()).collect();
        assert_eq!(used.len(), usize::from(COUNT));
        assert_eq!(take(&mut ports), None);
        for port in [1_024, 30_000, u16::MAX, 1_024] {
            ports.give_back(key(0, port));
            assert_eq!(take(&mut ports), Some(port));
            assert_eq!(take(&mut ports), None);
        }
    }

    #[test]
    fn targets_do_not_use_up_each_others_ports() {
        let mut ports = ports();
        let first = |ports: &mut Ports, target| ports.take(key(target, 0), ANYWHERE, NOW).unwrap();
        let port = first(&mut ports, 0);
        assert_eq!(first(&mut ports, 1), port);
        let port_of = |dice| ports.take(key(2 + dice, 0), dice, NOW).unwrap();
        let begins: BTreeSet<u16> = (0..100).map(|n| n * 7_919).map(port_of).collect();
        assert!(begins.len() > 90, "where it begins is nobody's guess: {begins:?}");
    }

    #[test]
    fn udp_clients_of_a_peer_share_no_port_whatever_their_targets() {
        let mut ports = ports();
        let udp = |target| FlowKey { protocol: Protocol::Udp, ..key(target, 0) };
        let taken: BTreeSet<u16> =
            (0..1_000).map(|n| ports.take(udp(n % 7), n, NOW).unwrap()).collect();
        assert_eq!((taken.len(), ports.len()), (1_000, 1));
    }

    #[test]
    fn a_target_is_forgotten_once_nobody_remembers_its_ports() {
        let mut ports = ports();
        let [in_use, over] = [0, 1].map(|n| (n, ports.take(key(n, 0), ANYWHERE, NOW).unwrap()));
        ports.give_back(key(over.0, over.1));
        let mut now = NOW;
        while let Some(at) = ports.poll_timeout().filter(|_| ports.len() > 1) {
            assert!(at > now, "it does not spin");
            now = at;
            ports.handle_timeout(now);
        }
        assert_eq!(now, NOW + REMEMBERED);
        ports.give_back(key(in_use.0, in_use.1));
        ports.handle_timeout(now + REMEMBERED);
        assert_eq!((ports.len(), ports.poll_timeout()), (0, None));
    }

    #[test]
    fn targets_that_are_asked_once_do_not_push_out_the_one_that_is_asked_always() {
        let mut ports = ports();
        let mut last = short_flows(&mut ports, 1)[0];
        for target in 1..4 * PORT_POOLS_MAX as u32 {
            let port = ports.take(key(target, 0), target, NOW).unwrap();
            ports.give_back(key(target, port));
            assert!(ports.len() <= PORT_POOLS_MAX);
            if target % 100 == 0 {
                let next = short_flows(&mut ports, 1)[0];
                assert_eq!(next, FIRST + (last - FIRST + 1) % COUNT, "it goes on with its round");
                last = next;
            }
        }
    }
}
