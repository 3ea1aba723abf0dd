//! The values of networks: addresses, prefixes, sockets, endpoints.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use slipwire_core::IpNet;
use slipwire_core::config::Endpoint;
use slipwire_driver::ListenAddress;
use toml::de::DeValue;

use super::fault::{At, Problem, Report};
use super::place::{Example, Host, Place, is_single_host};
use super::section::{Section, Value};
use super::value::text;
use super::zone;

/// An address with the prefix of its network; one alone stands for itself, as wg takes it.
fn net(text: &str, example: &str) -> Result<IpNet, Problem> {
    let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(alone).ok_or_else(|| {
        Problem::new(format!("{text:?} is no address with a prefix"), format!("write {example}"))
    })
}

/// An address that this end can have inside the tunnel.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnAddress(pub(super) IpNet);

impl Value for OwnAddress {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const EXAMPLE: &str = "an address with its prefix: \"10.77.0.1/24\" or \"fd77::1/64\"";
        let net = net(text(value, EXAMPLE)?, EXAMPLE)?;
        let address = net.addr();
        let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            let what = format!("{address} is no address that a host can have in a tunnel");
            return Err(Problem::new(what, format!("write {EXAMPLE}")));
        }
        if mapped || broadcast {
            let what = format!("{address} is no address of a single host");
            return Err(Problem::new(what, format!("write {EXAMPLE}")));
        }
        Ok(Self(net))
    }
}

impl OwnAddress {
    /// What speaks against it, though it can be used.
    pub(super) fn doubt(self) -> Option<Problem> {
        let Self(net) = self;
        let address = net.addr();
        // Where there are only two addresses, or one, all are those of hosts (RFC 3021, RFC 6164).
        let what = match net {
            IpNet::V4(net) if net.prefix_len() >= 31 => return None,
            IpNet::V4(net) if net.addr() == net.network() => "stands for the network itself",
            IpNet::V4(net) if net.addr() == net.broadcast() => "is the network's broadcast address",
            IpNet::V6(net) if net.prefix_len() < 127 && net.addr() == net.network() => {
                "stands for any router of the network"
            }
            IpNet::V4(_) | IpNet::V6(_) => return None,
        };
        let first = net.hosts().find(|host| *host != net.network())?;
        let mend = format!(
            "it is used, and hosts may not answer to it; write \"{first}/{}\" or another",
            net.prefix_len()
        );
        Some(Problem::new(format!("{address} {what}"), mend))
    }
}

/// A prefix as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix(IpNet);

impl Value for Prefix {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const EXAMPLE: &str = "a prefix: \"10.77.0.2/32\" or \"fd77::/64\"";
        net(text(value, EXAMPLE)?, EXAMPLE).map(|net| Self(plainest(net)))
    }
}

/// A prefix of IPv4 addresses that are mapped into IPv6 is one of IPv4 addresses (RFC 4291, section
/// 2.5.5.2).
fn plainest(net: IpNet) -> IpNet {
    let mapped = match net.addr() {
        IpAddr::V6(address) => address.to_ipv4_mapped().zip(net.prefix_len().checked_sub(96)),
        IpAddr::V4(_) => None,
    };
    mapped.and_then(|(address, len)| IpNet::new(address.into(), len).ok()).unwrap_or(net)
}

impl At<Prefix> {
    /// The network, with a warning if more than that is written at `key`.
    pub(super) fn network(self, section: &Section<'_>, key: &str, report: &mut Report) -> IpNet {
        let Self { value: Prefix(written), offset } = self;
        let network = written.trunc();
        if network != written {
            let what = format!("{written} has bits of a host behind its prefix");
            let alone = IpNet::from(written.addr());
            let mend = format!("{network} is used; for the address alone write \"{alone}\"");
            report.warning(offset, section.path(key), Problem::new(what, mend));
        }
        network
    }
}

impl Value for ListenAddress {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const EXAMPLE: &str = "\"0.0.0.0\" or \"::\" or an address of this machine";
        let text = text(value, EXAMPLE)?;
        let wrong = |why: &str| {
            Problem::new(format!("{text:?} is no IP address{why}"), format!("write {EXAMPLE}"))
        };
        if text.parse::<SocketAddr>().is_ok() {
            return Err(wrong(" alone: the port is listen_port"));
        }
        let host = Host::read(text).map_err(|problem| match text.contains('%') {
            true => problem,
            false => wrong(""),
        })?;
        host.check_zone()?;
        match host {
            Host::Address(ip) => Ok(ip.into()),
            Host::Zoned(ip, zone) => Ok(Self { ip: ip.into(), scope_id: zone::scope_id(zone)? }),
            Host::Name(_) => Err(wrong("")),
        }
    }
}

/// The address of a place, which is no name here.
fn address(place: &Place<'_>, example: Example) -> Result<SocketAddr, Problem> {
    place.resolve()?.ok_or_else(|| {
        let what = "this is a name, where only addresses have a place";
        Problem::new(what, format!("write it as {}", example.text))
    })
}

