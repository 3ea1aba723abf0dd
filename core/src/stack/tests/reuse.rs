//! A client begins anew from a port that it has used before: what stands in its way there.

use smoltcp::wire::TcpControl::{Fin, None as Ack, Rst, Syn};

use crate::flow::Abort;
use crate::stack::tests::*;

const CLIENT: &str = "10.0.0.2:40000";

/// A client that has forgotten all that was, with a later sequence number.
fn begun_anew() -> Client {
    Client { next: TcpSeqNumber(9_000_000), ..Client::new(CLIENT, HOST) }
}

/// Sends a SYN of a client that begins anew, and has it connect.
fn connects(world: &mut World) -> FlowId {
    let mut again = begun_anew();
    again.send(world, Syn, &[]);
    let flow = world.offered();
    world.opened(flow);
    world.actions();
    let answer = again.received(world).pop().unwrap();
    assert_eq!((answer.control, answer.acknowledgement), (Syn, Some(again.next)));
    again.send(world, Ack, b"anew");
    assert_eq!(world.actions(), [Action::Readable(flow)]);
    assert_eq!(read_all(world, flow), b"anew");
    world.sent();
    flow
}

/// RFC 5961, section 4.2.
#[test]
fn a_syn_is_challenged_while_one_byte_or_a_fin_is_in_flight() {
    for fin in [false, true] {
        let mut world = World::new();
        let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
        if fin {
            world.host_ended(flow);
        } else {
            write_all(&mut world, flow, b"x");
        }
        world.actions();
        assert_eq!(client.received(&mut world).len(), 1);
        world.receive(ALICE, &begun_anew().segment(Syn, &[]));
        world.actions();
        let challenge = client.received(&mut world);
        assert_eq!(challenge.len(), 1, "FIN: {fin}");
        assert_eq!(challenge[0].acknowledgement, Some(client.next));
    }
}

#[test]
fn a_connection_that_is_over_but_unread_is_in_nobodys_way() {
    let mut world = World::new();
    let (mut client, old) = Client::connect(&mut world, CLIENT, HOST);
    client.send(&mut world, Ack, b"unread");
    client.send(&mut world, Fin, &[]);
    world.host_ended(old);
    assert_eq!(world.actions(), [Action::Readable(old)]);
    client.received(&mut world);
    client.send(&mut world, Ack, &[]);
    assert!(world.actions().is_empty(), "the host reads nothing");
    client.received(&mut world);
    client.next = TcpSeqNumber(client.next.0 - 1);
    client.send(&mut world, Fin, &[]);
    let answer = client.received(&mut world).pop().unwrap();
    assert_eq!(answer.acknowledgement, Some(client.next), "a repeated FIN has its answer");

    let new = connects(&mut world);
    assert_eq!(read_all(&mut world, old), b"unread");
    assert_eq!(world.actions(), [Action::Shutdown(old), Action::Closed(old)]);
    assert!(world.stack.meta(old).is_none() && world.stack.meta(new).is_some());
    assert!(world.sent().is_empty(), "the end of the old one is not the new one's");
}

#[test]
fn a_connection_that_was_reset_but_is_unread_is_in_nobodys_way() {
    let mut world = World::new();
    let (mut client, old) = Client::connect(&mut world, CLIENT, HOST);
    client.send(&mut world, Ack, b"unread");
    client.send(&mut world, Rst, &[]);
    assert_eq!(world.actions(), [Action::Readable(old)]);
    let new = connects(&mut world);
    assert_eq!(read_all(&mut world, old), b"unread");
    assert_eq!(world.actions(), [Action::Aborted(old, Abort::Reset)]);
    assert!(world.stack.meta(new).is_some() && world.sent().is_empty());
}

#[test]
fn the_host_failing_behind_an_ended_connection_resets_nobody() {
    for was_reset in [false, true] {
        let mut world = World::new();
        let (mut client, old) = Client::connect(&mut world, CLIENT, HOST);
        client.send(&mut world, Ack, b"unread");
        if was_reset {
            client.send(&mut world, Rst, &[]);
        } else {
            client.send(&mut world, Fin, &[]);
            world.host_ended(old);
            world.actions();
            client.received(&mut world);
            client.send(&mut world, Ack, &[]);
        }
        world.actions();
        connects(&mut world);
        world.sent();
        world.aborted(old);
        world.actions();
        assert!(world.sent().is_empty(), "reset: {was_reset}");
    }
}
