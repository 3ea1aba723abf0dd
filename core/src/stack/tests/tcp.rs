//! TCP flows, and what the guard answers.

use smoltcp::wire::TcpControl::{Fin, None as Ack, Rst, Syn};

use crate::config::RefusedAnswer;
use crate::flow::{Abort, Refusal, Target};
use crate::stack::tests::*;

const CLIENT: &str = "10.0.0.2:40000";

#[test]
fn bytes_pass_both_ways() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    client.send(&mut world, Ack, b"question");
    assert_eq!(world.actions(), [Action::Readable(flow)]);
    assert_eq!(read_all(&mut world, flow), b"question");
    assert_eq!(write_all(&mut world, flow, b"answer"), 6);
    assert!(world.actions().is_empty());
    let answer = client.received(&mut world);
    assert_eq!(answer.last().unwrap().payload, b"answer");
    assert_eq!(answer.last().unwrap().acknowledgement, Some(client.next));
}

#[test]
fn the_offer_names_peer_source_and_destination() {
    let mut world = World::new();
    Client::new(CLIENT, HOST).send(&mut world, Syn, &[]);
    let flow = world.offered();
    let meta = world.stack.meta(flow).unwrap();
    assert_eq!(meta.peer.name, "alice");
    assert_eq!((meta.source, meta.destination), (socket(CLIENT), socket(HOST)));
    assert_eq!(meta.target, Target::Host(socket(HOST)));
}

#[test]
fn repeated_syns_are_one_attempt() {
    let mut world = World::new();
    let client = Client::new(CLIENT, HOST);
    let syn = client.segment(Syn, &[]);
    world.receive(ALICE, &syn);
    world.offered();
    for _ in 0..5 {
        world.receive(ALICE, &syn);
        assert!(world.actions().is_empty() && world.sent().is_empty());
    }
}

#[test]
fn an_abandoned_syn_abandons_the_connect() {
    let mut world = World::new();
    let mut client = Client::new(CLIENT, HOST);
    client.send(&mut world, Syn, &[]);
    let flow = world.offered();
    client.send(&mut world, Rst, &[]);
    assert_eq!(world.actions(), [Action::Aborted(flow, Abort::Reset)]);
    assert!(world.stack.meta(flow).is_none());
}

#[test]
fn a_refused_connect_is_answered_as_configured() {
    let answers = |refused, source, host, refusal| {
        let mut world = World::with(|parts| parts.tcp.refused = refused);
        Client::new(source, host).send(&mut world, TcpControl::Syn, &[]);
        let flow = world.offered();
        world.refused(flow, refusal);
        world.sent()
    };
    for (source, host, kind, code) in
        [(CLIENT, HOST, 3, 3), ("[fd00::2]:4", "[2001:db8::1]:5", 1, 4)]
    {
        assert_eq!(answers(RefusedAnswer::Drop, source, host, Refusal::Refused), []);
        let mut answers = answers(RefusedAnswer::Icmp, source, host, Refusal::Refused);
        let [(ALICE, bytes)] = &mut answers[..] else { panic!("one answer was due") };
        let packet = Packet::parse(bytes).unwrap();
        assert_eq!(packet.transport_bytes()[..2], [kind, code]);
        let syn = Client::new(source, host).segment(TcpControl::Syn, &[]);
        assert_eq!(packet.transport_bytes()[8..], syn, "the SYN is quoted");
    }
    // Only what the target itself refused is in question.
    let answers = answers(RefusedAnswer::Drop, CLIENT, HOST, Refusal::HostUnreachable);
    assert_eq!(answers.len(), 1);
}

#[test]
fn a_refused_connect_is_a_reset() {
    for refusal in [Refusal::Refused, Refusal::Exhausted, Refusal::Protected] {
        let mut world = World::new();
        let mut client = Client::new(CLIENT, HOST);
        client.send(&mut world, Syn, &[]);
        let flow = world.offered();
        world.refused(flow, refusal);
        let answer = client.received(&mut world);
        assert_eq!((answer.len(), answer[0].control), (1, Rst));
        assert_eq!(answer[0].acknowledgement, Some(client.next));
        assert!(world.stack.meta(flow).is_none());
    }
}

