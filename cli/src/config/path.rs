//! The path to a peer that a gateway calls: whether the peer can use it the other way too.

use std::net::IpAddr;

use slipwire_core::config::Endpoint;

use crate::outward;

/// Endings of names that mean something on the own network alone: RFC 6762, RFC 8375, and what
/// routers at home make up.
const LOCAL_NAMES: [&str; 5] = [".local", ".home.arpa", ".lan", ".internal", ".home"];

/// Why the path to an endpoint closes when nothing is sent for a while, if it does.
pub(super) fn closes(endpoint: &Endpoint, listen_port: Option<u16>) -> Option<String> {
    if listen_port.is_none() {
        return Some("there is no listen_port that it could call".to_owned());
    }
    let here = outward::address()?;
    crosses_nat(here, endpoint)
        .then(|| format!("our own address, {here}, is none of the Internet's"))
}

/// Whether a host of this address reaches an endpoint by NAT.
fn crosses_nat(here: IpAddr, endpoint: &Endpoint) -> bool {
    let is_outside = match endpoint {
        Endpoint::Address(address) => {
            address.is_ipv4() == here.is_ipv4() && !is_private(address.ip())
        }
        Endpoint::Name { host, .. } => {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            host.contains('.') && !LOCAL_NAMES.iter().any(|ending| host.ends_with(ending))
        }
    };
    is_outside && (is_private(here) || is_reserved(here))
}

/// Whether an address is one that others have too: RFC 1918, RFC 6598, RFC 4193, and those of one
/// host or link.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let is_shared = matches!(v4.octets(), [100, 64..=127, ..]);
            is_shared || v4.is_private() || v4.is_loopback() || v4.is_link_local()
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

/// Whether an address is never routed through the Internet, though no network at home has it: RFC
/// 5737, RFC 3849, RFC 2544. Sandboxes and laboratories do.
fn is_reserved(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_documentation() || matches!(v4.octets(), [198, 18 | 19, ..]),
        IpAddr::V6(v6) => matches!(v6.segments(), [0x2001, 0xdb8, ..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_address_is_behind_nat_for_whoever_is_elsewhere() {
        let crosses =
            |here: &str, endpoint: &Endpoint| crosses_nat(here.parse().unwrap(), endpoint);
        let address = |text: &str| Endpoint::Address(text.parse().unwrap());
        let name = |host: &str| Endpoint::Name { host: host.to_owned(), port: 1 };
        for here in ["192.168.1.7", "10.1.2.3", "172.20.0.2", "100.64.0.9", "192.0.2.7"] {
            assert!(crosses(here, &address("203.0.113.1:1")), "{here}");
            assert!(crosses(here, &name("vpn.example.com")), "{here}");
            for near in [address("192.168.9.9:1"), name("nas.local"), name("nas"), name("a.lan.")] {
                assert!(!crosses(here, &near), "{here} {near}");
            }
            assert!(!crosses(here, &address("[2001:db8::1]:1")), "another way");
        }
        for here in ["9.9.9.9", "2620:fe::9", "100.128.0.1"] {
            assert!(!crosses(here, &name("vpn.example.com")), "{here}");
        }
    }
}
