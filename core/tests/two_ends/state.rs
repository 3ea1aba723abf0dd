//! What both ends can be asked about each other.

use std::time::Duration;

use slipwire_core::{Counter, FlowStatus, PeerState};

use crate::transfer_both_ways;
use slipwire_worlds::build::socket;
use slipwire_worlds::two_engines::{
    CLIENT_ADDRESS, End, GATEWAY_ADDRESS, World, pattern, read, write,
};

const SECOND: Duration = Duration::from_secs(1);

fn peer(end: &End) -> PeerState<'_> {
    end.engine.peers().next().unwrap()
}

#[test]
fn what_leaves_one_end_is_what_the_other_receives() {
    let mut world = World::new();
    transfer_both_ways(&mut world, 200_000);
    for (from, to) in [(&world.client, &world.gateway), (&world.gateway, &world.client)] {
        let (sent, received) = (peer(from), peer(to));
        assert_eq!(sent.transfer.bytes_out, received.transfer.bytes_in);
        assert!(sent.transfer.bytes_out > 200_000);
        let pairs = [
            (Counter::DatagramsOut, Counter::DatagramsIn),
            (Counter::BytesOut, Counter::BytesIn),
            (Counter::PacketsOut, Counter::PacketsIn),
        ];
        for (out, into) in pairs {
            assert_eq!(sent.stats.value(out), received.stats.value(into), "{out:?}");
        }
        assert_eq!(sent.transfer.bytes_out, sent.stats.value(Counter::BytesOut));
    }
}

#[test]
fn the_flow_at_one_end_has_sent_what_that_at_the_other_has_received() {
    let mut world = World::new();
    let (near, far) = world.open_and_accept();
    let (question, answer) = (pattern(700), pattern(9_000));
    assert_eq!(write(&mut world.client, near, &question, world.now), 700);
    assert_eq!(write(&mut world.gateway, far, &answer, world.now), 9_000);
    world.run(SECOND);
    assert_eq!(read(&mut world.gateway, far, world.now).len(), 700);
    assert_eq!(read(&mut world.client, near, world.now).len(), 9_000);
    let near = world.client.engine.flow_state(near).unwrap();
    let far = world.gateway.engine.flow_state(far).unwrap();
    assert_eq!((near.status, far.status), (FlowStatus::Established, FlowStatus::Established));
    assert_eq!((near.transfer.bytes_out, near.transfer.bytes_in), (700, 9_000));
    assert_eq!((far.transfer.bytes_in, far.transfer.bytes_out), (700, 9_000));
    assert_eq!(world.gateway.engine.flows().count(), 1);
}

#[test]
fn a_peer_says_where_it_is_when_it_shook_hands_and_what_it_uses() {
    let mut world = World::new();
    for end in [&world.client, &world.gateway] {
        assert!(!peer(end).is_up && peer(end).last_handshake.is_none());
    }
    assert_eq!(peer(&world.gateway).endpoint, None);
    let began = world.now;
    world.open();
    for (end, address) in [(&world.client, GATEWAY_ADDRESS), (&world.gateway, CLIENT_ADDRESS)] {
        let peer = peer(end);
        assert!(peer.is_up && peer.last_handshake.unwrap() > began);
        assert_eq!(peer.endpoint, Some(socket(address)));
        assert_eq!(peer.usage, end.engine.usage());
        assert_eq!((peer.usage.tcp_flows, peer.usage.sockets), (1, 1));
        assert!(end.engine.peer(peer.id).is_some());
        let key = &peer.identity.public_key;
        assert_eq!(end.engine.peer_with_key(key), Some(peer.id));
    }
    assert_eq!(peer(&world.gateway).usage.half_open, 1, "its host is being asked");
    assert_eq!(peer(&world.client).usage.half_open, 0);
    assert_eq!(peer(&world.gateway).allowed_ips, ["10.0.0.2/32".parse().unwrap()]);
}

#[test]
fn a_peer_is_up_for_as_long_as_it_has_a_session() {
    let mut world = World::new();
    world.open_and_accept();
    world.client.engine.shut_down(world.now);
    world.run(SECOND);
    let shook = peer(&world.gateway).last_handshake.unwrap();
    world.lose_every(1);
    world.run(Duration::from_secs(150));
    assert!(peer(&world.gateway).is_up);
    world.run(Duration::from_secs(60));
    assert!(!peer(&world.gateway).is_up);
    assert_eq!(peer(&world.gateway).last_handshake, Some(shook));
}

#[test]
fn what_is_of_no_peer_is_counted_for_all_alone() {
    let mut world = World::new();
    world.open_and_accept();
    let before = peer(&world.gateway).transfer;
    world.gateway.engine.handle_datagram(socket(CLIENT_ADDRESS), None, b"noise", world.now);
    assert_eq!(peer(&world.gateway).transfer, before);
    for end in [&world.client, &world.gateway] {
        for (counter, all) in end.engine.stats().iter() {
            let own = peer(end).stats.value(counter);
            match counter {
                Counter::DatagramsIn | Counter::BytesIn => assert!(own <= all, "{counter:?}"),
                Counter::DropMalformed => assert_eq!(own, 0),
                _ => assert_eq!(own, all, "{counter:?}"),
            }
        }
    }
    assert_eq!(world.gateway.engine.stats().value(Counter::DropMalformed), 1);
}

#[test]
fn what_a_removed_peer_has_counted_stays_with_that_of_all() {
    let mut world = World::new();
    world.open_and_accept();
    let before = world.gateway.engine.stats().clone();
    let id = peer(&world.gateway).id;
    world.gateway.engine.remove_peer(id, world.now);
    let after = world.gateway.engine.stats();
    assert!(before.iter().all(|(counter, value)| value <= after.value(counter)));
    assert!(after.value(Counter::TcpOpened) == 1 && after.value(Counter::Handshakes) == 1);
    assert_eq!(world.gateway.engine.usage().tcp_flows, 0);
    let again = crate::changes::client();
    let id = world.gateway.engine.add_peer(&again, world.now).unwrap();
    let peer = world.gateway.engine.peer(id).unwrap();
    assert!(peer.stats.iter().all(|(_, value)| value == 0), "it has another's place");
}
