//! Places as people write them: `host:port`, and addresses with a zone. Whatever is wrong with one
//! has a message of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::fault::Problem;
use super::zone;

/// A host as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Host<'t> {
    Address(IpAddr),
    /// A link-local address and the link that it is on.
    Zoned(Ipv6Addr, &'t str),
    Name(&'t str),
}

/// A host and a port as they are written. The port may be 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place<'t> {
    pub(super) host: Host<'t>,
    pub(super) port: u16,
}

impl<'t> Place<'t> {
    /// Reads `host:port`; `example` shows how one is written here, and has the port that a text
    /// without one is shown with.
    pub(super) fn read(text: &'t str, example: Example) -> Result<Self, Problem> {
        check_letters(text, example)?;
        let (host, port) = split(text, example)?;
        if port.is_empty() {
            return Err(no_port(text, host, example));
        }
        if !is_number(port) {
            let what = format!("{port:?} is no port");
            return Err(Problem::new(what, "write a number from 1 to 65535 behind the colon"));
        }
        let port = port.parse().map_err(|_| {
            let what = format!("port {port} is out of range");
            Problem::new(what, "ports are 1 to 65535")
        })?;
        if host.is_empty() {
            return Err(Problem::new(format!("{text:?} has no host"), example.mend()));
        }
        Ok(Self { host: Host::read(host)?, port })
    }

    /// The address, on this host's link if it has a zone; `None` if it is a name.
    pub(super) fn resolve(&self) -> Result<Option<SocketAddr>, Problem> {
        Ok(match self.host {
            Host::Address(address) => Some(SocketAddr::new(address, self.port)),
            Host::Zoned(address, zone) => {
                let scope_id = zone::scope_id(zone)?;
                Some(SocketAddrV6::new(address, self.port, 0, scope_id).into())
            }
            Host::Name(_) => None,
        })
    }
}

impl<'t> Host<'t> {
    /// Reads an address without brackets, or a name.
    pub(super) fn read(text: &'t str) -> Result<Self, Problem> {
        let (address, zone) = match text.split_once('%') {
            Some((address, zone)) => (address, Some(zone)),
            None => (text, None),
        };
        match (address.parse::<IpAddr>().map(|address| address.to_canonical()), zone) {
            (Ok(IpAddr::V6(address)), Some("")) => {
                let mend = format!("write \"{address}%eth0\", with the interface that leads there");
                Err(Problem::new("there is no interface behind the %", mend))
            }
            (Ok(IpAddr::V6(address)), Some(zone)) if address.is_unicast_link_local() => {
                Ok(Self::Zoned(address, zone))
            }
            (Ok(address), Some(zone)) => {
                let what = format!("{address} is no link-local address, and needs no interface");
                Err(Problem::new(what, format!("leave {:?} out", format!("%{zone}"))))
            }
            (Ok(address), None) => Ok(Self::Address(address)),
            (Err(_), None) if is_host_name(text) => Ok(Self::Name(text)),
            (Err(_), _) => {
                let digits = |c: char| c.is_ascii_digit() || c == '.';
                let kind = if text.chars().all(digits) { "IPv4 address" } else { "host" };
                let mend = "write an address or a name";
                Err(Problem::new(format!("{text:?} is no {kind}"), mend))
            }
        }
    }

    /// That a link-local address says on which link it is: it may be another host on each.
    pub(super) fn check_zone(&self) -> Result<(), Problem> {
        match self {
            Self::Address(IpAddr::V6(address)) if address.is_unicast_link_local() => {
                let what = format!("{address} is link-local: which link is meant?");
                let mend = format!("write {address}%eth0, with the interface that leads there");
                Err(Problem::new(what, mend))
            }
            Self::Address(_) | Self::Zoned(..) | Self::Name(_) => Ok(()),
        }
    }
}

/// How a place is written where one is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Example {
    /// In quotes, one or several.
    pub(super) text: &'static str,
    /// A port that is likely there.
    pub(super) port: u16,
}

impl Example {
    fn mend(self) -> String {
        format!("write it as {}", self.text)
    }
}

