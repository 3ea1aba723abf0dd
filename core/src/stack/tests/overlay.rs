//! Packets between peers, and to addresses of the tunnel that no peer has.

use smoltcp::wire::TcpControl::{None as Ack, Rst, Syn};

use crate::flow::ProxyProtocol;
use crate::rules::{RedirectTarget, Source};
use crate::stack::tests::*;

const ALICES: &str = "10.0.0.2:1000";
const BOBS: &str = "10.0.0.3:2000";
const RELAY: RuleAction = RuleAction::Relay { proxy_protocol: ProxyProtocol::Off };
const ECHO_REQUEST: [u8; 8] = [8, 0, 0, 0, 1, 1, 1, 1];
const ECHO_REPLY: [u8; 8] = [0, 0, 0, 0, 1, 1, 1, 1];
const PORT_UNREACHABLE: [u8; 8] = [3, 3, 0, 0, 0, 0, 0, 0];

fn world(rules: Vec<Rule>) -> World {
    World::with(|parts| parts.gateway.as_mut().unwrap().rules = rules)
}

/// Bob may begin nothing, whatever he is asked.
fn bob_is_stopped() -> Vec<Rule> {
    let bob = World::new().wire.identity(BOB).unwrap().public_key;
    vec![Rule { from: vec![Source::Peer(bob)], ..Rule::any(RuleAction::Reject) }]
}

/// What leads to Bob's port is stopped.
fn bobs_port_is_stopped() -> Vec<Rule> {
    let to = vec!["10.0.0.3/32".parse().unwrap()];
    vec![Rule { to, ports: vec![2000..=2000], ..Rule::any(RuleAction::Reject) }]
}

fn alice() -> Client {
    Client::new(ALICES, BOBS)
}

fn bob() -> Client {
    Client { peer: BOB, ..Client::new(BOBS, ALICES) }
}

/// Whether a packet of a peer is handed over as it is, one hop on.
fn passes(world: &mut World, from: PeerId, packet: &[u8]) -> bool {
    let to = if from == ALICE { BOB } else { ALICE };
    world.sent();
    world.receive(from, packet);
    assert!(world.actions().is_empty() && world.datagrams().is_empty(), "it left for the host");
    world.sent().iter().any(|(peer, bytes)| *peer == to && bytes[12..] == packet[12..])
}

/// An error of one peer about a packet of the other.
fn error_about(packet: &[u8], from: &str, to: &str) -> Vec<u8> {
    icmp(from, to, PORT_UNREACHABLE, &packet[..28])
}

#[test]
fn what_rules_reject_between_peers_does_not_pass_whatever_it_looks_like() {
    let mut world = world(vec![Rule::any(RuleAction::Reject)]);
    let (alice, bob) = (alice(), bob());
    for packet in [
        alice.segment(Syn, &[]),
        alice.segment(Ack, b"bytes that two ends agree on"),
        alice.segment(Rst, &[]),
        udp(ALICES, BOBS, b"x"),
        icmp(ALICE_IP, BOB_IP, ECHO_REQUEST, b"x"),
        icmp(ALICE_IP, BOB_IP, ECHO_REPLY, &[5; 1000]),
        // Errors about what nobody can have sent, and about what is stopped.
        icmp(ALICE_IP, BOB_IP, PORT_UNREACHABLE, &[5; 1000]),
        error_about(&bob.segment(Ack, &[]), ALICE_IP, BOB_IP),
        error_about(&udp(BOBS, ALICES, b"x"), ALICE_IP, BOB_IP),
        // A timestamp is neither echo nor error.
        icmp(ALICE_IP, BOB_IP, [14, 0, 0, 0, 1, 1, 1, 1], &[0; 12]),
    ] {
        assert!(!passes(&mut world, ALICE, &packet), "{packet:?}");
    }
}

#[test]
fn fragments_are_judged_as_the_packet_that_they_are_of() {
    let mut world = world(bob_is_stopped());
    for (peer, from, to, arrives) in [(ALICE, ALICES, BOBS, true), (BOB, BOBS, ALICES, false)] {
        let whole = udp(from, to, &[1; 3000]);
        let mut pieces = Vec::new();
        crate::stack::packet::fragmentation::cut(
            &whole,
            1400,
            7,
            &mut vec![0; 1500],
            |piece, len| {
                pieces.push(piece[..len].to_vec());
            },
        );
        for piece in &pieces {
            world.receive(peer, piece);
        }
        let other = if peer == ALICE { BOB } else { ALICE };
        assert_eq!(world.sent().iter().any(|(to, _)| *to == other), arrives);
        // What Bob said now would be an answer.
        world.wait(Duration::from_secs(400));
    }
}

