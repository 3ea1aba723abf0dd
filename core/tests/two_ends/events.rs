//! What an observer hears of peers, and of flows at both ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use slipwire_core::{
    Event, FlowOutcome, HandshakeFault, Instant, Observer, PresharedKey, PublicKey, Transfer,
};

use crate::{CLIENT_ADDRESS, transfer_both_ways};
use slipwire_worlds::build::{engine, key, peer, socket};
use slipwire_worlds::two_engines::{
    CLIENT, End, GATEWAY, GATEWAY_ADDRESS, LATENCY, SERVER, World, client, gateway, pattern, read,
    write,
};

const SECOND: Duration = Duration::from_secs(1);

/// What was heard, but for ids.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Heard {
    Up,
    Down,
    Silent,
    Opened,
    Ended(FlowOutcome, Transfer),
    FlowRefused(FlowOutcome),
    /// Why, whether it is of a peer, and the key of whoever is none.
    HandshakeRefused(HandshakeFault, bool, Option<PublicKey>),
}

/// Writes down what it hears, and when.
#[derive(Clone, Default, Debug)]
struct Ear(Arc<Mutex<Vec<(Heard, Instant)>>>);

impl Observer for Ear {
    fn event(&mut self, event: Event<'_>, now: Instant) {
        let heard = match event {
            Event::PeerUp { identity, endpoint, .. } => {
                assert!(identity.name == "other" && endpoint.is_some());
                Heard::Up
            }
            Event::PeerDown { .. } => Heard::Down,
            Event::PeerSilent { .. } => Heard::Silent,
            Event::FlowOpened(flow) => {
                assert_eq!(flow.opened_at, now);
                Heard::Opened
            }
            Event::FlowEnded { flow, outcome } => Heard::Ended(outcome, flow.transfer),
            Event::FlowRefused { outcome, .. } => Heard::FlowRefused(outcome),
            Event::HandshakeRefused { source, peer, key, fault } => {
                let known = [socket(CLIENT_ADDRESS), socket(GATEWAY_ADDRESS)];
                assert!(known.contains(&source));
                Heard::HandshakeRefused(fault, peer.is_some(), key)
            }
            other => panic!("{other:?}"),
        };
        self.0.lock().unwrap().push((heard, now));
    }
}

impl Ear {
    fn at(end: &mut End) -> Self {
        let ear = Self::default();
        end.engine.set_observer(Some(Box::new(ear.clone())));
        ear
    }

    fn heard(&self) -> Vec<Heard> {
        self.0.lock().unwrap().iter().map(|(heard, _)| heard.clone()).collect()
    }
}

fn tries(world: &mut World) {
    world.client.engine.open_tcp(socket(SERVER), world.now).unwrap();
    world.run(SECOND);
}

#[test]
fn both_ends_hear_of_a_flow_and_agree_on_its_bytes() {
    let mut world = World::new();
    let (client, gateway) = (Ear::at(&mut world.client), Ear::at(&mut world.gateway));
    transfer_both_ways(&mut world, 100_000);
    let transfer = Transfer { bytes_in: 100_000, bytes_out: 100_000 };
    let ended = Heard::Ended(FlowOutcome::Closed, transfer);
    // The client's flow waits for the session, and the gateway's comes with it.
    assert_eq!(client.heard(), [Heard::Opened, Heard::Up, ended.clone()]);
    assert_eq!(gateway.heard(), [Heard::Up, Heard::Opened, ended]);
}

#[test]
fn a_flow_that_is_cut_off_ends_by_its_own_word_at_each_end() {
    let mut world = World::new();
    let (client, gateway) = (Ear::at(&mut world.client), Ear::at(&mut world.gateway));
    let (near, far) = world.open_and_accept();
    write(&mut world.client, near, &pattern(1_000), world.now);
    world.run(SECOND);
    read(&mut world.gateway, far, world.now);
    world.gateway.engine.flow(far).unwrap().abort(world.now);
    world.run(SECOND);
    let near = Transfer { bytes_in: 0, bytes_out: 1_000 };
    let far = Transfer { bytes_in: 1_000, bytes_out: 0 };
    assert_eq!(client.heard().last(), Some(&Heard::Ended(FlowOutcome::PeerReset, near)));
    assert_eq!(gateway.heard().last(), Some(&Heard::Ended(FlowOutcome::HostReset, far)));
}

