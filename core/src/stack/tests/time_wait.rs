//! Connections that have ended, as peers share the memory of them.

use smoltcp::wire::TcpControl::Syn;

use crate::flow::Protocol;
use crate::limits::{TIME_WAIT, TIME_WAITS_MAX};
use crate::stack::key::FlowKey;
use crate::stack::tcp::{Standing, Straggler, TimeWaits};
use crate::stack::tests::*;

const STANDING: Standing =
    Standing { sequence: TcpSeqNumber(1), acknowledgement: TcpSeqNumber(1), window: 0 };

fn ended(peer: PeerId, number: usize) -> FlowKey {
    let port = |number: usize| u16::try_from(number).unwrap();
    FlowKey {
        protocol: Protocol::Tcp,
        peer,
        inner: SocketAddr::new(ALICE_IP.parse().unwrap(), port(number)),
        outer: Some(socket(HOST)),
    }
}

fn remembered(time_waits: &TimeWaits, peer: PeerId) -> usize {
    (0..TIME_WAITS_MAX).filter(|number| time_waits.contains(&ended(peer, *number))).count()
}

/// A SYN with a later number than where the connection ended.
fn begin_anew(time_waits: &mut TimeWaits, key: FlowKey, now: Instant) {
    let client = Client::new(&key.inner.to_string(), HOST);
    let mut bytes = client.segment(Syn, &[]);
    let packet = Packet::parse(&mut bytes).unwrap();
    let segment = TcpPacket::new_unchecked(packet.transport_bytes());
    let straggler = time_waits.handle_segment(&key, &segment, now);
    assert_eq!(straggler, Some(Straggler::NewConnection));
}

#[test]
fn one_peer_does_not_end_the_time_wait_of_another() {
    let mut time_waits = TimeWaits::new((1, 2));
    let (carol, now) = (PeerId::first(2), Instant::ZERO);
    for number in 0..10 {
        time_waits.insert(ended(BOB, number), STANDING, now);
    }
    for number in 0..TIME_WAITS_MAX {
        time_waits.insert(ended(ALICE, number), STANDING, now);
    }
    assert_eq!(remembered(&time_waits, BOB), 10);
    assert_eq!(remembered(&time_waits, ALICE), TIME_WAITS_MAX - 10, "all that nobody else needs");
    assert!(!time_waits.contains(&ended(ALICE, 9)), "the oldest of the one that has most");
    for number in 0..TIME_WAITS_MAX {
        time_waits.insert(ended(carol, number), STANDING, now);
    }
    assert_eq!(remembered(&time_waits, BOB), 10);
    let [alices, carols] = [ALICE, carol].map(|peer| remembered(&time_waits, peer));
    assert!(alices + carols == TIME_WAITS_MAX - 10 && alices.abs_diff(carols) <= 2, "{alices}");
}

#[test]
fn a_connection_that_ended_again_is_as_old_as_its_last_end() {
    let mut time_waits = TimeWaits::new((1, 2));
    let (again, now) = (ended(ALICE, 9), Instant::ZERO);
    time_waits.insert(again, STANDING, now);
    begin_anew(&mut time_waits, again, now);
    time_waits.insert(again, STANDING, now);
    for number in 100..99 + TIME_WAITS_MAX {
        time_waits.insert(ended(ALICE, number), STANDING, now);
    }
    assert!(time_waits.contains(&again), "there is room for all of them");
    time_waits.insert(ended(ALICE, 50), STANDING, now);
    assert!(!time_waits.contains(&again) && time_waits.contains(&ended(ALICE, 100)));

    let later = now + TIME_WAIT / 2;
    time_waits.insert(ended(ALICE, 100), STANDING, later);
    time_waits.handle_timeout(now + TIME_WAIT);
    assert!(time_waits.contains(&ended(ALICE, 100)));
    time_waits.handle_timeout(later + TIME_WAIT);
    assert!(time_waits.is_empty() && time_waits.poll_timeout().is_none());
}
