//! What whoever listens hears of flows.

use smoltcp::wire::TcpControl::{None as Ack, Rst, Syn};

use crate::flow::Refusal;
use crate::stack::limit::bound::Bound;
use crate::stack::tests::*;

const CLIENT: &str = "10.0.0.2:40000";
const BEHIND: &str = "172.16.0.9:80";
const PROTECTED: &str = "127.0.0.1:80";
const REJECTED: &str = "192.0.2.1:1";
const DROPPED: &str = "192.0.2.1:2";
const NOBODYS: &str = "10.0.0.77:80";
const OWN: &str = "10.0.0.1:22";

/// Something that a flow, or a packet that would open one, comes to.
type Story = fn(&mut World);

fn rules() -> Vec<Rule> {
    let at = |port, action| Rule { ports: vec![port..=port], ..Rule::any(action) };
    vec![at(1, RuleAction::Reject), at(2, RuleAction::Drop)]
}

fn world() -> World {
    World::with(|parts| {
        parts.gateway.as_mut().unwrap().rules = rules();
        parts.limits.tcp_flows = 2;
        parts.limits.half_open = 2;
        parts.limits.udp_flows = 2;
    })
}

fn syn(world: &mut World, to: &str) {
    Client::new(CLIENT, to).send(world, Syn, &[]);
}

fn connect(world: &mut World) -> (Client, FlowId) {
    Client::connect(world, CLIENT, HOST)
}

fn datagram(world: &mut World, port: u16) {
    world.receive(ALICE, &udp(&format!("{ALICE_IP}:{port}"), "192.0.2.1:53", b"x"));
}

fn refuse(world: &mut World, refusal: Refusal) {
    syn(world, HOST);
    let flow = world.offered();
    world.refused(flow, refusal);
}

fn wait(world: &mut World, secs: u64) {
    world.wait(Duration::from_secs(secs));
    world.actions();
}

fn open_into_the_tunnel(world: &mut World) {
    world.stack.open_tcp(socket(BEHIND), &mut world.wire, world.now).unwrap();
    world.actions();
}

/// A connection whose two ends are both ended.
fn close(world: &mut World) {
    let (mut client, flow) = connect(world);
    world.host_ended(flow);
    world.actions();
    client.received(world);
    client.send(world, TcpControl::Fin, &[]);
    world.actions();
}

/// What comes of each story, in the order of the documentation.
const STORIES: &[(FlowOutcome, Story)] = &[
    (FlowOutcome::Closed, close),
    (FlowOutcome::Expired, |world| {
        datagram(world, 1);
        wait(world, 301);
    }),
    (FlowOutcome::HostReset, |world| {
        let (_, flow) = connect(world);
        world.aborted(flow);
    }),
    (FlowOutcome::PeerReset, |world| {
        let (mut client, _) = connect(world);
        client.send(world, Rst, &[]);
        world.actions();
    }),
    (FlowOutcome::PeerReset, |world| {
        syn(world, HOST);
        let mut client = Client::new(CLIENT, HOST);
        client.next += 1;
        client.send(world, Rst, &[]);
    }),
    (FlowOutcome::PeerTimeout, |world| {
        open_into_the_tunnel(world);
        wait(world, 61);
    }),
    (FlowOutcome::PeerUnreachable, |world| {
        open_into_the_tunnel(world);
        let (_, syn) = world.only_sent();
        let head = [3, 1, 0, 0, 0, 0, 0, 0];
        world.receive(ALICE, &icmp(ALICE_IP, OWN_IP, head, &syn[..28]));
    }),
    (FlowOutcome::Idle, |world| {
        connect(world);
        wait(world, 124 * 60 + 1);
    }),
    (FlowOutcome::Forbidden, |world| {
        connect(world);
        world.stack.set_rules(vec![Rule::any(RuleAction::Reject)], &mut world.wire);
    }),
    (FlowOutcome::PeerGone, |world| {
        connect(world);
        world.stack.remove_peer(ALICE, &mut world.wire);
    }),
    (FlowOutcome::GaveWay, |world| {
        datagram(world, 1);
        datagram(world, 2);
    }),
    (FlowOutcome::ShutDown, |world| {
        connect(world);
        world.stack.shut_down(&mut world.wire);
    }),
    (FlowOutcome::Refused, |world| refuse(world, Refusal::Refused)),
    (FlowOutcome::HostTimeout, |world| refuse(world, Refusal::TimedOut)),
    (FlowOutcome::HostTimeout, |world| {
        syn(world, HOST);
        wait(world, 121);
    }),
    (FlowOutcome::HostUnreachable, |world| refuse(world, Refusal::HostUnreachable)),
    (FlowOutcome::NetworkUnreachable, |world| refuse(world, Refusal::NetworkUnreachable)),
    (FlowOutcome::Prohibited, |world| refuse(world, Refusal::Prohibited)),
    (FlowOutcome::Exhausted, |world| refuse(world, Refusal::Exhausted)),
    (FlowOutcome::Protected, |world| refuse(world, Refusal::Protected)),
    (FlowOutcome::Protected, |world| syn(world, PROTECTED)),
    (FlowOutcome::Protected, |world| world.receive(ALICE, &udp(CLIENT, PROTECTED, b"x"))),
    (FlowOutcome::Rejected, |world| syn(world, REJECTED)),
    (FlowOutcome::Rejected, |world| world.receive(ALICE, &udp(CLIENT, REJECTED, b"x"))),
    (FlowOutcome::Dropped, |world| syn(world, DROPPED)),
    (FlowOutcome::Dropped, |world| world.receive(ALICE, &udp(CLIENT, DROPPED, b"x"))),
    (FlowOutcome::NoPeer, |world| syn(world, NOBODYS)),
    (FlowOutcome::NoPeer, |world| world.receive(ALICE, &udp(CLIENT, NOBODYS, b"x"))),
    (FlowOutcome::PeersOwn, |world| syn(world, BEHIND)),
    (FlowOutcome::PeersOwn, |world| world.receive(ALICE, &udp(CLIENT, BEHIND, b"x"))),
    (FlowOutcome::PortClosed, |world| syn(world, OWN)),
    (FlowOutcome::PortClosed, |world| world.receive(ALICE, &udp(CLIENT, OWN, b"x"))),
    (FlowOutcome::PortClosed, |world| syn(world, "192.0.2.80:0")),
    (FlowOutcome::LimitTcp, |world| {
        connect(world);
        Client::new("10.0.0.2:40001", HOST).send(world, Syn, &[]);
    }),
    (FlowOutcome::LimitSockets, |world| {
        *world = World::with(|parts| parts.limits.sockets = 2);
        connect(world);
        datagram(world, 1);
    }),
];

