//! Tunnels come back: after loss, absence, restarts and moves, and without anybody's help.

use rand_chacha::rand_core::RngCore as _;

use crate::tunnel::tests::*;

#[test]
fn lost_handshakes_are_sent_again() {
    let mut net = Net::pair();
    let mut lost = 0;
    net.loses = Box::new(move |_, datagram| {
        lost += u32::from(datagram.is_initiation() || datagram.is_response());
        lost <= 3
    });
    net.send(0, 1, 1);
    net.run(seconds(14));
    assert!(net.ends[1].received.is_empty());
    net.run(seconds(2));
    assert_eq!(net.ends[1].numbers(), [1]);
}

#[test]
fn a_lost_confirmation_is_made_up_for() {
    let mut net = Net::pair();
    let mut data = 0;
    net.loses = Box::new(move |_, datagram| {
        data += u32::from(datagram.bytes[0] == 4);
        datagram.bytes[0] == 4 && data <= 2
    });
    net.send(0, 1, 1);
    net.run(seconds(1));
    net.send(0, 1, 2);
    net.run(seconds(1));
    assert_eq!(net.ends[1].numbers(), [2]);
}

/// WireGuard asks each 5 s, and whoever hears it again has to answer at once: also after it has
/// granted many sessions that nobody could use, and whether or not the asking began anew meanwhile.
#[test]
fn an_outage_of_one_direction_ends_when_it_ends() {
    let configs = [config(0, vec![kept_alive(1)]), config(1, vec![peer(0)])];
    for outage in (20..300).step_by(13) {
        for restarts in [true, false] {
            let mut net = Net::new(configs.clone());
            net.run(seconds(10));
            assert!(net.is_up(0));
            if restarts {
                net.restart(1, &configs[1]);
            }
            let until = net.now + seconds(outage);
            net.loses = Box::new(move |now, datagram| datagram.source == outer(1) && now < until);
            while net.now < until + seconds(6) {
                net.send(0, 1, 0);
                net.run(Duration::from_millis(50));
            }
            net.clear_received();
            net.send(0, 1, 1);
            net.send(1, 0, 2);
            net.run(seconds(1));
            assert_eq!(net.ends[0].numbers(), [2], "{outage} s, restarts: {restarts}");
            assert_eq!(net.ends[1].numbers(), [1], "{outage} s, restarts: {restarts}");
        }
    }
}

