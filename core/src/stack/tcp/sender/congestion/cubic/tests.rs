use super::super::narrow_path::{LEN, NarrowPath};
use super::*;

fn cubic(now: Instant) -> Cubic {
    Cubic::new(INITIAL_SEGMENTS * LEN, LEN, None, now)
}

/// What others have: the same without a ceiling, and without a way back.
struct OtherCubic(Cubic);

impl Controller for OtherCubic {
    fn handle_sent(&mut self, bytes: u64, flight: u64, was_idle: bool, now: Instant) {
        self.0.handle_sent(bytes, flight, was_idle, now);
    }

    fn handle_progress(&mut self, progress: &Progress, now: Instant) {
        self.0.ceiling = Ceiling::default();
        self.0.handle_progress(progress, now);
        self.0.ceiling = Ceiling::default();
    }

    fn handle_congestion(&mut self, flight: u64, sent_to: u64, now: Instant) {
        self.0.handle_congestion(flight, sent_to, now);
        self.0.refill = None;
    }

    fn handle_recovered(&mut self, now: Instant) {
        self.0.handle_recovered(now);
    }

    fn handle_expiry(&mut self, now: Instant) {
        self.0.handle_expiry(now);
        self.0.refill = None;
    }

    fn handle_undo(&mut self, now: Instant) {
        self.0.handle_undo(now);
    }

    fn set_segment_len(&mut self, len: u64) {
        self.0.set_segment_len(len);
    }

    fn window(&self) -> u64 {
        self.0.window()
    }

    fn pacing_rate(&self) -> Option<u64> {
        self.0.pacing_rate()
    }
}

/// One flow of ours over a path that has settled.
fn alone(mbit: u64, round_trip_ms: u64, queue_ms: u64) -> NarrowPath {
    let mut path = NarrowPath::new(mbit, round_trip_ms, queue_ms);
    path.add(cubic(path.now));
    path.run(5_000);
    path
}

#[test]
fn a_path_is_filled_and_its_queue_is_not() {
    let mut path = alone(100, 40, 100);
    for _ in 0..6 {
        let rates = path.run(5_000);
        let queue = path.mean_queue();
        assert!(rates[0] >= 99 && (5..45).contains(&queue), "{rates:?}, {queue} ms");
    }
    assert_eq!(path.flows[0].lost, 0);
}

#[test]
fn a_path_with_a_short_queue_is_filled_too() {
    let mut path = alone(100, 40, 20);
    let rates = path.run(20_000);
    assert!(rates[0] >= 95, "{rates:?}");
}

#[test]
fn a_long_fast_path_is_filled_at_once_and_back_soon_after_a_loss() {
    for lost in [1, 2, 50] {
        let mut path = alone(1000, 50, 8);
        let rates = path.run(1_000);
        assert!(rates[0] >= 98, "{rates:?}");
        path.drop_next = lost;
        path.run(500);
        let rates = path.run(500);
        assert!(rates[0] >= 90, "{lost} lost: {rates:?}");
    }
}

#[test]
fn half_a_window_lost_is_made_good_in_ten_round_trips() {
    for (mbit, round_trip) in [(400, 20), (160, 50), (1000, 50)] {
        let mut path = alone(mbit, round_trip, 10);
        path.drop_next = mbit * 125 * round_trip / LEN / 2;
        path.run(10 * round_trip);
        let rates = path.run(10 * round_trip);
        assert!(rates[0] >= 60, "{mbit} Mbit/s, {round_trip} ms: {rates:?}");
    }
}

#[test]
fn slow_start_finds_a_queue_before_it_overflows() {
    for (mbit, round_trip, queue_ms) in [(100, 40, 40), (100, 40, 100), (50, 60, 50)] {
        let mut path = NarrowPath::new(mbit, round_trip, queue_ms);
        path.add(cubic(path.now));
        path.run(2_000);
        assert_eq!(path.flows[0].lost, 0, "{mbit} Mbit/s, {round_trip} ms");
        assert!(path.run(1_000)[0] >= 99, "{mbit} Mbit/s, {round_trip} ms");
    }
}

#[test]
fn random_losses_cost_less_than_they_cost_others() {
    for (mbit, round_trip, one_of) in [(50, 60, 1000), (50, 60, 100), (100, 100, 10_000)] {
        let rate = |is_ours| {
            let mut path = NarrowPath::new(mbit, round_trip, 100);
            path.one_lost_of = Some(one_of);
            let now = path.now;
            if is_ours {
                path.add(cubic(now))
            } else {
                path.add(OtherCubic(cubic(now)))
            }
            path.run(30_000)[0]
        };
        let (ours, others) = (rate(true), rate(false));
        assert!(ours >= others, "one of {one_of}: {ours} and {others} %");
    }
}

