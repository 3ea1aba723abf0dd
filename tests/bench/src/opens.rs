//! How many connections can be opened and closed in a second, and what each costs slipwire.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{
    Report,
    echo::Echo,
    figures::{Entry, Figures},
    idle::{Idle, on_threads},
    options::Options,
    rounds,
    table::{Table, number},
    way::{Kind, Way, side_key},
};
use slipwire_lab::{tcp, tunnel::Side};

const PORT: u16 = 7002;
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// So many a thread, and the measurement is given up.
const FAILURES_MAX: u32 = 100;

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Close {
    Reset,
    /// FIN, the other's FIN.
    Clean,
}

pub(super) fn run(options: &Options) -> Result<Report> {
    let figures = rounds::measure("opens", options, &Kind::PLAIN, |way, entry| {
        let _server = Echo::start(&way.row.far, PORT)?;
        sample(way, Close::Reset, "reset", options, entry)?;
        sample(way, Close::Clean, "clean", options, entry)?;
        if way.slipwires().next().is_some() {
            let idle = Idle::open(way)?;
            entry.add("idle_connections", idle.count() as f64);
            sample(way, Close::Reset, "beside_idle", options, entry)?;
        }
        Ok(())
    })?;
    let markdown = format!(
        "## Connections opened and closed\n\nA second, by 4 clients at once: connect, one byte there and back, \
         close by a reset or by FINs; and with 10000 idle connections open. CPU is slipwire's for each, in \
         microseconds.\n\n{}{}",
        table(&figures),
        figures.failures(),
    );
    Ok(Report { markdown, json: figures.json() })
}

fn sample(
    way: &Way,
    close: Close,
    name: &str,
    options: &Options,
    entry: &mut Entry<'_>,
) -> Result<()> {
    let target = way.target(PORT);
    let before = way.cpu()?;
    let start = Instant::now();
    let counts = way.row.near.run(|| on_threads(|_| opens(target, close, options.duration)))??;
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = way.cpu()?.since(&before);
    let opened = f64::from(counts.iter().map(|count| count.opened).sum::<u32>());
    let failed = f64::from(counts.iter().map(|count| count.failed).sum::<u32>());
    entry.add(format!("{name}_per_s"), opened / elapsed);
    entry.add(format!("{name}_failed"), failed);
    if let Some(error) = counts.into_iter().find_map(|count| count.error) {
        let all = opened + failed;
        entry.fail(&error.context(format!("{failed} of {all} connections ({name})")));
    }
    for (side, seconds) in cpu.into_iter().filter(|&(side, _)| way.kind.is_slipwire(side)) {
        entry.add(cost_key(name, side), seconds * 1e6 / opened);
    }
    Ok(())
}

fn cost_key(name: &str, side: Side) -> String {
    format!("{name}_{}_cpu_us", side_key(side))
}

struct Count {
    opened: u32,
    failed: u32,
    /// Why the last one failed.
    error: Option<anyhow::Error>,
}

fn opens(target: SocketAddr, close: Close, duration: Duration) -> Result<Count> {
    let start = Instant::now();
    let mut count = Count { opened: 0, failed: 0, error: None };
    while start.elapsed() < duration {
        match open(target, close) {
            Ok(()) => count.opened += 1,
            Err(error) => {
                count.failed += 1;
                ensure!(count.failed < FAILURES_MAX, "many fail, the last with {error:#}");
                count.error = Some(error);
            }
        }
    }
    ensure!(count.opened > 0, "none was opened");
    Ok(count)
}

fn open(target: SocketAddr, close: Close) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&target, CONNECT_LIMIT)?;
    stream.set_read_timeout(Some(CONNECT_LIMIT))?;
    let mut byte = [0x5a];
    stream.write_all(&byte)?;
    stream.read_exact(&mut byte)?;
    match close {
        Close::Reset => tcp::reset(stream),
        Close::Clean => {
            stream.shutdown(Shutdown::Write)?;
            ensure!(stream.read(&mut byte)? == 0, "more bytes than were sent");
            Ok(())
        }
    }
}

fn table(figures: &Figures) -> Table {
    let mut table = Table::new(&[
        "near – middle",
        "reset",
        "CPU near",
        "middle",
        "FIN",
        "CPU near",
        "middle",
        "beside idle",
        "CPU near",
        "middle",
    ]);
    for kind in figures.kinds_with("reset_per_s") {
        let cells = |name| {
            let cost = |side| figures.median(kind, &cost_key(name, side));
            [figures.median(kind, &format!("{name}_per_s")), cost(Side::Near), cost(Side::Mid)]
        };
        let cells = ["reset", "clean", "beside_idle"].into_iter().flat_map(cells);
        table.row(kind.name(), cells.map(|value| number(value, 0)));
    }
    table
}
