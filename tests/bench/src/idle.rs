//! Many connections at once that do nothing, or little.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{
    echo::{Echo, descriptors_max},
    way::Way,
};
use slipwire_lab::tcp;

/// How many there are to be.
const WANTED: usize = 10_000;
/// Descriptors that processes need for other things.
const RESERVE: usize = 1_000;
/// So many at once, until they have reached the server: a forward accepts them sooner than that,
/// and connects under way have a limit.
const BATCH: usize = 400;
const PORT: u16 = 7003;
const THREADS: usize = 4;
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Open connections, and the server that they lead to; dropping it resets them.
pub(super) struct Idle {
    streams: Vec<TcpStream>,
    _server: Echo,
}

impl Idle {
    /// Opens as many as wanted, or as few as the limit of open files allows; no byte goes through
    /// them.
    pub(super) fn open(way: &Way) -> Result<Self> {
        let count = WANTED.min(descriptors_max().saturating_sub(RESERVE));
        let server = Echo::start(&way.row.far, PORT)?;
        let target = way.target(PORT);
        let mut streams = Vec::with_capacity(count);
        while streams.len() < count {
            let open =
                |_| (0..BATCH / THREADS).map(|_| connect(target)).collect::<Result<Vec<_>>>();
            streams.extend(way.row.near.run(|| on_threads(open))??.into_iter().flatten());
            server.wait_for_connections(streams.len())?;
        }
        Ok(Self { streams, _server: server })
    }

    pub(super) fn count(&self) -> usize {
        self.streams.len()
    }

    /// Sends so many bytes through each and takes them back.
    pub(super) fn echo(&self, bytes: usize) -> Result<()> {
        let part = self.streams.len().div_ceil(THREADS);
        let parts: Vec<_> = self.streams.chunks(part).collect();
        on_threads(|index| {
            let (sent, mut got) = (vec![0x5a; bytes], vec![0; bytes]);
            for mut stream in parts.get(index).copied().unwrap_or_default() {
                stream.write_all(&sent)?;
                stream.read_exact(&mut got)?;
                ensure!(sent == got, "other bytes came back");
            }
            Ok(())
        })
        .map(drop)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        for stream in self.streams.drain(..) {
            // One that has ended already needs no reset.
            let _ = tcp::reset(stream);
        }
    }
}

fn connect(target: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, CONNECT_LIMIT)?;
    stream.set_read_timeout(Some(CONNECT_LIMIT))?;
    stream.set_write_timeout(Some(CONNECT_LIMIT))?;
    Ok(stream)
}

/// The same work on several threads, which are told their number.
pub(super) fn on_threads<T: Send>(work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..THREADS).map(|index| scope.spawn(move || work(index))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<T>>| {
            thread.join().map_err(|_| anyhow!("a client panicked"))?.context("a client")
        };
        threads.into_iter().map(join).collect()
    })
}
