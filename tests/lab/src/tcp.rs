//! TCP clients and servers on the hosts of a test, as threads, each wait bounded.

use std::{
    io::{self, ErrorKind, Read as _},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::SockRef;

use crate::{deadline::eventually, net::Host};

/// Bound of a connect. A direct connection in the labs takes well below a millisecond.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Bound of the wait for a port that is to be free.
const BIND_LIMIT: Duration = Duration::from_secs(5);
/// Bound of a single read or write.
pub const STALL_LIMIT: Duration = Duration::from_secs(60);

/// Connects from `host`.
pub fn connect(host: &Host, to: SocketAddr) -> Result<TcpStream> {
    try_connect(host, to)?.with_context(|| format!("connecting to {to}"))
}

/// Connects from `host`; the inner error is the connection's own.
pub fn try_connect(host: &Host, to: SocketAddr) -> Result<io::Result<TcpStream>> {
    let connected = host.run(|| TcpStream::connect_timeout(&to, CONNECT_LIMIT))?;
    if let Ok(stream) = &connected {
        bound_waits(stream)?;
    }
    Ok(connected)
}

fn bound_waits(stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(STALL_LIMIT))?;
    stream.set_write_timeout(Some(STALL_LIMIT))?;
    Ok(())
}

/// Closes a connection by a reset.
pub fn reset(stream: TcpStream) -> Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    drop(stream);
    Ok(())
}

/// Reads until the end of the stream and wants exactly `expected`.
pub fn expect_rest(mut stream: &TcpStream, expected: &[u8]) -> Result<()> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).context("reading to the end")?;
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(rest == expected, "read {:?} and not {:?}", shown(&rest), shown(expected));
    Ok(())
}

/// Reads until the connection ends and wants a reset, not a clean end.
pub fn expect_reset(mut stream: &TcpStream) -> Result<()> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error).context("another error than a reset"),
        Ok(length) => bail!("a clean end after {length} bytes where a reset was due"),
    }
}

/// A server: each connection is handled on a thread of its own; dropping it stops listening.
#[derive(Debug)]
pub struct Service<T> {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    results: Receiver<Result<T>>,
    listener: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Service<T> {
    /// Listens on `port` of every address of `host`, IPv4 and IPv6.
    pub fn start(
        host: &Host,
        port: u16,
        handle: impl Fn(TcpStream) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Self> {
        // A program that is being started holds copies of all our sockets until it runs, an earlier
        // listener of this port among them.
        let listener = eventually("listener", BIND_LIMIT, || {
            host.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))?
                .with_context(|| format!("listening on port {port}"))
        })?;
        listener.set_nonblocking(true)?;
        let (stop, accepted) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (sender, results) = channel();
        let thread = {
            let (stop, accepted) = (Arc::clone(&stop), Arc::clone(&accepted));
            thread::spawn(move || {
                accept_all(&listener, &stop, &accepted, &sender, &Arc::new(handle))
            })
        };
        Ok(Self { stop, accepted, results, listener: Some(thread) })
    }

    /// How many connections came in.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// What the next connection to end came to.
    pub fn result(&self) -> Result<T> {
        self.result_within(2 * STALL_LIMIT)
    }

    /// The same, for who cannot wait that long.
    pub fn result_within(&self, within: Duration) -> Result<T> {
        self.results.recv_timeout(within).context("no connection ended")?.context("server")
    }
}

impl<T> Drop for Service<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(listener) = self.listener.take() {
            // A panic there has shown as a missing result already.
            let _ = listener.join();
        }
    }
}

fn accept_all<T: Send + 'static>(
    listener: &TcpListener,
    stop: &AtomicBool,
    accepted: &AtomicUsize,
    results: &Sender<Result<T>>,
    handle: &Arc<impl Fn(TcpStream) -> Result<T> + Send + Sync + 'static>,
) {
    while !stop.load(Ordering::SeqCst) {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        accepted.fetch_add(1, Ordering::SeqCst);
        let (results, handle) = (results.clone(), Arc::clone(handle));
        thread::spawn(move || {
            let result = stream
                .set_nonblocking(false)
                .map_err(Into::into)
                .and_then(|()| bound_waits(&stream))
                .and_then(|()| handle(stream));
            // Nobody may be waiting for it any more.
            let _ = results.send(result);
        });
    }
}
