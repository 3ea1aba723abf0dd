//! The targets that no peer has any business at unless a rule names them.

use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::notation::{ipv4_readings, local_nat64, wrapped_ipv4};

/// Whether no peer has any business at this address unless a rule names it: the host itself in
/// every notation, its link, and everything that is not one host.
pub(crate) fn is_protected(address: IpAddr, host_addresses: &[IpAddr]) -> bool {
    let is_hosts = |v4: Ipv4Addr| host_addresses.contains(&IpAddr::V4(v4));
    host_addresses.contains(&address)
        || match address {
            IpAddr::V4(v4) => is_special_v4(v4),
            IpAddr::V6(v6) => {
                let mut maybe = local_nat64(v6).into_iter().flatten();
                is_special_v6(v6)
                    || wrapped_ipv4(v6).is_some_and(|v4| is_special_v4(v4) || is_hosts(v4))
                    || maybe.any(|v4| is_here(v4) || is_hosts(v4))
            }
        }
}

/// Every address that a flow to this one may lead to: itself, and the IPv4 addresses that it may
/// wrap (NAT64, 6to4 and the like), but for those that are protected whatever the system says.
/// Whoever asks the system whether a target is the host itself has to ask about each.
pub fn readings(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let plain = address.to_canonical();
    let wrapped = match plain {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(ipv4_readings(v6).filter(|v4| !is_special_v4(*v4))),
    };
    iter::once(plain).chain(wrapped.into_iter().flatten().map(IpAddr::V4))
}

/// Where clouds keep what their machines know of themselves, beyond link-local addresses: AWS and
/// Google over IPv6, Alibaba, Azure, Oracle.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];
/// See [`METADATA_V6`].
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// RFC 6890 has the list: this network, loopback, link-local, multicast, and class E with the
/// broadcast address in it.
const SPECIAL_V4: [Ipv4Net; 5] = [
    Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4),
    Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Unspecified, loopback, link-local, site-local (RFC 3879: deprecated, but still routed by some),
/// multicast.
const SPECIAL_V6: [Ipv6Net; 5] = [
    Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128),
    Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
    Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

fn is_special_v4(address: Ipv4Addr) -> bool {
    SPECIAL_V4.iter().any(|range| range.contains(&address)) || METADATA_V4.contains(&address)
}

fn is_special_v6(address: Ipv6Addr) -> bool {
    SPECIAL_V6.iter().any(|range| range.contains(&address)) || METADATA_V6.contains(&address)
}

/// Whether an IPv4 address leads to the machine that opens it, or to what that machine's link keeps
/// for it.
fn is_here(address: Ipv4Addr) -> bool {
    address.is_loopback() || address.is_link_local() || METADATA_V4.contains(&address)
}

/// Whether a rule with this prefix means the protected `address`, rather than happening to contain
/// it: it is that address alone, or lies within one of the special ranges.
pub(crate) fn names(prefix: &IpNet, address: IpAddr) -> bool {
    if !prefix.contains(&address) {
        return false;
    }
    match prefix {
        IpNet::V4(net) => {
            net.prefix_len() == 32 || SPECIAL_V4.iter().any(|range| range.contains(net))
        }
        IpNet::V6(net) => {
            net.prefix_len() == 128 || SPECIAL_V6.iter().any(|range| range.contains(net))
        }
    }
}

/// Whether an address may stand as the source of a packet.
pub(crate) fn may_be_a_source(address: IpAddr) -> bool {
    is_one_host(address) && !address.is_loopback()
}

/// Whether an address may be that of one host, which an answer may go to or come from.
pub(crate) fn is_one_host(address: IpAddr) -> bool {
    let broadcast = match address {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    !(address.is_multicast() || address.is_unspecified() || broadcast)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protected(target: &str) -> bool {
        let host_addresses = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        is_protected(target.parse().unwrap(), &host_addresses)
    }

    #[test]
    fn the_host_and_its_link_are_protected_in_every_notation() {
        for target in [
            "127.0.0.1",
            "127.255.0.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:192.0.2.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2002:c000:201::5",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "64:ff9b:1::127.0.0.1",
            "64:ff9b:1:7f00:0:100::",
            "64:ff9b:1:ab7f:0:1::",
            "64:ff9b:1:abcd:7f:0:100::",
            "64:ff9b:1:c000:2:100::",
            "64:ff9b:1:a9fe:a9:fe00::7",
        ] {
            assert!(protected(target), "{target}");
        }
    }

    #[test]
    fn ordinary_targets_are_not() {
        for target in [
            "192.0.2.2",
            "10.0.0.1",
            "8.8.8.8",
            "2001:db8::2",
            "fd00::1",
            "64:ff9b::808:808",
            "64:ff9b:1::808:808",
            "64:ff9b:1:fffe::808:808",
            "64:ff9b:1:808:8:800::",
        ] {
            assert!(!protected(target), "{target}");
        }
    }

    #[test]
    fn a_prefix_names_what_it_is_about() {
        let named =
            |prefix: &str, address: &str| names(&prefix.parse().unwrap(), address.parse().unwrap());
        assert!(named("127.0.0.0/8", "127.0.0.1") && named("127.0.0.1/32", "127.0.0.1"));
        assert!(named("169.254.169.254/32", "169.254.169.254"));
        assert!(named("192.0.2.1/32", "192.0.2.1") && named("fe80::/64", "fe80::1"));
        assert!(!named("0.0.0.0/0", "127.0.0.1") && !named("192.0.2.0/24", "192.0.2.1"));
        assert!(!named("::/0", "::1") && !named("127.0.0.2/32", "127.0.0.1"));
    }

    #[test]
    fn the_system_is_asked_about_every_reading_that_may_be_a_host() {
        let all = |text: &str| readings(text.parse().unwrap()).collect::<Vec<_>>();
        let addresses = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        for (address, expected) in [
            ("192.0.2.9", &["192.0.2.9"][..]),
            ("2001:db8::9", &["2001:db8::9"]),
            ("::ffff:192.0.2.9", &["192.0.2.9"]),
            ("64:ff9b::192.0.2.9", &["64:ff9b::192.0.2.9", "192.0.2.9"]),
            ("2002:c000:209::", &["2002:c000:209::", "192.0.2.9"]),
            ("64:ff9b:1:c000:2:900::", &["64:ff9b:1:c000:2:900::", "192.0.2.9", "2.9.0.0"]),
        ] {
            assert_eq!(all(address), addresses(expected), "{address}");
        }
    }
}
