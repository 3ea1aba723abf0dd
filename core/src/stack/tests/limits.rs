//! Limits: who is refused at them and how, and what of a flood stays behind.

use smoltcp::wire::TcpControl::{None as Ack, Rst, Syn};

use crate::flow::{Abort, OpenError, Protocol, Refusal};
use crate::limits::Share;
use crate::stack::key::FlowKey;
use crate::stack::limit::bound::Bound;
use crate::stack::tcp::Standing;
use crate::stack::tests::*;

#[test]
fn rfc6888_req_4_limits_of_flows_are_answered_by_resets_and_others_do_not_feel_them() {
    let mut world = World::with(|parts| {
        parts.limits.tcp_flows = 4;
        parts.limits.half_open = 4;
    });
    for port in [1000, 1001] {
        Client::connect(&mut world, &format!("{ALICE_IP}:{port}"), HOST);
    }
    let mut third = Client::new(&format!("{ALICE_IP}:1002"), HOST);
    third.send(&mut world, Syn, &[]);
    assert!(world.actions().is_empty());
    assert_eq!(third.received(&mut world)[0].control, Rst);
    assert_eq!(world.count(Counter::LimitReached), 1);
    Client::of(BOB, &format!("{BOB_IP}:1000"), HOST).send(&mut world, Syn, &[]);
    world.offered();
}

#[test]
fn at_its_share_of_connects_a_peers_oldest_makes_room_without_a_word() {
    let mut world = World::with(|parts| parts.limits.half_open = 4);
    let mut connect = |port| {
        Client::new(&format!("{ALICE_IP}:{port}"), HOST).send(&mut world, Syn, &[]);
        let (actions, sent) = (world.actions(), world.sent());
        assert!(sent.is_empty(), "nobody answered, and nothing is said of it");
        actions
    };
    let (first, second) = (connect(1), connect(2));
    for port in 3..50 {
        let actions = connect(port);
        assert!(matches!(actions[..], [Action::Aborted(_, Abort::Limit), Action::Open(_)]));
    }
    let flow = |actions: Vec<Action>| actions[0].flow().unwrap();
    assert!([first, second].map(flow).iter().all(|old| world.stack.meta(*old).is_none()));
    assert_eq!(world.count(Counter::GaveWay), 47);
    assert_eq!(world.count(Counter::LimitReached), 0);
}

/// A connect that made room is asked for again, since nothing was said of it.
#[test]
fn a_scan_of_dead_hosts_shuts_no_peer_out_of_a_live_one() {
    let mut world = World::with(|parts| parts.limits.half_open = 8);
    let scan = |world: &mut World, ports: std::ops::Range<u16>| {
        for port in ports {
            Client::new(&format!("{ALICE_IP}:{port}"), "192.0.2.9:80").send(world, Syn, &[]);
        }
        world.actions();
        world.sent();
    };
    scan(&mut world, 1..1_000);
    let mut live = Client::new(&format!("{ALICE_IP}:1000"), HOST);
    live.send(&mut world, Syn, &[]);
    let [Action::Aborted(_, Abort::Limit), Action::Open(flow)] = world.actions()[..] else {
        panic!("the scan has taken all room")
    };
    scan(&mut world, 1_001..1_004);
    world.opened(flow);
    world.actions();
    live.received(&mut world);
    live.send(&mut world, Ack, &[]);
    scan(&mut world, 2_000..3_000);
    live.send(&mut world, Ack, b"still here");
    assert_eq!(world.actions(), [Action::Readable(flow)]);
}

#[test]
fn peers_that_hold_all_connects_do_not_lock_out_another() {
    let mut world = World::with(|parts| {
        parts.limits.tcp_flows = 100;
        parts.limits.half_open = 100;
    });
    for port in 1..=100 {
        Client::new(&format!("{ALICE_IP}:{port}"), HOST).send(&mut world, Syn, &[]);
        Client::of(BOB, &format!("{BOB_IP}:{port}"), HOST).send(&mut world, Syn, &[]);
    }
    world.actions();
    for port in 1..=30 {
        Client::of(CAROL, &format!("{CAROL_IP}:{port}"), HOST).send(&mut world, Syn, &[]);
        let actions = world.actions();
        assert!(matches!(actions[..], [Action::Aborted(_, Abort::Limit), Action::Open(_)]));
    }
    assert!(world.sent().is_empty());
}

