//! Speed and processor time of one TCP connection, each way of going in turn, several rounds, so that
//! what the machine does beside it falls on all alike; the medians as a table.
//!
//! ```text
//! cargo build --release && cargo run --release -p slipwire-tests --bin bench [ROUNDS [SECONDS]]
//! ```

#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::{
    env, fmt,
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use slipwire_tests::{
    lab::Lab,
    process::Process,
    row::{Family, Row},
    sandbox,
    tcp::{self, Service},
    tunnel::{Job, Plan, Tunnel},
};

const UP_PORT: u16 = 7000;
const DOWN_PORT: u16 = 7001;
const CHUNK: usize = 128 * 1024;
/// More than is measured.
const FILE_SIZE: &str = "64GiB";
const GIGABYTE: f64 = 1e9;

fn main() -> Result<()> {
    sandbox::enter().map_err(|reason| anyhow!(reason))?;
    let mut arguments = env::args().skip(1).map(|argument| argument.parse::<u32>());
    let rounds = arguments.next().transpose()?.unwrap_or(5).max(1);
    let seconds = arguments.next().transpose()?.unwrap_or(3).max(1);

    let lab = Lab::new()?;
    let mut ways = vec![Way::direct(&lab)?];
    for &job in Job::WITH_BASELINE {
        ways.push(Way::tunnel(&lab, job)?);
    }
    ways.push(Way::watched(&lab, "wireguard-go – slipwire gateway, [record]", "record")?);
    ways.push(Way::watched(&lab, "wireguard-go – slipwire gateway, [capture]", "capture")?);
    let duration = Duration::from_secs(seconds.into());
    for round in 1..=rounds {
        for way in &mut ways {
            eprintln!("round {round} of {rounds}: {}", way.name);
            way.measure(duration)?;
        }
    }
    print_table(&ways);
    Ok(())
}

/// A way from the near host to the far one, and what was measured on it.
struct Way {
    name: &'static str,
    row: Row,
    up_target: SocketAddr,
    down_target: SocketAddr,
    tunnel: Option<Tunnel>,
    up: Vec<Sample>,
    down: Vec<Sample>,
}

/// One transfer: its speed, and the processor seconds that each end took for a gigabyte.
#[derive(Clone, Copy)]
struct Sample {
    gigabits_per_second: f64,
    near_cost: f64,
    mid_cost: f64,
}

impl Way {
    fn direct(lab: &Lab) -> Result<Self> {
        let row = Row::new(lab)?;
        row.mid.forward_packets()?;
        row.near.ip("route add 10.2.0.0/24 via 10.1.0.1")?;
        row.far.ip("route add 10.1.0.0/24 via 10.2.0.1")?;
        let target = |port| SocketAddr::new(Family::V4.far(), port);
        Ok(Self::new("direct, without a tunnel", row, target, None))
    }

    fn tunnel(lab: &Lab, job: Job) -> Result<Self> {
        let name = match job {
            Job::Baseline => "wireguard-go – wireguard-go",
            Job::Gateway => "wireguard-go – slipwire gateway",
            Job::Forward => "slipwire forward – wireguard-go",
            Job::BothEnds => "slipwire forward – slipwire gateway",
        };
        Self::through(Tunnel::start(lab, Plan::new(job))?, name)
    }

    /// A gateway that writes all packets to a file, by the table of that name.
    fn watched(lab: &Lab, name: &'static str, table: &str) -> Result<Self> {
        let directory = lab.directory(table)?;
        fs::set_permissions(&directory, Permissions::from_mode(0o777))?;
        let file = directory.join("packets");
        let tables = format!("[{table}]\nfile = {file:?}\nsize = \"{FILE_SIZE}\"\n");
        let plan = Plan { tables, ..Plan::new(Job::Gateway) };
        Self::through(Tunnel::start(lab, plan)?, name)
    }

    fn through(tunnel: Tunnel, name: &'static str) -> Result<Self> {
        let targets = [UP_PORT, DOWN_PORT].map(|port| tunnel.target(Family::V4, port));
        let target = |port| targets[usize::from(port - UP_PORT)];
        Ok(Self::new(name, tunnel.row.clone(), target, Some(tunnel)))
    }

