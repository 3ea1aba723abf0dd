//! Flows by rule, and rules that change while flows live.

use std::path::Path;

use smoltcp::wire::TcpControl::{None as Ack, Rst, Syn};

use crate::flow::{Abort, Protocol, ProxyProtocol, Target};
use crate::rules::{RedirectTarget, Source};
use crate::stack::tests::*;

const CLIENT: &str = "10.0.0.2:5000";
const RELAY: RuleAction = RuleAction::Relay { proxy_protocol: ProxyProtocol::Off };

fn redirect(target: &str) -> RuleAction {
    let target = match target.strip_prefix("unix:") {
        Some(path) => RedirectTarget::Unix(Path::new(path).into()),
        None => RedirectTarget::Address(socket(target)),
    };
    RuleAction::Redirect { target, proxy_protocol: ProxyProtocol::V2 }
}

fn rule(to: &str, port: u16, action: RuleAction) -> Rule {
    Rule { to: vec![to.parse().unwrap()], ports: vec![port..=port], ..Rule::any(action) }
}

fn world(rules: Vec<Rule>) -> World {
    World::with(|parts| parts.gateway.as_mut().unwrap().rules = rules)
}

fn set_rules(world: &mut World, rules: Vec<Rule>) {
    world.set_rules(rules);
}

fn reply(world: &mut World, flow: FlowId, remote: &str, payload: &[u8]) {
    world.send_datagram(flow, socket(remote), payload);
}

#[test]
fn a_connection_goes_where_its_rule_leads_and_says_who_it_is() {
    let mut world = world(vec![
        rule("0.0.0.0/0", 443, redirect("127.0.0.1:8443")),
        rule("0.0.0.0/0", 80, redirect("unix:/run/web")),
    ]);
    let cases = [
        ("198.51.100.7:443", Target::Host(socket("127.0.0.1:8443")), 0),
        ("198.51.100.7:80", Target::Unix(Path::new("/run/web").into()), 1),
    ];
    for (port, (destination, target, place)) in (40_000..).zip(cases) {
        Client::new(&format!("{ALICE_IP}:{port}"), destination).send(&mut world, Syn, &[]);
        let flow = world.offered();
        let meta = world.stack.meta(flow).unwrap();
        assert_eq!((&meta.target, meta.rule), (&target, Some(place)));
        assert_eq!(meta.destination, socket(destination));
        assert_eq!((meta.peer.name.as_str(), meta.proxy_protocol), ("alice", ProxyProtocol::V2));
    }
}

#[test]
fn a_redirected_connection_answers_in_the_name_of_its_destination() {
    let mut world = world(vec![Rule::any(redirect("127.0.0.1:8443"))]);
    let (mut client, flow) = Client::connect(&mut world, CLIENT, "198.51.100.7:443");
    assert_eq!(write_all(&mut world, flow, b"hello"), 5);
    world.actions();
    assert_eq!(client.received(&mut world).last().unwrap().payload, b"hello");
}

#[test]
fn a_port_of_our_own_address_leads_where_a_rule_says_and_others_are_refused() {
    let mut world = world(vec![rule("10.0.0.1/32", 2222, redirect("127.0.0.1:22"))]);
    Client::new(CLIENT, "10.0.0.1:2222").send(&mut world, Syn, &[]);
    let flow = world.offered();
    let target = &world.stack.meta(flow).unwrap().target;
    assert_eq!(*target, Target::Host(socket("127.0.0.1:22")));
    let mut other = Client::new(CLIENT, "10.0.0.1:2223");
    other.send(&mut world, Syn, &[]);
    assert!(world.actions().is_empty());
    assert_eq!(other.received(&mut world)[0].control, Rst);
}

