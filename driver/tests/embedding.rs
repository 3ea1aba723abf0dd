//! A driver beside other things in one thread.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use slipwire_core::config::{Endpoint, Interface, Parts, Peer};
use slipwire_core::rules::{Rule, RuleAction};
use slipwire_core::{Config, Counter, PeerChange, PeerConflict, PrivateKey};
use slipwire_driver::{Driver, Forward, ForwardProtocol, Settings};

const SHORT: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(10);

fn config() -> Config {
    let key = PrivateKey::from_entropy([1; 32]);
    Config::new(Parts::new(Interface::new(key, ["10.77.0.1/24".parse().unwrap()]))).unwrap()
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.listen = vec![IpAddr::V4(Ipv4Addr::LOCALHOST).into()];
    settings
}

/// A driver that has done all there is to do.
fn idle_driver() -> Driver {
    let mut driver = Driver::new(config(), settings(), [7; 32]).unwrap();
    while driver.next_timeout() == Some(Duration::ZERO) {
        driver.turn(Some(Duration::ZERO)).unwrap();
    }
    driver
}

/// Sends what is no WireGuard message.
fn send_noise(to: SocketAddr) {
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"noise", to).unwrap();
}

#[test]
fn an_idle_driver_can_be_left_alone() {
    let mut driver = idle_driver();
    assert_ne!(driver.next_timeout(), Some(Duration::ZERO));
    let start = Instant::now();
    driver.turn(Some(SHORT)).unwrap();
    assert!(start.elapsed() >= SHORT);
}

#[test]
fn a_wakeup_ends_a_turn() {
    let mut driver = idle_driver();
    let mut wakeup = mio::net::UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    driver.add_wakeup(&mut wakeup).unwrap();
    send_noise(wakeup.local_addr().unwrap());
    let start = Instant::now();
    driver.turn(Some(PATIENCE)).unwrap();
    assert!(start.elapsed() < PATIENCE);
    assert_eq!(wakeup.recv(&mut [0; 10]).unwrap(), 5);
}

#[test]
fn a_driver_is_a_descriptor_in_another_loop() {
    let mut driver = idle_driver();
    let mut outer = Poll::new().unwrap();
    let mut events = Events::with_capacity(8);
    let fd = driver.as_raw_fd();
    outer.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE).unwrap();
    outer.poll(&mut events, Some(SHORT)).unwrap();
    assert!(events.is_empty());

    for datagrams in 1..4 {
        send_noise(driver.local_addresses().next().unwrap());
        outer.poll(&mut events, Some(PATIENCE)).unwrap();
        assert!(!events.is_empty());
        driver.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(driver.engine().stats().value(Counter::DatagramsIn), datagrams);
    }
}

#[test]
fn a_driver_does_not_start_when_a_forward_can_not_listen() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (listen, to) = (taken.local_addr().unwrap(), "10.0.0.1:80".parse().unwrap());
    let mut settings = settings();
    settings.forwards.push(Forward::new(ForwardProtocol::Tcp, listen, to).with_name("web"));
    let error = Driver::new(config(), settings, [7; 32]).unwrap_err();
    let expected = format!("{} (forward web): address in use", taken.local_addr().unwrap());
    assert_eq!(error.to_string(), expected);
}

/// A peer that is called at once, where `socket` is.
fn peer(socket: &UdpSocket) -> Peer {
    Peer::new(PrivateKey::from_entropy([2; 32]).public_key())
        .with_name("peer")
        .with_allowed_ips(["10.77.0.2/32".parse().unwrap()])
        .with_endpoint(socket.local_addr().unwrap())
        .with_persistent_keepalive(NonZeroU16::new(25))
}

#[test]
fn a_peer_that_is_added_is_called_and_one_that_is_removed_is_not() {
    let mut driver = idle_driver();
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let id = driver.add_peer(&peer(&far)).unwrap();
    assert_eq!(driver.next_timeout(), Some(Duration::ZERO), "there is something to do");
    while driver.next_timeout() == Some(Duration::ZERO) {
        driver.turn(Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(far.recv(&mut [0; 1000]).unwrap(), 148, "an initiation");
    assert!(driver.next_timeout().is_some(), "it is repeated");

    let public_key = peer(&far).public_key;
    assert_eq!(driver.engine().peer_with_key(&public_key), Some(id));
    let conflicts = driver.add_peer(&peer(&far)).unwrap_err();
    assert_eq!(conflicts.as_slice()[0], PeerConflict::PublicKey { other: id });
    assert_eq!(driver.remove_peer(id).unwrap().name, "peer");
    assert!(driver.remove_peer(id).is_none());
    while driver.next_timeout() == Some(Duration::ZERO) {
        driver.turn(Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(driver.next_timeout(), None, "nobody is left to call");
}

/// Turns until the peer is called at a socket.
fn is_called(driver: &mut Driver, far: &UdpSocket) {
    far.set_nonblocking(true).unwrap();
    let start = Instant::now();
    let mut datagram = [0; 1000];
    let len = loop {
        driver.turn(Some(SHORT)).unwrap();
        if let Ok(len) = far.recv(&mut datagram) {
            break len;
        }
        assert!(start.elapsed() < PATIENCE, "nobody calls");
    };
    assert_eq!(len, 148, "an initiation");
}

fn at_localhost(far: &UdpSocket) -> PeerChange {
    let port = far.local_addr().unwrap().port();
    PeerChange::default().with_endpoint(Endpoint::Name { host: "localhost".into(), port })
}

#[test]
fn a_peer_that_is_changed_is_called_at_its_new_endpoint() {
    let mut driver = idle_driver();
    let [first, second, third] = [0; 3].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let id = driver.add_peer(&peer(&first)).unwrap();
    is_called(&mut driver, &first);
    let change = PeerChange::default();
    let endpoint = Endpoint::from(second.local_addr().unwrap());
    driver.set_peer(id, change.clone().with_endpoint(endpoint)).unwrap();
    is_called(&mut driver, &second);
    driver.set_peer(id, at_localhost(&third)).unwrap();
    is_called(&mut driver, &third);
    driver.remove_peer(id);
    let gone = driver.set_peer(id, change).unwrap_err();
    assert_eq!(gone.as_slice(), [PeerConflict::NoPeer]);
}

#[test]
fn what_an_earlier_name_resolves_to_is_not_taken_for_the_next() {
    let mut driver = idle_driver();
    let [first, second, third] = [0; 3].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let id = driver.add_peer(&peer(&first)).unwrap();
    driver.set_peer(id, at_localhost(&second)).unwrap();
    // The question is on its way.
    driver.turn(Some(Duration::ZERO)).unwrap();
    driver.set_peer(id, at_localhost(&third)).unwrap();
    is_called(&mut driver, &third);
    second.set_nonblocking(true).unwrap();
    assert!(second.recv(&mut [0; 1000]).is_err(), "nobody is called there");
}

#[test]
fn rules_are_replaced_all_or_none() {
    let mut driver = idle_driver();
    let drop_all = Rule::any(RuleAction::Drop);
    let backwards = Rule { ports: vec![RangeInclusive::new(2, 1)], ..drop_all.clone() };
    assert!(driver.set_rules(vec![drop_all.clone()]).is_ok());
    assert_eq!(driver.set_rules(vec![drop_all, backwards]).unwrap_err().as_slice().len(), 1);
}
