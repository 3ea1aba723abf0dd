//! What TCP sends again, and how soon it is fast again, after each kind of event on a path: in
//! virtual time, both ways, with the sender's account kept by a witness ([`Ledger`]) and not by the
//! sender.
//!
//! - After an event of ten round trips ago the rate is at least 0.6 of what it was.
//! - For each segment that was lost at most two are sent again, and of those that came late at most
//!   one window.
//! - On every path that TCP is measured over at most 1.5 are sent again for each one lost.
//!
//! [`Ledger`]: slipwire_worlds::ledger::Ledger

use std::time::Duration;

use slipwire_worlds::link::Profile;
use slipwire_worlds::path::{PATHS, bottleneck};
use slipwire_worlds::traffic::{Traffic, Way, megabits};

/// Round trips that a connection has to become fast, at least.
const START: u32 = 30;
/// Round trips over which a rate is measured, and that a repair may take.
const SPAN: u32 = 10;
/// Payload of a segment, nearly: the largest that fits.
const SEGMENT: u64 = 1_380;
/// Segments that may be sent again beside those that were lost: a tail loss probe and the probe of
/// a timeout (RFC 8985, RFC 5682) for each of two episodes.
const PROBES: u64 = 4;
const MIB: usize = 1 << 20;

/// A path of 1 Gbit/s with a queue of 1 MiB.
fn gigabit(round_trip_ms: u64) -> Profile {
    Profile { queue: MIB as u64, ..bottleneck(1_000, round_trip_ms, 0) }
}

/// What happens to a transfer.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// So many segments are lost, at that distance from each other.
    Losses { count: u64, distance: u64 },
    /// What is sent within five milliseconds takes so much longer, and what follows waits for it.
    Spike { millis: u64 },
    /// The same happens to acknowledgements.
    LateAcks { millis: u64 },
}

const ONE: Event = Event::Losses { count: 1, distance: 1 };
const NEIGHBOURS: Event = Event::Losses { count: 2, distance: 1 };
const APART: Event = Event::Losses { count: 2, distance: 200 };
const HOLES: Event = Event::Losses { count: 20, distance: 2 };
const IN_A_ROW: Event = Event::Losses { count: 50, distance: 1 };

/// A connection that is up to speed.
struct Watch {
    way: Way,
    traffic: Traffic,
    path: Profile,
    /// Ten round trips.
    span: Duration,
    /// Bytes that arrived in the span before the event.
    before: u64,
}

impl Watch {
    fn new(way: Way, path: Profile, buffer: usize, start: Duration) -> Self {
        let span = path.latency * 2 * SPAN;
        let mut traffic = Traffic::bulk(way, path, buffer);
        traffic.run(start);
        let before = traffic.run(span);
        Self { way, traffic, path, span, before }
    }

    /// Lets something happen and takes its time for the repair. Complains if more was sent again
    /// than may be, or if it is not so fast as before, but for `fraction`, afterwards.
    fn check(&mut self, event: Event, fraction: f64) -> Result<(), String> {
        let way = self.way;
        let (sent, link) = (self.traffic.sent(way), self.traffic.link(way).account());
        let may_repeat = match event {
            Event::Losses { count, distance } => {
                self.traffic.link(way).lose_data((0..count).map(|n| 100 + n * distance));
                2 * count * SEGMENT
            }
            Event::Spike { millis } => self.delay(way, millis),
            Event::LateAcks { millis } => self.delay(way.other(), millis),
        };
        self.traffic.run(self.span);
        let after = self.traffic.run(self.span);
        let sent = self.traffic.sent(way).since(sent);
        let lost = self.traffic.link(way).account().since(link).data_lost;
        let [before, now] = [self.before, after].map(|bytes| megabits(bytes, self.span));
        let again = sent.repeated / SEGMENT;
        let round_trip = self.path.latency * 2;
        let facts = format!(
            "{way:?}, {round_trip:?}, {event:?}: {before} -> {now} Mbit/s, {lost} lost, {again} again"
        );
        eprintln!("{facts}");
        let is_frugal = sent.repeated <= may_repeat + PROBES * SEGMENT;
        let is_fast = after as f64 >= fraction * self.before as f64;
        if is_frugal && is_fast { Ok(()) } else { Err(facts) }
    }

    /// A spike of one direction. Returns what was on its way then.
    fn delay(&mut self, way: Way, millis: u64) -> u64 {
        let late = Duration::from_millis(millis);
        let latency = self.path.latency + late;
        self.traffic.link(way).set_profile(Profile { latency, ..self.path });
        self.traffic.run(Duration::from_millis(5));
        self.traffic.link(way).set_profile(self.path);
        self.traffic.run(late);
        self.before / u64::from(SPAN)
    }
}