/// What belongs to other notations.
fn check_letters(text: &str, example: Example) -> Result<(), Problem> {
    if text.is_empty() {
        return Err(Problem::new("is empty", example.mend()));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.trim_end_matches('/');
        let what = format!("{scheme}:// has no place here");
        return Err(Problem::new(what, format!("write {rest:?}")));
    }
    if text.contains(char::is_whitespace) {
        let plain: String = text.split_whitespace().collect();
        let what = format!("{text:?} has a space in it");
        return Err(Problem::new(what, format!("write {plain:?}")));
    }
    if text.contains('/') {
        let what =
            format!("{text:?} has a slash in it: neither prefixes nor paths have a place here");
        return Err(Problem::new(what, example.mend()));
    }
    Ok(())
}

/// Splits a text at the colon before its port, and takes brackets off.
fn split(text: &str, example: Example) -> Result<(&str, &str), Problem> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((inside, behind)) = rest.split_once(']') else {
            return Err(Problem::new(
                format!("{text:?} lacks the closing bracket"),
                example.mend(),
            ));
        };
        let is_v6 = |host: &str| host.split('%').next().is_some_and(is_ipv6);
        if !is_v6(inside) {
            let what = format!("{inside:?} is no IPv6 address, and only those stand in brackets");
            return Err(Problem::new(what, format!("write {:?}", format!("{inside}{behind}"))));
        }
        return match behind.strip_prefix(':') {
            Some(port) => Ok((inside, port)),
            None if behind.is_empty() => Err(no_port(text, inside, example)),
            None => Err(Problem::new(format!("{text:?} is no host:port"), example.mend())),
        };
    }
    match text.rsplit_once(':') {
        None if is_number(text) => {
            let what = format!("{text:?} is a port alone, without a host");
            Err(Problem::new(what, example.mend()))
        }
        None => Err(no_port(text, text, example)),
        Some((host, port)) if host.contains(':') => Err(no_brackets(text, host, port, example)),
        Some(split) => Ok(split),
    }
}

fn is_number(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit())
}

fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

/// There are several colons and no brackets.
fn no_brackets(text: &str, host: &str, port: &str, example: Example) -> Problem {
    let is_address = |text: &str| text.split('%').next().is_some_and(is_ipv6);
    // Four decimal digits may be the end of the address too, but hardly are.
    let is_port = port.len() >= 4 && is_number(port);
    let written = if is_address(host) && (is_port || !is_address(text)) {
        format!("[{host}]:{port}")
    } else if is_address(text) {
        format!("[{text}]:{}", example.port)
    } else {
        return Problem::new(format!("{text:?} is no host:port"), example.mend());
    };
    let what = format!("{text:?} is an IPv6 address without brackets");
    Problem::new(what, format!("write {written:?}"))
}

fn no_port(text: &str, host: &str, example: Example) -> Problem {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let written = format!("{host}:{}", example.port);
    Problem::new(format!("{text:?} has no port"), format!("write {written:?}, with the right one"))
}

/// Whether a text can be a DNS name (RFC 1123, section 2.1), or one of a hosts file: those may
/// hold underscores too. A name whose last label is all digits is an address gone wrong.
fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    let last = name.rsplit('.').next();
    name.len() <= 253 && name.split('.').all(label) && !last.is_none_or(is_number)
}