#[test]
fn an_unreachable_host_is_an_icmp_error_with_the_syn_quoted() {
    for (client, host, refusal, kind, code) in [
        (CLIENT, HOST, Refusal::HostUnreachable, 3, 1),
        (CLIENT, HOST, Refusal::TimedOut, 3, 1),
        (CLIENT, HOST, Refusal::NetworkUnreachable, 3, 0),
        (CLIENT, HOST, Refusal::Prohibited, 3, 13),
        ("[fd00::2]:4", "[2001:db8::1]:5", Refusal::HostUnreachable, 1, 3),
        ("[fd00::2]:4", "[2001:db8::1]:5", Refusal::TimedOut, 1, 3),
        ("[fd00::2]:4", "[2001:db8::1]:5", Refusal::NetworkUnreachable, 1, 0),
        ("[fd00::2]:4", "[2001:db8::1]:5", Refusal::Prohibited, 1, 1),
    ] {
        let mut world = World::new();
        let syn = Client::new(client, host).segment(Syn, &[]);
        world.receive(ALICE, &syn);
        let flow = world.offered();
        world.refused(flow, refusal);
        let (peer, mut bytes) = world.only_sent();
        assert_eq!(peer, ALICE);
        let packet = Packet::parse(&mut bytes).unwrap();
        assert_eq!(packet.destination, socket(client).ip());
        assert_eq!(packet.transport, Transport::Icmp);
        assert_eq!(packet.transport_bytes()[..2], [kind, code]);
        assert_eq!(packet.transport_bytes()[8..], syn);
    }
}

#[test]
fn a_host_that_answers_late_is_connected_to() {
    let mut world = World::new();
    let mut client = Client::new(CLIENT, HOST);
    let syn = client.segment(Syn, &[]);
    client.send(&mut world, Syn, &[]);
    let flow = world.offered();
    for _ in 0..100 {
        world.wait(Duration::from_secs(1));
        world.receive(ALICE, &syn);
        assert!(world.actions().is_empty() && world.sent().is_empty());
    }
    world.opened(flow);
    world.actions();
    assert_eq!(client.received(&mut world)[0].control, Syn);
}

#[test]
fn half_close_passes_towards_the_host_and_the_answer_comes_back() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    client.send(&mut world, Fin, b"all of it");
    assert_eq!(world.actions(), [Action::Readable(flow)]);
    assert_eq!(read_all(&mut world, flow), b"all of it");
    assert_eq!(world.actions(), [Action::Shutdown(flow)]);
    write_all(&mut world, flow, b"the answer");
    world.host_ended(flow);
    assert!(world.actions().is_empty());
    let answer = client.received(&mut world);
    let last = answer.last().unwrap();
    assert_eq!((last.control, &last.payload[..]), (Fin, &b"the answer"[..]));
    client.send(&mut world, Ack, &[]);
    assert_eq!(world.actions(), [Action::Closed(flow)]);
}

#[test]
fn half_close_passes_towards_the_peer_and_its_bytes_still_come() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    world.host_ended(flow);
    assert!(world.actions().is_empty());
    assert_eq!(client.received(&mut world).last().unwrap().control, Fin);
    client.send(&mut world, Ack, b"still here");
    assert_eq!(world.actions(), [Action::Readable(flow)]);
    assert_eq!(read_all(&mut world, flow), b"still here");
    client.send(&mut world, Fin, &[]);
    assert_eq!(world.actions(), [Action::Shutdown(flow), Action::Closed(flow)]);
    let last = client.received(&mut world).pop().unwrap();
    assert_eq!(last.acknowledgement, Some(client.next), "the last FIN is acknowledged");
}

