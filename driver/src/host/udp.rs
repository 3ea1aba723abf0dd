//! Host sockets of UDP mappings: bound to every address, and to the port that the peer uses inside
//! the tunnel where that is free (RFC 4787, REQ-3).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::error_queue;
use super::icmp::Family;

/// Opens the socket for the mapping of an inner source.
pub(crate) fn open(source: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(source), Type::DGRAM, Some(Protocol::UDP))?;
    let wildcard: IpAddr = match source {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            Ipv6Addr::UNSPECIFIED.into()
        }
    };
    let bind = |port| socket.bind(&SocketAddr::new(wildcard, port).into());
    // Taken by somebody else, or reserved for root: any other port does as well.
    bind(source.port()).or_else(|_| bind(0))?;
    socket.set_nonblocking(true)?;
    let socket = socket.into();
    // Where it is refused peers do not hear what did not arrive, and all else goes on.
    let _ = error_queue::enable(&socket, Family::of(source));
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_preserved_when_it_is_free() {
        let free = UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let source = SocketAddr::new("10.77.0.2".parse().unwrap(), free);
        let first = open(source).unwrap();
        assert_eq!(first.local_addr().unwrap().port(), free);
        let second = open(source).unwrap();
        assert_ne!(second.local_addr().unwrap().port(), free);
    }

    #[test]
    fn a_mapping_of_one_ip_version_leaves_the_other_alone() {
        let Ok(v6) = open("[fd77::2]:0".parse().unwrap()) else { return };
        let port = v6.local_addr().unwrap().port();
        let v4 = open(SocketAddr::new("10.77.0.2".parse().unwrap(), port)).unwrap();
        assert_eq!(v4.local_addr().unwrap().port(), port);
    }
}