/// Complains about all events at once.
fn check_all(round_trip_ms: u64, events: &[Event]) {
    let path = gigabit(round_trip_ms);
    let mut faults = Vec::new();
    for (way, event) in Way::BOTH.into_iter().flat_map(|way| events.iter().map(move |e| (way, e))) {
        let mut watch = Watch::new(way, path, MIB, path.latency * 2 * START);
        faults.extend(watch.check(*event, 0.6).err());
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn losses_are_repaired_at_20_ms() {
    check_all(20, &[ONE, NEIGHBOURS, APART, HOLES, IN_A_ROW]);
}

#[test]
fn losses_are_repaired_at_50_ms() {
    check_all(50, &[ONE, NEIGHBOURS, APART, HOLES, IN_A_ROW]);
}

#[test]
fn what_came_late_is_not_taken_for_lost() {
    check_all(20, &[100, 200, 400, 1_000].map(|millis| Event::Spike { millis }));
    check_all(20, &[Event::LateAcks { millis: 400 }]);
    check_all(50, &[Event::Spike { millis: 200 }]);
}

#[test]
fn a_long_fat_path_is_fast_again_after_a_loss() {
    let mut faults = Vec::new();
    for way in Way::BOTH {
        let mut watch = Watch::new(way, gigabit(50), 8 * MIB, Duration::from_secs(3));
        faults.extend(watch.check(ONE, 0.9).err());
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Losses that come one by one, for a hundred round trips.
#[test]
fn random_losses_are_repaired_once() {
    let mut faults = Vec::new();
    for way in Way::BOTH {
        for per_million in [1_000, 10_000, 50_000] {
            let mut traffic = Traffic::bulk(way, gigabit(20), MIB);
            let lossy = Profile { loss: per_million, ..gigabit(20) };
            traffic.run(Duration::from_millis(200));
            traffic.link(way).set_profile(lossy);
            traffic.run(Duration::from_millis(400));
            let (sent, link) = (traffic.sent(way), traffic.link(way).account());
            let time = Duration::from_secs(2);
            let got = traffic.run(time);
            let sent = traffic.sent(way).since(sent);
            let lost = traffic.link(way).account().since(link).data_lost;
            let (rate, again) = (megabits(got, time), sent.repeated / SEGMENT);
            let facts = format!("{rate} Mbit/s, {lost} lost, {again} sent again");
            eprintln!("{way:?}, {per_million} of a million lost: {facts}");
            if sent.repeated > (2 * lost + PROBES) * SEGMENT {
                faults.push(format!("{way:?}, {per_million} of a million: {facts}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Both copies of a segment arrive, and no acknowledgement of the second is taken for a loss.
#[test]
fn duplicates_cost_nothing() {
    for way in Way::BOTH {
        let rate = |duplicate| {
            let path = Profile { duplicate, ..bottleneck(100, 20, 50) };
            let mut traffic = Traffic::bulk(way, path, MIB);
            traffic.run(Duration::from_millis(600));
            let sent = traffic.sent(way);
            let got = traffic.run(Duration::from_secs(1));
            (got, traffic.sent(way).since(sent).repeated / SEGMENT)
        };
        let ([clean, _], [doubled, again]) = (<[u64; 2]>::from(rate(0)), rate(20_000).into());
        eprintln!("{way:?}, 2 % twice: {doubled} of {clean} bytes, {again} sent again");
        assert!(doubled * 100 >= clean * 95, "{way:?}: {doubled} of {clean} bytes");
        assert!(again <= PROBES, "{way:?}: {again} sent again");
    }
}

#[test]
fn segments_that_are_overtaken_cost_less_than_a_twentieth() {
    for way in Way::BOTH {
        let rate = |reorder| {
            let by = Duration::from_millis(5);
            let path = Profile { reorder, reorder_by: (by, by), ..bottleneck(100, 20, 100) };
            let mut traffic = Traffic::bulk(way, path, MIB);
            traffic.run(Duration::from_millis(600));
            traffic.run(Duration::from_secs(2))
        };
        let (clean, reordered) = (rate(0), rate(10_000));
        eprintln!("{way:?}, 1 % late by 5 ms: {reordered} of {clean} bytes");
        assert!(reordered * 100 >= clean * 95, "{way:?}: {reordered} of {clean} bytes");
    }
}

/// The last segment of a transfer is followed by nothing that would tell of its loss.
#[test]
fn a_lost_last_segment_is_sent_again_soon() {
    for (way, round_trip_ms) in Way::BOTH.into_iter().flat_map(|way| [(way, 20), (way, 50)]) {
        let (up, down) = match way {
            Way::ForwardToGateway => (50_000, 1),
            Way::GatewayToForward => (1, 50_000),
        };
        let time = |lost: Option<u64>| {
            let mut traffic = Traffic::new(bottleneck(100, round_trip_ms, 100), MIB);
            traffic.link(way).lose_data(lost);
            let before = traffic.link(way).account();
            let took = traffic.exchange(up, down, Duration::from_secs(30));
            let account = traffic.link(way).account().since(before);
            (took, account.data, account.data_lost)
        };
        let (clean, segments, _) = time(None);
        let (lossy, _, lost) = time(Some(segments - 1));
        eprintln!("{way:?}, {round_trip_ms} ms, last lost: {lossy:?}, and {clean:?} without");
        assert_eq!(lost, 1);
        let more = lossy.zip(clean).map(|(lossy, clean)| lossy.saturating_sub(clean));
        let most = Duration::from_millis(2 * round_trip_ms + 250);
        assert!(more.is_some_and(|more| more <= most), "{way:?}, {round_trip_ms} ms: {more:?}");
    }
}

/// With several segments out nobody has to expect a delayed acknowledgement: their loss is noticed
/// in two round trips (RFC 8985, section 7.2), before any timer of 200 ms.
#[test]
fn a_lost_tail_is_asked_after_in_two_round_trips() {
    for way in Way::BOTH {
        let (up, down) = match way {
            Way::ForwardToGateway => (50_000, 1),
            Way::GatewayToForward => (1, 50_000),
        };
        let time = |lost: std::ops::Range<u64>| {
            let mut traffic = Traffic::new(bottleneck(100, 20, 100), MIB);
            traffic.link(way).lose_data(lost);
            let before = traffic.link(way).account().data;
            let took = traffic.exchange(up, down, Duration::from_secs(30)).unwrap_or(Duration::MAX);
            (took, traffic.link(way).account().data - before)
        };
        let (clean, segments) = time(0..0);
        let (lossy, _) = time(segments - 3..segments);
        eprintln!("{way:?}, last three lost: {lossy:?}, and {clean:?} without");
        assert!(
            lossy <= clean + Duration::from_millis(5 * 20),
            "{way:?}: {lossy:?}, not {clean:?}"
        );
    }
}

/// A window that was shut opens, and the word of it is lost: it is asked for (RFC 9293, section
/// 3.8.6.1), at intervals that double.
#[test]
fn a_window_that_opened_unheard_is_asked_for() {
    for way in Way::BOTH {
        let mut traffic = Traffic::bulk(way, bottleneck(100, 20, 100), 64 << 10);
        traffic.run(Duration::from_secs(1));
        traffic.set_read(false);
        traffic.run(Duration::from_secs(5));
        traffic.link(way.other()).set_cut(true);
        traffic.set_read(true);
        traffic.run(Duration::from_millis(50));
        traffic.link(way.other()).set_cut(false);
        assert!(traffic.run(Duration::from_secs(10)) > MIB as u64, "{way:?}");
    }
}

/// Nobody hammers at a path that carries nothing: each timeout is twice the one before (RFC 6298,
/// section 5.5). The transfer goes on when it carries again.
#[test]
fn a_path_that_carries_nothing_is_tried_ever_more_rarely() {
    for way in Way::BOTH {
        let mut traffic = Traffic::bulk(way, bottleneck(100, 20, 100), MIB);
        traffic.run(Duration::from_secs(1));
        traffic.link(way).set_cut(true);
        traffic.run(Duration::from_secs(1));
        let sent = traffic.sent(way);
        traffic.run(Duration::from_secs(10));
        let again = traffic.sent(way).since(sent).bytes / SEGMENT;
        eprintln!("{way:?}, nothing arrives for ten seconds: {again} sent again");
        assert!((1..=6).contains(&again), "{way:?}: {again} sent again");
        traffic.link(way).set_cut(false);
        assert!(traffic.run(Duration::from_secs(15)) > 10 * MIB as u64, "{way:?}");
    }
}

#[test]
fn on_every_path_little_is_sent_again_beside_what_was_lost() {
    let mut faults = Vec::new();
    for (path, flows, way) in PATHS.iter().flat_map(|path| {
        let runs = path.flows.iter().flat_map(|flows| Way::BOTH.map(|way| (*flows, way)));
        runs.map(move |(flows, way)| (path, flows, way))
    }) {
        let mut traffic = Traffic::new(path.profile, MIB);
        for _ in 0..flows {
            traffic.open_bulk(way);
        }
        let time = Duration::from_secs(3);
        let got = traffic.run(time);
        let sent = traffic.sent(way);
        let lost = traffic.link(way).account().data_lost;
        let (rate, again) = (megabits(got, time), sent.repeated / SEGMENT);
        let facts = format!("{rate} Mbit/s, {lost} lost, {again} sent again");
        eprintln!("{}, {flows} flows, {way:?}: {facts}", path.name);
        if again * 2 > 3 * lost + 2 * PROBES * flows as u64 {
            faults.push(format!("{}, {flows} flows, {way:?}: {facts}", path.name));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
