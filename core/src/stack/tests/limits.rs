//! Limits: who is refused at them and how, and what of a flood stays behind.

use smoltcp::wire::TcpControl::{None as Ack, Rst, Syn};

use super::*;
use crate::action::{Abort, Protocol};
use crate::stack::flow::FlowKey;
use crate::stack::tcp::Standing;

#[test]
fn rfc6888_req_4_limits_of_flows_are_answered_by_resets_and_others_do_not_feel_them() {
    let mut world = World::with(|parts| {
        parts.limits.tcp_flows = 4;
        parts.limits.half_open = 4;
    });
    for port in [1000, 1001] {
        Client::new(&format!("{ALICE_IP}:{port}"), HOST).send(&mut world, Syn, &[]);
        world.offered();
    }
    let mut third = Client::new(&format!("{ALICE_IP}:1002"), HOST);
    third.send(&mut world, Syn, &[]);
    assert!(world.actions().is_empty());
    assert_eq!(third.received(&mut world)[0].control, Rst);
    assert_eq!(world.count(Counter::LimitReached), 1);
    let other = Client { peer: BOB, ..Client::new(&format!("{BOB_IP}:1000"), HOST) };
    world.receive(BOB, &other.segment(Syn, &[]));
    world.offered();
}

#[test]
fn sockets_are_shared_among_peers_and_protocols() {
    let mut world = World::with(|parts| parts.limits.sockets = 4);
    world.receive(ALICE, &udp(&format!("{ALICE_IP}:1"), "192.0.2.1:1000", b"x"));
    let mapping = world.offered();
    let mut clients = (1000..1004).map(|port| Client::new(&format!("{ALICE_IP}:{port}"), HOST));
    let mut connect = |world: &mut World| {
        let mut client = clients.next().unwrap();
        client.send(world, Syn, &[]);
        let offered = world.actions().len();
        (offered, client.received(world).iter().any(|answer| answer.control == Rst))
    };
    assert_eq!(connect(&mut world), (1, false));
    assert_eq!(connect(&mut world), (0, true), "half of the sockets are for one peer");
    let other = Client { peer: BOB, ..Client::new(&format!("{BOB_IP}:1000"), HOST) };
    world.receive(BOB, &other.segment(Syn, &[]));
    world.offered();

    world.receive(ALICE, &udp(&format!("{ALICE_IP}:2"), "192.0.2.1:1000", b"x"));
    let actions = world.actions();
    assert_eq!(actions[0], Action::Aborted(mapping, Abort::Limit), "a mapping makes room");
    assert!(matches!(actions[1], Action::Open(_)));
    let client = world.stack.open_udp(socket("172.16.0.9:53"), &mut world.wire, world.now);
    assert!(client.is_ok(), "clients of a forward share its socket");
}

#[test]
fn at_the_limit_the_mapping_nearest_to_its_end_makes_room() {
    let mut world = World::with(|parts| parts.limits.udp_flows = 8);
    let mut flows = Vec::new();
    for port in 1..=4 {
        world.receive(ALICE, &udp(&format!("{ALICE_IP}:{port}"), "192.0.2.1:1000", b"x"));
        flows.push(world.offered());
        world.wait(Duration::from_secs(1));
    }
    world.receive(ALICE, &udp(&format!("{ALICE_IP}:1"), "192.0.2.1:1000", b"used again"));
    world.receive(ALICE, &udp(&format!("{ALICE_IP}:5"), "192.0.2.1:1000", b"x"));
    let actions = world.actions();
    assert_eq!(actions[0], Action::Aborted(flows[1], Abort::Limit));
    assert!(matches!(actions[1], Action::Open(_)));
    world.receive(BOB, &udp(&format!("{BOB_IP}:1"), "192.0.2.1:1000", b"x"));
    world.offered();
}

#[test]
fn a_flood_leaves_no_memory_behind_although_an_older_flow_stays() {
    let mut world = World::with(|parts| parts.limits.udp_flows = 20_000);
    let (mut old, flow) = Client::connect(&mut world, &format!("{ALICE_IP}:1"), "192.0.2.1:80");
    for port in 1..=5_000 {
        world.receive(ALICE, &udp(&format!("{ALICE_IP}:{port}"), "192.0.2.1:1000", b"x"));
        world.actions();
        while world.stack.poll_datagram().is_some() {}
    }
    let slots = world.stack.flows.capacity();
    assert!(slots > 5_000, "{slots}");
    world.wait(Duration::from_secs(301));
    assert_eq!(world.actions().len(), 5_000);
    let slots = world.stack.flows.capacity();
    assert!(slots < 300, "{slots}");
    old.send(&mut world, Ack, b"still here");
    assert_eq!(world.actions(), [Action::Readable(flow)]);
    world.receive(ALICE, &udp(&format!("{ALICE_IP}:1"), "192.0.2.1:1000", b"x"));
    world.offered();
}

#[test]
fn ended_connections_are_forgotten_without_being_asked_about() {
    let mut world = World::new();
    let key = |port| FlowKey {
        protocol: Protocol::Tcp,
        peer: ALICE,
        inner: SocketAddr::new(ALICE_IP.parse().unwrap(), port),
        outer: Some(socket(HOST)),
    };
    let sequence = TcpSeqNumber(1);
    let standing = Standing { sequence, acknowledgement: sequence, window: 0 };
    for port in 1..=500 {
        world.stack.time_waits.insert(key(port), standing, world.now);
    }
    let due = world.stack.poll_timeout().unwrap();
    world.wait(due.saturating_duration_since(world.now));
    assert!(!world.stack.time_waits.contains(&key(500)));
    assert_eq!(world.stack.poll_timeout(), None);
}
