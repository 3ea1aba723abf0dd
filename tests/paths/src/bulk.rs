//! Connections that carry as much as they can: how much of that arrives, what it costs on the path,
//! and what a ping beside them feels.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use slipwire_bench::figures::{quantile, sorted};
use slipwire_lab::tcp::{self, Service};
use slipwire_worlds::path::Direction;
use socket2::SockRef;

use super::{ping, program::Program, relay::Ledger, site::Site};

const PORT: u16 = 7000;
const CHUNK: usize = 64 * 1024;
/// How soon a thread notices that it is to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(100);
/// How long the last bytes may take to arrive, so that what was sent can be compared with it.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// A segment through a tunnel with an MTU of 1,420 bytes, and what timestamps take of it.
const SEGMENT: u32 = 1_380;
const TIMESTAMPS: u32 = 12;

/// What one run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bulk {
    /// Mbit/s of payload that reached the reader, from the connecting on.
    pub goodput: f64,
    /// Bytes of payload sent for each that reached the reader.
    pub sent_per_needed: f64,
    /// Segments that the path lost.
    pub lost: f64,
    /// Segments that were sent again, for whatever reason.
    pub again: f64,
    /// What a ping beside it took longer than one alone, in milliseconds: half of them, and all but
    /// one in a hundred.
    pub added_p50: f64,
    /// See [`Self::added_p50`].
    pub added_p99: f64,
    /// What part of the datagrams left the relay more than a millisecond late.
    pub late: f64,
}

/// What the threads of one run share.
#[derive(Clone, Debug, Default)]
struct Shared {
    /// Writers have written enough.
    stop: Arc<AtomicBool>,
    /// Everybody leaves now.
    abort: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    /// How many readers have read to the end.
    ended: Arc<AtomicU64>,
    /// The largest payload of a segment, as the kernel says where it is an end of the tunnel's
    /// connections.
    segment: Arc<AtomicU32>,
}

/// So many connections this way for so long, over a path that was just renewed.
pub fn run(site: &Site, direction: Direction, flows: usize, time: Duration) -> Result<Bulk> {
    let alone = ping::alone(site)?;
    let before = site.ledger()?;
    let shared = Shared::default();
    let service = {
        let (program, shared) = (site.program.clone(), shared.clone());
        Service::start(&site.row().far, PORT, move |stream| {
            if program.job.forwards() && !program.job.is_gateway() {
                shared.note_segment(&stream);
            }
            match direction {
                Direction::Up => shared.read(&stream),
                Direction::Down => shared.write(&program, &stream, direction),
            }
        })?
    };
    let stop_pings = AtomicBool::new(false);
    let (goodput, ledger, pings) = thread::scope(|scope| {
        let pings = scope.spawn(|| ping::beside(site, &stop_pings));
        let start = Instant::now();
        let client = || -> Result<()> {
            let stream = site.connect(PORT)?;
            if !site.program.job.forwards() {
                shared.note_segment(&stream);
            }
            match direction {
                Direction::Up => shared.write(&site.program, &stream, direction),
                Direction::Down => shared.read(&stream),
            }
        };
        let clients: Vec<_> = (0..flows).map(|_| scope.spawn(client)).collect();
        thread::sleep(time);
        let goodput =
            shared.received.load(Ordering::SeqCst) as f64 * 8e-6 / start.elapsed().as_secs_f64();
        shared.stop.store(true, Ordering::SeqCst);
        stop_pings.store(true, Ordering::SeqCst);
        let pings = pings.join().map_err(|_| anyhow!("the pings panicked"));
        let all = u64::try_from(flows).unwrap_or(u64::MAX);
        let draining = Instant::now();
        while draining.elapsed() < DRAIN_LIMIT && shared.ended.load(Ordering::SeqCst) < all {
            thread::sleep(Duration::from_millis(10));
        }
        let ledger = site.ledger();
        shared.abort.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        anyhow::Ok((goodput, ledger?.since(&before), pings??))
    })?;
    for _ in 0..service.accepted() {
        service.result().context("the server's side")?;
    }
    let received = shared.received.load(Ordering::SeqCst);
    let segment = shared.segment.load(Ordering::SeqCst);
    Ok(Bulk::new(goodput, received, segment, direction, &ledger, &pings, alone))
}

impl Bulk {
    fn new(
        goodput: f64,
        received: u64,
        segment: u32,
        direction: Direction,
        ledger: &Ledger,
        pings: &[Duration],
        alone: Duration,
    ) -> Self {
        let account = ledger.accounts[direction as usize];
        let options = if segment + TIMESTAMPS == SEGMENT { TIMESTAMPS } else { 0 };
        let sent = account.data_bytes.saturating_sub(account.data * u64::from(options));
        let added = |time: &Duration| time.saturating_sub(alone).as_secs_f64() * 1e3;
        let added = sorted(pings.iter().map(added));
        Self {
            goodput,
            sent_per_needed: sent as f64 / received as f64,
            lost: account.segments_lost as f64,
            again: sent.saturating_sub(received) as f64 / f64::from(SEGMENT - options),
            added_p50: quantile(&added, 0.5),
            added_p99: quantile(&added, 0.99),
            late: ledger.late as f64 / ledger.left.max(1) as f64,
        }
    }
}

impl Shared {
    fn note_segment(&self, stream: &TcpStream) {
        let segment = SockRef::from(stream).tcp_mss().unwrap_or_default();
        self.segment.store(segment, Ordering::SeqCst);
    }

    fn has_aborted(&self) -> bool {
        self.abort.load(Ordering::SeqCst)
    }

    /// Writes until it is enough, then waits for the reader.
    fn write(&self, program: &Program, mut stream: &TcpStream, direction: Direction) -> Result<()> {
        program.prepare_sender(stream, direction)?;
        stream.set_write_timeout(Some(STOP_INTERVAL))?;
        stream.set_read_timeout(Some(STOP_INTERVAL))?;
        let chunk = vec![0x5a; CHUNK];
        while !self.stop.load(Ordering::SeqCst) {
            match stream.write(&chunk) {
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error).context("writing"),
            }
        }
        stream.shutdown(Shutdown::Write)?;
        while !self.has_aborted() {
            match stream.read(&mut [0; 1]) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                // The reader leaves by a reset.
                Err(_) => break,
            }
        }
        leave(stream)
    }

    /// Reads to the end.
    fn read(&self, mut stream: &TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(STOP_INTERVAL))?;
        let mut chunk = vec![0; CHUNK];
        while !self.has_aborted() {
            match stream.read(&mut chunk) {
                Ok(0) => {
                    self.ended.fetch_add(1, Ordering::SeqCst);
                    break;
                }
                Ok(length) => {
                    self.received.fetch_add(length as u64, Ordering::SeqCst);
                }
                Err(error) if is_timeout(&error) => {}
                // The writer leaves by a reset, but not before it has written enough.
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
