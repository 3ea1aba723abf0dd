//! Idle connections: what is asked of them, when they end, and memory that they do not need.

use smoltcp::wire::TcpControl::None as Ack;

use crate::flow::Abort;
use crate::stack::tests::*;

const CLIENT: &str = "10.77.0.2:40000";

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn rings_that_held_bytes_are_idle_two_seconds_after_the_last_one() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    world.wait(ms(5_000));
    assert_eq!(world.actions(), [], "nothing has touched them yet");
    for _ in 0..2 {
        client.send(&mut world, TcpControl::None, b"hello");
        assert_eq!(world.actions(), [Action::Readable(flow)]);
        assert!(!world.give_back_rings(flow), "a reader is awaited");
        assert_eq!(read_all(&mut world, flow), b"hello");
        world.wait(ms(1_900));
        assert_eq!(world.actions(), []);
        world.wait(ms(200));
        assert_eq!(world.actions(), [Action::Idle(flow)]);
        let rings = world.stack.ring_addresses(flow).unwrap();
        assert!(world.give_back_rings(flow));
        assert_eq!(rings.map(|ring| ring.len()), [1 << 16, 0], "nothing was ever sent");
        world.wait(ms(20_000));
        assert_eq!(world.actions(), [], "it is said once");
    }
}

#[test]
fn what_is_not_acknowledged_yet_is_needed() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    write_all(&mut world, flow, b"hello");
    assert_eq!(world.actions(), []);
    world.wait(ms(5_000));
    assert_eq!(world.actions(), []);
    assert!(!world.give_back_rings(flow));
    client.received(&mut world);
    client.send(&mut world, TcpControl::None, &[]);
    assert_eq!(world.actions(), []);
    world.wait(ms(2_100));
    assert_eq!(world.actions(), [Action::Idle(flow)]);
}

#[test]
fn what_arrived_behind_a_gap_is_needed() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    let gap = client.next;
    client.next += 5;
    client.send(&mut world, TcpControl::None, b" and on");
    assert_eq!(world.actions(), []);
    world.wait(ms(5_000));
    assert_eq!(world.actions(), []);
    assert!(!world.give_back_rings(flow));
    client.next = gap;
    client.send(&mut world, TcpControl::None, b"hello");
    assert_eq!(world.actions(), [Action::Readable(flow)]);
    assert_eq!(read_all(&mut world, flow), b"hello and on");
    world.actions();
    world.wait(ms(2_100));
    assert_eq!(world.actions(), [Action::Idle(flow)]);
}

/// RFC 9293, section 3.10.7.4: it is dropped, and so must not count as having filled a gap.
#[test]
fn a_segment_without_ack_does_not_hide_a_gap() {
    let mut world = World::new();
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    client.send(&mut world, TcpControl::None, b"hello");
    world.actions();
    read_all(&mut world, flow);
    let mut without_ack = client.segment(TcpControl::None, &[1; 100]);
    let segment = &mut without_ack[20..];
    segment[13] &= !0x10;
    TcpPacket::new_unchecked(segment)
        .fill_checksum(&client.local.ip().into(), &client.remote.ip().into());
    world.receive(ALICE, &without_ack);
    client.next += 100;
    client.send(&mut world, TcpControl::None, &[2; 100]);
    world.actions();
    world.wait(ms(2_100));
    assert_eq!(world.actions(), []);
    assert!(!world.give_back_rings(flow), "100 bytes wait behind a gap");
}

#[test]
fn a_keepalive_of_the_peer_is_answered() {
    let mut world = World::new();
    let (mut client, _) = Client::connect(&mut world, CLIENT, HOST);
    let expected = client.next;
    client.next = TcpSeqNumber(expected.0 - 1);
    world.wait(Duration::from_secs(2));
    let probe = client.segment(Ack, &[]);
    world.receive(ALICE, &probe);
    world.actions();
    let answer = client.received(&mut world);
    assert_eq!(answer.last().unwrap().acknowledgement, Some(expected));
}

#[test]
fn a_silent_flow_ends_after_the_idle_timeout() {
    let mut world = World::with(|parts| {
        parts.tcp.idle_timeout = Duration::from_secs(100);
        parts.tcp.keepalive = Duration::from_secs(1000);
    });
    let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
    world.wait(Duration::from_secs(60));
    client.send(&mut world, Ack, b"x");
    world.actions();
    read_all(&mut world, flow);
    world.actions();
    world.wait(Duration::from_secs(99));
    assert_eq!(world.actions(), [Action::Idle(flow)]);
    world.wait(Duration::from_secs(1));
    assert_eq!(world.actions(), [Action::Aborted(flow, Abort::Idle)]);
}
