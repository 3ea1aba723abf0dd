//! The gateway's client in the same process: a second driver, a whole WireGuard end of its own,
//! with a local port that leads through the tunnel to the gateway's page.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;

use slipwire_core::config::{Config, Endpoint, Interface, Mappings, Parts, Peer, Tcp};
use slipwire_core::{IpNet, Limits, PrivateKey};
use slipwire_driver::{Driver, Forward, ForwardProtocol, Settings, StartError, StartErrors};

use super::page;
use crate::entropy;
use crate::failure::Failure;

/// The local port, if it is free.
const USUAL_PORT: u16 = 8080;

/// Seconds: the tunnel comes up at once and stays.
const PERSISTENT_KEEPALIVE: NonZeroU16 = NonZeroU16::new(25).unwrap();

/// Starts the client `peer`, whose key is `key`, of the gateway that listens on `listens`.
pub(crate) fn start(
    gateway: &Config,
    listens: &[SocketAddr],
    peer: &Peer,
    key: &PrivateKey,
) -> Result<Driver, Failure> {
    let fault = |why: String| {
        Failure::Fault(format!("slipwire: peer {:?} can't try the tunnel: {why}", peer.name))
    };
    let (inner, page) = inner_addresses(gateway, peer).ok_or_else(|| {
        fault("it has no allowed IP of the IP version of the gateway's address".to_owned())
    })?;
    let endpoint = loopback_endpoint(listens)
        .ok_or_else(|| fault("the gateway listens nowhere".to_owned()))?;
    let config = Config::new(Parts {
        interface: Interface {
            private_key: key.clone(),
            addresses: vec![inner],
            mtu: gateway.parts().interface.mtu,
        },
        peers: vec![Peer {
            name: "gateway".to_owned(),
            public_key: gateway.parts().interface.private_key.public_key(),
            preshared_key: peer.preshared_key.clone(),
            allowed_ips: vec![IpNet::from(page)],
            endpoint: Some(Endpoint::Address(endpoint)),
            persistent_keepalive: Some(PERSISTENT_KEEPALIVE),
        }],
        gateway: None,
        tcp: Tcp::default(),
        mappings: Mappings::default(),
        limits: Limits::default(),
    })
    .map_err(|errors| {
        let reasons: Vec<_> = errors.iter().map(ToString::to_string).collect();
        fault(reasons.join(", "))
    })?;
    let to = SocketAddr::new(page, page::PORT);
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
    let forward = Forward {
        name: "trial".to_owned(),
        protocol: ForwardProtocol::Tcp,
        listen: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
        to,
    };
    let settings = Settings {
        listen: vec![unspecified_like(endpoint.ip()).into()],
        port: None,
        forwards: vec![forward],
        ..Settings::default()
    };
    let seed = entropy::secret_bytes()?;
    Ok(Driver::new(config, settings, *seed))
}

/// The client's address in the tunnel and the gateway's, of the same IP version.
fn inner_addresses(gateway: &Config, peer: &Peer) -> Option<(IpNet, IpAddr)> {
    let own = gateway.parts().interface.addresses.iter().map(IpNet::addr);
    own.into_iter().find_map(|own| {
        let mut allowed = peer.allowed_ips.iter().map(IpNet::addr);
        let inner = allowed.find(|inner| inner.is_ipv4() == own.is_ipv4())?;
        Some((IpNet::from(inner), own))
    })
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