#[test]
fn what_may_begin_is_answered_whatever_the_rules_say_of_the_answer() {
    let mut world = world(bob_is_stopped());
    let (question, answer) = (udp(ALICES, BOBS, b"question"), udp(BOBS, ALICES, b"answer"));
    assert!(!passes(&mut world, BOB, &answer), "nobody has asked");
    assert!(passes(&mut world, ALICE, &question));
    assert!(passes(&mut world, BOB, &answer));
    assert!(!passes(&mut world, BOB, &bob().segment(Syn, &[])));
    assert!(passes(&mut world, ALICE, &alice().segment(Syn, &[])));
    assert!(passes(&mut world, BOB, &bob().segment(Ack, b"answer")));
    assert!(passes(&mut world, BOB, &icmp(BOB_IP, ALICE_IP, ECHO_REPLY, b"x")));
    assert!(!passes(&mut world, BOB, &icmp(BOB_IP, ALICE_IP, ECHO_REQUEST, b"x")));
    // Errors about what was asked, from the peer and from a router behind it.
    let asked = icmp(ALICE_IP, BOB_IP, ECHO_REQUEST, b"x");
    for packet in [question, alice().segment(Ack, &[]), asked] {
        assert!(passes(&mut world, BOB, &error_about(&packet, BOB_IP, ALICE_IP)));
    }
    let by_others = [udp("10.0.0.2:1", "192.0.2.1:2", b"x"), udp(BOBS, ALICES, b"x")];
    for packet in by_others {
        assert!(!passes(&mut world, BOB, &error_about(&packet, BOB_IP, ALICE_IP)));
    }
}

#[test]
fn new_rules_end_connections_between_peers_whoever_speaks_next() {
    for speaks_next in [ALICE, BOB] {
        let mut world = world(vec![Rule::any(RELAY)]);
        assert!(passes(&mut world, ALICE, &alice().segment(Syn, &[])));
        assert!(passes(&mut world, BOB, &bob().segment(Ack, &[])));
        // Bob could still begin one to Alice, but this one was hers.
        world.set_rules(bobs_port_is_stopped());
        for peer in [speaks_next, ALICE, BOB] {
            let client = if peer == ALICE { alice() } else { bob() };
            world.receive(peer, &client.segment(Ack, b"on and on"));
            let (to, mut bytes) = world.only_sent();
            let packet = Packet::parse(&mut bytes).unwrap();
            assert_eq!(to, peer);
            assert!(TcpPacket::new_unchecked(packet.transport_bytes()).rst(), "it is told");
        }
        let error = error_about(&alice().segment(Ack, &[]), BOB_IP, ALICE_IP);
        assert!(!passes(&mut world, BOB, &error));
        assert!(passes(&mut world, BOB, &bob().segment(Syn, &[])), "this is another one");
        assert!(passes(&mut world, ALICE, &alice().segment(Ack, b"answer")));
    }
}

#[test]
fn new_rules_end_other_conversations_between_peers_too() {
    let mut world = world(vec![Rule::any(RELAY)]);
    let (question, answer) = (udp(ALICES, BOBS, b"x"), udp(BOBS, ALICES, b"x"));
    assert!(passes(&mut world, ALICE, &question) && passes(&mut world, BOB, &answer));
    world.set_rules(bobs_port_is_stopped());
    assert!(!passes(&mut world, ALICE, &question));
    world.set_rules(bob_is_stopped());
    assert!(!passes(&mut world, BOB, &answer), "nobody has asked since");
}

#[test]
fn new_rules_leave_alone_what_may_begin_under_them() {
    let mut world = world(vec![Rule::any(RELAY)]);
    let (question, answer) = (udp(ALICES, BOBS, b"x"), udp(BOBS, ALICES, b"x"));
    assert!(passes(&mut world, ALICE, &question));
    assert!(passes(&mut world, ALICE, &alice().segment(Syn, &[])));
    world.set_rules(bob_is_stopped());
    assert!(passes(&mut world, BOB, &answer));
    assert!(passes(&mut world, BOB, &bob().segment(Ack, b"answer")));
}

#[test]
fn a_connection_goes_on_when_the_gateway_starts_anew_if_an_end_may_have_it() {
    for (peer, client) in [(ALICE, alice()), (BOB, bob())] {
        let mut world = world(bob_is_stopped());
        assert!(passes(&mut world, peer, &client.segment(Ack, b"in the middle")));
    }
    for (peer, client) in [(ALICE, alice()), (BOB, bob())] {
        let mut world = world(vec![Rule::any(RuleAction::Reject)]);
        assert!(!passes(&mut world, peer, &client.segment(Ack, b"in the middle")));
    }
}

