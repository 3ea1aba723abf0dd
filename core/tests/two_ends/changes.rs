//! Peers and rules that change while flows live.

use std::time::Duration;

use slipwire_core::config::Peer;
use slipwire_core::rules::{ProxyProtocol, Rule, RuleAction};
use slipwire_core::{Abort, Action, Counter, IpNet, PeerConflict};

use slipwire_worlds::build::{key, socket};
use slipwire_worlds::two_engines::{CLIENT_ADDRESS, SERVER, World, pattern, read, write};

const SECOND: Duration = Duration::from_secs(1);

/// A peer that is nobody's end here.
fn guest(number: u8) -> Peer {
    Peer::new(key(100 + number).public_key())
        .with_name(format!("guest {number}"))
        .with_allowed_ips([format!("10.0.1.{number}/32").parse().unwrap()])
}

/// The client as the gateway's configuration has it.
pub(crate) fn client() -> Peer {
    Peer::new(key(1).public_key())
        .with_name("other")
        .with_allowed_ips(["10.0.0.2/32".parse().unwrap()])
}

fn rule(to: &str, action: RuleAction) -> Rule {
    Rule { to: vec![to.parse().unwrap()], ..Rule::any(action) }
}

#[test]
fn a_transfer_does_not_notice_peers_and_rules_that_come_and_go() {
    const RELAY: RuleAction = RuleAction::Relay { proxy_protocol: ProxyProtocol::Off };
    let mut world = World::new();
    let (near, far) = world.open_and_accept();
    let expected = pattern(3_000_000);
    let (mut sent, mut got, mut round) = (0, Vec::new(), 0_u8);
    let deadline = world.now + 600 * SECOND;
    while got.len() < expected.len() {
        assert!(world.now < deadline, "{} bytes", got.len());
        let now = world.now;
        round = round.wrapping_add(1);
        for end in [&mut world.client, &mut world.gateway] {
            let id = end.engine.add_peer(&guest(round % 100), now).unwrap();
            if !round.is_multiple_of(3) {
                assert!(end.engine.remove_peer(id, now).is_some());
            } else {
                let earlier = end.engine.peer_with_key(&guest(round % 100).public_key).unwrap();
                end.engine.remove_peer(earlier, now).unwrap();
            }
        }
        let rules = vec![rule("192.0.2.0/24", RELAY); usize::from(round % 5)];
        world.gateway.engine.set_rules(rules, now).unwrap();
        sent += write(&mut world.client, near, &expected[sent..], now);
        got.extend(read(&mut world.gateway, far, now));
        world.step(now + Duration::from_millis(100));
    }
    assert!(round > 20, "there were {round} changes");
    assert!(got == expected, "the bytes arrived as they were sent");
    let ended = |action: &Action| matches!(action, Action::Aborted(..) | Action::Closed(_));
    assert!(!world.client.actions.iter().any(ended) && !world.gateway.actions.iter().any(ended));
    assert_eq!(world.gateway.engine.stats().value(Counter::Handshakes), 1);
}

#[test]
fn new_rules_end_the_flows_that_they_forbid_and_no_others() {
    let mut world = World::new();
    let (near, far) = world.open_and_accept();
    let forbidden = world.client.engine.open_tcp(socket("198.51.100.80:80"), world.now).unwrap();
    world.run(SECOND);
    let [.., Action::Open(far_forbidden)] = world.gateway.actions[..] else {
        panic!("{:?}", world.gateway.actions)
    };
    world.gateway.engine.flow(far_forbidden).unwrap().opened(None, world.now);
    world.run(SECOND);
    world.gateway.actions.clear();
    world.client.actions.clear();

    let rules = vec![rule("198.51.100.0/24", RuleAction::Reject)];
    world.gateway.engine.set_rules(rules, world.now).unwrap();
    world.run(SECOND);
    assert_eq!(world.gateway.actions, [Action::Aborted(far_forbidden, Abort::Forbidden)]);
    assert_eq!(world.client.actions, [Action::Aborted(forbidden, Abort::Reset)]);
    assert!(world.speaks(near, far));
}