#[test]
fn redirected_datagrams_are_answered_by_whom_they_were_meant_for() {
    let mut world = world(vec![rule("0.0.0.0/0", 53, redirect("127.0.0.1:5353"))]);
    let resolvers = ["192.0.2.53:53", "198.51.100.53:53"];
    let flows = resolvers.map(|resolver| {
        world.receive(ALICE, &udp(CLIENT, resolver, b"question"));
        world.offered()
    });
    assert_ne!(flows[0], flows[1], "answers have to be told from each other");
    let target = socket("127.0.0.1:5353");
    assert_eq!(world.datagrams(), flows.map(|flow| (flow, target, b"question".to_vec())));
    for (flow, resolver) in flows.into_iter().zip(resolvers) {
        reply(&mut world, flow, "127.0.0.1:5353", b"answer");
        assert_eq!(world.only_sent(), (ALICE, udp(resolver, CLIENT, b"answer")));
        reply(&mut world, flow, "127.0.0.1:5354", b"from somebody else");
        assert!(world.sent().is_empty());
    }
    world.receive(ALICE, &udp(CLIENT, resolvers[0], b"again"));
    assert!(world.actions().is_empty(), "the mapping is there");
    assert_eq!(world.datagrams(), [(flows[0], target, b"again".to_vec())]);
}

#[test]
fn other_datagrams_of_a_redirected_source_have_their_shared_mapping() {
    let mut world = world(vec![rule("0.0.0.0/0", 53, redirect("127.0.0.1:5353"))]);
    world.receive(ALICE, &udp(CLIENT, "192.0.2.53:53", b"question"));
    let redirected = world.offered();
    world.receive(ALICE, &udp(CLIENT, "192.0.2.1:1000", b"x"));
    let shared = world.offered();
    world.receive(ALICE, &udp(CLIENT, "192.0.2.2:1000", b"x"));
    assert!(world.actions().is_empty());
    assert_ne!(redirected, shared);
}

#[test]
fn the_embedder_serves_datagrams_itself_as_any_host() {
    let mut world = world(vec![Rule::any(RuleAction::Serve)]);
    world.receive(ALICE, &udp(CLIENT, "127.0.0.1:7", b"hello"));
    let flow = world.offered();
    assert_eq!(world.stack.meta(flow).unwrap().target, Target::Embedder);
    assert_eq!(world.datagrams(), [(flow, socket("127.0.0.1:7"), b"hello".to_vec())]);
    reply(&mut world, flow, "127.0.0.1:7", b"hello too");
    assert_eq!(world.only_sent(), (ALICE, udp("127.0.0.1:7", CLIENT, b"hello too")));
}

#[test]
fn each_host_of_a_mapping_is_judged() {
    let mut world = world(vec![
        rule("192.0.2.9/32", 1000, RuleAction::Reject),
        rule("192.0.2.8/32", 1000, RuleAction::Drop),
    ]);
    world.receive(ALICE, &udp(CLIENT, "192.0.2.1:1000", b"x"));
    world.offered();
    world.receive(ALICE, &udp(CLIENT, "192.0.2.8:1000", b"dropped"));
    assert!(world.sent().is_empty());
    world.receive(ALICE, &udp(CLIENT, "192.0.2.9:1000", b"rejected"));
    let (_, mut bytes) = world.only_sent();
    assert_eq!(Packet::parse(&mut bytes).unwrap().transport_bytes()[..2], [3, 13]);
    assert_eq!(world.datagrams().len(), 1);
}

#[test]
fn one_peer_may_what_another_may_not() {
    let alice = World::new().wire.identity(ALICE).unwrap().public_key;
    let mut world = world(vec![
        Rule { from: vec![Source::Peer(alice)], ..rule("192.0.2.0/24", 22, RELAY) },
        rule("192.0.2.0/24", 22, RuleAction::Reject),
    ]);
    Client::new("10.0.0.2:1000", "192.0.2.1:22").send(&mut world, Syn, &[]);
    world.offered();
    let mut bob = Client { peer: BOB, ..Client::new("10.0.0.3:1000", "192.0.2.1:22") };
    bob.send(&mut world, Syn, &[]);
    assert!(world.actions().is_empty());
    assert_eq!(bob.received(&mut world)[0].control, Rst);
}

#[test]
fn pings_are_rejected_by_rule() {
    let reject = Rule { protocols: vec![Protocol::Icmp], ..Rule::any(RuleAction::Reject) };
    let mut world = world(vec![reject]);
    let head = [8, 0, 0, 0, 0, 1, 0, 1];
    world.receive(ALICE, &icmp(ALICE_IP, "192.0.2.1", head, b"ping"));
    let (_, mut bytes) = world.only_sent();
    assert_eq!(Packet::parse(&mut bytes).unwrap().transport_bytes()[..2], [3, 13]);
    assert!(world.actions().is_empty());
}

