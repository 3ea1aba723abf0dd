//! What is recorded of an engine is what a replay of it says.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use slipwire_core::tape::{Replay, Step, TapeEnd, TapeSink};
use slipwire_core::{Abort, Action, Counter, Refusal, TrafficClass};

use slipwire_worlds::build::{engine, socket};
use slipwire_worlds::two_engines::{self, CLIENT_ADDRESS, LATENCY, World, read};

#[derive(Clone, Debug, Default)]
pub(crate) struct Tape(Arc<Mutex<Vec<u8>>>);

impl Tape {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl TapeSink for Tape {
    fn append(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        ControlFlow::Continue(())
    }
}

/// The embedder looks at what is next before it takes it, and finds nothing of flows that it
/// refused.
#[test]
fn a_replay_knows_nothing_of_datagrams_whose_flows_were_refused() {
    let mut world = World::new();
    let tape = Tape::default();
    world.gateway.engine.start_tape(Box::new(tape.clone()), world.now).unwrap();
    world.open();
    let World { client, gateway, now, .. } = &mut world;
    let (client, gateway, now) = (&mut client.engine, &mut gateway.engine, *now);
    for _ in 0..2_000 {
        let remote = socket("192.0.2.9:53");
        let flow = client.open_udp(remote, now).unwrap();
        let mut flow = client.flow(flow).unwrap();
        flow.send_datagram(remote, TrafficClass::DEFAULT, &[7; 1300], now);
        client.service(now);
        while let Some(train) = client.poll_transmit() {
            gateway.handle_datagram(socket(CLIENT_ADDRESS), None, train.contents, now);
            let len = train.contents.len();
            client.transmitted(len);
        }
        while let Some(action) = gateway.poll_action() {
            if let Action::Open(flow) = action {
                gateway.flow(flow).unwrap().refused(Refusal::NetworkUnreachable, now);
            }
        }
        gateway.service(now);
        assert_eq!(gateway.poll_datagram().map(|datagram| datagram.flow), None);
        while let Some(train) = gateway.poll_transmit() {
            let len = train.contents.len();
            gateway.transmitted(len);
        }
    }
    assert_eq!(gateway.stats().value(Counter::OpenRefused), 2_000);
    gateway.flush_tape();
    replay_whole(&tape);
}

/// The embedder has fewer descriptors by now, later as many as it wants.
#[test]
fn the_bound_of_sockets_is_on_a_tape_and_never_above_the_configured_one() {
    let mut world = World::new();
    let mut parts = two_engines::gateway();
    parts.limits.sockets = 3;
    world.gateway.engine = engine(2, parts);
    let tape = Tape::default();
    world.gateway.engine.start_tape(Box::new(tape.clone()), world.now).unwrap();
    let (_, far) = world.open_and_accept();
    let (gateway, now) = (&mut world.gateway.engine, world.now);
    gateway.limit_sockets(0, now);
    assert_eq!(gateway.limits().sockets, 0);
    assert_eq!(gateway.poll_action(), Some(Action::Aborted(far, Abort::Limit)));
    gateway.limit_sockets(100, now);
    assert_eq!(gateway.limits().sockets, 3);
    gateway.flush_tape();
    replay_whole(&tape);
}

/// The embedder looks for room, and its host has nothing to put there, or not yet: a ring that has
/// grown for the look stays as large as that.
#[test]
fn looks_for_room_are_on_a_tape() {
    let mut world = World::new();
    let tape = Tape::default();
    world.gateway.engine.start_tape(Box::new(tape.clone()), world.now).unwrap();
    let (near, far) = world.open_and_accept();
    let mut received = 0;
    for round in 0..300 {
        // First so much that much may be in flight. Then some, so that the ring holds more when it
        // is looked at than when something comes again, and is empty in between.
        let mut flow = world.gateway.engine.flow(far).unwrap();
        let room = flow.send_room(world.now).len();
        let len = match round {
            ..100 => room,
            100..150 => 0,
            _ => *[30_000, 30_000, 0, 0, 30_000].get(round % 15).unwrap_or(&0),
        };
        if len > 0 {
            flow.commit(len.min(room), world.now);
        }
        world.run(LATENCY / 2);
        received += read(&mut world.client, near, world.now).len();
    }
    assert!(received > 4 << 20, "{received}");
    world.gateway.engine.flush_tape();
    replay_whole(&tape);
}

/// Replays a tape to its end, where nothing may be another.
fn replay_whole(tape: &Tape) {
    let tape = tape.bytes();
    let mut replay = Replay::new(&tape).unwrap();
    loop {
        match replay.step() {
            Ok(Step::Same) => {}
            Ok(Step::End(end)) => break assert_eq!(end, TapeEnd::Whole),
            Err(difference) => panic!("{difference}"),
        }
    }
}
