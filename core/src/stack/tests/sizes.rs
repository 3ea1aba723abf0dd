//! Packets that are too large for a path, and the sizes that connections agree on.

use smoltcp::wire::{Ipv4Packet, TcpOption};

use crate::flow::ProxyProtocol;
use crate::rules::RedirectTarget;
use crate::stack::packet::write_icmp;
use crate::stack::tcp::Phase;
use crate::stack::tests::*;

const CLIENT: &str = "10.0.0.2:5000";
const CLIENT_V6: &str = "[fd00::2]:5000";
const HOST_V6: &str = "[2001:db8::9]:80";
/// Both IP versions: a client, a host, and how much the headers of a segment take.
const VERSIONS: [(&str, &str, usize); 2] = [(CLIENT, HOST, 40), (CLIENT_V6, HOST_V6, 60)];

/// The error of a router at `from` about `offending`, which it quotes the start of.
fn too_big(from: &str, offending: &[u8], mtu: u16) -> Vec<u8> {
    let v6 = offending[0] >> 4 == 6;
    let [high, low] = mtu.to_be_bytes();
    let (kind, code) = if v6 { (2, 0) } else { (3, 4) };
    let head = [kind, code, 0, 0, 0, 0, high, low];
    let to: IpAddr = if v6 {
        <[u8; 16]>::try_from(&offending[8..24]).unwrap().into()
    } else {
        <[u8; 4]>::try_from(&offending[12..16]).unwrap().into()
    };
    let quote = &offending[..offending.len().min(if v6 { 48 } else { 28 })];
    let mut buffer = vec![0; SCRATCH_LEN];
    let len = write_icmp(&mut buffer, from.parse().unwrap(), to, &head, quote).unwrap();
    buffer.truncate(len);
    buffer
}

/// The address of a socket as text.
fn ip(of: &str) -> String {
    socket(of).ip().to_string()
}

fn lens(sent: &[Sent]) -> Vec<usize> {
    sent.iter().map(|(_, packet)| packet.len()).collect()
}

/// What the TCP header of a packet offers as the largest segment.
fn offered_mss(packet: &[u8]) -> Option<u16> {
    let header_len = if packet[0] >> 4 == 6 { 40 } else { 20 };
    let segment = TcpPacket::new_checked(&packet[header_len..]).unwrap();
    let mut options = segment.options();
    while !options.is_empty() {
        match TcpOption::parse(options).unwrap() {
            (_, TcpOption::MaxSegmentSize(mss)) => return Some(mss),
            (rest, _) => options = rest,
        }
    }
    None
}

/// Gives a flow two full segments to send, and returns them.
fn send_two(world: &mut World, flow: FlowId) -> Vec<Sent> {
    assert_eq!(write_all(world, flow, &[7; 4000]), 4000);
    world.actions();
    let sent = world.sent();
    assert!(sent.len() >= 2);
    sent
}

#[test]
fn both_ends_are_offered_segments_that_fill_a_packet() {
    for path_mtu in [1420, 1320] {
        for (client, host, headers) in VERSIONS {
            let mut world = World::new();
            world.wire.path_mtu = path_mtu;
            let expected = Some(path_mtu - headers as u16);
            Client::new(client, host).send(&mut world, TcpControl::Syn, &[]);
            let flow = world.offered();
            world.opened(flow);
            world.actions();
            assert_eq!(offered_mss(&world.only_sent().1), expected, "SYN-ACK");
        }
        let mut world = World::new();
        world.wire.path_mtu = path_mtu;
        for (target, headers) in [("172.16.0.9:80", 40), ("[fd00::2]:80", 60)] {
            world.open_tcp(socket(target)).unwrap();
            world.actions();
            let expected = Some(path_mtu - headers as u16);
            assert_eq!(offered_mss(&world.only_sent().1), expected, "SYN");
        }
    }
}

#[test]
fn ipv6_is_never_offered_less_than_its_smallest_packet() {
    let mut world = World::new();
    world.wire.path_mtu = 600;
    world.open_tcp(socket("[fd00::2]:80")).unwrap();
    world.actions();
    assert_eq!(offered_mss(&world.only_sent().1), Some(1280 - 60));
}

