//! The gateway's client in the same process: a second driver, a whole WireGuard end of its own,
//! with a local port that leads through the tunnel to the gateway's page.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;

use slipwire_core::config::{Config, Interface, Parts, Peer};
use slipwire_core::{IpNet, PrivateKey};
use slipwire_driver::{Driver, Forward, ForwardProtocol, Settings, StartError, StartErrors};

use super::page;
use crate::config::in_one_line;
use crate::entropy;
use crate::failure::Failure;

/// The local port, if it is free.
const USUAL_PORT: u16 = 8080;

/// Seconds: the tunnel comes up at once and stays.
const PERSISTENT_KEEPALIVE: NonZeroU16 = NonZeroU16::new(25).unwrap();

/// What the client is called, as long as no peer of the file has that name.
const NAME: &str = "trial";

/// A peer of the gateway for as long as this runs: neither its key nor itself is in any file.
#[derive(Debug)]
pub(crate) struct Trial {
    key: PrivateKey,
    /// Its address in the tunnel.
    inner: IpAddr,
    /// The gateway's, of the same network.
    page: IpAddr,
}

impl Trial {
    /// Adds such a peer to a gateway.
    pub(crate) fn join(gateway: &Config) -> Result<(Config, Self), Failure> {
        let mut parts = gateway.parts().clone();
        let (inner, page) = free_address(&parts).ok_or_else(|| {
            fault("its networks in `address` have none free; write a shorter prefix there")
        })?;
        let key = PrivateKey::from_entropy(*entropy::secret_bytes()?);
        let is_free = |name: &String| parts.peers.iter().all(|peer| peer.name != *name);
        let mut names = (1..).map(|number| format!("{NAME}-{number}"));
        let name = Some(NAME.to_owned()).filter(is_free).or_else(|| names.find(is_free));
        let peer = Peer::new(key.public_key()).with_name(name.unwrap_or_default());
        parts.peers.push(peer.with_allowed_ips([inner.into()]));
        Ok((
            Config::new(parts).map_err(|errors| fault(&in_one_line(&errors)))?,
            Self { key, inner, page },
        ))
    }
}

fn fault(why: &str) -> Failure {
    Failure::Fault(format!("slipwire: the gateway has no address for a client to try it: {why}"))
}

/// An address in one of the gateway's networks that no peer has, and the gateway's own there.
fn free_address(parts: &Parts) -> Option<(IpAddr, IpAddr)> {
    let is_free = |address: &IpAddr| {
        let is_peers = |peer: &Peer| peer.allowed_ips.iter().any(|own| *own == (*address).into());
        let is_own = parts.interface.addresses.iter().any(|own| own.addr() == *address);
        !is_own && !parts.peers.iter().any(is_peers)
    };
    parts.interface.addresses.iter().find_map(|own| {
        let mut hosts = own.hosts().filter(|host| *host != own.network());
        Some((hosts.find(is_free)?, own.addr()))
    })
}

/// Starts the client `trial` of the gateway that listens on `listens`.
pub(crate) fn start(
    gateway: &Config,
    listens: &[SocketAddr],
    trial: &Trial,
) -> Result<Driver, Failure> {
    let endpoint = loopback_endpoint(listens).ok_or_else(|| {
        Failure::Fault("slipwire: the gateway listens nowhere that a client could try".to_owned())
    })?;
    let Trial { key, inner, page } = trial;
    let mut interface = Interface::new(key.clone(), [IpNet::from(*inner)]);
    interface.mtu = gateway.parts().interface.mtu;
    let mut parts = Parts::new(interface);
    parts.peers.push(
        Peer::new(gateway.parts().interface.private_key.public_key())
            .with_name("gateway")
            .with_allowed_ips([IpNet::from(*page)])
            .with_endpoint(endpoint)
            .with_persistent_keepalive(PERSISTENT_KEEPALIVE),
    );
    let config = Config::new(parts).map_err(|errors| fault(&in_one_line(&errors)))?;
    let to = SocketAddr::new(*page, page::PORT);
    match launch(config.clone(), endpoint, USUAL_PORT, to)? {
        Err(errors) if errors.iter().any(is_taken) => launch(config, endpoint, 0, to)?,
        result => result,
    }
    .map_err(|error| {
        Failure::System(format!("slipwire: the client that tries the tunnel: {error}"))
    })
}

fn is_taken(error: &StartError) -> bool {
    matches!(error, StartError::Forward { error, .. } if error.kind() == ErrorKind::AddrInUse)
}

fn launch(
    config: Config,
    endpoint: SocketAddr,
    port: u16,
    to: SocketAddr,
) -> Result<Result<Driver, StartErrors>, Failure> {
    let listen = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let mut settings = Settings::default();
    settings.listen = vec![unspecified_like(endpoint.ip()).into()];
    settings.forwards.push(Forward::new(ForwardProtocol::Tcp, listen, to).with_name("trial"));
    let seed = entropy::secret_bytes()?;
    Ok(Driver::new(config, settings, *seed))
}

/// Where a gateway that listens on `addresses` is reached from its own machine.
fn loopback_endpoint(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let v4_first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first())?;
    let ip = match v4_first.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    Some(SocketAddr::new(ip, v4_first.port()))
}

const fn unspecified_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(address: &str, peers: &[(&str, &str)]) -> Config {
        let key = |byte| PrivateKey::from_entropy([byte; 32]);
        let peer = |(index, (name, allowed)): (usize, &(&str, &str))| {
            let peer = Peer::new(key(index as u8 + 2).public_key());
            peer.with_name(*name).with_allowed_ips([allowed.parse().unwrap()])
        };
        let mut parts = Parts::new(Interface::new(key(1), [address.parse().unwrap()]));
        parts.peers = peers.iter().enumerate().map(peer).collect();
        Config::new(parts).unwrap()
    }

    #[test]
    fn the_client_takes_a_name_and_an_address_that_nobody_has() {
        for (address, peers, name, inner) in [
            ("10.77.0.1/24", &[][..], "trial", "10.77.0.2/32"),
            ("10.77.0.1/24", &[("a", "10.77.0.2/32")], "trial", "10.77.0.3/32"),
            ("10.77.0.1/24", &[("trial", "0.0.0.0/0")], "trial-1", "10.77.0.2/32"),
            ("fd77::1/64", &[("a", "fd77::2/128")], "trial", "fd77::3/128"),
        ] {
            let (joined, _) = Trial::join(&gateway(address, peers)).unwrap();
            let peer = joined.parts().peers.last().unwrap();
            assert_eq!(
                (peer.name.as_str(), peer.allowed_ips[0].to_string().as_str()),
                (name, inner)
            );
        }
        let full = Trial::join(&gateway("10.77.0.1/32", &[])).unwrap_err().to_string();
        assert!(full.contains("; write a shorter prefix"), "{full}");
    }

    #[test]
    fn a_gateway_is_reached_on_loopback_unless_it_listens_elsewhere_only() {
        let endpoint = |addresses: &[&str]| {
            let addresses: Vec<_> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            loopback_endpoint(&addresses).map(|endpoint| endpoint.to_string())
        };
        assert_eq!(endpoint(&["[::]:7", "0.0.0.0:7"]).unwrap(), "127.0.0.1:7");
        assert_eq!(endpoint(&["[::]:7"]).unwrap(), "[::1]:7");
        assert_eq!(endpoint(&["192.0.2.1:7"]).unwrap(), "192.0.2.1:7");
        assert_eq!(endpoint(&[]), None);
    }
}
