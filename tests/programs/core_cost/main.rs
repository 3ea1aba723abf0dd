//! What core alone costs for each packet, and whether that grows with what else there is: the same
//! traffic with few and with many flows, peers and rules, side by side.
//!
//! ```text
//!   client engines  -- segments, datagrams -->  gateway engine  -- bytes, datagrams -->  nobody
//!                   <------- the same ----------               <------- the same ------
//! ```
//!
//! All engines live in this process; there is no network, and what clients do is not timed. Packets
//! go round all busy flows, and so round all peers: each is of another flow than the one before.
//! Where most flows are not busy it shows what work grows with their number, where all are what it
//! costs that they don't fit into the processor's caches. Every round measures all of them in turn;
//! times are medians, and so are the ratios of one round. What is left when boringtun's part is
//! taken off is core's own, where growth can't hide behind the cipher.
//!
//! ```text
//! cargo run --release -p slipwire-tests --bin core_cost [ROUNDS [ROW]]
//! ```

#![allow(clippy::print_stdout, reason = "the tables are what this program is for")]

mod cipher;
mod moves;
mod site;

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use cipher::Cipher;
use site::{Costs, DATAGRAM_LEN, SEGMENT_LEN, Scale, Site};

/// Packets of each kind in one round.
const PACKETS: usize = 20_000;
/// Flows that are opened and closed in one round.
const FLOWS: usize = 1_000;
/// Small rings, so that they have been used all the way round before it begins: a page that is
/// touched for the first time costs more than a packet.
const SMALL: usize = 16 << 10;
const DEFAULT: usize = 1 << 20;

const fn packets(flows: usize, busy: usize, peers: usize, rules: usize) -> Scale {
    Scale { flows, busy, peers, rules, buffer: SMALL }
}

/// The first is what others are compared to.
const PACKET_SCALES: [Scale; 8] = [
    packets(10, 10, 1, 0),
    packets(10_000, 10, 1_000, 0),
    packets(1_000, 1_000, 1, 0),
    packets(10_000, 10_000, 1, 0),
    packets(1_000, 1_000, 100, 0),
    packets(1_000, 1_000, 1_000, 0),
    packets(10, 10, 1, 10_000),
    packets(10_000, 10_000, 1_000, 0),
];

const fn opens(flows: usize, peers: usize, rules: usize) -> Scale {
    Scale { flows, busy: 0, peers, rules, buffer: DEFAULT }
}

const OPEN_SCALES: [Scale; 4] =
    [opens(10, 1, 0), opens(10_000, 1, 0), opens(10_000, 1_000, 0), opens(10, 1, 10_000)];

/// What glibc is told by the program, too: to give large blocks back to the system.
const ALLOCATOR: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "131072");

fn main() -> Result<()> {
    if env::var_os(ALLOCATOR.0).is_none() {
        let own = env::current_exe()?;
        let again =
            Command::new(own).args(env::args_os().skip(1)).env(ALLOCATOR.0, ALLOCATOR.1).exec();
        return Err(again).context("starting again");
    }
    let mut arguments = env::args().skip(1).map(|argument| argument.parse());
    let rounds = arguments.next().transpose()?.unwrap_or(21);
    if let Some(row) = arguments.next().transpose()? {
        return profile(rounds, row);
    }
    println!("Medians of {rounds} rounds.\n");
    measure_packets(rounds)?;
    measure_opens(rounds)
}

/// Nothing but the packets of one row, for a profiler.
fn profile(rounds: usize, row: usize) -> Result<()> {
    let mut site = Site::new(*PACKET_SCALES.get(row).context("no such row")?)?;
    for _ in 0..rounds {
        println!("{:?}", site.round(PACKETS)?);
    }
    Ok(())
}

