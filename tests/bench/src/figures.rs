//! All that was measured: a number for each way, figure and round.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::way::Kind;

/// The numbers of one part of the benchmark.
#[derive(Debug, Default)]
pub struct Figures {
    /// By way and figure, then by round.
    samples: BTreeMap<(Kind, String), BTreeMap<u32, f64>>,
    failures: Vec<String>,
}

/// The numbers of one way in one round.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Where they go.
    pub figures: &'a mut Figures,
    /// Which way.
    pub kind: Kind,
    /// Which round, from 1.
    pub round: u32,
}

impl Entry<'_> {
    /// Adds one, named with its unit last.
    pub fn add(&mut self, figure: impl Into<String>, value: f64) {
        let series = self.figures.samples.entry((self.kind, figure.into())).or_default();
        series.insert(self.round, value);
    }

    /// Notes that something could not be measured.
    pub fn fail(&mut self, error: &anyhow::Error) {
        let failure = format!("{}, round {}: {error:#}", self.kind.name(), self.round);
        eprintln!("failed: {failure}");
        self.figures.failures.push(failure);
    }
}

impl Figures {
    /// The median of all rounds; NaN without any.
    pub fn median(&self, kind: Kind, figure: &str) -> f64 {
        median(self.series(kind, figure).map(|(_, value)| value))
    }

    /// The median of the ratios within each round.
    pub fn ratio(&self, of: (Kind, &str), to: (Kind, &str)) -> f64 {
        self.combine(of, to, |of, to| of / to)
    }

    /// The median of the differences within each round.
    pub fn difference(&self, of: (Kind, &str), less: (Kind, &str)) -> f64 {
        self.combine(of, less, |of, less| of - less)
    }

    fn combine(&self, of: (Kind, &str), with: (Kind, &str), by: fn(f64, f64) -> f64) -> f64 {
        let others: BTreeMap<_, _> = self.series(with.0, with.1).collect();
        let pairs = self.series(of.0, of.1);
        median(pairs.filter_map(|(round, value)| Some(by(value, *others.get(&round)?))))
    }

    /// The ways of which there is such a figure, in their order.
    pub fn kinds_with(&self, figure: &str) -> impl Iterator<Item = Kind> {
        self.samples.keys().filter(move |(_, name)| name == figure).map(|&(kind, _)| kind)
    }

    fn series(&self, kind: Kind, figure: &str) -> impl Iterator<Item = (u32, f64)> {
        let series = self.samples.get(&(kind, figure.to_owned()));
        series.into_iter().flatten().map(|(&round, &value)| (round, value))
    }

    /// A paragraph on what could not be measured; nothing if all could.
    pub fn failures(&self) -> String {
        if self.failures.is_empty() {
            return String::new();
        }
        let lines: String = self.failures.iter().map(|line| format!("- {line}\n")).collect();
        format!("Failed:\n\n{lines}\n")
    }

    /// Everything: by way, then by figure, the median and the samples.
    pub fn json(&self) -> Value {
        let mut ways: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for ((kind, figure), samples) in &self.samples {
            let samples: Vec<_> = samples.values().collect();
            let summary = json!({ "median": median(samples.iter().map(|&&value| value)), "samples": samples });
            ways.entry(kind.key()).or_default().insert(figure.clone(), summary);
        }
        json!({ "ways": ways, "failures": self.failures })
    }
}

/// The median; NaN of nothing.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(&sorted(values), 0.5)
}

/// In ascending order.
pub fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// What such a part of the sorted values does not exceed; NaN of nothing.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_one_round() {
        let mut figures = Figures::default();
        // A round that was slow for both, and one that lacks the reference.
        for (round, gateway, baseline) in
            [(1, 4.0, Some(2.0)), (2, 1.0, Some(0.5)), (3, 90.0, None), (4, 6.0, Some(3.0))]
        {
            let mut entry = Entry { figures: &mut figures, kind: Kind::Gateway, round };
            entry.add("speed", gateway);
            if let Some(baseline) = baseline {
                entry.kind = Kind::Baseline;
                entry.add("speed", baseline);
            }
        }
        let ratio = figures.ratio((Kind::Gateway, "speed"), (Kind::Baseline, "speed"));
        assert!((ratio - 2.0).abs() < f64::EPSILON);
        assert!(figures.median(Kind::Gateway, "latency").is_nan());
    }
}
