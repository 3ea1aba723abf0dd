//! How long a small request and its response take, alone and beside a transfer.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use super::{
    Report,
    echo::Echo,
    figures::{Entry, Figures, quantile, sorted},
    load::{self, Direction},
    options::Options,
    rounds,
    table::{Table, number},
    way::{Kind, Way},
};
use slipwire_lab::tcp;

const PORT: u16 = 7002;
const MESSAGE: usize = 64;
/// Requests that are not counted.
const WARM_UP: usize = 50;
/// How long a transfer runs before requests are measured beside it.
const RUN_UP: Duration = Duration::from_millis(300);

pub(super) fn run(options: &Options) -> Result<Report> {
    let figures = rounds::measure("latency", options, &Kind::PLAIN, |way, entry| {
        let _server = Echo::start(&way.row.far, PORT)?;
        let stream = tcp::connect(&way.row.near, way.target(PORT))?;
        stream.set_nodelay(true)?;
        (0..WARM_UP).try_for_each(|_| ask(&stream))?;
        add(entry, "idle", &ping(&stream, options.duration)?);
        for direction in Direction::BOTH {
            add(entry, direction.key(), &beside(way, direction, &stream, options.duration)?);
        }
        Ok(())
    })?;
    let markdown = format!(
        "## Latency\n\n{MESSAGE} bytes to an echo server and back on an open connection, in microseconds, \
         alone and beside one connection that transfers at full speed.\n\n{}{}",
        table(&figures),
        figures.failures(),
    );
    Ok(Report { markdown, json: figures.json() })
}

fn beside(
    way: &Way,
    direction: Direction,
    stream: &TcpStream,
    duration: Duration,
) -> Result<Vec<f64>> {
    thread::scope(|scope| {
        let longer = duration + 2 * RUN_UP;
        let load = scope.spawn(move || load::transfer(way, direction, 1, longer, |_| Ok(())));
        thread::sleep(RUN_UP);
        let times = ping(stream, duration);
        load.join().map_err(|_| anyhow!("the transfer panicked"))??;
        times
    })
}

/// Asks again and again; how long each took, in microseconds.
fn ping(stream: &TcpStream, duration: Duration) -> Result<Vec<f64>> {
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < duration {
        let asked = Instant::now();
        ask(stream)?;
        times.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    Ok(sorted(times.into_iter()))
}

fn ask(mut stream: &TcpStream) -> Result<()> {
    let mut message = [0x5a; MESSAGE];
    stream.write_all(&message)?;
    Ok(stream.read_exact(&mut message)?)
}

fn add(entry: &mut Entry<'_>, load: &str, times: &[f64]) {
    entry.add(format!("{load}_p50_us"), quantile(times, 0.5));
    entry.add(format!("{load}_p99_us"), quantile(times, 0.99));
}

fn table(figures: &Figures) -> Table {
    let mut table = Table::new(&[
        "near – middle",
        "alone p50",
        "over direct",
        "p99",
        "beside up p50",
        "p99",
        "beside down p50",
        "p99",
    ]);
    for kind in figures.kinds_with("idle_p50_us") {
        let median = |figure| figures.median(kind, figure);
        let added = figures.difference((kind, "idle_p50_us"), (Kind::Direct, "idle_p50_us"));
        let cells = [
            median("idle_p50_us"),
            added,
            median("idle_p99_us"),
            median("up_p50_us"),
            median("up_p99_us"),
            median("down_p50_us"),
            median("down_p99_us"),
        ];
        table.row(kind.name(), cells.map(|value| number(value, 0)));
    }
    table
}