#[test]
fn what_a_rule_leads_elsewhere_does_not_go_on_with_the_peer() {
    let target = RedirectTarget::Address(socket("127.0.0.1:8080"));
    let redirect = RuleAction::Redirect { target, proxy_protocol: ProxyProtocol::Off };
    let rules = vec![Rule { to: vec!["10.0.0.3/32".parse().unwrap()], ..Rule::any(redirect) }];
    let mut changed = world(vec![Rule::any(RELAY)]);
    assert!(passes(&mut changed, ALICE, &alice().segment(Syn, &[])));
    changed.set_rules(rules);
    assert!(!passes(&mut changed, ALICE, &alice().segment(Ack, b"on and on")));
}

#[test]
fn what_one_end_may_begin_goes_on_though_a_rule_leads_what_the_other_begins_elsewhere() {
    let target = RedirectTarget::Address(socket("127.0.0.1:8080"));
    let redirect = Rule::any(RuleAction::Redirect { target, proxy_protocol: ProxyProtocol::Off });
    let bobs = Rule { from: bob_is_stopped().remove(0).from, ..redirect.clone() };
    for (peer, client) in [(ALICE, alice()), (BOB, bob())] {
        let segment = client.segment(Ack, b"of one before the restart");
        assert!(passes(&mut world(vec![bobs.clone()]), peer, &segment));
        assert!(!passes(&mut world(vec![redirect.clone()]), peer, &segment));
    }
}

/// More than are remembered.
fn open_many(world: &mut World) {
    for n in 0..40_000_usize {
        let from = format!("10.0.0.2:{}", 2_000 + n);
        world.receive(ALICE, &Client::new(&from, "10.0.0.3:80").segment(Syn, &[]));
        world.sent();
    }
}

#[test]
fn new_rules_end_a_connection_between_peers_that_was_forgotten() {
    for rules in [vec![], vec![Rule::any(RELAY)]] {
        for (before, after) in [(true, false), (false, true)] {
            let mut world = world(rules.clone());
            if before {
                open_many(&mut world);
            }
            assert!(passes(&mut world, ALICE, &alice().segment(Syn, &[])));
            if after {
                open_many(&mut world);
            }
            assert!(passes(&mut world, BOB, &bob().segment(Ack, b"whoever began this")));
            world.set_rules(bobs_port_is_stopped());
            assert!(!passes(&mut world, ALICE, &alice().segment(Ack, b"on and on")));
            assert!(!passes(&mut world, BOB, &bob().segment(Ack, b"on and on")));
            let error = error_about(&alice().segment(Ack, &[]), BOB_IP, ALICE_IP);
            assert!(!passes(&mut world, BOB, &error));
        }
    }
}

#[test]
fn what_new_rules_have_ended_does_not_go_on_later() {
    let mut world = world(vec![Rule::any(RELAY)]);
    assert!(passes(&mut world, ALICE, &alice().segment(Syn, &[])));
    world.set_rules(bobs_port_is_stopped());
    for _ in 0..4 {
        world.wait(Duration::from_secs(3 * 60 * 60));
        assert!(!passes(&mut world, ALICE, &alice().segment(Ack, b"on and on")));
        assert!(!passes(&mut world, BOB, &bob().segment(Ack, b"on and on")));
    }
}

#[test]
fn rules_that_are_the_first_leave_alone_what_may_begin_under_them() {
    let mut world = world(vec![]);
    assert!(passes(&mut world, ALICE, &alice().segment(Syn, &[])));
    world.set_rules(bob_is_stopped());
    assert!(passes(&mut world, BOB, &bob().segment(Ack, b"answer")));
}

#[test]
fn what_goes_on_since_before_the_gateway_started_anew_outlives_rules_that_allow_it() {
    let mut world = world(bob_is_stopped());
    assert!(passes(&mut world, BOB, &bob().segment(Ack, b"in the middle")));
    world.set_rules(bob_is_stopped());
    assert!(passes(&mut world, BOB, &bob().segment(Ack, b"in the middle")));
}

#[test]
fn each_question_between_peers_is_answered_however_many_there_are() {
    let mut world = world(bob_is_stopped());
    assert!(passes(&mut world, ALICE, &udp(ALICES, BOBS, b"question")));
    for n in 0..40_000_usize {
        let from = format!("10.0.0.2:{}", 2_000 + n);
        world.receive(ALICE, &udp(&from, BOBS, b"question"));
        assert!(passes(&mut world, BOB, &udp(BOBS, &from, b"answer")), "{n}");
        // Fifty a second.
        world.wait(Duration::from_millis(20));
        if n % 1_000 == 0 {
            assert!(passes(&mut world, BOB, &udp(BOBS, ALICES, b"a stream")), "{n}");
        }
    }
}