#[test]
fn the_longest_idle_connection_of_who_holds_most_makes_room_for_another_peer() {
    let mut world = World::with(|parts| {
        parts.limits.tcp_flows = 8;
        parts.limits.half_open = 8;
    });
    let mut flows = Vec::new();
    for port in 1..=4 {
        world.wait(Duration::from_secs(1));
        flows.push(Client::connect(&mut world, &format!("{ALICE_IP}:{port}"), HOST));
        Client::of(BOB, &format!("{BOB_IP}:{port}"), HOST).connected(&mut world);
    }
    world.wait(Duration::from_secs(1));
    // Both hold as much; Bob has to give first. Then it is Alice, but not her first flow.
    let (first, _) = &mut flows[0];
    first.send(&mut world, Ack, b"busy");
    world.actions();
    world.sent();
    let carol = |port| Client::of(CAROL, &format!("{CAROL_IP}:{port}"), HOST);
    let mut ended = Vec::new();
    for port in 1..=2 {
        carol(port).send(&mut world, Syn, &[]);
        match world.actions()[..] {
            [Action::Aborted(flow, Abort::Limit), Action::Open(_)] => ended.push(flow),
            ref other => panic!("one had to make room: {other:?}"),
        }
    }
    let resets: Vec<_> = world.sent().into_iter().map(|(peer, _)| peer).collect();
    assert_eq!(resets, [BOB, ALICE]);
    assert_eq!(ended[1], flows[1].1);
    // Three and three, and two of Carol: she is the one who has too little still.
    carol(3).send(&mut world, Syn, &[]);
    assert_eq!(world.actions().len(), 2, "her own connect makes room for her next");
    assert!(world.sent().is_empty());
}

/// All flows are taken, most by Bob, and Alice has her share of sockets in connections, which make
/// no room for hers.
#[test]
fn nobody_gives_way_for_who_is_refused_at_another_bound() {
    let mut world = World::with(|parts| {
        parts.limits.tcp_flows = 8;
        parts.limits.half_open = 8;
        parts.limits.sockets = 4;
    });
    let served = format!("{OWN_IP}:8080");
    for port in 1..=4 {
        Client::of(BOB, &format!("{BOB_IP}:{port}"), &served).connected(&mut world);
    }
    for port in 1..=2 {
        Client::of(CAROL, &format!("{CAROL_IP}:{port}"), &served).connected(&mut world);
        Client::connect(&mut world, &format!("{ALICE_IP}:{port}"), HOST);
    }
    let mut refused = Client::new(&format!("{ALICE_IP}:3"), HOST);
    refused.send(&mut world, Syn, &[]);
    assert_eq!(world.actions(), []);
    assert_eq!(refused.received(&mut world)[0].control, Rst);
    let opened = world.open_tcp(socket("172.16.0.9:53"));
    assert_eq!(opened, Err(OpenError::Limit));
    assert_eq!(world.actions(), []);
    assert_eq!(world.count(Counter::GaveWay), 0);
    assert!(world.sent().is_empty());

    Client::new(&format!("{ALICE_IP}:3"), &served).send(&mut world, Syn, &[]);
    assert!(matches!(world.actions()[..], [Action::Aborted(..), Action::Open(_)]));
}

