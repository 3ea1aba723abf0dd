//! All ways in turn, several times.

use anyhow::Result;

use super::{
    figures::{Entry, Figures},
    options::Options,
    way::{Kind, Way},
};
use slipwire_lab::lab::Lab;

/// Measures each of these ways in each round, if it is wanted. What fails is noted and its way
/// built anew; that it failed is part of the result.
pub fn measure(
    what: &str,
    options: &Options,
    kinds: &[Kind],
    measure: impl Fn(&mut Way, &mut Entry<'_>) -> Result<()>,
) -> Result<Figures> {
    let lab = Lab::new()?;
    let wanted = kinds.iter().copied().filter(|kind| options.ways.contains(kind));
    let mut ways = wanted.map(|kind| Way::start(&lab, kind)).collect::<Result<Vec<_>>>()?;
    let mut figures = Figures::default();
    for round in 1..=options.rounds {
        for way in &mut ways {
            let kind = way.kind;
            eprintln!("{what}, round {round} of {}: {}", options.rounds, kind.name());
            let mut entry = Entry { figures: &mut figures, kind, round };
            if let Err(error) = measure(way, &mut entry) {
                entry.fail(&error);
                eprint!("{}", lab.logs());
                *way = Way::start(&lab, kind)?;
            }
        }
    }
    Ok(figures)
}
