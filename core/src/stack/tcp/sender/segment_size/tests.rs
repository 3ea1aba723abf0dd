//! A hole is found soon, and what is none is not taken for one.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::*;

const OVERHEAD: u16 = 40;
const FULL: u16 = 1_420;
const ROUND_TRIP: Duration = Duration::from_millis(20);
const RTO: Duration = Duration::from_millis(200);

/// Says whether a packet of so many bytes that leaves now arrives.
type Way<'a> = dyn FnMut(u16, Instant) -> bool + 'a;

fn narrow(widest: u16) -> impl FnMut(u16, Instant) -> bool {
    move |packet, _| packet <= widest
}

/// Loses one in `parts` packets, whatever their size.
fn lossy(parts: u32, seed: u8) -> impl FnMut(u16, Instant) -> bool {
    let mut rng = ChaCha20Rng::from_seed([seed; 32]);
    move |_, _| !rng.next_u32().is_multiple_of(parts)
}

/// A sender in slow start, with loss recovery by order, tail loss probes and a timer.
struct Sender<'a> {
    size: SegmentSize,
    way: &'a mut Way<'a>,
    now: Instant,
    /// What is to be sent, again or for the first time.
    queue: VecDeque<Range<u64>>,
    window: usize,
    sent: usize,
    lost: usize,
    holes: Vec<FoundSize>,
    finds: Vec<FoundSize>,
}

struct Sent {
    range: Range<u64>,
    at: Instant,
    arrives: bool,
}

impl<'a> Sender<'a> {
    fn new(known: Option<u16>, way: &'a mut Way<'a>) -> Self {
        Self {
            size: SegmentSize::new(OVERHEAD, FULL, known),
            way,
            now: Instant::from_nanos(1),
            queue: VecDeque::new(),
            window: 10,
            sent: 0,
            lost: 0,
            holes: Vec::new(),
            finds: Vec::new(),
        }
    }

    fn send(&mut self, len: u64) -> Option<Sent> {
        let run = self.queue.pop_front()?;
        let range = run.start..run.end.min(run.start + len);
        if range.end < run.end {
            self.queue.push_front(range.end..run.end);
        }
        let len = range.end - range.start;
        self.size.handle_sent(len, self.now);
        let arrives = (self.way)(self.size.packet(len), self.now);
        self.sent += 1;
        Some(Sent { range, at: self.now, arrives })
    }

    fn lose(&mut self, sent: &Sent) {
        self.lost += 1;
        self.size.handle_lost(sent.range.end - sent.range.start, sent.at);
        let mut range = sent.range.clone();
        if self.queue.front().is_some_and(|next| next.start == range.end) {
            range.end = self.queue.pop_front().unwrap().end;
        }
        self.queue.push_front(range);
    }

    fn note(&mut self) {
        match self.size.take_news() {
            Some(SizeNews::Hole(found)) => self.holes.push(found),
            Some(SizeNews::Found(found)) => self.finds.push(found),
            None => {}
        }
    }

    /// Sends so many bytes; says how long it took until all have arrived.
    fn transfer(&mut self, bytes: u64) -> Duration {
        let begun_at = self.now;
        self.queue.push_back(0..bytes);
        let mut out: Vec<Sent> = Vec::new();
        let mut turns = 0;
        while !self.queue.is_empty() || !out.is_empty() {
            turns += 1;
            assert!(turns < 100_000, "it hangs");
            for _ in 0..self.window {
                let mut runs = self.queue.iter().map(|run| run.end - run.start);
                let Some(run) = runs.next() else { break };
                let len = self.size.next_len(run, run + runs.sum::<u64>());
                out.extend(self.send(len));
            }
            self.now += ROUND_TRIP;
            if !out.iter().any(|sent| sent.arrives) {
                // The tail once more, then the timer.
                self.now += ROUND_TRIP;
                let last = out.pop();
                self.queue.extend(last.as_ref().map(|last| last.range.clone()));
                self.queue.rotate_right(1);
                let len = self.size.repeat_len();
                let probe = self.send(len);
                self.lost += 1;
                out.extend(probe);
                // What the probe has not repeated is to be lost by the same rules.
                self.now += ROUND_TRIP;
                if let Some(last) = last {
                    self.size.handle_lost(last.range.end - last.range.start, last.at);
                }
            }
            if !out.iter().any(|sent| sent.arrives) {
                self.now += RTO;
                for sent in std::mem::take(&mut out).iter().rev() {
                    self.lose(sent);
                }
                self.size.handle_expiry();
                let len = self.size.repeat_len();
                out.extend(self.send(len));
                self.now += ROUND_TRIP;
            }
            let newest = out.iter().rposition(|sent| sent.arrives).unwrap_or_default();
            for sent in out.iter().filter(|sent| sent.arrives) {
                self.size.handle_arrived(sent.range.end - sent.range.start, sent.at);
            }
            let behind = out.split_off(newest.min(out.len()));
            for sent in out.iter().rev().filter(|sent| !sent.arrives) {
                self.lose(sent);
            }
            out = behind.into_iter().filter(|sent| !sent.arrives).collect();
            self.note();
            self.window = (self.window * 2).min(64);
        }
        self.now.saturating_duration_since(begun_at)
    }
}

