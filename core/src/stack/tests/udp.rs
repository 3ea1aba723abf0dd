//! UDP mappings, and packets between peers.

use crate::config::Filtering;
use crate::datagram::Fragmenting;
use crate::flow::{ProxyProtocol, Refusal};
use crate::limits::{CONTACTS_MIN, CONTACTS_TOTAL_MAX, Share};
use crate::rules::RedirectTarget;
use crate::stack::packet::{fragmentation, mark};
use crate::stack::tests::*;

const CLIENT: &str = "10.0.0.2:5000";

fn reply(world: &mut World, flow: FlowId, remote: &str, payload: &[u8]) -> Result<(), NoFlow> {
    world.stack.meta(flow).ok_or(NoFlow)?;
    world.send_datagram(flow, socket(remote), payload);
    Ok(())
}

#[test]
fn rfc4787_req_1_mapping_is_endpoint_independent() {
    let mut world = World::new();
    world.receive(ALICE, &udp(CLIENT, "192.0.2.1:1000", b"one"));
    let flow = world.offered();
    world.receive(ALICE, &udp(CLIENT, "192.0.2.2:2000", b"two"));
    assert!(world.actions().is_empty());
    assert_eq!(
        world.datagrams(),
        [
            (flow, socket("192.0.2.1:1000"), b"one".to_vec()),
            (flow, socket("192.0.2.2:2000"), b"two".to_vec())
        ]
    );
    world.receive(ALICE, &udp("10.0.0.2:5001", "192.0.2.1:1000", b"three"));
    assert_ne!(world.offered(), flow);
}

#[test]
fn replies_come_from_the_host_that_sent_them() {
    for (client, host) in [(CLIENT, "192.0.2.1:1000"), ("[fd00::2]:5", "[2001:db8::9]:6")] {
        let mut world = World::new();
        world.receive(ALICE, &udp(client, host, b"question"));
        let flow = world.offered();
        reply(&mut world, flow, host, b"answer").unwrap();
        assert_eq!(world.only_sent(), (ALICE, udp(host, client, b"answer")));
    }
}

#[test]
fn rfc4787_req_8_unknown_hosts_are_filtered() {
    let mut world = World::with(|parts| parts.mappings.udp_filtering = Filtering::AddressAndPort);
    world.receive(ALICE, &udp(CLIENT, "192.0.2.1:1000", b"question"));
    let flow = world.offered();
    reply(&mut world, flow, "192.0.2.1:1001", b"unasked").unwrap();
    reply(&mut world, flow, "192.0.2.2:1000", b"unasked").unwrap();
    assert!(world.sent().is_empty());
    assert_eq!(world.count(Counter::DropFiltered), 2);
}

#[test]
fn rfc4787_req_5_and_6_idle_mappings_end_and_traffic_of_either_way_keeps_them() {
    let mut world = World::new();
    let packet = udp(CLIENT, "192.0.2.1:1000", b"x");
    world.receive(ALICE, &packet);
    let flow = world.offered();
    for _ in 0..5 {
        world.wait(Duration::from_secs(299));
        assert!(world.actions().is_empty());
        world.receive(ALICE, &packet);
    }
    // A feed that is only listened to.
    for _ in 0..5 {
        world.wait(Duration::from_secs(299));
        assert!(world.actions().is_empty());
        reply(&mut world, flow, "192.0.2.1:1000", b"news").unwrap();
    }
    for _ in 0..3 {
        world.wait(Duration::from_secs(99));
        reply(&mut world, flow, "192.0.2.2:1000", b"nobody asked").unwrap();
    }
    world.wait(Duration::from_secs(3));
    assert_eq!(world.actions(), [Action::Closed(flow)]);
    assert_eq!(reply(&mut world, flow, "192.0.2.1:1000", b"late"), Err(NoFlow));
}

