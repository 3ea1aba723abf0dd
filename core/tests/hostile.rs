//! Peers that hold the right keys and mean no good: whatever they put into the tunnel, the engine
//! keeps its promises to its embedder and to everybody else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on ends")]

#[path = "hostile/dice.rs"]
mod dice;
#[path = "hostile/good_client.rs"]
mod good_client;
#[path = "hostile/notations.rs"]
mod notations;
#[path = "hostile/packets.rs"]
mod packets;
#[path = "hostile/random.rs"]
mod random;
#[path = "hostile/tap.rs"]
mod tap;
#[path = "hostile/world.rs"]
mod world;

use std::net::SocketAddr;
use std::time::Duration;

use packets::{ACK, FIN, RST, SYN, Segment, udp};
use slipwire_core::config::DefaultAction;
use slipwire_core::{Abort, Action, FlowId};
use world::{World, inner, socket};

const HOST: &str = "192.0.2.80:80";
const WINDOW_SCALE_7: [u8; 4] = [1, 3, 3, 7];

/// A peer's end of one connection, as far as a test needs it.
struct Connection {
    flow: FlowId,
    near: SocketAddr,
    far: SocketAddr,
    sequence: u32,
    acknowledgement: u32,
}

impl Connection {
    /// Opens a connection through the gateway, with window scaling.
    fn open(world: &mut World, peer: usize) -> Self {
        let (near, far) = (inner(peer, false, 4000), socket(HOST));
        let mut syn = Segment { sequence: 1_000, flags: SYN, ..Segment::new(near, far) };
        syn.options = WINDOW_SCALE_7.to_vec();
        world.send(peer, &syn.bytes());
        let Some(Action::Open(flow)) = world.actions.pop() else { panic!("no offer") };
        world.engine.flow(flow).unwrap().opened(None, world.now);
        world.drain();
        let answer = segments(world, peer).pop().unwrap();
        assert_eq!(answer.flags, SYN | ACK);
        let connection = Self { flow, near, far, sequence: 1_001, acknowledgement: answer.end() };
        world.send(peer, &connection.segment(ACK, &[]).bytes());
        connection
    }

    fn segment(&self, flags: u8, payload: &[u8]) -> Segment {
        Segment {
            sequence: self.sequence,
            acknowledgement: self.acknowledgement,
            flags,
            payload: payload.to_vec(),
            ..Segment::new(self.near, self.far)
        }
    }
}

fn segments(world: &mut World, peer: usize) -> Vec<Segment> {
    world.received(peer).iter().filter_map(|packet| Segment::read(packet)).collect()
}

fn read(world: &mut World, flow: FlowId) -> usize {
    let mut all = 0;
    let Ok(mut flow) = world.engine.flow(flow) else { return 0 };
    loop {
        let len = flow.received().len();
        if len == 0 {
            break;
        }
        flow.consume(len, world.now);
        all += len;
    }
    world.drain();
    all
}

#[test]
fn what_follows_a_udp_datagram_in_its_packet_is_not_part_of_it() {
    let mut world = World::new(1, |_| {});
    let (source, host) = (inner(0, false, 4000), socket(HOST));
    let datagram = udp(source, host, b"whole");
    let surplus = packets::ip(source.ip(), host.ip(), packets::UDP, 64, &{
        let mut payload = datagram[20..].to_vec();
        payload.extend(b"surplus");
        payload
    });
    world.send(0, &surplus);
    assert_eq!(world.datagrams.pop().map(|(_, _, payload)| payload), Some(b"whole".to_vec()));
}

#[test]
fn who_answers_nobody_does_not_answer_stray_segments_either() {
    for gateway in [false, true] {
        let mut world = World::new(1, |parts| match &mut parts.gateway {
            Some(policy) if gateway => policy.default = DefaultAction::Drop,
            _ => parts.gateway = None,
        });
        let stray = Segment { flags: ACK, ..Segment::new(inner(0, false, 4000), socket(HOST)) };
        world.send(0, &stray.bytes());
        assert!(segments(&mut world, 0).is_empty(), "gateway: {gateway}");
    }
}

