//! What the RFCs on NATs ask of mappings, where no test beside the code asks it already. The table
//! of all their requirements is `tests/NAT.md`.

use crate::datagram::{Loss, Undelivered};
use crate::flow::{Abort, Refusal};
use crate::stack::tests::*;

const CLIENT: &str = "10.0.0.2:5000";
const UDP_HOST: &str = "192.0.2.1:1000";

/// An error of type 3 or 1 that quotes a packet.
fn unreachable(source: &str, destination: &str, code: u8, quote: &[u8]) -> Vec<u8> {
    let kind = if source.contains(':') { 1 } else { 3 };
    icmp(source, destination, [kind, code, 0, 0, 0, 0, 0, 0], quote)
}

fn reply(world: &mut World, flow: FlowId, remote: &str) -> usize {
    world.send_datagram(flow, socket(remote), b"reply");
    world.sent().len()
}

#[test]
fn rfc4787_req_7_an_excluded_prefix_leaves_through_the_host_whoever_owns_it() {
    let mut world = World::with(|parts| {
        let gateway = parts.gateway.as_mut().unwrap();
        gateway.overlay_exclude = vec!["172.16.0.0/16".parse().unwrap()];
    });
    let host = "172.16.0.1:7";
    for (peer, source) in [(BOB, "10.0.0.3:7"), (ALICE, "10.0.0.2:7")] {
        world.receive(peer, &udp(source, host, b"x"));
        let flow = world.offered();
        assert_eq!(world.datagrams(), [(flow, socket(host), b"x".to_vec())]);
        // What it sends back is told from what its owner sends.
        assert_eq!(reply(&mut world, flow, host), 1);
    }
}

#[test]
fn rfc4787_req_11_a_full_table_changes_neither_mapping_nor_filtering() {
    let mut world = World::with(|parts| parts.limits.udp_flows = 4);
    world.receive(ALICE, &udp(CLIENT, UDP_HOST, b"x"));
    let flow = world.offered();
    world.receive(ALICE, &udp("10.0.0.2:5001", UDP_HOST, b"x"));
    world.offered();
    for host in 1..=20 {
        world.receive(ALICE, &udp(CLIENT, &format!("192.0.2.{host}:1000"), b"x"));
        assert!(world.actions().is_empty(), "still one mapping");
    }
    assert_eq!(reply(&mut world, flow, "192.0.2.7:1"), 1);
    assert_eq!(reply(&mut world, flow, "192.0.3.7:1000"), 0);
}

#[test]
fn rfc4787_req_12_no_error_ends_a_mapping() {
    let mut world = World::new();
    world.receive(ALICE, &udp(CLIENT, UDP_HOST, b"x"));
    let flow = world.offered();
    for refusal in [
        Refusal::Refused,
        Refusal::TimedOut,
        Refusal::HostUnreachable,
        Refusal::NetworkUnreachable,
        Refusal::Prohibited,
        Refusal::Exhausted,
        Refusal::Protected,
    ] {
        let lost = Undelivered {
            remote: socket(UDP_HOST),
            echo_sequence: None,
            loss: Loss::Refused(refusal),
        };
        world.undelivered(flow, lost);
        assert!(world.stack.meta(flow).is_some());
    }
    world.sent();
    // An error of the peer about what came back to it.
    let quote = udp(UDP_HOST, CLIENT, b"reply");
    world.receive(ALICE, &unreachable(ALICE_IP, "192.0.2.1", 3, &quote));
    assert!(world.actions().is_empty());
    assert_eq!(reply(&mut world, flow, UDP_HOST), 1);
}

#[test]
fn rfc5508_req_1_one_echo_mapping_whatever_the_host() {
    for (source, hosts, request) in [
        (ALICE_IP, ["192.0.2.1", "192.0.2.2"], 8),
        ("fd00::2", ["2001:db8::1", "2001:db8::2"], 128),
    ] {
        let mut world = World::new();
        let mut echo = |host: &str| {
            world.receive(ALICE, &icmp(source, host, [request, 0, 0, 0, 7, 7, 0, 1], b"payload"));
        };
        echo(hosts[0]);
        echo(hosts[1]);
        let flow = world.offered();
        let asked = hosts.map(|host| (flow, SocketAddr::new(host.parse().unwrap(), 0)));
        let datagrams = world.datagrams().into_iter().map(|(flow, host, _)| (flow, host));
        assert_eq!(datagrams.collect::<Vec<_>>(), asked);
    }
}

