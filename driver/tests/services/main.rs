//! Services that an embedder answers peers with: two drivers in one thread, local clients at one,
//! services at the other. Both change while they run.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod changes;
mod datagrams;
mod observed;
mod recorders;
mod streams;
mod world;

use std::io::{ErrorKind, Write as _};

use slipwire_core::{Abort, NoFlow, PeerChange};
use slipwire_driver::{ForwardProtocol, PortsTaken, StreamEnd};

use self::recorders::{Answers, Call, doing, echo};
use self::world::{CLIENT, UDP_9, World, key};

#[test]
fn a_service_hears_how_each_of_its_flows_ended() {
    let mut world = World::new(&[(ForwardProtocol::Tcp, "10.77.0.1:7"), UDP_9]);
    let (service, calls) = echo();
    world.server.serve_streams(7, service).unwrap();
    let (service, datagrams) = Answers::new();
    world.server.serve_datagrams(9, service).unwrap();

    let mut reset = world.connect(0);
    reset.write_all(b"?").unwrap();
    let flow = world.accepted(&calls);
    world.until(|_| reset.peek(&mut [0; 1]).ok());
    // Dropped with a byte unread, the socket ends with a reset.
    drop(reset);
    assert_eq!(world.ended(&calls), (flow, StreamEnd::Aborted(Abort::Reset)));

    let _client = world.connect(0);
    let flow = world.accepted(&calls);
    let socket = world.socket(1);
    socket.send(b"hello").unwrap();
    assert_eq!(world.receive(&socket), b"hello");
    let Call::Accept(mapping, _) = datagrams.recv().unwrap() else { panic!("not accepted") };
    let peer = world.server.engine().peer_with_key(&key(CLIENT).public_key()).unwrap();
    world.server.remove_peer(peer);
    assert_eq!(world.ended(&calls), (flow, StreamEnd::Aborted(Abort::NoPeer)));
    assert_eq!(world.ended(&datagrams).0, mapping);
}

#[test]
fn a_flow_that_ended_between_turns_is_in_nobodys_hands_before_its_service_hears_of_that() {
    let mut world = World::new(&[(ForwardProtocol::Tcp, "10.77.0.1:7"), UDP_9]);
    // It fails as soon as it finds that a stream is over.
    let (service, calls) = doing(|stream| stream.write(b"!").map(drop));
    world.server.serve_streams(7, service).unwrap();
    let (service, datagrams) = Answers::new();
    world.server.serve_datagrams(9, service).unwrap();
    let _client = world.connect(0);
    let stream = world.accepted(&calls);
    world.socket(1).send(b"hello").unwrap();
    let mapping = world.accepted(&datagrams);
    assert_eq!(world.server.flow_count(), 2);

    let peer = world.server.engine().peer_with_key(&key(CLIENT).public_key()).unwrap();
    // The service has a turn to come.
    world.server.stream(stream).unwrap();
    world.server.remove_peer(peer);
    assert_eq!(world.server.stream(stream).err(), Some(NoFlow));
    assert_eq!(world.server.datagrams(mapping).err(), Some(NoFlow));
    assert_eq!(world.server.flow_count(), 0);
    assert_eq!(world.ended(&calls), (stream, StreamEnd::Aborted(Abort::NoPeer)));
    assert_eq!(world.ended(&datagrams).0, mapping);
}

#[test]
fn what_a_flow_is_about_is_as_new_as_peers_and_rules_are() {
    let mut world = World::new(&[(ForwardProtocol::Tcp, "10.77.0.1:7"), UDP_9]);
    let (service, calls) = echo();
    world.server.serve_streams(7, service).unwrap();
    let (service, datagrams) = Answers::new();
    world.server.serve_datagrams(9, service).unwrap();
    let _client = world.connect(0);
    let stream = world.accepted(&calls);
    world.socket(1).send(b"hello").unwrap();
    let mapping = world.accepted(&datagrams);

    let peer = world.server.engine().peer_with_key(&key(CLIENT).public_key()).unwrap();
    world.server.set_peer(peer, PeerChange::default().with_name("renamed")).unwrap();
    assert_eq!(world.server.stream(stream).unwrap().meta().peer.name, "renamed");
    assert_eq!(world.server.datagrams(mapping).unwrap().meta().peer.name, "renamed");
}

#[test]
fn services_come_and_go_while_the_driver_runs() {
    let mut world = World::with_tcp(&["10.77.0.1:7"]);
    let mut early = world.connect(0);
    assert_eq!(world.error(&mut early), ErrorKind::ConnectionReset, "nobody serves");

    let id = world.server.serve_streams(7, echo().0).unwrap();
    let again = world.server.serve_streams(1..=7, echo().0);
    assert_eq!(again, Err(PortsTaken { other: id }));
    let mut client = world.connect(0);
    client.write_all(b"hello").unwrap();
    assert_eq!(world.read(&mut client, 5), b"hello");

    assert!(world.server.remove_service(id));
    assert_eq!(world.error(&mut client), ErrorKind::ConnectionReset);
    let mut late = world.connect(0);
    assert_eq!(world.error(&mut late), ErrorKind::ConnectionReset);
    assert!(!world.server.remove_service(id));
    assert!(world.server.serve_streams(7, echo().0).is_ok());
}
