//! Two engines over a link in memory, in virtual time: a forward at one end, a gateway at the
//! other. Everything is done as an embedder does it, through the public contract.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on ends")]

#[path = "two_ends/changes.rs"]
mod changes;
#[path = "two_ends/events.rs"]
mod events;
#[path = "two_ends/peer_changes.rs"]
mod peer_changes;
#[path = "two_ends/state.rs"]
mod state;
#[path = "two_ends/tapes.rs"]
mod tapes;

use std::net::IpAddr;
use std::time::Duration;

use slipwire_core::{Abort, Action, Counter, NoFlow, Refusal, TrafficClass};
use slipwire_worlds::build::socket;
use slipwire_worlds::two_engines::{
    CLIENT_ADDRESS, End, GATEWAY_ADDRESS, SERVER, World, pattern, read, write,
};

/// Sends `len` bytes from the client's side to the gateway's, half-closing, while the far reader
/// takes everything; then the same back.
fn transfer_both_ways(world: &mut World, len: usize) {
    let (near, far) = world.open_and_accept();
    let expected = pattern(len);
    for towards_gateway in [true, false] {
        let (mut sent, mut got, mut ended) = (0, Vec::new(), false);
        let deadline = world.now + Duration::from_secs(600);
        while !ended {
            assert!(world.now < deadline, "{} of {len} bytes", got.len());
            let now = world.now;
            let (from, flow, to, other) = if towards_gateway {
                (&mut world.client, near, &mut world.gateway, far)
            } else {
                (&mut world.gateway, far, &mut world.client, near)
            };
            if sent < len {
                sent += write(from, flow, &expected[sent..], now);
                if sent == len {
                    from.engine.flow(flow).unwrap().shut_down(now);
                }
            }
            got.extend(read(to, other, now));
            ended = to.actions.contains(&Action::Shutdown(other));
            world.step(now + Duration::from_millis(100));
        }
        assert!(got == expected, "the bytes arrived as they were sent");
    }
    world.run(Duration::from_secs(5));
    assert!(world.client.actions.contains(&Action::Closed(near)));
    assert!(world.gateway.actions.contains(&Action::Closed(far)));
    assert!(world.client.engine.meta(near).is_none() && world.gateway.engine.meta(far).is_none());
}

#[test]
fn bytes_and_both_ends_of_a_stream_arrive() {
    transfer_both_ways(&mut World::new(), 3_000_000);
}

#[test]
fn a_path_that_takes_just_small_datagrams_brings_everything() {
    for longest in [1450, 1300, 700] {
        let mut world = World::new();
        world.longest = longest;
        transfer_both_ways(&mut world, 300_000);
    }
}

#[test]
fn a_path_that_gets_narrower_holds_up_nothing_that_is_under_way() {
    let mut world = World::new();
    let (near, far) = world.open_and_accept();
    let expected = pattern(400_000);
    let (mut sent, mut got) = (0, Vec::new());
    let started_at = world.now;
    while got.len() < expected.len() {
        assert!(world.now.saturating_duration_since(started_at) < Duration::from_secs(5));
        let now = world.now;
        sent += write(&mut world.gateway, far, &expected[sent..], now);
        got.extend(read(&mut world.client, near, now));
        if got.len() > 100_000 {
            world.longest = 1300;
        }
        world.step(now + Duration::from_millis(10));
    }
    assert!(got == expected);
    let stats = world.gateway.engine.stats();
    assert!(stats.value(Counter::PathLowered) > 0 && stats.value(Counter::PathTooNarrow) > 0);
}

#[test]
fn no_datagram_exceeds_a_path_that_was_measured() {
    let mut world = World::new();
    let (near, far) = world.open();
    let address = world.client.address.ip();
    // 1303 bytes for packets, which padding to a multiple of 16 would exceed.
    world.gateway.engine.handle_path_mtu(address, 1363, world.now);
    world.longest = 1363 - 28;
    world.gateway.engine.flow(far).unwrap().opened(None, world.now);
    world.run(Duration::from_secs(1));
    let expected = pattern(100_000);
    let (mut got, mut written) = (Vec::new(), 0);
    for _ in 0..100 {
        written += write(&mut world.gateway, far, &expected[written..], world.now);
        world.run(Duration::from_millis(50));
        got.extend(read(&mut world.client, near, world.now));
    }
    assert!(got == expected);
    let lowered = world.gateway.engine.stats().value(Counter::PathLowered);
    assert_eq!(lowered, 1, "by what was measured, not by refusals");
}

