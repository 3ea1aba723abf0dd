//! What can be found out about this machine's network without sending a packet.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::{fs, iter};

/// WireGuard's usual port.
const USUAL_PORT: u16 = 51820;

/// How often a port that is free for IPv4 may turn out to be taken for IPv6.
const ATTEMPTS: usize = 16;

/// A resolver for clients of machines whose own only answers on loopback (Quad9).
const PUBLIC_RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9));

/// WireGuard's usual port if it is free, or else another one that is. Nobody holds it until the
/// gateway binds it: who is faster gets it, and the other is told that it is taken.
pub(super) fn free_port() -> Option<u16> {
    let others = (0..ATTEMPTS).filter_map(|_| any_port());
    iter::once(USUAL_PORT).chain(others).find(|port| !is_taken(*port))
}

/// A port that is free for IPv4.
fn any_port() -> Option<u16> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    Some(socket.local_addr().ok()?.port())
}

fn is_taken(port: u16) -> bool {
    let wildcards: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    wildcards.into_iter().any(|address| {
        // Another error, of a system without IPv6 for example, says nothing about the port.
        UdpSocket::bind((address, port)).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
    })
}

/// A resolver that clients of this machine can reach through it.
pub(super) fn resolver() -> IpAddr {
    let configured = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    first_resolver(&configured, is_own).unwrap_or(PUBLIC_RESOLVER)
}

/// Whether an address is one of this machine: only those can be bound to.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// The first that is not on this machine and not link-local: the gateway leads to neither.
fn first_resolver(resolv_conf: &str, is_own: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut addresses = resolv_conf.lines().filter_map(|line| {
        let (key, value) = line.trim().split_once(char::is_whitespace)?;
        if key == "nameserver" { value.trim().parse::<IpAddr>().ok() } else { None }
    });
    addresses.find(|address| {
        let leads_nowhere = match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified(),
        };
        !leads_nowhere && !is_own(*address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_on_this_machine_is_of_no_use_to_clients() {
        let first = |text| first_resolver(text, |address| address == IpAddr::from([192, 0, 2, 1]));
        let text = "# local\nnameserver 127.0.0.53\nnameserver\t192.0.2.1\nnameserver 8.8.8.8\n";
        assert_eq!(first(text), Some([8, 8, 8, 8].into()));
        assert_eq!(first("nameserver 127.0.0.53\nsearch example.com\n"), None);
        assert_eq!(first("nameserver fe80::1%eth0\nnameserver fe80::1\n"), None);
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn a_port_is_found_even_if_the_usual_one_is_taken() {
        // Whether or not this binds, the port is taken afterwards.
        let _taken = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, USUAL_PORT));
        assert!(free_port().is_some_and(|port| port != USUAL_PORT && port != 0));
    }
}