#[test]
fn a_page_gets_through_a_hole_in_time() {
    for (widest, pages) in
        [(1_340, 14_000..60_000), (1_200, 14_000..60_000), (1_000, 3_000..60_000)]
    {
        for page in pages.step_by(997) {
            let mut way = narrow(widest);
            let mut sender = Sender::new(None, &mut way);
            let took = sender.transfer(page);
            assert!(took < Duration::from_millis(1_500), "{page} bytes, {widest}: {took:?}");
            let [first, ..] = sender.holes[..] else { panic!("{page} bytes: no hole found") };
            assert!(first.fails.is_some_and(|fails| fails > widest));
        }
    }
}

#[test]
fn small_pages_get_through_a_hole_too() {
    for page in (1_000..14_000).step_by(97) {
        let mut way = narrow(1_340);
        let mut sender = Sender::new(None, &mut way);
        let took = sender.transfer(page);
        assert!(took < Duration::from_millis(1_000), "{page} bytes: {took:?}");
    }
}

#[test]
fn the_largest_size_that_fits_is_found() {
    for (widest, fits) in [(1_419, 1_412), (1_340, 1_320), (1_300, 1_260), (1_100, 926), (600, 576)]
    {
        let mut way = narrow(widest);
        let mut sender = Sender::new(None, &mut way);
        sender.transfer(2_000_000);
        assert_eq!(sender.size.current, fits, "{widest}");
        let last = *sender.finds.last().or(sender.holes.last()).unwrap();
        assert!(last.fits == fits && last.is_searched && last.fails.unwrap() > widest);
        assert!(
            widest < 1_200 || sender.lost < 60,
            "{widest}: {} of {} are lost",
            sender.lost,
            sender.sent
        );
    }
}

#[test]
fn a_flow_that_knows_loses_nothing() {
    let mut way = narrow(1_340);
    let mut sender = Sender::new(Some(1_320), &mut way);
    sender.transfer(1_000_000);
    assert_eq!((sender.lost, sender.holes.len()), (0, 0));
    sender.size.search();
    sender.transfer(1_000_000);
    assert_eq!(sender.lost, usize::from(TRIES), "a search costs the segments that it loses");
    let [found] = sender.finds[..] else { panic!("{:?}", sender.finds) };
    assert_eq!(found, FoundSize { fits: 1_320, fails: Some(1_412), is_searched: true });
}

#[test]
fn a_hole_that_is_gone_is_forgotten() {
    let mut way = narrow(1_500);
    let mut sender = Sender::new(Some(1_200), &mut way);
    sender.size.search();
    sender.transfer(1_000_000);
    let found = sender.finds.last().copied();
    assert_eq!(found, Some(FoundSize { fits: FULL, fails: None, is_searched: true }));
    assert_eq!(sender.size.len(), u64::from(FULL - OVERHEAD));
    assert_eq!((sender.lost, sender.holes.len()), (0, 0));
}

#[test]
fn a_hole_that_opens_in_mid_transfer_is_found() {
    let opens_at = Instant::from_nanos(1) + ROUND_TRIP * 8;
    let mut way = |packet, now| packet <= 1_340 || now < opens_at;
    let mut sender = Sender::new(None, &mut way);
    let took = sender.transfer(3_000_000);
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!((sender.size.current, sender.holes.len()), (1_320, 1));
}

#[test]
fn a_real_loss_is_no_hole() {
    for (parts, expected) in [(1_000, 0), (100, 0), (20, 2)] {
        let mut holes = 0;
        for seed in 0..50 {
            let mut way = lossy(parts, seed);
            let mut sender = Sender::new(None, &mut way);
            sender.transfer(500_000);
            holes += sender.holes.len();
        }
        assert!(holes <= expected, "one in {parts} is lost: {holes} holes in 25 MB");
    }
}

#[test]
fn an_outage_is_no_hole() {
    for outage_ms in [30, 100, 300, 1_000] {
        for begin in 0..12 {
            let begin = Instant::from_nanos(1) + ROUND_TRIP * begin;
            let end = begin + Duration::from_millis(outage_ms);
            let mut way = |_, now| now < begin || now >= end;
            let mut sender = Sender::new(None, &mut way);
            sender.transfer(1_000_000);
            assert_eq!(sender.holes, [], "{outage_ms} ms");
            assert_eq!(sender.size.current, FULL);
        }
    }
}

