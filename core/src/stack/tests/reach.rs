//! Targets that the embedder finds to be the host itself.

use smoltcp::wire::TcpControl::Syn;

use crate::datagram::{Loss, Undelivered};
use crate::flow::{Protocol, ProxyProtocol, Refusal};
use crate::rules::RedirectTarget;
use crate::stack::tests::*;

const CLIENT: &str = "10.0.0.2:5000";
/// An address that is routed to the host, which core does not know.
const ROUTED: &str = "203.0.113.200:80";

fn relay(to: &str) -> Rule {
    let action = RuleAction::Relay { proxy_protocol: ProxyProtocol::Off };
    Rule { to: vec![to.parse().unwrap()], ..Rule::any(action) }
}

/// The flow that a peer opens to [`ROUTED`] under a rule, and whether it may go on from there.
fn may_reach(protocol: Protocol, rule: Option<Rule>, target: &str) -> bool {
    let mut world =
        World::with(|parts| parts.gateway.as_mut().unwrap().rules = rule.into_iter().collect());
    match protocol {
        Protocol::Tcp => Client::new(CLIENT, ROUTED).send(&mut world, Syn, &[]),
        Protocol::Udp | Protocol::Icmp => world.receive(ALICE, &udp(CLIENT, ROUTED, b"x")),
    }
    let flow = world.offered();
    world.stack.may_reach_host(flow, socket(target))
}

#[test]
fn the_host_may_be_reached_where_a_rule_names_it_or_leads_there() {
    let target = RedirectTarget::Address(socket("127.0.0.1:8080"));
    let redirect = RuleAction::Redirect { target, proxy_protocol: ProxyProtocol::Off };
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        assert!(!may_reach(protocol, None, ROUTED));
        assert!(!may_reach(protocol, Some(relay("203.0.113.128/25")), ROUTED));
        assert!(may_reach(protocol, Some(relay("203.0.113.200/32")), ROUTED));
        assert!(may_reach(protocol, Some(Rule::any(redirect.clone())), "127.0.0.1:8080"));
        assert!(!may_reach(protocol, Some(Rule::any(redirect.clone())), "127.0.0.1:22"));
    }
    // Other datagrams of a mapping are judged by where they go, not by where the first one went.
    let named = Some(relay("203.0.113.200/32"));
    assert!(!may_reach(Protocol::Udp, named, "203.0.113.201:80"));
}

#[test]
fn a_stale_flow_reaches_nothing() {
    let mut world = World::new();
    world.receive(ALICE, &udp(CLIENT, ROUTED, b"x"));
    let flow = world.offered();
    world.aborted(flow);
    assert!(!world.stack.may_reach_host(flow, socket(ROUTED)));
}

#[test]
fn a_port_of_another_mapping_may_be_reached_at_an_address_that_core_knows() {
    let mut world = World::with(|parts| {
        let gateway = parts.gateway.as_mut().unwrap();
        gateway.host_addresses = vec!["192.0.2.1".parse().unwrap()];
    });
    world.receive(ALICE, &udp(CLIENT, "192.0.2.9:9", b"x"));
    let flow = world.offered();
    world.opened_at(flow, 6000);
    for (target, expected) in
        [("192.0.2.1:6000", true), ("192.0.2.1:6001", false), ("203.0.113.200:6000", false)]
    {
        assert_eq!(world.stack.may_reach_host(flow, socket(target)), expected, "{target}");
    }
}

#[test]
fn what_turns_out_to_be_the_host_is_answered_as_a_protected_target() {
    let mut world = World::new();
    world.receive(ALICE, &udp(CLIENT, "192.0.2.9:9", b"x"));
    let mapping = world.offered();
    world.datagrams();
    world.receive(ALICE, &udp(CLIENT, ROUTED, b"x"));
    let next = world.stack.poll_datagram().map(|next| (next.flow, next.remote));
    assert_eq!(next, Some((mapping, socket(ROUTED))));
    world.datagrams();
    let loss = Loss::Refused(Refusal::Protected);
    let lost = Undelivered { remote: socket(ROUTED), echo_sequence: None, loss };
    world.undelivered(mapping, lost);
    let (_, mut bytes) = world.only_sent();
    assert_eq!(Packet::parse(&mut bytes).unwrap().transport_bytes()[..2], [3, 13]);
    assert_eq!(world.count(Counter::Protected), 1);

    let mut client = Client::new(CLIENT, ROUTED);
    client.send(&mut world, Syn, &[]);
    let flow = world.offered();
    world.refused(flow, Refusal::Protected);
    assert_eq!(client.received(&mut world)[0].control, TcpControl::Rst);
    assert_eq!((world.count(Counter::Protected), world.count(Counter::OpenRefused)), (2, 0));
}
