//! Flows that the embedder opens, into the tunnel.

use smoltcp::wire::TcpControl::{None as Ack, Rst};

use crate::flow::{Abort, OpenError};
use crate::stack::tests::*;

const CLIENT: &str = "10.0.0.2:40000";

#[test]
fn a_flow_into_the_tunnel_is_opened_and_carries_bytes() {
    let mut world = World::new();
    let flow = world.open_tcp(socket("172.16.0.9:80")).unwrap();
    assert!(world.actions().is_empty());
    let (mut server, isn) = answer_syn(&mut world);
    assert_eq!(world.actions(), [Action::Established(flow)]);
    server.received(&mut world);
    assert_eq!(server.acknowledged, isn + 1);
    write_all(&mut world, flow, b"GET");
    world.actions();
    assert_eq!(server.received(&mut world).pop().unwrap().payload, b"GET");
    server.send(&mut world, Ack, b"200");
    assert_eq!(world.actions(), [Action::Readable(flow)]);
    assert_eq!(read_all(&mut world, flow), b"200");
}

/// Plays the server of the SYN that was just sent, and answers it.
pub(super) fn answer_syn(world: &mut World) -> (Client, TcpSeqNumber) {
    let (mut server, isn) = take_syn(world);
    // One with a wrong acknowledgement first: it must not be believed.
    world.receive(ALICE, &server.syn_ack(isn + 2));
    assert!(world.actions().is_empty());
    world.sent();
    world.receive(ALICE, &server.syn_ack(isn + 1));
    server.next += 1;
    server.acknowledged = isn + 1;
    (server, isn)
}

pub(super) fn take_syn(world: &mut World) -> (Client, TcpSeqNumber) {
    let (_, mut bytes) = world.only_sent();
    let packet = Packet::parse(&mut bytes).unwrap();
    let tcp = TcpPacket::new_unchecked(packet.transport_bytes());
    assert!(tcp.syn() && !tcp.ack());
    let local = SocketAddr::new(packet.destination, tcp.dst_port());
    let remote = SocketAddr::new(packet.source, tcp.src_port());
    (Client { local, remote, ..Client::new(CLIENT, HOST) }, tcp.seq_number())
}

#[test]
fn a_refused_flow_into_the_tunnel_is_aborted() {
    let mut world = World::new();
    let flow = world.open_tcp(socket("172.16.0.9:80")).unwrap();
    world.actions();
    let (mut server, isn) = take_syn(&mut world);
    server.acknowledged = isn + 2;
    world.receive(ALICE, &server.segment(Rst, &[]));
    assert!(world.actions().is_empty(), "a reset that does not acknowledge the SYN is forged");
    server.acknowledged = isn + 1;
    world.receive(ALICE, &server.segment(Rst, &[]));
    assert_eq!(world.actions(), [Action::Aborted(flow, Abort::Reset)]);
}

#[test]
fn flows_into_nowhere_are_errors() {
    let mut world = World::with(|parts| parts.interface.addresses.truncate(1));
    let mut open = |target| world.open_tcp(socket(target));
    assert_eq!(open("203.0.113.1:80"), Err(OpenError::NoPeer));
    assert_eq!(open("[fd00::2]:80"), Err(OpenError::NoAddress));
}