#[test]
fn shares_beside_others_are_fair() {
    let (first, late) = (true, false);
    for (others, queue_ms, is_first) in [
        (1, 20, late),
        (1, 40, first),
        (1, 160, first),
        (1, 160, late),
        (4, 20, late),
        (4, 160, late),
    ] {
        let mut path = NarrowPath::new(100, 40, queue_ms);
        if is_first {
            path.add(cubic(path.now));
            path.run(3_000);
        }
        for _ in 0..others {
            path.add(OtherCubic(cubic(path.now)));
        }
        if !is_first {
            path.run(3_000);
            path.add(cubic(path.now));
        }
        path.run(20_000);
        let rates = path.run(30_000);
        let ours = if is_first { rates[0] } else { rates[others] };
        let fair = 100 / (others as u64 + 1);
        let is_fair = ours >= fair / 2 && ours <= 2 * fair;
        assert!(is_fair, "{others} others, {queue_ms} ms, first {is_first}: {rates:?}");
    }
}

/// An acknowledgement of `delivered` bytes with `flight` before it, after a round trip.
fn acknowledgement(delivered: u64, flight: u64, total: u64, millis: u64) -> Progress {
    let round_trip = Some(Duration::from_millis(millis));
    Progress {
        acknowledged_to: total,
        sent_to: total + flight,
        delivered,
        delivered_total: total,
        lost: 0,
        flight: flight - delivered,
        round_trip,
        smoothed: round_trip,
        rate: None,
        is_window_limited: true,
    }
}

const fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

/// A flow that has sent its first flight.
fn started(round_trip: Option<Duration>) -> Cubic {
    let mut cubic = Cubic::new(10 * LEN, LEN, round_trip, at(0));
    for sent in 1..=10 {
        cubic.handle_sent(LEN, sent * LEN, sent == 1, at(0));
    }
    cubic
}

#[test]
fn slow_start_doubles_the_window_only_if_that_is_used() {
    let mut cubic = started(None);
    cubic.handle_progress(&acknowledgement(10 * LEN, 10 * LEN, 10 * LEN, 40), at(40));
    assert_eq!(cubic.window(), 20 * LEN);
    for round in 2..5 {
        let unused = Progress {
            is_window_limited: false,
            ..acknowledgement(5 * LEN, 5 * LEN, round * 10 * LEN, 40)
        };
        cubic.handle_progress(&unused, at(40 * round));
    }
    assert!(cubic.window() <= 30 * LEN, "{}", cubic.window());
}

#[test]
fn a_needless_repair_is_taken_back() {
    let mut cubic = started(None);
    cubic.handle_congestion(10 * LEN, 10 * LEN, at(50));
    assert_eq!(cubic.threshold, 7 * LEN);
    cubic.handle_recovered(at(90));
    assert_eq!(cubic.window(), 7 * LEN);
    cubic.handle_undo(at(100));
    assert_eq!((cubic.window(), cubic.threshold), (10 * LEN, u64::MAX));
}

#[test]
fn an_expiry_counts_once_and_is_taken_back_whole() {
    let mut cubic = started(None);
    for millis in [250, 650, 1450] {
        cubic.handle_expiry(at(millis));
        assert_eq!((cubic.window(), cubic.threshold), (LEN, 7 * LEN));
    }
    cubic.handle_undo(at(1500));
    assert_eq!(cubic.window(), 10 * LEN);
}

#[test]
fn a_loss_that_the_timer_found_may_be_repeated_at_once() {
    let mut cubic = started(None);
    cubic.handle_congestion(10 * LEN, 10 * LEN, at(50));
    assert_eq!(cubic.window(), 10 * LEN, "nine are in flight");
}

#[test]
fn only_paths_with_a_long_round_trip_are_paced() {
    let mut cubic = started(None);
    assert_eq!(cubic.pacing_rate(), None, "the first flight of an unknown path");
    cubic.handle_progress(&acknowledgement(LEN, 10 * LEN, LEN, 2), at(2));
    assert_eq!(cubic.pacing_rate(), None);
    cubic.handle_progress(&acknowledgement(LEN, 9 * LEN, 2 * LEN, 10), at(10));
    assert_eq!(cubic.pacing_rate(), Some(2 * 12 * LEN * 100));
}

#[test]
fn a_large_first_flight_is_paced_over_one_round_trip() {
    let round_trip = Some(Duration::from_millis(40));
    let large = Cubic::new(40 * LEN, LEN, round_trip, at(0));
    assert_eq!(large.pacing_rate(), Some(40 * LEN * 25));
    assert_eq!(started(round_trip).pacing_rate(), None, "ten segments may leave at once");
}

#[test]
fn a_long_rest_makes_the_path_unknown_again() {
    let mut cubic = started(None);
    for round in 1..5 {
        let flight = (10 * LEN) << (round - 1);
        let total = 10 * LEN * ((1 << round) - 1);
        cubic.handle_progress(&acknowledgement(flight, flight, total, 40), at(40 * round));
    }
    let window = cubic.window();
    assert!(window >= 80 * LEN, "{window}");
    cubic.handle_sent(LEN, LEN, true, at(5_000));
    assert_eq!(cubic.window(), window, "it is paced");
    cubic.handle_sent(LEN, LEN, true, at(20_000));
    assert_eq!(cubic.window(), 10 * LEN);
}