#[test]
fn a_host_that_ends_before_the_handshake_does_is_not_lost() {
    let mut world = World::new();
    let mut client = Client::new(CLIENT, HOST);
    client.send(&mut world, Syn, &[]);
    let flow = world.offered();
    world.opened(flow);
    assert_eq!(write_all(&mut world, flow, b"greeting"), 0, "not before the handshake");
    world.host_ended(flow);
    assert!(world.actions().is_empty());
    client.received(&mut world);
    client.send(&mut world, Ack, &[]);
    world.actions();
    let answer = client.received(&mut world);
    assert_eq!(answer.last().unwrap().control, Fin);
    client.send(&mut world, Fin, &[]);
    assert_eq!(world.actions(), [Action::Shutdown(flow), Action::Closed(flow)]);
}

#[test]
fn a_repeated_fin_after_the_end_is_acknowledged() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    world.host_ended(flow);
    world.actions();
    client.received(&mut world);
    let fin = client.segment(Fin, &[]);
    client.send(&mut world, Fin, &[]);
    world.actions();
    client.received(&mut world);
    world.receive(ALICE, &fin);
    let answer = client.received(&mut world);
    assert_eq!((answer.len(), answer[0].control), (1, Ack));
    assert_eq!(answer[0].acknowledgement, Some(client.next));
    client.next += 100_000;
    client.send(&mut world, Syn, &[]);
    world.offered();
}

#[test]
fn a_reset_passes_towards_the_host_after_the_bytes_before_it() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    client.send(&mut world, Ack, b"before");
    client.send(&mut world, Rst, &[]);
    assert_eq!(world.actions(), [Action::Readable(flow)]);
    assert_eq!(read_all(&mut world, flow), b"before");
    assert_eq!(world.actions(), [Action::Aborted(flow, Abort::Reset)]);
}

#[test]
fn a_failed_host_leg_is_a_reset_for_the_peer() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    world.aborted(flow);
    let answer = client.received(&mut world);
    assert_eq!((answer.len(), answer[0].control), (1, Rst));
    assert_eq!(answer[0].sequence, client.acknowledged);
    assert!(world.actions().is_empty());
}

#[test]
fn a_host_leg_that_fails_as_soon_as_it_is_there_is_a_reset_for_the_peer() {
    let mut world = World::new();
    let mut client = Client::new(CLIENT, HOST);
    client.send(&mut world, Syn, &[]);
    let flow = world.offered();
    world.opened(flow);
    world.aborted(flow);
    let answer = client.received(&mut world);
    assert_eq!((answer.len(), answer[0].control), (1, Rst));
    assert_eq!(answer[0].acknowledgement, Some(client.next), "or it would not be believed");
}

#[test]
fn a_reset_must_be_exact() {
    let mut world = World::new();
    let (mut client, _) = Client::connect(&mut world, CLIENT, HOST);
    let exact = client.next;
    for (offset, answers) in [(1, 1), (30_000, 0), (100_000, 0)] {
        world.wait(Duration::from_millis(if offset == 1 { 200 } else { 0 }));
        client.next = exact + offset;
        let reset = client.segment(Rst, &[]);
        world.receive(ALICE, &reset);
        assert!(world.actions().is_empty(), "{offset}");
        let answer = client.received(&mut world);
        assert_eq!(answer.len(), answers, "{offset}: challenges are rare");
        assert!(answer.iter().all(|segment| segment.acknowledgement == Some(exact)));
    }
    client.next = exact;
    client.send(&mut world, Rst, &[]);
    assert!(matches!(world.actions()[..], [Action::Aborted(_, Abort::Reset)]));
}

#[test]
fn a_syn_on_a_live_connection_is_challenged() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    let expected = client.next;
    let syn = Client::new(CLIENT, HOST).segment(Syn, &[]);
    world.receive(ALICE, &syn);
    let answer = client.received(&mut world);
    assert_eq!((answer.len(), answer[0].control), (1, Ack));
    assert_eq!(answer[0].acknowledgement, Some(expected));
    assert!(world.stack.meta(flow).is_some());
}

