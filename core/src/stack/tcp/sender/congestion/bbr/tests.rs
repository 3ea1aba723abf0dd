//! What the controller does on paths, told by the model of one; and event by event.

use std::time::Duration;

use super::model::{Bottleneck, Model, SEGMENT};
use super::phases::BbrPhase;
use super::{Bbr, Controller, Progress};
use crate::stack::tcp::sender::delivery::RateSample;
use crate::time::Instant;

const fn secs(value: u64) -> Duration {
    Duration::from_secs(value)
}

const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// Parts of a hundred of the link's rate.
fn percent(link: Bottleneck, rates: &[u64]) -> u64 {
    rates.iter().sum::<u64>() * 100 / link.rate
}

fn one(link: Bottleneck) -> Model {
    let mut model = Model::new(link);
    model.add(None);
    model
}

#[test]
fn a_path_is_used_whatever_it_loses_at_random() {
    for loss_ppm in [0, 1_000, 10_000, 20_000] {
        let link = Bottleneck { loss_ppm, ..Bottleneck::new(50, 60, 100) };
        let used = percent(link, &one(link).run(secs(12)));
        assert!(used >= 90, "{used} % with {loss_ppm} lost of a million");
    }
}

#[test]
fn bursts_of_losses_are_no_congestion() {
    let link = Bottleneck { loss_ppm: 2_000, burst: 5, ..Bottleneck::new(30, 80, 100) };
    let used = percent(link, &one(link).run(secs(12)));
    assert!(used >= 90, "{used} %");
}

#[test]
fn a_queue_is_short_once_the_path_is_known() {
    let link = Bottleneck::new(50, 60, 1_000);
    let mut model = one(link);
    model.run(secs(3));
    let used = percent(link, &model.run(secs(10)));
    assert!(used >= 90, "{used} %");
    assert!(model.mean_queue() < ms(15), "{:?}", model.mean_queue());
    assert_eq!(model.flows[0].lost, 0);
}

#[test]
fn a_shallow_queue_costs_little() {
    for queue_ms in [20, 2] {
        let link = Bottleneck::new(100, 40, queue_ms);
        let mut model = one(link);
        let used = percent(link, &model.run(secs(5)));
        assert!(used >= 85, "{used} % at first, with {queue_ms} ms");
        let (lost, sent) = (model.flows[0].lost, model.flows[0].sent);
        let used = percent(link, &model.run(secs(12)));
        assert!(used >= 92, "{used} % with {queue_ms} ms");
        let lost = (model.flows[0].lost - lost) * 1_000 / (model.flows[0].sent - sent);
        assert!(lost < 10, "{lost} of a thousand with {queue_ms} ms");
    }
}

#[test]
fn acknowledgements_in_lumps_leave_no_gap() {
    let link = Bottleneck { lump: ms(10), ..Bottleneck::new(40, 20, 100) };
    let used = percent(link, &one(link).run(secs(10)));
    assert!(used >= 90, "{used} %");
}

#[test]
fn two_flows_share() {
    for link in [
        Bottleneck::new(50, 60, 120),
        Bottleneck { loss_ppm: 10_000, ..Bottleneck::new(50, 60, 100) },
        Bottleneck::new(100, 40, 20),
    ] {
        let mut model = one(link);
        model.run(ms(1_500));
        model.add(None);
        model.run(secs(30));
        let rates = model.run(secs(30));
        assert!(percent(link, &rates) >= 90, "{rates:?}");
        let (low, high) = (rates[0].min(rates[1]), rates[0].max(rates[1]));
        assert!(high <= 2 * low, "{rates:?} on {link:?}");
    }
}

#[test]
fn a_rate_that_falls_and_rises_is_found_again() {
    for queue_ms in [100, 2_000] {
        let link = Bottleneck::new(50, 60, queue_ms);
        let mut model = one(link);
        model.run(secs(5));
        model.link.rate /= 20;
        model.run(secs(4));
        let used = percent(model.link, &model.run(secs(10)));
        assert!(used >= 85, "{used} % of the twentieth, {queue_ms}");
        assert!(model.mean_queue() < ms(200), "{:?}, {queue_ms}", model.mean_queue());
        model.link.rate = link.rate;
        model.run(secs(8));
        let used = percent(link, &model.run(secs(5)));
        assert!(used >= 90, "{used} % of the whole again, {queue_ms}");
    }
}