#[test]
fn nobody_speaks_in_the_name_of_a_group() {
    for group in ["224.0.0.1:80", "255.255.255.255:80", "[ff02::1]:80"] {
        let mut world = World::new(1, |_| {});
        let group = socket(group);
        let stray = Segment { flags: ACK, ..Segment::new(inner(0, group.is_ipv6(), 4000), group) };
        world.send(0, &stray.bytes());
        assert!(segments(&mut world, 0).is_empty(), "{group}");
    }
}

#[test]
fn rfc6888_req_4_a_peer_at_its_share_takes_nothing_from_another() {
    let mut world = World::new(2, |parts| parts.limits.udp_flows = 10);
    for (peer, mappings) in [(1, 5), (0, 50)] {
        for port in 0..mappings {
            world.send(peer, &udp(inner(peer, false, 4000 + port), socket(HOST), b""));
        }
    }
    let live = |peer: usize| {
        let offered = world.actions.iter().filter_map(|action| match action {
            Action::Open(flow) => world.engine.meta(*flow),
            _ => None,
        });
        offered.filter(|meta| meta.source.ip() == inner(peer, false, 0).ip()).count()
    };
    assert_eq!((live(0), live(1)), (5, 5));
}

#[test]
fn mappings_of_others_do_not_keep_a_peer_from_reclaiming_its_own() {
    let mut world = World::new(2, |parts| parts.limits.udp_flows = 200);
    // Short-lived ones of one peer, long-lived ones of the other.
    for (peer, host) in [(1, "192.0.2.80:53"), (0, HOST)] {
        for port in 0..100 {
            world.send(peer, &udp(inner(peer, false, 4000 + port), socket(host), b""));
        }
    }
    // One goes, so that the table is not full, but the peer's share is.
    let Some(Action::Open(first)) = world.actions.first().copied() else { panic!("no offer") };
    world.engine.flow(first).unwrap().abort(world.now);
    world.actions.clear();
    world.send(0, &udp(inner(0, false, 5000), socket(HOST), b""));
    assert!(
        world.actions.iter().any(|action| matches!(action, Action::Open(_))),
        "{:?}",
        world.actions
    );
}

#[test]
fn a_stream_that_was_cut_at_the_window_never_ends_cleanly() {
    let mut world = World::new(1, |parts| parts.tcp.receive_buffer = 1 << 20);
    let mut connection = Connection::open(&mut world, 0);
    let scale = 4;
    let edge = |segment: &Segment| {
        segment.acknowledgement.wrapping_add(u32::from(segment.window) << scale)
    };
    // The host reads nothing, and the window fills up to a rest.
    let (mut right_edge, mut sent) = (0, 0);
    loop {
        let room = right_edge_room(right_edge, connection.sequence);
        if sent > 0 && room <= 1_400 {
            break;
        }
        world.send(0, &connection.segment(ACK, &[7; 1_379]).bytes());
        connection.sequence += 1_379;
        sent += 1_379;
        world.pass(Duration::from_millis(200));
        right_edge = segments(&mut world, 0).iter().map(edge).fold(right_edge, u32::max);
    }
    let rest = right_edge_room(right_edge, connection.sequence);
    world.send(0, &connection.segment(ACK | FIN, &vec![7; rest + 10]).bytes());
    sent += rest + 10;
    world.pass(Duration::from_secs(1));
    let got = read(&mut world, connection.flow);
    world.pass(Duration::from_secs(1));
    let ended = world.actions.contains(&Action::Shutdown(connection.flow));
    assert!(!ended || got == sent, "{got} of {sent} bytes and an end");
}

fn right_edge_room(right_edge: u32, sequence: u32) -> usize {
    if right_edge == 0 { 1 << 20 } else { right_edge.saturating_sub(sequence) as usize }
}

/// A connection that both ends ended, with bytes of the peer that nobody has read.
fn ended_unread() -> (World, Connection) {
    let mut world = World::new(1, |_| {});
    let mut connection = Connection::open(&mut world, 0);
    world.send(0, &connection.segment(ACK | FIN, b"never read").bytes());
    connection.sequence += 11;
    world.engine.flow(connection.flow).unwrap().shut_down(world.now);
    world.pass(Duration::from_secs(1));
    (world, connection)
}

