//! A stream socket, TCP or Unix, as the host leg of a TCP flow has it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown};
use std::path::Path;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use super::keepalive::HostKeepalive;

/// A connected stream socket, or one that is connecting.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What to do with a stream, whichever it is.
macro_rules! either {
    ($stream:expr, $inner:ident => $body:expr) => {
        match $stream {
            Stream::Tcp($inner) => $body,
            Stream::Unix($inner) => $body,
        }
    };
}

impl Stream {
    /// Connects to a Unix socket. Its backlog has room or it has not: nothing comes later.
    pub(crate) fn connect_unix(path: &Path) -> io::Result<Self> {
        UnixStream::connect(path).map(Self::Unix)
    }

    /// Sets what a stream has from the start. Where the system refuses one of these the flow goes
    /// on without it.
    pub(crate) fn prepare(&self) {
        // Segments come from a TCP that has already gathered what is worth gathering.
        if let Self::Tcp(tcp) = self {
            let _ = tcp.set_nodelay(true);
        }
        // A byte that was sent as urgent is one of the stream, and would be left out of it (RFC
        // 6093, section 6). Nobody hears that it was urgent.
        let _ = either!(self, stream => SockRef::from(stream).set_out_of_band_inline(true));
    }

    /// Has the system find out when the other end of a connection is gone.
    pub(crate) fn watch(&self, keepalive: &HostKeepalive) {
        match self {
            Self::Tcp(tcp) => keepalive.watch(tcp),
            // Both ends are on this host, which knows when one is gone.
            Self::Unix(_) => {}
        }
    }

    /// Whether a connect is done; its error if it failed.
    pub(crate) fn connected(&self) -> io::Result<bool> {
        if let Some(error) = self.take_error()? {
            return Err(error);
        }
        let peer = either!(self, stream => stream.peer_addr().map(drop));
        match peer {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The address of this host that it is bound to; a Unix socket has none.
    pub(crate) fn local_ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().ok().map(|local| local.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }

    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        either!(self, stream => stream.take_error())
    }

    /// Ends the direction to the host.
    pub(crate) fn shut_down(&self) -> io::Result<()> {
        either!(self, stream => stream.shutdown(Shutdown::Write))
    }

    /// Makes the end of the socket a reset, so that nobody takes it for a clean end. A Unix socket
    /// has no such thing: there an unread rest alone tells.
    pub(crate) fn reset(&self) {
        match self {
            Self::Tcp(tcp) => reset(tcp),
            Self::Unix(_) => {}
        }
    }
}

/// Makes the end of a socket a reset.
pub(crate) fn reset(stream: &TcpStream) {
    // It fails only for a socket whose connection is gone already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, stream => stream.read(buffer))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, stream => stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, on: Interest) -> io::Result<()> {
        either!(self, stream => stream.register(registry, token, on))
    }

    fn reregister(&mut self, registry: &Registry, token: Token, on: Interest) -> io::Result<()> {
        either!(self, stream => stream.reregister(registry, token, on))
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        either!(self, stream => stream.deregister(registry))
    }
}
