//! Runs the simulation for many seeds, and says what came of it.

#![allow(clippy::print_stdout, reason = "the report is what this program is for")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lexopt::{Arg, Error, Parser, ValueExt as _};
use slipwire_sim::{self as sim, Report, Sent, Trace};

const HELP: &str = "\
Whole engines in a simulated world, one run for each seed.

Usage: simulate [--seeds N] [--from S] [--tapes] [--trace]

  --seeds N   run so many seeds (default: 1000)
  --from S    the first of them (default: 0)
  --tapes     record every engine, and replay each tape: it has to say the same
  --trace     show every event, on standard error
  --help      show this

A run that breaks a promise is reported with the command that repeats it, and makes the exit code 1.

  cargo run --release -p slipwire-tests --bin simulate -- --seeds 10000
  cargo run --release -p slipwire-tests --bin simulate -- --from 4711 --seeds 1 --trace
";

/// What is asked for.
struct Task {
    from: u64,
    seeds: u64,
    run: fn(u64, Trace) -> Report,
    trace: Trace,
}

fn main() -> ExitCode {
    match parse(Parser::from_env()) {
        Ok(Some(task)) => run(&task),
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("simulate: {error}; see simulate --help");
            ExitCode::from(2)
        }
    }
}

/// `None` asks for the help.
fn parse(mut parser: Parser) -> Result<Option<Task>, Error> {
    let mut task = Task { from: 0, seeds: 1_000, run: sim::run, trace: Trace::Hidden };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Long("seeds") => task.seeds = parser.value()?.parse()?,
            Arg::Long("from") => task.from = parser.value()?.parse()?,
            Arg::Long("tapes") => task.run = sim::run_taped,
            Arg::Long("trace") => task.trace = Trace::Shown,
            Arg::Short(_) | Arg::Long(_) | Arg::Value(_) => return Err(argument.unexpected()),
        }
    }
    Ok(Some(task))
}

fn run(task: &Task) -> ExitCode {
    let start = Instant::now();
    let mut total = Total::default();
    for seed in task.from..task.from.saturating_add(task.seeds) {
        let report = (task.run)(seed, task.trace);
        total.add(&report);
        if let Some(violation) = &report.violation {
            println!("seed {seed}: {violation}");
            println!(
                "  cargo run --release -p slipwire-tests --bin simulate -- --from {seed} --seeds 1"
            );
        }
    }
    total.print(start.elapsed());
    if total.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All runs together.
#[derive(Default)]
struct Total {
    seeds: u64,
    failures: u64,
    events: u64,
    time: Duration,
    completed: usize,
    streams: usize,
    bytes: u64,
    datagrams: u64,
    sent: Sent,
    digest: u64,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.failures += u64::from(report.violation.is_some());
        self.events += report.events;
        self.time += report.time;
        self.completed += report.completed.0;
        self.streams += report.completed.1;
        self.bytes += report.bytes;
        self.datagrams += report.datagrams;
        self.sent = [self.sent, report.sent].into_iter().sum();
        self.digest = self.digest.rotate_left(1) ^ report.digest;
    }

    fn print(&self, real: Duration) {
        let real = real.as_secs_f64();
        let Self { seeds, failures, events, completed, streams, .. } = self;
        let Self { bytes, datagrams, digest, sent, .. } = self;
        println!("{seeds} seeds, {failures} failures, in {real:.1} s");
        println!("{completed} of {streams} streams complete, {bytes} bytes, {datagrams} datagrams");
        println!("{} bytes sent, {} of them again", sent.bytes, sent.repeated);
        println!("{events} events, {:.0} a second", *events as f64 / real);
        let time = self.time.as_secs_f64();
        println!("{:.1} hours of virtual time, {:.0} seconds a second", time / 3600.0, time / real);
        println!("digest {digest:016x}");
    }
}
