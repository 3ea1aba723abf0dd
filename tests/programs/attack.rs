//! What attacks cost others: how long the connects of a peer that behaves take, with nothing else
//! going on and under each attack in turn, round by round, so that what the machine does beside it
//! falls on both alike. And what they cost the gateway, in processor time and memory.
//!
//! ```text
//! cargo build --release && cargo run --release -p slipwire-tests --bin attack [ROUNDS [SECONDS]]
//! ```

#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::{
    env,
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use slipwire_lab::{
    attack::{Attack, ENDLESS_PORT, OPEN_PORT, connect_beside_own_scan},
    deadline::eventually,
    lab::Lab,
    payload::MIB,
    raw_peer::Pace,
    row::Family,
    sandbox,
    siege::{Rogue, Siege},
    tcp,
};

/// Connects that are measured each second: few, since they are to show a delay and not to be one.
const CONNECTS_PER_SECOND: u32 = 200;
/// Short, so that what an attack leaves behind is soon over; and a limit that can be reached.
const TABLES: &str = "[tcp]\nconnect_timeout = \"5s\"\nhalf_open_timeout = \"5s\"\n\
                      [udp]\nidle_timeout = \"5s\"\n[limits]\nmemory = \"32MiB\"\n";
/// When everything of an attack has timed out: reassembly and TIME-WAIT take the longest.
const AFTERMATH: Duration = Duration::from_secs(40);

fn main() -> Result<()> {
    sandbox::enter().map_err(|reason| anyhow!(reason))?;
    let mut arguments = env::args().skip(1).map(|argument| argument.parse::<u32>());
    let rounds = arguments.next().transpose()?.unwrap_or(5).max(1);
    let seconds = arguments.next().transpose()?.unwrap_or(10).max(1);
    let duration = Duration::from_secs(seconds.into());

    println!(
        "{rounds} rounds of {seconds} s quiet and {seconds} s attacked; medians of the rounds.\n\
         \"At its best\" is the ratio of the lowest p99 of all rounds: other work on the machine only adds.\n"
    );
    println!(
        "| attack | a second | quiet p50 | p99 | attacked p50 | p99 | ratio of p99 | at its best | \
         CPU s/s | idle MiB | peak | after |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let others = Attack::ALL.into_iter().map(Case::Other);
    for case in others.chain([Case::TwoOthers, Case::Itself]) {
        println!("{}", Measured::new(case, rounds, duration)?.row());
    }
    Ok(())
}

/// Who attacks while the connects of a peer are measured.
#[derive(Clone, Copy, Debug)]
enum Case {
    /// Another peer, or an outsider.
    Other(Attack),
    /// Two other peers scan, which fill all that there is of connects.
    TwoOthers,
    /// The peer itself scans.
    Itself,
}

/// Connects of the peer's own to dead addresses, between two that are measured.
const OWN_SCANS: u32 = 25;

impl Case {
    const fn name(self) -> &'static str {
        match self {
            Self::Other(attack) => attack.name(),
            Self::TwoOthers => "connects of two peers to dead addresses",
            Self::Itself => "a peer's own connects to dead addresses",
        }
    }

    const fn rate(self) -> u32 {
        match self {
            Self::Other(attack) => rate(attack),
            Self::TwoOthers => 2 * rate(Attack::DeadConnects),
            Self::Itself => OWN_SCANS * CONNECTS_PER_SECOND,
        }
    }
}

/// How many a second: what one host sends with ease, and bounded so that it is slipwire that is
/// measured and not who attacks it.
const fn rate(attack: Attack) -> u32 {
    match attack {
        Attack::DeadConnects | Attack::Fragments => 5_000,
        Attack::ForgedHandshakes => 10_000,
        Attack::Mappings => 2_000,
        Attack::NeverReads => 50,
        Attack::Churn => 1_000,
    }
}

/// What was seen of one attack.
struct Measured {
    case: Case,
    rounds: Vec<Round>,
    idle: u64,
    peak: u64,
    after: u64,
}

/// One phase of each kind.
struct Round {
    quiet: Latencies,
    attacked: Latencies,
    /// Processor seconds for each second of the attack.
    cpu: f64,
}

impl Measured {
    fn new(case: Case, rounds: u32, duration: Duration) -> Result<Self> {
        let lab = Lab::new()?;
        let siege = Siege::start(&lab, TABLES, &[])?;
        let _servers = [siege.open_server(OPEN_PORT)?, siege.endless_server(ENDLESS_PORT)?];
        let target = SocketAddr::new(Family::V4.far(), OPEN_PORT);
        eventually("tunnel", Duration::from_secs(20), || tcp::connect(&siege.row.near, target))?;
        Latencies::measure(&siege, target, Duration::from_secs(1))?;

        let process = siege.gateway.process();
        let idle = process.resident()?;
        let mut measured = Self { case, rounds: Vec::new(), idle, peak: 0, after: 0 };
        let mut first = 0;
        for round in 1..=rounds {
            eprintln!("{}: round {round} of {rounds}", case.name());
            let quiet = measured.in_quiet(&siege, target, &mut first, duration)?;
            let before = process.cpu_time()?;
            let (attacked, sent) = measured.under_attack(&siege, target, first, duration)?;
            first += sent;
            let cpu = (process.cpu_time()? - before).as_secs_f64() / duration.as_secs_f64();
            measured.rounds.push(Round { quiet, attacked, cpu });
            thread::sleep(Duration::from_secs(6));
        }
        measured.peak = process.peak_resident()?;
        thread::sleep(AFTERMATH);
        measured.after = process.resident()?;
        Ok(measured)
    }

