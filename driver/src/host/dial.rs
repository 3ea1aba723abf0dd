//! Connects to hosts, from ports that the kernel picks as long as it has any.
//!
//! It picks none that is in TIME-WAIT towards the same target: after 28,000 connections within a
//! minute that peers ended first there is none left (EADDRNOTAVAIL). Such a port is given to
//! whoever names it, if timestamps tell the new connection from the old one (RFC 6191), and if both
//! sockets said that addresses may be used again.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::TcpStream;
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use super::source_ports::SourcePorts;

/// Ports that are named for one connection.
const TRIES: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Dialer {
    /// The port that was named last: the next is the one that has been in TIME-WAIT for longer.
    named: u16,
}

impl Dialer {
    /// Starts to connect.
    pub(crate) fn connect(&mut self, target: SocketAddr) -> io::Result<TcpStream> {
        match start(target, None) {
            Err(error) if is(&error, &[Errno::ADDRNOTAVAIL]) => {
                // Whoever runs out of ports may have changed which there are.
                self.connect_from(&SourcePorts::read(), target)
            }
            outcome => outcome,
        }
    }

    /// Starts to connect from the first of the next few ports that can be had.
    fn connect_from(&mut self, ports: &SourcePorts, target: SocketAddr) -> io::Result<TcpStream> {
        for _ in 0..TRIES {
            let Some(port) = ports.after(self.named) else { break };
            self.named = port;
            match start(target, Some(port)) {
                Err(error) if is(&error, &[Errno::ADDRNOTAVAIL, Errno::ADDRINUSE]) => {}
                outcome => return outcome,
            }
        }
        Err(Errno::ADDRNOTAVAIL.into())
    }
}

fn is(error: &io::Error, any: &[Errno]) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| any.contains(&errno))
}

fn start(target: SocketAddr, from: Option<u16>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Where that is refused ports are used up sooner, no more.
    let _ = socket.set_reuse_address(true);
    if let Some(port) = from {
        let any = match target {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        socket.bind(&SocketAddr::new(any, port).into())?;
    }
    match socket.connect(&target.into()) {
        Err(error) if !is(&error, &[Errno::INPROGRESS]) => Err(error),
        Ok(()) | Err(_) => Ok(TcpStream::from_std(socket.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_is_not_tried_from_elsewhere() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut dialer = Dialer::default();
        // A connect that does not wait hears of it later.
        drop(dialer.connect(closed));
        assert_eq!(dialer.named, 0);
    }
}
