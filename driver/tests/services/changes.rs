//! What changes while drivers run: forwards, peers, and the thread.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;

use slipwire_core::{PeerChange, PresharedKey};
use slipwire_driver::{Forward, ForwardId, ForwardProtocol};

use crate::recorders::{Answers, echo};
use crate::world::{CLIENT, SERVER, UDP_9, World, key};

fn forward(protocol: ForwardProtocol, listen: &str) -> Forward {
    Forward::new(protocol, listen.parse().unwrap(), "10.77.0.1:7".parse().unwrap()).with_name("new")
}

impl World {
    fn add_forward(&mut self, protocol: ForwardProtocol) -> ForwardId {
        self.client.add_forward(forward(protocol, "127.0.0.1:0")).unwrap()
    }
}

#[test]
fn connections_of_a_forward_outlive_it() {
    let mut world = World::with_tcp(&[]);
    let _calls = world.server.serve_streams(7, echo().0).unwrap();
    let id = world.add_forward(ForwardProtocol::Tcp);
    let mut client = world.connect(0);
    client.write_all(b"early").unwrap();
    assert_eq!(world.read(&mut client, 5), b"early");

    let listen = world.client.remove_forward(id).unwrap().listen;
    assert_ne!(listen.port(), 0);
    let refused = TcpStream::connect(listen).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(world.client.remove_forward(id).is_none());
    client.write_all(b"late").unwrap();
    assert_eq!(world.read(&mut client, 4), b"late");

    // Its address is free, and so is its place.
    let again = forward(ForwardProtocol::Tcp, &listen.to_string());
    let next = world.client.add_forward(again.clone()).unwrap();
    assert_ne!(id, next);
    assert_eq!(world.client.forwards().collect::<Vec<_>>(), [(next, &again)]);
    let mut client = world.connect(0);
    client.write_all(b"again").unwrap();
    assert_eq!(world.read(&mut client, 5), b"again");
}

#[test]
fn clients_of_a_udp_forward_end_with_it_and_no_others() {
    let mut world = World::new(&[UDP_9]);
    let (service, _calls) = Answers::new();
    world.server.serve_datagrams(.., service).unwrap();
    let id = world.add_forward(ForwardProtocol::Udp);
    let [stays, ends] = [0, 1].map(|place| world.socket(place));
    for socket in [&stays, &ends] {
        socket.send(b"hello").unwrap();
        assert_eq!(world.receive(socket), b"hello");
    }
    assert_eq!(world.client.engine().usage().udp_flows, 2);
    world.client.remove_forward(id).unwrap();
    assert_eq!(world.client.engine().usage().udp_flows, 1);
    stays.send(b"again").unwrap();
    assert_eq!(world.receive(&stays), b"again");
    // The same place, and a client of it.
    world.add_forward(ForwardProtocol::Udp);
    let next = world.socket(1);
    next.send(b"next").unwrap();
    assert_eq!(world.receive(&next), b"next");
}

#[test]
fn a_forward_whose_address_is_taken_says_so_and_changes_nothing() {
    let mut world = World::new(&[UDP_9, (ForwardProtocol::Tcp, "10.77.0.1:7")]);
    let before: Vec<_> = world.client.forwards().map(|(id, _)| id).collect();
    let files = world.client.open_files();
    for place in [0, 1] {
        let (_, taken) = world.client.forwards().nth(place).unwrap();
        let again = Forward::new(taken.protocol, taken.listen, taken.to).with_name("web");
        let expected = format!("{} (forward web): address in use", taken.listen);
        assert_eq!(world.client.add_forward(again).unwrap_err().to_string(), expected);
    }
    assert_eq!(world.client.forwards().map(|(id, _)| id).collect::<Vec<_>>(), before);
    assert_eq!(world.client.open_files(), files);
    world.add_forward(ForwardProtocol::Tcp);
    assert_eq!(world.client.open_files().for_flows, files.for_flows - 1);
}

#[test]
fn both_sides_of_flows_know_how_many_sockets_forwards_leave_them() {
    let mut world = World::new(&[UDP_9]);
    let both = |world: &World| {
        (world.client.open_files().for_flows, world.client.engine().limits().sockets)
    };
    let (at_start, _) = both(&world);
    let added = world.add_forward(ForwardProtocol::Tcp);
    assert_eq!(both(&world), (at_start - 1, at_start - 1));
    world.client.remove_forward(added).unwrap();
    assert_eq!(both(&world), (at_start, at_start));
    let (first, _) = world.client.forwards().next().unwrap();
    world.client.remove_forward(first).unwrap();
    assert_eq!(both(&world), (at_start + 1, at_start + 1));
}

#[test]
fn a_peer_is_changed_at_both_ends_while_a_connection_goes_on() {
    let mut world = World::with_tcp(&["10.77.0.1:7"]);
    world.server.serve_streams(7, echo().0).unwrap();
    let mut client = world.connect(0);
    let at_client = world.client.engine().peer_with_key(&key(SERVER).public_key()).unwrap();
    let at_server = world.server.engine().peer_with_key(&key(CLIENT).public_key()).unwrap();
    let mut speaks = |world: &mut World| {
        client.write_all(b"hello").unwrap();
        assert_eq!(world.read(&mut client, 5), b"hello");
    };
    speaks(&mut world);
    let change = PeerChange::default().with_preshared_key(PresharedKey::from_entropy([5; 32]));
    world.client.set_peer(at_client, change.clone()).unwrap();
    speaks(&mut world);
    let change = change.with_name("renamed");
    world.server.set_peers(&[(at_server, change)]).unwrap();
    speaks(&mut world);
    assert_eq!(world.server.engine().peer(at_server).unwrap().identity.name, "renamed");
}

#[test]
fn a_driver_goes_on_in_another_thread() {
    let mut world = World::with_tcp(&["10.77.0.1:7"]);
    world.server.serve_streams(7, echo().0).unwrap();
    let mut client = world.connect(0);
    client.write_all(b"here").unwrap();
    assert_eq!(world.read(&mut client, 4), b"here");
    let there = std::thread::spawn(move || {
        client.write_all(b"there").unwrap();
        world.read(&mut client, 5)
    });
    assert_eq!(there.join().unwrap(), b"there");
}