/// Where a socket of this host is or connects to: a link-local address says on which link.
fn host_socket(value: &DeValue<'_>, example: Example) -> Result<SocketAddr, Problem> {
    let place = Place::read(text(value, example.text)?, example)?;
    place.host.check_zone()?;
    address(&place, example)
}

/// Where a forward listens; port 0 takes any free one.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListenSocket(pub(super) SocketAddr);

impl Value for ListenSocket {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const EXAMPLE: Example =
            Example { text: "\"127.0.0.1:8080\" or \"[::1]:8080\"", port: 8080 };
        host_socket(value, EXAMPLE).map(Self)
    }
}

/// Where a forward leads, inside the tunnel, which is one link.
#[derive(Clone, Copy, Debug)]
pub(super) struct InnerSocket(pub(super) SocketAddr);

impl Value for InnerSocket {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const EXAMPLE: Example =
            Example { text: "\"192.168.4.2:80\" or \"[fd77::2]:80\"", port: 80 };
        let place = Place::read(text(value, EXAMPLE.text)?, EXAMPLE)?;
        if let Host::Zoned(address, zone) = place.host {
            let what =
                format!("{zone} is an interface of this host, and this is inside the tunnel");
            return Err(Problem::new(what, format!("write \"[{address}]:{}\"", place.port)));
        }
        address(&place, EXAMPLE).and_then(|to| with_port(to, EXAMPLE)).map(Self)
    }
}

/// Where a redirect leads, from this host.
#[derive(Clone, Copy, Debug)]
pub(super) struct TargetSocket(pub(super) SocketAddr);

impl Value for TargetSocket {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const EXAMPLE: Example =
            Example { text: "\"127.0.0.1:8443\" or \"unix:/run/web.sock\"", port: 8443 };
        host_socket(value, EXAMPLE).and_then(|to| with_port(to, EXAMPLE)).map(Self)
    }
}

/// An address to send to: its port is not 0.
fn with_port(to: SocketAddr, example: Example) -> Result<SocketAddr, Problem> {
    if to.port() == 0 {
        let what = format!("{to} has no port to lead to");
        return Err(Problem::new(what, format!("write it as {}", example.text)));
    }
    Ok(to)
}

impl Value for Endpoint {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const EXAMPLE: Example = Example {
            text: "\"vpn.example.com:51820\" or \"192.0.2.1:51820\" or \"[2001:db8::1]:51820\"",
            port: 51820,
        };
        let place = Place::read(text(value, EXAMPLE.text)?, EXAMPLE)?;
        place.host.check_zone()?;
        let Place { host, port } = &place;
        if *port == 0 {
            return Err(Problem::new("nobody can be called at port 0", "ports are 1 to 65535"));
        }
        match host {
            Host::Address(address) if !is_single_host(*address) => {
                let what = format!("{address} is no address of a single host");
                Err(Problem::new(what, format!("write it as {}", EXAMPLE.text)))
            }
            Host::Address(address) => Ok(Self::Address(SocketAddr::new(*address, *port))),
            // An interface that goes and comes back has another number then: its name is looked up
            // whenever the peer does not answer, as other names are.
            Host::Zoned(address, zone) => match zone::number(zone) {
                Some(id) => Ok(Self::Address(SocketAddrV6::new(*address, *port, 0, id).into())),
                None => Ok(Self::Name { host: format!("{address}%{zone}"), port: *port }),
            },
            Host::Name(name) => Ok(Self::Name { host: (*name).to_owned(), port: *port }),
        }
    }
}

