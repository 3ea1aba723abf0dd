//! What can be read of flows while they live.

use smoltcp::wire::TcpControl::{Fin, None as Ack, Rst, Syn};

use crate::stack::input::Input;
use crate::stack::tests::into_tunnel::take_syn;
use crate::stack::tests::*;
use crate::state::{FlowStatus, Transfer};

const CLIENT: &str = "10.0.0.2:40000";
const SERVER: &str = "172.16.0.9:80";
const RESOLVER: &str = "192.0.2.1:53";

fn status(world: &World, flow: FlowId) -> FlowStatus {
    world.stack.flow_state(flow).unwrap().status
}

fn transfer(world: &World, flow: FlowId) -> (u64, u64) {
    let Transfer { bytes_in, bytes_out } = world.stack.flow_state(flow).unwrap().transfer;
    (bytes_in, bytes_out)
}

#[test]
fn a_connection_of_a_peer_says_how_far_it_is() {
    let mut world = World::new();
    let mut client = Client::new(CLIENT, HOST);
    client.send(&mut world, Syn, &[]);
    let flow = world.offered();
    assert_eq!(status(&world, flow), FlowStatus::Connecting);
    world.opened(flow);
    world.actions();
    client.received(&mut world);
    assert_eq!(status(&world, flow), FlowStatus::Handshake);
    client.send(&mut world, Ack, &[]);
    assert_eq!(status(&world, flow), FlowStatus::Established);
    client.send(&mut world, Fin, b"last words");
    assert_eq!(status(&world, flow), FlowStatus::PeerEnded);
    world.host_ended(flow);
    assert_eq!(status(&world, flow), FlowStatus::Closing);
    world.actions();
    client.received(&mut world);
    client.send(&mut world, Ack, &[]);
    assert_eq!(status(&world, flow), FlowStatus::Closing, "not everything is read");
    assert_eq!(read_all(&mut world, flow), b"last words");
    assert!(world.actions().contains(&Action::Closed(flow)));
    assert!(world.stack.flow_state(flow).is_none());
}

#[test]
fn a_connection_says_which_end_ended_it_or_reset_it() {
    let mut world = World::new();
    let ended = world.open_tcp(socket(SERVER)).unwrap();
    world.actions();
    assert_eq!(status(&world, ended), FlowStatus::Handshake);
    take_syn(&mut world);
    let (_, ended) = Client::connect(&mut world, CLIENT, HOST);
    world.host_ended(ended);
    assert_eq!(status(&world, ended), FlowStatus::HostEnded);
    world.actions();
    world.sent();
    let (mut client, reset) = Client::connect(&mut world, "10.0.0.2:40001", HOST);
    client.send(&mut world, Ack, b"unread");
    client.send(&mut world, Rst, &[]);
    assert_eq!(status(&world, reset), FlowStatus::PeerReset);
}

#[test]
fn bytes_of_a_connection_count_once_the_embedder_has_taken_or_given_them() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    client.send(&mut world, Ack, b"question");
    assert_eq!(transfer(&world, flow), (0, 0));
    read_all(&mut world, flow);
    assert_eq!(transfer(&world, flow), (8, 0));
    assert_eq!(write_all(&mut world, flow, b"longer answer"), 13);
    assert_eq!(transfer(&world, flow), (8, 13));
    let beyond = world.stack.send_room(flow).unwrap().len();
    world.input(Input::Sent { flow, len: beyond + 100 });
    assert_eq!(transfer(&world, flow), (8, 13 + beyond as u64), "no more than there is room for");
}

#[test]
fn payload_of_datagrams_counts_unless_it_is_dropped() {
    let mut world = World::new();
    world.receive(ALICE, &udp(CLIENT, RESOLVER, b"question"));
    let flow = world.offered();
    assert_eq!(transfer(&world, flow), (0, 0), "it waits for the embedder");
    world.datagrams();
    world.send_datagram(flow, socket(RESOLVER), b"longer answer");
    world.send_datagram(flow, socket("192.0.2.99:53"), b"of a stranger");
    assert_eq!(transfer(&world, flow), (8, 13));
    let large = vec![0; 60_000];
    let before = world.count(Counter::DropQueueFull);
    for _ in 0..100 {
        world.receive(ALICE, &udp(CLIENT, RESOLVER, &large));
    }
    let queued = 100 - (world.count(Counter::DropQueueFull) - before);
    world.datagrams();
    assert_eq!(transfer(&world, flow), (8 + queued * 60_000, 13));
    assert_eq!(status(&world, flow), FlowStatus::Active);
}

#[test]
fn flows_are_listed_in_the_order_of_their_slots_with_their_age_and_idle_time() {
    let mut world = World::new();
    let begun = world.now;
    let (mut client, first) = Client::connect(&mut world, CLIENT, HOST);
    world.wait(Duration::from_secs(5));
    world.receive(ALICE, &udp(CLIENT, RESOLVER, b"question"));
    let second = world.offered();
    let later = world.now;
    world.wait(Duration::from_secs(5));
    client.send(&mut world, Ack, b"bytes");
    let seen: Vec<_> = world.stack.flow_states().collect();
    let seen = seen.iter().map(|flow| (flow.id, flow.opened_at, flow.active_at));
    assert!(seen.eq([(first, begun, world.now), (second, later, later)]));
}

#[test]
fn every_status_has_a_word_of_its_own() {
    let mut names: Vec<_> = FlowStatus::ALL.iter().map(|status| status.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FlowStatus::ALL.len());
}