#[test]
fn mappings_that_hold_all_descriptors_make_room_for_any_kind() {
    let mut world = World::with(|parts| parts.limits.sockets = 40);
    let mut mappings = Vec::new();
    for port in 1..=20 {
        world.receive(ALICE, &udp(&format!("{ALICE_IP}:{port}"), "192.0.2.1:1000", b"x"));
        mappings.push(world.offered());
        world.wait(Duration::from_secs(1));
    }
    Client::new(&format!("{ALICE_IP}:1"), HOST).send(&mut world, Syn, &[]);
    let actions = world.actions();
    assert_eq!(actions[0], Action::Aborted(mappings[0], Abort::Limit));
    assert!(matches!(actions[1..], [Action::Open(_)]));
    let client = world.open_tcp(socket("172.16.0.9:53"));
    assert!(client.is_ok());
    assert_eq!(world.actions(), [Action::Aborted(mappings[1], Abort::Limit)]);
    world.receive(ALICE, &icmp(ALICE_IP, "192.0.2.1", [8, 0, 0, 0, 7, 7, 0, 1], b"payload"));
    let actions = world.actions();
    assert_eq!(actions[0], Action::Aborted(mappings[2], Abort::Limit));
    assert!(matches!(actions[1..], [Action::Open(_)]));
}

#[test]
fn mappings_of_who_holds_most_make_room_for_another_peer() {
    let mut world = World::with(|parts| parts.limits.udp_flows = 8);
    for port in 1..=4 {
        for (peer, ip) in [(ALICE, ALICE_IP), (BOB, BOB_IP)] {
            world.receive(peer, &udp(&format!("{ip}:{port}"), "192.0.2.1:1000", b"x"));
            world.offered();
        }
    }
    let mut owners = Vec::new();
    for port in 1..=2 {
        world.receive(CAROL, &udp(&format!("{CAROL_IP}:{port}"), "192.0.2.1:1000", b"x"));
        let actions = world.actions();
        assert!(matches!(actions[..], [Action::Aborted(_, Abort::Limit), Action::Open(_)]));
        owners.push([ALICE, BOB].map(|peer| world.stack.flows.held(Bound::Udp).of(peer)));
    }
    assert_eq!(owners, [[4, 3], [3, 3]]);
}

#[test]
fn sockets_are_shared_among_peers_and_protocols() {
    let mut world = World::with(|parts| parts.limits.sockets = 4);
    world.receive(ALICE, &udp(&format!("{ALICE_IP}:1"), "192.0.2.1:1000", b"x"));
    let mapping = world.offered();
    Client::connect(&mut world, &format!("{ALICE_IP}:1000"), HOST);
    world.receive(ALICE, &udp(&format!("{ALICE_IP}:2"), "192.0.2.1:1000", b"x"));
    let actions = world.actions();
    assert_eq!(actions[0], Action::Aborted(mapping, Abort::Limit), "half are for one peer");
    assert!(matches!(actions[1..], [Action::Open(_)]));

    // The mapping makes room for a connection; between connections none does.
    let mapping = actions[1].flow().unwrap();
    Client::new(&format!("{ALICE_IP}:1001"), HOST).send(&mut world, Syn, &[]);
    let actions = world.actions();
    assert_eq!(actions[0], Action::Aborted(mapping, Abort::Limit));
    assert!(matches!(actions[1..], [Action::Open(_)]));
    world.opened(actions[1].flow().unwrap());
    world.actions();
    world.sent();
    let mut refused = Client::new(&format!("{ALICE_IP}:1002"), HOST);
    refused.send(&mut world, Syn, &[]);
    assert!(world.actions().is_empty());
    assert_eq!(refused.received(&mut world)[0].control, Rst);

    Client::of(BOB, &format!("{BOB_IP}:1000"), HOST).send(&mut world, Syn, &[]);
    world.offered();
    let client = world.open_udp(socket("172.16.0.9:53"));
    assert!(client.is_ok(), "clients of a forward share its socket");
}

