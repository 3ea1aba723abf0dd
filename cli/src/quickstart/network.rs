//! What can be found out about this machine's network without sending a packet.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use super::client::Resolver;

/// WireGuard's usual port.
pub(super) const USUAL_PORT: u16 = 51820;

/// Whether another program holds a UDP port.
pub(super) fn is_taken(port: u16) -> bool {
    let wildcards: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    wildcards.into_iter().any(|address| {
        // Another error, of a system without IPv6 for example, says nothing about the port.
        UdpSocket::bind((address, port)).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
    })
}

/// A resolver that clients of this machine can reach through it.
pub(super) fn resolver() -> Resolver {
    let configured = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    first_resolver(&configured, is_own).map_or(Resolver::Quad9, Resolver::OfHost)
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
    fn a_port_that_somebody_holds_is_taken() {
        let holder = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        assert!(is_taken(holder.local_addr().unwrap().port()));
    }
}
