//! Connections that carry as much as they can, until they are told to stop.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use slipwire_lab::tcp::{self, Service};
use slipwire_worlds::path::Direction;
use socket2::SockRef;

use super::{
    program::Program,
    site::{self, Site},
};

const PORT: u16 = 7000;
const CHUNK: usize = 64 * 1024;
/// How soon a thread notices that it is to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(100);
/// What the threads of many connections need.
const STACK: usize = 256 * 1024;

/// Running connections.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    service: Service<()>,
    clients: Vec<JoinHandle<Result<()>>>,
}

/// What the threads share.
#[derive(Debug)]
struct Shared {
    program: Program,
    direction: Direction,
    /// Writers have written enough.
    stop: AtomicBool,
    /// Everybody leaves now.
    abort: AtomicBool,
    /// Bytes that each reader has read.
    received: Vec<AtomicU64>,
    /// How many readers have begun, and how many have read to the end.
    readers: AtomicUsize,
    ended: AtomicUsize,
    /// The largest payload of a segment, as the kernel says where it is an end of the tunnel's
    /// connections.
    segment: AtomicU32,
}

impl Load {
    /// So many connections at once this way.
    pub fn start(site: &Site, direction: Direction, flows: usize) -> Result<Self> {
        let shared = Arc::new(Shared {
            program: site.program.clone(),
            direction,
            stop: AtomicBool::new(false),
            abort: AtomicBool::new(false),
            received: (0..flows).map(|_| AtomicU64::new(0)).collect(),
            readers: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            segment: AtomicU32::new(0),
        });
        let service = {
            let shared = Arc::clone(&shared);
            Service::start(&site.row().far, PORT, move |stream| shared.serve(&stream))?
        };
        let client = |_| {
            let (shared, host, to) =
                (Arc::clone(&shared), site.row().near.clone(), site.target(PORT));
            let thread = thread::Builder::new().stack_size(STACK);
            thread.spawn(move || shared.call(&site::connect(&host, to)?))
        };
        let clients = (0..flows).map(client).collect::<Result<_, _>>()?;
        Ok(Self { shared, service, clients })
    }

    /// Bytes that readers have read so far, by connection.
    pub fn received(&self) -> Vec<u64> {
        let counts = self.shared.received.iter();
        counts.map(|count| count.load(Ordering::SeqCst)).collect()
    }

    /// The kernel's largest payload of a segment through the tunnel; 0 where none of it ends there.
    pub fn segment(&self) -> u32 {
        self.shared.segment.load(Ordering::SeqCst)
    }

    /// Writers write no more; what they wrote may arrive, within that time.
    pub fn drain(&self, within: Duration) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let start = Instant::now();
        while start.elapsed() < within
            && self.shared.ended.load(Ordering::SeqCst) < self.clients.len()
        {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends all connections; the first error that there was.
    pub fn end(self) -> Result<()> {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.abort.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        for _ in 0..self.service.accepted() {
            self.service.result().context("the server's side")?;
        }
        Ok(())
    }
}

impl Shared {
    /// The far host's side of a connection.
    fn serve(&self, stream: &TcpStream) -> Result<()> {
        if self.program.job.forwards() && !self.program.job.is_gateway() {
            self.note_segment(stream);
        }
        match self.direction {
            Direction::Up => self.read(stream),
            Direction::Down => self.write(stream),
        }
    }

    /// The near host's side.
    fn call(&self, stream: &TcpStream) -> Result<()> {
        if !self.program.job.forwards() {
            self.note_segment(stream);
        }
        match self.direction {
            Direction::Up => self.write(stream),
            Direction::Down => self.read(stream),
        }
    }

    fn note_segment(&self, stream: &TcpStream) {
        let segment = SockRef::from(stream).tcp_mss().unwrap_or_default();
        self.segment.store(segment, Ordering::SeqCst);
    }

    fn has_aborted(&self) -> bool {
        self.abort.load(Ordering::SeqCst)
    }

    /// Writes until it is enough, then waits for the reader.
    fn write(&self, mut stream: &TcpStream) -> Result<()> {
        self.program.prepare_sender(stream, self.direction)?;
        stream.set_write_timeout(Some(STOP_INTERVAL))?;
        stream.set_read_timeout(Some(STOP_INTERVAL))?;
        let chunk = vec![0x5a; CHUNK];
        while !self.stop.load(Ordering::SeqCst) {
            match stream.write(&chunk) {
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                // The reader has left by a reset.
                Err(_) if self.has_aborted() => break,
                Err(error) => return Err(error).context("writing"),
            }
        }
        // It fails where the reader has left.
        let _ = stream.shutdown(Shutdown::Write);
        while !self.has_aborted() {
            match stream.read(&mut [0; 1]) {
                Err(error) if is_timeout(&error) => {}
                // The reader leaves, perhaps by a reset.
                Ok(_) | Err(_) => break,
            }
        }
        leave(stream)
    }

    /// Reads to the end.
    fn read(&self, mut stream: &TcpStream) -> Result<()> {
        let index = self.readers.fetch_add(1, Ordering::SeqCst);
        let received = self.received.get(index).context("more connections than were asked for")?;
        stream.set_read_timeout(Some(STOP_INTERVAL))?;
        let mut chunk = vec![0; CHUNK];
        while !self.has_aborted() {
            match stream.read(&mut chunk) {
                Ok(0) => {
                    self.ended.fetch_add(1, Ordering::SeqCst);
                    break;
                }
                Ok(length) => {
                    received.fetch_add(length as u64, Ordering::SeqCst);
                }
                Err(error) if is_timeout(&error) => {}
                // The writer has left by a reset.
                Err(_) if self.has_aborted() => break,
                Err(error) => return Err(error).context("reading"),
            }
        }
        leave(stream)
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Leaves nothing behind that would be sent beside the next run.
fn leave(stream: &TcpStream) -> Result<()> {
    tcp::reset(stream.try_clone()?)
}
