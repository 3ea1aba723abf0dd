//! Peers that are changed in place.

use crate::config::PeerChange;
use crate::config::peer::Others as _;
use crate::tunnel::tests::*;

const FIRST: PeerId = PeerId::first(0);

fn preshared(key: u8) -> PeerChange {
    PeerChange::default().with_preshared_key(PresharedKey::from_entropy([key; 32]))
}

fn moved_to(address: SocketAddr) -> PeerChange {
    PeerChange::default().with_endpoint(Endpoint::from(address))
}

fn keepalive(seconds: u16) -> PeerChange {
    PeerChange::default().with_persistent_keepalive(NonZeroU16::new(seconds))
}

impl Net {
    /// Changes the first peer of an end.
    fn change(&mut self, end: usize, change: PeerChange) {
        self.change_all(end, &[(FIRST, change)]);
    }

    fn change_all(&mut self, end: usize, changes: &[(PeerId, PeerChange)]) {
        let now = self.now_at(end);
        let End { tunnel, egress, monitor, .. } = &mut self.ends[end];
        tunnel.change_peers(changes, egress, monitor, now);
        self.drain(end);
    }

    /// Data and keepalives that left an end since the received was last cleared.
    fn data_of(&self, end: usize) -> Vec<&Datagram> {
        let sent = self.sent.iter().map(|(_, datagram)| datagram);
        sent.filter(|d| d.bytes[0] == 4 && d.source == self.ends[end].address).collect()
    }
}

#[test]
fn a_preshared_key_is_changed_at_both_ends_without_a_gap() {
    let mut net = Net::connected();
    net.clear_received();
    let mut sent = net.converse(seconds(5), Duration::from_millis(100));
    let renewed_at = |net: &Net| net.ends[0].count(Counter::Handshakes);
    for (end, key) in [(0, 1), (1, 1), (1, 2), (0, 2)] {
        let before = renewed_at(&net);
        net.change(end, preshared(key));
        let others_turn = net.converse(seconds(20), Duration::from_millis(100));
        sent += others_turn;
        let is_second = renewed_at(&net) > before;
        assert_eq!(is_second, [(1, 1), (0, 2)].contains(&(end, key)), "{end} has key {key}");
    }
    net.run(seconds(1));
    for end in &net.ends {
        assert_eq!(end.received.len(), sent as usize, "nothing is lost");
    }
}

#[test]
fn a_preshared_key_that_the_other_end_does_not_have_ends_the_session_in_its_time() {
    let mut net = Net::connected();
    net.change(0, preshared(1));
    net.clear_received();
    net.converse(seconds(170), Duration::from_millis(500));
    assert!(net.ends.iter().all(|end| end.received.len() >= 338), "the session goes on");
    net.converse(seconds(20), Duration::from_millis(500));
    net.clear_received();
    net.converse(seconds(60), Duration::from_millis(500));
    assert!(net.ends.iter().all(|end| end.received.is_empty()), "and is over by now");
    assert!(net.initiations_of(0).len() > 5, "a new one is asked for");
    net.change(1, preshared(1));
    net.converse(seconds(10), Duration::from_millis(500));
    assert!(net.ends.iter().all(|end| end.received.len() > 10));
}

#[test]
fn what_both_ends_agreed_on_before_a_change_is_good_after_it() {
    let mut net = Net::pair();
    net.send(0, 1, 1);
    net.run(LATENCY);
    // The second end has answered, and has not heard that the first has taken that.
    net.change(1, preshared(1));
    net.run(seconds(1));
    assert_eq!(net.ends[1].numbers(), [1]);
    net.send(1, 0, 2);
    net.run(seconds(1));
    assert_eq!(net.ends[0].numbers(), [2]);
}

#[test]
fn an_answer_with_the_key_before_opens_no_session() {
    let mut net = Net::pair();
    net.send(0, 1, 1);
    net.run(LATENCY);
    net.change(0, preshared(1));
    net.run(seconds(60));
    assert!(!net.is_up(0) && net.ends[1].received.is_empty());
    net.change(1, preshared(1));
    net.run(seconds(10));
    net.send(0, 1, 2);
    net.run(seconds(10));
    assert_eq!(net.ends[1].numbers(), [2]);
}

#[test]
fn the_same_preshared_key_changes_nothing() {
    let mut net = Net::connected();
    net.change(0, preshared(1));
    let taken_away = PeerChange::default().with_preshared_key(None);
    net.change(0, taken_away.clone());
    net.run(seconds(10));
    net.clear_received();
    net.change(0, taken_away);
    assert!(net.sent.is_empty());
}

#[test]
fn an_initiation_of_before_the_change_does_not_move_the_peer() {
    let mut net = Net::connected();
    let initiations = net.sent.iter().map(|(_, d)| d.clone()).filter(Datagram::is_initiation);
    let recorded: Vec<Datagram> = initiations.collect();
    net.change(1, preshared(1));
    let elsewhere = outer(9);
    for initiation in &recorded {
        net.deliver(1, &Datagram { source: elsewhere, ..initiation.clone() });
    }
    assert_eq!(net.ends[1].endpoint(), Some(outer(0)));
    net.send(1, 0, 5);
    net.run(seconds(1));
    assert!(net.ends[0].numbers().contains(&5));
}