#[test]
fn a_round_trip_that_changes_is_found() {
    let link = Bottleneck::new(50, 60, 300);
    let mut model = one(link);
    model.run(secs(5));
    for round_trip_ms in [30, 200, 60] {
        model.link.round_trip = ms(round_trip_ms);
        model.run(secs(17));
        let found = model.flows[0].bbr.round_trip.get().unwrap();
        let allowed = ms(round_trip_ms)..ms(round_trip_ms + 5);
        assert!(allowed.contains(&found), "{found:?} for {round_trip_ms} ms");
        let used = percent(link, &model.run(secs(6)));
        assert!(used >= 85, "{used} % at {round_trip_ms} ms");
    }
}

#[test]
fn an_application_that_sends_little_leaves_the_estimate() {
    let link = Bottleneck::new(50, 60, 100);
    let mut model = one(link);
    model.run(secs(4));
    let known = model.flows[0].bbr.bandwidth.get();
    model.flows[0].set_source(Some(link.rate / 10), model.now);
    let rates = model.run(secs(20));
    assert!(percent(link, &rates).abs_diff(10) <= 1, "{rates:?}");
    assert!(model.flows[0].bbr.bandwidth.get() * 100 >= known * 95);
    model.flows[0].set_source(None, model.now);
    model.run(ms(500));
    let used = percent(link, &model.run(secs(2)));
    assert!(used >= 85, "{used} % at once when there is more to send");
}

#[test]
fn the_same_seed_is_the_same_flow() {
    let waits = |seed| {
        let mut bbr = Bbr::new(10 * SEGMENT, SEGMENT, None, seed, Instant::ZERO);
        let mut next = || {
            bbr.start_down(Instant::ZERO);
            format!("{:?}", bbr.cycle)
        };
        [next(), next(), next()]
    };
    assert_eq!(waits(1), waits(1));
    assert_ne!(waits(1), waits(2));
    assert_ne!(waits(1)[0], waits(1)[1]);
}

/// A flow that cruises at a megabyte a second over 100 ms, and what an acknowledgement says.
fn cruising() -> (Bbr, Progress, Instant) {
    let mut bbr = Bbr::new(10 * SEGMENT, SEGMENT, None, 1, Instant::ZERO);
    let mut now = Instant::ZERO;
    let mut progress = arrival();
    for _ in 0..60 {
        now += ms(20);
        progress.delivered_total += progress.delivered;
        let sample = progress.rate.as_mut().unwrap();
        sample.prior_delivered = progress.delivered_total.saturating_sub(100_000);
        bbr.handle_progress(&progress, now);
    }
    assert_eq!(bbr.phase, BbrPhase::Cruise);
    (bbr, progress, now)
}

fn arrival() -> Progress {
    Progress {
        acknowledged_to: 0,
        sent_to: 0,
        delivered: 20_000,
        delivered_total: 0,
        lost: 0,
        flight: 80_000,
        round_trip: Some(ms(100)),
        smoothed: Some(ms(100)),
        rate: Some(RateSample {
            rate: 1_000_000,
            delivered: 100_000,
            lost: 0,
            prior_delivered: 0,
            prior_in_flight: 100_000,
            is_app_limited: false,
        }),
        is_window_limited: false,
    }
}

#[test]
fn a_first_flight_leaves_at_once_or_over_the_known_round_trip() {
    let bbr = Bbr::new(10 * SEGMENT, SEGMENT, None, 1, Instant::ZERO);
    assert_eq!(bbr.pacing_rate(), None);
    assert_eq!(bbr.window(), 10 * SEGMENT);
    let mut bbr = Bbr::new(100_000, SEGMENT, Some(ms(100)), 1, Instant::ZERO);
    assert_eq!(bbr.pacing_rate(), Some(1_000_000));
    bbr.handle_progress(&arrival(), Instant::ZERO + ms(100));
    assert_eq!(bbr.pacing_rate().map(|rate| rate / 10_000), Some(277));
}

#[test]
fn losses_that_last_end_the_start() {
    for (is_recovering, is_ended) in [(true, true), (false, false)] {
        let mut bbr = Bbr::new(10 * SEGMENT, SEGMENT, None, 1, Instant::ZERO);
        let mut lossy = Progress { lost: 2 * SEGMENT, ..arrival() };
        for step in 0..=8 {
            if step == 1 && is_recovering {
                bbr.handle_congestion(100_000, 500_000, Instant::ZERO);
            }
            lossy.delivered_total += 20_000;
            let sample = lossy.rate.as_mut().unwrap();
            sample.rate *= 2;
            sample.lost = 30_000;
            sample.prior_delivered = if step == 8 { lossy.delivered_total } else { 0 };
            bbr.handle_progress(&lossy, Instant::ZERO + ms(20 * step));
        }
        assert_eq!(bbr.has_been_full(), is_ended);
        assert_eq!(bbr.bounds.flight.is_some(), is_ended);
    }
}

