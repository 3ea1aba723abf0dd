//! Many peers at once behind one address, alone and beside those that mean no good.

use boringtun::noise::TunnResult;

use crate::limits::{
    HANDSHAKES_WASTED_RATE, HANDSHAKES_WASTED_SOURCE_BURST, HANDSHAKES_WASTED_SOURCE_RATE,
};
use crate::tunnel::tests::*;

/// How long a session may take after the message that is to bring it about.
const SOON: Duration = Duration::from_secs(2);

/// An office behind NAT: one address, a port for each host.
fn behind_one_address(end: usize) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 7], 10_000 + end as u16))
}

/// Hosts with an address each within one prefix that a single host may have to itself.
fn behind_one_prefix(end: usize) -> SocketAddr {
    let host = end as u16;
    SocketAddr::from(([0x2001, 0xdb8, 1, 2, 0, 0, 0, host], 51820))
}

/// A gateway, end 0, and `count` others that call it as soon as time passes.
fn callers(count: usize, address_of: fn(usize) -> SocketAddr) -> Net {
    let gateway = config(0, (1..=count).map(peer).collect());
    let mut net = Net::start((1..=count).map(|end| config(end, vec![kept_alive(0)])), gateway);
    net.move_to(address_of);
    net
}

impl Net {
    /// The same as [`Net::new`], with `first` before the others and no time passed.
    fn start(others: impl IntoIterator<Item = Config>, first: Config) -> Self {
        let mut net = Self::new([]);
        for (index, config) in [first].into_iter().chain(others).enumerate() {
            net.ends.push(End::new(index, &config, Duration::ZERO));
        }
        net
    }

    fn move_to(&mut self, address_of: fn(usize) -> SocketAddr) {
        for (index, end) in self.ends.iter_mut().enumerate().skip(1) {
            end.address = address_of(index);
        }
    }

    /// Runs beside a flood of 2,000 initiations a second from `source` that are of no peer.
    fn run_beside_flood(&mut self, source: SocketAddr, duration: Duration) {
        let secret = PrivateKey::from_entropy([0xee; 32]).secret();
        let gateway = private_key(0).public_key().point();
        let mut stranger = boringtun::noise::Tunn::new(secret, gateway, None, None, 1, None);
        let mut buffer = [0; 256];
        let TunnResult::WriteToNetwork(initiation) =
            stranger.format_handshake_initiation(&mut buffer, true)
        else {
            panic!("an initiation")
        };
        let garbage = Datagram::new(source, outer(0), initiation.to_vec());
        let end = self.now + duration;
        while self.now < end {
            for _ in 0..20 {
                self.deliver(0, &garbage);
            }
            self.run(Duration::from_millis(10));
        }
    }

    /// How many others have a session that came soon after one of their first `tries` initiations
    /// since `begin`.
    fn answered(&self, tries: usize, begin: Instant) -> usize {
        let is_soon = |end: &&End| {
            let own = self.sent.iter().filter(|(at, datagram)| {
                *at >= begin && datagram.source == end.address && datagram.is_initiation()
            });
            end.first_peer().session_since().is_some_and(|since| {
                own.take(tries).any(|(asked, _)| *asked < since && since < *asked + SOON)
            })
        };
        self.ends.iter().skip(1).filter(is_soon).count()
    }
}

#[test]
fn a_thousand_peers_that_call_in_the_same_moment_are_answered() {
    let mut net = callers(1000, behind_one_address);
    net.run(SOON);
    assert_eq!(net.answered(1, Instant::ZERO), 1000);
    assert_eq!(net.ends[0].count(Counter::CookieReplies), 0);
}

#[test]
fn peers_within_one_ipv6_prefix_are_answered() {
    let mut net = callers(300, behind_one_prefix);
    net.run(SOON);
    assert_eq!(net.answered(1, Instant::ZERO), 300);
}

#[test]
fn all_answers_of_sites_behind_one_address_are_taken() {
    let site = |end| kept_alive(end).with_endpoint(behind_one_address(end));
    let hub = config(0, (1..=1000).map(site).collect());
    let mut net = Net::start((1..=1000).map(|end| config(end, vec![peer(0)])), hub);
    net.move_to(behind_one_address);
    net.run(SOON);
    assert_eq!(net.ends[0].count(Counter::Handshakes), 1000);
    assert_eq!(net.ends[0].count(Counter::DropEgressFull), 0);
}

/// The gateway is away for a while and comes back: every peer gets its session with its next retry.
#[test]
fn a_flood_from_elsewhere_keeps_no_peer_from_its_session() {
    let mut net = callers(1000, behind_one_address);
    net.loses = Box::new(|now, _| now < Instant::ZERO + seconds(3));
    net.run(seconds(3));
    let begin = net.now;
    net.run_beside_flood("198.51.100.66:6666".parse().unwrap(), seconds(6));
    assert_eq!(net.answered(1, begin), 1000);
    let drops = net.ends[0].count(Counter::DropHandshake);
    // 2,000 a second use up 500 that come back at 500 a second within a third of a second.
    let until_load = HANDSHAKES_WASTED_RATE * 4 / 3;
    let under_load = HANDSHAKES_WASTED_SOURCE_BURST + 6 * HANDSHAKES_WASTED_SOURCE_RATE;
    assert!(drops <= u64::from(until_load + under_load), "{drops} handled");
}

/// The gateway can't tell them apart before they show a cookie, which they do with the next retry.
#[test]
fn a_flood_from_the_same_address_delays_peers_by_the_cookie() {
    let mut net = callers(1000, behind_one_address);
    net.loses = Box::new(|now, _| now < Instant::ZERO + seconds(3));
    net.run(seconds(3));
    let begin = net.now;
    net.run_beside_flood(behind_one_address(50_000), seconds(12));
    assert!(net.ends[0].count(Counter::CookieReplies) > 0);
    assert_eq!(net.answered(2, begin), 1000);
}
