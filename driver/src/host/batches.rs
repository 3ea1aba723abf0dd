//! Many datagrams of a host socket in one system call, either way.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use mio::net::UdpSocket;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGroSegment;
use quinn_udp::Transmit;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::outbox::Train;
use crate::batch::{ReceiveBuffers, Truncated};
use crate::socket_state::SocketState;

/// Receives that fail one after the other before a socket counts as broken.
pub(crate) const FAILURES_MAX: usize = 16;

/// What it takes to receive batches and to send trains, for all sockets in turn.
#[derive(Debug)]
pub(crate) struct Batches {
    /// Of no socket in particular: it knows what the system can do.
    state: SocketState,
    buffers: ReceiveBuffers,
}

impl Batches {
    /// Asks what the system can do.
    ///
    /// # Errors
    /// It has no UDP sockets.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { state: probe()?, buffers: ReceiveBuffers::new() })
    }

    /// Delivers one batch of datagrams, with where they came from.
    ///
    /// # Errors
    /// What the system says, [`WouldBlock`](io::ErrorKind::WouldBlock) if there are none.
    pub(crate) fn receive(
        &mut self,
        socket: &UdpSocket,
        mut deliver: impl FnMut(SocketAddr, Result<&[u8], Truncated>),
    ) -> io::Result<()> {
        let Self { state, buffers } = self;
        buffers.receive(state, socket, |meta, train| match train {
            Ok(&[]) => deliver(meta.addr, Ok(&[])),
            Ok(train) => {
                let datagrams = train.chunks(meta.stride.max(1));
                datagrams.for_each(|datagram| deliver(meta.addr, Ok(datagram)));
            }
            Err(truncated) => deliver(meta.addr, Err(truncated)),
        })
    }

    /// Sends a train as one, on a socket that `takes_trains`; that is over once the system refuses
    /// one for what it is. Says whether it was sent: if not, its datagrams are to be sent singly,
    /// so that each has its own error.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock): the host can't take it now.
    pub(crate) fn send(
        &mut self,
        socket: &UdpSocket,
        takes_trains: &mut bool,
        train: &Train<'_>,
    ) -> io::Result<bool> {
        if !*takes_trains || !train.is_long() || self.state.segments_max() < 2 {
            return Ok(false);
        }
        let transmit = Transmit {
            destination: train.heading.remote,
            ecn: None,
            contents: train.bytes(),
            segment_size: Some(train.segment_size),
            src_ip: None,
        };
        let Err(error) = self.state.send(socket, &transmit) else {
            return Ok(true);
        };
        if error.kind() == io::ErrorKind::WouldBlock {
            return Err(error);
        }
        // EIO: the device can't segment. EMSGSIZE, EINVAL: segments are larger than the path's MTU.
        if let Some(Errno::IO | Errno::INVAL | Errno::MSGSIZE) = Errno::from_io_error(&error) {
            *takes_trains = false;
            // Other sockets, and their paths, are others.
            if let Ok(state) = probe() {
                self.state = state;
            }
        }
        Ok(false)
    }
}

fn probe() -> io::Result<SocketState> {
    let open = |domain| Socket::new(domain, Type::DGRAM, Some(Protocol::UDP));
    let socket = open(Domain::IPV4).or_else(|_| open(Domain::IPV6))?;
    Ok(SocketState::new(&socket))
}

/// Lets the system put datagrams of a UDP socket together as they arrive. Where it can't they arrive
/// singly.
pub(crate) fn coalesce(socket: &impl AsFd) {
    let _ = setsockopt(socket, UdpGroSegment, &true);
}