/// Bob has all the sockets that there are, and then there is one less.
#[test]
fn at_a_lowered_limit_of_sockets_who_is_above_it_gives_way_and_nobody_is_shut_out() {
    let mut world = World::with(|parts| {
        parts.limits.sockets = 4;
        parts.limits.per_peer = Share::percent(100).unwrap();
    });
    let mut flows = Vec::new();
    for port in 1..=4 {
        world.receive(BOB, &udp(&format!("{BOB_IP}:{port}"), "192.0.2.1:1000", b"x"));
        flows.push(world.offered());
        world.wait(Duration::from_secs(1));
    }
    world.limit_sockets(3);
    assert_eq!(world.actions(), [Action::Aborted(flows[0], Abort::Limit)]);
    assert_eq!(world.stack.setup().limits.sockets, 3, "a tape that begins has it");

    Client::new(&format!("{ALICE_IP}:1"), HOST).send(&mut world, Syn, &[]);
    let actions = world.actions();
    assert_eq!(actions[0], Action::Aborted(flows[1], Abort::Limit));
    assert!(matches!(actions[1..], [Action::Open(_)]));
    assert_eq!(world.stack.usage().sockets, 3);

    world.limit_sockets(4);
    assert_eq!(world.actions(), []);
    world.receive(BOB, &udp(&format!("{BOB_IP}:5"), "192.0.2.1:1000", b"x"));
    world.offered();
}

/// Without a newcomer connections go too, since their sockets are not there any more.
#[test]
fn connections_go_last_where_sockets_are_gone() {
    let mut world = World::with(|parts| parts.limits.sockets = 8);
    let client = Client::of(ALICE, &format!("{ALICE_IP}:1"), HOST);
    let (mut client, flow) = client.connected(&mut world);
    world.receive(ALICE, &udp(&format!("{ALICE_IP}:2"), "192.0.2.1:1000", b"x"));
    let mapping = world.offered();
    world.limit_sockets(1);
    assert_eq!(world.actions(), [Action::Aborted(mapping, Abort::Limit)]);
    world.limit_sockets(0);
    assert_eq!(world.actions(), [Action::Aborted(flow, Abort::Limit)]);
    assert_eq!(client.received(&mut world)[0].control, Rst);
    assert_eq!(world.stack.usage().sockets, 0);
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
fn the_queue_of_datagrams_is_shared_among_peers() {
    let mut world = World::new();
    let to = "192.0.2.1:1000";
    let (alice, bob) = (format!("{ALICE_IP}:1"), format!("{BOB_IP}:1"));
    for (peer, from) in [(ALICE, &alice), (BOB, &bob)] {
        world.receive(peer, &udp(from, to, b"first"));
        world.offered();
    }
    world.datagrams();
    for _ in 0..2_000 {
        world.receive(ALICE, &udp(&alice, to, &[1; 1380]));
    }
    assert!(world.count(Counter::DropQueueFull) > 0);
    world.receive(BOB, &udp(&bob, to, b"mine"));
    assert_eq!(world.datagrams().last().map(|(.., payload)| &payload[..]), Some(&b"mine"[..]));
}

#[test]
fn the_queue_of_datagrams_has_no_place_for_those_of_flows_that_are_over() {
    let mut world = World::new();
    for port in 1..=2_000 {
        let from = format!("{ALICE_IP}:{port}");
        world.receive(ALICE, &udp(&from, "192.0.2.1:1000", &[1; 1380]));
        let flow = world.offered();
        world.refused(flow, Refusal::NetworkUnreachable);
    }
    assert_eq!(world.count(Counter::DropQueueFull), 0, "although nobody took any");
}

#[test]
fn the_queue_of_datagrams_gives_back_what_a_burst_took() {
    let mut world = World::new();
    for _ in 0..500 {
        world.receive(ALICE, &udp(&format!("{ALICE_IP}:1"), "192.0.2.1:1000", &[1; 1380]));
    }
    let burst = world.stack.datagrams.capacity();
    world.drop_datagrams();
    let kept = world.stack.datagrams.capacity();
    assert!(kept < burst / 2, "{kept} of {burst} bytes");
}

#[test]
fn a_flood_leaves_no_memory_behind_although_an_older_flow_stays() {
    let mut world = World::with(|parts| parts.limits.udp_flows = 20_000);
    let (mut old, flow) = Client::connect(&mut world, &format!("{ALICE_IP}:1"), "192.0.2.1:80");
    for port in 1..=5_000 {
        world.receive(ALICE, &udp(&format!("{ALICE_IP}:{port}"), "192.0.2.1:1000", b"x"));
        world.actions();
        world.drop_datagrams();
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
