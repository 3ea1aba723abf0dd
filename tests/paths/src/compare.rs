//! All programs on a path, in turn, several times; and the tables of it.

use std::{fmt::Write as _, time::Duration};

use anyhow::Result;
use slipwire_lab::lab::Lab;
use slipwire_worlds::path::{Direction, NamedPath};

use super::{
    bulk,
    options::{Options, Part},
    page,
    results::{Results, Table},
    site::{Between, Site},
};

/// More of a relay's datagrams than this, late by more than a millisecond, make a run doubtful.
const LATE_MAX: f64 = 0.01;
/// What a transfer takes beside its time: starting both ends, pings alone, the last bytes.
const BULK_BESIDE: Duration = Duration::from_secs(2);
/// The same for pages, and each page.
const PAGE_BESIDE: Duration = Duration::from_secs(1);
const PAGE: Duration = Duration::from_millis(250);

/// Builds a site for each program.
pub fn sites(lab: &Lab, options: &Options) -> Result<Vec<Site>> {
    let start = |program: &_| Site::start(lab, Clone::clone(program), Between::Path);
    options.programs.iter().map(start).collect()
}

/// Measures every program on one path; what fails is part of the results.
pub fn measure(lab: &Lab, sites: &mut [Site], path: &NamedPath, options: &Options) -> Results {
    let mut results = Results::default();
    for round in 1..=options.rounds {
        for (index, site) in sites.iter_mut().enumerate() {
            let what = format!("{}, round {round}: {}", path.name, site.program.name);
            eprintln!("{what}");
            let mut run = Run { site, path, options, results: &mut results, index, round };
            if let Err(error) = run.measure() {
                results.fail(&what, &error);
                eprint!("{}", lab.logs());
            }
        }
    }
    results
}

/// One program in one round.
struct Run<'a> {
    site: &'a mut Site,
    path: &'a NamedPath,
    options: &'a Options,
    results: &'a mut Results,
    index: usize,
    round: u32,
}

impl Run<'_> {
    fn measure(&mut self) -> Result<()> {
        for part in &self.options.parts {
            match part {
                Part::Down => self.bulks(Direction::Down)?,
                Part::Up => self.bulks(Direction::Up)?,
                Part::Pages => self.pages()?,
                Part::Beside => self.beside()?,
            }
        }
        Ok(())
    }

    fn bulks(&mut self, direction: Direction) -> Result<()> {
        for &flows in self.path.flows {
            self.site.renew(self.path.profile, self.round.into())?;
            let bulk = bulk::run(self.site, direction, flows, self.options.time)?;
            let figures = [
                ("goodput", bulk.goodput),
                ("sent_per_needed", bulk.sent_per_needed),
                ("lost", bulk.lost),
                ("again", bulk.again),
                ("again_per_lost", bulk.again / bulk.lost),
                ("added_p50", bulk.added_p50),
                ("added_p99", bulk.added_p99),
                ("late", bulk.late),
                ("beside_path", bulk.beside_path),
            ];
            for (figure, value) in figures {
                self.results.add(self.index, self.round, &key(direction, flows, figure), value);
            }
        }
        Ok(())
    }

    fn pages(&mut self) -> Result<()> {
        let (peers, later) = self.options.pages;
        for peer in 0..peers {
            let seed = u64::from(self.round) * 100 + peer as u64;
            self.site.renew(self.path.profile, seed)?;
            let pages = page::run(self.site, later)?;
            self.results.pool(self.index, "first", pages.first.as_secs_f64() * 1e3);
            for page in pages.later {
                self.results.pool(self.index, "later", page.as_secs_f64() * 1e3);
            }
        }
        Ok(())
    }

    fn beside(&mut self) -> Result<()> {
        self.site.renew(self.path.profile, self.round.into())?;
        for page in page::beside(self.site, self.options.time)? {
            self.results.pool(self.index, "beside", page.as_secs_f64() * 1e3);
        }
        Ok(())
    }
}

fn key(direction: Direction, flows: usize, figure: &str) -> String {
    format!("{direction:?} {flows} {figure}")
}

/// The tables of one path.
pub fn report(path: &NamedPath, options: &Options, results: &Results) -> String {
    let mut text = format!("## {}: {}\n\n", path.name, path.words);
    for direction in [Direction::Down, Direction::Up] {
        for &flows in path.flows {
            if results.has(&key(direction, flows, "goodput")) {
                text += &bulk_table(direction, flows, options, results);
            }
        }
    }
    text += &page_table(PAGES, options, results);
    text += &page_table(BESIDE, options, results);
    text + &results.failures()
}