    fn new(
        name: &'static str,
        row: Row,
        target: impl Fn(u16) -> SocketAddr,
        tunnel: Option<Tunnel>,
    ) -> Self {
        let (up_target, down_target) = (target(UP_PORT), target(DOWN_PORT));
        Self { name, row, up_target, down_target, tunnel, up: Vec::new(), down: Vec::new() }
    }

    fn measure(&mut self, duration: Duration) -> Result<()> {
        let up = self.sample(|| {
            let server = Service::start(&self.row.far, UP_PORT, |stream| drain(&stream))?;
            pump(&tcp::connect(&self.row.near, self.up_target)?, duration)?;
            server.result()
        })?;
        let down = self.sample(|| {
            let pump = move |stream: TcpStream| pump(&stream, duration);
            let server = Service::start(&self.row.far, DOWN_PORT, pump)?;
            let drained = drain(&tcp::connect(&self.row.near, self.down_target)?)?;
            server.result()?;
            Ok(drained)
        })?;
        self.up.push(up);
        self.down.push(down);
        Ok(())
    }

    fn sample(&self, transfer: impl FnOnce() -> Result<Drained>) -> Result<Sample> {
        let before = self.cpu_times()?;
        let Drained { bytes, elapsed } = transfer()?;
        let after = self.cpu_times()?;
        let gigabytes = bytes as f64 / GIGABYTE;
        let cost = |end: usize| (after[end] - before[end]).as_secs_f64() / gigabytes;
        let gigabits_per_second = gigabytes * 8.0 / elapsed.as_secs_f64();
        Ok(Sample { gigabits_per_second, near_cost: cost(0), mid_cost: cost(1) })
    }

    /// Of the near end and the middle one; nothing where there is no tunnel.
    fn cpu_times(&self) -> Result<[Duration; 2]> {
        let Some(tunnel) = &self.tunnel else { return Ok([Duration::ZERO; 2]) };
        let time = |process: &Process| process.cpu_time();
        Ok([time(tunnel.near_end.process())?, time(tunnel.mid_end.process())?])
    }
}

/// What a reader got.
struct Drained {
    bytes: u64,
    elapsed: Duration,
}

/// Reads to the end; the time runs from the first bytes.
fn drain(mut stream: &TcpStream) -> Result<Drained> {
    let mut chunk = vec![0; CHUNK];
    let mut bytes = stream.read(&mut chunk)? as u64;
    let start = Instant::now();
    loop {
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            return Ok(Drained { bytes, elapsed: start.elapsed() });
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
    stream.shutdown(std::net::Shutdown::Write)?;
    Ok(())
}

fn print_table(ways: &[Way]) {
    println!("One TCP connection; medians; \"x\" is the ratio to wireguard-go in the same round;");
    println!("s/GB is processor time of the near and of the middle end of the tunnel.\n");
    println!(
        "| near end – middle end | up Gbit/s | x | s/GB near | s/GB middle | down Gbit/s | x | s/GB near | s/GB middle |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    // The second way is wireguard-go against itself.
    let Some(reference) = ways.get(1) else { return };
    for way in ways {
        let up = Columns::new(&way.up, &reference.up);
        let down = Columns::new(&way.down, &reference.down);
        println!("| {} | {up} | {down} |", way.name);
    }
}

/// The four columns of one direction.
struct Columns {
    speed: f64,
    ratio: f64,
    near_cost: f64,
    mid_cost: f64,
}

impl Columns {
    fn new(samples: &[Sample], reference: &[Sample]) -> Self {
        let speed = |sample: &Sample| sample.gigabits_per_second;
        let ratios = samples.iter().zip(reference).map(|(own, other)| speed(own) / speed(other));
        Self {
            speed: median(samples.iter().map(speed)),
            ratio: median(ratios),
            near_cost: median(samples.iter().map(|sample| sample.near_cost)),
            mid_cost: median(samples.iter().map(|sample| sample.mid_cost)),
        }
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { speed, ratio, near_cost, mid_cost } = self;
        write!(f, "{speed:.2} | {ratio:.2} | {near_cost:.2} | {mid_cost:.2}")
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