/// Every ring size class: what follows the SYN-ACK at once may fill the offered window, and what
/// exceeds it is not taken, least of all as stale bytes of the ring.
#[test]
fn data_right_after_the_syn_ack_never_exceeds_the_offered_window() {
    for exponent in 13..=22 {
        for len in [1_usize << exponent, (1 << exponent) - 1] {
            let mut world = World::with(|parts| parts.tcp.receive_buffer = len);
            let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
            let mut expected = Vec::new();
            for index in 0..(1 << 17) / 1000 {
                let payload = [index as u8 + 1; 1000];
                expected.extend_from_slice(&payload);
                client.send(&mut world, Ack, &payload);
            }
            let got = read_all(&mut world, flow);
            assert!(got.len() >= expected.len().min(len / 2).min(32_768), "{len}: {}", got.len());
            // A segment that began inside the window may end behind it where the ring has room.
            assert!(got.len() <= 65_535 + 999, "{len}: the SYN-ACK's window is not scaled");
            assert_eq!(got, expected[..got.len()], "{len}");
        }
    }
}

#[test]
fn a_fin_beyond_the_window_is_no_clean_end() {
    let mut world = World::with(|parts| parts.tcp.receive_buffer = 4096);
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    for _ in 0..4 {
        client.send(&mut world, Ack, &[7; 1000]);
    }
    client.send(&mut world, Fin, &[8; 1000]);
    world.actions();
    let got = read_all(&mut world, flow);
    assert!(got.len() < 5000, "the last segment was cut");
    assert_eq!(world.actions(), [], "and its FIN is not believed");
}

#[test]
fn data_with_a_stale_acknowledgement_is_taken() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    let stale = client.segment(Ack, b"late");
    write_all(&mut world, flow, b"something");
    world.actions();
    client.received(&mut world);
    let acknowledges = client.segment(Ack, &[]);
    world.receive(ALICE, &acknowledges);
    world.actions();
    world.receive(ALICE, &stale);
    assert_eq!(world.actions(), [Action::Readable(flow)]);
    assert_eq!(read_all(&mut world, flow), b"late");
}

#[test]
fn segments_out_of_order_are_put_in_order() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    let mut segments: Vec<_> = (0..20_u8)
        .map(|index| {
            let segment = client.segment(Ack, &[index; 100]);
            client.next += 100;
            segment
        })
        .collect();
    segments.reverse();
    for segment in &segments {
        world.receive(ALICE, segment);
    }
    let expected: Vec<u8> = (0..20_u8).flat_map(|index| [index; 100]).collect();
    assert_eq!(read_all(&mut world, flow), expected);
}

#[test]
fn a_segment_of_no_flow_is_answered_by_a_reset() {
    let mut world = World::new();
    let mut client = Client::new(CLIENT, HOST);
    client.acknowledged = TcpSeqNumber(77);
    client.send(&mut world, Ack, b"from before a restart");
    let answer = client.received(&mut world);
    assert_eq!((answer.len(), answer[0].control, answer[0].sequence), (1, Rst, TcpSeqNumber(77)));
    client.send(&mut world, Rst, &[]);
    assert!(world.sent().is_empty(), "a reset is never answered");
}

#[test]
fn protected_targets_and_closed_ports_of_ours_are_reset() {
    for target in ["127.0.0.1:22", "169.254.169.254:80", "10.0.0.1:22"] {
        let mut world = World::new();
        let mut client = Client::new(CLIENT, target);
        client.send(&mut world, Syn, &[]);
        assert!(world.actions().is_empty());
        assert_eq!(client.received(&mut world)[0].control, Rst, "{target}");
    }
    let mut world = World::new();
    Client::new(CLIENT, "224.0.0.1:22").send(&mut world, Syn, &[]);
    assert!(world.actions().is_empty() && world.sent().is_empty());
}

