//! What a connection learnt serves the next, as long as it holds.

use super::*;
use crate::limits::{PATH_HOSTS_MAX, PATH_PROVED_LATELY, PATH_SIZE_SEARCH, PATH_SIZE_SEARCH_FIRST};

const PEER: PeerId = PeerId::first(3);
/// Ten segments.
const INITIAL: u64 = 13_800;

fn host(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(0) + Duration::from_secs(seconds)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A round over a path of 40 ms without a queue.
fn round(flight: u64) -> Learnt {
    let round_trip = Some(ms(40));
    Learnt {
        smoothed: round_trip,
        lowest: round_trip,
        variation: Some(ms(2)),
        round_trip,
        flight,
        delivered: flight,
        ..Learnt::default()
    }
}

fn paths_with(learnt: &Learnt) -> Paths {
    let mut paths = Paths::default();
    paths.learn(PEER, host(1), learnt, at(0));
    paths
}

fn first_flight(paths: &Paths, now: Instant) -> u64 {
    paths.hint(PEER, host(1), INITIAL, now).first_flight
}

const fn found(fits: u16, fails: u16) -> FoundSize {
    FoundSize { fits, fails: Some(fails), is_searched: true }
}

#[test]
fn an_unknown_path_begins_with_ten_segments_and_no_estimates() {
    let hint = Paths::default().hint(PEER, host(1), INITIAL, at(0));
    let nothing = Hint {
        smoothed: None,
        lowest: None,
        variation: None,
        rate: None,
        first_flight: INITIAL,
        reordering: None,
        packet_max: None,
    };
    assert_eq!(hint, nothing);
    assert!(!hint.resembles(ms(40)));
}

#[test]
fn the_next_flow_begins_with_twice_what_arrived_whole() {
    let mut paths = paths_with(&round(50_000));
    assert_eq!(first_flight(&paths, at(1)), 100_000);
    paths.learn(PEER, host(1), &round(100_000), at(1));
    assert_eq!(first_flight(&paths, at(1)), 200_000);
    paths.learn(PEER, host(1), &round(20_000), at(2));
    assert_eq!(first_flight(&paths, at(2)), 200_000, "a small page proves nothing against it");
    assert_eq!(first_flight(&paths, at(1) + PATH_PROVED_LATELY), 100_000, "that was a while ago");
    assert_eq!(first_flight(&paths, at(1) + PATH_LASTS), INITIAL, "and that is too old");
}

#[test]
fn a_flow_begins_with_half_of_what_the_path_holds_at_most() {
    let mut paths = paths_with(&round(500_000));
    // 5 Mbyte/s over 40 ms are 200,000 bytes.
    let full = Learnt { rate: Some(5_000_000), is_full: true, ..round(0) };
    paths.learn(PEER, host(1), &full, at(1));
    assert_eq!(first_flight(&paths, at(1)), 100_000);
    let slow = Learnt { rate: Some(50_000), is_full: true, ..round(0) };
    for _ in 0..60 {
        paths.learn(PEER, host(1), &slow, at(2));
    }
    assert_eq!(first_flight(&paths, at(2)), INITIAL, "it has become slow");
    assert_eq!(paths.hint(PEER, host(1), INITIAL, at(2)).rate, Some(50_000));
    let fast = Learnt { rate: Some(10_000_000), ..round(0) };
    paths.learn(PEER, host(1), &fast, at(3));
    assert_eq!(first_flight(&paths, at(3)), 200_000, "what was reached is no more than it holds");
}

#[test]
fn a_rate_that_the_sender_limited_measures_no_path() {
    let mut paths = paths_with(&round(50_000));
    let rounds = Learnt { rate: Some(345_000), ..round(13_800) };
    paths.learn(PEER, host(1), &rounds, at(1));
    assert_eq!(first_flight(&paths, at(1)), 100_000);
    // The same, while something waits on the way.
    let queued = Learnt { round_trip: Some(ms(80)), rate: Some(3_000_000), ..round(0) };
    paths.learn(PEER, host(1), &queued, at(1));
    assert_eq!(first_flight(&paths, at(1)), 60_000);
}

#[test]
fn what_others_of_the_peer_have_in_flight_is_left_to_them() {
    let mut paths = paths_with(&round(50_000));
    paths.account(PEER, 0, 30_000);
    paths.account(PEER, 0, 40_000);
    assert_eq!(first_flight(&paths, at(1)), INITIAL.max(100_000 - 70_000));
    paths.account(PEER, 40_000, 500_000);
    assert_eq!(first_flight(&paths, at(1)), INITIAL);
    paths.forget(PEER);
    paths.learn(PEER, host(1), &round(50_000), at(1));
    paths.account(PEER, 530_000, 10_000);
    paths.account(PEER, 9_000, 9_000);
    assert_eq!(first_flight(&paths, at(1)), 90_000);
    paths.account(PEER, 0, 500_000);
    paths.forget(PEER);
    paths.learn(PEER, host(1), &round(50_000), at(1));
    assert_eq!(first_flight(&paths, at(1)), INITIAL);
    paths.account(PEER, 500_000, 0);
    assert_eq!(first_flight(&paths, at(1)), 90_000, "flows go on when the peer moves");
}

#[test]
fn a_first_flight_that_fails_halves_what_was_proved() {
    let mut paths = paths_with(&round(100_000));
    paths.retreat(PEER, host(1), 200_000, 1_380, at(1));
    assert_eq!(first_flight(&paths, at(1)), 100_000);
    paths.retreat(PEER, host(1), 100_000, 0, at(1));
    assert_eq!(first_flight(&paths, at(1)), 50_000);
    for _ in 0..60 {
        paths.retreat(PEER, host(1), 50_000, 0, at(1));
    }
    assert_eq!(first_flight(&paths, at(1)), INITIAL);
}

#[test]
fn a_flight_that_was_too_large_for_the_path_is_not_tried_again() {
    let mut paths = paths_with(&round(100_000));
    paths.retreat(PEER, host(1), 200_000, 80_000, at(1));
    // What arrives of it proves as much again.
    paths.learn(PEER, host(1), &round(120_000), at(1));
    assert_eq!(first_flight(&paths, at(1)), 100_000);
    assert_eq!(first_flight(&paths, at(1) + PATH_PROVED_LATELY), 100_000);
    paths.learn(PEER, host(1), &round(200_000), at(2));
    assert_eq!(first_flight(&paths, at(2)), 400_000, "it was not, by now");
}

#[test]
fn round_trips_are_those_of_the_host() {
    let mut paths = paths_with(&round(0));
    let far = Learnt { smoothed: Some(ms(300)), lowest: Some(ms(280)), ..Learnt::default() };
    paths.learn(PEER, host(2), &far, at(1));
    let hint = paths.hint(PEER, host(1), INITIAL, at(1));
    assert_eq!(
        (hint.smoothed, hint.lowest, hint.variation),
        (Some(ms(40)), Some(ms(40)), Some(ms(2)))
    );
    assert!(hint.resembles(ms(45)) && hint.resembles(ms(79)) && hint.resembles(ms(25)));
    assert!(!hint.resembles(ms(81)) && !hint.resembles(ms(19)));
    let slower = Learnt { smoothed: Some(ms(50)), lowest: Some(ms(45)), ..Learnt::default() };
    paths.learn(PEER, host(1), &slower, at(2));
    let hint = paths.hint(PEER, host(1), INITIAL, at(2));
    assert_eq!((hint.smoothed, hint.lowest), (Some(ms(50)), Some(ms(40))));
    paths.learn(PEER, host(1), &slower, at(1) + PATH_LASTS);
    let hint = paths.hint(PEER, host(1), INITIAL, at(1) + PATH_LASTS);
    assert_eq!(hint.lowest, Some(ms(45)), "the path has become longer");
}

#[test]
fn reordering_is_the_tunnels_and_ends_where_the_last_flow_ended() {
    let mut paths = paths_with(&Learnt { reordering: Some(ms(9)), ..round(0) });
    paths.learn(PEER, host(2), &round(0), at(1));
    assert_eq!(paths.hint(PEER, host(7), INITIAL, at(1)).reordering, Some(ms(9)));
    paths.learn(PEER, host(2), &Learnt { reordering: Some(ms(5)), ..round(0) }, at(1));
    assert_eq!(paths.hint(PEER, host(7), INITIAL, at(1)).reordering, Some(ms(5)));
    assert_eq!(paths.hint(PEER, host(7), INITIAL, at(1) + PATH_LASTS).reordering, None);
}

#[test]
fn the_address_that_was_spoken_to_longest_ago_gives_way() {
    let mut paths = Paths::default();
    let many = u8::try_from(PATH_HOSTS_MAX).unwrap();
    for number in 0..many {
        paths.learn(PEER, host(number), &round(50_000), at(u64::from(number)));
    }
    let now = at(u64::from(many));
    paths.learn(PEER, host(0), &round(50_000), now);
    paths.learn(PEER, host(many), &round(50_000), now);
    let is_known = |number| paths.hint(PEER, host(number), INITIAL, now).smoothed.is_some();
    assert!(is_known(0) && !is_known(1) && is_known(2) && is_known(many));
}

#[test]
fn nothing_is_left_of_a_peer_that_moved_or_went() {
    let mut paths = paths_with(&round(50_000));
    paths.handle_size(PEER, host(1), found(1_320, 1_412), at(0));
    let unknown = Paths::default().hint(PEER, host(1), INITIAL, at(1));
    paths.forget(PEER);
    assert_eq!(paths.hint(PEER, host(1), INITIAL, at(1)), unknown);
    let mut paths = paths_with(&round(50_000));
    let next = PeerId { generation: PEER.generation + 1, ..PEER };
    assert_eq!(paths.hint(next, host(1), INITIAL, at(1)), unknown);
    paths.learn(next, host(1), &round(20_000), at(1));
    assert_eq!(paths.hint(PEER, host(1), INITIAL, at(1)), unknown);
    assert_eq!(paths.hint(next, host(1), INITIAL, at(1)).first_flight, 40_000);
    paths.remove(PEER);
    assert_eq!(paths.hint(next, host(1), INITIAL, at(1)).first_flight, 40_000);
    paths.remove(next);
    assert_eq!(paths.hint(next, host(1), INITIAL, at(1)), unknown);
}

#[test]
fn a_size_that_fits_is_every_flows_of_the_peer() {
    let mut paths = paths_with(&round(0));
    assert!(paths.handle_size(PEER, host(1), found(1_200, 1_420), at(0)));
    assert_eq!(paths.packet_max(PEER, host(9), at(1)), Some(1_200));
    assert!(!paths.handle_size(PEER, host(1), found(1_320, 1_412), at(1)), "larger is no matter");
    assert_eq!(paths.packet_max(PEER, host(9), at(1)), Some(1_320));
    assert_eq!(paths.state(PEER, at(1)).packet_max, Some(1_320));
    let all = FoundSize { fits: 1_420, fails: None, is_searched: true };
    assert!(!paths.handle_size(PEER, host(2), all, at(2)));
    assert_eq!(paths.packet_max(PEER, host(9), at(2)), None);
}

#[test]
fn a_size_that_fits_one_host_is_not_the_tunnels_while_larger_packets_reach_others() {
    let mut paths = paths_with(&Learnt { packet_arrived: 1_420, ..round(0) });
    assert!(paths.handle_size(PEER, host(2), found(576, 926), at(1)));
    assert_eq!(paths.packet_max(PEER, host(2), at(1)), Some(576));
    assert_eq!(paths.packet_max(PEER, host(1), at(1)), None);
    assert_eq!(paths.state(PEER, at(1)).packet_max, None);
    // Nothing large arrived any more.
    paths.handle_size(PEER, host(2), found(1_320, 1_412), at(100));
    assert_eq!(paths.packet_max(PEER, host(1), at(100)), Some(1_320));
    let larger = Learnt { packet_arrived: 1_420, ..round(0) };
    paths.learn(PEER, host(1), &larger, at(101));
    assert_eq!(paths.packet_max(PEER, host(1), at(101)), None, "that is no hole of the tunnel");
}

#[test]
fn one_flow_at_a_time_tries_larger_packets_again() {
    let mut paths = Paths::default();
    paths.handle_size(PEER, host(1), found(1_320, 1_412), at(0));
    let due = at(0) + PATH_SIZE_SEARCH;
    assert!(!paths.take_search(PEER, host(2), at(599)));
    assert!(paths.take_search(PEER, host(2), due));
    assert!(!paths.take_search(PEER, host(1), due));
    assert!(paths.take_search(PEER, host(1), due + PATH_SIZE_SEARCH));
    let unsearched = FoundSize { is_searched: false, ..found(1_200, 1_420) };
    paths.handle_size(PEER, host(1), unsearched, at(0));
    assert!(!paths.take_search(PEER, host(2), at(1)));
    assert!(paths.take_search(PEER, host(2), at(0) + PATH_SIZE_SEARCH_FIRST));
    assert_eq!(paths.packet_max(PEER, host(1), at(3_599)), Some(1_200));
    assert_eq!(paths.packet_max(PEER, host(1), at(3_600)), None, "nobody has asked for an hour");
}

#[test]
fn hosts_with_sizes_of_their_own_are_few() {
    let mut paths = paths_with(&Learnt { packet_arrived: 1_420, ..round(0) });
    for number in 2..200 {
        let now = at(1) + ms(number.into());
        paths.learn(PEER, host(1), &Learnt { packet_arrived: 1_420, ..round(0) }, now + ms(1));
        paths.handle_size(PEER, host(number), found(576, 926), now);
    }
    let known = (0..=255).filter(|n| paths.packet_max(PEER, host(*n), at(1)).is_some()).count();
    assert_eq!(known, PATH_HOSTS_MAX);
}

#[test]
fn what_is_known_can_be_read() {
    let mut paths = paths_with(&Learnt { rate: Some(1_000), lost: 1_000, ..round(99_000) });
    let far = Learnt { smoothed: Some(ms(90)), lowest: Some(ms(80)), rate: Some(500), ..round(0) };
    paths.learn(PEER, host(2), &far, at(1));
    let state = PathState {
        round_trip: Some(ms(90)),
        lowest_round_trip: Some(ms(40)),
        rate: Some(1_000),
        loss_permille: Some(10),
        packet_max: None,
    };
    assert_eq!(paths.state(PEER, at(1)), state);
    for _ in 0..1_000 {
        let clean = Learnt { delivered: 1 << 20, ..Learnt::default() };
        paths.learn(PEER, host(2), &clean, at(2));
    }
    assert_eq!(paths.state(PEER, at(2)).loss_permille, Some(0), "what is old counts less");
    assert_eq!(paths.state(PEER, at(2) + PATH_LASTS), PathState::default());
    assert_eq!(paths.state(PeerId::first(1), at(1)), PathState::default());
}
