use std::cell::Cell;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::path::{SEGMENT, Transfer, World};
use super::*;

const ON_TIME: Duration = Duration::ZERO;

/// True so many times in a million.
fn happens(rng: &mut ChaCha8Rng, per_million: u64) -> bool {
    rng.next_u64() % 1_000_000 < per_million
}

fn assert_sent(transfer: &Transfer, segments: u64) {
    let needed = segments * SEGMENT;
    let limit = needed + 2 * transfer.dropped;
    assert!(transfer.sent <= limit, "{transfer:?}, needed {needed}");
}

#[test]
fn a_clean_path_costs_nothing() {
    for window in [1, 2, 10, 1000] {
        let mut world = World::new(ms(20), |_, _| vec![ON_TIME]);
        world.window = window * SEGMENT;
        let transfer = world.transfer(2000, at(0));
        assert_eq!(transfer.sent, 2000 * SEGMENT, "window {window}");
        assert_eq!((transfer.episodes, transfer.expiries), (0, 0));
    }
}

#[test]
fn losses_cost_what_is_lost_and_little_more() {
    for seed in 0..60 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let per_million = [1_000, 10_000, 50_000, 200_000][seed as usize % 4];
        let round_trip = ms([1, 20, 150][seed as usize % 3]);
        let mut world = World::new(round_trip, |_, _| {
            if happens(&mut rng, per_million) { vec![] } else { vec![ON_TIME] }
        });
        world.window = [4, 50, 300][seed as usize / 4 % 3] * SEGMENT;
        let transfer = world.transfer(1500, at(0));
        // A flight so small that none of it tells of a loss is probed: one more for each loss.
        assert_sent(&transfer, 1500);
    }
}

#[test]
fn anything_at_once_ends() {
    for seed in 0..60 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut ack_rng = ChaCha8Rng::seed_from_u64(!seed);
        let mut world = World::new(ms(30), |_, _| {
            let late = Duration::from_micros(rng.next_u64() % 10_000);
            match rng.next_u64() % 20 {
                0 => vec![],
                1 => vec![ON_TIME, late],
                2 => vec![late],
                _ => vec![ON_TIME],
            }
        });
        world.is_ack_lost = Box::new(|| happens(&mut ack_rng, 100_000));
        world.window = [3, 40][seed as usize % 2] * SEGMENT;
        let transfer = world.transfer(1000, at(0));
        assert!(transfer.sent < 1000 * SEGMENT * 13 / 10, "{transfer:?}");
    }
}

#[test]
fn a_delay_of_200_ms_repeats_a_window_at_most_and_is_undone() {
    for (order, spike_ms) in [(true, 200), (false, 200), (true, 400)] {
        let (mut last, from) = (Instant::ZERO, at(300));
        let mut world = World::new(ms(20), move |_, now: Instant| {
            let is_in_it = now >= from && now < from + ms(spike_ms);
            let late = if order {
                // Everything waits until it is over.
                (from + ms(spike_ms)).saturating_duration_since(now)
            } else {
                ms(spike_ms)
            };
            let late = if is_in_it && (order || last < from) { late } else { ON_TIME };
            last = now;
            vec![late]
        });
        let transfer = world.transfer(6000, at(0));
        let twice = transfer.sent - 6000 * SEGMENT;
        assert!(twice <= world.window, "{twice} {transfer:?}");
        assert_eq!(transfer.episodes + transfer.expiries, transfer.undone, "{transfer:?}");
        if order && spike_ms == 200 {
            assert!(twice <= SEGMENT, "a probe: {twice}");
        }
    }
}

#[test]
fn a_lost_tail_is_repaired_within_two_round_trips_and_250_ms() {
    for round_trip in [1, 20, 80, 300] {
        for segments in [1, 2, 10, 40] {
            let mut world = World::new(ms(round_trip), |_, _| vec![ON_TIME]);
            world.loss.handle_round_trip(ms(round_trip));
            let clean = world.transfer(segments, at(0)).ended_at;
            let sent = Cell::new(0);
            let mut world = World::new(ms(round_trip), |_, _| {
                sent.set(sent.get() + 1);
                if sent.get() == segments { vec![] } else { vec![ON_TIME] }
            });
            world.loss.handle_round_trip(ms(round_trip));
            let transfer = world.transfer(segments, at(0));
            let longer = transfer.ended_at.saturating_duration_since(clean);
            assert!(longer <= ms(2 * round_trip + 250), "{segments}: {longer:?} {round_trip}");
            assert_eq!(transfer.sent, (segments + 1) * SEGMENT);
        }
    }
}

#[test]
fn fifty_in_a_row_are_one_episode_and_repaired_in_a_few_round_trips() {
    let mut world =
        World::new(
            ms(20),
            |number, _| if (300..350).contains(&number) { vec![] } else { vec![ON_TIME] },
        );
    let clean = World::new(ms(20), |_, _| vec![ON_TIME]).transfer(2000, at(0)).ended_at;
    let transfer = world.transfer(2000, at(0));
    assert_eq!((transfer.episodes, transfer.expiries, transfer.undone), (1, 0, 0));
    assert_eq!(transfer.sent, 2050 * SEGMENT);
    let longer = transfer.ended_at.saturating_duration_since(clean);
    assert!(longer <= ms(60), "{longer:?}");
}

#[test]
fn one_in_a_hundred_5_ms_late_is_learnt() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut world =
        World::new(ms(20), |_, _| vec![if happens(&mut rng, 10_000) { ms(5) } else { ON_TIME }]);
    let learning = world.transfer(2000, at(0));
    assert!(learning.sent <= 2004 * SEGMENT, "{learning:?}");
    let then = world.transfer(20_000, learning.ended_at);
    assert!(then.sent <= 20_001 * SEGMENT, "{then:?}");
    assert!(world.loss.reordering().is_some_and(|window| window < ms(21)));
}
