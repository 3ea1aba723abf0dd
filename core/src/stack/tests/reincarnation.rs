//! Flows of ours between sockets that have spoken before: what the far end remembers of that must
//! not keep a new one waiting, and what it has forgotten must not be mistaken for it.

use std::collections::{BTreeSet, HashMap};

use smoltcp::wire::TcpControl::{Fin, None as Ack, Rst, Syn};

use crate::flow::Abort;
use crate::stack::tests::into_tunnel::take_syn;
use crate::stack::tests::*;

const SERVER: &str = "172.16.0.9:80";
/// More than there are ports.
const MANY: usize = 66_000;

/// Who ends a connection first, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    Server,
    Client,
    ServersReset,
    ClientsReset,
}

/// What a server remembers in TIME-WAIT: where connections with these ports ended, and until when.
/// As Linux does without timestamps, it takes a SYN for a new one only if that begins beyond.
#[derive(Default)]
struct TimeWait(HashMap<u16, (TcpSeqNumber, Instant)>);

impl TimeWait {
    fn admits(&self, port: u16, begin: TcpSeqNumber, now: Instant) -> bool {
        self.0.get(&port).is_none_or(|(end, until)| *until <= now || begin > *end)
    }
}

fn open(world: &mut World, target: &str) -> FlowId {
    world.open_tcp(socket(target)).unwrap()
}

/// One request on a connection of its own.
fn one_request(world: &mut World, remembered: &mut TimeWait, ending: Ending) {
    let flow = open(world, SERVER);
    assert_eq!(world.actions(), []);
    let (mut server, begin) = take_syn(world);
    let port = server.remote.port();
    assert!(remembered.admits(port, begin, world.now), "{port} came again at {begin}");
    world.receive(ALICE, &server.syn_ack(begin + 1));
    server.next += 1;
    assert_eq!(world.actions(), [Action::Established(flow)]);
    write_all(world, flow, b"question");
    world.actions();
    assert_eq!(server.received(world).pop().unwrap().payload, b"question");
    server.send(world, Ack, b"answer");
    world.actions();
    assert_eq!(read_all(world, flow), b"answer");
    match ending {
        Ending::Server => {
            server.send(world, Fin, &[]);
            assert_eq!(world.actions(), [Action::Shutdown(flow)]);
            world.host_ended(flow);
            world.actions();
            server.received(world);
            server.send(world, Ack, &[]);
            assert_eq!(world.actions(), [Action::Closed(flow)]);
            let until = world.now + Duration::from_secs(60);
            remembered.0.insert(port, (server.acknowledged, until));
        }
        Ending::Client => {
            world.host_ended(flow);
            world.actions();
            server.received(world);
            server.send(world, Fin, &[]);
            assert_eq!(world.actions(), [Action::Shutdown(flow), Action::Closed(flow)]);
        }
        Ending::ServersReset => {
            server.received(world);
            server.send(world, Rst, &[]);
            assert_eq!(world.actions(), [Action::Aborted(flow, Abort::Reset)]);
        }
        Ending::ClientsReset => world.aborted(flow),
    }
    world.sent();
}

/// At 8,000 a second the ports come round after eight seconds, and the server remembers for sixty.
#[test]
fn a_server_that_remembers_every_connection_takes_each_new_one_at_once() {
    // Most often the server, whose memory is what counts.
    let endings = [
        [Ending::Server, Ending::Client, Ending::Server, Ending::ServersReset],
        [Ending::Server, Ending::ClientsReset, Ending::Server, Ending::Server],
    ];
    let (mut world, mut remembered) = (World::new(), TimeWait::default());
    for ending in endings.into_iter().flatten().cycle().take(MANY) {
        one_request(&mut world, &mut remembered, ending);
        world.wait(Duration::from_micros(125));
    }
    assert!(remembered.0.len() > 40_000);
}