#[test]
fn a_service_of_the_embedder_is_offered() {
    let mut world = World::new();
    Client::new(CLIENT, "10.0.0.1:8080").send(&mut world, Syn, &[]);
    let flow = world.offered();
    assert_eq!(world.stack.meta(flow).unwrap().target, Target::Embedder);
}

#[test]
fn a_peer_that_never_completes_the_handshake_is_given_up() {
    let mut world = World::new();
    let mut client = Client::new(CLIENT, HOST);
    client.send(&mut world, Syn, &[]);
    let flow = world.offered();
    world.opened(flow);
    for _ in 0..9 {
        world.wait(Duration::from_secs(1));
        assert!(world.actions().is_empty());
    }
    world.wait(Duration::from_secs(1));
    assert_eq!(world.actions(), [Action::Aborted(flow, Abort::TimedOut)]);
    assert_eq!(client.received(&mut world).pop().unwrap().control, Rst);
}

#[test]
fn a_full_send_ring_says_when_it_has_room_again() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    let written = write_all(&mut world, flow, &[1; 100_000]);
    assert_eq!(written, 65_536);
    let mut got = 0;
    let mut rounds = 0;
    while !world.actions().contains(&Action::Writable(flow)) {
        got += client.received(&mut world).iter().map(|s| s.payload.len()).sum::<usize>();
        client.send(&mut world, Ack, &[]);
        rounds += 1;
        assert!(rounds < 100, "{got}");
    }
    assert!(write_all(&mut world, flow, &[1; 1000]) > 0);
}

#[test]
fn without_room_in_the_tunnel_the_stack_produces_nothing_and_loses_nothing() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    world.wire.room = false;
    write_all(&mut world, flow, b"wait");
    world.service();
    assert!(world.sent().is_empty());
    world.wire.room = true;
    world.actions();
    assert_eq!(client.received(&mut world).pop().unwrap().payload, b"wait");
}

#[test]
fn what_the_host_has_not_read_survives_the_end_of_the_connection() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    world.host_ended(flow);
    world.actions();
    client.received(&mut world);
    let fin = client.segment(Fin, b"unread");
    client.send(&mut world, Fin, b"unread");
    assert_eq!(world.actions(), [Action::Readable(flow)]);
    client.received(&mut world);
    for _ in 0..6 {
        world.wait(Duration::from_secs(5));
        world.receive(ALICE, &fin);
        assert_eq!(world.actions(), []);
        let answer = client.received(&mut world);
        assert_eq!(answer.last().unwrap().acknowledgement, Some(client.next));
    }
    assert_eq!(read_all(&mut world, flow), b"unread");
    assert_eq!(world.actions(), [Action::Shutdown(flow), Action::Closed(flow)]);
}

#[test]
fn a_flow_that_is_over_leaves_no_timer() {
    let mut world = World::new();
    let (mut client, _) = Client::connect(&mut world, CLIENT, HOST);
    assert!(world.stack.poll_timeout().is_some());
    client.send(&mut world, Rst, &[]);
    world.actions();
    assert_eq!(world.stack.poll_timeout(), None);
}

/// The first flight after an idle time may fill every window; it must not fill every queue.
#[test]
fn a_flight_is_held_to_what_the_path_delivered() {
    let mut world = World::with(|parts| parts.tcp.send_buffer = 1 << 20);
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    let mut largest = 0;
    for _ in 0..40 {
        write_all(&mut world, flow, &[5; 1 << 20]);
        world.actions();
        let segments = client.received(&mut world);
        largest = largest.max(segments.iter().map(|segment| segment.payload.len()).sum());
        // A slow path: each segment takes a tenth of a millisecond, behind those before it.
        for segment in segments {
            world.wait(Duration::from_micros(100));
            client.acknowledged = segment.sequence + segment.payload.len();
            client.send(&mut world, Ack, &[]);
        }
    }
    assert!(largest > 64 << 10, "{largest}: the windows did open");
    assert!(largest < 192 << 10, "{largest} bytes at once");
}
