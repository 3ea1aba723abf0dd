//! Getting the WireGuard sockets from the system.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use mio::{Interest, Registry};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::socket::WireGuardSocket;
use crate::error::{StartError, StartErrors, all_of};
use crate::settings::ListenAddress;
use crate::socket_options::{Wish, lacks, wish};
use crate::token::Origin;

/// Asked for each way. Most systems give less; whatever they give is fine.
const SOCKET_BUFFER_LEN: usize = 7 << 20;

/// How often a free port of the first address may turn out to be taken at another one.
const ATTEMPTS: usize = 16;

/// Binds a socket for each address, all to the same port.
pub(crate) fn bind_all(
    addresses: &[ListenAddress],
    port: Option<u16>,
    registry: &Registry,
) -> Result<Vec<WireGuardSocket>, StartErrors> {
    let mut attempts = if port.is_some() { 1 } else { ATTEMPTS };
    let sockets = loop {
        attempts -= 1;
        match bind_each(addresses, port.unwrap_or(0)) {
            Err(errors) if attempts > 0 && errors.iter().any(is_taken) => {}
            result => break result?,
        }
    };
    if sockets.is_empty() {
        return Err(StartError::NoListenAddress.into());
    }
    all_of(sockets.into_iter().enumerate().map(|(index, (address, socket))| {
        adopt(socket, index, registry).map_err(|error| StartError::WireGuard { address, error })
    }))
}

fn is_taken(error: &StartError) -> bool {
    matches!(error, StartError::WireGuard { error, .. } if error.kind() == io::ErrorKind::AddrInUse)
}

fn adopt(socket: UdpSocket, index: usize, registry: &Registry) -> io::Result<WireGuardSocket> {
    let mut socket = mio::net::UdpSocket::from_std(socket);
    let interest = Interest::READABLE | Interest::WRITABLE;
    registry.register(&mut socket, Origin::WireGuard(index).token(), interest)?;
    WireGuardSocket::new(socket)
}

/// Binds each address of an IP version that the kernel has; without a port to that of the first.
fn bind_each(
    addresses: &[ListenAddress],
    mut port: u16,
) -> Result<Vec<(SocketAddr, UdpSocket)>, StartErrors> {
    let mut is_first_bound = false;
    let sockets = addresses.iter().filter_map(|address| {
        let address = address.socket(port);
        let bound = bind(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
        match bound {
            Ok((bound, socket)) => {
                port = bound.port();
                is_first_bound = true;
                Some(Ok((bound, socket)))
            }
            // A kernel without IPv6 is no reason not to speak IPv4, and the other way round.
            Err(error) if addresses.len() > 1 && is_family_missing(&error) => {
                log::info!("no WireGuard at {address}: {error}");
                None
            }
            // Nor is one that gives a port to both or to one alone.
            Err(error)
                if is_first_bound
                    && lacks(Wish::OnlyV6)
                    && error.kind() == io::ErrorKind::AddrInUse =>
            {
                log::info!("no WireGuard at {address}: {error}");
                None
            }
            Err(error) => Some(Err(StartError::WireGuard { address, error })),
        }
    });
    all_of(sockets)
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Unless IPv4 has the port it makes no difference.
        wish(Wish::OnlyV6, socket.set_only_v6(true));
    }
    for (direction, result) in [
        ("receive", socket.set_recv_buffer_size(SOCKET_BUFFER_LEN)),
        ("send", socket.set_send_buffer_size(SOCKET_BUFFER_LEN)),
    ] {
        if let Err(error) = result {
            log::debug!("the {direction} buffer of {address} stays small: {error}");
        }
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn is_family_missing(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    fn listen(ip: impl Into<IpAddr>) -> ListenAddress {
        ip.into().into()
    }

    #[test]
    fn both_ip_versions_share_a_free_port() {
        let poll = mio::Poll::new().unwrap();
        let both = [listen(Ipv4Addr::UNSPECIFIED), listen(Ipv6Addr::UNSPECIFIED)];
        let sockets = bind_all(&both, None, poll.registry()).unwrap();
        let port = sockets[0].local().port();
        assert_ne!(port, 0);
        assert!(sockets.iter().all(|socket| socket.local().port() == port));
    }

    #[test]
    fn a_taken_port_is_named() {
        let poll = mio::Poll::new().unwrap();
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let _socket = UdpSocket::bind(taken).unwrap();
        let error =
            bind_all(&[listen(taken.ip())], Some(taken.port()), poll.registry()).unwrap_err();
        assert_eq!(error.to_string(), format!("{taken} (WireGuard): address in use"));
    }

    #[test]
    fn every_address_that_is_not_ours_is_named() {
        let poll = mio::Poll::new().unwrap();
        // RFC 5737: nobody has these.
        let foreign =
            ["198.51.100.1", "198.51.100.2"].map(|ip| listen(ip.parse::<IpAddr>().unwrap()));
        let addresses = [foreign[0], listen(Ipv4Addr::LOCALHOST), foreign[1]];
        let errors = bind_all(&addresses, Some(9), poll.registry()).unwrap_err();
        assert_eq!(
            errors.to_string(),
            "198.51.100.1:9 (WireGuard): not an address of this host\n\
             198.51.100.2:9 (WireGuard): not an address of this host"
        );
    }

    #[test]
    fn nowhere_to_listen_is_an_error() {
        let poll = mio::Poll::new().unwrap();
        let error = bind_all(&[], None, poll.registry()).unwrap_err();
        assert_eq!(error.to_string(), StartError::NoListenAddress.to_string());
    }
}
