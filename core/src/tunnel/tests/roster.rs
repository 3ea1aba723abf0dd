//! Peers that come and go.

use std::collections::BTreeSet;

use crate::config::peer::Others as _;
use crate::tunnel::tests::*;

fn named(name: &str) -> Option<Endpoint> {
    Some(Endpoint::Name { host: name.into(), port: 51820 })
}

#[test]
fn a_peer_that_was_added_later_is_like_any_other() {
    let mut net = Net::new([config(0, vec![]), config(1, vec![peer(0)])]);
    let now = net.now_at(0);
    net.ends[0].tunnel.add_peer(&kept_alive(1), now);
    net.run(seconds(1));
    net.send(0, 1, 1);
    net.send(1, 0, 2);
    net.run(seconds(1));
    assert_eq!((net.ends[1].numbers(), net.ends[0].numbers()), (vec![1], vec![2]));
}

#[test]
fn a_removed_peer_is_not_heard_and_not_called() {
    let mut net = Net::new([config(0, vec![kept_alive(1)]), config(1, vec![peer(0)])]);
    net.run(seconds(1));
    net.send(1, 0, 1);
    let id = net.ends[0].tunnel.with_name("end 1").unwrap();
    let End { tunnel, monitor, .. } = &mut net.ends[0];
    assert_eq!(tunnel.remove_peer(id, monitor, net.now).unwrap().name, "end 1");
    net.clear_received();
    net.run(seconds(300));
    assert!(net.sent.iter().all(|(_, datagram)| datagram.source != outer(0)));
    assert!(net.ends[0].received.is_empty());
    assert_eq!(net.ends[0].tunnel.poll_timeout(), None);
    assert_eq!(net.ends[0].tunnel.route(inner_address(1).into()), None);
}

#[test]
fn peers_that_come_and_go_leave_nothing_behind() {
    let mut net = Net::connected();
    let End { tunnel, egress, monitor, .. } = &mut net.ends[0];
    while tunnel.poll_path_question().is_some() {}
    let before = tunnel.timers.armed();
    let mut ids = BTreeSet::new();
    for round in 0..2_000 {
        let guest = config::Peer { endpoint: named("guest.example.com"), ..kept_alive(2) };
        let id = tunnel.add_peer(&guest, net.now);
        // What has a place for each slot does not grow, then.
        assert_eq!((id.slot(), tunnel.peers.len()), (1, 2));
        assert!(ids.insert(id), "an id comes once");
        assert_eq!(tunnel.with_key(&guest.public_key), Some(id));
        assert_eq!(tunnel.with_prefix(guest.allowed_ips[0]), Some(id));
        assert_eq!(tunnel.questions.len(), 1);
        if round % 2 == 0 {
            assert_eq!(tunnel.poll_resolve(), Some(id));
            tunnel.handle_resolved(id, &[outer(2)], egress, monitor, net.now);
            assert_eq!(tunnel.path_questions.len(), 1);
        }
        tunnel.remove_peer(id, monitor, net.now).unwrap();
        assert!(tunnel.remove_peer(id, monitor, net.now).is_none());
        assert_eq!(tunnel.with_key(&guest.public_key), None);
        assert_eq!(tunnel.with_prefix(guest.allowed_ips[0]), None);
        assert_eq!((tunnel.questions.len(), tunnel.path_questions.len()), (0, 0));
        assert_eq!(tunnel.timers.armed(), before);
    }
    net.clear_received();
    net.send(0, 1, 9);
    net.run(seconds(1));
    assert_eq!(net.ends[1].numbers(), [9]);
}

#[test]
fn an_answer_for_a_peer_that_has_gone_is_not_the_next_ones() {
    let mut net = Net::new([config(0, vec![])]);
    let guest = |end: usize| config::Peer { endpoint: named("guest.example.com"), ..peer(end) };
    let now = net.now_at(0);
    let End { tunnel, egress, monitor, .. } = &mut net.ends[0];
    let gone = tunnel.add_peer(&guest(1), now);
    tunnel.remove_peer(gone, monitor, now).unwrap();
    let next = tunnel.add_peer(&guest(2), now);
    assert_eq!(gone.slot(), next.slot());
    tunnel.handle_resolved(gone, &[outer(1)], egress, monitor, now);
    assert_eq!(tunnel.peers.get(next).unwrap().endpoint().in_use(), None);
    tunnel.handle_resolved(next, &[outer(2)], egress, monitor, now);
    assert_eq!(tunnel.peers.get(next).unwrap().endpoint().in_use(), Some(outer(2)));
}
