//! Every row of the table of answers, as the peer hears it and as it is counted.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::config::RefusedAnswer;
use crate::datagram::Loss;
use crate::flow::Refusal;
use crate::policy::{Denial, Toward};
use crate::stack::answer::Cause;
use crate::stack::limit::bound::Bound;
use crate::stack::packet::{Packet, Transport};
use crate::stack::tests::*;

use Denial::{Closed, Dropped, NoPeer, Protected, Rejected};
use RefusedAnswer::{Drop, Icmp, Reset};
use Toward::{Host, Own};

const V4: [&str; 3] = ["10.0.0.2:4000", "192.0.2.80:80", "192.0.2.99"];
const V6: [&str; 3] = ["[fd00::2]:4000", "[2001:db8::80]:80", "[2001:db8::99]"];

/// What a connection and what a datagram is told: `reset`, `-`, or the ICMP error's type and code
/// for IPv4 and IPv6, and who says so.
type Told = (&'static str, &'static str);

const SILENCE: &str = "-";
const HOST_UNREACHABLE: &str = "3/1 1/3 router";
const NETWORK_UNREACHABLE: &str = "3/0 1/0 router";
const PROHIBITED: &str = "3/13 1/1 router";
const PORT: &str = "3/3 1/4 destination";
const PROTOCOL: &str = "3/2 4/1 destination";
const TOO_BIG: &str = "3/4 2/0 destination";

/// Everything that can be the cause, what is configured for refused connections, and what both are
/// told.
fn rows(hop: IpAddr) -> Vec<(Cause, RefusedAnswer, Told, &'static str)> {
    let denied = |denial, toward| Cause::Denied(denial, toward);
    let unopened = Cause::Unopened;
    let lost = |refusal| Cause::Lost(Loss::Refused(refusal));
    let any = Reset;
    let mut rows = vec![
        (Cause::TtlExceeded, any, ("11/0 3/0 router", "11/0 3/0 router"), "drop_ttl"),
        (Cause::Protocol(None), any, (PROTOCOL, PROTOCOL), "drop_protocol"),
        (Cause::Protocol(Some(Rejected)), any, (PROTOCOL, PROTOCOL), "drop_protocol"),
        (Cause::Protocol(Some(Protected)), any, (PROTOCOL, PROTOCOL), "drop_protocol"),
        (Cause::Protocol(Some(NoPeer)), any, (PROTOCOL, PROTOCOL), "drop_protocol"),
        (Cause::Protocol(Some(Closed)), any, (PROTOCOL, PROTOCOL), "drop_protocol"),
        (Cause::Protocol(Some(Dropped)), any, (SILENCE, SILENCE), "drop_protocol"),
        (Cause::TooBig { mtu: 1300 }, any, (TOO_BIG, TOO_BIG), "drop_too_big"),
        (Cause::PeersNetwork, any, (PROHIBITED, PROHIBITED), "rejected"),
        (Cause::LostAtNoHop, any, (SILENCE, SILENCE), "drop_source"),
        (Cause::Unanswered, any, (HOST_UNREACHABLE, SILENCE), ""),
        (Cause::Lost(Loss::TooBig { mtu: 1300 }), any, (TOO_BIG, TOO_BIG), ""),
        (Cause::Lost(Loss::TimeExceeded { hop }), any, ("11/0 3/0 hop", "11/0 3/0 hop"), ""),
        (denied(Rejected, Host), any, ("reset", PROHIBITED), "rejected"),
        (denied(Protected, Host), any, ("reset", PROHIBITED), "protected"),
        (denied(Protected, Own), any, ("reset", PROHIBITED), "protected"),
        (denied(NoPeer, Host), any, (HOST_UNREACHABLE, HOST_UNREACHABLE), "no_peer"),
        (denied(NoPeer, Own), any, (HOST_UNREACHABLE, HOST_UNREACHABLE), "no_peer"),
        (denied(Closed, Host), any, ("reset", PORT), "drop_no_flow"),
        (denied(Closed, Own), any, ("reset", PORT), "drop_no_flow"),
        (denied(Dropped, Host), any, (SILENCE, SILENCE), "drop_policy"),
        (denied(Dropped, Own), any, (SILENCE, SILENCE), "drop_policy"),
        (Cause::Limit(Bound::Sockets), any, ("reset", PROHIBITED), "limit_reached"),
        (unopened(Refusal::Refused), Reset, ("reset", PORT), "open_refused"),
        (unopened(Refusal::Refused), Icmp, (PORT, PORT), "open_refused"),
        (unopened(Refusal::Refused), Drop, (SILENCE, PORT), "open_refused"),
        (lost(Refusal::Refused), Drop, (SILENCE, PORT), ""),
    ];
    for denial in [None, Some(Rejected), Some(Protected), Some(NoPeer), Some(Closed)] {
        rows.push((Cause::NoFlow(denial), any, ("reset", "reset"), "drop_no_flow"));
    }
    rows.push((Cause::NoFlow(Some(Dropped)), any, (SILENCE, SILENCE), "drop_no_flow"));
    for (refusal, told) in [
        (Refusal::TimedOut, (HOST_UNREACHABLE, SILENCE)),
        (Refusal::HostUnreachable, (HOST_UNREACHABLE, HOST_UNREACHABLE)),
        (Refusal::NetworkUnreachable, (NETWORK_UNREACHABLE, NETWORK_UNREACHABLE)),
        (Refusal::Prohibited, (PROHIBITED, PROHIBITED)),
        (Refusal::Exhausted, ("reset", PROHIBITED)),
    ] {
        // What is configured is about connections that a host refused, and no others.
        for refused in [Reset, Icmp, Drop] {
            rows.push((unopened(refusal), refused, told, "open_refused"));
            rows.push((lost(refusal), refused, told, ""));
        }
    }
    rows.push((unopened(Refusal::Protected), Drop, ("reset", PROHIBITED), "protected"));
    // There are no connections whose datagrams are lost: the same row for both.
    rows.push((lost(Refusal::Protected), Drop, (PROHIBITED, PROHIBITED), "protected"));
    rows
}

