//! Transfers: connections that carry as much as they can.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};

use super::way::Way;
use slipwire_lab::tcp::{self, Service};

const UP_PORT: u16 = 7000;
const DOWN_PORT: u16 = 7001;
/// How long the last bytes may take; there are programs that queue without a bound.
const END_LIMIT: Duration = Duration::from_secs(20);
const CHUNK: usize = 128 * 1024;

/// Where the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the far host.
    Up,
    /// From the far host.
    Down,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Up, Self::Down];

    /// What it is called in figures.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What readers got.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub(super) bytes: u64,
    start: Instant,
    end: Instant,
}

impl Moved {
    /// The time that it took, from the first bytes on.
    pub(super) fn elapsed(&self) -> Duration {
        self.end - self.start
    }

    fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }
}

/// So many connections at once, each until `duration` has passed. `begin` is called with the port
/// when the servers listen, before anybody connects.
pub(super) fn transfer<T>(
    way: &Way,
    direction: Direction,
    connections: usize,
    duration: Duration,
    begin: impl FnOnce(u16) -> Result<T>,
) -> Result<(Moved, T)> {
    let far = &way.row.far;
    let all = |moved: Vec<Moved>| moved.into_iter().reduce(Moved::and).context("no connection");
    match direction {
        Direction::Up => {
            let server = Service::start(far, UP_PORT, |stream| drain(&stream))?;
            let begun = begin(UP_PORT)?;
            clients(way, UP_PORT, connections, |stream| pump(stream, duration))?;
            let ended = |_| server.result_within(END_LIMIT);
            let moved = (0..connections).map(ended).collect::<Result<_>>()?;
            Ok((all(moved)?, begun))
        }
        Direction::Down => {
            let server = Service::start(far, DOWN_PORT, move |stream| pump(&stream, duration))?;
            let begun = begin(DOWN_PORT)?;
            let moved = all(clients(way, DOWN_PORT, connections, drain)?)?;
            for _ in 0..connections {
                server.result_within(END_LIMIT)?;
            }
            Ok((moved, begun))
        }
    }
}

/// So many clients at once, on a thread each; what they came to.
fn clients<T: Send>(
    way: &Way,
    port: u16,
    connections: usize,
    work: impl Fn(&TcpStream) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let streams = (0..connections)
        .map(|_| tcp::connect(&way.row.near, way.target(port)))
        .collect::<Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            streams.iter().map(|stream| scope.spawn(move || work(stream))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<T>>| {
            thread.join().map_err(|_| anyhow!("a client panicked"))?
        };
        threads.into_iter().map(join).collect()
    })
}

/// Reads to the end.
fn drain(mut stream: &TcpStream) -> Result<Moved> {
    let mut chunk = vec![0; CHUNK];
    let mut bytes = stream.read(&mut chunk)? as u64;
    let start = Instant::now();
    loop {
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            return Ok(Moved { bytes, start, end: Instant::now() });
        }
        bytes += length as u64;
    }
}

/// Writes for that long, then closes.
fn pump(mut stream: &TcpStream, duration: Duration) -> Result<()> {
    let chunk = vec![0x5a; CHUNK];
    let start = Instant::now();
    while start.elapsed() < duration {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(())
}
