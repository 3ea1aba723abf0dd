//! What a peer may reach: the protected targets and the verdict on a new flow.
//!
//! The rules that users write will be consulted here; so far there is the gateway's default.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::{DefaultAction, Gateway};

/// What to do with a new flow to the host's network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Offer it to the embedder.
    Relay,
    /// Refuse it with an answer.
    Reject,
    /// Refuse it because the target is protected.
    Protected,
    /// Don't answer.
    Drop,
}

/// The gateway's policy.
#[derive(Debug)]
pub(crate) struct Policy {
    gateway: Option<Gateway>,
}

impl Policy {
    pub(crate) const fn new(gateway: Option<Gateway>) -> Self {
        Self { gateway }
    }

    pub(crate) fn set_host_addresses(&mut self, addresses: Vec<IpAddr>) {
        if let Some(gateway) = &mut self.gateway {
            gateway.host_addresses = addresses;
        }
    }

    /// Whether a TCP port of our own tunnel addresses is served by the embedder.
    pub(crate) fn is_service(&self, port: u16) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| gateway.services.contains(&port))
    }

    /// Whether packets to another peer's addresses may go there.
    pub(crate) fn allows_overlay(&self) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| gateway.peer_to_peer)
    }

    /// Whether packets to `destination` leave through the host, whichever peer owns it.
    pub(crate) fn excludes(&self, destination: IpAddr) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| {
            gateway.overlay_exclude.iter().any(|prefix| prefix.contains(&destination))
        })
    }

    /// Whether this is an address by which the network knows the host, so not loopback, say.
    pub(crate) fn is_host_address(&self, address: IpAddr) -> bool {
        let own = self.gateway.as_ref().map_or(&[][..], |gateway| &gateway.host_addresses);
        own.contains(&address) && !is_protected(address, &[])
    }

    /// The verdict on a flow from a peer to `target` through the host.
    pub(crate) fn verdict(&self, target: IpAddr) -> Verdict {
        let Some(gateway) = &self.gateway else { return Verdict::Drop };
        match gateway.default {
            DefaultAction::Drop => Verdict::Drop,
            DefaultAction::Reject => Verdict::Reject,
            DefaultAction::Relay if is_protected(target, &gateway.host_addresses) => {
                Verdict::Protected
            }
            DefaultAction::Relay => Verdict::Relay,
        }
    }
}

/// Whether no peer has any business at this address unless a rule names it: the host itself in
/// every notation, its link, and everything that is not one host.
fn is_protected(address: IpAddr, host_addresses: &[IpAddr]) -> bool {
    let v4 = match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(v6) => unwrap_ipv4(v6),
    };
    let kind = match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => is_special_v6(v6),
    };
    kind || v4.is_some_and(|v4| is_special_v4(v4) || host_addresses.contains(&IpAddr::V4(v4)))
        || host_addresses.contains(&address)
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

fn is_special_v4(address: Ipv4Addr) -> bool {
    // RFC 6890 has the list; "this network" and class E are not hosts either.
    address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.octets()[0] == 0
        || address.octets()[0] >= 240
        || METADATA_V4.contains(&address)
}

fn is_special_v6(address: Ipv6Addr) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unicast_link_local()
        // RFC 3879: site-local, deprecated but still routed by some.
        || address.segments()[0] & 0xffc0 == 0xfec0
        || METADATA_V6.contains(&address)
}

/// An address in its plainest form: an IPv4 address that is wrapped into an IPv6 address (mapped
/// or compatible, 6to4, NAT64, ISATAP, Teredo) is what it wraps.
fn unwrap_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let v4_at =
        |at: usize| Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]);
    match address.segments() {
        // RFC 4291, sections 2.5.5.1 (compatible; ::0 and ::1 are not) and 2.5.5.2 (mapped).
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(v4_at(12)),
        [0, 0, 0, 0, 0, 0xffff, ..] => Some(v4_at(12)),
        // RFC 2765: IPv4-translated.
        [0, 0, 0, 0, 0xffff, 0, ..] => Some(v4_at(12)),
        // RFC 6052 and RFC 8215: NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => Some(v4_at(12)),
        // RFC 3056: 6to4.
        [0x2002, ..] => Some(v4_at(2)),
        // RFC 4380: Teredo has the client's address, inverted.
        [0x2001, 0, ..] => Some(Ipv4Addr::from_bits(!v4_at(12).to_bits())),
        // RFC 5214: ISATAP.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => Some(v4_at(12)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(default: DefaultAction) -> Policy {
        Policy::new(Some(Gateway {
            rules: Vec::new(),
            default,
            peer_to_peer: true,
            overlay_exclude: vec!["10.9.0.0/16".parse().unwrap()],
            services: vec![80],
            host_addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        }))
    }

    fn verdict(target: &str) -> Verdict {
        policy(DefaultAction::Relay).verdict(target.parse().unwrap())
    }

    #[test]
    fn protected_targets_are_refused_in_every_notation() {
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
        ] {
            assert_eq!(verdict(target), Verdict::Protected, "{target}");
        }
    }

    #[test]
    fn ordinary_targets_are_relayed() {
        for target in
            ["192.0.2.2", "10.0.0.1", "8.8.8.8", "2001:db8::2", "fd00::1", "64:ff9b::808:808"]
        {
            assert_eq!(verdict(target), Verdict::Relay, "{target}");
        }
    }

    #[test]
    fn without_a_gateway_nothing_is_reached() {
        let policy = Policy::new(None);
        assert_eq!(policy.verdict(Ipv4Addr::new(8, 8, 8, 8).into()), Verdict::Drop);
        assert!(!policy.allows_overlay());
        assert!(!policy.is_service(80));
    }

    #[test]
    fn the_default_decides() {
        let target = Ipv4Addr::new(8, 8, 8, 8).into();
        assert_eq!(policy(DefaultAction::Reject).verdict(target), Verdict::Reject);
        assert_eq!(policy(DefaultAction::Drop).verdict(target), Verdict::Drop);
    }

    #[test]
    fn excluded_prefixes_never_go_to_a_peer() {
        let policy = policy(DefaultAction::Relay);
        assert!(!policy.excludes(Ipv4Addr::new(10, 8, 0, 1).into()));
        assert!(policy.excludes(Ipv4Addr::new(10, 9, 0, 1).into()));
    }

    #[test]
    fn ipv4_is_found_in_every_wrapping() {
        for wrapped in [
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::127.0.0.1",
            "2002:7f00:1::1",
            "fe80::5efe:127.0.0.1",
            "2001:db8::200:5efe:127.0.0.1",
            "2001:0:c000:201::80ff:fffe",
        ] {
            assert_eq!(
                unwrap_ipv4(wrapped.parse().unwrap()),
                Some(Ipv4Addr::LOCALHOST),
                "{wrapped}"
            );
        }
        for plain in ["::", "::1", "fd00::1", "2001:db8::7f00:1", "fe80::1"] {
            assert_eq!(unwrap_ipv4(plain.parse().unwrap()), None, "{plain}");
        }
    }
}
