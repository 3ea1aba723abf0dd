//! Datagrams.

use std::net::IpAddr;
use std::time::Duration;

use slipwire_core::{FlowId, FlowMeta, Refusal};
use slipwire_driver::{DatagramService, ForwardProtocol, PeerDatagrams};

use crate::recorders::{Answers, Call};
use crate::world::{CLIENT, UDP_9, World};

#[test]
fn datagrams_are_answered_from_where_they_were_meant_for_at_once_and_later() {
    let mut world = World::new(&[UDP_9, (ForwardProtocol::Udp, "192.0.2.7:53")]);
    let (service, calls) = Answers::new();
    world.server.serve_datagrams(.., service).unwrap();
    for (forward, to) in ["10.77.0.1:9", "192.0.2.7:53"].into_iter().enumerate() {
        let socket = world.socket(forward);
        for payload in [&b"hello"[..], b"", b"again"] {
            socket.send(payload).unwrap();
            assert_eq!(world.receive(&socket), payload);
        }
        let Call::Accept(flow, meta) = calls.recv().unwrap() else { panic!("not accepted") };
        assert_eq!(meta.peer.name, "client");
        assert_eq!(meta.source.ip(), IpAddr::from([10, 77, 0, CLIENT]));
        assert_eq!(meta.destination, to.parse().unwrap());
        world.server.datagrams(flow).unwrap().send(b"by the way");
        assert_eq!(world.receive(&socket), b"by the way");
        assert!(world.server.stream(flow).is_err(), "it is of another kind");
    }
}

#[test]
fn as_many_datagrams_are_answered_as_came_at_once() {
    let mut world = World::new(&[UDP_9]);
    // Each answer is larger than the one before it, so that no two of them leave together.
    let mut len = 0;
    let grow = move |_: &[u8], flow: &mut PeerDatagrams<'_>| {
        len += 10;
        flow.send(&vec![1; len]);
    };
    world.server.serve_datagrams(9, grow).unwrap();
    let first = world.socket(0);
    first.send(b"a session").unwrap();
    world.receive(&first);
    let sockets: Vec<_> = (0..100).map(|_| world.socket(0)).collect();
    sockets.iter().for_each(|socket| assert_eq!(socket.send(b"question").unwrap(), 8));
    // The server finds all of them at once.
    (0..20).for_each(|_| world.client.turn(Some(Duration::ZERO)).unwrap());
    for socket in &sockets {
        assert!(world.receive(socket).len() > 10);
    }
}

#[test]
fn a_flow_of_datagrams_that_is_refused_is_not_delivered() {
    struct Nobody;
    impl DatagramService for Nobody {
        fn accept(&mut self, _: FlowId, _: &FlowMeta) -> Result<(), Refusal> {
            Err(Refusal::Prohibited)
        }
        fn receive(&mut self, _: &[u8], _: &mut PeerDatagrams<'_>) {
            panic!("it was refused");
        }
    }
    let mut world = World::new(&[UDP_9, (ForwardProtocol::Udp, "10.77.0.1:10")]);
    world.server.serve_datagrams(9, Nobody).unwrap();
    world.server.serve_datagrams(10, Answers::new().0).unwrap();
    world.socket(0).send(b"hello").unwrap();
    let socket = world.socket(1);
    socket.send(b"behind it").unwrap();
    assert_eq!(world.receive(&socket), b"behind it");
    assert_eq!(world.server.flow_count(), 1);
}