#[test]
fn a_mapping_that_lets_everybody_in_is_kept_by_its_peer_alone() {
    let mut world =
        World::with(|parts| parts.mappings.udp_filtering = Filtering::EndpointIndependent);
    world.receive(ALICE, &udp(CLIENT, "192.0.2.1:1000", b"x"));
    let flow = world.offered();
    for _ in 0..3 {
        world.wait(Duration::from_secs(99));
        reply(&mut world, flow, "192.0.2.1:1000", b"news").unwrap();
    }
    world.wait(Duration::from_secs(3));
    assert_eq!(world.actions(), [Action::Closed(flow)]);
}

/// RFC 4787, REQ-5 and REQ-8: it may be answered by each of them until its mapping ends.
#[test]
fn a_socket_hears_from_everybody_that_it_has_asked() {
    const HOSTS: usize = 4_000;
    let host = |n: usize| SocketAddr::new([198, 18, (n / 250) as u8, (n % 250) as u8].into(), 1000);
    let mut world = World::new();
    world.receive(ALICE, &udp(CLIENT, &host(0).to_string(), b"ping"));
    let flow = world.offered();
    for n in 1..HOSTS {
        world.receive(ALICE, &udp(CLIENT, &host(n).to_string(), b"ping"));
        assert_eq!(world.datagrams().len(), if n == 1 { 2 } else { 1 });
    }
    world.wait(Duration::from_secs(100));
    for n in 0..HOSTS {
        reply(&mut world, flow, &host(n).to_string(), b"pong").unwrap();
        assert_eq!(world.sent().len(), 1, "{n}");
    }
    assert_eq!(world.count(Counter::ContactsForgotten), 0);
}

#[test]
fn hosts_that_a_peer_has_asked_are_bounded_for_each_peer_and_all_said() {
    let mut world = World::with(|parts| parts.limits.per_peer = Share::percent(1).unwrap());
    let ask = |world: &mut World, peer: PeerId, source: &str, n: usize| {
        let host = [100, 64 + (n / 62_500) as u8, (n / 250 % 250) as u8, (n % 250) as u8];
        world.receive(peer, &udp(source, &SocketAddr::new(host.into(), 9).to_string(), b"x"));
        world.datagrams();
    };
    for n in 0..20_000 {
        ask(&mut world, ALICE, CLIENT, n);
    }
    let share = CONTACTS_TOTAL_MAX / 100;
    let most = share + CONTACTS_MIN;
    assert!((CONTACTS_MIN..=most).contains(&world.stack.contacts.of(ALICE)));
    assert!(world.count(Counter::ContactsForgotten) > 0);
    for n in 0..1_000 {
        ask(&mut world, BOB, "10.0.0.3:1", n);
    }
    assert_eq!(world.stack.contacts.of(BOB), 1_000, "another peer does not feel it");
    for peer in [ALICE, BOB] {
        world.remove_peer(peer);
        assert_eq!(world.stack.contacts.of(peer), 0);
    }
}

#[test]
fn rfc5508_req_8_datagrams_of_a_refused_mapping_are_gone_and_the_peer_is_told() {
    let mut world = World::new();
    world.receive(ALICE, &udp(CLIENT, "192.0.2.1:1000", b"x"));
    let flow = world.offered();
    world.refused(flow, Refusal::Exhausted);
    assert!(world.datagrams().is_empty());
    let (_, mut bytes) = world.only_sent();
    let packet = Packet::parse(&mut bytes).unwrap();
    assert_eq!(packet.transport_bytes()[..2], [3, 13]);
}

#[test]
fn protected_targets_are_answered_as_prohibited() {
    let mut world = World::new();
    world.receive(ALICE, &udp(CLIENT, "127.0.0.1:53", b"x"));
    assert!(world.actions().is_empty());
    let (_, mut bytes) = world.only_sent();
    assert_eq!(Packet::parse(&mut bytes).unwrap().transport_bytes()[..2], [3, 13]);
    world.receive(ALICE, &udp(CLIENT, "224.0.0.251:5353", b"x"));
    assert!(world.actions().is_empty() && world.sent().is_empty(), "multicast is not answered");
    assert_eq!(world.count(Counter::Protected), 2);
}

