//! Host sockets of ICMP mappings: ping sockets, which need no privilege where the system's
//! `net.ipv4.ping_group_range` admits one of our groups. The kernel fills in identifier and
//! checksum, and hands over replies to that identifier only.

use std::io;
use std::net::UdpSocket;

use socket2::{Domain, Protocol, Socket, Type};

use super::error_queue;
use crate::datagrams::family::Family;
use crate::datagrams::ttl_and_df;
use crate::socket_options::{Wish, wish};

/// Opens a ping socket. A datagram of it is an ICMP message without an IP header.
pub(crate) fn open(family: Family) -> io::Result<UdpSocket> {
    let (domain, protocol) = match family {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    let socket = socket.into();
    wish(Wish::Errors, error_queue::enable(&socket, family));
    ttl_and_df::ask_for_class(&socket, family);
    Ok(socket)
}

/// Whether the system lets us have ping sockets, asked at the start.
#[derive(Debug)]
pub(crate) struct PingSockets {
    pub(crate) v4: io::Result<()>,
    pub(crate) v6: io::Result<()>,
    warned: bool,
}

impl PingSockets {
    pub(crate) fn probe() -> Self {
        Self { v4: open(Family::V4).map(drop), v6: open(Family::V6).map(drop), warned: false }
    }

    /// Says once that a peer's echo request came to nothing, and what to do about it.
    pub(crate) fn warn(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::PermissionDenied && !self.warned {
            self.warned = true;
            log::warn!(
                "peers can't ping through this host: the system forbids ping sockets ({error}); \
                 allow this user's group with the sysctl net.ipv4.ping_group_range"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    use super::*;

    /// An echo request to loopback comes back without an IP header.
    #[test]
    fn an_echo_is_a_bare_icmp_message() {
        let cases = [(Family::V4, "127.0.0.1:0", 8, 0), (Family::V6, "[::1]:0", 128, 129)];
        for (family, target, request, reply) in cases {
            let Ok(socket) = open(family) else { continue };
            let target: SocketAddr = target.parse().unwrap();
            let message = [request, 0, 0, 0, 0, 0, 0, 7, 1, 2, 3];
            if socket.send_to(&message, target).is_err() {
                continue;
            }
            let mut buffer = [0; 100];
            let patience = Instant::now() + Duration::from_secs(5);
            let length = loop {
                match socket.recv_from(&mut buffer) {
                    Ok((length, _)) => break length,
                    Err(error) if Instant::now() > patience => panic!("{error}"),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            };
            assert_eq!(length, message.len());
            assert_eq!(buffer[0], reply);
            assert_eq!(buffer[6..length], message[6..]);
        }
    }
}
