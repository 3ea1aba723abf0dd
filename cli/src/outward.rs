//! Which address this host has for the world outside, found out without sending a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// The address that this machine would write to the Internet from.
pub(crate) fn address() -> Option<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849): routed like any other. Connecting a UDP
    // socket only looks up the route.
    let probes: [(IpAddr, &str); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), "192.0.2.1:9"),
        (Ipv6Addr::UNSPECIFIED.into(), "[2001:db8::1]:9"),
    ];
    probes.into_iter().find_map(|(from, to)| {
        let socket = UdpSocket::bind((from, 0)).ok()?;
        socket.connect(to).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (!address.is_unspecified() && !address.is_loopback()).then_some(address)
    })
}