/// What speaks against an endpoint for now: it is on a link that is not there.
pub(super) fn missing_link(endpoint: &Endpoint) -> Option<Problem> {
    let Endpoint::Name { host, .. } = endpoint else { return None };
    let (_, zone) = host.split_once('%')?;
    zone::scope_id(zone).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Value>(text: &str) -> Result<T, Problem> {
        T::read(DeValue::parse(&format!("{text:?}")).unwrap().get_ref())
    }

    #[test]
    fn an_endpoint_is_an_address_or_a_name() {
        let endpoint = |text: &str| read::<Endpoint>(text);
        let address = |text: &str| Ok(Endpoint::Address(text.parse().unwrap()));
        assert_eq!(endpoint("192.0.2.1:51820"), address("192.0.2.1:51820"));
        assert_eq!(endpoint("[::ffff:192.0.2.1]:51820"), address("192.0.2.1:51820"));
        assert_eq!(endpoint("[2001:db8::1]:1"), address("[2001:db8::1]:1"));
        assert_eq!(endpoint("[fe80::1%7]:1"), address("[fe80::1%7]:1"));
        let name = |host: &str| Ok(Endpoint::Name { host: host.into(), port: 51820 });
        assert_eq!(endpoint("vpn.example.com:51820"), name("vpn.example.com"));
        assert_eq!(endpoint("[fe80::1%eth0]:51820"), name("fe80::1%eth0"));
        assert_eq!(endpoint("[fe80::1%eth0]:51820").unwrap().to_string(), "[fe80::1%eth0]:51820");
        for bad in ["vpn:0", "1.2.3.4:0", "0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
        let problem = endpoint("[fe80::1]:51820").unwrap_err();
        assert!(problem.what.contains("link-local") && problem.mend.contains("fe80::1%eth0"));
    }

    #[test]
    fn a_link_that_is_not_there_is_said() {
        let missing = |text: &str| missing_link(&read::<Endpoint>(text).unwrap());
        assert!(missing("[fe80::1%nowhere9]:1").unwrap().what.contains("nowhere9"));
        assert_eq!(missing("[fe80::1%lo]:1"), None);
        assert_eq!(missing("vpn:1"), None);
    }

    #[test]
    fn sockets_of_this_host_are_on_a_link_if_they_are_link_local() {
        let lo = zone::scope_id("lo").unwrap();
        let on_lo = format!("[fe80::1%{lo}]:80");
        for address in ["[fe80::1%lo]:80", on_lo.as_str()] {
            assert_eq!(read::<ListenSocket>(address).unwrap().0.to_string(), on_lo);
            assert_eq!(read::<TargetSocket>(address).unwrap().0.to_string(), on_lo);
        }
        let listen = ListenAddress { ip: "fe80::1".parse().unwrap(), scope_id: lo };
        assert_eq!(read("fe80::1%lo"), Ok(listen));
        assert!(read::<ListenSocket>("[fe80::1]:80").unwrap_err().what.contains("link-local"));
        assert!(read::<TargetSocket>("[fe80::1]:80").unwrap_err().what.contains("link-local"));
        assert!(read::<ListenAddress>("fe80::1").unwrap_err().what.contains("link-local"));
        assert!(read::<ListenAddress>("127.0.0.1:7").unwrap_err().what.contains("listen_port"));
        assert!(read::<ListenAddress>("localhost").is_err());
        let mapped = read::<ListenAddress>("::ffff:127.0.0.1").unwrap();
        assert_eq!(mapped, IpAddr::from([127, 0, 0, 1]).into());
    }

    #[test]
    fn inside_the_tunnel_there_is_one_link() {
        assert_eq!(read::<InnerSocket>("[fe80::2]:80").unwrap().0.to_string(), "[fe80::2]:80");
        let problem = read::<InnerSocket>("[fe80::2%eth0]:80").unwrap_err();
        assert_eq!(problem.mend, "write \"[fe80::2]:80\"");
    }

    #[test]
    fn an_address_alone_stands_for_itself() {
        let prefix = |text: &str| read::<Prefix>(text).ok().map(|prefix| prefix.0.to_string());
        assert_eq!(prefix("10.0.0.7"), Some("10.0.0.7/32".into()));
        assert_eq!(prefix("fd00::1"), Some("fd00::1/128".into()));
        assert_eq!(prefix("::ffff:10.0.0.7"), Some("10.0.0.7/32".into()));
        assert_eq!(prefix("::ffff:10.0.0.0/104"), Some("10.0.0.0/8".into()));
        for bad in ["", "10.0.0.0/33", "10.0.0", "fd00::/129", "laptop"] {
            assert_eq!(prefix(bad), None, "{bad}");
        }
    }

    #[test]
    fn our_own_address_is_one_of_a_host() {
        assert!(read::<OwnAddress>("10.77.0.1/24").is_ok());
        for bad in ["0.0.0.0/0", "224.0.0.1/4", "ff02::1/128", "::1", "255.255.255.255"] {
            assert!(read::<OwnAddress>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_that_is_no_single_host_is_doubtful() {
        let doubt = |text: &str| read::<OwnAddress>(text).unwrap().doubt();
        for (written, better) in [
            ("10.0.0.0/24", "\"10.0.0.1/24\""),
            ("10.0.0.255/24", "\"10.0.0.1/24\""),
            ("10.0.0.4/30", "\"10.0.0.5/30\""),
            ("fd77::/64", "\"fd77::1/64\""),
        ] {
            assert!(doubt(written).unwrap().mend.contains(better), "{written}");
        }
        for sound in ["10.0.0.1/24", "10.0.0.0/31", "10.0.0.0/32", "fd77::/127", "fd77::1/64"] {
            assert_eq!(doubt(sound), None, "{sound}");
        }
    }

    #[test]
    fn a_forward_needs_addresses_and_a_port_to_lead_to() {
        assert!(read::<ListenSocket>("127.0.0.1:0").is_ok());
        assert!(read::<ListenSocket>("localhost:80").is_err());
        assert!(read::<InnerSocket>("[fd00::1]:80").is_ok());
        assert!(read::<InnerSocket>("10.0.0.1:0").is_err());
    }
}