#[test]
fn segments_are_no_larger_than_the_far_end_takes() {
    // The client of these tests takes 1380 bytes, which a packet of 1420 has room for.
    for (client, host, headers) in VERSIONS {
        let mut world = World::with(|parts| parts.interface.mtu = 9000);
        world.wire.path_mtu = 9000;
        let (_, flow) = Client::connect(&mut world, client, host);
        let sent = send_two(&mut world, flow);
        assert_eq!(lens(&sent)[..1], [1380 + headers]);
    }
}

#[test]
fn a_narrow_path_behind_the_peer_makes_segments_smaller_and_repeats_what_was_lost() {
    for (client, host, headers) in VERSIONS {
        let mut world = World::new();
        let (mut end, flow) = Client::connect(&mut world, client, host);
        let sent = send_two(&mut world, flow);
        let (first, largest) = (&sent[0].1, 1420.min(1380 + headers));
        assert_eq!(first.len(), largest);
        for (_, packet) in &sent {
            world.receive(ALICE, &too_big(&ip(client), packet, 1300));
        }
        assert!(world.actions().is_empty());
        let segments = end.received(&mut world);
        assert_eq!(segments[0].payload.len(), 1300 - headers, "at once, and no larger");
        let at = if headers == 40 { 24 } else { 44 };
        let lost = i32::from_be_bytes(first[at..at + 4].try_into().unwrap());
        assert_eq!(segments[0].sequence, TcpSeqNumber(lost), "what did not get through");
        assert_eq!(world.count(Counter::PathLowered), 1, "the second error says nothing new");
        let lens = segments.iter().map(|segment| segment.payload.len());
        assert!(lens.clone().all(|len| len <= 1300 - headers));
        let sent_lens = sent.iter().map(|(_, packet)| packet.len() - headers);
        let lost: usize = sent_lens.filter(|len| *len > 1300 - headers).sum();
        assert_eq!(lens.sum::<usize>(), lost, "all of it, once");
        let connection = world.stack.flows.get_mut(flow).unwrap().tcp_mut().unwrap();
        assert_eq!(connection.connection_mut().unwrap().phase(), Phase::Open);
    }
}

#[test]
fn a_narrow_path_is_tried_again_after_ten_minutes() {
    let mut world = World::new();
    let (mut end, flow) = Client::connect(&mut world, CLIENT, HOST);
    let sent = send_two(&mut world, flow);
    world.receive(ALICE, &too_big(ALICE_IP, &sent[0].1, 1300));
    for (wait, largest) in [(0, 1260), (599, 1260), (2, 1380)] {
        world.wait(Duration::from_secs(wait));
        write_all(&mut world, flow, &[8; 3000]);
        let mut seen = 0;
        for _ in 0..20 {
            world.actions();
            let segments = end.received(&mut world);
            if segments.is_empty() {
                break;
            }
            seen = segments.iter().map(|segment| segment.payload.len()).max().unwrap().max(seen);
            end.send(&mut world, TcpControl::None, &[]);
        }
        assert_eq!(seen, largest, "{wait}");
    }
}

#[test]
fn errors_that_quote_nothing_on_the_way_change_nothing() {
    let mut world = World::new();
    let (_, flow) = Client::connect(&mut world, CLIENT, HOST);
    let sent = send_two(&mut world, flow);
    let segment = &sent[0].1;
    let altered = |at: usize| {
        let mut quoted = segment.clone();
        quoted[at] ^= 4;
        quoted
    };
    // The sequence number, the client's port, its address, the length.
    for at in [24, 22, 19, 2] {
        world.receive(ALICE, &too_big(ALICE_IP, &altered(at), 1300));
    }
    world.receive(BOB, &too_big(BOB_IP, segment, 1300));
    world.receive(ALICE, &too_big(ALICE_IP, segment, 1420));
    world.receive(ALICE, &too_big(ALICE_IP, &segment[..20], 1300));
    world.actions();
    assert_eq!(lens(&world.sent()), [] as [usize; 0]);
    assert_eq!(world.count(Counter::PathLowered), 0);
    assert!(world.count(Counter::DropNoFlow) >= 5);
}

