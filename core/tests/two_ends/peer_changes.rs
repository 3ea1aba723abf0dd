//! Peers that are changed in place while flows live.

use std::time::Duration;

use slipwire_core::config::{ChangeConflict, Endpoint, Peer};
use slipwire_core::tape::{Replay, Step, TapeEnd};
use slipwire_core::{Abort, Action, Counter, IpNet, PeerChange, PeerConflict, PresharedKey};

use crate::tapes::Tape;
use slipwire_worlds::build::{key, socket};
use slipwire_worlds::two_engines::{CLIENT_ADDRESS, GATEWAY_ADDRESS, World, pattern, read, write};

const SECOND: Duration = Duration::from_secs(1);

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn guest(name: &str, prefix: &str) -> Peer {
    let number = 100 + name.len() as u8;
    Peer::new(key(number).public_key()).with_name(name).with_allowed_ips([net(prefix)])
}

fn owns(prefixes: &[&str]) -> PeerChange {
    PeerChange::default().with_allowed_ips(prefixes.iter().map(|prefix| net(prefix)))
}

/// What a change of each end is in a round: everything that leaves its flows allowed.
fn changes(round: usize) -> [PeerChange; 2] {
    let preshared_key = PresharedKey::from_entropy([(round / 16) as u8; 32]);
    [GATEWAY_ADDRESS, CLIENT_ADDRESS].map(|address| {
        let change = PeerChange::default();
        match round % 4 {
            0 => change.with_name(format!("round {round}")),
            1 => change.with_endpoint(Endpoint::from(socket(address))),
            2 => change.with_persistent_keepalive(std::num::NonZeroU16::new(round as u16 % 3)),
            _ => change.with_preshared_key(preshared_key.clone()),
        }
    })
}

#[test]
fn a_transfer_does_not_notice_changes_of_its_peers_whatever_is_lost() {
    for lose_every in [0, 50] {
        let mut world = World::new();
        let tape = Tape::default();
        world.gateway.engine.start_tape(Box::new(tape.clone()), world.now).unwrap();
        let (near, far) = world.open_and_accept();
        world.lose_every(lose_every);
        let (at_client, at_gateway) = (world.gateway_id(), world.client_id());
        let expected = pattern(3_000_000);
        let (mut sent, mut got, mut round) = (0, Vec::new(), 0);
        let deadline = world.now + 600 * SECOND;
        while got.len() < expected.len() {
            assert!(world.now < deadline, "{} bytes", got.len());
            let now = world.now;
            round += 1;
            let [of_gateway, of_client] = changes(round);
            world.client.engine.set_peer(at_client, of_gateway, now).unwrap();
            world.gateway.engine.set_peer(at_gateway, of_client, now).unwrap();
            let wider = ["10.0.0.2/32", "10.9.0.0/16"];
            let change = owns(&wider[..1 + round % 2]);
            world.gateway.engine.set_peer(at_gateway, change, now).unwrap();
            sent += write(&mut world.client, near, &expected[sent..], now);
            got.extend(read(&mut world.gateway, far, now));
            world.step(now + Duration::from_millis(100));
        }
        assert!(round > 20, "there were {round} changes");
        assert!(got == expected, "the bytes arrived as they were sent");
        let ended = |action: &Action| matches!(action, Action::Aborted(..) | Action::Closed(_));
        assert!(!world.client.actions.iter().chain(&world.gateway.actions).any(ended));
        let meta = world.gateway.engine.meta(far).unwrap();
        let name = &world.gateway.engine.peer(at_gateway).unwrap().identity.name;
        assert!(name.starts_with("round") && meta.peer.name == *name, "the flow is its peer's");
        world.gateway.engine.flush_tape();
        replay(&tape);
    }
}

fn replay(tape: &Tape) {
    let tape = tape.bytes();
    let mut replay = Replay::new(&tape).unwrap();
    loop {
        match replay.step() {
            Ok(Step::Same) => {}
            Ok(Step::End(end)) => return assert_eq!(end, TapeEnd::Whole),
            Err(difference) => panic!("{difference}"),
        }
    }
}