#[test]
fn a_cruising_flow_has_two_flights_at_most_and_paces() {
    let (bbr, ..) = cruising();
    assert!(bbr.has_been_full());
    let lump = bbr.aggregation.get();
    assert_eq!(bbr.window(), 200_000 + lump);
    assert_eq!(bbr.pacing_rate(), Some(988_281));
}

#[test]
fn a_recovery_leaves_the_window_as_it_was() {
    let (mut bbr, progress, now) = cruising();
    let window = bbr.window();
    bbr.handle_congestion(100_000, 500_000, now);
    let lost = Progress { lost: 2 * SEGMENT, ..progress };
    bbr.handle_progress(&lost, now + ms(1));
    bbr.handle_recovered(now + ms(100));
    assert!(bbr.window() >= window);
}

#[test]
fn an_expiry_sends_one_segment_and_an_undo_takes_it_back() {
    let (mut bbr, _, now) = cruising();
    let window = bbr.window();
    bbr.handle_expiry(now);
    assert_eq!(bbr.window(), SEGMENT);
    bbr.handle_sent(SEGMENT, SEGMENT, true, now);
    assert!(!bbr.is_idle_restart, "everything is lost, nothing was silent");
    bbr.handle_undo(now + ms(50));
    assert_eq!(bbr.window(), window);
}

/// The end of a lossy round behind a queue.
fn overflow(progress: &Progress) -> Progress {
    let mut overflow = *progress;
    overflow.delivered_total += 20_000;
    overflow.lost = 30_000;
    overflow.round_trip = Some(ms(190));
    let sample = overflow.rate.as_mut().unwrap();
    sample.rate = 500_000;
    sample.lost = 30_000;
    sample.prior_delivered = overflow.delivered_total;
    overflow
}

#[test]
fn an_overflow_slows_a_cruise_until_it_is_undone() {
    let (mut bbr, progress, now) = cruising();
    bbr.handle_congestion(100_000, 500_000, now);
    let mut lossy = overflow(&progress);
    for round in 1..=4 {
        bbr.handle_progress(&lossy, now + ms(20 * round));
        lossy.delivered_total += 20_000;
        lossy.rate.as_mut().unwrap().prior_delivered = lossy.delivered_total;
    }
    assert!(bbr.rate() < 800_000, "{}", bbr.rate());
    bbr.handle_undo(now + ms(100));
    assert_eq!(bbr.rate(), 1_000_000);
}

#[test]
fn an_undone_overflow_probes_again() {
    let (mut bbr, progress, now) = cruising();
    bbr.start_refill();
    let mut step = progress;
    for _ in 0..2 {
        step.delivered_total += 20_000;
        step.rate.as_mut().unwrap().prior_delivered = step.delivered_total;
        bbr.handle_progress(&step, now + ms(10));
    }
    assert_eq!(bbr.phase, BbrPhase::Up);
    bbr.handle_congestion(100_000, 500_000, now);
    bbr.handle_progress(&overflow(&step), now + ms(20));
    assert_eq!(bbr.phase, BbrPhase::Down);
    assert_eq!(bbr.bounds.flight, Some(100_000));
    bbr.handle_undo(now + ms(30));
    assert_eq!(bbr.phase, BbrPhase::Refill);
    assert_eq!(bbr.bounds.flight, None);
}

#[test]
fn a_silent_flow_goes_on_at_the_rate_of_the_path() {
    let (mut bbr, progress, now) = cruising();
    bbr.start_down(now);
    bbr.handle_progress(&Progress { flight: 150_000, ..progress }, now);
    assert_eq!(bbr.pacing_rate(), Some(887_908));
    bbr.handle_sent(SEGMENT, SEGMENT, true, now + secs(30));
    assert_eq!(bbr.pacing_rate(), Some(988_281), "not at the nine tenths of its phase");
    let next = Progress { delivered_total: progress.delivered_total + SEGMENT, ..progress };
    bbr.handle_progress(&next, now + secs(30) + ms(100));
    assert_ne!(bbr.phase, BbrPhase::ProbeRtt, "the silence was one");
}

#[test]
fn a_window_is_four_segments_at_least_and_follows_their_length() {
    let (mut bbr, mut progress, now) = cruising();
    bbr.bandwidth.limit(1_000);
    bbr.set_segment_len(500);
    progress.rate = None;
    progress.delivered = 500;
    bbr.handle_progress(&progress, now);
    let lump = bbr.aggregation.get();
    assert_eq!(bbr.window(), (200 + lump).max(3_000), "three quanta of two segments");
    bbr.phase = BbrPhase::ProbeRtt;
    bbr.handle_progress(&progress, now);
    assert_eq!(bbr.window(), 2_000);
}
