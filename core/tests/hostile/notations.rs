//! One thing said in many ways: protected addresses wrapped into others, and headers in chains.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::packets::{self, ACK, RST, SYN, Segment, udp};
use crate::segments;
use crate::world::{World, inner, socket};

const PROHIBITED: [u8; 2] = [1, 1];

/// An IPv4 address in every notation that IPv6 has for it.
fn wrappings(address: Ipv4Addr) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = address.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    vec![
        // Mapped, compatible, translated.
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
        // NAT64, well known and local.
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
        // 6to4, Teredo, ISATAP.
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0, 0xc000, 0x201, 0, 0, !high, !low),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0x5efe, high, low),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0x200, 0x5efe, high, low),
    ]
}

fn protected() -> Vec<IpAddr> {
    let v4 = ["127.0.0.1", "0.0.0.1", "169.254.169.254", "224.0.0.1", "240.0.0.1", "192.0.2.1"];
    let v6 = ["::1", "fe80::1", "fec0::1", "2001:db8::1"];
    let v4 = v4.iter().map(|text| text.parse::<Ipv4Addr>().unwrap());
    let wrapped = v4.clone().flat_map(wrappings).map(IpAddr::V6);
    wrapped.chain(v4.map(IpAddr::V4)).chain(v6.iter().map(|text| text.parse().unwrap())).collect()
}

#[test]
fn protected_addresses_are_refused_in_every_notation() {
    for target in protected() {
        let mut world = World::new(1, |parts| {
            let own = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap());
            parts.gateway.as_mut().unwrap().host_addresses = own.to_vec();
        });
        let near = inner(0, target.is_ipv6(), 4000);
        let far = (target, 80).into();
        world.send(0, &Segment { flags: SYN, ..Segment::new(near, far) }.bytes());
        world.send(0, &udp(near, far, b"x"));
        assert!(world.actions.is_empty() && world.datagrams.is_empty(), "{target}");
        let mapped = matches!(target, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        let answers = world.received(0);
        if mapped || target.is_multicast() {
            // No address of a packet, or of nobody who could answer.
            assert!(answers.is_empty(), "{target}");
            continue;
        }
        let resets = answers.iter().filter_map(|bytes| Segment::read(bytes));
        assert_eq!(resets.filter(|segment| segment.has(RST)).count(), 1, "{target}");
        if target.is_ipv6() {
            let errors = answers.iter().filter(|bytes| bytes[6] == packets::ICMPV6);
            let codes: Vec<_> = errors.map(|bytes| [bytes[40], bytes[41]]).collect();
            assert_eq!(codes, [PROHIBITED], "{target}");
        }
    }
}

/// A datagram behind a chain of extension headers of 8 bytes each.
fn chained(kinds: &[u8]) -> Vec<u8> {
    let plain = udp(inner(0, true, 4000), socket("[2001:db8::9]:53"), b"chained");
    let mut packet = plain[..40].to_vec();
    let mut next = packets::UDP;
    let mut chain = Vec::new();
    for kind in kinds.iter().rev() {
        chain.splice(0..0, [next, 0, 1, 4, 0, 0, 0, 0]);
        next = *kind;
    }
    packet[6] = next;
    packet.extend(chain);
    packet.extend(&plain[40..]);
    let len = (packet.len() - 40) as u16;
    packet[4..6].copy_from_slice(&len.to_be_bytes());
    packet
}

#[test]
fn chains_of_extension_headers_are_walked_to_a_bound_and_no_further() {
    const HOP_BY_HOP: u8 = 0;
    const OPTIONS: u8 = 60;
    let mut world = World::new(1, |_| {});
    world.send(0, &chained(&[HOP_BY_HOP, OPTIONS, OPTIONS]));
    assert_eq!(world.datagrams.pop().map(|(_, _, payload)| payload), Some(b"chained".to_vec()));
    world.actions.clear();
    for links in [9, 20, 170] {
        world.send(0, &chained(&vec![OPTIONS; links]));
    }
    // Chains that point past the packet, at nothing, and at themselves.
    for (at, byte) in [(41, 255), (40, 59), (40, OPTIONS), (6, packets::FRAGMENT)] {
        let mut packet = chained(&[OPTIONS]);
        packet[at] = byte;
        world.send(0, &packet);
    }
    assert!(world.actions.is_empty() && world.datagrams.is_empty());
    world.send(0, &udp(inner(0, true, 4000), socket("[2001:db8::9]:53"), b"plain"));
    assert_eq!(world.datagrams.len(), 1, "the mapping goes on");
}

/// The inner source is looked up by the longest prefix, over all peers.
#[test]
fn a_source_of_another_peer_is_dropped_whatever_it_carries() {
    let mut world = World::new(2, |parts| {
        parts.peers[0].allowed_ips.push("10.0.0.0/24".parse().unwrap());
    });
    for v6 in [false, true] {
        let (stolen, far) =
            (inner(1, v6, 4000), if v6 { "[2001:db8::9]:80" } else { "192.0.2.80:80" });
        let far = socket(far);
        world.send(0, &udp(stolen, far, b"x"));
        world.send(0, &Segment { flags: SYN, ..Segment::new(stolen, far) }.bytes());
        world.send(0, &Segment { flags: ACK, ..Segment::new(stolen, far) }.bytes());
        let long = udp(stolen, far, &[0; 2_000]);
        for (start, end, more) in [(0, 1_000, true), (1_000, 2_008, false)] {
            world.send(0, &packets::fragment(&long, start, end, start, more, 7));
        }
    }
    world.pass(Duration::from_secs(1));
    assert!(world.actions.is_empty() && world.datagrams.is_empty());
    assert!(segments(&mut world, 0).is_empty() && segments(&mut world, 1).is_empty());
    world.send(0, &udp(socket("10.0.0.200:4000"), socket("192.0.2.80:80"), b"its own"));
    assert_eq!(world.datagrams.len(), 1);
}
