//! Packets: padding, what a peer may send from, headers that lie, queues that are full.

use crate::config::peer::Others as _;
use crate::limits::{QUEUED_LEN_MAX, QUEUED_PACKETS_MAX};
use crate::tunnel::tests::*;

/// A packet from end 0 to end 1 with some bytes changed.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut packet = packet(inner_address(0), inner_address(1), 1, 60);
    change(&mut packet);
    packet
}

#[test]
fn packets_arrive_as_they_were_sent() {
    let mut net = Net::connected();
    net.clear_received();
    let lengths = (24..=usize::from(MTU)).step_by(7).chain([MTU.into()]);
    let packets: Vec<_> =
        lengths.map(|len| packet(inner_address(0), inner_address(1), len as u32, len)).collect();
    for packet in &packets {
        net.send_packet(0, packet.clone());
    }
    net.run(seconds(1));
    assert_eq!(net.ends[1].received, packets);
}

#[test]
fn lengths_are_padded_within_the_mtu() {
    let mut net = Net::connected();
    let mut wire_len = |len| {
        net.send_packet(0, packet(inner_address(0), inner_address(1), 1, len));
        net.sent.last().unwrap().1.bytes.len()
    };
    assert_eq!(wire_len(33), 48 + DATA_OVERHEAD);
    assert_eq!(wire_len(48), 48 + DATA_OVERHEAD);
    assert_eq!(wire_len(usize::from(MTU) - 1), usize::from(MTU) + DATA_OVERHEAD);
}

#[test]
fn a_packet_above_the_mtu_is_counted() {
    let mut net = Net::connected();
    net.send_packet(0, packet(inner_address(0), inner_address(1), 1, usize::from(MTU) + 1));
    assert_eq!(net.ends[0].count(Counter::DropTooBig), 1);
}

#[test]
fn a_source_that_is_not_the_peers_is_dropped() {
    let mut net = Net::new([
        config(0, vec![reachable(1)]),
        config(1, vec![peer(0), peer(2)]),
        config(2, vec![reachable(1)]),
    ]);
    for source in [inner_address(2), inner_address(1), Ipv4Addr::new(8, 8, 8, 8)] {
        net.send_packet(0, packet(source, inner_address(1), 1, 60));
    }
    net.send(0, 1, 5);
    net.send(2, 1, 6);
    net.run(seconds(1));
    assert_eq!(net.ends[1].numbers(), [5, 6]);
    assert_eq!(net.ends[1].count(Counter::DropSource), 3);
    assert_eq!(net.ends[1].count(Counter::PacketsIn), 2);
}

#[test]
fn a_narrower_prefix_of_another_peer_takes_its_addresses_away() {
    let wide = config::Peer { allowed_ips: vec!["10.0.0.0/8".parse().unwrap()], ..peer(0) };
    let mut net = Net::new([
        config(0, vec![reachable(1)]),
        config(1, vec![wide, peer(2)]),
        config(2, vec![]),
    ]);
    net.send_packet(0, packet(Ipv4Addr::new(10, 9, 9, 9), inner_address(1), 5, 60));
    net.send_packet(0, packet(inner_address(2), inner_address(1), 6, 60));
    net.run(seconds(1));
    assert_eq!(net.ends[1].numbers(), [5]);
    assert_eq!(net.ends[1].count(Counter::DropSource), 1);
}

#[test]
fn headers_that_lie_are_counted_and_keep_the_session() {
    let mut net = Net::connected();
    net.clear_received();
    let total_length =
        |len: u16| changed(|packet| packet[2..4].copy_from_slice(&len.to_be_bytes()));
    let lies = [
        total_length(0),
        total_length(1),
        total_length(19),
        total_length(u16::MAX),
        changed(|packet| {
            packet[0] = 0x4f;
            packet[2..4].copy_from_slice(&59_u16.to_be_bytes());
        }),
        changed(|packet| packet[0] = 0x44),
        changed(|packet| packet[0] = 0x75),
        changed(|packet| packet[0] = 0),
        changed(|packet| {
            packet[0] = 0x60;
            packet[4..6].copy_from_slice(&1000_u16.to_be_bytes());
        }),
    ];
    let count = lies.len() as u64;
    for mut lie in lies {
        // To the peer whoever it is for: the destination may lie as well.
        lie.resize(60, 0);
        let End { tunnel, egress, monitor, .. } = &mut net.ends[0];
        tunnel.send(PeerId::first(0), &mut lie, 60, egress, monitor, net.now);
        net.drain(0);
    }
    net.run(seconds(1));
    assert!(net.ends[1].received.is_empty());
    assert_eq!(net.ends[1].count(Counter::DropIpHeader), count);
    net.send(0, 1, 7);
    net.run(seconds(1));
    assert_eq!(net.ends[1].numbers(), [7]);
}