    fn in_quiet(
        &self,
        siege: &Siege,
        target: SocketAddr,
        first: &mut u32,
        duration: Duration,
    ) -> Result<Latencies> {
        match self.case {
            Case::Other(_) | Case::TwoOthers => Latencies::measure(siege, target, duration),
            Case::Itself => {
                let (latencies, sent) = Latencies::beside_own_scan(siege, 0, *first, duration)?;
                *first += sent;
                Ok(latencies)
            }
        }
    }

    fn under_attack(
        &self,
        siege: &Siege,
        target: SocketAddr,
        first: u32,
        duration: Duration,
    ) -> Result<(Latencies, u32)> {
        let (attack, rogues) = match self.case {
            Case::Other(attack) => (attack, &[Rogue::First][..]),
            Case::TwoOthers => (Attack::DeadConnects, &[Rogue::First, Rogue::Second][..]),
            Case::Itself => {
                return Latencies::beside_own_scan(siege, OWN_SCANS, first, duration);
            }
        };
        let stop = AtomicBool::new(false);
        let goes_on = |_| !stop.load(Ordering::Relaxed);
        thread::scope(|scope| {
            let run = |who| move || attack.run_by(who, siege, rate(attack), first, goes_on);
            let rogues: Vec<_> = rogues.iter().map(|who| scope.spawn(run(*who))).collect();
            thread::sleep(Duration::from_millis(500));
            let latencies = Latencies::measure(siege, target, duration);
            stop.store(true, Ordering::Relaxed);
            let mut sent = 0;
            for rogue in rogues {
                let tally = rogue.join().map_err(|_| anyhow!("the attacker panicked"))??;
                eprintln!("  {tally:?}");
                sent = sent.max(tally.sent);
            }
            Ok((latencies?, sent))
        })
    }

    fn row(&self) -> String {
        let of = |value: fn(&Round) -> f64| median(self.rounds.iter().map(value));
        let lowest =
            |value: fn(&Round) -> f64| self.rounds.iter().map(value).fold(f64::INFINITY, f64::min);
        let mib = |bytes: u64| bytes as f64 / MIB as f64;
        format!(
            "| {} | {} | {:.2} ms | {:.2} ms | {:.2} ms | {:.2} ms | {:.2} | {:.2} | {:.2} | {:.1} | {:.1} | {:.1} |",
            self.case.name(),
            self.case.rate(),
            of(|round| round.quiet.part(0.5)),
            of(|round| round.quiet.part(0.99)),
            of(|round| round.attacked.part(0.5)),
            of(|round| round.attacked.part(0.99)),
            of(|round| round.attacked.part(0.99) / round.quiet.part(0.99)),
            lowest(|round| round.attacked.part(0.99)) / lowest(|round| round.quiet.part(0.99)),
            of(|round| round.cpu),
            mib(self.idle),
            mib(self.peak),
            mib(self.after),
        )
    }
}

/// How long connects took, in milliseconds, sorted.
struct Latencies(Vec<f64>);

impl Latencies {
    /// Connects from the near host again and again.
    fn measure(siege: &Siege, target: SocketAddr, duration: Duration) -> Result<Self> {
        let mut latencies = siege.row.near.run(|| -> Result<Vec<f64>> {
            let (start, mut pace) = (Instant::now(), Pace::per_second(CONNECTS_PER_SECOND));
            let mut latencies = Vec::new();
            while start.elapsed() < duration {
                pace.wait();
                let begun = Instant::now();
                let stream = TcpStream::connect_timeout(&target, Duration::from_secs(10))
                    .context("a connect of the peer that behaves")?;
                latencies.push(begun.elapsed().as_secs_f64() * 1000.0);
                tcp::reset(stream)?;
            }
            Ok(latencies)
        })??;
        latencies.sort_by(f64::total_cmp);
        Ok(Self(latencies))
    }

    /// Those of a peer that scans dead addresses in between; and how many packets it sent.
    fn beside_own_scan(
        siege: &Siege,
        scans: u32,
        first: u32,
        duration: Duration,
    ) -> Result<(Self, u32)> {
        let start = Instant::now();
        let rate = (scans + 1) * CONNECTS_PER_SECOND;
        let goes_on = |_| start.elapsed() < duration;
        let connects = connect_beside_own_scan(siege, scans, rate, first, goes_on)?;
        eprintln!("  {} of {} connects accepted", connects.latencies.len(), connects.asked);
        let millis = connects.latencies.iter().map(|latency| latency.as_secs_f64() * 1000.0);
        let mut latencies: Vec<f64> = millis.collect();
        latencies.sort_by(f64::total_cmp);
        Ok((Self(latencies), connects.sent))
    }

    /// The latency that such a part of the connects did not exceed.
    fn part(&self, part: f64) -> f64 {
        let index = (self.0.len() as f64 * part) as usize;
        self.0.get(index).or(self.0.last()).copied().unwrap_or(f64::NAN)
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
