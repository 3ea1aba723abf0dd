//! How the datagrams of a host socket travel: as their packets came from the peer, less one hop;
//! and how those from hosts were marked on their way here.

use std::io;
use std::os::fd::AsFd;

use mio::net::UdpSocket;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ip_recvtos, set_ip_tos,
    set_ip_ttl, set_ipv6_mtu_discover, set_ipv6_recvtclass, set_ipv6_tclass, set_ipv6_unicast_hops,
};
use slipwire_core::{Fragmenting, TrafficClass, Travel};

use super::family::Family;
use crate::socket_options::{Wish, wish};

/// Has the system say how datagrams are marked that a socket receives.
pub(crate) fn ask_for_class(socket: &impl AsFd, family: Family) {
    let asked = match family {
        Family::V4 => set_ip_recvtos(socket, true),
        Family::V6 => set_ipv6_recvtclass(socket, true),
    };
    wish(Wish::TrafficClass, asked);
}

/// Marks the next datagrams of a socket, which has marked the last ones with `before`.
pub(crate) fn set_class(
    socket: &impl AsFd,
    family: Family,
    before: TrafficClass,
    class: TrafficClass,
) {
    if class == before {
        return;
    }
    let set = match family {
        Family::V4 => set_ip_tos(socket, class.0),
        Family::V6 => set_ipv6_tclass(socket, class.0.into()),
    };
    wish(Wish::TrafficClass, set);
}

/// Sets how the next datagrams of a socket travel; `before` is how the last ones did, if there were
/// any.
pub(crate) fn set(
    socket: &UdpSocket,
    family: Family,
    before: Option<Travel>,
    travel: Travel,
) -> io::Result<()> {
    let Travel { hop_limit, fragmenting, traffic_class } = travel;
    let class_before = before.map_or(TrafficClass::DEFAULT, |before| before.traffic_class);
    set_class(socket, family, class_before, traffic_class);
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
    use rustix::net::sockopt::{
        ip_mtu_discover, ip_tos, ip_ttl, ipv6_mtu_discover, ipv6_tclass, ipv6_unicast_hops,
    };

    use super::*;
    use crate::host::source_ports::SourcePorts;
    use crate::host::udp;

    #[test]
    fn a_socket_takes_on_hop_limit_fragmenting_and_traffic_class() {
        for (hop_limit, fragmenting, v4, v6) in [
            (1, Fragmenting::Forbidden, Ipv4PathMtuDiscovery::DO, Ipv6PathMtuDiscovery::DO),
            (254, Fragmenting::Allowed, Ipv4PathMtuDiscovery::DONT, Ipv6PathMtuDiscovery::DONT),
        ] {
            let traffic_class = TrafficClass(hop_limit);
            let travel = Travel { hop_limit, fragmenting, traffic_class };
            let socket = UdpSocket::from_std(
                udp::open("10.0.0.2:0".parse().unwrap(), &SourcePorts::default()).unwrap(),
            );
            set(&socket, Family::V4, None, travel).unwrap();
            assert_eq!(ip_ttl(&socket).unwrap(), hop_limit.into());
            assert_eq!(ip_mtu_discover(&socket).unwrap(), v4);
            assert_eq!(ip_tos(&socket).unwrap(), hop_limit);

            let Ok(socket) = udp::open("[fd00::2]:0".parse().unwrap(), &SourcePorts::default())
            else {
                continue;
            };
            let socket = UdpSocket::from_std(socket);
            set(&socket, Family::V6, None, travel).unwrap();
            assert_eq!(ipv6_unicast_hops(&socket).unwrap(), hop_limit);
            assert_eq!(ipv6_mtu_discover(&socket).unwrap(), v6);
            assert_eq!(ipv6_tclass(&socket).unwrap(), hop_limit.into());
        }
    }
}
