//! How the datagrams of a host socket travel: as their packets came from the peer, less one hop.

use std::io;

use mio::net::UdpSocket;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ip_ttl,
    set_ipv6_mtu_discover, set_ipv6_unicast_hops,
};
use slipwire_core::{Fragmenting, Travel};

use super::icmp::Family;

/// Sets how the next datagrams of a socket travel.
pub(crate) fn set(socket: &UdpSocket, family: Family, travel: Travel) -> io::Result<()> {
    let Travel { hop_limit, fragmenting } = travel;
    match family {
        Family::V4 => {
            set_ip_ttl(socket, hop_limit.into())?;
            let discovery = match fragmenting {
                Fragmenting::Allowed => Ipv4PathMtuDiscovery::DONT,
                Fragmenting::Forbidden => Ipv4PathMtuDiscovery::DO,
            };
            set_ip_mtu_discover(socket, discovery)?;
        }
        Family::V6 => {
            set_ipv6_unicast_hops(socket, Some(hop_limit))?;
            let discovery = match fragmenting {
                Fragmenting::Allowed => Ipv6PathMtuDiscovery::DONT,
                Fragmenting::Forbidden => Ipv6PathMtuDiscovery::DO,
            };
            set_ipv6_mtu_discover(socket, discovery)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::{ip_mtu_discover, ip_ttl, ipv6_mtu_discover, ipv6_unicast_hops};

    use super::*;
    use crate::host::udp;

    #[test]
    fn a_socket_takes_on_hop_limit_and_fragmenting() {
        for (hop_limit, fragmenting, v4, v6) in [
            (1, Fragmenting::Forbidden, Ipv4PathMtuDiscovery::DO, Ipv6PathMtuDiscovery::DO),
            (254, Fragmenting::Allowed, Ipv4PathMtuDiscovery::DONT, Ipv6PathMtuDiscovery::DONT),
        ] {
            let travel = Travel { hop_limit, fragmenting };
            let socket = UdpSocket::from_std(udp::open("10.0.0.2:0".parse().unwrap()).unwrap());
            set(&socket, Family::V4, travel).unwrap();
            assert_eq!(ip_ttl(&socket).unwrap(), hop_limit.into());
            assert_eq!(ip_mtu_discover(&socket).unwrap(), v4);

            let Ok(socket) = udp::open("[fd00::2]:0".parse().unwrap()) else { continue };
            let socket = UdpSocket::from_std(socket);
            set(&socket, Family::V6, travel).unwrap();
            assert_eq!(ipv6_unicast_hops(&socket).unwrap(), hop_limit);
            assert_eq!(ipv6_mtu_discover(&socket).unwrap(), v6);
        }
    }
}
