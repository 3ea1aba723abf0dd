//! What a tap hears.

use std::sync::{Arc, Mutex};

use slipwire_core::{Action, Direction, Identity, Instant, PeerId, Tap, TrafficClass};

use crate::packets::udp;
use crate::world::{World, inner, socket};

/// A peer's name, which way, and the packet.
type Heard = (String, Direction, Vec<u8>);

#[derive(Clone, Debug, Default)]
struct Ear(Arc<Mutex<Vec<Heard>>>);

impl Ear {
    fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Tap for Ear {
    fn packet(
        &mut self,
        _: PeerId,
        identity: &Identity,
        direction: Direction,
        packet: &[u8],
        _: Instant,
    ) {
        self.0.lock().unwrap().push((identity.name.clone(), direction, packet.to_vec()));
    }
}

#[test]
fn a_tap_hears_both_ways_and_nothing_that_is_forged() {
    let mut world = World::new(2, |_| {});
    let ear = Ear::default();
    world.engine.set_tap(Some(Box::new(ear.clone())));
    let host = socket("192.0.2.80:53");
    let question = udp(inner(0, false, 1000), host, b"question");
    world.send(0, &question);
    // From an address of the other peer: decrypted, and not taken in.
    world.send(0, &udp(inner(1, false, 1000), host, b"forged"));
    assert_eq!(ear.heard(), [("peer 0".to_owned(), Direction::In, question)]);

    let Some(&Action::Open(flow)) = world.actions.first() else { panic!("{:?}", world.actions) };
    world.engine.flow(flow).unwrap().opened(None, world.now);
    world.engine.flow(flow).unwrap().send_datagram(
        host,
        TrafficClass::DEFAULT,
        b"answer",
        world.now,
    );
    world.drain();
    let answer = world.received(0).pop().unwrap();
    assert_eq!(ear.heard(), [("peer 0".to_owned(), Direction::Out, answer)]);

    world.engine.set_tap(None);
    world.send(0, &udp(inner(0, false, 1000), host, b"more"));
    assert_eq!(ear.heard(), []);
}
