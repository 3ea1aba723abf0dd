//! The WireGuard side: all its UDP sockets together.
//!
//! ```text
//!   bind.rs      getting the sockets from the system
//!   socket.rs    one socket: offloads, batches in, sends out
//!   train.rs     how much of a train goes into one send
//!   path_mtu.rs  what the system knows of a path
//! ```
//!
//! What the datagrams mean, and to whom they go, is core's matter.

mod bind;
mod path_mtu;
mod socket;
mod train;

use std::io;
use std::net::{IpAddr, SocketAddr};

use log::Level;
use mio::Registry;
use mio::event::Event;
use rustix::io::Errno;
use slipwire_core::{Engine, Instant, Transmit};

pub(crate) use self::socket::Received;
use self::socket::WireGuardSocket;
use crate::batch::ReceiveBuffers;
use crate::error::StartErrors;
use crate::incidents::Incidents;
use crate::settings::ListenAddress;

/// Trains sent before the loop looks at anything else.
pub(crate) const TRAINS_PER_TURN: usize = 32;

/// Which offloads the WireGuard sockets use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offloads {
    /// Trains leave as one (UDP GSO). Off when the system or a network device can't.
    pub gso: bool,
    /// Trains arrive as one (UDP GRO).
    pub gro: bool,
}

/// Every WireGuard socket.
#[derive(Debug)]
pub(crate) struct WireGuardSockets {
    sockets: Vec<WireGuardSocket>,
    buffers: ReceiveBuffers,
    incidents: Incidents,
    blocked: bool,
}

/// What came of sending a train.
struct Progress {
    /// Bytes sent, or given up.
    bytes: usize,
    /// Whether the rest waits for the socket.
    blocked: bool,
    /// A datagram that the system refused for its size.
    too_big: Option<TooBig>,
}

/// The length of a datagram that was refused for its size, and its destination.
struct TooBig {
    destination: SocketAddr,
    datagram_len: usize,
}

impl Progress {
    const fn over(bytes: usize) -> Self {
        Self { bytes, blocked: false, too_big: None }
    }
}

impl WireGuardSockets {
    /// Binds a socket for each address, all to the same port.
    pub(crate) fn bind(
        addresses: &[ListenAddress],
        port: Option<u16>,
        registry: &Registry,
    ) -> Result<Self, StartErrors> {
        Ok(Self {
            sockets: bind::bind_all(addresses, port, registry)?,
            buffers: ReceiveBuffers::new(),
            incidents: Incidents::new("WireGuard socket", Level::Warn),
            blocked: false,
        })
    }

