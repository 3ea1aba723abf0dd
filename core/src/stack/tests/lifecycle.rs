//! TCP flows at their beginning and end, where segments cross each other or never come: what RFC
//! 5382 asks of a NAT, and the timers of `[tcp]`. The table of requirements is `tests/NAT.md`.

use smoltcp::wire::TcpControl::{Fin, None as Ack, Rst, Syn};

use crate::flow::{Abort, Refusal};
use crate::stack::packet::fragmentation::cut;
use crate::stack::tcp::FlowStage;
use crate::stack::tests::into_tunnel::{answer_syn, take_syn};
use crate::stack::tests::*;

const CLIENT: &str = "10.0.0.2:40000";
const SERVER: &str = "172.16.0.9:80";

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// Both ends send their FIN before they hear of the other's.
#[test]
fn rfc5382_req_2_a_simultaneous_close_is_complete() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    world.host_ended(flow);
    assert!(world.actions().is_empty());
    let crossing = client.segment(Fin, &[]);
    client.next += 1;
    assert_eq!(client.received(&mut world).pop().unwrap().control, Fin);
    world.receive(ALICE, &crossing);
    assert_eq!(world.actions(), [Action::Shutdown(flow)], "its own FIN is not acknowledged yet");
    assert_eq!(client.received(&mut world).pop().unwrap().acknowledgement, Some(client.next));
    client.send(&mut world, Ack, &[]);
    assert_eq!(world.actions(), [Action::Closed(flow)]);
    assert!(world.sent().is_empty());
}

/// RFC 9293, section 3.5, figure 7: the SYNs cross. Whoever is at the other end may then repeat
/// its SYN with an acknowledgement, or just acknowledge ours.
#[test]
fn rfc5382_req_2_a_simultaneous_open_into_the_tunnel_connects() {
    for repeats in [true, false] {
        let mut world = World::new();
        let flow = world.open_tcp(socket(SERVER)).unwrap();
        world.actions();
        let (mut server, isn) = take_syn(&mut world);
        server.send(&mut world, Syn, &[]);
        assert!(world.actions().is_empty());
        let answer = server.received(&mut world).pop().unwrap();
        assert_eq!((answer.control, answer.sequence), (Syn, isn));
        assert_eq!(answer.acknowledgement, Some(server.next));
        let mut actions = Vec::new();
        if repeats {
            let mut repeated = server.segment(Ack, &[]);
            let tcp = &mut repeated[20..];
            tcp[4..8].copy_from_slice(&(server.next.0 - 1).to_be_bytes());
            tcp[13] |= 2;
            TcpPacket::new_unchecked(tcp)
                .fill_checksum(&server.local.ip().into(), &server.remote.ip().into());
            world.receive(ALICE, &repeated);
            actions.extend(world.actions());
            let answer = server.received(&mut world).pop().unwrap();
            assert_eq!((answer.control, answer.acknowledgement), (Ack, Some(server.next)));
        }
        server.send(&mut world, Ack, b"hello");
        actions.extend(world.actions());
        assert_eq!(actions, [Action::Established(flow), Action::Readable(flow)], "{repeats}");
        assert_eq!(read_all(&mut world, flow), b"hello");
    }
}

#[test]
fn half_open_syns_are_bounded_and_leave_nothing() {
    let mut world = World::with(|parts| {
        parts.limits.half_open = 20;
        parts.tcp.connect_timeout = Duration::from_secs(10);
    });
    for port in 1..=100 {
        Client::new(&format!("{ALICE_IP}:{port}"), HOST).send(&mut world, Syn, &[]);
    }
    let is_open = |action: &&Action| matches!(action, Action::Open(_));
    let actions = world.actions();
    assert_eq!(actions.iter().filter(is_open).count(), 100);
    assert_eq!(actions.len(), 190, "all but the peer's share made room");
    Client::of(BOB, &format!("{BOB_IP}:1"), HOST).send(&mut world, Syn, &[]);
    world.offered();
    assert!(world.sent().is_empty());
    world.wait(Duration::from_secs(10));
    let ended = world.actions();
    assert!(ended.iter().all(|action| matches!(action, Action::Aborted(_, Abort::TimedOut))));
    assert_eq!((ended.len(), world.stack.poll_timeout()), (11, None));
    Client::new(CLIENT, HOST).send(&mut world, Syn, &[]);
    world.offered();
}

