//! `limits.memory`: what counts, who is held up at the bound, and who goes.

use smoltcp::wire::TcpControl::{None as Ack, Syn};

use crate::limits::Share;
use crate::stack::tests::*;

const CAROL: PeerId = PeerId::first(2);
const LIMIT: usize = 1 << 20;
/// What one peer may have alone: half of what fragments leave.
const SHARE: usize = (LIMIT - LIMIT / 8) / 2;

fn world() -> World {
    World::with(|parts| parts.limits.memory = LIMIT)
}

fn connect(world: &mut World, peer: PeerId, local: &str) -> (Client, FlowId) {
    let mut client = Client { peer, ..Client::new(local, HOST) };
    client.send(world, Syn, &[]);
    let flow = world.offered();
    world.opened(flow);
    world.actions();
    client.received(world);
    client.send(world, Ack, &[]);
    world.actions();
    (client, flow)
}

/// Opens connections of a peer whose clients read nothing, until no more of what the host has for
/// them is taken.
fn greedy(world: &mut World, peer: PeerId) -> Vec<FlowId> {
    let mut flows = Vec::new();
    for port in 1..=40_u16 {
        let (_, flow) = connect(world, peer, &format!("10.0.0.{}:{port}", peer.slot + 2));
        write_all(world, flow, &[1; 60_000]);
        world.actions();
        world.sent();
        flows.push(flow);
    }
    flows
}

fn aborted(actions: &[Action]) -> Vec<FlowId> {
    let aborted = actions.iter().filter(|action| matches!(action, Action::Aborted(..)));
    aborted.filter_map(|action| action.flow()).collect()
}

#[test]
fn rfc6888_req_5_at_the_limit_of_memory_nothing_more_is_buffered_and_who_holds_most_goes_first() {
    let mut world = World::with(|parts| {
        parts.limits.memory = LIMIT;
        parts.tcp.send_buffer = 1 << 20;
    });
    let (mut small, small_flow) = Client::connect(&mut world, "10.0.0.2:40001", HOST);
    let large_flows: Vec<_> = (40002..40010)
        .map(|port| Client::connect(&mut world, &format!("10.0.0.2:{port}"), HOST).1)
        .collect();
    write_all(&mut world, small_flow, &[1; 4096]);
    let written: usize =
        large_flows.iter().map(|flow| write_all(&mut world, *flow, &[2; 1 << 20])).sum();
    assert_eq!(written, SHARE - 4096, "what is left of the peer's share, to the byte");
    assert_eq!(write_all(&mut world, small_flow, b"more"), 0);
    world.actions();
    world.sent();
    small.send(&mut world, Ack, b"no room for this");
    assert_eq!(world.count(Counter::DropMemory), 1);
    assert!(world.actions().is_empty());
    world.wait(Duration::from_secs(3));
    let actions = world.actions();
    let [ended] = aborted(&actions)[..] else { panic!("{actions:?}") };
    assert!(large_flows.contains(&ended), "{actions:?}");
    assert!(actions.contains(&Action::Writable(small_flow)), "{actions:?}");
    assert_eq!(write_all(&mut world, small_flow, b"more"), 4);
    world.wait(Duration::from_secs(10));
    assert!(world.stack.meta(small_flow).is_some(), "nobody else has to go");
}

#[test]
fn bytes_behind_a_gap_count() {
    let (mut world, mut sent) = (world(), 0);
    for port in 1..=40_u16 {
        let (mut client, _) = Client::connect(&mut world, &format!("10.0.0.2:{port}"), HOST);
        client.next += 1;
        for _ in 0..60 {
            client.send(&mut world, Ack, &[7; 1000]);
            sent += 1000;
        }
        world.actions();
        world.sent();
    }
    let dropped = world.count(Counter::DropMemory) as usize * 1000;
    assert!(sent - dropped <= SHARE, "{dropped} of {sent} bytes dropped");
    assert!(sent - dropped > SHARE / 2, "{dropped} of {sent} bytes dropped");
}

