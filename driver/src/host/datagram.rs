//! The host leg of a UDP or ICMP flow: a socket that is connected to nobody, since a mapping
//! speaks with any number of hosts (RFC 4787, REQ-1).

use std::io;
use std::net::{SocketAddr, UdpSocket as StdSocket};

use mio::event::Event;
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use slipwire_core::{Engine, FlowId, Instant, Loss, NoFlow, Travel, Undelivered};

use super::Work;
use super::error_queue::{self, Entry};
use super::icmp::{self, Family};
use super::travel;
use crate::incidents::Incidents;
use crate::refusal::datagram_refusal;

/// Datagrams that one socket hands over before the tunnel is flushed and others have their turn:
/// no more than the trains that core holds, should each differ in size from the one before.
pub(crate) const BURST: usize = 32;

/// Of those, at most so many errors: who sends to closed ports does not starve their neighbours.
const ERRORS: usize = BURST / 4;

/// Room for the largest datagram, and for the whole of an ICMP message.
pub(crate) const BUFFER_LEN: usize = 1 << 16;

/// A host socket of datagrams. The flags say "maybe": events raise them, and only a call that
/// brought nothing lowers them.
#[derive(Debug)]
pub(crate) struct DatagramLeg {
    socket: UdpSocket,
    family: Family,
    /// How the datagrams travel that it sends now.
    travel: Option<Travel>,
    /// The last datagram that was too big to send. The system has queued what would fit.
    oversize: Option<Oversize>,
    readable: bool,
    /// Errors about datagrams that were sent are waiting.
    has_errors: bool,
}

/// A datagram that did not fit into the system's path to its remote.
#[derive(Clone, Copy, Debug)]
struct Oversize {
    remote: SocketAddr,
    echo_sequence: Option<u16>,
}

impl DatagramLeg {
    /// Takes over a socket that does not block.
    pub(crate) fn register(
        socket: StdSocket,
        family: Family,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        let mut socket = UdpSocket::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        let (travel, oversize) = (None, None);
        Ok(Self { socket, family, travel, oversize, readable: true, has_errors: false })
    }

