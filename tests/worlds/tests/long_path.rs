//! One connection through a tunnel between ends that are far from each other, in virtual time: how
//! fast it is follows from how core behaves, and not from how busy the machine is.
//!
//! ```text
//!   forward engine  -- 25 ms, perhaps 1 Gbit/s with a queue of 1 MiB -->  gateway engine
//!                   <------------------- the same ---------------------
//! ```
//!
//! The sender always has more to send, and the receiver takes everything at once.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use slipwire_core::config::{Gateway, Interface, Parts, Peer, Tcp};
use slipwire_core::{Action, Config, Engine, FlowId, Instant, IpNet, PrivateKey};

const DELAY: Duration = Duration::from_millis(25);
/// What the bottleneck carries in a second, in bytes.
const RATE: u64 = 125_000_000;
/// Bytes that may wait before the bottleneck.
const QUEUE: u64 = 1 << 20;
/// What UDP and IPv4 add to a datagram.
const HEADERS_LEN: u64 = 28;
/// How long a process takes to wake up: what has arrived until then is taken in at once, and
/// acknowledged at once.
const WAKE: Duration = Duration::from_micros(100);
/// How long a connection has to become fast.
const START: Duration = Duration::from_secs(3);
/// How long it is measured then.
const STEADY: Duration = Duration::from_secs(5);

/// Who has something to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    ForwardToGateway,
    GatewayToForward,
}

/// What a path does beside taking its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bottleneck {
    None,
    Gigabit,
}

/// One direction of the path.
#[derive(Debug)]
struct Link {
    bottleneck: Bottleneck,
    /// When all that waits has passed the bottleneck.
    free_at: Instant,
    /// What is on the way, in order.
    carried: VecDeque<(Instant, Vec<u8>)>,
    lost: u64,
}

impl Link {
    fn carry(&mut self, datagram: Vec<u8>, now: Instant) {
        let passed_at = match self.bottleneck {
            Bottleneck::None => now,
            Bottleneck::Gigabit => {
                let len = datagram.len() as u64 + HEADERS_LEN;
                let waiting = self.free_at.saturating_duration_since(now).as_nanos() as u64;
                if waiting * RATE / 1_000_000_000 + len > QUEUE {
                    self.lost += 1;
                    return;
                }
                self.free_at =
                    self.free_at.max(now) + Duration::from_nanos(len * 1_000_000_000 / RATE);
                self.free_at
            }
        };
        self.carried.push_back((passed_at + DELAY, datagram));
    }
}

/// One end, driven as a driver would.
struct End {
    engine: Engine,
    address: SocketAddr,
    /// What leaves it.
    link: Link,
    inbox: Vec<Vec<u8>>,
    turn_at: Option<Instant>,
    sends: bool,
    received: u64,
}

impl End {
    fn due(&self) -> Option<Instant> {
        self.turn_at.into_iter().chain(self.engine.poll_timeout()).min()
    }

    /// A turn: everything in, then everything out.
    fn turn(&mut self, from: SocketAddr, now: Instant) {
        self.turn_at = None;
        for datagram in self.inbox.drain(..) {
            self.engine.handle_datagram(from, None, &datagram, now);
        }
        self.engine.handle_timeout(now);
        loop {
            while let Some(action) = self.engine.poll_action() {
                self.act(action, now);
            }
            let has_more = self.engine.service(now);
            let Some(train) = self.engine.poll_transmit() else {
                if has_more {
                    continue;
                }
                return;
            };
            let len = train.contents.len();
            for datagram in train.contents.chunks(train.segment_size) {
                self.link.carry(datagram.to_vec(), now);
            }
            self.engine.transmitted(len);
        }
    }

