//! One flow of each program beside flows of a kernel with CUBIC, through one bottleneck.

use std::{thread, time::Duration};

use anyhow::Result;
use slipwire_lab::{lab::Lab, tunnel::Job};
use slipwire_worlds::path::{Direction, bottleneck};

use super::{
    load::Load,
    options::Options,
    program::{Kernel, Program},
    results::{Results, Table},
    site::{Between, Site, renew},
};

/// Mbit/s and the round trip of the bottleneck.
const MBIT: u64 = 50;
const ROUND_TRIP_MS: u64 = 40;
/// Queues, in halves of what is under way in a round trip.
const HALVES: [u64; 3] = [1, 2, 8];
const OTHERS: [usize; 2] = [1, 4];
/// Measures every program in every direction in which slipwire sends, and the kernel's own.
pub fn run(lab: &Lab, options: &Options) -> Result<String> {
    let kernel = Program {
        name: "others".to_owned(),
        job: Job::Baseline,
        kernel: Kernel::Cubic,
        binary: None,
        tables: String::new(),
    };
    let mut others = Site::start(lab, kernel, Between::Path)?;
    let start = |program: &Program| Site::start(lab, program.clone(), Between::Path);
    let mut sites = options.programs.iter().map(start).collect::<Result<Vec<_>>>()?;
    let mut results = Results::default();
    for round in 1..=options.rounds {
        for (index, site) in sites.iter_mut().enumerate() {
            let direction = direction(&site.program);
            for halves in HALVES {
                for flows in OTHERS {
                    let what =
                        format!("round {round}: {}, {}", site.program.name, key(halves, flows));
                    eprintln!("{what}");
                    let profile = bottleneck(MBIT, ROUND_TRIP_MS, ROUND_TRIP_MS * halves / 2);
                    let measured = renew(&mut [&mut *site, &mut others], profile, round.into())
                        .and_then(|()| share(site, &others, direction, flows, options.time));
                    match measured {
                        Ok(share) => results.add(index, round, &key(halves, flows), share),
                        Err(error) => results.fail(&what, &error),
                    }
                }
            }
        }
    }
    Ok(report(options, &results))
}

/// Where slipwire is an end, it is to be the sender.
fn direction(program: &Program) -> Direction {
    if program.job.is_gateway() { Direction::Down } else { Direction::Up }
}

/// What the one flow has, as a part of its fair share.
fn share(
    site: &Site,
    others: &Site,
    direction: Direction,
    flows: usize,
    time: Duration,
) -> Result<f64> {
    let theirs = Load::start(others, direction, flows)?;
    let ours = Load::start(site, direction, 1)?;
    // They find their shares; as long again they are measured.
    thread::sleep(time);
    let read = |load: &Load| load.received().iter().sum::<u64>();
    let before = [&ours, &theirs].map(read);
    thread::sleep(time);
    let after = [&ours, &theirs].map(read);
    ours.end()?;
    theirs.end()?;
    let [ours, theirs] = [0, 1].map(|side| (after[side] - before[side]) as f64);
    Ok(ours / (ours + theirs) * (flows + 1) as f64)
}

fn key(halves: u64, flows: usize) -> String {
    format!("queue of {} under way, beside {flows}", halves as f64 / 2.0)
}

fn report(options: &Options, results: &Results) -> String {
    let columns: Vec<_> =
        HALVES.into_iter().flat_map(|halves| OTHERS.map(|flows| (halves, flows))).collect();
    let head = columns.iter().map(|&(halves, flows)| format!("{}x, {flows}", halves as f64 / 2.0));
    let head: Vec<String> = ["queue, beside".to_owned()].into_iter().chain(head).collect();
    let mut table = Table::new(&head);
    for (index, program) in options.programs.iter().enumerate() {
        let cell =
            |&(halves, flows): &(u64, usize)| (results.median(index, &key(halves, flows)), 2);
        table.row(&program.name, &columns.iter().map(cell).collect::<Vec<_>>());
    }
    format!(
        "## Fairness\n\nWhat one flow has of its fair share, beside flows of a kernel with CUBIC, through {MBIT} Mbit/s \
         with {ROUND_TRIP_MS} ms and a queue of so many times what is under way.\nWhere slipwire is an end, it sends.\n\n{}{}",
        table.text(),
        results.failures(),
    )
}