#[test]
fn a_hole_that_was_believed_without_cause_is_found_out() {
    let mut losses = 12;
    let mut way = |packet, _| {
        let is_lost = packet > 1_300 && losses > 0;
        losses -= u8::from(is_lost);
        !is_lost
    };
    let mut sender = Sender::new(None, &mut way);
    sender.transfer(1_000_000);
    assert!(!sender.holes.is_empty());
    assert_eq!(sender.size.current, 1_412, "the size itself is for the next search");
}

#[test]
fn repeats_are_small_where_nobody_knows_whether_large_ones_arrive() {
    let mut size = SegmentSize::new(OVERHEAD, FULL, None);
    let at = Instant::from_nanos;
    assert_eq!(size.repeat_len(), 1_160, "nothing large has arrived");
    size.handle_arrived(1_380, at(1));
    assert_eq!(size.repeat_len(), 1_380);
    let after = |size: &mut SegmentSize| {
        size.handle_expiry();
        size.repeat_len()
    };
    assert_eq!([(); 4].map(|()| after(&mut size)), [1_380, 1_160, 886, 536]);
    size.handle_arrived(200, at(2));
    assert_eq!(size.repeat_len(), 1_380);
    let mut size = SegmentSize::new(OVERHEAD, FULL, None);
    assert!(!size.handle_lost(1_380, at(1)) && !size.handle_lost(1_380, at(1)));
    size.handle_arrived(0, at(2));
    assert_eq!((size.len(), size.take_arrived()), (1_380, 0), "a part has no size");
}

#[test]
fn what_is_lost_for_its_size_is_no_congestion() {
    let mut size = SegmentSize::new(OVERHEAD, FULL, None);
    let at = Instant::from_nanos;
    assert!(!size.handle_lost(1_380, at(1)) && !size.handle_lost(1_380, at(1)));
    size.handle_arrived(1_160, at(2));
    assert_eq!((size.len(), size.next_len(1_380, 1_380)), (1_160, 1_160));
    assert_eq!(size.next_len(1_379, 9_000), 1_160);
    assert_eq!(size.next_len(1_380, 1_381), 1_380, "one of the size before is tried");
    size.handle_sent(1_380, at(3));
    assert_eq!(size.next_len(1_000_000, 1_000_000), 1_160);
    assert!(!size.handle_lost(1_380, at(1)), "one of before");
    assert_eq!(size.take_news(), None);
    assert!(size.handle_lost(1_380, at(3)));
    let hole = FoundSize { fits: 1_200, fails: Some(1_420), is_searched: false };
    assert_eq!(size.take_news(), Some(SizeNews::Hole(hole)));
    assert_eq!(size.take_news(), None);
    assert!(size.handle_lost(1_380, at(2)), "another one of before");
    assert!(!size.handle_lost(1_160, at(4)));
}

#[test]
fn losses_beside_full_segments_that_arrive_are_real() {
    let mut size = SegmentSize::new(OVERHEAD, FULL, None);
    let at = Instant::from_nanos;
    // One train, whose end did not fit into a queue.
    size.handle_arrived(1_380, at(1));
    for _ in 0..5 {
        size.handle_lost(1_380, at(1));
    }
    size.handle_arrived(1_160, at(2));
    assert_eq!(size.len(), 1_380);
    // None of the next one has arrived.
    for _ in 0..5 {
        size.handle_lost(1_380, at(3));
    }
    size.handle_arrived(1_160, at(3));
    assert_eq!(size.len(), 1_160);
}

#[test]
fn a_spurious_loss_says_nothing_about_sizes() {
    let mut size = SegmentSize::new(OVERHEAD, FULL, None);
    let at = Instant::from_nanos;
    for _ in 0..10 {
        size.handle_lost(1_380, at(1));
    }
    size.handle_arrived(1_160, at(2));
    assert_eq!(size.len(), 1_160);
    size.handle_undone();
    assert_eq!((size.len(), size.next_len(9_000, 9_000)), (1_380, 1_380));
}

#[test]
fn another_size_of_the_path_is_followed() {
    let mut size = SegmentSize::new(OVERHEAD, FULL, Some(1_320));
    assert_eq!(size.len(), 1_280);
    size.follow(Some(1_200));
    assert_eq!(size.len(), 1_160);
    size.follow(None);
    assert_eq!(size.len(), 1_380);
    size.set_full(1_340);
    assert_eq!(size.len(), 1_300);
    size.set_full(1_500);
    assert_eq!(size.len(), 1_460);
    size.follow(Some(9_000));
    assert_eq!(size.len(), 1_460);
    size.follow(Some(1_200));
    size.set_full(1_400);
    assert_eq!(size.len(), 1_160);
    size.begin_anew();
    assert_eq!(size.len(), 1_360);
    size.handle_arrived(1_000, Instant::from_nanos(1));
    assert_eq!((size.take_arrived(), size.take_arrived()), (1_040, 0));
}