/// RFC 9293, section 3.4.1 (MUST-8), and RFC 6528.
#[test]
fn sequence_numbers_of_the_same_sockets_rise() {
    let (mut world, mut begins) = (World::new(), HashMap::new());
    let mut came_again = 0;
    for _ in 0..MANY {
        let flow = open(&mut world, SERVER);
        world.actions();
        let (server, begin) = take_syn(&mut world);
        if let Some(before) = begins.insert(server.remote.port(), begin) {
            came_again += 1;
            assert!(begin > before, "{before} and then {begin}");
        }
        world.aborted(flow);
        world.sent();
        world.wait(Duration::from_millis(1));
    }
    assert_eq!(came_again, MANY - 64_512);
}

/// Of those that we accept, too: a client that uses its port again may still get old segments.
#[test]
fn sequence_numbers_of_accepted_connections_rise() {
    let (mut world, mut before) = (World::new(), None);
    for _ in 0..20 {
        let (client, flow) = Client::connect(&mut world, "10.0.0.2:40000", HOST);
        assert!(before.is_none_or(|before| client.acknowledged > before));
        before = Some(client.acknowledged);
        world.aborted(flow);
        world.sent();
        world.wait(Duration::from_secs(61));
    }
}

/// RFC 9293, section 3.5.1: a connection that only the far end remembers. It was ours before we
/// started again, and what the far end says of it is reset; the SYN that follows is a new one's.
#[test]
fn a_server_that_remembers_what_we_forgot_is_asked_again_at_once() {
    let mut world = World::new();
    let flow = open(&mut world, SERVER);
    world.actions();
    let (mut server, begin) = take_syn(&mut world);
    server.acknowledged = begin + 77_777;
    let remembered = server.segment(Ack, &[]);
    world.receive(ALICE, &remembered);
    world.actions();
    let answers = server.received(&mut world);
    let controls: Vec<_> = answers.iter().map(|answer| answer.control).collect();
    assert_eq!(controls, [Rst, Syn], "within the same moment");
    assert_eq!(answers[0].sequence, begin + 77_777);
    assert_eq!(answers[1].sequence, begin);

    // A far end that does not listen to resets is not asked again and again.
    world.receive(ALICE, &remembered);
    world.actions();
    let controls: Vec<_> = server.received(&mut world).iter().map(|one| one.control).collect();
    assert_eq!(controls, [Rst]);

    world.receive(ALICE, &server.syn_ack(begin + 1));
    assert_eq!(world.actions(), [Action::Established(flow)]);
}

/// A DNS server answers the port that asked it last: a late answer must not find a new client.
#[test]
fn ports_of_local_udp_clients_go_round() {
    let mut world = World::new();
    let mut ports = BTreeSet::new();
    for _ in 0..64_512 {
        let target = socket("172.16.0.9:53");
        let flow = world.open_udp(target).unwrap();
        let source = world.stack.meta(flow).unwrap().source;
        assert!(ports.insert(source.port()), "{source} came again");
        world.aborted(flow);
    }
    assert_eq!(ports.first(), Some(&1_024));
}

/// RFC 6056: an engine that starts again is not to meet what is left of its former connections,
/// and nobody can guess where its ports begin.
#[test]
fn ports_of_local_clients_begin_anywhere() {
    let first_port = |seed| {
        let mut world = World::seeded([seed; 32], |_| {});
        let flow = world.open_tcp(socket(SERVER)).unwrap();
        world.stack.meta(flow).unwrap().source.port()
    };
    let ports: BTreeSet<u16> = (0..20).map(first_port).collect();
    assert!(ports.len() > 15 && ports.iter().all(|port| *port >= 1_024), "{ports:?}");
    let spread = ports.last().unwrap() - ports.first().unwrap();
    assert!(spread > 20_000, "{ports:?}");
}

/// A peer may speak from the very socket that local clients ask for, to a port of ours.
#[test]
fn a_port_that_a_peer_speaks_to_is_left_out() {
    let target = "10.0.0.2:80";
    let first_port = |world: &mut World| {
        let flow = open(world, target);
        world.stack.meta(flow).unwrap().source.port()
    };
    let port = first_port(&mut World::new());
    let mut world = World::with(|parts| {
        parts.gateway.as_mut().unwrap().rules = vec![Rule::any(RuleAction::Serve)];
    });
    Client::connect(&mut world, target, &format!("{OWN_IP}:{port}"));
    assert_eq!(first_port(&mut world), port + 1);
}
