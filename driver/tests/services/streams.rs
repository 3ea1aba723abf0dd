//! Byte streams.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown};
use std::sync::mpsc::channel;
use std::time::Duration;

use slipwire_core::{FlowId, FlowMeta, Refusal};
use slipwire_driver::{PeerStream, StreamEnd, StreamService};

use crate::recorders::{Call, doing, echo};
use crate::world::{CLIENT, World, key, moved};

#[test]
fn a_stream_says_whose_it_is_and_where_it_was_meant_to_go() {
    let targets = ["192.0.2.7:81", "10.77.0.1:9000"];
    let mut world = World::with_tcp(&targets);
    let (service, calls) = echo();
    world.server.serve_streams(.., service).unwrap();
    for (forward, to) in targets.into_iter().enumerate() {
        let mut client = world.connect(forward);
        client.write_all(b"hello").unwrap();
        assert_eq!(world.read(&mut client, 5), b"hello");
        let Call::Accept(flow, meta) = calls.recv().unwrap() else { panic!("not accepted") };
        assert_eq!(meta.peer.name, "client");
        assert_eq!(meta.peer.public_key, key(CLIENT).public_key());
        assert_eq!(meta.source.ip(), IpAddr::from([10, 77, 0, CLIENT]));
        assert_eq!(meta.destination, to.parse().unwrap());
        assert_eq!(world.server.stream(flow).unwrap().meta().source, meta.source);
    }
}

#[test]
fn either_side_ends_its_direction_and_the_other_goes_on() {
    let mut world = World::with_tcp(&["10.77.0.1:7", "10.77.0.1:8"]);
    let (service, calls) = echo();
    world.server.serve_streams(7, service).unwrap();
    let mut client = world.connect(0);
    client.write_all(b"all of it").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(world.read_to_end(&mut client), b"all of it");
    let flow = world.accepted(&calls);
    assert_eq!(world.ended(&calls), (flow, StreamEnd::Complete));
    assert!(world.server.stream(flow).is_err(), "nothing is left of it");

    let mut received = Vec::new();
    let (service, calls) = doing(move |stream| {
        stream.finish();
        assert_eq!(stream.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
        stream.read_to_end(&mut received)?;
        assert_eq!(received, b"still read");
        Ok(())
    });
    world.server.serve_streams(8, service).unwrap();
    let mut client = world.connect(1);
    assert_eq!(world.read_to_end(&mut client), b"");
    client.write_all(b"still read").unwrap();
    drop(client);
    let flow = world.accepted(&calls);
    assert_eq!(world.ended(&calls), (flow, StreamEnd::Complete));
}

#[test]
fn a_service_that_fails_resets_the_stream() {
    let mut world = World::with_tcp(&["10.77.0.1:7"]);
    let (service, calls) = doing(|stream| match stream.read(&mut [0; 100])? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    });
    world.server.serve_streams(7, service).unwrap();
    let mut client = world.connect(0);
    client.write_all(b"nonsense").unwrap();
    assert_eq!(world.error(&mut client), ErrorKind::ConnectionReset);
    let flow = world.accepted(&calls);
    assert_eq!(world.ended(&calls), (flow, StreamEnd::GivenUp));
}

#[test]
fn a_stream_that_is_refused_was_never_open() {
    struct Closed;
    impl StreamService for Closed {
        type State = ();
        fn accept(&mut self, _: FlowId, meta: &FlowMeta) -> Result<(), Refusal> {
            if meta.destination.port() == 7 { Err(Refusal::Prohibited) } else { Ok(()) }
        }
        fn ready(&mut self, (): &mut (), stream: &mut PeerStream<'_>) -> io::Result<()> {
            assert_ne!(stream.meta().destination.port(), 7);
            stream.finish();
            Ok(())
        }
    }
    let mut world = World::with_tcp(&["10.77.0.1:7", "10.77.0.1:8"]);
    world.server.serve_streams(7..=8, Closed).unwrap();
    let mut clients = [0, 1].map(|forward| world.connect(forward));
    assert_eq!(world.error(&mut clients[0]), ErrorKind::ConnectionReset);
    assert_eq!(world.read_to_end(&mut clients[1]), b"");
}