/// The kinds of causes; one that is new does not compile here before it has a row above.
const fn kind(cause: Cause) -> usize {
    match cause {
        Cause::TtlExceeded => 0,
        Cause::Protocol(_) => 1,
        Cause::TooBig { .. } => 2,
        Cause::PeersNetwork => 3,
        Cause::NoFlow(_) => 4,
        Cause::Denied(..) => 5,
        Cause::Limit(_) => 6,
        Cause::Unopened(_) => 7,
        Cause::Unanswered => 8,
        Cause::Lost(_) => 9,
        Cause::LostAtNoHop => 10,
    }
}

/// What the world has sent, in the words of the rows, with both versions' types and codes where
/// the one of this version is among them.
fn heard(world: &mut World, [source, destination, hop]: [&str; 3], expected: &str) -> String {
    let Some((peer, mut bytes)) = world.sent().pop() else { return SILENCE.into() };
    assert_eq!(peer, ALICE);
    let packet = Packet::parse(&mut bytes).unwrap();
    assert_eq!(packet.destination, socket(source).ip());
    if matches!(packet.transport, Transport::Tcp { .. }) {
        assert_eq!(packet.source, socket(destination).ip());
        let segment = TcpPacket::new_unchecked(packet.transport_bytes());
        return if segment.rst() { "reset".into() } else { "a segment".into() };
    }
    let [kind, code, ..] = *packet.transport_bytes() else { panic!("a short message") };
    let speaker = if packet.source == socket(destination).ip() {
        "destination"
    } else if packet.source == socket(&format!("{hop}:0")).ip() {
        "hop"
    } else {
        "router"
    };
    let mut words = expected.split(' ');
    let (v4, v6) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let this = if packet.source.is_ipv4() { v4 } else { v6 };
    if this == format!("{kind}/{code}") {
        format!("{v4} {v6} {speaker}")
    } else {
        format!("{kind}/{code} {speaker}")
    }
}

#[test]
fn each_cause_has_its_answer_and_its_counter() {
    let mut kinds = BTreeSet::new();
    for addresses in [V4, V6] {
        let [source, destination, hop] = addresses;
        let hop_address = socket(&format!("{hop}:0")).ip();
        for (cause, refused, (connection, datagram), counter) in rows(hop_address) {
            kinds.insert(kind(cause));
            let syn = Client::new(source, destination).segment(TcpControl::Syn, &[]);
            let question = udp(source, destination, b"?");
            for (mut bytes, expected) in [(syn, connection), (question, datagram)] {
                let mut world = World::with(|parts| parts.tcp.refused = refused);
                let packet = Packet::parse(&mut bytes).unwrap();
                let is_udp = matches!(packet.transport, Transport::Udp { .. });
                if is_udp && matches!(cause, Cause::NoFlow(_)) {
                    continue; // It is of segments alone.
                }
                world.stack.refuse(ALICE, &packet, cause, &mut world.wire, world.now);
                let what = format!("{cause:?}, {refused:?}, {source}, UDP: {is_udp}");
                assert_eq!(heard(&mut world, addresses, expected), expected, "{what}");
                let counted: Vec<&str> = crate::Counter::ALL
                    .iter()
                    .filter(|counter| world.count(**counter) > 0)
                    .map(|counter| counter.name())
                    .collect();
                let expected: Vec<&str> = [counter].into_iter().filter(|c| !c.is_empty()).collect();
                assert_eq!(counted, expected, "{what}");
            }
        }
    }
    assert_eq!(kinds.len(), 11, "each kind of cause has rows");
}

#[test]
fn nothing_answers_an_error_or_what_many_hosts_have() {
    let mut world = World::new();
    let error = icmp("10.0.0.2", "192.0.2.80", [3, 3, 0, 0, 0, 0, 0, 0], &[0; 28]);
    let multicast = udp("10.0.0.2:4000", "239.1.1.1:80", b"?");
    for mut bytes in [error, multicast] {
        let packet = Packet::parse(&mut bytes).unwrap();
        world.stack.refuse(ALICE, &packet, Cause::TtlExceeded, &mut world.wire, world.now);
        assert!(world.sent().is_empty(), "{packet:?}");
    }
    assert_eq!(world.count(crate::Counter::DropTtl), 2, "counted all the same");
}
