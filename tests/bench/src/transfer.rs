//! Transfers by one connection and by several, up and down: speed, and processor time a gigabyte.
//!
//! Where slipwire is at both ends, what each end takes is compared with the floor's end that does
//! the same system calls.

use anyhow::Result;

use super::{
    Report,
    figures::{Entry, Figures},
    floor::Floor,
    load::{self, Direction},
    options::Options,
    rounds,
    table::{Table, number},
    way::{Kind, Way, side_key},
};
use slipwire_lab::tunnel::Side;

const SEVERAL: usize = 8;
const GIGABYTE: f64 = 1e9;

pub(super) fn run(options: &Options) -> Result<Report> {
    let figures = rounds::measure("transfer", options, &Kind::ALL, |way, entry| {
        for &connections in connections(way.kind) {
            for direction in Direction::BOTH {
                sample(way, direction, connections, options, entry)?;
            }
        }
        Ok(())
    })?;
    let markdown = format!(
        "## Transfer\n\nMedians; × is the ratio to wireguard-go's speed in the same round; s/GB is processor \
         time of the near and of the middle process for each 10⁹ bytes.\n\n{}{}{}{}",
        speeds("One connection", &figures, 1),
        speeds("8 connections", &figures, SEVERAL),
        floor_ratios(&figures),
        figures.failures(),
    );
    Ok(Report { markdown, json: figures.json() })
}

/// The floor carries one connection, and files are written the same for one and for several.
const fn connections(kind: Kind) -> &'static [usize] {
    match kind {
        Kind::Floor | Kind::Record | Kind::Capture => &[1],
        Kind::Direct
        | Kind::Baseline
        | Kind::Gateway
        | Kind::Forward
        | Kind::BothEnds
        | Kind::Onetun => &[1, SEVERAL],
    }
}

fn sample(
    way: &Way,
    direction: Direction,
    connections: usize,
    options: &Options,
    entry: &mut Entry<'_>,
) -> Result<()> {
    let duration = options.duration;
    let (moved, cpu) = if way.kind == Kind::Floor {
        let start = |port| Floor::start(&way.row, direction, port);
        let (moved, floor) = load::transfer(way, direction, connections, duration, start)?;
        (moved, floor.cpu()?)
    } else {
        let (moved, before) = load::transfer(way, direction, connections, duration, |_| way.cpu())?;
        (moved, way.cpu()?.since(&before))
    };
    let gigabytes = moved.bytes as f64 / GIGABYTE;
    let speed = gigabytes * 8.0 / moved.elapsed().as_secs_f64();
    entry.add(speed_key(direction, connections), speed);
    if way.kind != Kind::Direct {
        for (side, seconds) in cpu {
            entry.add(cost_key(direction, connections, side), seconds / gigabytes);
        }
    }
    Ok(())
}

fn speed_key(direction: Direction, connections: usize) -> String {
    format!("{}_{connections}_gbit_per_s", direction.key())
}

fn cost_key(direction: Direction, connections: usize, side: Side) -> String {
    format!("{}_{connections}_{}_cpu_s_per_gb", direction.key(), side_key(side))
}

fn speeds(title: &str, figures: &Figures, connections: usize) -> String {
    let mut table = Table::new(&[
        "near – middle",
        "up Gbit/s",
        "×",
        "s/GB near",
        "middle",
        "down Gbit/s",
        "×",
        "s/GB near",
        "middle",
    ]);
    for kind in figures.kinds_with(&speed_key(Direction::Up, connections)) {
        let cells = |direction| {
            let speed = speed_key(direction, connections);
            let cost = |side| figures.median(kind, &cost_key(direction, connections, side));
            [
                figures.median(kind, &speed),
                figures.ratio((kind, &speed), (Kind::Baseline, &speed)),
                cost(Side::Near),
                cost(Side::Mid),
            ]
        };
        let cells = Direction::BOTH.into_iter().flat_map(cells).map(|value| number(value, 2));
        table.row(kind.name(), cells);
    }
    format!("{title}:\n\n{table}")
}

fn floor_ratios(figures: &Figures) -> String {
    let mut table =
        Table::new(&["with slipwire at both ends", "floor s/GB", "1 conn.", "×", "8 conn.", "×"]);
    for (name, direction, side) in [
        ("gateway up: receive, open, write", Direction::Up, Side::Mid),
        ("gateway down: read, seal, send", Direction::Down, Side::Mid),
        ("forward up: read, seal, send", Direction::Up, Side::Near),
        ("forward down: receive, open, write", Direction::Down, Side::Near),
    ] {
        let floor = cost_key(direction, 1, side);
        let cells = [1, SEVERAL].map(|connections| {
            let own = cost_key(direction, connections, side);
            let ratio = figures.ratio((Kind::BothEnds, &own), (Kind::Floor, &floor));
            [figures.median(Kind::BothEnds, &own), ratio]
        });
        let cells = [figures.median(Kind::Floor, &floor)].into_iter().chain(cells.concat());
        table.row(name, cells.map(|value| number(value, 2)));
    }
    format!(
        "Processor time beside the floor, which is the same system calls and cipher without TCP/IP \
         between them, with one connection:\n\n{table}"
    )
}