#[test]
fn packets_waiting_for_a_session_are_bounded() {
    let mut net = Net::pair();
    let excess = 10;
    for number in 0..QUEUED_PACKETS_MAX as u32 + excess {
        net.send(0, 1, number);
    }
    assert_eq!(net.ends[0].count(Counter::DropNoSession), excess.into());
    net.run(seconds(1));
    assert_eq!(net.ends[1].received.len(), QUEUED_PACKETS_MAX);

    net.clear_received();
    net.loses = Box::new(|_, _| true);
    net.run(seconds(400));
    let fill = |net: &mut Net| (0..QUEUED_PACKETS_MAX as u32).for_each(|n| net.send(0, 1, n));
    fill(&mut net);
    net.run(seconds(400));
    fill(&mut net);
    net.loses = Box::new(|_, _| false);
    net.run(seconds(10));
    assert_eq!(net.ends[1].received.len(), QUEUED_PACKETS_MAX, "those given up make room");
    assert_eq!(net.ends[0].count(Counter::DropNoSession), excess.into());
}

#[test]
fn packets_for_silent_peers_are_bounded_and_each_peer_has_room() {
    // Nothing has to be padded.
    const LEN: usize = 1408;
    let peers: Vec<_> = (1..=100).map(reachable).collect();
    let mut net = Net::new([config(0, peers)]);
    let lost = |net: &Net| net.ends[0].count(Counter::DropNoSession);
    for end in 1..=100 {
        let before = lost(&net);
        for number in 0..QUEUED_PACKETS_MAX as u32 {
            net.send_packet(0, packet(inner_address(0), inner_address(end), number, LEN));
            assert!(number > 0 || lost(&net) == before, "the first packet of peer {end}");
        }
        assert!(net.ends[0].tunnel.queued_len <= QUEUED_LEN_MAX + end * LEN);
    }
    assert!(lost(&net) > 0);

    let End { tunnel, monitor, .. } = &mut net.ends[0];
    let first = tunnel.with_name("end 1").unwrap();
    let queued_len = tunnel.queued_len;
    tunnel.remove_peer(first, monitor, net.now).unwrap();
    assert_eq!(queued_len - tunnel.queued_len, QUEUED_PACKETS_MAX * LEN);
    net.run(seconds(400));
    assert_eq!(net.ends[0].tunnel.queued_len, 0, "what is given up");
}

#[test]
fn a_full_egress_is_counted_and_leaves_room_for_handshakes() {
    let mut net = Net::connected();
    let End { tunnel, egress, monitor, .. } = &mut net.ends[1];
    let mut port = 1000;
    while egress.has_room() {
        let elsewhere = SocketAddr::from(([203, 0, 113, 1], port));
        egress.reserve(elsewhere.into(), 100).unwrap().commit(100);
        port += 1;
    }
    let mut data = packet(inner_address(1), inner_address(0), 1, 100);
    tunnel.send(PeerId::first(0), &mut data, 100, egress, monitor, net.now);
    assert_eq!(monitor.stats().value(Counter::DropEgressFull), 1);
    let configuration = config(0, vec![kept_alive(1)]);
    net.restart(0, &configuration);
    net.run(seconds(1));
    assert!(net.is_up(0));
}

#[test]
fn datagrams_and_packets_are_counted() {
    let mut net = Net::connected();
    net.send(0, 1, 1);
    net.run(seconds(1));
    let [a, b] = &net.ends[..] else { panic!("two ends") };
    assert_eq!(a.count(Counter::PacketsOut), 2);
    assert_eq!(b.count(Counter::PacketsIn), 2);
    assert_eq!(a.count(Counter::DatagramsOut), b.count(Counter::DatagramsIn));
    assert_eq!(a.count(Counter::BytesOut), b.count(Counter::BytesIn));
}
