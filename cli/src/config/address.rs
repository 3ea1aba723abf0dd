//! The values of networks: addresses, prefixes, sockets, endpoints.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use slipwire_core::IpNet;
use slipwire_core::config::Endpoint;
use toml::de::DeValue;

use super::fault::{At, Problem, Report};
use super::section::{Section, Value};
use super::value::text;

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

impl Value for IpAddr {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const EXAMPLE: &str = "\"0.0.0.0\" or \"::\" or an address of this machine";
        let text = text(value, EXAMPLE)?;
        text.parse().map_err(|_| {
            Problem::new(format!("{text:?} is no IP address"), format!("write {EXAMPLE}"))
        })
    }
}

fn socket(value: &DeValue<'_>, example: &str) -> Result<SocketAddr, Problem> {
    let text = text(value, example)?;
    text.parse().map_err(|_| {
        let what = format!("{text:?} is no IP address with a port");
        Problem::new(what, format!("write it as {example}"))
    })
}

/// Where a forward listens; port 0 takes any free one.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListenSocket(pub(super) SocketAddr);

impl Value for ListenSocket {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        socket(value, "\"127.0.0.1:8080\" or \"[::1]:8080\"").map(Self)
    }
}

/// Where a forward leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct TargetSocket(pub(super) SocketAddr);

impl Value for TargetSocket {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const EXAMPLE: &str = "\"192.168.4.2:80\" or \"[fd77::2]:80\"";
        let target = socket(value, EXAMPLE)?;
        if target.port() == 0 {
            let what = format!("{target} has no port to lead to");
            return Err(Problem::new(what, format!("write it as {EXAMPLE}")));
        }
        Ok(Self(target))
    }
}

impl Value for Endpoint {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const EXAMPLE: &str = "\"vpn.example.com:51820\" or \"192.0.2.1:51820\"";
        let text = text(value, EXAMPLE)?;
        endpoint(text).ok_or_else(|| {
            Problem::new(format!("{text:?} is no host:port"), format!("write it as {EXAMPLE}"))
        })
    }
}

fn endpoint(text: &str) -> Option<Endpoint> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        let usable = address.port() != 0 && !address.ip().is_unspecified();
        return usable.then_some(Endpoint::Address(address));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    is_host_name(host).then(|| Endpoint::Name { host: host.to_owned(), port })
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
    let numeric = |label: &str| label.chars().all(|c| c.is_ascii_digit());
    name.len() <= 253 && name.split('.').all(label) && !name.rsplit('.').next().is_none_or(numeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Value>(text: &str) -> Result<T, Problem> {
        T::read(DeValue::parse(&format!("{text:?}")).unwrap().get_ref())
    }

    #[test]
    fn an_endpoint_is_an_address_or_a_name() {
        let address = "192.0.2.1:51820".parse().unwrap();
        assert_eq!(endpoint("192.0.2.1:51820"), Some(Endpoint::Address(address)));
        assert_eq!(endpoint("[2001:db8::1]:1").unwrap().to_string(), "[2001:db8::1]:1");
        let name = Endpoint::Name { host: "vpn.example.com".into(), port: 51820 };
        assert_eq!(endpoint("vpn.example.com:51820"), Some(name));
        for bad in [
            "",
            ":1",
            "vpn",
            "vpn:",
            "vpn:0",
            "vpn:70000",
            "a b:1",
            "-a:1",
            "a..b:1",
            "1.2.3:4",
            "256.1.1.1:5",
            "2001:db8::1",
            "0.0.0.0:1",
            "1.2.3.4:0",
            "http://a:1",
        ] {
            assert_eq!(endpoint(bad), None, "{bad}");
        }
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
        assert!(read::<TargetSocket>("[::1]:80").is_ok());
        assert!(read::<TargetSocket>("10.0.0.1:0").is_err());
    }
}