#[test]
fn paths_are_asked_for_with_each_endpoint_and_each_session() {
    let mut world = World::new();
    let asked =
        |end: &mut End| std::iter::from_fn(|| end.engine.poll_path_question()).collect::<Vec<_>>();
    assert_eq!(asked(&mut world.client), [socket(GATEWAY_ADDRESS)], "which is configured");
    assert_eq!(asked(&mut world.gateway), []);
    world.open_and_accept();
    assert_eq!(asked(&mut world.client), [socket(GATEWAY_ADDRESS)]);
    assert_eq!(asked(&mut world.gateway), [socket(CLIENT_ADDRESS)], "which has called");
    assert_eq!(asked(&mut world.gateway), [], "once");
}

#[test]
fn nothing_is_lost_with_every_tenth_datagram_lost() {
    let mut world = World::new();
    world.lose_every(10);
    let near = world.client.engine.open_tcp(socket(SERVER), world.now).unwrap();
    let patience = world.now + Duration::from_secs(30);
    let far = loop {
        if let Some(Action::Open(flow)) = world.gateway.actions.first() {
            break *flow;
        }
        assert!(world.step(patience), "the SYN arrived in the end");
    };
    world.gateway.engine.flow(far).unwrap().opened(None, world.now);
    let expected = pattern(200_000);
    let started_at = world.now;
    let (mut sent, mut got) = (0, Vec::new());
    let deadline = world.now + Duration::from_secs(3600);
    while got.len() < expected.len() {
        assert!(world.now < deadline, "{} bytes", got.len());
        let now = world.now;
        sent += write(&mut world.client, near, &expected[sent..], now);
        got.extend(read(&mut world.gateway, far, now));
        world.step(now + Duration::from_millis(100));
    }
    assert!(got == expected);
    // smoltcp by itself waits a second or more for each window with two losses.
    let time = world.now.saturating_duration_since(started_at);
    assert!(time < Duration::from_secs(12), "{time:?}");
}

#[test]
fn a_refusal_at_the_far_host_reaches_the_local_client() {
    for (refusal, abort) in [
        (Refusal::Refused, Abort::Reset),
        (Refusal::HostUnreachable, Abort::Unreachable),
        (Refusal::NetworkUnreachable, Abort::Unreachable),
        (Refusal::Prohibited, Abort::Unreachable),
    ] {
        let mut world = World::new();
        let (near, far) = world.open();
        world.gateway.engine.flow(far).unwrap().refused(refusal, world.now);
        world.run(Duration::from_millis(100));
        assert_eq!(world.client.actions, [Action::Aborted(near, abort)], "{refusal:?}");
    }
}

#[test]
fn a_reset_at_either_end_is_a_reset_at_the_other() {
    for at_client in [true, false] {
        let mut world = World::new();
        let (near, far) = world.open_and_accept();
        let now = world.now;
        if at_client {
            world.client.engine.flow(near).unwrap().abort(now);
        } else {
            world.gateway.engine.flow(far).unwrap().abort(now);
        }
        world.run(Duration::from_millis(100));
        let (actions, flow) =
            if at_client { (&world.gateway.actions, far) } else { (&world.client.actions, near) };
        assert_eq!(actions[..], [Action::Aborted(flow, Abort::Reset)]);
    }
}

