//! TCP flows whose segments have to be sent again.

use smoltcp::wire::TcpControl::{Fin, None as Ack, Syn};

use crate::stack::tests::*;

const CLIENT: &str = "10.0.0.2:40000";

#[test]
fn the_last_bytes_survive_a_go_back_that_was_due_with_them() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    write_all(&mut world, flow, &[1; 2_000]);
    world.host_ended(flow);
    world.actions();
    let segments = client.received(&mut world);
    assert_eq!(segments.last().unwrap().control, Fin);
    let everything = client.acknowledged;
    client.acknowledged = segments[0].sequence;
    for _ in 0..3 {
        client.send(&mut world, Ack, &[]);
    }
    client.acknowledged = segments[1].sequence;
    client.send(&mut world, Ack, &[]);
    client.acknowledged = everything;
    client.send(&mut world, Fin, b"the answer");
    assert_eq!(world.actions(), [Action::Readable(flow)]);
    assert_eq!(read_all(&mut world, flow), b"the answer");
    assert_eq!(world.actions(), [Action::Shutdown(flow), Action::Closed(flow)]);
}

/// An acknowledgement that stood where something is sent again would be taken for an old one.
#[test]
fn an_acknowledgement_stands_at_the_end_of_all_that_was_ever_sent() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    write_all(&mut world, flow, &[1; 6_000]);
    world.actions();
    let first = client.acknowledged;
    client.received(&mut world);
    let end = std::mem::replace(&mut client.acknowledged, first);
    // The end is asked after, and then everything.
    for _ in 0..2 {
        client.received(&mut world);
        world.wait(Duration::from_secs(1));
        world.actions();
    }
    let again = client.received(&mut world);
    assert_eq!(again[0].sequence, first, "it goes back");
    assert!(client.acknowledged < end, "not everything is sent again at once");
    client.acknowledged = first;
    client.send(&mut world, Ack, b"meanwhile");
    assert_eq!(world.actions(), [Action::Readable(flow)]);
    read_all(&mut world, flow);
    world.wait(Duration::from_millis(50));
    world.actions();
    let answers = client.received(&mut world);
    let bare = answers.iter().find(|segment| segment.payload.is_empty());
    assert_eq!(bare.map(|segment| segment.sequence), Some(end));
    assert_eq!(bare.and_then(|segment| segment.acknowledgement), Some(client.next));
}

#[test]
fn a_segment_that_was_overtaken_opens_no_window() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    let first = client.acknowledged;
    write_all(&mut world, flow, &[1; 2_000]);
    world.actions();
    client.received(&mut world);
    // The first to leave offers 2,000 bytes (its scale is 4) and arrives after the second.
    let overtaken = segment(&client, client.next, first, 125, b"early");
    let later = segment(&client, client.next + 5, first + 2_000, 0, b"");
    world.receive(ALICE, &later);
    world.receive(ALICE, &overtaken);
    assert_eq!(world.actions(), [Action::Readable(flow)]);
    assert_eq!(read_all(&mut world, flow), b"early");
    write_all(&mut world, flow, &[2; 1_000]);
    world.actions();
    let sent: usize = client.received(&mut world).iter().map(|sent| sent.payload.len()).sum();
    assert!(sent <= 1, "{sent} bytes into a closed window, which may only be probed");
}

/// Windows that shrink leave bytes out that may not be sent: keepalives must not stand for them.
#[test]
fn a_keepalive_is_no_part_of_the_stream() {
    for ends in [false, true] {
        let mut world = World::new();
        let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
        let first = client.acknowledged;
        write_all(&mut world, flow, &[1; 2_000]);
        if ends {
            world.host_ended(flow);
        }
        world.actions();
        client.received(&mut world);
        for window_len in [0, 1_000] {
            let shrinks = segment(&client, client.next, first + 1_000, window_len, b"");
            world.receive(ALICE, &shrinks);
            world.actions();
        }
        for _ in 0..200 {
            world.wait(Duration::from_secs(1));
            world.actions();
        }
        let sent = client.received(&mut world);
        assert!(!sent.is_empty());
        for segment in sent.iter().filter(|segment| segment.sequence >= first + 1_000) {
            let in_stream = segment.sequence + segment.payload.len() <= first + 2_000;
            assert!(in_stream && segment.payload.iter().all(|byte| *byte == 1), "{segment:?}");
        }
    }
}

/// RFC 5681, section 2: a duplicate acknowledgement has the window of the one before.
#[test]
fn window_updates_are_no_sign_of_loss() {
    for windows in [[3_000, 3_200, 3_400, 3_600], [60_000, 59_000, 60_000, 59_500]] {
        let mut world = World::new();
        let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
        // The first flights are short.
        for _ in 0..8 {
            write_all(&mut world, flow, &[1; 20_000]);
            world.actions();
            client.received(&mut world);
            world.wait(Duration::from_millis(20));
            client.send(&mut world, Ack, &[]);
            world.actions();
        }
        client.received(&mut world);
        client.send(&mut world, Ack, &[]);
        let before = client.acknowledged;
        write_all(&mut world, flow, &[1; 20_000]);
        world.actions();
        let sent = client.received(&mut world);
        assert!(client.acknowledged - before >= 10_000);
        world.wait(Duration::from_millis(10));
        for window in windows {
            world.receive(ALICE, &segment(&client, client.next, before, window, b""));
            world.actions();
        }
        world.wait(Duration::from_millis(10));
        let half = sent[sent.len() / 2].sequence;
        world.receive(ALICE, &segment(&client, client.next, half, windows[3], b""));
        world.actions();
        assert!(client.received(&mut world).is_empty(), "nothing was lost: {windows:?}");
    }
}

