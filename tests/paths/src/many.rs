//! Many downloads at once, with nothing between the ends: how fast all are together, how fair to
//! each other, and what memory they take.

use std::{thread, time::Duration};

use anyhow::Result;
use slipwire_lab::lab::Lab;
use slipwire_worlds::path::Direction;

use super::{
    load::Load,
    options::Options,
    results::{Results, Table},
    site::{Between, Site},
};

const MEGABYTE: f64 = 1e6;
/// How long they run before they are measured.
const WARM_UP: Duration = Duration::from_secs(2);

/// Measures every program with so many downloads.
pub fn run(lab: &Lab, options: &Options, downloads: usize) -> Result<String> {
    let start = |program: &_| Site::start(lab, Clone::clone(program), Between::Nothing);
    let mut sites = options.programs.iter().map(start).collect::<Result<Vec<_>>>()?;
    let mut results = Results::default();
    for round in 1..=options.rounds {
        for (index, site) in sites.iter_mut().enumerate() {
            let what = format!("round {round}: {downloads} downloads, {}", site.program.name);
            eprintln!("{what}");
            match measure(site, downloads, options.time) {
                Ok(measured) => {
                    results.add(index, round, "mbit", measured.mbit);
                    results.add(index, round, "fairness", measured.fairness);
                    results.add(index, round, "resident", measured.resident);
                }
                Err(error) => {
                    results.fail(&what, &error);
                    eprint!("{}", lab.logs());
                }
            }
        }
    }
    let title = format!("{downloads} downloads");
    let mut table = Table::new(&[title.as_str(), "Mbit/s", "x", "Jain's index", "resident MB"]);
    for (index, program) in options.programs.iter().enumerate() {
        table.row(
            &program.name,
            &[
                (results.median(index, "mbit"), 0),
                (results.ratio(index, "mbit"), 2),
                (results.median(index, "fairness"), 2),
                (results.median(index, "resident"), 0),
            ],
        );
    }
    Ok(format!(
        "## Many at once\n\nNothing between the ends but a link. Resident: the most that the end on the middle host had.\n\n{}{}",
        table.text(),
        results.failures(),
    ))
}

struct Measured {
    mbit: f64,
    fairness: f64,
    resident: f64,
}

fn measure(site: &mut Site, downloads: usize, time: Duration) -> Result<Measured> {
    site.restart()?;
    let load = Load::start(site, Direction::Down, downloads)?;
    thread::sleep(WARM_UP);
    let before = load.received();
    thread::sleep(time);
    let after = load.received();
    let resident = site.mid_process().peak_resident()? as f64 / MEGABYTE;
    load.end()?;
    let each: Vec<f64> = after.iter().zip(&before).map(|(a, b)| (a - b) as f64).collect();
    let mbit = each.iter().sum::<f64>() * 8.0 / MEGABYTE / time.as_secs_f64();
    Ok(Measured { mbit, fairness: fairness(&each), resident })
}

/// Jain's index: 1 if all have the same, and one part in so many if one has it all.
fn fairness(each: &[f64]) -> f64 {
    let (sum, squares) = (each.iter().sum::<f64>(), each.iter().map(|one| one * one).sum::<f64>());
    sum * sum / (each.len() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_are_fair_and_one_that_has_it_all_is_not() {
        assert!((fairness(&[3.0; 5]) - 1.0).abs() < 1e-9);
        assert!((fairness(&[0.0, 0.0, 7.0, 0.0]) - 0.25).abs() < 1e-9);
    }
}