#[test]
fn a_host_that_never_answers_is_silence_and_then_unreachable() {
    let mut world = World::with(|parts| parts.tcp.connect_timeout = Duration::from_secs(30));
    let mut client = Client::new(CLIENT, HOST);
    client.send(&mut world, Syn, &[]);
    let flow = world.offered();
    for _ in 0..29 {
        world.wait(Duration::from_secs(1));
        assert!(world.actions().is_empty() && world.sent().is_empty());
    }
    world.wait(Duration::from_secs(1));
    assert_eq!(world.actions(), [Action::Aborted(flow, Abort::TimedOut)]);
    let (_, mut answer) = world.only_sent();
    let answer = Packet::parse(&mut answer).unwrap();
    assert_eq!(answer.transport, Transport::Icmp);
    assert_eq!(answer.transport_bytes()[..2], [3, 1], "not a reset: nobody refused anything");
    // What the host says after that comes too late.
    world.opened(flow);
    world.refused(flow, Refusal::Refused);
    assert!(world.actions().is_empty() && world.sent().is_empty());
}

#[test]
fn a_reset_before_the_handshake_is_complete_must_be_exact_too() {
    let mut world = World::new();
    let mut client = Client::new(CLIENT, HOST);
    client.send(&mut world, Syn, &[]);
    let flow = world.offered();
    world.opened(flow);
    client.received(&mut world);
    let exact = client.next;
    for offset in [1, 1000, 100_000, -1] {
        client.next = TcpSeqNumber(exact.0 + offset);
        world.receive(ALICE, &client.segment(Rst, &[]));
        assert!(world.actions().is_empty(), "{offset}");
    }
    client.next = exact;
    client.send(&mut world, Rst, &[]);
    assert_eq!(world.actions(), [Action::Aborted(flow, Abort::Reset)]);
    client.received(&mut world);
    client.send(&mut world, Ack, b"too late");
    assert_eq!(client.received(&mut world).pop().unwrap().control, Rst);
}

/// With a peer that does not even answer keepalives, and nothing configured.
#[test]
fn rfc5382_req_5_a_silent_connection_lives_for_two_hours_and_four_minutes() {
    let mut world = World::new();
    let (_, flow) = Client::connect(&mut world, CLIENT, HOST);
    for _ in 0..123 {
        world.wait(minutes(1));
        assert!(world.actions().is_empty());
    }
    world.wait(minutes(1));
    assert_eq!(world.actions(), [Action::Aborted(flow, Abort::Idle)]);
}

#[test]
fn rfc5382_req_5_a_connection_that_is_closing_lives_for_four_minutes_and_more() {
    for client_ends in [true, false] {
        let mut world = World::new();
        let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
        if client_ends {
            client.send(&mut world, Fin, &[]);
        } else {
            world.host_ended(flow);
            world.actions();
            client.received(&mut world);
            client.send(&mut world, Ack, &[]);
        }
        world.actions();
        for _ in 0..5 {
            world.wait(minutes(1));
            assert!(world.actions().is_empty());
        }
        client.received(&mut world);
        if client_ends {
            write_all(&mut world, flow, b"still there");
            world.actions();
            assert_eq!(client.received(&mut world).pop().unwrap().payload, b"still there");
        } else {
            client.send(&mut world, Ack, b"still there");
            assert_eq!(read_all(&mut world, flow), b"still there");
        }
    }
}

#[test]
fn a_silent_peer_is_probed_and_its_answers_keep_no_connection() {
    let mut world = World::with(|parts| {
        parts.tcp.keepalive = Duration::from_secs(30);
        parts.tcp.idle_timeout = Duration::from_secs(100);
    });
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    let acknowledged = client.acknowledged;
    for _ in 0..3 {
        world.wait(Duration::from_secs(29));
        world.actions();
        assert!(client.received(&mut world).is_empty(), "not before it is due");
        world.wait(Duration::from_secs(1));
        assert!(world.actions().is_empty());
        let probe = client.received(&mut world).pop().unwrap();
        assert!(probe.sequence < acknowledged, "it repeats what was acknowledged");
        client.acknowledged = acknowledged;
        client.send(&mut world, Ack, &[]);
        world.actions();
    }
    world.wait(Duration::from_secs(10));
    assert_eq!(world.actions(), [Action::Aborted(flow, Abort::Idle)]);
}

#[test]
fn a_peer_that_keeps_its_connection_alive_is_never_idle() {
    let mut world = World::with(|parts| parts.tcp.idle_timeout = Duration::from_secs(100));
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    let next = client.next;
    for _ in 0..10 {
        world.wait(Duration::from_secs(60));
        world.actions();
        // Its keepalive is the last byte again, or none before what is next.
        client.next = next - 1;
        client.send(&mut world, Ack, &[]);
        world.actions();
        client.received(&mut world);
    }
    assert!(world.stack.meta(flow).is_some());
}

