//! What the embedder is told of each flow.

use smoltcp::wire::TcpControl::Syn;

use crate::flow::{FlowMeta, Protocol, ProxyProtocol, Target};
use crate::stack::tests::*;

/// Everything that a flow's meta data says.
type Told = (String, Protocol, SocketAddr, SocketAddr, Target, Option<usize>, ProxyProtocol);

fn told(world: &World, flow: FlowId) -> Told {
    let meta = world.stack.meta(flow).unwrap();
    assert_eq!(meta.peer, world.wire.identity(ALICE).unwrap(), "name and key");
    let FlowMeta { peer, protocol, source, destination, target, rule, proxy_protocol } =
        meta.clone();
    (peer.name.clone(), protocol, source, destination, target, rule, proxy_protocol)
}

fn world() -> World {
    World::with(|parts| {
        let gateway = parts.gateway.as_mut().unwrap();
        let relay = RuleAction::Relay { proxy_protocol: ProxyProtocol::V1 };
        gateway.rules = vec![
            Rule { ports: vec![9999..=9999], ..Rule::any(RuleAction::Drop) },
            Rule { ports: vec![80..=80], ..Rule::any(relay) },
            Rule { ports: vec![7..=7], ..Rule::any(RuleAction::Serve) },
        ];
    })
}

const OFF: ProxyProtocol = ProxyProtocol::Off;

#[test]
fn of_a_connection_of_a_peer() {
    for (from, to) in [("10.0.0.2:5000", HOST), ("[fd00::2]:5000", "[2001:db8::1]:80")] {
        let mut world = world();
        Client::new(from, to).send(&mut world, Syn, &[]);
        let flow = world.offered();
        let (from, to) = (socket(from), socket(to));
        let expected = (Protocol::Tcp, from, to, Target::Host(to), Some(1), ProxyProtocol::V1);
        assert_eq!(told(&world, flow), with_name(expected));
    }
}

#[test]
fn of_datagrams_of_a_peer() {
    let cases = [
        ("192.0.2.1:1000", Target::Host(socket("192.0.2.1:1000")), None),
        ("192.0.2.1:80", Target::Host(socket("192.0.2.1:80")), Some(1)),
        ("192.0.2.1:7", Target::Embedder, Some(2)),
    ];
    for (to, target, rule) in cases {
        let mut world = world();
        world.receive(ALICE, &udp("10.0.0.2:5000", to, b"x"));
        let flow = world.offered();
        let from = socket("10.0.0.2:5000");
        let expected = (Protocol::Udp, from, socket(to), target, rule, OFF);
        assert_eq!(told(&world, flow), with_name(expected));
    }
}

#[test]
fn of_pings_of_a_peer_whose_identifier_stands_for_the_port() {
    let mut world = world();
    let head = [8, 0, 0, 0, 0xab, 0xcd, 0, 1];
    world.receive(ALICE, &icmp(ALICE_IP, "192.0.2.1", head, b"ping"));
    let flow = world.offered();
    let (from, to) = (SocketAddr::new(ALICE_IP.parse().unwrap(), 0xabcd), socket("192.0.2.1:0"));
    let expected = (Protocol::Icmp, from, to, Target::Host(to), None, OFF);
    assert_eq!(told(&world, flow), with_name(expected));
}

#[test]
fn of_flows_that_the_embedder_opened() {
    let mut world = world();
    let target = socket("10.0.0.2:80");
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let flow = match protocol {
            Protocol::Tcp => world.open_tcp(target).unwrap(),
            Protocol::Udp | Protocol::Icmp => world.open_udp(target).unwrap(),
        };
        let source = world.stack.meta(flow).unwrap().source;
        assert_eq!(source.ip().to_string(), OWN_IP);
        assert!(source.port() >= 1_024, "a virtual port");
        let expected = (protocol, source, target, Target::Client, None, OFF);
        assert_eq!(told(&world, flow), with_name(expected));
    }
}

type Nameless = (Protocol, SocketAddr, SocketAddr, Target, Option<usize>, ProxyProtocol);

fn with_name((protocol, source, destination, target, rule, proxy): Nameless) -> Told {
    ("alice".into(), protocol, source, destination, target, rule, proxy)
}