fn bulk_table(direction: Direction, flows: usize, options: &Options, results: &Results) -> String {
    let way = match direction {
        Direction::Down => "download",
        Direction::Up => "upload",
    };
    let title = format!("{way}, {flows} flow{}", if flows == 1 { "" } else { "s" });
    let head = [
        title.as_str(),
        "Mbit/s",
        "x",
        "sent/needed",
        "lost",
        "again",
        "again/lost",
        "ping +p50 ms",
        "+p99 ms",
    ];
    let mut table = Table::new(&head);
    let mut doubts = String::new();
    for (index, program) in options.programs.iter().enumerate() {
        let median = |figure| results.median(index, &key(direction, flows, figure));
        table.row(
            &program.name,
            &[
                (median("goodput"), 1),
                (results.ratio(index, &key(direction, flows, "goodput")), 2),
                (median("sent_per_needed"), 3),
                (median("lost"), 0),
                (median("again"), 0),
                (median("again_per_lost"), 2),
                (median("added_p50"), 1),
                (median("added_p99"), 1),
            ],
        );
        // Writing to a String cannot fail.
        if median("late") > LATE_MAX {
            let _ = writeln!(
                doubts,
                "The relay was late by more than 1 ms for {:.0} % of the datagrams ({}).",
                median("late") * 100.0,
                program.name,
            );
        }
        if median("beside_path") > 0.0 {
            let _ = writeln!(
                doubts,
                "Sockets that were full lost {:.0} datagrams beside the path ({}).",
                median("beside_path"),
                program.name,
            );
        }
    }
    table.text() + &doubts
}

/// Ratios over all paths, one table for each thing that is measured.
pub fn summary(all: &[(NamedPath, Results)], options: &Options) -> String {
    let Some((first, others)) = options.programs.split_first() else { return String::new() };
    let title = |what: &str, unit: &str| {
        let reference = [what.to_owned(), format!("{}, {unit}", first.name)];
        reference.into_iter().chain(others.iter().map(|one| one.name.clone())).collect::<Vec<_>>()
    };
    let mut text = format!("## Ratios to {}\n\n", first.name);
    for (direction, way) in [(Direction::Down, "download"), (Direction::Up, "upload")] {
        let mut table = Table::new(&title(way, "Mbit/s"));
        for (path, results) in all {
            for &flows in path.flows {
                let figure = key(direction, flows, "goodput");
                let ratios = (1..=others.len()).map(|index| (results.ratio(index, &figure), 2));
                let cells: Vec<_> =
                    [(results.median(0, &figure), 1)].into_iter().chain(ratios).collect();
                let name = if flows == 1 {
                    path.name.into()
                } else {
                    format!("{}, {flows} flows", path.name)
                };
                if results.has(&figure) {
                    table.row(&name, &cells);
                }
            }
        }
        text += &table.text_unless_empty();
    }
    for (figure, part, what) in [
        ("first", 0.5, "50 KB, first p50"),
        ("later", 0.5, "50 KB, later p50"),
        ("later", 0.95, "50 KB, later p95"),
    ] {
        let mut table = Table::new(&title(what, "ms"));
        for (path, results) in all.iter().filter(|(_, results)| results.has(figure)) {
            let ratios =
                (1..=others.len()).map(|index| (results.quantile(index, figure, part).1, 2));
            let reference = [(results.quantile(0, figure, part).0, 0)];
            table.row(path.name, &reference.into_iter().chain(ratios).collect::<Vec<_>>());
        }
        text += &table.text_unless_empty();
    }
    text
}

/// About how long all of it takes.
pub fn estimate(options: &Options) -> Duration {
    let path = |path: &NamedPath| {
        let part = |part: &Part| match part {
            Part::Down | Part::Up => (options.time + BULK_BESIDE) * path.flows.len() as u32,
            Part::Beside => options.time + page::RUN_UP + BULK_BESIDE,
            Part::Pages => (PAGE_BESIDE + PAGE * options.pages.1 as u32) * options.pages.0 as u32,
        };
        options.parts.iter().map(part).sum::<Duration>()
    };
    let runs = options.programs.len() as u32 * options.rounds;
    options.paths.iter().map(path).sum::<Duration>() * runs
}

/// A title, and columns: their heads, figures and quantiles.
type PageColumns<'a> = (&'a str, &'a [(&'a str, &'a str, f64)]);

const PAGES: PageColumns<'_> = (
    "50 KB fetched, ms",
    &[("first p50", "first", 0.5), ("later p50", "later", 0.5), ("later p95", "later", 0.95)],
);
const BESIDE: PageColumns<'_> =
    ("50 KB beside a download, ms", &[("p50", "beside", 0.5), ("p95", "beside", 0.95)]);

/// A table of pages; nothing if none were fetched.
fn page_table((title, columns): PageColumns<'_>, options: &Options, results: &Results) -> String {
    let heads = columns.iter().flat_map(|&(head, ..)| [head, "x"]);
    let mut table = Table::new(&[title].into_iter().chain(heads).collect::<Vec<_>>());
    for (index, program) in options.programs.iter().enumerate() {
        let cells = columns.iter().filter(|(_, figure, _)| results.has(figure)).flat_map(
            |&(_, figure, part)| {
                let (value, ratio) = results.quantile(index, figure, part);
                [(value, 0), (ratio, 2)]
            },
        );
        let cells: Vec<_> = cells.collect();
        if !cells.is_empty() {
            table.row(&program.name, &cells);
        }
    }
    table.text_unless_empty()
}
