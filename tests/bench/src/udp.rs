//! Datagrams at fixed rates, up: how many arrive, and what they cost.

use std::{
    io::{ErrorKind, IoSliceMut},
    net::{Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use mio::{Events, Interest, Poll, Token};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use super::{
    Report,
    figures::{Entry, Figures},
    options::Options,
    rounds,
    table::{Table, number},
    way::{Kind, Way, side_key},
};
use slipwire_lab::{deadline::eventually, net::Host, tunnel::Side, udp};

const PORT: u16 = 7004;
const SIZES: [usize; 2] = [64, 1200];
/// Datagrams a second that are offered, in this order.
const RATES: [u32; 6] = [25_000, 50_000, 100_000, 200_000, 300_000, 400_000];
/// A rate of which so much arrives is one that the way carries.
const CARRIED: f64 = 0.99;
/// A rate of which less arrives is the last one to be tried.
const HOPELESS: f64 = 0.90;
/// Pause between two bursts of the sender.
const BURST_INTERVAL: Duration = Duration::from_micros(500);
const TRAIN_SEGMENTS: usize = 64;
const TRAIN_BYTES: usize = 65_507;
/// How long nothing comes before all has come.
const SILENCE: Duration = Duration::from_millis(200);
/// How late a datagram may come; there are programs that queue without a bound.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);
const WARM_UP_LIMIT: Duration = Duration::from_secs(10);
const KERNEL_BUFFER: usize = 4 * 1024 * 1024;

pub(super) fn run(options: &Options) -> Result<Report> {
    let figures = rounds::measure("udp", options, &Kind::PLAIN, |way, entry| {
        let counter = Counter::start(&way.row.far)?;
        for size in SIZES {
            sample(way, size, &counter, options.duration, entry)?;
        }
        Ok(())
    })?;
    let tables: String = SIZES
        .into_iter()
        .map(|size| format!("{size} bytes of payload:\n\n{}", table(&figures, size)))
        .collect();
    let markdown = format!(
        "## UDP\n\nDatagrams from the near host to the far one, offered at 25, 50, 100, 200, 300 and \
         400 thousand a second until less than \
         {:.0} % arrive. Of each way the highest rate of which {:.0} % arrive, or else the lowest; arrived per \
         second of slipwire's processor time.\n\n{tables}{}",
        HOPELESS * 100.0,
        CARRIED * 100.0,
        figures.failures(),
    );
    Ok(Report { markdown, json: figures.json() })
}

/// What came of one rate.
struct Outcome {
    rate: u32,
    per_second: f64,
    arrived: f64,
    /// By end.
    per_cpu_second: [(Side, f64); 2],
}

/// Tries rate after rate and notes each, and the best.
fn sample(
    way: &Way,
    size: usize,
    counter: &Counter,
    duration: Duration,
    entry: &mut Entry<'_>,
) -> Result<()> {
    let mut best: Option<Outcome> = None;
    for rate in RATES {
        let outcome = offer(way, size, rate, counter, duration)?;
        add(way.kind, entry, &format!("{size}_{rate}"), &outcome);
        let arrived = outcome.arrived;
        if best.is_none() || arrived >= CARRIED {
            best = Some(outcome);
        }
        if arrived < HOPELESS {
            break;
        }
    }
    let best = best.context("no rate")?;
    entry.add(format!("{size}_best_rate"), best.rate.into());
    add(way.kind, entry, &format!("{size}_best"), &best);
    Ok(())
}

fn add(kind: Kind, entry: &mut Entry<'_>, name: &str, outcome: &Outcome) {
    entry.add(format!("{name}_per_s"), outcome.per_second);
    entry.add(format!("{name}_lost_percent"), (1.0 - outcome.arrived) * 100.0);
    for (side, value) in outcome.per_cpu_second {
        if kind.is_slipwire(side) {
            entry.add(cpu_key(name, side), value);
        }
    }
}

fn cpu_key(name: &str, side: Side) -> String {
    format!("{name}_{}_per_cpu_s", side_key(side))
}

fn offer(
    way: &Way,
    size: usize,
    rate: u32,
    counter: &Counter,
    duration: Duration,
) -> Result<Outcome> {
    let socket = udp::connect(&way.row.near, way.target(PORT))?;
    eventually("a first datagram", WARM_UP_LIMIT, || {
        let before = counter.count();
        socket.send(&[0])?;
        thread::sleep(Duration::from_millis(5));
        ensure!(counter.count() > before, "none came");
        Ok(())
    })?;
    counter.settle();
    let (count, cpu) = (counter.count(), way.cpu()?);
    let (offered, elapsed) = send(&socket, way.target(PORT), size, rate, duration)?;
    counter.settle();
    let arrived = (counter.count() - count) as f64;
    let per_cpu_second = way.cpu()?.since(&cpu).map(|(side, seconds)| (side, arrived / seconds));
    let per_second = arrived / elapsed.as_secs_f64();
    Ok(Outcome { rate, per_second, arrived: arrived / offered, per_cpu_second })
}

/// Sends trains at that rate; how many datagrams it should have sent, and how long it took. What
/// the host has no room for is lost.
fn send(
    socket: &UdpSocket,
    destination: SocketAddr,
    size: usize,
    rate: u32,
    duration: Duration,
) -> Result<(f64, Duration)> {
    let state = UdpSocketState::new(UdpSockRef::from(socket))?;
    let contents = vec![0x5a; size * TRAIN_SEGMENTS.min(TRAIN_BYTES / size)];
    let total = (f64::from(rate) * duration.as_secs_f64()) as usize;
    let start = Instant::now();
    let mut sent = 0;
    while sent < total {
        let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as usize;
        let now = due.min(total).saturating_sub(sent);
        let mut bytes = now * size;
        while bytes > 0 {
            let length = bytes.min(contents.len());
            let transmit = Transmit {
                destination,
                ecn: None,
                contents: &contents[..length],
                segment_size: Some(size),
                src_ip: None,
            };
            match state.try_send(UdpSockRef::from(socket), &transmit) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("sending datagrams"),
            }
            bytes -= length;
        }
        sent += now;
        thread::sleep(BURST_INTERVAL);
    }
    Ok((total as f64, start.elapsed().max(duration)))
}

/// A receiver on the far host that counts datagrams; dropping it ends it.
struct Counter {
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Counter {
    fn start(far: &Host) -> Result<Self> {
        let socket = udp::bind(far, (Ipv6Addr::UNSPECIFIED, PORT).into())?;
        let (count, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let thread = {
            let (count, stop) = (Arc::clone(&count), Arc::clone(&stop));
            thread::spawn(move || receive(socket, &count, &stop))
        };
        Ok(Self { count, stop, thread: Some(thread) })
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until nothing comes any more, or too late to count.
    fn settle(&self) {
        let start = Instant::now();
        let mut last = self.count();
        while start.elapsed() < SETTLE_LIMIT {
            thread::sleep(SILENCE);
            let now = self.count();
            if now == last {
                return;
            }
            last = now;
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Ok(Err(error))) = ended {
            eprintln!("the receiver of datagrams: {error:#}");
        }
    }
}

fn receive(socket: UdpSocket, count: &AtomicU64, stop: &AtomicBool) -> Result<()> {
    const BUFFERS: usize = 32;
    const BUFFER: usize = 64 * 1024;
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    state.set_recv_buffer_size(UdpSockRef::from(&socket), KERNEL_BUFFER)?;
    let mut socket = mio::net::UdpSocket::from_std(socket);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1));
    poll.registry().register(&mut socket, Token(0), Interest::READABLE)?;
    let mut area = vec![0; BUFFERS * BUFFER];
    while !stop.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(50)))?;
        let mut buffers: Vec<_> = area.chunks_mut(BUFFER).map(IoSliceMut::new).collect();
        let mut metas = [RecvMeta::default(); BUFFERS];
        loop {
            match state.recv(UdpSockRef::from(&socket), &mut buffers, &mut metas) {
                Ok(filled) => {
                    let datagrams = |meta: &RecvMeta| meta.len.div_ceil(meta.stride.max(1)) as u64;
                    count.fetch_add(metas[..filled].iter().map(datagrams).sum(), Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("receiving datagrams"),
            }
        }
    }
    Ok(())
}

fn table(figures: &Figures, size: usize) -> Table {
    let mut table =
        Table::new(&["near – middle", "offered", "arrived", "lost %", "per CPU s near", "middle"]);
    for kind in figures.kinds_with(&format!("{size}_best_rate")) {
        let median = |figure: &str| figures.median(kind, &format!("{size}_best{figure}"));
        let cost = |side| figures.median(kind, &cpu_key(&format!("{size}_best"), side));
        table.row(
            kind.name(),
            [
                number(median("_rate"), 0),
                number(median("_per_s"), 0),
                number(median("_lost_percent"), 2),
                number(cost(Side::Near), 0),
                number(cost(Side::Mid), 0),
            ],
        );
    }
    table
}
