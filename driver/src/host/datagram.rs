//! The host leg of a UDP or ICMP flow: a socket that is connected to nobody, since a mapping
//! speaks with any number of hosts (RFC 4787, REQ-1).

use std::io;
use std::net::{SocketAddr, UdpSocket as StdSocket};

use mio::event::Event;
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use slipwire_core::{Engine, FlowId, Instant, NoFlow};

use super::Work;
use crate::incidents::Incidents;

/// Datagrams that one socket hands over before the tunnel is flushed and others have their turn:
/// no more than the trains that core holds, should each differ in size from the one before.
pub(crate) const BURST: usize = 32;

/// Room for the largest datagram, and for the whole of an ICMP message.
pub(crate) const BUFFER_LEN: usize = 1 << 16;

/// A host socket of datagrams.
#[derive(Debug)]
pub(crate) struct DatagramLeg {
    socket: UdpSocket,
    readable: bool,
}

impl DatagramLeg {
    /// Takes over a bound socket that does not block.
    pub(crate) fn register(
        socket: StdSocket,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        let mut socket = UdpSocket::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Self { socket, readable: true })
    }

    /// Notes what the system says about the socket.
    pub(crate) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_error();
    }

    /// Sends one datagram. If the host can't take it now it is lost, as a network would lose it.
    pub(crate) fn send(
        &self,
        remote: SocketAddr,
        payload: &[u8],
        incidents: &mut Incidents,
        now: Instant,
    ) {
        if let Err(error) = self.socket.send_to(payload, remote) {
            incidents.report(&error, now);
        }
    }

    /// Hands datagrams to core, within a budget.
    pub(crate) fn work(
        &mut self,
        flow: FlowId,
        buffer: &mut [u8],
        incidents: &mut Incidents,
        engine: &mut Engine,
        now: Instant,
    ) -> Work {
        let mut moved = 0;
        let mut failures = 0;
        for _ in 0..BURST {
            if !self.readable {
                return Work::Done { moved };
            }
            match self.socket.recv_from(buffer) {
                Ok((length, remote)) => {
                    moved += length;
                    if engine.send_datagram(flow, remote, &buffer[..length], now) == Err(NoFlow) {
                        // Its last action is on the way.
                        self.readable = false;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) => {
                    incidents.report(&error, now);
                    failures += 1;
                }
            }
        }
        if failures == BURST {
            engine.handle_aborted(flow, now);
            return Work::Over;
        }
        Work::More { moved }
    }
}