/// The SYN that is quoted had IP options, or none.
#[test]
fn rfc5508_req_3_damaged_errors_are_dropped_and_options_are_walked() {
    for options in [&[][..], &[1, 1, 1, 0]] {
        let mut world = World::new();
        let target = socket("172.16.0.9:80");
        let flow = world.open_tcp(target).unwrap();
        world.actions();
        let (_, syn) = world.only_sent();
        let mut quote = [&syn[..20], options, &syn[20..28]].concat();
        quote[0] += options.len() as u8 / 4;
        let error = unreachable(ALICE_IP, OWN_IP, 1, &quote);
        let mut damaged = error.clone();
        damaged[30] ^= 1;
        world.receive(ALICE, &damaged);
        assert!(world.actions().is_empty());
        assert_eq!(world.count(Counter::DropChecksum), 1);
        world.receive(ALICE, &error);
        assert_eq!(world.actions(), [Action::Aborted(flow, Abort::Unreachable)]);
    }
}

#[test]
fn rfc5508_req_4_and_5_an_error_about_no_flow_is_dropped_in_silence() {
    for (source, own, far) in
        [(ALICE_IP, OWN_IP, "192.0.2.1"), ("fd00::2", "fd00::1", "2001:db8::1")]
    {
        let mut world = World::new();
        let at = |address: &str, port: u16| SocketAddr::new(address.parse().unwrap(), port);
        for claimed in [own, far] {
            let (from, to) = (at(claimed, 50_000), at(source, 80));
            let quote = udp(&from.to_string(), &to.to_string(), b"never sent");
            world.receive(ALICE, &unreachable(source, claimed, 1, &quote));
            for len in 0..quote.len() {
                world.receive(ALICE, &unreachable(source, claimed, 1, &quote[..len]));
            }
        }
        assert!(world.actions().is_empty() && world.sent().is_empty());
        assert!(world.datagrams().is_empty());
    }
}

#[test]
fn rfc5508_req_6_an_error_neither_ends_nor_refreshes_a_mapping() {
    let mut world = World::new();
    world.receive(ALICE, &icmp(ALICE_IP, "192.0.2.1", [8, 0, 0, 0, 7, 7, 0, 1], b"payload"));
    let flow = world.offered();
    world.wait(Duration::from_secs(59));
    let lost = Undelivered {
        remote: socket("192.0.2.1:0"),
        echo_sequence: Some(1),
        loss: Loss::Refused(Refusal::HostUnreachable),
    };
    world.undelivered(flow, lost);
    assert!(world.actions().is_empty());
    world.wait(Duration::from_secs(1));
    assert_eq!(world.actions(), [Action::Closed(flow)]);
}

#[test]
fn rfc5508_req_7_errors_pass_between_peers_as_they_are() {
    let mut world = World::new();
    let quote = udp(&format!("{BOB_IP}:7"), CLIENT, b"what did not arrive");
    let error = unreachable(ALICE_IP, BOB_IP, 3, &quote);
    world.receive(ALICE, &error);
    let (peer, mut bytes) = world.only_sent();
    assert_eq!(peer, BOB);
    let packet = Packet::parse(&mut bytes).unwrap();
    assert_eq!(packet.source.to_string(), ALICE_IP);
    assert_eq!(packet.transport_bytes(), &error[20..]);
}

#[test]
fn rfc5508_req_11_other_messages_are_dropped_in_silence() {
    let mut world = World::new();
    // Unasked replies, source quench, redirect, routers, timestamps, masks; of IPv6: queries of
    // groups and neighbours, redirect.
    for kind in [0, 4, 5, 9, 10, 13, 14, 15, 17, 40] {
        for to in [OWN_IP, "192.0.2.1"] {
            world.receive(ALICE, &icmp(ALICE_IP, to, [kind, 0, 0, 0, 0, 0, 0, 0], &[0; 28]));
        }
    }
    for kind in [129, 130, 133, 134, 135, 136, 137, 200] {
        for to in ["fd00::1", "2001:db8::1"] {
            world.receive(ALICE, &icmp("fd00::2", to, [kind, 0, 0, 0, 0, 0, 0, 0], &[0; 28]));
        }
    }
    assert!(world.actions().is_empty() && world.sent().is_empty());
    assert_eq!(world.count(Counter::DropProtocol), 36);
}
