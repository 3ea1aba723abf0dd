//! Promises of loss recovery: by hand here, over a path in [`over_path`], to a far end that lies in
//! [`liar`].

#![allow(clippy::single_range_in_vec_init, reason = "a block is a range")]

mod liar;
mod over_path;
mod path;

use super::*;

pub(super) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

pub(super) const STAMP: Stamp = Stamp {
    delivered: 0,
    delivered_at: Instant::ZERO,
    first_sent_at: Instant::ZERO,
    in_flight: 0,
    lost: 0,
    is_app_limited: false,
};

/// Sums of what it hears.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) segments: Vec<u64>,
}

impl Witness for Sums {
    fn handle_delivered(&mut self, fate: &Fate, _: Instant) {
        self.delivered += fate.bytes;
        if self.segments.len() < 100 {
            self.segments.push(fate.segment_len);
        }
    }

    fn handle_lost(&mut self, fate: &Fate) {
        self.lost += fate.bytes;
    }
}

/// A sender of segments of 100 bytes on a path of 100 ms.
struct Hand {
    loss: LossRecovery,
    sums: Sums,
}

impl Hand {
    fn new() -> Self {
        let mut loss = LossRecovery::new(0, &LossHint::default());
        loss.handle_round_trip(ms(100));
        Self { loss, sums: Sums::default() }
    }

    /// Sends segments, one each millisecond from `from_ms` on.
    fn send(&mut self, segments: u64, from_ms: u64) {
        for number in 0..segments {
            let start = self.loss.sent_to();
            self.loss.handle_sent(start..start + 100, STAMP, at(from_ms + number));
        }
    }

    fn repeat(&mut self, now_ms: u64) -> Range<u64> {
        let lost = self.loss.next_lost(100).unwrap();
        self.loss.handle_sent(lost.clone(), STAMP, at(now_ms));
        lost
    }

    fn acknowledge(&mut self, to: u64, blocks: &[Range<u64>], now_ms: u64) -> AckReport {
        let ack = Acknowledgement { to, blocks };
        self.loss.handle_acknowledgement(&ack, &mut self.sums, at(now_ms)).unwrap()
    }

    fn expire(&mut self) -> (Instant, Expiry) {
        let now = self.loss.deadline().unwrap();
        (now, self.loss.handle_timeout(&mut self.sums, now))
    }
}

#[test]
fn three_segments_behind_a_gap_show_a_loss_and_an_episode_ends_with_its_repair() {
    let mut hand = Hand::new();
    hand.send(10, 0);
    assert_eq!(hand.acknowledge(0, &[100..300], 102).lost, 0);
    let report = hand.acknowledge(0, &[100..400], 103);
    assert_eq!((report.lost, report.events.began), (100, true));
    assert_eq!(hand.repeat(103), 0..100);
    assert_eq!(hand.loss.flight(), 700);
    let report = hand.acknowledge(0, &[100..1000], 109);
    assert!(!report.events.recovered && hand.loss.is_recovering());
    let report = hand.acknowledge(1000, &[], 203);
    assert!(report.events.recovered && !hand.loss.is_recovering());
    assert_eq!((hand.sums.delivered, hand.sums.lost), (1000, 100));
}

#[test]
fn a_gap_behind_which_little_came_is_a_loss_after_a_quarter_of_a_round_trip() {
    let mut hand = Hand::new();
    hand.send(2, 0);
    hand.acknowledge(0, &[100..200], 101);
    let (now, expiry) = hand.expire();
    assert_eq!(now, at(125));
    assert_eq!(expiry, Expiry::Lost { lost: 100, began: true });
}

#[test]
fn a_repeat_that_is_lost_is_noticed_and_no_second_episode() {
    let mut hand = Hand::new();
    hand.send(10, 0);
    hand.acknowledge(0, &[100..400], 103);
    hand.repeat(103);
    hand.send(3, 104);
    let report = hand.acknowledge(0, &[100..1300], 206);
    assert_eq!((report.lost, report.events.began), (100, false));
}

#[test]
fn a_lone_segment_is_asked_after_then_sent_again_ever_more_rarely() {
    let mut hand = Hand::new();
    hand.send(1, 0);
    assert_eq!(hand.expire(), (at(300), Expiry::Probe(0..100)), "as soon as it would expire");
    hand.loss.handle_sent(0..100, STAMP, at(300));
    let mut since = 300;
    for factor in [1, 2, 4, 8] {
        let (now, expiry) = hand.expire();
        assert_eq!(now, at(since + 300 * factor));
        assert_eq!(expiry, Expiry::Expired { lost: 100 });
        since += 300 * factor;
        hand.repeat(since);
    }
    let report = hand.acknowledge(100, &[], since + 100);
    assert!(report.events.recovered && report.round_trip.is_none());
    // Karn's algorithm: which of them came is not known, so nor is how long that took.
    assert_eq!((hand.loss.deadline(), hand.loss.timeout()), (None, ms(300 * 16)));
    hand.send(1, since + 200);
    hand.acknowledge(200, &[], since + 300);
    assert_eq!(hand.loss.timeout(), ms(300));
}

#[test]
fn a_probe_that_repaired_is_a_loss_and_one_that_came_twice_is_none() {
    for is_needless in [false, true] {
        let mut hand = Hand::new();
        hand.send(2, 0);
        assert_eq!(hand.expire(), (at(201), Expiry::Probe(100..200)));
        hand.loss.handle_sent(100..200, STAMP, at(201));
        if is_needless {
            hand.acknowledge(200, &[], 202);
            hand.acknowledge(200, &[100..200], 301);
        } else {
            hand.acknowledge(200, &[], 301);
        }
        hand.send(1, 302);
        let report = hand.acknowledge(300, &[], 402);
        assert_eq!(report.events.repaired_by_probe, !is_needless);
        assert!(hand.loss.reordering().is_none(), "a probe says nothing of order");
    }
}