#[test]
fn rfc4787_req_9_a_mapped_port_of_the_host_is_open_to_peers_as_long_as_the_mapping_lives() {
    for (client, own, other) in [
        (CLIENT, "192.0.2.1:6000", "192.0.2.1:6001"),
        ("[fd00::2]:5", "[2001:db8::1]:6000", "[2001:db8::1]:6001"),
    ] {
        let mut world = World::with(|parts| {
            let addresses = ["192.0.2.1", "2001:db8::1", "127.0.0.1", "::1"];
            let gateway = parts.gateway.as_mut().unwrap();
            gateway.host_addresses = addresses.map(|own| own.parse().unwrap()).to_vec();
        });
        let outside = if own.starts_with('[') { "[2001:db8::9]:9" } else { "192.0.2.9:9" };
        world.receive(ALICE, &udp(client, outside, b"open a mapping"));
        let flow = world.offered();
        world.datagrams();
        world.receive(ALICE, &udp(client, own, b"too early"));
        assert!(world.datagrams().is_empty());

        world.opened_at(flow, 6000);
        world.receive(ALICE, &udp(client, own, b"hello"));
        world.receive(ALICE, &udp(client, other, b"a service of the host"));
        let loopback = if own.starts_with('[') { "[::1]:6000" } else { "127.0.0.1:6000" };
        world.receive(ALICE, &udp(client, loopback, b"loopback"));
        assert_eq!(world.datagrams(), [(flow, socket(own), b"hello".to_vec())]);
        let mut syn = Client::new(client, own);
        syn.send(&mut world, TcpControl::Syn, &[]);
        assert!(world.actions().is_empty(), "UDP only");

        world.aborted(flow);
        world.receive(ALICE, &udp(client, own, b"too late"));
        assert!(world.actions().is_empty() && world.datagrams().is_empty());
    }
}

#[test]
fn a_port_of_the_host_is_closed_with_its_mapping_to_whom_it_was_open() {
    let mut world = World::with(|parts| {
        let gateway = parts.gateway.as_mut().unwrap();
        gateway.host_addresses = vec!["192.0.2.1".parse().unwrap()];
    });
    let flows = [CLIENT, "10.0.0.2:5001"].map(|client| {
        world.receive(ALICE, &udp(client, "192.0.2.9:9", b"open a mapping"));
        world.offered()
    });
    world.opened_at(flows[0], 6000);
    world.datagrams();
    let packet = udp("10.0.0.2:5001", "192.0.2.1:6000", b"hello");
    for _ in 0..2 {
        world.receive(ALICE, &packet);
        assert_eq!(world.datagrams(), [(flows[1], socket("192.0.2.1:6000"), b"hello".to_vec())]);
    }
    world.aborted(flows[0]);
    world.receive(ALICE, &packet);
    assert!(world.datagrams().is_empty(), "whose port it is now nobody knows");
}

#[test]
fn the_port_of_a_redirected_mapping_opens_nothing_on_the_host() {
    let mut world = World::with(|parts| {
        let gateway = parts.gateway.as_mut().unwrap();
        gateway.host_addresses = vec!["192.0.2.1".parse().unwrap()];
        // The socket is one of IPv6, so that its port may be a service's in IPv4.
        let target = RedirectTarget::Address(socket("[::1]:5353"));
        gateway.rules = vec![Rule {
            ports: vec![53..=53],
            ..Rule::any(RuleAction::Redirect { target, proxy_protocol: ProxyProtocol::Off })
        }];
    });
    world.receive(ALICE, &udp(CLIENT, "192.0.2.9:53", b"question"));
    let flow = world.offered();
    world.datagrams();
    world.opened_at(flow, 6000);
    world.receive(ALICE, &udp(CLIENT, "192.0.2.1:6000", b"to a service of the host"));
    assert!(world.actions().is_empty() && world.datagrams().is_empty());
}

