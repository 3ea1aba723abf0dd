//! Many ends that call one driver at once, from one address, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use slipwire_core::config::{Endpoint, Interface, Parts, Peer};
use slipwire_core::{Config, Counter, PrivateKey};
use slipwire_driver::{Driver, Settings};

const ENDS: u8 = 60;
/// Far longer than it takes; an end that is not answered asks again after 5 s.
const PATIENCE: Duration = Duration::from_secs(60);

fn key(end: u8) -> PrivateKey {
    PrivateKey::from_entropy([end + 1; 32])
}

fn peer(end: u8, endpoint: Option<Endpoint>) -> Peer {
    let keepalive = endpoint.as_ref().and(NonZeroU16::new(25));
    let mut peer = Peer::new(key(end).public_key())
        .with_name(format!("end {end}"))
        .with_allowed_ips([format!("10.77.0.{}/32", end + 1).parse().unwrap()])
        .with_persistent_keepalive(keepalive);
    peer.endpoint = endpoint;
    peer
}

fn driver(end: u8, peers: Vec<Peer>) -> Driver {
    let address = format!("10.77.0.{}/24", end + 1).parse().unwrap();
    let mut parts = Parts::new(Interface::new(key(end), [address]));
    parts.peers = peers;
    let mut settings = Settings::default();
    settings.listen = vec![IpAddr::V4(Ipv4Addr::LOCALHOST).into()];
    Driver::new(Config::new(parts).unwrap(), settings, [end; 32]).unwrap()
}

#[test]
fn ends_behind_one_address_are_answered_without_a_challenge() {
    let mut gateway = driver(0, (1..=ENDS).map(|end| peer(end, None)).collect());
    let address = gateway.local_addresses().next().unwrap();
    let call = |end| driver(end, vec![peer(0, Some(Endpoint::Address(address)))]);
    let mut ends: Vec<Driver> = (1..=ENDS).map(call).collect();
    let start = Instant::now();
    let has_session = |end: &Driver| end.engine().stats().value(Counter::Handshakes) > 0;
    while !ends.iter().all(has_session) && start.elapsed() < PATIENCE {
        for driver in ends.iter_mut().chain([&mut gateway]) {
            driver.turn(Some(Duration::ZERO)).unwrap();
        }
    }
    assert_eq!(ends.iter().filter(|end| has_session(end)).count(), usize::from(ENDS));
    let stats = gateway.engine().stats();
    assert_eq!(stats.value(Counter::CookieReplies), 0);
    assert_eq!(stats.value(Counter::DropHandshakeRate), 0);
}
