//! The local end of a TCP forward: accepts clients, and lets the flow into the tunnel decide what
//! becomes of them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use slipwire_core::Instant;
use socket2::{Domain, Protocol, Socket, Type};

use crate::incidents::Incidents;
use crate::settings::Forward;
use crate::socket_options::{Wish, wish};

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// How long to leave clients waiting when the system has no descriptor for them.
const PAUSE: Duration = Duration::from_millis(100);

/// Clients in a row that were gone before they could be accepted. More are the sign of an error
/// that does not go away with its client.
const GONE_MAX: usize = 64;

/// A listener, and where its clients want to go.
#[derive(Debug)]
pub(crate) struct TcpForward {
    to: SocketAddr,
    local: SocketAddr,
    listener: TcpListener,
    /// Whether there may be clients to accept.
    readable: bool,
    paused_until: Option<Instant>,
}

impl TcpForward {
    pub(crate) fn bind(forward: &Forward, token: Token, registry: &Registry) -> io::Result<Self> {
        let domain = Domain::for_address(forward.listen);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if forward.listen.is_ipv6() {
            wish(Wish::OnlyV6, socket.set_only_v6(true));
        }
        // Connections of an earlier run that linger in TIME-WAIT are no reason not to start.
        wish(Wish::ReuseAddress, socket.set_reuse_address(true));
        socket.set_nonblocking(true)?;
        socket.bind(&forward.listen.into())?;
        socket.listen(BACKLOG)?;
        let mut listener = TcpListener::from_std(socket.into());
        registry.register(&mut listener, token, Interest::READABLE)?;
        Ok(Self {
            to: forward.to,
            local: listener.local_addr()?,
            listener,
            readable: true,
            paused_until: None,
        })
    }

    pub(crate) const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Where it leads, in the tunnel.
    pub(crate) const fn to(&self) -> SocketAddr {
        self.to
    }

    pub(crate) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable();
    }

    pub(crate) const fn is_ready(&self) -> bool {
        self.readable && self.paused_until.is_none()
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Ends a pause that has lasted long enough.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
    }

    /// The next client, if one waits and can be had.
    pub(crate) fn accept(
        &mut self,
        incidents: &mut Incidents,
        now: Instant,
    ) -> Option<(TcpStream, SocketAddr)> {
        let mut gone = 0;
        while self.is_ready() {
            let error = match self.listener.accept() {
                Ok(client) => return Some(client),
                Err(error) => error,
            };
            match AcceptVerdict::of(&error) {
                AcceptVerdict::NoClient => self.readable = false,
                AcceptVerdict::NextClient if gone < GONE_MAX => gone += 1,
                AcceptVerdict::NextClient | AcceptVerdict::Pause => {
                    incidents.report(&error, now);
                    self.paused_until = Some(now + PAUSE);
                }
            }
        }
        None
    }
}

/// What an error of accept means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AcceptVerdict {
    NoClient,
    /// It was the client's, and went with it.
    NextClient,
    /// It is the listener's, or the system's: asking again at once would make the loop spin.
    Pause,
}

impl AcceptVerdict {
    /// On Linux accept passes on the network errors of the connection that it would have returned;
    /// accept(2) lists them.
    fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::AGAIN) => Self::NoClient,
            Some(
                Errno::INTR
                | Errno::CONNABORTED
                | Errno::PERM
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NONET,
            ) => Self::NextClient,
            _ => Self::Pause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accept_that_fails_for_want_of_descriptors_does_not_spin() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::BADF] {
            assert_eq!(AcceptVerdict::of(&errno.into()), AcceptVerdict::Pause, "{errno:?}");
        }
        assert_eq!(AcceptVerdict::of(&Errno::AGAIN.into()), AcceptVerdict::NoClient);
        assert_eq!(AcceptVerdict::of(&Errno::CONNABORTED.into()), AcceptVerdict::NextClient);
        assert_eq!(AcceptVerdict::of(&Errno::PERM.into()), AcceptVerdict::NextClient);
    }

    #[test]
    fn a_pause_ends_by_itself_and_forgets_no_client() {
        let poll = mio::Poll::new().unwrap();
        let [listen, to] = ["127.0.0.1:0", "10.0.0.1:80"].map(|address| address.parse().unwrap());
        let forward = Forward::new(crate::ForwardProtocol::Tcp, listen, to);
        let mut listener = TcpForward::bind(&forward, Token(0), poll.registry()).unwrap();
        let _client = std::net::TcpStream::connect(listener.local()).unwrap();
        listener.paused_until = Some(Instant::ZERO + PAUSE);
        let mut incidents = Incidents::new("test", log::Level::Debug);
        assert!(!listener.is_ready());
        assert!(listener.accept(&mut incidents, Instant::ZERO).is_none());
        listener.handle_timeout(Instant::ZERO + PAUSE / 2);
        assert!(!listener.is_ready());
        listener.handle_timeout(Instant::ZERO + PAUSE);
        assert!(listener.accept(&mut incidents, Instant::ZERO + PAUSE).is_some());
    }
}
