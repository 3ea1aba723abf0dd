//! IPv4 addresses in IPv6 notation: what leads to an IPv4 host although it is written otherwise.
//! Whatever is said of an address has to hold for all of its notations.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The IPv4 address that an IPv6 address wraps (mapped or compatible, translated, NAT64, 6to4,
/// ISATAP, Teredo).
pub(crate) fn wrapped_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let v4_at =
        |at: usize| Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]);
    match address.segments() {
        // RFC 4291, sections 2.5.5.1 (compatible; ::0 and ::1 are not) and 2.5.5.2 (mapped).
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(v4_at(12)),
        [0, 0, 0, 0, 0, 0xffff, ..] => Some(v4_at(12)),
        // RFC 2765: IPv4-translated.
        [0, 0, 0, 0, 0xffff, 0, ..] => Some(v4_at(12)),
        // RFC 6052: NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(v4_at(12)),
        // RFC 8215 has room for prefixes of other lengths (see `local_nat64`), which leave zeros.
        [0x64, 0xff9b, 1, .., high, low] if (high, low) != (0, 0) => Some(v4_at(12)),
        // RFC 3056: 6to4.
        [0x2002, ..] => Some(v4_at(2)),
        // RFC 4380: Teredo has the client's address, inverted.
        [0x2001, 0, ..] => Some(Ipv4Addr::from_bits(!v4_at(12).to_bits())),
        // RFC 5214: ISATAP.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => Some(v4_at(12)),
        _ => None,
    }
}

/// What an address of RFC 8215's NAT64 prefix wraps if the network uses a part of it that is 48, 56
/// or 64 bits long (RFC 6052, section 2.2: the ninth byte is left out). Which one it uses nobody
/// here knows, so that most of these are no addresses at all.
pub(crate) fn local_nat64(address: Ipv6Addr) -> Option<[Ipv4Addr; 3]> {
    let [0, 0x64, 0xff, 0x9b, 0, 1, a, b, _, c, d, e, f, ..] = address.octets() else {
        return None;
    };
    Some([[a, b, c, d], [b, c, d, e], [c, d, e, f]].map(Ipv4Addr::from))
}

/// Every IPv4 host that an address may lead to.
pub(crate) fn ipv4_readings(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let maybe = local_nat64(address).into_iter().flatten();
    wrapped_ipv4(address).into_iter().chain(maybe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_is_found_in_every_wrapping() {
        for wrapped in [
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "2002:7f00:1::1",
            "fe80::5efe:127.0.0.1",
            "2001:db8::200:5efe:127.0.0.1",
            "2001:0:c000:201::80ff:fffe",
        ] {
            assert_eq!(
                wrapped_ipv4(wrapped.parse().unwrap()),
                Some(Ipv4Addr::LOCALHOST),
                "{wrapped}"
            );
        }
        for plain in ["::", "::1", "fd00::1", "2001:db8::7f00:1", "fe80::1"] {
            assert_eq!(wrapped_ipv4(plain.parse().unwrap()), None, "{plain}");
        }
    }
}