#[test]
fn no_error_makes_packets_smaller_than_paths_carry() {
    let mut world = World::new();
    let (mut end, flow) = Client::connect(&mut world, CLIENT, HOST);
    let sent = send_two(&mut world, flow);
    world.receive(ALICE, &too_big(ALICE_IP, &sent[0].1, 68));
    world.actions();
    assert_eq!(end.received(&mut world)[0].payload.len(), 576 - 40);

    let mut world = World::new();
    let (_, flow) = Client::connect(&mut world, CLIENT_V6, HOST_V6);
    let sent = send_two(&mut world, flow);
    world.receive(ALICE, &too_big("fd00::2", &sent[0].1, 1279));
    world.actions();
    assert!(world.sent().is_empty(), "RFC 8201: not below 1280");
}

#[test]
fn a_router_that_does_not_name_the_size_is_taken_at_the_next_usual_one() {
    let mut world = World::new();
    let (mut end, flow) = Client::connect(&mut world, CLIENT, HOST);
    let sent = send_two(&mut world, flow);
    world.receive(ALICE, &too_big(ALICE_IP, &sent[0].1, 0));
    world.actions();
    assert_eq!(end.received(&mut world)[0].payload.len(), 1400 - 40);
}

#[test]
fn live_connections_follow_a_path_to_the_endpoint_that_gets_narrower() {
    for (client, host, headers) in VERSIONS {
        let mut world = World::new();
        let (mut end, flow) = Client::connect(&mut world, client, host);
        send_two(&mut world, flow);
        world.wire.path_mtu = 1290;
        world.path_mtu(BOB);
        assert!(world.actions().is_empty() && world.sent().is_empty(), "another peer's path");
        world.path_mtu(ALICE);
        world.actions();
        assert_eq!(end.received(&mut world)[0].payload.len(), 1290 - headers);
    }
}

#[test]
fn replies_for_a_narrow_path_are_cut_to_it() {
    for (client, host) in [(CLIENT, "192.0.2.1:1000"), (CLIENT_V6, "[2001:db8::9]:1000")] {
        let mut world = World::new();
        world.receive(ALICE, &udp(client, host, b"?"));
        let flow = world.offered();
        let reply = |world: &mut World, remote: &str| {
            world.send_datagram(flow, socket(remote), &[7; 1350]);
            world.sent()
        };
        let whole = reply(&mut world, host);
        assert_eq!(whole.len(), 1);
        let mut forged = whole[0].1.clone();
        let last_of_source = if forged[0] >> 4 == 6 { 23 } else { 15 };
        forged[last_of_source] ^= 1;
        world.receive(ALICE, &too_big(&ip(client), &forged, 1300));
        assert_eq!(reply(&mut world, host).len(), 1, "the mapping never wrote to that host");
        world.receive(ALICE, &too_big(&ip(client), &whole[0].1, 1300));
        let cut = reply(&mut world, host);
        assert_eq!(cut.len(), 2);
        assert!(cut.iter().all(|(_, packet)| packet.len() <= 1300));
        world.wire.path_mtu = 1290;
        assert!(reply(&mut world, host).iter().all(|(_, packet)| packet.len() <= 1290));
    }
}

#[test]
fn redirected_replies_for_a_narrow_path_are_cut_to_it_too() {
    let target = socket("127.0.0.1:5353");
    let mut world = World::with(|parts| {
        let target = RedirectTarget::Address(target);
        let action = RuleAction::Redirect { target, proxy_protocol: ProxyProtocol::Off };
        parts.gateway.as_mut().unwrap().rules = vec![Rule::any(action)];
    });
    world.receive(ALICE, &udp(CLIENT, "192.0.2.1:53", b"?"));
    let flow = world.offered();
    let reply = |world: &mut World| {
        world.send_datagram(flow, target, &[7; 1350]);
        world.sent()
    };
    let whole = reply(&mut world);
    world.receive(ALICE, &too_big(ALICE_IP, &whole[0].1, 1300));
    assert_eq!(reply(&mut world).len(), 2);
}

#[test]
fn echo_replies_for_a_narrow_path_are_cut_to_it() {
    let mut world = World::new();
    let mut buffer = vec![0; SCRATCH_LEN];
    let (alice, host) = (ALICE_IP.parse().unwrap(), "192.0.2.1".parse().unwrap());
    let len = write_icmp(&mut buffer, alice, host, &[8, 0, 0, 0, 1, 2, 0, 1], b"?").unwrap();
    world.receive(ALICE, &buffer[..len]);
    let flow = world.offered();
    let reply = |world: &mut World| {
        let message = [&[0; 8][..], &[7; 1350]].concat();
        world.send_datagram(flow, SocketAddr::new(host, 0), &message);
        world.sent()
    };
    let whole = reply(&mut world);
    world.receive(ALICE, &too_big(ALICE_IP, &whole[0].1, 1300));
    assert_eq!(reply(&mut world).len(), 2);
}