/// Whoever takes nothing for hours, and says so, is there (RFC 9293, section 3.8.6.1).
#[test]
fn a_peer_whose_window_stays_shut_is_not_idle() {
    let mut world = World::with(|parts| parts.tcp.idle_timeout = Duration::from_secs(100));
    let (client, flow) = Client::connect(&mut world, CLIENT, HOST);
    write_all(&mut world, flow, &[1; 5_000]);
    for _ in 0..30 {
        world.actions();
        world.sent();
        world.receive(ALICE, &client.shut());
        world.wait(Duration::from_secs(20));
    }
    assert!(world.stack.meta(flow).is_some());
}

/// RFC 5461 and RFC 5927: only what is being opened may be ended by an error.
#[test]
fn rfc5382_req_10_no_error_ends_an_open_connection() {
    let mut world = World::new();
    let flow = world.open_tcp(socket(SERVER)).unwrap();
    world.actions();
    let (mut server, _) = answer_syn(&mut world);
    assert_eq!(world.actions(), [Action::Established(flow)]);
    server.received(&mut world);
    write_all(&mut world, flow, b"in flight");
    world.actions();
    let (_, in_flight) = world.only_sent();
    for code in 0..=15 {
        world
            .receive(ALICE, &icmp(ALICE_IP, OWN_IP, [3, code, 0, 0, 0, 0, 0, 0], &in_flight[..28]));
    }
    assert!(world.actions().is_empty());
    assert!(world.stack.meta(flow).is_some());

    // The same about a flow through the gateway, whose segments are in the host's name.
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    write_all(&mut world, flow, b"in flight");
    world.actions();
    let (_, in_flight) = world.only_sent();
    for code in 0..=15 {
        let head = [3, code, 0, 0, 0, 0, 0, 0];
        world.receive(ALICE, &icmp(ALICE_IP, "192.0.2.80", head, &in_flight[..28]));
    }
    client.send(&mut world, Ack, b"and on");
    assert_eq!(read_all(&mut world, flow), b"and on");
}

/// RFC 1337: the far end is gone once it has our last acknowledgement, and resets what comes twice.
#[test]
fn a_reset_after_both_ends_cuts_nothing_off() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    world.host_ended(flow);
    world.actions();
    client.received(&mut world);
    client.send(&mut world, Fin, b"the answer");
    client.send(&mut world, Rst, &[]);
    assert_eq!(world.actions(), [Action::Readable(flow)]);
    assert_eq!(read_all(&mut world, flow), b"the answer");
    assert_eq!(world.actions(), [Action::Shutdown(flow), Action::Closed(flow)]);
}

/// A stall is one although the embedder asks for room, or for bytes, now and then.
#[test]
fn asking_for_room_is_no_progress() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    write_all(&mut world, flow, &[1; 70_000]);
    world.actions();
    client.received(&mut world);
    for minute in 1.. {
        assert!(minute < 20, "nothing is acknowledged, and the ring is full");
        world.wait(minutes(1));
        if world.actions().contains(&Action::Aborted(flow, Abort::Idle)) {
            break;
        }
        world.sent();
        assert_eq!(world.stack.send_room(flow), Some(&mut [][..]));
        assert_eq!(world.send(flow, b"early"), 0);
        assert_eq!(world.take(flow), b"");
    }
}

/// What a SYN carries comes again once it has been acknowledged.
#[test]
fn a_syn_is_kept_without_what_it_carries() {
    for (local, remote) in [(CLIENT, HOST), ("[fd00::2]:40000", "[2001:db8::1]:80")] {
        let mut world = World::new();
        let mut client = Client::new(local, remote);
        let whole = client.segment(Syn, &[9; 60_000]);
        cut(&whole, 1400, 5, &mut vec![0; 1500], |piece, len| world.receive(ALICE, &piece[..len]));
        let flow = world.offered();
        let tcp = world.stack.flows.get(flow).unwrap().tcp().unwrap();
        let FlowStage::Offered(syn) = tcp.stage() else { panic!("nobody has answered the offer") };
        let header_len = if client.local.is_ipv4() { 20 } else { 40 };
        assert_eq!(syn[header_len..], client.segment(Syn, &[])[header_len..]);
        client.next += 1;
        world.opened(flow);
        assert!(world.actions().is_empty());
        assert_eq!(client.received(&mut world)[0].acknowledgement, Some(client.next));
        client.send(&mut world, Ack, b"data");
        world.actions();
        assert_eq!(read_all(&mut world, flow), b"data");
    }
}

#[test]
fn a_connection_that_is_refused_after_it_began_is_reset() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, "10.0.0.2:40000", HOST);
    world.input(Input::Refused { flow, refusal: Refusal::Refused });
    assert!(
        client.received(&mut world).pop().is_some_and(|segment| segment.control == TcpControl::Rst)
    );
    assert!(world.stack.meta(flow).is_none());
    assert_eq!(world.count(Counter::OpenRefused), 0, "it was not refused");
}
