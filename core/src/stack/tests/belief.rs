//! What a connection believes of a segment, and what it does not.

use smoltcp::wire::TcpControl::{None as Ack, Syn};

use crate::stack::tests::*;

const CLIENT: &str = "10.0.0.2:40000";

/// RFC 9293, section 3.10.7.4: who does not know where the far end stands acknowledges nothing.
#[test]
fn an_acknowledgement_from_beyond_the_window_is_not_believed() {
    for (distance, is_believed) in [(1 << 20, false), (-2_000_000, false), (0, true)] {
        let mut world = World::new();
        let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
        write_all(&mut world, flow, b"hello");
        world.actions();
        client.received(&mut world);
        let next = client.next;
        client.next = TcpSeqNumber(next.0.wrapping_add(distance));
        client.send(&mut world, Ack, &[]);
        world.actions();
        let tcp = world.stack.flows.get_mut(flow).unwrap().tcp_mut().unwrap();
        let awaits = tcp.connection_mut().unwrap().awaits_acknowledgement();
        assert_eq!(!awaits, is_believed, "{distance}");
    }
}

/// Who has no room for a FIN or a probe of the far end still hears what it acknowledges.
#[test]
fn acknowledgements_are_believed_where_the_window_is_shut() {
    for beyond in [0, 1] {
        let mut world = World::with(|parts| parts.tcp.receive_buffer = 8 << 10);
        let (mut client, flow) = Client::connect(&mut world, CLIENT, HOST);
        for _ in 0..8 {
            client.send(&mut world, Ack, &[1; 1_024]);
        }
        write_all(&mut world, flow, b"answer");
        world.actions();
        client.received(&mut world);
        client.next += beyond;
        let edge = client.segment(Ack, &[]);
        world.receive(ALICE, &edge);
        world.actions();
        world.wait(Duration::from_secs(5));
        world.actions();
        let again = client.received(&mut world);
        assert!(again.iter().all(|sent| sent.payload.is_empty()), "{beyond}: {again:?}");
    }
}

/// A far end that asks for nothing or next to nothing is not sent a packet for each byte.
#[test]
fn a_tiny_segment_size_is_no_burden() {
    for (offered, largest) in [(0, 536), (1, 48), (100, 100)] {
        let mut world = World::new();
        let mut client = Client::new(CLIENT, HOST);
        let mut syn = client.segment(Syn, &[]);
        // The option of the maximum segment size comes first.
        assert_eq!(syn[40..44], [2, 4, 0x05, 0x64]);
        syn[42..44].copy_from_slice(&u16::to_be_bytes(offered));
        TcpPacket::new_unchecked(&mut syn[20..])
            .fill_checksum(&client.local.ip().into(), &client.remote.ip().into());
        client.next += 1;
        world.receive(ALICE, &syn);
        let flow = world.offered();
        world.opened(flow);
        world.actions();
        client.received(&mut world);
        client.send(&mut world, Ack, &[]);
        write_all(&mut world, flow, &[1; 2_000]);
        world.actions();
        let sent = client.received(&mut world);
        assert_eq!(sent.iter().map(|segment| segment.payload.len()).max(), Some(largest));
    }
}