#[test]
fn the_next_packets_go_to_another_endpoint_in_the_same_session() {
    let mut net = Net::connected();
    let elsewhere = outer(7);
    net.clear_received();
    net.change(0, moved_to(elsewhere));
    assert!(net.sent.is_empty(), "there is a session, and nothing to say");
    assert_eq!(net.ends[0].tunnel.poll_path_question(), Some(elsewhere));
    net.send(0, 1, 3);
    let [data] = net.data_of(0)[..] else { panic!("{:?}", net.sent) };
    assert_eq!(data.destination, elsewhere);
    // There it is; so it is heard, and answers.
    net.ends[1].address = elsewhere;
    net.run(seconds(1));
    net.send(1, 0, 4);
    net.run(seconds(1));
    assert!(net.ends[1].numbers() == [3] && net.ends[0].numbers() == [4]);
    assert_eq!(net.ends[0].count(Counter::Handshakes), 1);
}

#[test]
fn a_lost_peer_is_called_at_its_new_endpoint_at_once() {
    let mut net = Net::new([config(0, vec![kept_alive(1)]), config(1, vec![peer(0)])]);
    let elsewhere = outer(7);
    net.ends[1].address = elsewhere;
    net.run(seconds(300));
    assert!(!net.is_up(0));
    // It was called in vain just now.
    let calls = net.initiations_of(0).len();
    while net.initiations_of(0).len() == calls {
        net.run(seconds(1));
    }
    net.change(0, moved_to(elsewhere));
    net.run(seconds(1));
    assert!(net.is_up(0));
}

#[test]
fn what_is_known_of_a_path_is_forgotten_with_its_endpoint() {
    let mut net = Net::connected();
    let now = net.now_at(0);
    let End { tunnel, monitor, .. } = &mut net.ends[0];
    assert_eq!(tunnel.handle_path_mtu(outer(1).ip(), 1380, monitor, now), [FIRST]);
    assert_eq!(tunnel.path_mtu(FIRST, now), 1320);
    net.change(0, moved_to(outer(1)));
    assert_eq!(net.ends[0].tunnel.path_mtu(FIRST, now), MTU);
}

#[test]
fn a_peer_that_is_found_elsewhere_has_moved() {
    let mut net = Net::connected();
    let moved = |net: &mut Net| {
        let moves = std::iter::from_fn(|| net.ends[0].tunnel.poll_move());
        moves.collect::<Vec<_>>()
    };
    assert_eq!(moved(&mut net), [], "it is where it was said to be");
    net.ends[1].address = outer(9);
    net.send(1, 0, 3);
    net.run(seconds(1));
    assert_eq!(moved(&mut net), [FIRST]);
    net.send(1, 0, 4);
    net.run(seconds(1));
    assert_eq!(moved(&mut net), []);
    net.change(0, moved_to(outer(7)));
    assert_eq!(moved(&mut net), [FIRST]);
}

#[test]
fn a_keepalive_is_sent_when_it_is_turned_on_and_none_when_it_is_turned_off() {
    let mut net = Net::connected();
    net.run(seconds(20));
    net.clear_received();
    net.change(0, keepalive(25));
    assert_eq!(net.data_of(0).len(), 1);
    net.change(0, keepalive(25));
    net.run(seconds(24));
    assert_eq!(net.data_of(0).len(), 1);
    net.run(seconds(2));
    assert_eq!(net.data_of(0).len(), 2);
    net.run(seconds(12));
    net.change(0, keepalive(10));
    assert_eq!(net.data_of(0).len(), 3, "it is due by now");
    net.change(0, keepalive(0));
    net.run(seconds(60));
    assert_eq!(net.data_of(0).len(), 3);
    net.run(seconds(300));
    assert_eq!(net.deadline(0), None);
}

#[test]
fn a_keepalive_calls_a_peer_without_a_session() {
    let mut net = Net::pair();
    net.change(0, keepalive(25));
    net.run(seconds(1));
    assert!(net.is_up(0));
}

#[test]
fn a_prefix_moves_from_one_peer_to_another() {
    let mut net = Net::new([
        config(0, vec![reachable(1), reachable(2)]),
        config(1, vec![peer(0)]),
        config(2, vec![peer(0)]),
    ]);
    let [one, two] = [1, 2].map(|end| net.ends[0].tunnel.with_name(&format!("end {end}")).unwrap());
    let owns = |end: usize| PeerChange::default().with_allowed_ips(peer(end).allowed_ips);
    net.change_all(0, &[(one, owns(2)), (two, owns(1))]);
    let owner = |net: &Net, end| net.ends[0].tunnel.route(inner_address(end).into()).unwrap().peer;
    assert_eq!((owner(&net, 1), owner(&net, 2)), (two, one));
    net.send(0, 2, 7);
    net.run(seconds(1));
    assert_eq!((net.ends[1].numbers(), net.ends[2].numbers()), (vec![7], vec![]));
    // What it sends from an address that is another's now is not taken.
    net.send(1, 0, 8);
    net.run(seconds(1));
    assert!(net.ends[0].received.is_empty());
    assert_eq!(net.ends[0].count(Counter::DropSource), 1);
    let End { tunnel, monitor, .. } = &mut net.ends[0];
    tunnel.remove_peer(one, monitor, net.now);
    assert_eq!(net.ends[0].tunnel.route(inner_address(2).into()), None);
}

#[test]
fn a_peer_that_is_named_twice_takes_nothing_that_is_anothers() {
    let mut net = Net::new([config(0, vec![reachable(1), reachable(2)])]);
    let [one, two] = [1, 2].map(|end| net.ends[0].tunnel.with_name(&format!("end {end}")).unwrap());
    let owns = |end: usize| PeerChange::default().with_allowed_ips(peer(end).allowed_ips);
    net.change_all(0, &[(one, owns(2)), (one, owns(3))]);
    let owner = |end| net.ends[0].tunnel.route(inner_address(end).into()).map(|route| route.peer);
    assert_eq!([1, 2, 3].map(owner), [None, Some(two), Some(one)]);
}
