//! Peers that come and go: what is theirs ends with them, and what is others' goes on.

use smoltcp::wire::TcpControl::{None as Ack, Rst, Syn};

use crate::flow::Abort;
use crate::rules::Source;
use crate::stack::tests::*;

const CLIENT: &str = "10.0.0.2:5000";

fn remove(world: &mut World, peer: PeerId) {
    world.remove_peer(peer);
}

#[test]
fn a_peer_that_goes_takes_its_flows_along_and_no_others() {
    let mut world = World::new();
    let (mut bob, bobs) = {
        let mut bob = Client { peer: BOB, ..Client::new("10.0.0.3:1000", HOST) };
        bob.send(&mut world, Syn, &[]);
        let flow = world.offered();
        world.opened(flow);
        world.actions();
        bob.received(&mut world);
        bob.send(&mut world, Ack, &[]);
        (bob, flow)
    };
    let (mut connected, connection) = Client::connect(&mut world, CLIENT, HOST);
    Client::new("10.0.0.2:5001", HOST).send(&mut world, Syn, &[]);
    let offered = world.offered();
    world.receive(ALICE, &udp(CLIENT, "192.0.2.1:1000", b"x"));
    let mapping = world.offered();
    world.receive(ALICE, &icmp(ALICE_IP, "192.0.2.1", [8, 0, 0, 0, 0, 1, 0, 1], b"x"));
    let echo = world.offered();
    let own = world.open_tcp(socket("10.0.0.2:80")).unwrap();
    world.actions();
    world.sent();

    remove(&mut world, ALICE);
    let aborted = [connection, offered, mapping, echo, own].map(|id| (id.slot(), id));
    let mut expected: Vec<_> = aborted.to_vec();
    expected.sort_unstable();
    let expected: Vec<_> =
        expected.into_iter().map(|(_, id)| Action::Aborted(id, Abort::NoPeer)).collect();
    assert_eq!(world.actions(), expected);
    assert!(world.datagrams().is_empty(), "nobody is left to send them for");
    let first = world.wire.sent.remove(0);
    world.wire.sent = vec![first];
    assert_eq!(connected.received(&mut world)[0].control, Rst);
    bob.send(&mut world, Ack, b"still here");
    assert_eq!(world.actions(), [Action::Readable(bobs)]);
}

#[test]
fn the_next_peer_in_a_place_has_its_whole_share() {
    let mut world = World::with(|parts| {
        parts.limits.tcp_flows = 2;
        parts.limits.half_open = 2;
        parts.limits.udp_flows = 2;
    });
    for generation in 0..10_000 {
        let peer = PeerId { slot: 0, generation };
        let mut client = Client { peer, ..Client::new(CLIENT, HOST) };
        client.send(&mut world, Syn, &[]);
        world.receive(peer, &udp(CLIENT, "192.0.2.1:1000", b"x"));
        let opened = world.actions();
        assert!(matches!(opened[..], [Action::Open(_), Action::Open(_)]), "{opened:?}");
        let mut fragment = udp(CLIENT, "192.0.2.1:1000", &[0; 8]);
        fragment[6] = 0x20;
        fragment[10..12].fill(0);
        let sum = smoltcp::wire::checksum::data(&fragment[..20]);
        fragment[10..12].copy_from_slice(&(!sum).to_be_bytes());
        world.receive(peer, &fragment);
        assert!(world.stack.fragments.poll_timeout().is_some(), "the rest is missing");
        remove(&mut world, peer);
        assert_eq!(world.actions().len(), 2);
        assert_eq!(world.stack.fragments.poll_timeout(), None);
        assert_eq!(world.stack.poll_timeout(), None);
        assert!(world.datagrams().is_empty());
        world.sent();
    }
}