#[test]
fn a_flow_ends_when_its_peer_gives_its_address_up_and_says_why() {
    let mut world = World::new();
    let tape = Tape::default();
    world.gateway.engine.start_tape(Box::new(tape.clone()), world.now).unwrap();
    let (near, far) = world.open_and_accept();
    let client = world.client_id();
    let now = world.now;
    world.gateway.engine.set_peer(client, owns(&["10.0.0.0/24"]), now).unwrap();
    world.drain();
    assert!(world.gateway.actions.is_empty(), "it owns it by another prefix");
    world.gateway.engine.set_peer(client, owns(&["10.0.0.3/32"]), now).unwrap();
    world.run(SECOND);
    assert_eq!(world.gateway.actions, [Action::Aborted(far, Abort::NoPeer)]);
    assert_eq!(world.client.actions, [Action::Aborted(near, Abort::Reset)]);
    world.gateway.engine.flush_tape();
    replay(&tape);
    // What the client sends from there is nobody's.
    let before = world.gateway.engine.stats().value(Counter::DropSource);
    world.client.engine.open_tcp(socket("192.0.2.1:1"), world.now).unwrap();
    world.run(SECOND);
    assert!(world.gateway.engine.stats().value(Counter::DropSource) > before);
}

#[test]
fn an_address_moves_from_peer_to_peer_in_one_call() {
    let mut world = World::new();
    let (_, far) = world.open_and_accept();
    let now = world.now;
    let engine = &mut world.gateway.engine;
    let other = engine.add_peer(&guest("other one", "10.0.1.0/24"), now).unwrap();
    let client = engine.peer_with_key(&key(1).public_key()).unwrap();
    let taken = engine.set_peer(other, owns(&["10.0.1.0/24", "10.0.0.2/32"]), now).unwrap_err();
    let prefix = net("10.0.0.2/32");
    assert_eq!(taken.as_slice(), [PeerConflict::AllowedIp { other: client, prefix }]);
    let exchange = [
        (client, owns(&["10.0.1.0/24"]).with_name("other one")),
        (other, owns(&["10.0.0.2/32"]).with_name("other")),
    ];
    engine.set_peers(&exchange, now).unwrap();
    assert_eq!(engine.peer(other).unwrap().identity.name, "other");
    world.run(SECOND);
    assert_eq!(world.gateway.actions, [Action::Aborted(far, Abort::NoPeer)]);
}

#[test]
fn changes_that_contradict_each_other_or_the_rest_change_nothing() {
    let mut world = World::new();
    let (_, far) = world.open_and_accept();
    let now = world.now;
    let engine = &mut world.gateway.engine;
    let one = engine.add_peer(&guest("one", "10.0.1.0/24"), now).unwrap();
    let three = engine.add_peer(&guest("three", "10.0.2.0/24"), now).unwrap();
    let gone = engine.add_peer(&guest("gone now", "10.0.3.0/24"), now).unwrap();
    engine.remove_peer(gone, now).unwrap();
    let client = engine.peer_with_key(&key(1).public_key()).unwrap();
    let against = |peer, conflict| ChangeConflict { peer, conflict };
    let change = [
        (client, owns(&["10.0.9.0/24"])),
        (one, owns(&["10.0.0.1/32", "10.0.2.0/24"]).with_name("other")),
        (three, PeerChange::default().with_name("one")),
        (gone, PeerChange::default().with_persistent_keepalive(None)),
    ];
    let conflicts = engine.set_peers(&change, now).unwrap_err();
    let (prefix, address) = (net("10.0.2.0/24"), "10.0.0.1".parse().unwrap());
    assert_eq!(
        conflicts.as_slice(),
        [
            against(gone, PeerConflict::NoPeer),
            against(one, PeerConflict::Name { other: client }),
            against(one, PeerConflict::OwnAddress { address }),
            against(three, PeerConflict::AllowedIp { other: one, prefix }),
        ]
    );
    assert_eq!(
        engine.set_peer(gone, PeerChange::default(), now).unwrap_err().as_slice(),
        [PeerConflict::NoPeer]
    );
    assert_eq!(engine.peer(three).unwrap().identity.name, "three");
    world.run(SECOND);
    assert!(world.gateway.actions.is_empty() && world.gateway.engine.meta(far).is_some());
}