#[test]
fn datagrams_travel_on_as_their_packets_would() {
    let mut world = World::new();
    let mut travels = |packet: &[u8]| {
        world.receive(ALICE, packet);
        let mut travels = Vec::new();
        while let Some(datagram) = world.stack.poll_datagram() {
            travels.push((datagram.travel.hop_limit, datagram.travel.fragmenting));
            world.stack.pop_datagram();
        }
        travels
    };
    let v6 = udp("[fd00::2]:5", "[2001:db8::9]:6", b"x");
    assert_eq!(travels(&v6), [(63, Fragmenting::Forbidden)]);
    let mut v4 = udp(CLIENT, "192.0.2.1:1000", b"x");
    assert_eq!(travels(&v4), [(63, Fragmenting::Forbidden)]);
    // TTL 9, DF clear.
    (v4[6], v4[8]) = (0, 9);
    v4[10..12].fill(0);
    let sum = smoltcp::wire::checksum::data(&v4[..20]);
    v4[10..12].copy_from_slice(&(!sum).to_be_bytes());
    assert_eq!(travels(&v4), [(8, Fragmenting::Allowed)]);
    // What came in pieces may go in pieces.
    let whole = udp("[fd00::2]:5", "[2001:db8::9]:6", &[7; 1400]);
    let (mut seen, mut piece) = (Vec::new(), vec![0; 1300]);
    let mut pieces = Vec::new();
    fragmentation::cut(&whole, 1280, 1, &mut piece, |piece, len| {
        pieces.push(piece[..len].to_vec());
    });
    pieces.iter().for_each(|piece| seen.extend(travels(piece)));
    assert_eq!(seen, [(63, Fragmenting::Allowed)]);
}

/// RFC 2474 and RFC 3168: what a router in this place would leave alone.
#[test]
fn dscp_and_ecn_of_datagrams_pass_both_ways() {
    for (client, host) in [(CLIENT, "192.0.2.1:1000"), ("[fd00::2]:5", "[2001:db8::9]:6")] {
        let mut world = World::new();
        let class = TrafficClass(0xb9);
        let mut packet = udp(client, host, b"x");
        mark(&mut packet, class);
        world.receive(ALICE, &packet);
        let flow = world.offered();
        let datagram = world.stack.poll_datagram().unwrap();
        assert_eq!(datagram.travel.traffic_class, class);
        // Large enough to be cut.
        for payload in [&b"x"[..], &[7; 3000]] {
            let remote = socket(host);
            world.input(Input::Datagram { flow, remote, traffic_class: class, payload });
            let sent = world.sent();
            assert_eq!(sent.len(), if payload.len() == 1 { 1 } else { 3 });
            for (_, bytes) in sent {
                let is = match bytes[0] >> 4 {
                    4 => bytes[1],
                    _ => bytes[0] << 4 | bytes[1] >> 4,
                };
                assert_eq!(is, class.0);
                assert!(bytes[0] >> 4 == 6 || smoltcp::wire::checksum::data(&bytes[..20]) == !0);
            }
        }
    }
}

#[test]
fn a_local_client_gets_replies_of_its_target_only() {
    let mut world = World::new();
    let target = socket("172.16.0.9:53");
    let first = world.open_udp(target).unwrap();
    let second = world.open_udp(target).unwrap();
    let port_of = |world: &mut World, flow| {
        reply(world, flow, "127.0.0.1:9", b"question").unwrap();
        let (_, mut bytes) = world.only_sent();
        let packet = Packet::parse(&mut bytes).unwrap();
        assert_eq!(packet.source.to_string(), OWN_IP);
        match packet.transport {
            Transport::Udp { source_port, destination_port: 53 } => source_port,
            other => panic!("{other:?}"),
        }
    };
    let (one, two) = (port_of(&mut world, first), port_of(&mut world, second));
    assert_ne!(one, two);
    let to = |port: u16| format!("{OWN_IP}:{port}");
    world.receive(ALICE, &udp("172.16.0.9:53", &to(two), b"for the second"));
    world.receive(ALICE, &udp("172.16.0.9:54", &to(one), b"another port"));
    world.receive(ALICE, &udp("172.16.0.8:53", &to(one), b"another host"));
    assert_eq!(world.datagrams(), [(second, target, b"for the second".to_vec())]);
}