#[test]
fn a_peer_that_comes_ends_what_it_owns_from_now_on() {
    let mut world = World::new();
    let (_, taken) = Client::connect(&mut world, CLIENT, HOST);
    let (mut kept, kept_flow) = Client::connect(&mut world, "10.0.0.2:5001", "192.0.2.81:80");
    for host in ["192.0.2.80:1000", "192.0.2.81:1000"] {
        world.receive(ALICE, &udp(CLIENT, host, b"x"));
    }
    let mapping = world.offered();
    world.wire.taken = Some("192.0.2.80".parse().unwrap());
    world.peer_added();
    assert_eq!(world.actions(), [Action::Aborted(taken, Abort::NoPeer)]);
    world.sent();
    kept.send(&mut world, Ack, b"still here");
    assert_eq!(world.actions(), [Action::Readable(kept_flow)]);

    // The mapping goes on with the host that is still one.
    world.send_datagram(mapping, socket("192.0.2.80:1000"), b"no");
    assert_eq!(world.count(Counter::DropFiltered), 1);
    world.send_datagram(mapping, socket("192.0.2.81:1000"), b"yes");
    assert_eq!(world.count(Counter::DropFiltered), 1);
}

#[test]
fn a_peer_that_loses_its_address_loses_the_flows_from_there() {
    let mut world = World::new();
    let (_, flow) = Client::connect(&mut world, CLIENT, HOST);
    let own = world.open_udp(socket("10.0.0.2:80")).unwrap();
    world.wire.taken = Some(ALICE_IP.parse().unwrap());
    world.peer_added();
    let expected = [flow, own].map(|id| Action::Aborted(id, Abort::NoPeer));
    assert_eq!(world.actions(), expected);
}

#[test]
fn flows_of_a_peer_that_is_changed_go_on_as_long_as_their_address_is_its_own() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    world.stack.handle_peers_changed(&mut world.wire);
    assert!(world.actions().is_empty() && world.sent().is_empty());
    client.send(&mut world, Ack, b"still here");
    assert_eq!(world.actions(), [Action::Readable(flow)]);
    world.sent();
    world.wire.taken = Some(ALICE_IP.parse().unwrap());
    world.stack.handle_peers_changed(&mut world.wire);
    assert_eq!(world.actions(), [Action::Aborted(flow, Abort::NoPeer)]);
    assert_eq!(world.only_sent().0, ALICE, "whose it was hears of it");
}

#[test]
fn the_next_owner_of_an_address_is_asked_again() {
    let next = PeerId::first(5);
    let next_key = World::new().wire.identity(next).unwrap().public_key;
    let mut world = World::with(|parts| {
        let from = vec![Source::Peer(next_key)];
        parts.gateway.as_mut().unwrap().rules =
            vec![Rule { from, ..Rule::any(RuleAction::Reject) }];
    });
    let packet = udp(CLIENT, "10.0.0.3:6000", b"x");
    world.receive(ALICE, &packet);
    assert_eq!(world.only_sent().0, BOB);
    remove(&mut world, ALICE);
    world.receive(next, &packet);
    let (to, mut answer) = world.only_sent();
    assert_eq!(to, next);
    assert_eq!(Packet::parse(&mut answer).unwrap().transport_bytes()[..2], [3, 13]);
}

#[test]
fn icmp_errors_of_the_last_peer_are_not_held_against_the_next() {
    let mut world = World::new();
    let unreachable = udp(CLIENT, "10.0.0.1:1", b"x");
    let errors = |world: &mut World, peer: PeerId| {
        for _ in 0..200 {
            world.receive(peer, &unreachable);
        }
        world.sent().len()
    };
    assert_eq!(errors(&mut world, ALICE), 100);
    assert_eq!(errors(&mut world, ALICE), 0);
    remove(&mut world, ALICE);
    assert_eq!(errors(&mut world, PeerId { slot: 0, generation: 1 }), 100);
}

#[test]
fn what_is_known_of_a_path_ends_with_the_path() {
    use crate::stack::tcp::Learnt;

    let mut world = World::new();
    let round_trip = Some(Duration::from_millis(40));
    let learnt = Learnt { smoothed: round_trip, ..Learnt::default() };
    let known = |world: &World, peer| world.stack.path_of(peer, world.now).round_trip;
    type Happening = fn(PeerId) -> Input<'static>;
    for event in [Input::PeerMoved as Happening, Input::PeerRemoved] {
        for peer in [ALICE, BOB] {
            world.stack.paths.learn(peer, ALICE_IP.parse().unwrap(), &learnt, world.now);
        }
        world.input(event(ALICE));
        assert_eq!((known(&world, ALICE), known(&world, BOB)), (None, round_trip));
    }
}