#[test]
fn a_service_that_does_not_read_stops_its_peer_and_nobody_else() {
    let mut world = World::with_tcp(&["10.77.0.1:7", "10.77.0.1:8"]);
    let (deaf, calls) = doing(|_| Ok(()));
    world.server.serve_streams(7, deaf).unwrap();
    world.server.serve_streams(8, echo().0).unwrap();
    let mut client = world.connect(0);
    let sent = world.fill(&mut client);
    let mut other = world.connect(1);
    other.write_all(b"not held up").unwrap();
    assert_eq!(world.read(&mut other, 11), b"not held up");

    // What it did not read waits, and is read from outside: all of it, and then the end.
    client.shutdown(Shutdown::Write).unwrap();
    let flow = world.accepted(&calls);
    let mut received = Vec::new();
    world.until(|world| match world.server.stream(flow).unwrap().read_to_end(&mut received) {
        Ok(_) => Some(()),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            None
        }
    });
    assert_eq!(received, sent);
}

#[test]
fn a_stream_is_written_to_and_ended_between_turns() {
    let mut world = World::with_tcp(&["10.77.0.1:7"]);
    let (silent, calls) = doing(|_| Ok(()));
    world.server.serve_streams(7, silent).unwrap();
    let mut client = world.connect(0);
    let flow = world.accepted(&calls);
    // There is no room before the peer has heard that it was accepted.
    world.until(|world| world.server.stream(flow).unwrap().write_all(b"by the way").ok());
    assert_eq!(world.server.next_timeout(), Some(Duration::ZERO), "the next turn does not block");
    assert_eq!(world.read(&mut client, 10), b"by the way");
    world.server.stream(flow).unwrap().finish();
    assert_eq!(world.read_to_end(&mut client), b"");

    let mut client = world.connect(0);
    let flow = world.accepted(&calls);
    let mut stream = world.server.stream(flow).unwrap();
    stream.abort();
    assert_eq!(stream.write(b"no more").unwrap_err().kind(), ErrorKind::NotConnected);
    assert_eq!(world.error(&mut client), ErrorKind::ConnectionReset);
    assert_eq!(world.ended(&calls), (flow, StreamEnd::GivenUp));
}

#[test]
fn a_service_may_be_the_first_to_speak() {
    let mut world = World::with_tcp(&["10.77.0.1:7"]);
    let mut greeting = &b"welcome"[..];
    let (polite, _calls) = doing(move |stream| stream.write_from(&mut greeting));
    world.server.serve_streams(7, polite).unwrap();
    let mut client = world.connect(0);
    assert_eq!(world.read(&mut client, 7), b"welcome");
}

#[test]
fn a_service_that_takes_a_little_at_a_time_gets_all_of_it() {
    let mut world = World::with_tcp(&["10.77.0.1:7"]);
    let (sender, received) = channel();
    let (slow, _calls) = doing(move |stream| {
        let mut byte = [0; 10];
        let len = stream.read(&mut byte)?;
        sender.send(len).unwrap();
        Ok(())
    });
    world.server.serve_streams(7, slow).unwrap();
    world.connect(0).write_all(&[1; 10_000]).unwrap();
    let mut total = 0;
    world.until(|_| {
        total += received.try_iter().sum::<usize>();
        (total == 10_000).then_some(())
    });
}

#[test]
fn more_than_any_ring_holds_goes_both_ways() {
    let mut world = World::with_tcp(&["10.77.0.1:7"]);
    world.server.serve_streams(7, echo().0).unwrap();
    let mut client = world.connect(0);
    let sent: Vec<u8> = (0..3_u32 << 20).map(|at| (at / 1000) as u8).collect();
    let (mut written, mut received) = (0, Vec::new());
    world.until(|_| {
        written += moved(client.write(&sent[written..]));
        let mut chunk = [0; 64 << 10];
        let len = moved(client.read(&mut chunk));
        received.extend_from_slice(&chunk[..len]);
        (received.len() == sent.len()).then_some(())
    });
    assert_eq!(received, sent);
}
