//! Short transfers, in round trips: the first of a peer as fast as RFC 6928 has it, later ones
//! faster, for the path is known by then. And what must not suffer from what is known: a path that
//! has become another, and a path with a hole for large datagrams.

use std::time::Duration;

use slipwire_worlds::link::Profile;
use slipwire_worlds::path::{PATHS, bottleneck};
use slipwire_worlds::traffic::{Traffic, Way};

/// A page, and what asks for it.
const PAGE: u64 = 50_000;
const REQUEST: u64 = 100;
const MIB: usize = 1 << 20;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two pages.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a page takes, there or back.
fn page(traffic: &mut Traffic, way: Way) -> Duration {
    let (up, down) = match way {
        Way::ForwardToGateway => (PAGE, REQUEST),
        Way::GatewayToForward => (REQUEST, PAGE),
    };
    let took = traffic.exchange(up, down, PATIENCE).unwrap_or(PATIENCE);
    traffic.run(PAUSE);
    took
}

/// What a path takes for a page by itself.
fn serialised(path: &Profile) -> Duration {
    path.rate.map_or(Duration::ZERO, |rate| Duration::from_millis(PAGE * 1_100 / rate))
}

/// Ten segments in the first round trip with data, twice as many in the next, the rest in the third
/// (RFC 6928): with the handshake four round trips, and a twentieth of that for pacing. With a path
/// that is known two, and what the first flight is spread over: 0.7 of the four.
#[test]
fn the_first_page_takes_four_round_trips_and_later_ones_less_than_three() {
    let mut faults = Vec::new();
    for (way, round_trip_ms) in
        Way::BOTH.into_iter().flat_map(|way| [(way, 20), (way, 50), (way, 100)])
    {
        let path = bottleneck(100, round_trip_ms, 100);
        let mut traffic = Traffic::new(path, MIB);
        let took = [(); 4].map(|()| page(&mut traffic, way));
        let trips = took.map(|time| time.as_secs_f64() * 1e3 / round_trip_ms as f64);
        eprintln!("{way:?}, {round_trip_ms} ms: {trips:.2?} round trips");
        let round_trip = Duration::from_millis(round_trip_ms);
        let spare = serialised(&path) + Duration::from_millis(2);
        let most = [42, 28, 28, 28].map(|tenths| round_trip * tenths / 10 + spare);
        if took.iter().zip(most).any(|(took, most)| *took > most) {
            faults.push(format!("{way:?}, {round_trip_ms} ms: {trips:.2?} round trips"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// A shallow queue is not overrun by a page that knows its path.
#[test]
fn no_page_is_lost_on_its_way_into_a_shallow_queue() {
    let shallow = bottleneck(100, 40, 20);
    for way in Way::BOTH {
        let mut traffic = Traffic::new(shallow, MIB);
        for _ in 0..6 {
            page(&mut traffic, way);
        }
        assert_eq!(traffic.link(way).account().data_lost, 0, "{way:?}");
    }
}

/// A peer that was on a fast path is on a slow one, with another address. A gateway hears of that
/// with the first datagram, and its next page is as the first of a peer. A client hears of its own
/// new address with the first answer: its first flight may be too much for the new path, and is
/// repaired in a round trip and a half.
#[test]
fn what_roamed_between_two_pages_costs_no_more_than_the_first_flight() {
    let (fast, slow) = (bottleneck(100, 40, 100), bottleneck(5, 40, 60));
    for way in Way::BOTH {
        let first = page(&mut Traffic::new(slow, MIB), way);
        let mut traffic = Traffic::new(fast, MIB);
        for _ in 0..4 {
            page(&mut traffic, way);
        }
        traffic.set_path(slow);
        traffic.world.client.roam("203.0.113.7:4000");
        let sent = traffic.sent(way);
        let later = [(); 2].map(|()| page(&mut traffic, way));
        let again = traffic.sent(way).since(sent).repeated;
        let lost = traffic.link(way).account().data_lost;
        eprintln!("{way:?}: first {first:?}, later {later:?}, {lost} lost, {again} bytes again");
        let repair = Duration::from_millis(60);
        let most = match way {
            Way::ForwardToGateway => [first + repair; 2],
            Way::GatewayToForward => [first, first + repair],
        };
        assert!(later[0] <= most[0] && later[1] <= most[1], "{way:?}: {later:?}, not {first:?}");
        assert!(again <= 2 * lost * 1_380, "{way:?}: {lost} lost, {again} bytes again");
    }
}

/// The hole is found by the first page, and not again by later ones.
#[test]
fn a_hole_for_large_datagrams_is_found_once_for_all() {
    let mut faults = Vec::new();
    let hole = PATHS.iter().find(|path| path.name == "hole").map(|path| path.profile);
    for (way, path) in Way::BOTH.into_iter().flat_map(|way| hole.map(|path| (way, path))) {
        let whole = Profile { mtu: usize::MAX, ..path };
        let mut clean = Traffic::new(whole, MIB);
        let clean = [(); 4].map(|()| page(&mut clean, way));
        let mut traffic = Traffic::new(path, MIB);
        let took = [(); 4].map(|()| page(&mut traffic, way));
        eprintln!("{way:?}: {took:?}, and without a hole {clean:?}");
        // A segment more for each thirty, and what the first flight is behind by.
        let round_trip = path.latency * 2;
        let is_known = |place: usize| took[place] <= clean[place] + round_trip;
        if took[0] > Duration::from_millis(1_500) || !(1..4).all(is_known) {
            faults.push(format!("{way:?}: {took:?}, and without a hole {clean:?}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
