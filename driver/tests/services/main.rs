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

use slipwire_core::Abort;
use slipwire_driver::{ForwardProtocol, PortsTaken, StreamEnd};

use self::recorders::{Answers, Call, echo};
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