#[test]
fn an_acknowledgement_of_an_ended_connection_is_not_acknowledged() {
    let (mut world, mut connection) = ended_unread();
    connection.acknowledgement += 1;
    world.send(0, &connection.segment(ACK, &[]).bytes());
    world.pass(Duration::from_secs(1));
    assert!(world.engine.meta(connection.flow).is_some(), "its bytes are still to be read");
    world.received(0);
    world.send(0, &connection.segment(ACK, &[]).bytes());
    world.pass(Duration::from_secs(1));
    let answers = segments(&mut world, 0);
    assert!(answers.is_empty(), "two such ends would never stop: {answers:?}");
}

#[test]
fn a_repeated_last_acknowledgement_is_not_answered_by_a_reset() {
    let (mut world, mut connection) = ended_unread();
    world.received(0);
    connection.acknowledgement += 1;
    for _ in 0..2 {
        world.push(0, &connection.segment(ACK, &[]).bytes());
    }
    world.drain();
    let answers = segments(&mut world, 0);
    assert!(!answers.iter().any(|segment| segment.has(RST)), "{answers:?}");
}

#[test]
fn a_stale_connection_at_the_far_end_does_not_confuse_a_new_one() {
    let mut world = World::new(1, |_| {});
    let near = inner(0, false, 22);
    let flow = world.engine.open_tcp(near, world.now).unwrap();
    // The engine begins the handshake, or the peer does by its first packet.
    world.send(0, &udp(inner(0, false, 9), socket(HOST), b""));
    world.pass(Duration::from_millis(100));
    let syn = segments(&mut world, 0).into_iter().find(|segment| segment.has(SYN)).unwrap();
    let mut reply = Segment::new(near, syn.source);
    // RFC 9293, section 3.5.1, figure 10: the acknowledgement of an old connection, then a reset.
    reply.flags = ACK;
    reply.sequence = 77;
    reply.acknowledgement = syn.end().wrapping_add(1_000_000);
    world.send(0, &reply.bytes());
    let [reset, again] = &segments(&mut world, 0)[..] else { panic!("a reset and a SYN are due") };
    assert!(reset.has(RST) && reset.sequence == reply.acknowledgement);
    assert!(again.has(SYN) && again.sequence == syn.sequence);
    reply.flags = SYN | ACK;
    reply.acknowledgement = syn.end();
    world.send(0, &reply.bytes());
    assert!(world.actions.contains(&Action::Established(flow)));
    world.received(0);
    world.engine.flow(flow).unwrap().abort(world.now);
    world.drain();
    let reset = segments(&mut world, 0).pop().unwrap();
    assert_eq!(reset.sequence, syn.end(), "a reset that the far end takes");
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_takes_nothing_from_the_stream() {
    let mut world = World::new(1, |_| {});
    let connection = Connection::open(&mut world, 0);
    let mut closed_window = connection.segment(ACK, &[]);
    closed_window.window = 0;
    world.send(0, &closed_window.bytes());
    let mut flow = world.engine.flow(connection.flow).unwrap();
    assert_eq!(flow.send(&[0; 1_000], world.now), 1_000);
    flow.shut_down(world.now);
    world.drain();
    world.received(0);
    let mut early = connection.segment(ACK, &[]);
    early.acknowledgement += 1_001;
    world.send(0, &early.bytes());
    world.pass(Duration::from_secs(3));
    let probes = segments(&mut world, 0);
    assert!(!probes.is_empty(), "RFC 9293, section 3.10.7.4: it was dropped, the window is probed");
    assert!(probes.iter().all(|probe| probe.payload.is_empty()));
    world.send(0, &connection.segment(ACK, &[]).bytes());
    let bytes: usize = segments(&mut world, 0).iter().map(|segment| segment.payload.len()).sum();
    assert_eq!(bytes, 1_000);
}

#[test]
fn nobody_is_told_of_a_connection_to_port_zero() {
    let mut world = World::new(1, |_| {});
    world.send(0, &udp(inner(0, false, 9), socket(HOST), b""));
    world.actions.clear();
    if let Ok(flow) = world.engine.open_tcp(inner(0, false, 0), world.now) {
        world.pass(Duration::from_secs(120));
        assert!(!world.actions.contains(&Action::Established(flow)), "{:?}", world.actions);
        assert!(!world.actions.contains(&Action::Closed(flow)), "{:?}", world.actions);
    }
}

#[test]
fn a_peer_hears_of_an_offer_that_the_embedder_gave_up() {
    let mut world = World::new(1, |_| {});
    let syn = Segment { flags: SYN, ..Segment::new(inner(0, false, 4000), socket(HOST)) };
    world.send(0, &syn.bytes());
    let Some(Action::Open(flow)) = world.actions.pop() else { panic!("no offer") };
    world.engine.flow(flow).unwrap().abort(world.now);
    world.drain();
    assert!(segments(&mut world, 0).iter().any(|segment| segment.has(RST)));
}

#[test]
fn a_count_beyond_what_was_lent_is_no_panic() {
    let mut world = World::new(1, |_| {});
    let connection = Connection::open(&mut world, 0);
    world.send(0, &connection.segment(ACK, b"data").bytes());
    let mut flow = world.engine.flow(connection.flow).unwrap();
    let len = flow.received().len();
    flow.consume(len + 1, world.now);
    flow.consume(1, world.now);
    let len = flow.send_room(world.now).len();
    flow.commit(len + 1, world.now);
    flow.commit(usize::MAX, world.now);
    world.drain();
}

#[test]
fn buffered_bytes_of_all_flows_are_bounded() {
    let limit = 1 << 20;
    let mut world = World::new(1, |parts| parts.limits.memory = limit);
    let mut buffered = 0;
    for port in 0..8 {
        let (near, far) = (inner(0, false, 4000 + port), socket(HOST));
        let mut syn = Segment { flags: SYN, ..Segment::new(near, far) };
        syn.options = WINDOW_SCALE_7.to_vec();
        world.send(0, &syn.bytes());
        let Some(Action::Open(flow)) = world.actions.pop() else { continue };
        world.engine.flow(flow).unwrap().opened(None, world.now);
        world.drain();
        let Some(answer) = segments(&mut world, 0).pop() else { continue };
        let mut data = Segment { sequence: 1, flags: ACK, ..Segment::new(near, far) };
        data.acknowledgement = answer.end();
        world.send(0, &data.bytes());
        let mut flow = world.engine.flow(flow).unwrap();
        loop {
            let len = flow.send_room(world.now).len();
            if len == 0 {
                break;
            }
            flow.commit(len, world.now);
            buffered += len;
        }
    }
    assert!(buffered <= limit, "{buffered} bytes");
}

#[test]
fn a_flow_of_ours_comes_from_our_own_address() {
    let mut world = World::new(1, |_| {});
    for udp in [false, true] {
        let (target, now) = (inner(0, false, 22), world.now);
        let engine = &mut world.engine;
        let opened = if udp { engine.open_udp(target, now) } else { engine.open_tcp(target, now) };
        let source = engine.meta(opened.unwrap()).unwrap().source;
        assert_eq!(source.ip(), socket("10.0.0.1:0").ip(), "{source}");
    }
}

#[test]
fn a_reset_is_a_reset_whatever_was_sent_before() {
    let mut world = World::new(1, |_| {});
    let mut connection = Connection::open(&mut world, 0);
    world.send(0, &connection.segment(ACK, b"unread").bytes());
    connection.sequence += 6;
    world.send(0, &connection.segment(RST, &[]).bytes());
    assert_eq!(read(&mut world, connection.flow), 6);
    world.pass(Duration::from_secs(1));
    assert!(world.actions.contains(&Action::Aborted(connection.flow, Abort::Reset)));
    assert!(!world.actions.contains(&Action::Shutdown(connection.flow)));
}
