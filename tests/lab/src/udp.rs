//! UDP clients and an echo server on the hosts of a test.

use std::{
    io::ErrorKind,
    net::{Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{deadline::eventually, net::Host};

/// How long a client waits for one reply; datagrams may be lost, so clients ask again.
const REPLY_LIMIT: Duration = Duration::from_millis(500);
/// How often a client asks before it gives up.
const ATTEMPTS: usize = 10;
const MAX_DATAGRAM: usize = 65_535;

/// How long a child of another test may hold a copy of a socket that was closed here: between its
/// fork and its exec.
const FORK_LIMIT: Duration = Duration::from_secs(10);

/// A socket on `host`, bound to `from`.
pub fn bind(host: &Host, from: SocketAddr) -> Result<UdpSocket> {
    let socket = eventually("port", FORK_LIMIT, || {
        host.run(|| UdpSocket::bind(from))?.with_context(|| format!("binding {from}"))
    })?;
    socket.set_read_timeout(Some(REPLY_LIMIT))?;
    Ok(socket)
}

/// A socket on `host` that talks to `to` alone, from an address of the kernel's choice.
pub fn connect(host: &Host, to: SocketAddr) -> Result<UdpSocket> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = bind(host, any.parse()?)?;
    host.run(|| socket.connect(to))??;
    Ok(socket)
}

/// The next datagram for `socket`; none if none comes in time.
pub fn receive(socket: &UdpSocket) -> Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; MAX_DATAGRAM];
    match socket.recv(&mut buffer) {
        Ok(length) => {
            buffer.truncate(length);
            Ok(Some(buffer))
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(None)
        }
        Err(error) => Err(error).context("receiving"),
    }
}

/// Sends `request` on a connected socket until it comes back. Other replies are passed over: an
/// earlier request that was repeated is answered twice.
pub fn ask(socket: &UdpSocket, request: &[u8]) -> Result<()> {
    for _ in 0..ATTEMPTS {
        socket.send(request).context("sending")?;
        while let Some(reply) = receive(socket)? {
            if reply == request {
                return Ok(());
            }
        }
    }
    bail!("no reply to {} bytes", request.len())
}

/// A server that sends each datagram back to where it came from.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Serves `port` on every address of `host`, IPv4 and IPv6.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let socket = bind(host, (Ipv6Addr::UNSPECIFIED, port).into())?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let (stop, received) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let thread = {
            let (stop, received) = (Arc::clone(&stop), Arc::clone(&received));
            thread::spawn(move || echo_all(&socket, &stop, &received))
        };
        Ok(Self { stop, received, thread: Some(thread) })
    }

    /// How many datagrams came in.
    pub fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic there has shown as a missing reply already.
            let _ = thread.join();
        }
    }
}

fn echo_all(socket: &UdpSocket, stop: &AtomicBool, received: &AtomicUsize) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    while !stop.load(Ordering::SeqCst) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            received.fetch_add(1, Ordering::SeqCst);
            // A lost reply is what UDP's clients are used to.
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}
