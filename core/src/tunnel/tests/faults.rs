//! Handshakes that come to nothing: whoever listens hears why, as far as that can be told.

use crate::key::PresharedKey;
use crate::limits::HANDSHAKES_WASTED_RATE;
use crate::tunnel::tests::hostile::{forged_initiation, last_sent};
use crate::tunnel::tests::*;

/// What an end hears of.
fn heard(net: &Net, end: usize) -> Vec<HandshakeFault> {
    net.ends[end].faults.0.lock().unwrap().iter().copied().collect()
}

fn to_end_1(bytes: Vec<u8>) -> Datagram {
    Datagram::new(outer(66), outer(1), bytes)
}

#[test]
fn a_handshake_that_succeeds_is_no_fault() {
    let net = Net::connected();
    assert_eq!((heard(&net, 0), heard(&net, 1)), (vec![], vec![]));
}

#[test]
fn a_damaged_initiation_has_a_wrong_mac_and_a_made_up_one_is_forged() {
    let mut net = Net::connected();
    let mut damaged = last_sent(&net, 1);
    damaged.bytes[50] ^= 1;
    net.deliver(1, &damaged);
    assert_eq!(heard(&net, 1), [HandshakeFault::WrongMac]);
    net.deliver(1, &to_end_1(forged_initiation()));
    assert_eq!(heard(&net, 1), [HandshakeFault::WrongMac, HandshakeFault::Forged]);
}

#[test]
fn an_initiation_of_nobody_here_is_of_an_unknown_key() {
    let mut net = Net::new([config(0, vec![reachable(1)]), config(1, vec![peer(2)])]);
    net.send(0, 1, 1);
    net.run(seconds(1));
    assert_eq!(heard(&net, 1), [HandshakeFault::UnknownKey]);
}

#[test]
fn what_comes_again_is_not_newer_or_was_not_asked_for() {
    let mut net = Net::connected();
    let initiation = last_sent(&net, 1);
    let (_, response) = net.sent.iter().find(|(_, d)| d.is_response()).unwrap().clone();
    net.deliver(1, &initiation);
    net.deliver(0, &response);
    assert_eq!(heard(&net, 1), [HandshakeFault::NotNewer]);
    assert_eq!(heard(&net, 0), [HandshakeFault::NotAsked]);
}

#[test]
fn preshared_keys_that_differ_are_seen_by_the_end_that_calls() {
    let secret = PresharedKey::from_entropy([7; 32]);
    let with_secret = config::Peer { preshared_key: Some(secret), ..reachable(1) };
    let mut net = Net::new([config(0, vec![with_secret]), config(1, vec![peer(0)])]);
    net.send(0, 1, 1);
    net.run(seconds(1));
    assert_eq!(heard(&net, 0), [HandshakeFault::PresharedKey]);
    assert_eq!(heard(&net, 1), []);
}

#[test]
fn under_load_senders_are_challenged() {
    let mut net = Net::connected();
    let forged = to_end_1(forged_initiation());
    for _ in 0..2 * HANDSHAKES_WASTED_RATE {
        net.deliver(1, &forged);
    }
    assert_eq!(heard(&net, 1), [HandshakeFault::Forged, HandshakeFault::Challenged]);
}