#[test]
fn a_peer_goes_down_180_seconds_after_its_last_handshake_and_comes_up_again() {
    let mut world = World::new();
    let gateway = Ear::at(&mut world.gateway);
    let (near, _) = world.open_and_accept();
    world.client.engine.flow(near).unwrap().abort(world.now);
    world.run(SECOND);
    let shook = world.gateway.engine.peers().next().unwrap().last_handshake.unwrap();
    world.lose_every(1);
    world.run(Duration::from_secs(200));
    let (last, at) = gateway.0.lock().unwrap().last().unwrap().clone();
    assert_eq!(last, Heard::Down);
    let after = at.saturating_duration_since(shook);
    assert!((Duration::from_secs(179)..Duration::from_secs(182)).contains(&after), "{after:?}");
    world.lose_every(0);
    tries(&mut world);
    world.run(10 * SECOND);
    let ups = gateway.heard().iter().filter(|heard| **heard == Heard::Up).count();
    assert_eq!(ups, 2);
}

#[test]
fn a_rekey_is_no_news_and_a_peer_that_is_removed_is_down_after_its_flows() {
    let mut world = World::new();
    let gateway = Ear::at(&mut world.gateway);
    let (near, far) = world.open_and_accept();
    for _ in 0..40 {
        write(&mut world.client, near, b"x", world.now);
        world.run(10 * SECOND);
        read(&mut world.gateway, far, world.now);
    }
    assert_eq!(gateway.heard(), [Heard::Up, Heard::Opened]);
    let id = world.gateway.engine.peers().next().unwrap().id;
    world.gateway.engine.remove_peer(id, world.now);
    let transfer = Transfer { bytes_in: 40, bytes_out: 0 };
    let ended = Heard::Ended(FlowOutcome::PeerGone, transfer);
    assert_eq!(gateway.heard()[2..], [ended, Heard::Down]);
}

#[test]
fn a_peer_that_does_not_answer_is_silent_once() {
    let mut world = World::new();
    let client = Ear::at(&mut world.client);
    world.lose_every(1);
    tries(&mut world);
    world.run(Duration::from_secs(50));
    assert_eq!(client.heard(), [Heard::Opened, Heard::Silent]);
}

#[test]
fn whoever_is_no_peer_is_told_of_by_its_key() {
    let mut world = World::new();
    let mut parts = gateway();
    parts.peers = vec![peer(77, &[])];
    world.gateway.engine = engine(GATEWAY, parts);
    let gateway = Ear::at(&mut world.gateway);
    tries(&mut world);
    let stranger = Some(key(1).public_key());
    let refused = Heard::HandshakeRefused(HandshakeFault::UnknownKey, false, stranger);
    assert_eq!(gateway.heard(), [refused]);
}

#[test]
fn a_preshared_key_that_differs_is_seen_by_who_calls() {
    let mut world = World::new();
    let mut parts = client();
    parts.peers[0].preshared_key = Some(PresharedKey::from_entropy([9; 32]));
    world.client.engine = engine(CLIENT, parts);
    let client = Ear::at(&mut world.client);
    tries(&mut world);
    let refused = Heard::HandshakeRefused(HandshakeFault::PresharedKey, true, None);
    assert_eq!(client.heard(), [Heard::Opened, refused]);
}

#[test]
fn an_initiation_that_comes_again_is_not_newer_and_a_response_was_not_asked_for() {
    let mut world = World::new();
    let (client, gateway) = (Ear::at(&mut world.client), Ear::at(&mut world.gateway));
    world.client.engine.open_tcp(socket(SERVER), world.now).unwrap();
    world.drain();
    let initiation = world.gateway.inbox.front().unwrap().bytes.clone();
    world.run(LATENCY + LATENCY / 2);
    let response = world.client.inbox.front().unwrap().bytes.clone();
    world.run(SECOND);
    world.gateway.engine.handle_datagram(socket(CLIENT_ADDRESS), None, &initiation, world.now);
    world.client.engine.handle_datagram(socket(GATEWAY_ADDRESS), None, &response, world.now);
    let of_a_peer = |fault| Heard::HandshakeRefused(fault, true, None);
    assert_eq!(gateway.heard().last(), Some(&of_a_peer(HandshakeFault::NotNewer)));
    assert_eq!(client.heard().last(), Some(&of_a_peer(HandshakeFault::NotAsked)));

    let mut damaged = initiation;
    damaged[50] ^= 1;
    world.gateway.engine.handle_datagram(socket(CLIENT_ADDRESS), None, &damaged, world.now);
    let of_nobody = Heard::HandshakeRefused(HandshakeFault::WrongMac, false, None);
    assert_eq!(gateway.heard().last(), Some(&of_nobody));
}

#[test]
fn nobody_hears_after_the_observer_has_gone() {
    let mut world = World::new();
    let gateway = Ear::at(&mut world.gateway);
    world.gateway.engine.set_observer(None);
    world.open_and_accept();
    assert_eq!(gateway.heard(), []);
}