/// The peer's messages arrive all the time, and it has a session to send them by.
#[test]
fn a_session_in_use_outlives_any_number_of_answers_that_are_lost() {
    let mut net = Net::connected();
    net.loses = Box::new(|_, datagram| datagram.source == outer(1));
    net.clear_received();
    for number in 0..1000 {
        net.send(0, 1, number);
        net.run(Duration::from_millis(100));
    }
    let responses = net.sent.iter().filter(|(_, datagram)| datagram.is_response()).count();
    assert!(responses > 12, "{responses}");
    assert!(net.ends[1].numbers() == (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_peer_that_is_away_for_an_hour_comes_back_by_itself() {
    let mut net = Net::new([config(0, vec![kept_alive(1)]), config(1, vec![peer(0)])]);
    net.run(seconds(10));
    assert!(net.is_up(0));
    net.loses = Box::new(|_, _| true);
    net.run(seconds(3600));
    assert!(!net.is_up(0) && !net.is_up(1));
    let attempts = net.initiations_of(0);
    let longest = attempts.windows(2).map(|pair| pair[1] - pair[0]).skip(1).max();
    assert!(longest.unwrap() <= 36, "{attempts:?}");
    net.loses = Box::new(|_, _| false);
    net.run(seconds(36));
    assert!(net.is_up(0) && net.is_up(1));
    net.clear_received();
    net.send(0, 1, 1);
    net.send(1, 0, 2);
    net.run(seconds(1));
    assert_eq!((net.ends[0].numbers(), net.ends[1].numbers()), (vec![2], vec![1]));
}

#[test]
fn a_peer_that_was_never_there_is_tried_until_it_is() {
    let mut net = Net::new([config(0, vec![kept_alive(1)]), config(1, vec![peer(0)])]);
    net.loses = Box::new(|now, _| now < Instant::ZERO + seconds(2000));
    net.run(seconds(2036));
    assert!(net.is_up(0) && net.is_up(1));
}

#[test]
fn traffic_brings_a_tunnel_back_after_it_was_given_up() {
    let mut net = Net::pair();
    net.loses = Box::new(|_, _| true);
    net.send(0, 1, 1);
    net.run(seconds(3600));
    assert!(net.initiations_of(0).len() <= 36, "nobody asks any more");
    assert_eq!(net.deadline(0), None);
    net.loses = Box::new(|_, _| false);
    net.send(0, 1, 2);
    net.run(seconds(1));
    assert_eq!(net.ends[1].numbers(), [2]);
}

#[test]
fn traffic_that_goes_on_is_enough_to_never_give_up() {
    let mut net = Net::pair();
    net.loses = Box::new(|_, _| true);
    for number in 0..60 {
        net.send(0, 1, number);
        net.run(seconds(60));
    }
    net.loses = Box::new(|_, _| false);
    net.send(0, 1, 99);
    net.run(seconds(36));
    assert_eq!(net.ends[1].numbers().last(), Some(&99));
}

#[test]
fn either_end_may_restart() {
    for restarted in 0..2 {
        let configs = [config(0, vec![kept_alive(1)]), config(1, vec![reachable(0)])];
        let mut net = Net::new(configs.clone());
        net.run(seconds(1));
        net.converse(seconds(20), Duration::from_millis(500));
        net.restart(restarted, &configs[restarted]);
        net.clear_received();
        net.converse(seconds(20), Duration::from_millis(500));
        net.run(seconds(1));
        for end in &net.ends {
            assert_eq!(end.numbers().last(), Some(&39), "after a restart of {restarted}");
        }
    }
}

#[test]
fn a_peer_may_restart_again_and_again() {
    let configs = [config(0, vec![kept_alive(1)]), config(1, vec![peer(0)])];
    let mut net = Net::new(configs.clone());
    for _ in 0..20 {
        net.restart(0, &configs[0]);
        net.run(seconds(1));
        assert!(net.is_up(0));
    }
}

/// Timestamps of handshakes must grow, and a restarted end takes them from the wall clock.
#[test]
fn an_end_whose_clock_was_set_back_is_refused_until_it_has_caught_up() {
    let configs = [config(0, vec![kept_alive(1)]), config(1, vec![peer(0)])];
    let mut net = Net::new(configs.clone());
    net.converse(seconds(130), seconds(1));
    assert_eq!(net.initiations_of(0).len(), 2, "the last one two minutes ahead of the wall clock");
    net.restart(0, &configs[0]);
    net.run(seconds(100));
    assert!(!net.is_up(0));
    assert!(net.ends[1].count(Counter::DropHandshake) > 10);
    net.run(seconds(60));
    assert!(net.is_up(0) && net.is_up(1));
}

#[test]
fn a_peer_that_moves_is_followed() {
    let mut net = Net::connected();
    net.clear_received();
    let elsewhere = "198.51.100.9:1234".parse().unwrap();
    net.ends[0].address = elsewhere;
    net.send(0, 1, 1);
    net.run(seconds(1));
    assert_eq!(net.ends[1].endpoint(), Some(elsewhere));
    net.send(1, 0, 2);
    net.run(seconds(1));
    assert_eq!((net.ends[0].numbers(), net.ends[1].numbers()), (vec![2], vec![1]));
}

#[test]
fn answers_leave_from_the_address_that_the_peer_wrote_to() {
    let mut net = Net::connected();
    let End { tunnel, egress, monitor, .. } = &mut net.ends[1];
    let mut buffer = packet(inner_address(1), inner_address(0), 1, 100);
    tunnel.send(PeerId::first(0), &mut buffer, 100, egress, monitor, net.now);
    assert_eq!(egress.front().unwrap().source, Some(outer(1).ip()));
}

#[test]
fn only_what_is_authenticated_moves_the_endpoint() {
    let mut net = Net::connected();
    net.send(0, 1, 1);
    let (_, genuine) = net.sent.last().unwrap().clone();
    net.run(seconds(1));
    let elsewhere: SocketAddr = "198.51.100.9:1234".parse().unwrap();
    let replayed = Datagram { source: elsewhere, ..genuine.clone() };
    net.deliver(1, &replayed);
    let mut forged = replayed.clone();
    forged.bytes[8] += 1;
    net.deliver(1, &forged);
    assert_eq!(net.ends[1].endpoint(), Some(outer(0)));
    assert_eq!(net.ends[1].count(Counter::DropReplay), 1);
    assert_eq!(net.ends[1].count(Counter::DropAuthentication), 1);
}

#[test]
fn a_configured_address_is_tried_again_after_the_peer_moved_and_vanished() {
    let mut net = Net::new([config(0, vec![kept_alive(1)]), config(1, vec![kept_alive(0)])]);
    net.run(seconds(1));
    net.ends[1].address = "198.51.100.9:1234".parse().unwrap();
    net.run(seconds(60));
    assert_eq!(net.ends[0].endpoint(), Some(net.ends[1].address));
    // It is back at its old place, but behind a filter that lets nothing out unasked.
    net.ends[1].address = outer(1);
    net.loses = Box::new(|_, datagram| datagram.is_initiation() && datagram.source == outer(1));
    let configuration = config(1, vec![peer(0)]);
    net.restart(1, &configuration);
    // Keepalives ask for no answer: it is missed when the session has to be renewed.
    net.run(seconds(200));
    assert_eq!(net.ends[0].endpoint(), Some(outer(1)));
    assert!(net.is_up(0) && net.is_up(1));
}

/// Only handshakes look for the peer elsewhere: what a session carries would be lost there.
#[test]
fn data_of_a_live_session_stays_with_the_peer_while_handshakes_look_elsewhere() {
    let mut net = Net::connected();
    let moved = "198.51.100.9:4000".parse().unwrap();
    net.ends[1].address = moved;
    net.send(1, 0, 1);
    net.run(seconds(1));
    assert_eq!(net.ends[0].endpoint(), Some(moved));
    net.loses = Box::new(|_, datagram| datagram.is_initiation());
    net.clear_received();
    for number in 0..1350 {
        net.send(0, 1, number);
        net.run(Duration::from_millis(100));
    }
    assert_eq!(net.ends[1].numbers(), (0..1350).collect::<Vec<_>>());
    let sent = net.sent.iter().map(|(_, datagram)| datagram).filter(|d| d.source == outer(0));
    let (initiations, data): (Vec<_>, Vec<_>) = sent.partition(|d| d.is_initiation());
    assert!(data.iter().all(|datagram| datagram.destination == moved));
    for address in [moved, outer(1)] {
        assert!(initiations.iter().any(|datagram| datagram.destination == address), "{address}");
    }
}

/// Neither end may go deaf to the other, whatever gets lost, in whichever role.
#[test]
fn half_a_day_of_heavy_loss_cuts_nobody_off() {
    let peers = [kept_alive, reachable];
    for (first, second) in [(peers[0], peers[0]), (peers[0], peers[1]), (peers[1], peers[1])] {
        let mut net = Net::new([config(0, vec![first(1)]), config(1, vec![second(0)])]);
        let mut rng = ChaCha20Rng::from_seed([8; 32]);
        net.loses = Box::new(move |_, _| rng.next_u32() % 4 == 0);
        for minute in 0..12 * 60 {
            net.clear_received();
            for number in 0..12 {
                net.send(0, 1, number);
                net.run(Duration::from_millis(2700));
                net.send(1, 0, number);
                net.run(Duration::from_millis(2300));
            }
            for (index, end) in net.ends.iter().enumerate() {
                assert!(!end.received.is_empty(), "end {index} in minute {minute}");
            }
        }
    }
}