#[test]
fn a_removed_peer_is_shut_out_until_it_is_added_again() {
    let mut world = World::new();
    let (near, far) = world.open_and_accept();
    let id = world.client_id();
    let identity = world.gateway.engine.remove_peer(id, world.now).unwrap();
    assert_eq!(identity.name, "other");
    world.run(SECOND);
    assert_eq!(world.gateway.actions, [Action::Aborted(far, Abort::NoPeer)]);
    assert_eq!(world.client.actions, [Action::Aborted(near, Abort::Reset)]);
    assert_eq!(world.gateway.engine.peers().count(), 0);
    assert!(world.gateway.engine.peer(id).is_none());

    world.gateway.actions.clear();
    let turned_away = |world: &World| {
        let stats = world.gateway.engine.stats();
        stats.value(Counter::DropNoSession) + stats.value(Counter::DropHandshake)
    };
    let before = turned_away(&world);
    let shut_out = world.client.engine.open_tcp(socket(SERVER), world.now).unwrap();
    world.run(30 * SECOND);
    assert!(world.gateway.actions.is_empty());
    assert!(turned_away(&world) > before + 2, "neither its session nor its handshakes count");

    let new_id = world.gateway.engine.add_peer(&client(), world.now).unwrap();
    assert_ne!(new_id, id);
    assert!(world.gateway.engine.peer(id).is_none(), "the old id is nobody's");
    assert!(world.gateway.engine.remove_peer(id, world.now).is_none());
    world.client.engine.flow(shut_out).unwrap().abort(world.now);
    let again = world.client.engine.open_tcp(socket("192.0.2.90:90"), world.now).unwrap();
    let patience = world.now + 30 * SECOND;
    let far = loop {
        // The first one's SYN may have waited for a session, too.
        let offered = world.gateway.actions.iter().rev().find_map(|action| match action {
            Action::Open(flow) => Some(*flow),
            _ => None,
        });
        let meta = offered.and_then(|flow| world.gateway.engine.meta(flow));
        if meta.is_some_and(|meta| meta.destination == socket("192.0.2.90:90")) {
            break offered.unwrap();
        }
        assert!(world.step(patience), "the peer is let in again");
    };
    world.gateway.engine.flow(far).unwrap().opened(None, world.now);
    world.run(10 * SECOND);
    assert!(world.speaks(again, far));
}

#[test]
fn an_unchanged_peer_keeps_its_protection_against_replays() {
    let mut world = World::new();
    let (near, far) = world.open_and_accept();
    let now = world.now;
    write(&mut world.client, near, b"once", now);
    world.drain();
    let recorded: Vec<_> = world.gateway.inbox.iter().map(|one| one.bytes.clone()).collect();
    assert!(!recorded.is_empty());
    world.run(SECOND);
    for number in 1..10 {
        let id = world.gateway.engine.add_peer(&guest(number), world.now).unwrap();
        if number.is_multiple_of(2) {
            world.gateway.engine.remove_peer(id, world.now).unwrap();
        }
    }
    for datagram in &recorded {
        world.gateway.engine.handle_datagram(socket(CLIENT_ADDRESS), None, datagram, world.now);
    }
    let replays = world.gateway.engine.stats().value(Counter::DropReplay);
    assert_eq!(replays, recorded.len() as u64);
    let now = world.now;
    assert_eq!(read(&mut world.gateway, far, now), b"once");
}

#[test]
fn a_peer_that_contradicts_others_is_not_added() {
    let mut world = World::new();
    let own_address: IpNet = "10.0.0.1/32".parse().unwrap();
    let (other, prefix) = (world.client_id(), "10.0.0.2/32".parse().unwrap());
    let with_key = |end: u8| Peer::new(key(end).public_key()).with_name("guest 1");
    let cases = [
        (with_key(2), PeerConflict::OwnPublicKey),
        (with_key(1), PeerConflict::PublicKey { other }),
        (guest(1).with_name("other"), PeerConflict::Name { other }),
        (guest(1).with_allowed_ips([prefix]), PeerConflict::AllowedIp { other, prefix }),
        (
            guest(1).with_allowed_ips([own_address]),
            PeerConflict::OwnAddress { address: own_address.addr() },
        ),
    ];
    for (peer, conflict) in cases {
        let refused = world.gateway.engine.add_peer(&peer, world.now);
        assert_eq!(refused, Err(conflict.into()), "{peer:?}");
    }
    assert_eq!(world.gateway.engine.peers().count(), 1);
    let freed = guest(1).with_allowed_ips([prefix]);
    world.gateway.engine.remove_peer(other, world.now).unwrap();
    assert!(world.gateway.engine.add_peer(&freed, world.now).is_ok());
}

#[test]
fn a_peer_that_takes_over_an_address_ends_what_led_there() {
    let mut world = World::new();
    let (near, far) = world.open_and_accept();
    let server = guest(1).with_allowed_ips(["192.0.2.80/32".parse().unwrap()]);
    let bystander = guest(2).with_allowed_ips(["192.0.2.81/32".parse().unwrap()]);
    world.client.engine.add_peer(&bystander, world.now).unwrap();
    assert!(world.speaks(near, far));
    world.client.engine.add_peer(&server, world.now).unwrap();
    world.drain();
    assert_eq!(world.client.actions, [Action::Aborted(near, Abort::NoPeer)]);
}