    /// Where the sockets listen.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.sockets.iter().map(WireGuardSocket::local)
    }

    /// Whether there is a socket that can send to `address`.
    pub(crate) fn reaches(&self, address: SocketAddr) -> bool {
        self.addresses().any(|local| is_way(local, address))
    }

    pub(crate) fn offloads(&self) -> Offloads {
        Offloads {
            gso: self.sockets.iter().any(WireGuardSocket::has_gso),
            gro: self.sockets.iter().any(WireGuardSocket::has_gro),
        }
    }

    /// Errors of the sockets so far.
    pub(crate) const fn incidents(&self) -> u64 {
        self.incidents.count()
    }

    /// Whether the train at the front waits until a socket has room.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether a socket may have more datagrams than were read.
    pub(crate) fn is_readable(&self) -> bool {
        self.sockets.iter().any(WireGuardSocket::is_readable)
    }

    /// Notes what the system says about a socket.
    pub(crate) fn note(&mut self, index: usize, event: &Event) {
        if let Some(socket) = self.sockets.get_mut(index) {
            socket.note(event);
        }
    }

    /// Hands one batch of each socket that has datagrams to core.
    pub(crate) fn receive(&mut self, engine: &mut Engine, now: Instant) -> Received {
        let mut received = Received::Nothing;
        for socket in self.sockets.iter_mut().filter(|socket| socket.is_readable()) {
            let batch = socket.receive(
                &mut self.buffers,
                |arrival, train, segment_size| {
                    engine.handle_datagrams(arrival, train, segment_size, now);
                },
                |error| self.incidents.report(error, now),
            );
            if batch == Received::Datagrams {
                received = batch;
            }
        }
        received
    }

    /// Sends the trains that wait in core, until there are no more, no room, or the loop has to
    /// look after others. Returns how many it got rid of, wholly or in part.
    pub(crate) fn transmit(&mut self, engine: &mut Engine, now: Instant) -> usize {
        for trains in 0..TRAINS_PER_TURN {
            self.blocked = false;
            let Some(train) = engine.poll_transmit() else { return trains };
            let progress = self.send(&train, now);
            if progress.bytes > 0 {
                engine.transmitted(progress.bytes);
            }
            if let Some(TooBig { destination, datagram_len }) = progress.too_big {
                let path_mtu = path_mtu::mtu(destination).ok();
                engine.handle_too_big(destination.ip(), datagram_len, path_mtu, now);
            }
            if progress.blocked {
                self.blocked = true;
                return trains + usize::from(progress.bytes > 0);
            }
        }
        TRAINS_PER_TURN
    }

    /// Sends a train. An error ends the train, never the tunnel: WireGuard expects losses, and the
    /// next train may go another way.
    fn send(&mut self, train: &Transmit<'_>, now: Instant) -> Progress {
        let length = train.contents.len();
        let Some(socket) = route(&mut self.sockets, train.destination, train.source) else {
            self.incidents.report(&io::ErrorKind::NetworkUnreachable.into(), now);
            return Progress::over(length);
        };
        match socket.send(train) {
            Ok(()) => Progress::over(length),
            Err(unsent) if unsent.error.kind() == io::ErrorKind::WouldBlock => {
                Progress { bytes: unsent.sent, blocked: true, too_big: None }
            }
            Err(unsent) => {
                self.incidents.report(&unsent.error, now);
                let is_too_big = Errno::from_io_error(&unsent.error) == Some(Errno::MSGSIZE);
                let too_big = is_too_big.then(|| TooBig {
                    destination: train.destination,
                    datagram_len: train.segment_size.min(length - unsent.sent),
                });
                Progress { too_big, ..Progress::over(length) }
            }
        }
    }

    /// Looks up the paths that core wants to know about.
    pub(crate) fn measure_paths(engine: &mut Engine, now: Instant) {
        while let Some(address) = engine.poll_path_question() {
            match path_mtu::mtu(address) {
                Ok(path_mtu) => engine.handle_path_mtu(address.ip(), path_mtu, now),
                Err(error) => log::debug!("the path MTU to {address}: {error}"),
            }
        }
    }
}

/// The socket for a destination: of its IP version and link, and bound to the source if one is.
fn route(
    sockets: &mut [WireGuardSocket],
    destination: SocketAddr,
    source: Option<IpAddr>,
) -> Option<&mut WireGuardSocket> {
    let fits = |socket: &WireGuardSocket| is_way(socket.local(), destination);
    let bound_to =
        |ip: IpAddr| sockets.iter().position(|socket| fits(socket) && socket.local().ip() == ip);
    let index = source.and_then(bound_to).or_else(|| {
        let wildcard = sockets.iter().position(|s| fits(s) && s.local().ip().is_unspecified());
        wildcard.or_else(|| sockets.iter().position(fits))
    })?;
    sockets.get_mut(index)
}

/// Whether datagrams for a destination can leave from a socket that is bound to `local`: one at a
/// link-local address is bound to that link (RFC 4007).
fn is_way(local: SocketAddr, destination: SocketAddr) -> bool {
    match (local, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => true,
        (SocketAddr::V6(local), SocketAddr::V6(destination)) => {
            local.scope_id() == 0 || local.scope_id() == destination.scope_id()
        }
        (SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_socket_at_a_link_local_address_leads_to_that_link_alone() {
        let is_way = |local: &str, destination: &str| {
            super::is_way(local.parse().unwrap(), destination.parse().unwrap())
        };
        assert!(is_way("[::]:1", "[fe80::2%7]:1") && is_way("[::]:1", "[2001:db8::1]:1"));
        assert!(is_way("[fe80::1%7]:1", "[fe80::2%7]:1"));
        assert!(!is_way("[fe80::1%7]:1", "[fe80::2%8]:1"));
        assert!(!is_way("[fe80::1%7]:1", "[2001:db8::1]:1"));
        assert!(!is_way("0.0.0.0:1", "[2001:db8::1]:1") && is_way("0.0.0.0:1", "192.0.2.1:1"));
    }
}
