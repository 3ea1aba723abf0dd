//! Host sockets of UDP mappings: bound to every address, and to the port that the peer uses inside
//! the tunnel where that is free (RFC 4787, REQ-3) and no service's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::error_queue;
use super::source_ports::SourcePorts;
use crate::datagrams::family::Family;
use crate::datagrams::{batches, ttl_and_df};
use crate::socket_options::{Wish, wish};

/// Opens the socket for the mapping of an inner source.
pub(crate) fn open(source: SocketAddr, ports: &SourcePorts) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(source), Type::DGRAM, Some(Protocol::UDP))?;
    let wildcard: IpAddr = match source {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => {
            wish(Wish::OnlyV6, socket.set_only_v6(true));
            Ipv6Addr::UNSPECIFIED.into()
        }
    };
    for port in ports.for_port(source.port()) {
        match socket.bind(&SocketAddr::new(wildcard, port).into()) {
            Err(error) if port != 0 && is_not_to_be_had(&error) => {}
            result => {
                result?;
                break;
            }
        }
    }
    socket.set_nonblocking(true)?;
    let socket = socket.into();
    wish(Wish::Errors, error_queue::enable(&socket, Family::of(source)));
    batches::coalesce(&socket);
    ttl_and_df::ask_for_class(&socket, Family::of(source));
    Ok(socket)
}

/// Whether a port is taken by somebody else, or reserved.
fn is_not_to_be_had(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::ADDRINUSE | Errno::ACCESS | Errno::PERM))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(port: u16) -> UdpSocket {
        open(SocketAddr::new("10.77.0.2".parse().unwrap(), port), &SourcePorts::read()).unwrap()
    }

    fn port(socket: &UdpSocket) -> u16 {
        socket.local_addr().unwrap().port()
    }

    #[test]
    fn the_port_is_preserved_when_it_is_free() {
        let free = port(&UdpSocket::bind("0.0.0.0:0").unwrap());
        assert_eq!(port(&mapping(free)), free);
    }

    #[test]
    fn the_parity_of_a_port_that_is_taken_is_preserved() {
        for _ in 0..2 {
            let first = mapping(0);
            let taken = port(&first);
            let second = mapping(taken);
            assert_ne!(port(&second), taken);
            assert_eq!(port(&second) % 2, taken % 2);
        }
    }

    #[test]
    fn a_mapping_of_one_ip_version_leaves_the_other_alone() {
        let Ok(v6) = open("[fd77::2]:0".parse().unwrap(), &SourcePorts::read()) else { return };
        let v4 = mapping(port(&v6));
        assert_eq!(port(&v4), port(&v6));
    }
}
