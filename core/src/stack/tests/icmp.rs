//! Echo, and errors.

use crate::flow::{Abort, Protocol};
use crate::stack::packet::mark;
use crate::stack::tests::*;

#[test]
fn an_echo_to_our_own_address_is_answered_by_us() {
    for (from, to, request, reply) in [(ALICE_IP, OWN_IP, 8, 0), ("fd00::2", "fd00::1", 128, 129)] {
        let mut world = World::new();
        world.receive(ALICE, &icmp(from, to, [request, 0, 0, 0, 1, 2, 3, 4], b"payload"));
        assert!(world.actions().is_empty());
        let expected = icmp(to, from, [reply, 0, 0, 0, 1, 2, 3, 4], b"payload");
        assert_eq!(world.only_sent(), (ALICE, expected));

        let mut request = icmp(from, to, [request, 0, 0, 0, 1, 2, 3, 4], b"payload");
        mark(&mut request, TrafficClass(0x2c));
        world.receive(ALICE, &request);
        let (_, mut bytes) = world.only_sent();
        assert_eq!(Packet::parse(&mut bytes).unwrap().traffic_class(), TrafficClass(0x2c));
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
        world.send_datagram(flow, host, &answer);
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
    let flow = world.open_tcp(socket("172.16.0.9:80")).unwrap();
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

/// A packet of some IP protocol, without a payload that anybody reads.
fn other(source: &str, destination: &str, protocol: u8) -> Vec<u8> {
    let mut packet = udp(source, destination, &[7; 20]);
    match packet[0] >> 4 {
        4 => {
            packet[9] = protocol;
            packet[10..12].fill(0);
            let sum = smoltcp::wire::checksum::data(&packet[..20]);
            packet[10..12].copy_from_slice(&(!sum).to_be_bytes());
        }
        _ => packet[6] = protocol,
    }
    packet
}

/// IGMP, IPIP, DCCP, IPv6 in IP, GRE, ESP, AH, SCTP, UDP-Lite.
const NOT_CARRIED: [u8; 9] = [2, 4, 33, 41, 47, 50, 51, 132, 136];

/// RFC 1122, section 3.2.2.1, and RFC 4443, section 3.4.
#[test]
fn a_protocol_that_is_not_carried_is_answered_by_the_destination() {
    for (from, hosts, head) in [
        ("10.0.0.2:1", ["192.0.2.1:1", "10.0.0.1:1", "10.0.0.3:1"], [3, 2, 0, 0, 0, 0]),
        ("[fd00::2]:1", ["[2001:db8::1]:1", "[fd00::1]:1", "[2001:db8::2]:1"], [4, 1, 0, 0, 0, 6]),
    ] {
        for (protocol, to) in NOT_CARRIED.into_iter().zip(hosts.into_iter().cycle()) {
            let mut world = World::new();
            let packet = other(from, to, protocol);
            world.receive(ALICE, &packet);
            assert!(world.actions().is_empty() && world.datagrams().is_empty());
            let (peer, mut bytes) = world.only_sent();
            assert_eq!(peer, ALICE, "{protocol}");
            let answer = Packet::parse(&mut bytes).unwrap();
            assert_eq!(answer.source, socket(to).ip());
            let message = answer.transport_bytes();
            assert_eq!((&message[..2], &message[4..8]), (&head[..2], &head[2..]), "{protocol}");
            assert_eq!(message[8..], packet);
            assert_eq!(world.count(Counter::DropProtocol), 1);
        }
    }
}

#[test]
fn a_protocol_that_is_not_carried_is_not_answered_where_nothing_is() {
    let mut quiet =
        World::with(|parts| parts.gateway.as_mut().unwrap().default = DefaultAction::Drop);
    quiet.receive(ALICE, &other("10.0.0.2:1", "192.0.2.1:1", 47));
    let mut world = World::new();
    world.receive(ALICE, &other("10.0.0.2:1", "224.0.0.5:1", 89));
    // No next header.
    world.receive(ALICE, &other("[fd00::2]:1", "[2001:db8::1]:1", 59));
    assert!(world.sent().is_empty() && quiet.sent().is_empty());
    assert_eq!((world.count(Counter::DropProtocol), quiet.count(Counter::DropProtocol)), (2, 1));
}