    /// Notes what the system says about the socket.
    pub(crate) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_error();
        self.has_errors |= event.is_error();
    }

    /// The port that datagrams leave from.
    pub(crate) fn port(&self) -> Option<u16> {
        self.socket.local_addr().ok().map(|local| local.port())
    }

    /// Sends one datagram. If the host can't take it now it is lost, as a network would lose it;
    /// if the host has no way for it, returns what the peer is to be told.
    pub(crate) fn send(
        &mut self,
        remote: SocketAddr,
        travel: Travel,
        payload: &[u8],
        incidents: &mut Incidents,
        now: Instant,
    ) -> Option<Undelivered> {
        if self.travel != Some(travel) {
            match travel::set(&self.socket, self.family, travel) {
                Ok(()) => self.travel = Some(travel),
                Err(error) => incidents.report(&error, now),
            }
        }
        let send = || self.socket.send_to(payload, remote);
        let again = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => Err(error),
            // It may be about an earlier datagram: then it is in the error queue too, and has been
            // cleared by being seen here.
            _ => send(),
        };
        let error = send().or_else(again).err()?;
        incidents.report(&error, now);
        let echo_sequence = icmp::echo_sequence(payload);
        if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) {
            self.oversize = Some(Oversize { remote, echo_sequence });
        }
        let loss = Loss::Refused(datagram_refusal(&error)?);
        Some(Undelivered { remote, echo_sequence, loss })
    }

    /// Hands datagrams to core, and what is said about those that were sent, within a budget.
    pub(crate) fn work(
        &mut self,
        flow: FlowId,
        buffer: &mut [u8],
        incidents: &mut Incidents,
        engine: &mut Engine,
        now: Instant,
    ) -> Work {
        self.take_errors(flow, engine, now);
        let mut moved = 0;
        let mut failures = 0;
        for _ in 0..BURST - ERRORS {
            if !self.readable {
                break;
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
        // An error about a datagram fails one call; a socket that fails all of them is broken.
        if failures == BURST - ERRORS {
            engine.handle_aborted(flow, now);
            return Work::Over;
        }
        let has_more = self.readable || self.has_errors;
        if has_more { Work::More { moved } } else { Work::Done { moved } }
    }

    /// Tells core which datagrams did not arrive, within a budget.
    fn take_errors(&mut self, flow: FlowId, engine: &mut Engine, now: Instant) {
        for _ in 0..ERRORS {
            if !self.has_errors {
                return;
            }
            match error_queue::pop(&self.socket, self.family) {
                Some(Entry::Undelivered(undelivered)) => self.tell(flow, undelivered, engine, now),
                Some(Entry::TooBigToSend { to, mtu }) => {
                    // Of several the last one is known, and the others will be repeated.
                    let oversize = self.oversize.take_if(|oversize| oversize.remote.ip() == to);
                    if let Some(Oversize { remote, echo_sequence }) = oversize {
                        let loss = Loss::TooBig { mtu };
                        let undelivered = Undelivered { remote, echo_sequence, loss };
                        self.tell(flow, undelivered, engine, now);
                    }
                }
                Some(Entry::Other) => {}
                None => self.has_errors = false,
            }
        }
    }

    fn tell(&mut self, flow: FlowId, undelivered: Undelivered, engine: &mut Engine, now: Instant) {
        // A flow that is over has its last action on the way.
        self.has_errors = engine.handle_undelivered(flow, undelivered, now) != Err(NoFlow);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use log::Level;
    use mio::{Events, Poll};

    use slipwire_core::{Fragmenting, Refusal};

    use super::*;
    use crate::host::udp;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn leg(registry: &Registry) -> DatagramLeg {
        let socket = udp::open("127.0.0.1:0".parse().unwrap()).unwrap();
        DatagramLeg::register(socket, Family::V4, Token(0), registry).unwrap()
    }

    fn send(leg: &mut DatagramLeg, remote: SocketAddr) -> (Option<Loss>, u64) {
        let mut incidents = Incidents::new("test", Level::Debug);
        let travel = Travel { hop_limit: 9, fragmenting: Fragmenting::Allowed };
        let undelivered = leg.send(remote, travel, b"hello", &mut incidents, Instant::ZERO);
        (undelivered.map(|undelivered| undelivered.loss), incidents.count())
    }

    fn closed_port() -> SocketAddr {
        StdSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// Waits until the system says that there is an error.
    fn wait_for_error(leg: &mut DatagramLeg, poll: &mut Poll) {
        let mut events = Events::with_capacity(8);
        while !leg.has_errors {
            poll.poll(&mut events, Some(PATIENCE)).unwrap();
            assert!(!events.is_empty(), "no error came");
            events.iter().for_each(|event| leg.note(event));
        }
    }

    #[test]
    fn an_error_about_one_host_does_not_cost_the_datagram_to_another() {
        let mut poll = Poll::new().unwrap();
        let mut leg = leg(poll.registry());
        let listener = StdSocket::bind("127.0.0.1:0").unwrap();
        listener.set_read_timeout(Some(PATIENCE)).unwrap();
        let closed = closed_port();

        assert_eq!(send(&mut leg, closed), (None, 0));
        wait_for_error(&mut leg, &mut poll);
        assert_eq!(send(&mut leg, listener.local_addr().unwrap()), (None, 0));
        assert_eq!(listener.recv(&mut [0; 10]).unwrap(), 5);

        let entry = error_queue::pop(&leg.socket, Family::V4);
        let Some(Entry::Undelivered(Undelivered { remote, loss, .. })) = entry else {
            panic!("the error is not in the queue: {entry:?}")
        };
        assert_eq!((remote, loss), (closed, Loss::Refused(Refusal::Refused)));
    }

    #[test]
    fn what_the_host_itself_forbids_is_refused_at_once() {
        let poll = Poll::new().unwrap();
        // Broadcasts need a permission that the socket does not ask for.
        let broadcast = "255.255.255.255:9".parse().unwrap();
        let (loss, incidents) = send(&mut leg(poll.registry()), broadcast);
        let Some(Loss::Refused(refusal)) = loss else { panic!("not refused: {loss:?}") };
        // Without any route the answer is another one.
        assert!(matches!(refusal, Refusal::Prohibited | Refusal::NetworkUnreachable));
        assert_eq!(incidents, 1);
    }
}