#[test]
fn a_reader_that_stops_stops_the_writer_and_nothing_is_lost() {
    let mut world = World::new();
    let (near, far) = world.open_and_accept();
    let expected = pattern(8_000_000);
    let mut sent = 0;
    let writing = world.now + Duration::from_secs(20);
    while world.now < writing {
        let now = world.now;
        sent += write(&mut world.client, near, &expected[sent..], now);
        if !world.step(now + Duration::from_millis(100)) {
            continue;
        }
    }
    assert!(sent < 2_200_000, "two rings at most: {sent}");
    let mut got = Vec::new();
    let deadline = world.now + Duration::from_secs(600);
    while got.len() < expected.len() {
        assert!(world.now < deadline, "{} bytes", got.len());
        let now = world.now;
        sent += write(&mut world.client, near, &expected[sent..], now);
        got.extend(read(&mut world.gateway, far, now));
        world.step(now + Duration::from_millis(100));
    }
    assert!(got == expected);
}

#[test]
fn datagrams_pass_both_ways() {
    let mut world = World::new();
    let near = world.client.engine.open_udp(socket(SERVER), world.now).unwrap();
    let any = socket("127.0.0.1:9");
    for payload in [&b"one"[..], &[7; 1392], b""] {
        world.client.engine.flow(near).unwrap().send_datagram(
            any,
            TrafficClass::DEFAULT,
            payload,
            world.now,
        );
    }
    world.run(Duration::from_secs(1));
    let Some(Action::Open(far)) = world.gateway.actions.first().copied() else {
        panic!("{:?}", world.gateway.actions)
    };
    world.gateway.engine.flow(far).unwrap().opened(None, world.now);
    let payloads: Vec<_> =
        world.gateway.datagrams.iter().map(|(_, _, bytes)| bytes.len()).collect();
    assert_eq!(payloads, [3, 1392, 0]);
    world.gateway.engine.flow(far).unwrap().send_datagram(
        socket(SERVER),
        TrafficClass::DEFAULT,
        b"answer",
        world.now,
    );
    world.run(Duration::from_secs(1));
    assert_eq!(world.client.datagrams, [(near, socket(SERVER), b"answer".to_vec())]);
}

#[test]
fn a_stale_id_is_harmless() {
    let mut world = World::new();
    let (near, far) = world.open_and_accept();
    let now = world.now;
    world.client.engine.flow(near).unwrap().abort(now);
    world.run(Duration::from_millis(100));
    let again = world.client.engine.open_tcp(socket(SERVER), world.now).unwrap();
    assert_ne!(again, near);
    assert_eq!(world.client.engine.flow(near).map(|flow| flow.id()), Err(NoFlow));
    assert_eq!(world.gateway.engine.flow(far).map(|flow| flow.id()), Err(NoFlow));
    assert!(world.client.engine.meta(again).is_some());
}

#[test]
fn a_flow_goes_on_across_many_rekeys() {
    let mut world = World::new();
    let (near, far) = world.open_and_accept();
    for round in 0..120_u8 {
        world.run(Duration::from_secs(10));
        let now = world.now;
        assert_eq!(write(&mut world.client, near, &[round; 100], now), 100);
        assert_eq!(write(&mut world.gateway, far, &[round; 100], now), 100);
        world.run(Duration::from_secs(1));
        let now = world.now;
        assert_eq!(read(&mut world.gateway, far, now), [round; 100], "round {round}");
        assert_eq!(read(&mut world.client, near, now), [round; 100], "round {round}");
    }
    assert!(world.client.engine.stats().value(Counter::Handshakes) >= 10);
}

#[test]
fn shutting_down_resets_every_flow() {
    let mut world = World::new();
    let (near, far) = world.open_and_accept();
    world.gateway.engine.shut_down(world.now);
    world.run(Duration::from_millis(100));
    assert!(matches!(world.gateway.actions[..], [Action::Aborted(flow, _)] if flow == far));
    assert_eq!(world.client.actions, [Action::Aborted(near, Abort::Reset)]);
}

#[test]
fn the_source_of_a_flow_is_the_tunnel_address() {
    let mut world = World::new();
    let (_, far) = world.open();
    let meta = world.gateway.engine.meta(far).unwrap();
    assert_eq!(meta.source.ip(), "10.0.0.2".parse::<IpAddr>().unwrap());
    assert_eq!(meta.destination, socket(SERVER));
    assert_eq!(meta.peer.name, "other");
}