    fn act(&mut self, action: Action, now: Instant) {
        match action {
            Action::Open(flow) => {
                self.engine.flow(flow).unwrap().opened(None, now);
                self.fill(flow, now);
            }
            Action::Established(flow) | Action::Writable(flow) => self.fill(flow, now),
            Action::Readable(flow) => self.take(flow, now),
            Action::Idle(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn fill(&mut self, flow: FlowId, now: Instant) {
        let mut flow = self.engine.flow(flow).unwrap();
        let mut room = if self.sends { flow.send_room(now).len() } else { 0 };
        while room > 0 {
            flow.commit(room, now);
            room = flow.send_room(now).len();
        }
    }

    fn take(&mut self, flow: FlowId, now: Instant) {
        let mut flow = self.engine.flow(flow).unwrap();
        loop {
            let len = flow.received().len();
            if len == 0 {
                return;
            }
            flow.consume(len, now);
            self.received += len as u64;
        }
    }
}

/// Both ends and the time.
struct World {
    ends: [End; 2],
    now: Instant,
}

impl World {
    fn new(way: Way, bottleneck: Bottleneck, buffer: usize) -> Self {
        let sends = [way == Way::ForwardToGateway, way == Way::GatewayToForward];
        let ends = [0, 1].map(|index| End {
            engine: engine(index, buffer),
            address: address(index),
            link: Link { bottleneck, free_at: Instant::ZERO, carried: VecDeque::new(), lost: 0 },
            inbox: Vec::new(),
            turn_at: Some(Instant::ZERO),
            sends: sends[index],
            received: 0,
        });
        let mut world = Self { ends, now: Instant::ZERO };
        let forward = &mut world.ends[0].engine;
        forward.open_tcp("192.0.2.80:80".parse().unwrap(), Instant::ZERO).unwrap();
        world
    }

    /// Lets time pass, and says how many bytes arrived.
    fn run(&mut self, time: Duration) -> u64 {
        let end = self.now + time;
        let before = self.received();
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            for index in [0, 1] {
                self.arrive(index);
            }
            for index in [0, 1] {
                let from = self.ends[1 - index].address;
                if self.ends[index].due().is_some_and(|due| due <= self.now) {
                    self.ends[index].turn(from, self.now);
                }
            }
        }
        self.now = end;
        self.received() - before
    }

    fn next(&self) -> Option<Instant> {
        let arrivals = self.ends.iter().filter_map(|end| Some(end.link.carried.front()?.0));
        arrivals.chain(self.ends.iter().filter_map(End::due)).min()
    }

    /// Brings what is due over the link of an end to the other.
    fn arrive(&mut self, index: usize) {
        let is_due = |(at, _): &(Instant, Vec<u8>)| *at <= self.now;
        while self.ends[index].link.carried.front().is_some_and(is_due)
            && let Some((_, datagram)) = self.ends[index].link.carried.pop_front()
        {
            let to = &mut self.ends[1 - index];
            to.inbox.push(datagram);
            to.turn_at.get_or_insert(self.now + WAKE);
        }
    }

    fn received(&self) -> u64 {
        self.ends.iter().map(|end| end.received).sum()
    }
}

fn address(end: usize) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, end as u8 + 1], 51_820))
}

fn engine(end: usize, buffer: usize) -> Engine {
    let key = |end: usize| PrivateKey::from_entropy([end as u8 + 1; 32]);
    let nets: [IpNet; 2] = ["10.0.0.1/32", "10.0.0.2/32"].map(|net| net.parse().unwrap());
    let everything = "0.0.0.0/0".parse().unwrap();
    let is_gateway = end == 1;
    let allowed = if is_gateway { nets[0] } else { everything };
    let mut parts = Parts::new(Interface::new(key(end), [nets[end]]));
    parts.peers.push(
        Peer::new(key(1 - end).public_key())
            .with_allowed_ips([allowed])
            .with_endpoint(address(1 - end)),
    );
    parts.gateway = is_gateway.then(Gateway::default);
    (parts.tcp.receive_buffer, parts.tcp.send_buffer) = (buffer, buffer);
    Engine::new(&Config::new(parts).unwrap(), [end as u8; 32], Instant::ZERO)
}

const fn megabits(bytes: u64, time: Duration) -> u64 {
    bytes * 8 / time.as_millis() as u64 / 1000
}

/// Both directions reach so many Mbit/s with rings of `buffer` bytes, from the first SYN and once
/// they are under way; and nothing is lost for it.
fn check(way: Way, buffer: usize, expected: u64) {
    for bottleneck in [Bottleneck::None, Bottleneck::Gigabit] {
        let mut world = World::new(way, bottleneck, buffer);
        let start = world.run(START);
        let steady = world.run(STEADY);
        let total = megabits(start + steady, START + STEADY);
        let steady = megabits(steady, STEADY);
        let lost: u64 = world.ends.iter().map(|end| end.link.lost).sum();
        assert!(steady >= expected && total >= expected, "{bottleneck:?}: {steady}, {total}");
        assert_eq!(lost, 0, "{bottleneck:?}");
    }
}

#[test]
fn a_long_path_is_as_fast_as_default_buffers_allow() {
    for way in [Way::ForwardToGateway, Way::GatewayToForward] {
        check(way, Tcp::default().send_buffer, 150);
    }
}

#[test]
fn large_buffers_fill_a_long_path_into_the_gateway() {
    check(Way::ForwardToGateway, 8 << 20, 600);
}

#[test]
fn large_buffers_fill_a_long_path_out_of_the_gateway() {
    check(Way::GatewayToForward, 8 << 20, 600);
}