/// RFC 5681, section 3.2; RFC 8985, section 6.2.
#[test]
fn the_third_duplicate_sends_the_first_segment_again() {
    let round_trip = Duration::from_millis(20);
    let mut world = World::with(|parts| parts.tcp.send_buffer = 1 << 22);
    let mut client = Client::new(CLIENT, HOST);
    client.send(&mut world, Syn, &[]);
    let flow = world.offered();
    world.opened(flow);
    world.actions();
    client.received(&mut world);
    world.wait(round_trip);
    client.send(&mut world, Ack, &[]);
    for _ in 0..100 {
        world.fill(flow);
        world.actions();
        let segments = client.received(&mut world);
        let len: usize = segments.iter().map(|segment| segment.payload.len()).sum();
        world.wait(round_trip + Duration::from_nanos(len as u64 / 4));
        client.send(&mut world, Ack, &[]);
        world.actions();
    }
    // What leaves is paced.
    for _ in 0..5 {
        world.fill(flow);
        world.actions();
        world.wait(round_trip / 20);
    }
    let segments = client.received(&mut world);
    let first = segments[0].sequence;
    world.wait(round_trip * 3 / 4);
    let again: Vec<_> = (1..=8)
        .filter(|count| {
            world.wait(round_trip / 100);
            let to = segments[count + 1].sequence;
            let block = Some((segments[1].sequence.0 as u32, to.0 as u32));
            world.receive(ALICE, &sack(&client, first, block));
            world.actions();
            client.received(&mut world).iter().any(|segment| segment.sequence == first)
        })
        .collect();
    assert_eq!(again.first(), Some(&3), "{round_trip:?}: {again:?}");
}

/// RFC 1122, section 4.2.3.2, lets an end be late with it; RFC 8985, section 7.2, waits 200 ms for
/// that of a lone segment.
#[test]
fn a_delayed_acknowledgement_is_no_loss() {
    for delay in [40, 100, 199] {
        let mut world = World::new();
        let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
        for message in 0..20 {
            write_all(&mut world, flow, &[1; 100]);
            world.actions();
            assert_eq!(client.received(&mut world).len(), 1);
            for _ in 0..delay {
                world.wait(Duration::from_millis(1));
                world.actions();
                let again = client.received(&mut world);
                assert!(again.is_empty(), "message {message} with a delay of {delay} ms");
            }
            client.send(&mut world, Ack, &[]);
            world.wait(Duration::from_secs(1));
            world.actions();
            assert!(client.received(&mut world).is_empty());
        }
    }
}

fn segment(
    client: &Client,
    sequence: TcpSeqNumber,
    acknowledgement: TcpSeqNumber,
    window_len: u16,
    payload: &[u8],
) -> Vec<u8> {
    client.write(&TcpRepr {
        seq_number: sequence,
        window_len,
        payload,
        ..acknowledgement_of(client, acknowledgement)
    })
}

/// A duplicate acknowledgement that says what has arrived behind the gap.
fn sack(client: &Client, acknowledgement: TcpSeqNumber, block: Option<(u32, u32)>) -> Vec<u8> {
    let bare = acknowledgement_of(client, acknowledgement);
    client.write(&TcpRepr { sack_ranges: [block, None, None], ..bare })
}

fn acknowledgement_of(client: &Client, acknowledgement: TcpSeqNumber) -> TcpRepr<'static> {
    TcpRepr {
        src_port: client.local.port(),
        dst_port: client.remote.port(),
        control: Ack,
        seq_number: client.next,
        ack_number: Some(acknowledgement),
        window_len: 60_000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    }
}

/// RFC 9293, section 3.8.6.2.1: a far end whose window never holds a whole segment is served.
#[test]
fn a_window_that_stays_small_is_filled_in_the_end() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    let small = segment(&client, client.next, client.acknowledged, 50, b"");
    world.receive(ALICE, &small);
    write_all(&mut world, flow, &[1; 5_000]);
    let mut got = 0;
    for _ in 0..200 {
        world.actions();
        got += client.received(&mut world).iter().map(|sent| sent.payload.len()).sum::<usize>();
        // The scale of the client's windows is 4: 800 bytes.
        let small = segment(&client, client.next, client.acknowledged, 50, b"");
        world.receive(ALICE, &small);
        world.wait(Duration::from_millis(500));
    }
    assert_eq!(got, 5_000);
}

/// RFC 2883: what came twice is said, so that a sender which took late segments for lost ones
/// learns that they were not.
#[test]
fn what_came_twice_is_told() {
    let mut world = World::new();
    let (mut client, _) = Client::connect(&mut world, CLIENT, HOST);
    let (start, mut told) = (client.next, Vec::new());
    for at in [1_000, 2_000, 0, 0] {
        client.next = start + at;
        let late = client.segment(Ack, &[7; 1_000]);
        world.receive(ALICE, &late);
        world.actions();
        let (_, answer) = world.only_sent();
        let segment = TcpPacket::new_checked(&answer[20..]).unwrap();
        let first = segment.selective_ack_ranges().unwrap()[0];
        let position = |number: u32| TcpSeqNumber(number as i32) - start;
        let block = first.map(|(from, to)| (position(from), position(to)));
        told.push((segment.ack_number() - start, block));
    }
    let behind = [(0, Some((1_000, 2_000))), (0, Some((1_000, 3_000)))];
    assert_eq!(told[..2], behind);
    assert_eq!(told[2..], [(3_000, None), (3_000, Some((0, 1_000)))]);
}
