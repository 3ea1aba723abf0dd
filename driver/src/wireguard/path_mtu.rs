//! What the system knows of a path: its own devices and routes, and what routers have told it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::net::sockopt;

/// The system's path MTU to `address` in bytes, IP header included. It takes a moment: a socket is
/// made, connected, which sends nothing, asked and dropped.
///
/// # Errors
/// The system's: there is no route, for example, or no descriptor left.
pub(crate) fn mtu(address: SocketAddr) -> io::Result<u16> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(address)?;
    let mtu = match address {
        SocketAddr::V4(_) => sockopt::ip_mtu(&socket)?,
        SocketAddr::V6(_) => sockopt::ipv6_mtu(&socket)?,
    };
    // Loopback has 65,536.
    Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_carries_the_largest_packets() {
        for address in ["127.0.0.1:9", "[::1]:9"] {
            let address: SocketAddr = address.parse().unwrap();
            // A host may lack IPv6.
            if UdpSocket::bind((address.ip(), 0)).is_ok() {
                assert!(mtu(address).unwrap() >= 16_384, "{address}");
            }
        }
    }
}