#[test]
fn each_outcome_is_told_by_its_word() {
    for (outcome, story) in STORIES {
        let mut world = world();
        story(&mut world);
        let heard = world.wire.heard.iter().filter_map(|heard| heard.outcome());
        assert_eq!(heard.collect::<Vec<_>>(), [*outcome], "{outcome:?}");
    }
    for outcome in FlowOutcome::ALL {
        let is_told = STORIES.iter().any(|(told, _)| told == outcome);
        // At these bounds a flow of the peer itself gives way.
        let never = [Bound::Udp, Bound::Icmp, Bound::HalfOpen].map(Bound::outcome);
        assert_ne!(is_told, never.contains(outcome), "{outcome:?}");
    }
}

#[test]
fn each_flow_that_was_opened_has_ended_once_or_lives() {
    for (_, story) in STORIES {
        let mut world = world();
        story(&mut world);
        let mut live: Vec<_> = world.stack.flow_states().map(|flow| flow.id).collect();
        for heard in world.wire.heard.iter().rev() {
            match heard {
                Heard::Ended(flow, ..) => live.push(*flow),
                Heard::Opened(flow) => {
                    let place = live.iter().position(|known| known == flow);
                    live.remove(place.expect("it lives, or its end was told"));
                }
                Heard::Refused(..) => {}
            }
        }
        assert!(live.is_empty(), "what has ended was opened");
    }
}

#[test]
fn a_refusal_names_the_rule_and_counts_where_it_always_did() {
    let refused = |to: &str, counter: Counter| {
        let mut world = world();
        syn(&mut world, to);
        let Heard::Refused(outcome, rule) = world.wire.heard[0] else { panic!("a refusal") };
        assert_eq!(world.count(counter), 1, "{to}");
        (outcome, rule)
    };
    assert_eq!(refused(REJECTED, Counter::Rejected), (FlowOutcome::Rejected, Some(0)));
    assert_eq!(refused(DROPPED, Counter::DropPolicy), (FlowOutcome::Dropped, Some(1)));
    assert_eq!(refused(PROTECTED, Counter::Protected), (FlowOutcome::Protected, None));
    assert_eq!(refused(NOBODYS, Counter::NoPeer), (FlowOutcome::NoPeer, None));
    assert_eq!(refused(BEHIND, Counter::Rejected), (FlowOutcome::PeersOwn, None));
    assert_eq!(refused(OWN, Counter::Rejected), (FlowOutcome::PortClosed, None));
}

#[test]
fn a_repeated_refusal_is_told_each_time_and_a_stray_segment_is_none() {
    let mut world = world();
    syn(&mut world, REJECTED);
    syn(&mut world, REJECTED);
    Client::new(CLIENT, REJECTED).send(&mut world, Ack, b"of no flow");
    assert_eq!(world.wire.heard, [Heard::Refused(FlowOutcome::Rejected, Some(0)); 2]);
}

#[test]
fn the_end_of_a_flow_says_what_has_moved() {
    let mut world = World::new();
    let (mut client, flow) = connect(&mut world);
    client.send(&mut world, Ack, b"question");
    read_all(&mut world, flow);
    write_all(&mut world, flow, b"longer answer");
    world.aborted(flow);
    let transfer = Transfer { bytes_in: 8, bytes_out: 13 };
    let ended = Heard::Ended(flow, FlowOutcome::HostReset, transfer);
    assert_eq!(world.wire.heard, [Heard::Opened(flow), ended]);
}
