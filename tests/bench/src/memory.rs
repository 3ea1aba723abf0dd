//! Resident memory of slipwire: at the start, with many idle connections, after each has carried
//! something, and the most under load.

use std::{thread, time::Duration};

use anyhow::Result;

use super::{
    Report,
    figures::{Entry, Figures},
    idle::Idle,
    load::{self, Direction},
    options::Options,
    rounds,
    table::{Table, number},
    way::{Kind, Way, side_key},
};
use slipwire_lab::tunnel::Side;

const KINDS: [Kind; 3] = [Kind::Gateway, Kind::Forward, Kind::BothEnds];
/// More would show nothing new.
const ROUNDS_MAX: u32 = 3;
/// What each connection carries, both ways.
const CARRIED: usize = 16 * 1024;
/// How long connections rest before memory is read.
const REST: Duration = Duration::from_secs(5);
const LOAD_CONNECTIONS: usize = 8;
const KIB: f64 = 1024.0;

pub(super) fn run(options: &Options) -> Result<Report> {
    let few = Options { rounds: options.rounds.min(ROUNDS_MAX), ..options.clone() };
    let figures = rounds::measure("memory", &few, &KINDS, |way, entry| {
        way.restart()?;
        add(way, entry, "start")?;
        let idle = Idle::open(way)?;
        entry.add("idle_connections", idle.count() as f64);
        thread::sleep(REST);
        add(way, entry, "idle")?;
        idle.echo(CARRIED)?;
        thread::sleep(REST);
        add(way, entry, "carried")?;
        drop(idle);

        way.restart()?;
        for direction in Direction::BOTH {
            load::transfer(way, direction, LOAD_CONNECTIONS, options.duration, |_| Ok(()))?;
        }
        for (side, process) in way.slipwires() {
            entry.add(key(side, "load_peak"), process.peak_resident()? as f64 / KIB);
        }
        Ok(())
    })?;
    let markdown = format!(
        "## Memory\n\nResident, of each slipwire: at the start; what each of 10000 idle connections adds, \
         before and after it has carried {} KiB both ways; and the most while 8 connections transfer.\n\n{}{}",
        CARRIED / 1024,
        table(&figures),
        figures.failures(),
    );
    Ok(Report { markdown, json: figures.json() })
}

fn add(way: &Way, entry: &mut Entry<'_>, when: &str) -> Result<()> {
    for (side, process) in way.slipwires() {
        entry.add(key(side, when), process.resident()? as f64 / KIB);
    }
    Ok(())
}

fn key(side: Side, when: &str) -> String {
    format!("{}_{when}_kib", side_key(side))
}

fn table(figures: &Figures) -> Table {
    let mut table = Table::new(&[
        "slipwire",
        "start KiB",
        "idle bytes each",
        "carried bytes each",
        "8 transfers KiB",
    ]);
    for kind in figures.kinds_with("idle_connections") {
        for side in [Side::Near, Side::Mid].into_iter().filter(|&side| kind.is_slipwire(side)) {
            let start = key(side, "start");
            let connections = figures.median(kind, "idle_connections");
            let each = |when| {
                let added = figures.difference((kind, &key(side, when)), (kind, &start));
                added * KIB / connections
            };
            let cells = [
                figures.median(kind, &start),
                each("idle"),
                each("carried"),
                figures.median(kind, &key(side, "load_peak")),
            ];
            let name = format!("{}, {}", kind.name(), side_key(side));
            table.row(&name, cells.map(|value| number(value, 0)));
        }
    }
    table
}