/// A kind of packet: its name, what it costs, and what of that is boringtun's.
type Kind = (&'static str, fn(&Costs) -> Duration, fn(&Ciphers) -> Duration);

const KINDS: [Kind; 5] = [
    (
        "TCP segment in",
        |costs| costs.segment_in,
        |ciphers| ciphers.segment.decrypt + ciphers.acknowledgement.encrypt / 2,
    ),
    ("TCP segment out", |costs| costs.segment_out, |ciphers| ciphers.segment.encrypt),
    (
        "acknowledgement in",
        |costs| costs.acknowledgement_in,
        |ciphers| ciphers.acknowledgement.decrypt,
    ),
    ("UDP datagram in", |costs| costs.datagram_in, |ciphers| ciphers.datagram.decrypt),
    ("UDP datagram out", |costs| costs.datagram_out, |ciphers| ciphers.datagram.encrypt),
];

/// What boringtun alone takes for the packets of each kind.
struct Ciphers {
    segment: cipher::Cost,
    acknowledgement: cipher::Cost,
    datagram: cipher::Cost,
}

impl Ciphers {
    fn measure(cipher: &mut Cipher) -> Result<Self> {
        let count = PACKETS as u32;
        Ok(Self {
            segment: cipher.measure(SEGMENT_LEN + 40, count)?,
            acknowledgement: cipher.measure(48, count)?,
            datagram: cipher.measure(DATAGRAM_LEN + 32, count)?,
        })
    }
}

fn measure_packets(rounds: usize) -> Result<()> {
    let mut cipher = Cipher::new()?;
    let mut sites = PACKET_SCALES.map(Site::new).into_iter().collect::<Result<Vec<_>>>()?;
    for site in &mut sites {
        // Round the rings.
        for _ in 0..SMALL / SEGMENT_LEN / 2 + 1 {
            site.round(0)?;
        }
    }
    // For each kind and site, a time for each round, with boringtun and without.
    let mut times = vec![[(); KINDS.len()].map(|()| [Vec::new(), Vec::new()]); sites.len()];
    for _ in 0..rounds {
        let ciphers = Ciphers::measure(&mut cipher)?;
        for (site, times) in sites.iter_mut().zip(&mut times) {
            let costs = site.round(PACKETS)?;
            for ((_, cost, part), times) in KINDS.iter().zip(times) {
                let cost = cost(&costs);
                times[0].push(cost.as_secs_f64());
                times[1].push(cost.saturating_sub(part(&ciphers)).as_secs_f64());
            }
        }
    }
    for (which, title) in
        ["Nanoseconds for a packet", "The same without the cipher"].iter().enumerate()
    {
        println!(
            "| {title}: flows | busy | peers | rules |{}",
            KINDS.map(|(name, ..)| format!(" {name} |")).concat()
        );
        println!("|--:|--:|--:|--:|{}", "--:|".repeat(KINDS.len()));
        for (scale, own) in PACKET_SCALES.iter().zip(&times) {
            let cells =
                (0..KINDS.len()).map(|kind| cell(&own[kind][which], &times[0][kind][which]));
            let Scale { flows, busy, peers, rules, .. } = scale;
            println!("| {flows} | {busy} | {peers} | {rules} |{}", cells.collect::<String>());
        }
        println!();
    }
    Ok(())
}

/// A time, and its ratio to that of the first site.
fn cell(times: &[f64], base: &[f64]) -> String {
    let ratios = times.iter().zip(base).map(|(time, base)| time / base).collect();
    format!(" {:.0} ({:.2}) |", median(times.to_vec()) * 1e9, median(ratios))
}

fn measure_opens(rounds: usize) -> Result<()> {
    let mut sites = OPEN_SCALES.map(Site::new).into_iter().collect::<Result<Vec<_>>>()?;
    let mut times = vec![Vec::new(); sites.len()];
    for _ in 0..rounds {
        for (site, times) in sites.iter_mut().zip(&mut times) {
            times.push(site.open_and_close(FLOWS)?.as_secs_f64());
        }
    }
    println!("| open flows | peers | rules | opened and closed, us | a second | ratio |");
    println!("|--:|--:|--:|--:|--:|--:|");
    for (Scale { flows, peers, rules, .. }, own) in OPEN_SCALES.iter().zip(&times) {
        let ratio = median(own.iter().zip(&times[0]).map(|(time, base)| time / base).collect());
        let time = median(own.clone());
        println!(
            "| {flows} | {peers} | {rules} | {:.1} | {:.0} | {ratio:.2} |",
            time * 1e6,
            1.0 / time
        );
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