#[test]
fn peers_reach_each_other_only_when_that_is_on() {
    let mut world = World::new();
    let packet = udp(CLIENT, &format!("{BOB_IP}:7"), b"hello");
    world.receive(ALICE, &packet);
    let (peer, mut bytes) = world.only_sent();
    assert_eq!(peer, BOB);
    assert_eq!(Packet::parse(&mut bytes).unwrap().ttl, 63);
    assert!(world.actions().is_empty());

    let mut world = World::with(|parts| {
        parts.gateway.as_mut().unwrap().peer_to_peer = false;
    });
    world.receive(ALICE, &packet);
    let (peer, mut bytes) = world.only_sent();
    assert_eq!(peer, ALICE);
    assert_eq!(Packet::parse(&mut bytes).unwrap().transport_bytes()[..2], [3, 13]);
}

#[test]
fn garbage_changes_nothing_but_counters() {
    let mut world = World::new();
    let good = udp(CLIENT, "192.0.2.1:1000", b"payload");
    for len in 0..good.len() {
        world.receive(ALICE, &good[..len]);
    }
    for first in 0..=255_u8 {
        world.receive(ALICE, &[first; 60]);
    }
    assert!(world.actions().is_empty() && world.datagrams().is_empty());
    assert!(world.count(Counter::DropIpHeader) > 0);
}

/// Nobody can listen there, and a client that does not know that hears it.
#[test]
fn port_0_is_closed_like_any_other_on_which_nobody_listens() {
    for to in ["192.0.2.1:0", "10.0.0.1:0"] {
        let mut world = World::new();
        world.receive(ALICE, &udp(CLIENT, to, b"x"));
        let (_, mut bytes) = world.only_sent();
        let answer = Packet::parse(&mut bytes).unwrap();
        assert_eq!(answer.transport_bytes()[..2], [3, 3]);
        assert_eq!(answer.source, socket(to).ip());
        for (from, to) in [(CLIENT, to), ("10.0.0.2:0", "192.0.2.1:80")] {
            let mut client = Client::new(from, to);
            client.send(&mut world, TcpControl::Syn, &[]);
            let answer = client.received(&mut world);
            assert_eq!(answer[0].control, TcpControl::Rst, "{from} to {to}");
        }
        assert!(world.actions().is_empty() && world.datagrams().is_empty());
    }
    let mut quiet =
        World::with(|parts| parts.gateway.as_mut().unwrap().default = DefaultAction::Drop);
    quiet.receive(ALICE, &udp(CLIENT, "192.0.2.1:0", b"x"));
    assert!(quiet.sent().is_empty(), "who answers nobody");
}

/// RFC 768: the source port is optional, and zero if it is not used.
#[test]
fn a_datagram_without_a_source_port_is_carried() {
    let mut world = World::new();
    world.receive(ALICE, &udp("10.0.0.2:0", "192.0.2.1:514", b"a line of a log"));
    let flow = world.offered();
    let expected = (flow, socket("192.0.2.1:514"), b"a line of a log".to_vec());
    assert_eq!(world.datagrams(), [expected]);
    world.receive(ALICE, &udp("10.0.0.2:0", &format!("{BOB_IP}:514"), b"to a peer"));
    assert_eq!(world.only_sent().0, BOB);
}
