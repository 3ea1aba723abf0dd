//! All that was measured on one path, and its tables.

use std::{collections::BTreeMap, fmt::Write as _};

use slipwire_bench::figures::{median, quantile, sorted};

/// A number with its name, for one program in one round.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// By program and figure, then by round.
    samples: BTreeMap<(usize, String), BTreeMap<u32, f64>>,
    /// Those of all rounds together, by program and figure.
    pooled: BTreeMap<(usize, String), Vec<f64>>,
    failures: Vec<String>,
}

impl Results {
    /// Adds what one program came to in one round.
    pub fn add(&mut self, program: usize, round: u32, figure: &str, value: f64) {
        self.samples.entry((program, figure.to_owned())).or_default().insert(round, value);
    }

    /// Adds one of many values, whose quantiles are asked for later.
    pub fn pool(&mut self, program: usize, figure: &str, value: f64) {
        self.pooled.entry((program, figure.to_owned())).or_default().push(value);
    }

    /// Notes that something could not be measured.
    pub fn fail(&mut self, what: &str, error: &anyhow::Error) {
        eprintln!("failed: {what}: {error:#}");
        self.failures.push(format!("failed: {what}: {error:#}"));
    }

    /// The median of the rounds; NaN without any.
    pub fn median(&self, program: usize, figure: &str) -> f64 {
        median(self.series(program, figure).map(|(_, value)| value))
    }

    /// The median of the ratios to the first program within each round.
    pub fn ratio(&self, program: usize, figure: &str) -> f64 {
        let first: BTreeMap<_, _> = self.series(0, figure).collect();
        let pairs = self.series(program, figure);
        median(pairs.filter_map(|(round, value)| Some(value / first.get(&round)?)))
    }

    /// A quantile of the values of all rounds, and its ratio to the first program's.
    pub fn quantile(&self, program: usize, figure: &str, part: f64) -> (f64, f64) {
        let of = |program| {
            let values = self.pooled.get(&(program, figure.to_owned()));
            quantile(&sorted(values.into_iter().flatten().copied()), part)
        };
        (of(program), of(program) / of(0))
    }

    /// Whether there is such a figure of any program.
    pub fn has(&self, figure: &str) -> bool {
        let pooled = self.pooled.keys();
        self.samples.keys().chain(pooled).any(|(_, name)| name == figure)
    }

    /// What could not be measured, one a line.
    pub fn failures(&self) -> String {
        self.failures.iter().map(|line| format!("{line}\n")).collect()
    }

    fn series(&self, program: usize, figure: &str) -> impl Iterator<Item = (u32, f64)> {
        let series = self.samples.get(&(program, figure.to_owned()));
        series.into_iter().flatten().map(|(&round, &value)| (round, value))
    }
}

/// A table in columns, names on the left, numbers on the right.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with such a head.
    pub fn new(head: &[impl AsRef<str>]) -> Self {
        Self { rows: vec![head.iter().map(|cell| cell.as_ref().to_owned()).collect()] }
    }

    /// Adds a row: numbers with so many decimals, a dash for what is no number.
    pub fn row(&mut self, name: &str, cells: &[(f64, usize)]) {
        let cell = |&(value, decimals): &(f64, usize)| {
            if value.is_finite() { format!("{value:.decimals$}") } else { "-".to_owned() }
        };
        self.rows.push([name.to_owned()].into_iter().chain(cells.iter().map(cell)).collect());
    }

    /// The same, or nothing if it has no rows.
    pub fn text_unless_empty(&self) -> String {
        if self.rows.len() > 1 { self.text() } else { String::new() }
    }

    /// The whole table, ended by an empty line.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // Writing to a String cannot fail.
                let _ = match column {
                    0 => write!(text, "  {cell:<width$}"),
                    _ => write!(text, "  {cell:>width$}"),
                };
            }
            text.push('\n');
        }
        text + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_one_round() {
        let mut results = Results::default();
        // A round that was slow for both, and one that lacks the reference.
        for (round, first, second) in [(1, Some(2.0), 4.0), (2, Some(0.5), 1.0), (3, None, 90.0)] {
            if let Some(first) = first {
                results.add(0, round, "speed", first);
            }
            results.add(1, round, "speed", second);
        }
        assert!((results.ratio(1, "speed") - 2.0).abs() < f64::EPSILON);
        assert!(results.median(1, "latency").is_nan());
    }

    #[test]
    fn numbers_stand_on_the_right_of_their_columns() {
        let mut table = Table::new(&["name", "x"]);
        table.row("a longer one", &[(12.34, 1)]);
        table.row("b", &[(f64::NAN, 1)]);
        assert_eq!(
            table.text(),
            "  name             x\n  a longer one  12.3\n  b                -\n\n"
        );
    }
}