/// Each connection carries as much as its whole ring, a little at a time, and is never idle for
/// long. What it has touched is resident although nothing waits in it.
#[test]
fn pages_that_a_ring_has_walked_over_are_given_back_when_memory_is_short() {
    let mut world = World::with(|parts| {
        parts.limits.memory = LIMIT;
        parts.tcp.receive_buffer = 1 << 20;
    });
    let mut flows: Vec<_> = (1..=60)
        .map(|port| Client::connect(&mut world, &format!("10.0.0.2:{port}"), HOST))
        .collect();
    let mut given_back = 0;
    for _ in 0..40 {
        for (client, flow) in &mut flows {
            for _ in 0..20 {
                client.send(&mut world, Ack, &[7; 1380]);
            }
            let mut actions = world.actions();
            assert_eq!(read_all(&mut world, *flow).len(), 20 * 1380);
            actions.extend(world.actions());
            client.received(&mut world);
            for action in actions {
                match action {
                    Action::Readable(_) => {}
                    Action::Idle(flow) => {
                        assert!(world.give_back_rings(flow));
                        given_back += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        world.wait(Duration::from_secs(1));
    }
    assert!(given_back > 40 * 40, "{given_back}");
    assert_eq!(world.count(Counter::DropMemory), 0, "nobody feels it");
}

/// Nobody has to give back anything for it: what it has touched it uses again.
#[test]
fn a_ring_that_is_read_as_it_fills_does_not_grow() {
    let mut world = World::with(|parts| {
        parts.limits.memory = LIMIT;
        parts.tcp.receive_buffer = 1 << 20;
    });
    let (mut client, flow) = Client::connect(&mut world, "10.0.0.2:1", HOST);
    let mut read = 0;
    while read < 4 * LIMIT {
        client.send(&mut world, Ack, &[7; 1000]);
        client.send(&mut world, Ack, &[7; 1000]);
        world.actions();
        read += read_all(&mut world, flow).len();
        world.actions();
        world.sent();
    }
    assert!(world.stack.memory.held() <= 8192, "{}", world.stack.memory.held());
    assert_eq!(world.count(Counter::DropMemory), 0);
}

/// One peer does not read, another takes what it is sent as fast as it comes.
#[test]
fn memory_is_taken_from_the_peer_that_holds_most() {
    let mut world = world();
    let alices = greedy(&mut world, ALICE);
    let (mut bob, flow) = connect(&mut world, BOB, "10.0.0.3:1");
    let (mut ended, mut moved) = (Vec::new(), 0);
    for _ in 0..10_000 {
        bob.received(&mut world);
        let ack = bob.segment(Ack, &[]);
        world.receive(BOB, &ack);
        moved += world.fill(flow);
        world.wait(Duration::from_millis(1));
        ended.extend(aborted(&world.actions()));
        world.wire.sent.retain(|(peer, _)| *peer == BOB);
    }
    assert!(!ended.is_empty() && ended.iter().all(|flow| alices.contains(flow)), "{ended:?}");
    assert!(moved > 10 << 20, "{moved}");
}

#[test]
fn two_greedy_peers_leave_memory_for_a_third() {
    let mut world = world();
    greedy(&mut world, ALICE);
    greedy(&mut world, BOB);
    let (mut carol, flow) = connect(&mut world, CAROL, "10.0.0.4:1");
    for _ in 0..40 {
        carol.send(&mut world, Ack, &[3; 1000]);
    }
    world.actions();
    assert_eq!(read_all(&mut world, flow), [3; 40_000]);
    assert_eq!(write_all(&mut world, flow, &[4; 40_000]), 40_000);
    assert_eq!(world.count(Counter::DropMemory), 0);
}

/// A ring grows by whole pages, so that there may be room that nobody can use.
#[test]
fn room_of_less_than_a_page_relieves_nobody() {
    let mut ever_less = false;
    for percent in [1, 33, 50, 100] {
        for more in (0..16 * 4096).step_by(1000) {
            let mut world = World::with(|parts| {
                parts.limits.memory = LIMIT + more;
                parts.limits.per_peer = Share::percent(percent).unwrap();
            });
            let peers = [(ALICE, ALICE_IP), (BOB, BOB_IP), (CAROL, CAROL_IP)];
            for (port, (peer, ip)) in (1..=20).flat_map(|port| peers.map(|peer| (port, peer))) {
                let mut client = Client { peer, ..Client::new(&format!("{ip}:{port}"), HOST) };
                client.send(&mut world, Syn, &[]);
                let [Action::Open(flow)] = settle(&mut world)[..] else { panic!("an offer") };
                world.opened(flow);
                settle(&mut world);
                client.received(&mut world);
                client.send(&mut world, Ack, &[]);
                write_all(&mut world, flow, &[1; 60_000]);
                settle(&mut world);
                world.sent();
                ever_less |= (1..4096).contains(&world.stack.memory.room(peer));
            }
        }
    }
    assert!(ever_less, "what this is about has happened");
}

/// Drains the actions, as long as that has an end.
fn settle(world: &mut World) -> Vec<Action> {
    let mut actions = Vec::new();
    for _ in 0..1_000 {
        while let Some(action) = world.stack.poll_action() {
            actions.push(action);
        }
        if !world.service() {
            return actions;
        }
    }
    panic!("it goes on for ever: {:?}", world.stack.memory)
}
