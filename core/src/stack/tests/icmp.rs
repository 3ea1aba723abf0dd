//! Echo, and errors.

use super::*;
use crate::action::{Abort, Protocol};

#[test]
fn an_echo_to_our_own_address_is_answered_by_us() {
    for (from, to, request, reply) in [(ALICE_IP, OWN_IP, 8, 0), ("fd00::2", "fd00::1", 128, 129)] {
        let mut world = World::new();
        world.receive(ALICE, &icmp(from, to, [request, 0, 0, 0, 1, 2, 3, 4], b"payload"));
        assert!(world.actions().is_empty());
        let expected = icmp(to, from, [reply, 0, 0, 0, 1, 2, 3, 4], b"payload");
        assert_eq!(world.only_sent(), (ALICE, expected));
    }
}

#[test]
fn rfc5508_req_1_and_2_an_echo_is_a_mapping_of_source_and_identifier_for_a_minute() {
    for (from, to, request, reply) in
        [(ALICE_IP, "192.0.2.1", 8, 0), ("fd00::2", "2001:db8::1", 128, 129)]
    {
        let mut world = World::new();
        let head = [request, 0, 0, 0, 0xab, 0xcd, 0, 1];
        let packet = icmp(from, to, head, b"payload");
        world.receive(ALICE, &packet);
        let flow = world.offered();
        assert_eq!(world.stack.meta(flow).unwrap().protocol, Protocol::Icmp);
        let datagrams = world.datagrams();
        let host = SocketAddr::new(to.parse().unwrap(), 0);
        assert_eq!((datagrams[0].0, datagrams[0].1), (flow, host));
        assert_eq!(datagrams[0].2[8..], *b"payload");
        // The kernel's ping socket has an identifier of its own.
        let answer = [reply, 0, 0, 0, 0x77, 0x77, 0, 1, b'p', b'a', b'y'];
        world.stack.send_datagram(flow, host, &answer, &mut world.wire, world.now).unwrap();
        let expected = icmp(to, from, [reply, 0, 0, 0, 0xab, 0xcd, 0, 1], b"pay");
        assert_eq!(world.only_sent(), (ALICE, expected));
        world.wait(Duration::from_secs(60));
        assert_eq!(world.actions(), [Action::Closed(flow)]);
    }
}

#[test]
fn a_packet_whose_ttl_ends_here_is_answered_by_us() {
    let mut world = World::new();
    let mut packet = udp("10.0.0.2:5000", "192.0.2.1:33434", b"traceroute");
    packet[8] = 1;
    packet[10..12].fill(0);
    let sum = smoltcp::wire::checksum::data(&packet[..20]);
    packet[10..12].copy_from_slice(&(!sum).to_be_bytes());
    world.receive(ALICE, &packet);
    assert!(world.actions().is_empty());
    let (_, mut bytes) = world.only_sent();
    let answer = Packet::parse(&mut bytes).unwrap();
    assert_eq!(answer.source.to_string(), OWN_IP);
    assert_eq!(answer.transport_bytes()[..2], [11, 0]);
    assert_eq!(answer.transport_bytes()[8..], packet);
}

#[test]
fn an_unreachable_target_ends_the_connection_that_is_being_opened() {
    let mut world = World::new();
    let flow = world.stack.open_tcp(socket("172.16.0.9:80"), &mut world.wire, world.now).unwrap();
    world.actions();
    let (_, syn) = world.only_sent();
    let mut forged = syn.clone();
    forged[24] ^= 1;
    for (quote, actions) in
        [(forged, vec![]), (syn, vec![Action::Aborted(flow, Abort::Unreachable)])]
    {
        let quote = &quote[..28];
        world.receive(ALICE, &icmp(ALICE_IP, OWN_IP, [3, 1, 0, 0, 0, 0, 0, 0], quote));
        assert_eq!(world.actions(), actions);
    }
}

#[test]
fn errors_are_never_answered_by_errors_and_are_limited() {
    let mut world = World::new();
    world.receive(ALICE, &icmp(ALICE_IP, "127.0.0.1", [3, 1, 0, 0, 0, 0, 0, 0], &[0; 28]));
    assert!(world.sent().is_empty());
    for _ in 0..1000 {
        world.receive(ALICE, &udp("10.0.0.2:5000", "127.0.0.1:53", b"x"));
    }
    let errors = world.sent().len();
    assert!((1..=200).contains(&errors), "{errors}");
    assert_eq!(world.count(Counter::DropIcmpRate) as usize, 1000 - errors);
    world.receive(BOB, &udp("10.0.0.3:5000", "127.0.0.1:53", b"x"));
    assert_eq!(world.sent().len(), 1, "another peer does not feel it");
}
