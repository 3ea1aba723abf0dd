//! Congestion marks (ECN) pass from the packet to the datagram around it, and back (RFC 6040).

use crate::tunnel::tests::*;

const MARKS: [Ecn; 4] = [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce];

fn marked(number: u32, ecn: Ecn) -> Vec<u8> {
    let mut packet = packet(inner_address(0), inner_address(1), number, 100);
    packet[1] = ecn.bits();
    packet
}

#[test]
fn a_datagram_is_marked_as_the_packet_in_it() {
    let mut net = Net::connected();
    net.clear_received();
    for (number, ecn) in MARKS.into_iter().enumerate() {
        net.send_packet(0, marked(number as u32, ecn));
    }
    let sent: Vec<_> = net.sent.iter().map(|(_, datagram)| datagram.ecn).collect();
    assert_eq!(sent, MARKS);
}

#[test]
fn handshakes_and_keepalives_are_not_marked() {
    let mut net = Net::new([config(0, vec![kept_alive(1)]), config(1, vec![peer(0)])]);
    net.run(seconds(100));
    assert!(net.sent.len() > 4 && net.sent.iter().all(|(_, d)| d.ecn == Ecn::NotEct));
}

#[test]
fn a_packet_bears_the_mark_that_its_datagram_got_on_the_way() {
    let mut net = Net::connected();
    net.clear_received();
    net.loses = Box::new(|_, _| true);
    for (inner, outer, expected) in [
        (Ecn::Ect0, Ecn::Ect0, Some(Ecn::Ect0)),
        (Ecn::Ect0, Ecn::Ce, Some(Ecn::Ce)),
        (Ecn::Ect1, Ecn::Ce, Some(Ecn::Ce)),
        (Ecn::Ce, Ecn::NotEct, Some(Ecn::Ce)),
        (Ecn::NotEct, Ecn::Ect0, Some(Ecn::NotEct)),
        (Ecn::NotEct, Ecn::Ce, None),
    ] {
        net.clear_received();
        net.send_packet(0, marked(1, inner));
        let (_, datagram) = net.sent.last().unwrap().clone();
        net.deliver(1, &Datagram { ecn: outer, ..datagram });
        let received = net.ends[1].received.first().map(|packet| Ecn::of(packet));
        assert_eq!(received, expected, "{inner:?} in {outer:?}");
    }
    assert_eq!(net.ends[1].count(Counter::DropEcn), 1);
}
