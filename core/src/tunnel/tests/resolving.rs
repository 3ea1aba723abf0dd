//! Endpoints that are given by name.

use crate::tunnel::tests::*;

const PORT: u16 = 51820;

fn named(other: usize) -> config::Peer {
    let endpoint = Endpoint::Name { host: "vpn.example.com".into(), port: PORT };
    config::Peer { endpoint: Some(endpoint), ..peer(other) }
}

fn named_and_kept_alive(other: usize) -> config::Peer {
    config::Peer { persistent_keepalive: NonZeroU16::new(25), ..named(other) }
}

fn net(peer_of_0: config::Peer) -> Net {
    Net::new([config(0, vec![peer_of_0]), config(1, vec![peer(0)])])
}

#[test]
fn a_name_is_resolved_and_the_handshake_follows_at_once() {
    let mut net = net(named_and_kept_alive(1));
    let tunnel = &mut net.ends[0].tunnel;
    let id = tunnel.poll_resolve().unwrap();
    assert_eq!(tunnel.peer_state(id).unwrap().endpoint_name, Some(("vpn.example.com", PORT)));
    assert_eq!(tunnel.poll_resolve(), None);
    net.run(seconds(7));
    assert!(net.sent.is_empty());
    net.resolve(0, &[outer(1)]);
    assert_eq!(net.initiations_of(0), [7]);
    net.run(seconds(1));
    assert!(net.is_up(0));
}

#[test]
fn a_name_that_does_not_resolve_is_asked_for_until_it_does() {
    let mut net = net(named_and_kept_alive(1));
    let mut asked = Vec::new();
    for second in 0..100 {
        if net.ends[0].tunnel.poll_resolve().is_some() {
            asked.push(second);
            net.resolve(0, &[]);
        }
        net.run(seconds(1));
    }
    assert_eq!(asked, [0, 1, 3, 7, 15, 31, 61, 91]);
    net.run(seconds(30));
    assert!(net.ends[0].tunnel.poll_resolve().is_some());
    net.resolve(0, &[outer(1)]);
    net.run(seconds(1));
    assert!(net.is_up(0));
}

#[test]
fn traffic_waits_for_a_name_and_then_goes_through() {
    let mut net = net(named(1));
    net.send(0, 1, 1);
    assert_eq!(net.ends[0].count(Counter::DropNoEndpoint), 1);
    assert!(net.ends[0].tunnel.poll_resolve().is_some());
    net.resolve(0, &[outer(1)]);
    net.run(seconds(1));
    assert!(net.is_up(0), "the packet is lost, but it has asked for the peer");
    net.send(0, 1, 2);
    net.run(seconds(1));
    assert_eq!(net.ends[1].numbers(), [2]);
}

#[test]
fn a_peer_without_an_endpoint_is_counted_and_nothing_else() {
    let mut net = net(peer(1));
    net.send(0, 1, 1);
    assert_eq!(net.ends[0].count(Counter::DropNoEndpoint), 1);
    assert_eq!(net.ends[0].tunnel.poll_resolve(), None);
    assert_eq!((net.deadline(0), net.sent.len()), (None, 0));
}

#[test]
fn all_addresses_of_a_name_are_tried() {
    let mut net = net(named_and_kept_alive(1));
    net.ends[0].tunnel.poll_resolve().unwrap();
    let dead: SocketAddr = "[2001:db8::1]:51820".parse().unwrap();
    net.resolve(0, &[dead, outer(1)]);
    net.run(seconds(6));
    assert!(net.is_up(0));
    let tried: Vec<_> = net
        .sent
        .iter()
        .filter(|(_, datagram)| datagram.is_initiation())
        .map(|(_, datagram)| datagram.destination)
        .collect();
    assert_eq!(tried, [dead, outer(1)]);
}

#[test]
fn a_name_is_resolved_again_when_handshakes_fail() {
    let mut net = net(named_and_kept_alive(1));
    net.ends[0].tunnel.poll_resolve().unwrap();
    net.resolve(0, &[outer(1)]);
    net.run(seconds(1));
    assert!(net.is_up(0));
    let elsewhere: SocketAddr = "198.51.100.9:1234".parse().unwrap();
    let configuration = config(1, vec![peer(0)]);
    net.restart(1, &configuration);
    net.ends[1].address = elsewhere;
    let asked = (0..200).any(|_| {
        net.run(seconds(1));
        net.ends[0].tunnel.poll_resolve().is_some()
    });
    assert!(asked);
    net.resolve(0, &[elsewhere]);
    net.run(seconds(20));
    assert!(net.is_up(0) && net.is_up(1));
}

#[test]
fn answers_for_peers_that_asked_for_nothing_change_nothing() {
    let mut net = net(reachable(1));
    let elsewhere: SocketAddr = "198.51.100.9:1234".parse().unwrap();
    net.resolve(0, &[elsewhere]);
    assert_eq!(net.ends[0].endpoint(), Some(outer(1)));
    let End { tunnel, egress, monitor, .. } = &mut net.ends[0];
    tunnel.handle_resolved(PeerId::first(99), &[elsewhere], egress, monitor, net.now);
}
