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

use std::time::Duration;

use slipwire_core::config::Tcp;
use slipwire_core::{Action, FlowId, Instant};
use slipwire_worlds::build::socket;
use slipwire_worlds::link::Profile;
use slipwire_worlds::two_engines::{End, SERVER, World};

const DELAY: Duration = Duration::from_millis(25);
/// What the bottleneck carries in a second, in bytes.
const RATE: u64 = 125_000_000;
/// Bytes that may wait before the bottleneck.
const QUEUE: u64 = 1 << 20;
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

impl Bottleneck {
    fn path(self) -> Profile {
        let far = Profile::clean(DELAY);
        match self {
            Self::None => far,
            Self::Gigabit => Profile { rate: Some(RATE), queue: QUEUE, ..far },
        }
    }
}

/// A world with one connection.
struct Transfer {
    world: World,
    way: Way,
    received: u64,
}

impl Transfer {
    fn new(way: Way, bottleneck: Bottleneck, buffer: usize) -> Self {
        let mut world = World::with_path(bottleneck.path(), |parts| {
            (parts.tcp.receive_buffer, parts.tcp.send_buffer) = (buffer, buffer);
        });
        world.wake = WAKE;
        world.client.engine.open_tcp(socket(SERVER), world.now).unwrap();
        Self { world, way, received: 0 }
    }

    /// Lets time pass, and says how many bytes arrived.
    fn run(&mut self, time: Duration) -> u64 {
        let (until, before) = (self.world.now + time, self.received);
        while self.world.step(until) {
            let World { client, gateway, now, .. } = &mut self.world;
            self.received += act(client, self.way == Way::ForwardToGateway, *now);
            self.received += act(gateway, self.way == Way::GatewayToForward, *now);
        }
        self.received - before
    }

    fn lost(&self) -> u64 {
        self.world.client.link.lost() + self.world.gateway.link.lost()
    }
}

/// Does what an end asks for, until it asks for nothing. Says how many bytes it received.
fn act(end: &mut End, sends: bool, now: Instant) -> u64 {
    let mut received = 0;
    for action in std::mem::take(&mut end.actions) {
        match action {
            Action::Open(flow) => {
                end.engine.flow(flow).unwrap().opened(None, now);
                fill(end, flow, sends, now);
            }
            Action::Established(flow) | Action::Writable(flow) => fill(end, flow, sends, now),
            Action::Readable(flow) => received += take(end, flow, now),
            Action::Idle(_) => {}
            other => panic!("{other:?}"),
        }
    }
    received
}

fn fill(end: &mut End, flow: FlowId, sends: bool, now: Instant) {
    let mut flow = end.engine.flow(flow).unwrap();
    let mut room = if sends { flow.send_room(now).len() } else { 0 };
    while room > 0 {
        flow.commit(room, now);
        room = flow.send_room(now).len();
    }
}

fn take(end: &mut End, flow: FlowId, now: Instant) -> u64 {
    let mut flow = end.engine.flow(flow).unwrap();
    let mut received = 0;
    loop {
        let len = flow.received().len();
        if len == 0 {
            return received;
        }
        flow.consume(len, now);
        received += len as u64;
    }
}

const fn megabits(bytes: u64, time: Duration) -> u64 {
    bytes * 8 / time.as_millis() as u64 / 1000
}

/// Both directions reach so many Mbit/s with rings of `buffer` bytes, from the first SYN and once
/// they are under way; and nothing is lost for it.
fn check(way: Way, buffer: usize, expected: u64) {
    for bottleneck in [Bottleneck::None, Bottleneck::Gigabit] {
        let mut transfer = Transfer::new(way, bottleneck, buffer);
        let start = transfer.run(START);
        let steady = transfer.run(STEADY);
        let total = megabits(start + steady, START + STEADY);
        let steady = megabits(steady, STEADY);
        assert!(steady >= expected && total >= expected, "{bottleneck:?}: {steady}, {total}");
        assert_eq!(transfer.lost(), 0, "{bottleneck:?}");
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