/// Whether an address is one of a single host that can be sent to.
pub(super) fn is_single_host(address: IpAddr) -> bool {
    let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !address.is_unspecified() && !address.is_multicast() && !is_broadcast
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: Example = Example { text: "\"192.0.2.1:51820\"", port: 51820 };

    fn host(text: &str) -> Host<'_> {
        let place = Place::read(text, EXAMPLE).unwrap();
        assert_eq!(place.port, 7, "{text}");
        place.host
    }

    #[test]
    fn a_host_is_an_address_a_zoned_address_or_a_name() {
        let address = |text: &str| Host::Address(text.parse().unwrap());
        assert_eq!(host("192.0.2.1:7"), address("192.0.2.1"));
        assert_eq!(host("[2001:db8::1]:7"), address("2001:db8::1"));
        assert_eq!(host("[::ffff:192.0.2.1]:7"), address("192.0.2.1"), "it is what it maps");
        assert_eq!(host("[fe80::1%eth0]:7"), Host::Zoned("fe80::1".parse().unwrap(), "eth0"));
        assert_eq!(host("vpn.example.com:7"), Host::Name("vpn.example.com"));
        assert_eq!(host("vpn_1.example.com.:7"), Host::Name("vpn_1.example.com."));
    }

    #[test]
    fn whatever_is_wrong_has_a_message_of_its_own() {
        for (text, what, mend) in [
            ("", "is empty", "\"192.0.2.1:51820\""),
            (":7", "has no host", "\"192.0.2.1:51820\""),
            ("vpn", "\"vpn\" has no port", "\"vpn:51820\""),
            ("vpn:", "\"vpn:\" has no port", "\"vpn:51820\""),
            ("192.0.2.1", "has no port", "\"192.0.2.1:51820\""),
            ("[2001:db8::1]", "has no port", "\"[2001:db8::1]:51820\""),
            ("51820", "a port alone", "\"192.0.2.1:51820\""),
            ("vpn:70000", "port 70000 is out of range", "1 to 65535"),
            ("[2001:db8::1]:70000", "port 70000 is out of range", "1 to 65535"),
            ("vpn:99999999999", "port 99999999999 is out of range", "1 to 65535"),
            ("vpn:http", "\"http\" is no port", "a number"),
            ("vpn:+1", "\"+1\" is no port", "a number"),
            ("vpn:-1", "\"-1\" is no port", "a number"),
            ("2001:db8::1:51820", "without brackets", "\"[2001:db8::1]:51820\""),
            ("fd00::1:8080", "without brackets", "\"[fd00::1]:8080\""),
            ("2001:db8::1", "without brackets", "\"[2001:db8::1]:51820\""),
            ("fe80::1%eth0:51820", "without brackets", "\"[fe80::1%eth0]:51820\""),
            ("[2001:db8::1:7", "lacks the closing bracket", "\"192.0.2.1:51820\""),
            ("[2001:db8::1]7", "is no host:port", "\"192.0.2.1:51820\""),
            ("[vpn.example.com]:7", "only those stand in brackets", "\"vpn.example.com:7\""),
            ("udp://vpn:7", "udp:// has no place here", "write \"vpn:7\""),
            ("https://vpn:7/", "https:// has no place here", "write \"vpn:7\""),
            (" vpn:7", "a space in it", "write \"vpn:7\""),
            ("10.0.0.1/24:7", "a slash in it", "\"192.0.2.1:51820\""),
            ("256.1.1.1:7", "\"256.1.1.1\" is no IPv4 address", "an address"),
            ("1.2.3:7", "\"1.2.3\" is no IPv4 address", "an address"),
            ("-a:7", "\"-a\" is no host", "an address or a name"),
            ("a..b:7", "\"a..b\" is no host", "an address or a name"),
            ("vpn:7:udp", "is no host:port", "\"192.0.2.1:51820\""),
            ("[fe80::1%]:7", "no interface behind the %", "\"fe80::1%eth0\""),
            ("[2001:db8::1%eth0]:7", "needs no interface", "leave \"%eth0\" out"),
            ("192.0.2.1%eth0:7", "needs no interface", "leave \"%eth0\" out"),
        ] {
            let problem = Place::read(text, EXAMPLE).unwrap_err();
            assert!(problem.what.contains(what), "{text}: {problem:?}");
            assert!(problem.mend.contains(mend), "{text}: {problem:?}");
        }
    }

    #[test]
    fn a_link_local_address_says_on_which_link_it_is() {
        let problem = host("[fe80::1]:7").check_zone().unwrap_err();
        assert!(problem.what.starts_with("fe80::1 is link-local"), "{problem:?}");
        assert!(problem.mend.contains("fe80::1%eth0"), "{problem:?}");
        assert!(host("[fe80::1%eth0]:7").check_zone().is_ok());
        let resolved = |text: &str| Place::read(text, EXAMPLE).unwrap().resolve();
        assert_eq!(resolved("[fe80::1%3]:7"), Ok(Some("[fe80::1%3]:7".parse().unwrap())));
        assert!(resolved("[fe80::1%nowhere9]:7").unwrap_err().what.contains("nowhere9"));
        assert_eq!(resolved("vpn:7"), Ok(None));
    }
}