#[test]
fn new_rules_end_what_they_forbid_and_leave_the_rest_alone() {
    let mut world = world(vec![rule("192.0.2.1/32", 80, RELAY), rule("192.0.2.2/32", 80, RELAY)]);
    let (mut kept, kept_flow) = Client::connect(&mut world, "10.0.0.2:1000", "192.0.2.1:80");
    let (mut ended, ended_flow) = Client::connect(&mut world, "10.0.0.2:1001", "192.0.2.2:80");
    set_rules(
        &mut world,
        vec![rule("192.0.2.2/32", 80, RuleAction::Reject), rule("192.0.2.1/32", 80, RELAY)],
    );
    assert_eq!(world.actions(), [Action::Aborted(ended_flow, Abort::Forbidden)]);
    assert_eq!(ended.received(&mut world)[0].control, Rst);
    kept.send(&mut world, Ack, b"still here");
    assert_eq!(world.actions(), [Action::Readable(kept_flow)]);
    assert_eq!(world.stack.meta(kept_flow).unwrap().rule, Some(1));
}

#[test]
fn a_flow_whose_target_moves_ends() {
    let mut world = world(vec![Rule::any(redirect("127.0.0.1:1"))]);
    let (_, flow) = Client::connect(&mut world, CLIENT, "192.0.2.1:80");
    set_rules(&mut world, vec![Rule::any(redirect("127.0.0.1:2"))]);
    assert_eq!(world.actions(), [Action::Aborted(flow, Abort::Forbidden)]);
}

#[test]
fn a_mapping_forgets_the_hosts_that_new_rules_forbid() {
    let mut world = world(Vec::new());
    for host in ["192.0.2.1:1000", "192.0.2.2:1000"] {
        world.receive(ALICE, &udp(CLIENT, host, b"x"));
    }
    let flow = world.offered();
    world.datagrams();
    set_rules(&mut world, vec![rule("192.0.2.2/32", 1000, RuleAction::Drop)]);
    assert!(world.actions().is_empty(), "it speaks with another host still");
    world.receive(ALICE, &udp(CLIENT, "192.0.2.2:1000", b"x"));
    world.receive(ALICE, &udp(CLIENT, "192.0.2.1:1000", b"y"));
    assert_eq!(world.datagrams(), [(flow, socket("192.0.2.1:1000"), b"y".to_vec())]);
    reply(&mut world, flow, "192.0.2.2:1000", b"x");
    assert!(world.sent().is_empty());
    set_rules(&mut world, vec![Rule::any(RuleAction::Drop)]);
    assert_eq!(world.actions(), [Action::Aborted(flow, Abort::Forbidden)]);
}

#[test]
fn an_address_that_becomes_the_hosts_own_is_closed() {
    let mut world = world(Vec::new());
    let (_, flow) = Client::connect(&mut world, CLIENT, "192.0.2.1:80");
    world.input(Input::HostAddresses(vec!["192.0.2.1".parse().unwrap()]));
    assert_eq!(world.actions(), [Action::Aborted(flow, Abort::Forbidden)]);
}

#[test]
fn rules_come_before_the_overlay() {
    let to_bob = format!("{BOB_IP}:80");
    let mut world = world(vec![
        rule("10.0.0.3/32", 80, redirect("127.0.0.1:8080")),
        rule("10.0.0.3/32", 81, RuleAction::Reject),
    ]);
    Client::new("10.0.0.2:1000", &to_bob).send(&mut world, Syn, &[]);
    world.offered();
    let mut refused = Client::new("10.0.0.2:1000", &format!("{BOB_IP}:81"));
    refused.send(&mut world, Syn, &[]);
    assert_eq!(refused.received(&mut world)[0].control, Rst);
    Client::new("10.0.0.2:1000", &format!("{BOB_IP}:82")).send(&mut world, Syn, &[]);
    assert_eq!(world.only_sent().0, BOB);
}

#[test]
fn a_relay_rule_opens_no_overlay_that_is_off() {
    let mut world = World::with(|parts| {
        let gateway = parts.gateway.as_mut().unwrap();
        (gateway.peer_to_peer, gateway.rules) = (false, vec![Rule::any(RELAY)]);
    });
    Client::new("10.0.0.2:1000", &format!("{BOB_IP}:80")).send(&mut world, Syn, &[]);
    assert!(world.actions().is_empty());
    assert_eq!(world.only_sent().0, ALICE);
}
