//! Handshakes, sessions and keepalives between ends that mean well.

use crate::tunnel::tests::*;

#[test]
fn traffic_brings_a_tunnel_up_and_nothing_is_lost() {
    let mut net = Net::pair();
    for number in 0..10 {
        net.send(0, 1, number);
    }
    net.run(seconds(1));
    net.send(1, 0, 7);
    net.run(seconds(1));
    assert_eq!(net.ends[1].numbers(), (0..10).collect::<Vec<_>>());
    assert_eq!(net.ends[0].numbers(), [7]);
    for end in &net.ends {
        assert_eq!(end.count(Counter::Handshakes), 1);
    }
}

#[test]
fn packets_queued_by_a_responder_leave_once_the_session_is_confirmed() {
    let mut net = Net::new([config(0, vec![reachable(1)]), config(1, vec![reachable(0)])]);
    net.loses = Box::new(|_, datagram| datagram.is_initiation() && datagram.source == outer(1));
    for number in 0..5 {
        net.send(1, 0, number);
    }
    net.send(0, 1, 9);
    net.run(seconds(1));
    assert_eq!(net.ends[0].numbers(), [0, 1, 2, 3, 4]);
}

#[test]
fn handshakes_that_cross_leave_both_ends_connected() {
    let mut net = Net::new([config(0, vec![kept_alive(1)]), config(1, vec![kept_alive(0)])]);
    assert_eq!((net.initiations_of(0), net.initiations_of(1)), (vec![0], vec![0]));
    net.run(seconds(1));
    let rounds = net.converse(seconds(10), Duration::from_millis(100));
    net.run(seconds(1));
    for end in &net.ends {
        assert_eq!(end.received.len(), rounds as usize);
    }
}

#[test]
fn what_waits_for_handshakes_that_cross_is_carried_both_ways() {
    let mut net = Net::new([config(0, vec![kept_alive(1)]), config(1, vec![kept_alive(0)])]);
    net.send(0, 1, 0);
    net.send(1, 0, 0);
    net.run(seconds(1));
    assert_eq!((net.ends[0].numbers(), net.ends[1].numbers()), (vec![0], vec![0]));
}

#[test]
fn a_preshared_key_has_to_match() {
    let with_key = |end: usize, key: u8| {
        let preshared_key = Some(PresharedKey::from_entropy([key; 32]));
        let peer = config::Peer { preshared_key, ..reachable(1 - end) };
        config(end, vec![peer])
    };
    let mut net = Net::new([with_key(0, 5), with_key(1, 5)]);
    net.send(0, 1, 1);
    net.run(seconds(1));
    assert_eq!(net.ends[1].numbers(), [1]);

    let mut net = Net::new([with_key(0, 5), with_key(1, 6)]);
    net.send(0, 1, 1);
    net.run(seconds(1));
    assert!(net.ends[1].received.is_empty() && !net.is_up(0));
    assert_eq!(net.ends[0].count(Counter::DropHandshake), 1);
}

#[test]
fn sessions_are_renewed_without_a_gap() {
    let mut net = Net::connected();
    net.clear_received();
    let rounds = net.converse(seconds(600), Duration::from_millis(200));
    net.run(seconds(1));
    let expected: Vec<u32> = (0..rounds).collect();
    for end in &net.ends {
        assert_eq!(end.numbers(), expected);
        assert_eq!(end.count(Counter::Handshakes), 5 + 1, "one each two minutes");
    }
    assert!(net.initiations_of(1).is_empty(), "the initiator renews");
}

#[test]
fn sessions_are_renewed_while_only_the_responder_sends() {
    let mut net = Net::connected();
    net.clear_received();
    for number in 0..3000 {
        net.send(1, 0, number);
        net.run(Duration::from_millis(200));
    }
    net.run(seconds(1));
    assert_eq!(net.ends[0].numbers(), (0..3000).collect::<Vec<_>>());
}

#[test]
fn keepalives_alone_keep_a_session_without_a_gap() {
    let mut net = Net::new([config(0, vec![kept_alive(1)]), config(1, vec![peer(0)])]);
    net.run(seconds(1));
    for number in 0..1000 {
        net.run(Duration::from_millis(999));
        assert!(net.is_up(0) && net.is_up(1), "after {number} seconds");
    }
    let initiations = net.initiations_of(0);
    assert!(initiations.windows(2).all(|pair| pair[1] - pair[0] < 180), "{initiations:?}");
    let keepalives = net.sent.iter().filter(|(_, d)| d.bytes.len() == DATA_OVERHEAD).count();
    assert!((40..=60).contains(&keepalives), "{keepalives} in 1000 seconds");
}

#[test]
fn persistent_keepalive_starts_the_first_handshake_at_once() {
    let net = Net::new([config(0, vec![kept_alive(1)]), config(1, vec![peer(0)])]);
    assert_eq!(net.initiations_of(0), [0]);
}

#[test]
fn a_session_ends_after_three_minutes_both_ways() {
    let mut net = Net::connected();
    net.send(0, 1, 1);
    let (_, late) = net.sent.last().unwrap().clone();
    net.run(seconds(1));
    net.loses = Box::new(|_, datagram| datagram.is_initiation());
    // No event wakes the receiver in between: the datagram itself must find the session dead.
    net.now += seconds(180);
    net.clear_received();
    let before = net.ends[1].count(Counter::DropNoSession);
    net.deliver(1, &late);
    assert_eq!(net.ends[1].count(Counter::DropNoSession), before + 1);
    net.send(0, 1, 2);
    let data = net.sent.iter().filter(|(_, d)| d.bytes[0] == 4).count();
    assert_eq!(data, 0, "nothing is encrypted with a dead session");
}

#[test]
fn idle_peers_have_no_deadline() {
    let mut net = Net::pair();
    assert_eq!((net.deadline(0), net.deadline(1)), (None, None));
    net.send(0, 1, 1);
    net.run(seconds(200));
    assert_eq!((net.deadline(0), net.deadline(1)), (None, None));
    assert!(!net.is_up(0) && !net.is_up(1));
}

#[test]
fn a_quiet_session_costs_a_handful_of_wakeups() {
    let mut net = Net::connected();
    net.run(seconds(20));
    let mut wakeups = 0;
    while let Some(due) = net.deadline(0) {
        net.run(due.saturating_duration_since(net.now));
        wakeups += 1;
        assert!(wakeups < 30, "in the life of a session");
    }
    assert!(!net.is_up(0));
}

#[test]
fn early_and_repeated_timeouts_do_nothing() {
    let mut net = Net::connected();
    let sent = net.sent.len();
    for _ in 0..1000 {
        net.fire(0);
        net.fire(1);
    }
    assert_eq!(net.sent.len(), sent);
}

#[test]
fn engines_of_one_thread_may_have_different_epochs() {
    let hours = |hours: u64| seconds(hours * 3600);
    let mut net = Net::with_epochs([
        (config(0, vec![reachable(1)]), hours(100_000)),
        (config(1, vec![peer(0)]), Duration::ZERO),
    ]);
    net.send(0, 1, 0);
    net.run(seconds(1));
    net.clear_received();
    let rounds = net.converse(seconds(400), Duration::from_millis(500));
    net.run(seconds(1));
    for end in &net.ends {
        assert_eq!(end.received.len(), rounds as usize);
    }
}

#[test]
fn time_that_runs_backwards_stands_still() {
    let mut net = Net::connected();
    net.clear_received();
    net.now = Instant::ZERO;
    net.send(0, 1, 1);
    net.run(seconds(1));
    assert_eq!(net.ends[1].numbers(), [1]);
}