#[test]
fn losses_that_all_came_twice_are_undone_and_widen_the_window() {
    let mut hand = Hand::new();
    hand.send(10, 0);
    assert!(hand.acknowledge(0, &[200..500], 104).events.began);
    hand.repeat(104);
    hand.repeat(104);
    let report = hand.acknowledge(1000, &[], 109);
    assert!(report.events.recovered);
    assert!(!hand.acknowledge(1000, &[0..100], 204).events.undone);
    let report = hand.acknowledge(1000, &[100..200], 204);
    assert!(report.events.undone && report.duplicate == 100);
    assert_eq!(hand.loss.reordering(), Some(ms(50)));
    hand.send(5, 300);
    assert_eq!(hand.acknowledge(1000, &[1100..1500], 404).lost, 0);
    assert_eq!(hand.loss.deadline(), Some(at(300 + 100 + 50)));
}

#[test]
fn what_comes_late_teaches_without_a_repeat() {
    let mut hand = Hand::new();
    hand.send(3, 0);
    hand.acknowledge(0, &[100..200], 101);
    hand.acknowledge(300, &[], 140);
    assert_eq!(hand.loss.reordering(), Some(ms(50)), "40 ms late, and a quarter of that");
    hand.send(5, 200);
    assert_eq!(hand.acknowledge(300, &[400..800], 304).lost, 0);
}

#[test]
fn a_timer_that_expired_too_soon_is_undone_at_once() {
    let mut hand = Hand::new();
    hand.send(10, 0);
    assert!(matches!(hand.expire().1, Expiry::Probe(_)));
    hand.loss.handle_sent(900..1000, STAMP, at(209));
    let (now, expiry) = hand.expire();
    assert_eq!((now, expiry), (at(509), Expiry::Expired { lost: 1000 }));
    assert_eq!(hand.repeat(509), 0..100);
    let report = hand.acknowledge(100, &[], 520);
    assert!(report.events.undone && !hand.loss.is_recovering());
    assert_eq!((hand.loss.next_lost(100), hand.loss.flight()), (None, 900));
}

#[test]
fn a_timer_that_expired_rightly_is_not_undone() {
    let mut hand = Hand::new();
    hand.send(10, 0);
    hand.expire();
    hand.loss.handle_sent(900..1000, STAMP, at(209));
    hand.expire();
    hand.repeat(509);
    let report = hand.acknowledge(900, &[], 609);
    assert!(!report.events.undone && hand.loss.is_recovering());
    assert_eq!(hand.repeat(609), 900..1000);
    assert!(hand.acknowledge(1000, &[], 709).events.recovered);
}

#[test]
fn what_was_sent_just_now_survives_the_timer() {
    let mut hand = Hand::new();
    hand.send(2, 0);
    hand.acknowledge(100, &[], 100);
    hand.send(1, 390);
    hand.loss.probe_at = None;
    let (now, expiry) = hand.expire();
    assert_eq!((now, expiry), (at(400), Expiry::Expired { lost: 100 }));
    assert_eq!(hand.loss.flight(), 100);
}

#[test]
fn a_far_end_that_drops_what_it_had_gets_it_again() {
    let mut hand = Hand::new();
    hand.send(5, 0);
    hand.acknowledge(0, &[100..500], 104);
    hand.repeat(104);
    hand.acknowledge(100, &[], 205);
    assert_eq!(hand.loss.flight(), 0);
    let (now, expiry) = hand.expire();
    assert_eq!((now, expiry), (at(505), Expiry::Expired { lost: 400 }));
    assert_eq!(hand.loss.next_lost(1000), Some(100..500));
}

#[test]
fn segments_too_long_for_the_path_are_lost_without_an_episode() {
    let mut hand = Hand::new();
    hand.send(2, 0);
    hand.loss.handle_sent(200..260, STAMP, at(3));
    assert_eq!(hand.loss.lose_above(60), 200);
    assert_eq!((hand.loss.next_lost(1000), hand.loss.is_recovering()), (Some(0..200), false));
    assert_eq!(hand.loss.flight(), 60);
}

#[test]
fn a_witness_hears_of_lengths_as_they_were_sent_last() {
    let mut hand = Hand::new();
    hand.send(5, 0);
    hand.acknowledge(0, &[100..500], 105);
    hand.loss.handle_sent(0..70, STAMP, at(105));
    hand.loss.handle_sent(70..100, STAMP, at(105));
    hand.acknowledge(30, &[], 205);
    hand.acknowledge(500, &[], 206);
    assert_eq!(hand.sums.segments, [100, 100, 100, 100, 0, 70]);
    assert_eq!(hand.sums.delivered, 500);
}

#[test]
fn what_was_never_sent_can_not_be_acknowledged() {
    let mut hand = Hand::new();
    hand.send(1, 0);
    let ack = Acknowledgement { to: 101, blocks: &[] };
    let result = hand.loss.handle_acknowledgement(&ack, &mut hand.sums, at(1));
    assert_eq!(result.err(), Some(Unsent));
    assert_eq!((hand.loss.flight(), hand.sums.delivered), (100, 0));
}

#[test]
fn lost_bytes_that_wait_for_their_turn_let_no_timer_expire() {
    let mut hand = Hand::new();
    hand.send(5, 0);
    hand.acknowledge(0, &[100..500], 105);
    assert_eq!(hand.loss.deadline(), None);
    hand.repeat(5000);
    assert!(hand.loss.deadline().unwrap() > at(5200));
}