/// Another stack would not know which end began what goes on.
#[test]
fn no_tape_begins_while_a_connection_goes_on_that_new_rules_have_left_alone() {
    let mut world = world(vec![Rule::any(RELAY)]);
    assert!(passes(&mut world, ALICE, &alice().segment(Syn, &[])));
    assert!(world.stack.is_at_rest(world.now));
    world.set_rules(bob_is_stopped());
    assert!(!world.stack.is_at_rest(world.now));
    world.wait(Duration::from_secs(3 * 60 * 60));
    assert!(world.stack.is_at_rest(world.now));
}

#[test]
fn a_peer_that_comes_or_goes_ends_no_conversation_of_others() {
    let mut world = world(bob_is_stopped());
    assert!(passes(&mut world, ALICE, &udp(ALICES, BOBS, b"question")));
    let carol = PeerId::first(7);
    world.peer_added();
    world.remove_peer(carol);
    assert!(passes(&mut world, BOB, &udp(BOBS, ALICES, b"answer")));
}

#[test]
fn a_conversation_ends_when_an_end_of_it_becomes_another_peers() {
    let mut world = world(bob_is_stopped());
    assert!(passes(&mut world, ALICE, &udp(ALICES, BOBS, b"question")));
    world.stack.handle_peers_changed(&mut world.wire);
    assert!(passes(&mut world, BOB, &udp(BOBS, ALICES, b"answer")));
    world.wire.taken = Some(socket(ALICES).ip());
    world.stack.handle_peers_changed(&mut world.wire);
    world.wire.taken = None;
    assert!(!passes(&mut world, BOB, &udp(BOBS, ALICES, b"answer")));
}

/// As a kernel's WireGuard says it, to those who would connect too.
#[test]
fn addresses_of_the_tunnels_network_that_nobody_has_are_unreachable() {
    for (from, to, own) in
        [(CLIENT_V4, "10.0.0.77:22", OWN_IP), ("[fd00::2]:5000", "[fd00::77]:22", "fd00::1")]
    {
        let mut world = World::new();
        let echo = if from == CLIENT_V4 { 8 } else { 128 };
        let ips = [socket(from), socket(to)].map(|socket| socket.ip().to_string());
        for packet in [
            Client::new(from, to).segment(Syn, &[]),
            udp(from, to, b"x"),
            icmp(&ips[0], &ips[1], [echo, 0, 0, 0, 1, 1, 1, 1], b"x"),
        ] {
            world.receive(ALICE, &packet);
            assert!(world.actions().is_empty() && world.datagrams().is_empty());
            let (_, mut bytes) = world.only_sent();
            let answer = Packet::parse(&mut bytes).unwrap();
            let expected = if from == CLIENT_V4 { [3, 1] } else { [1, 3] };
            assert_eq!(answer.transport_bytes()[..2], expected);
            assert_eq!(answer.source.to_string(), own);
        }
        assert_eq!(world.count(Counter::NoPeer), 3);
    }
}

const CLIENT_V4: &str = "10.0.0.2:5000";

#[test]
fn an_address_that_a_removed_peer_had_does_not_leave_through_the_host() {
    let mut world = World::new();
    world.wire.taken = Some("10.0.0.9".parse().unwrap());
    let packet = udp(ALICES, "10.0.0.9:22", b"x");
    world.receive(ALICE, &packet);
    assert_eq!(world.only_sent().0, BOB);
    world.remove_peer(BOB);
    world.wire.taken = None;
    world.receive(ALICE, &packet);
    assert_eq!(world.only_sent().0, ALICE);
    assert!(world.actions().is_empty());
}

#[test]
fn an_address_of_the_tunnels_network_leaves_where_it_is_named() {
    let named = Rule { to: vec!["10.0.0.77/32".parse().unwrap()], ..Rule::any(RELAY) };
    let packet = udp(ALICES, "10.0.0.77:22", b"x");
    let mut excluded = World::with(|parts| {
        let gateway = parts.gateway.as_mut().unwrap();
        gateway.overlay_exclude = vec!["10.0.0.64/26".parse().unwrap()];
    });
    excluded.receive(ALICE, &packet);
    excluded.offered();

    let mut world = world(vec![named]);
    world.receive(ALICE, &packet);
    let flow = world.offered();
    world.datagrams();
    // And no longer once it is not.
    world.set_rules(vec![Rule::any(RELAY)]);
    assert_eq!(world.actions(), [Action::Aborted(flow, crate::flow::Abort::Forbidden)]);
    world.receive(ALICE, &packet);
    assert!(world.actions().is_empty());
}