#[test]
fn a_closed_socket_of_a_peer_is_counted_and_ends_nothing() {
    let mut world = World::new();
    world.receive(ALICE, &udp(CLIENT, "192.0.2.1:1000", b"?"));
    let flow = world.offered();
    world.send_datagram(flow, socket("192.0.2.1:1000"), b"!");
    let (_, reply) = world.only_sent();
    let mut error = too_big(ALICE_IP, &reply, 0);
    // Port unreachable: the checksum covers the code.
    error[21] = 3;
    error[22..24].fill(0);
    let sum = smoltcp::wire::checksum::data(&error[20..]);
    error[22..24].copy_from_slice(&(!sum).to_be_bytes());
    world.receive(ALICE, &error);
    assert!(world.actions().is_empty() && world.stack.meta(flow).is_some());
    assert_eq!(world.count(Counter::PeerUnreachable), 1);
}

fn with_dont_fragment(mut packet: Vec<u8>, dont_fragment: bool) -> Vec<u8> {
    let mut header = Ipv4Packet::new_unchecked(&mut packet);
    header.set_dont_frag(dont_fragment);
    header.fill_checksum();
    packet
}

#[test]
fn a_peers_packet_for_another_is_refused_with_the_size_that_fits_or_cut() {
    let to_bob = |len: usize| udp(CLIENT, &format!("{BOB_IP}:7"), &vec![7; len - 28]);
    for (mtu, path_mtu, told) in [(1420, 1320, 1320), (1320, 1320, 1320), (1420, 1420, 1420)] {
        let mut world = World::with(|parts| parts.interface.mtu = mtu);
        world.wire.path_mtu = path_mtu;
        let whole = to_bob(path_mtu.into());
        world.receive(ALICE, &whole);
        assert_eq!(world.only_sent().1.len(), whole.len());

        let large = to_bob(1450);
        world.receive(ALICE, &with_dont_fragment(large.clone(), true));
        let (peer, mut bytes) = world.only_sent();
        let error = Packet::parse(&mut bytes).unwrap();
        assert_eq!((peer, error.source.to_string()), (ALICE, BOB_IP.to_owned()));
        let [high, low] = u16::to_be_bytes(told);
        assert_eq!(error.transport_bytes()[..2], [3, 4]);
        assert_eq!(error.transport_bytes()[6..8], [high, low]);
        assert_eq!(error.transport_bytes()[8..40], large[..32], "as it came");

        world.receive(ALICE, &with_dont_fragment(large, false));
        let cut = world.sent();
        assert_eq!(cut.len(), 2);
        assert!(cut.iter().all(|(peer, p)| *peer == BOB && p.len() <= usize::from(told)));
    }
}

#[test]
fn ipv6_between_peers_is_refused_with_the_size_that_fits_unless_its_sender_cut_it() {
    let packet = udp("[fd00::3]:5000", CLIENT_V6, &[7; 1352]);
    let mut world = World::new();
    world.wire.path_mtu = 1300;
    world.receive(BOB, &packet);
    let (peer, mut bytes) = world.only_sent();
    let error = Packet::parse(&mut bytes).unwrap();
    assert_eq!((peer, error.transport_bytes()[..2].to_vec()), (BOB, vec![2, 0]));
    assert_eq!(error.transport_bytes()[4..8], 1300_u32.to_be_bytes());

    for (size, gets_through) in [(1280, true), (1352, false)] {
        crate::stack::packet::fragmentation::cut(
            &packet,
            size,
            9,
            &mut vec![0; 1500],
            |piece, len| {
                world.receive(BOB, &piece[..len]);
            },
        );
        let sent = world.sent();
        assert_eq!(sent.iter().all(|(peer, _)| *peer == ALICE), gets_through, "{size}");
        assert!(sent.iter().all(|(_, packet)| packet.len() <= 1300));
    }
}
