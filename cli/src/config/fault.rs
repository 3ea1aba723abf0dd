//! What is wrong with a configuration file, where, and how to mend it.
//!
//! Faults are collected, not thrown: whoever reads a part reports and goes on, so that one run
//! shows everything that there is to mend. What is not wrong, but is not done as it is written
//! either, is a warning.

use std::fmt;
use std::path::{Path, PathBuf};

/// What is wrong with one value, and the mend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    pub(crate) what: String,
    pub(crate) mend: String,
}

impl Problem {
    pub(crate) fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into() }
    }
}

/// A value and the offset in the file at which it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) offset: usize,
}

impl<T> At<T> {
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> At<U> {
        At { value: f(self.value), offset: self.offset }
    }
}

#[derive(Debug)]
struct Fault {
    line: usize,
    key: String,
    problem: Problem,
}

impl Fault {
    /// The one line about it, whatever it repeats of the file.
    fn describe(&self, file: &Path) -> String {
        let Self { line, key, problem: Problem { what, mend } } = self;
        printable(&format!("{}:{line}: {key}: {what}; {mend}", file.display()))
    }
}

/// A text without what would do something to a terminal, or begin a line of its own.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

/// The faults and warnings of a file found so far.
#[derive(Debug)]
pub(crate) struct Report {
    /// The offset at which each line after the first starts.
    line_starts: Vec<usize>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Report {
    pub(crate) fn new(text: &str) -> Self {
        let line_starts = text.match_indices('\n').map(|(end, _)| end + 1).collect();
        Self { line_starts, faults: Vec::new(), warnings: Vec::new() }
    }

    /// The line, from 1, of an offset.
    pub(crate) fn line(&self, offset: usize) -> usize {
        1 + self.line_starts.partition_point(|start| *start <= offset)
    }

    /// Takes note of a fault of `key`, which stands at `offset`.
    pub(crate) fn fault(&mut self, offset: usize, key: impl Into<String>, problem: Problem) {
        self.faults.push(Fault { line: self.line(offset), key: key.into(), problem });
    }

    /// Takes note that the value of `key`, which stands at `offset`, is not taken as it is. The
    /// problem's mend says what is done instead.
    pub(crate) fn warning(&mut self, offset: usize, key: impl Into<String>, problem: Problem) {
        self.warnings.push(Fault { line: self.line(offset), key: key.into(), problem });
    }

    /// How many faults there are so far: whoever compares two counts knows whether the part
    /// between them was sound.
    pub(crate) fn count(&self) -> usize {
        self.faults.len()
    }

    /// The warnings, one line each, from the top of the file down.
    pub(crate) fn warnings(&mut self, file: &Path) -> Vec<String> {
        self.warnings.sort_by_key(|warning| warning.line);
        self.warnings.iter().map(|warning| warning.describe(file)).collect()
    }

    /// All faults, from the top of the file down.
    pub(crate) fn into_faults(mut self, file: &Path) -> Faults {
        self.faults.sort_by_key(|fault| fault.line);
        Faults { file: file.to_owned(), faults: self.faults }
    }
}

/// Everything that is wrong with one file; one line each when printed.
#[derive(Debug)]
pub(crate) struct Faults {
    file: PathBuf,
    faults: Vec<Fault>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}", fault.describe(&self.file))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_in_the_order_of_the_file_one_line_each() {
        let mut report = Report::new("a\nb\nc");
        report.fault(4, "last", Problem::new("bad", "mend it"));
        report.fault(0, "first", Problem::new("bad", "mend it"));
        let faults = report.into_faults(Path::new("x.toml"));
        assert_eq!(
            faults.to_string(),
            "x.toml:1: first: bad; mend it\nx.toml:3: last: bad; mend it"
        );
    }

    #[test]
    fn a_message_is_one_line_and_harmless_whatever_it_repeats() {
        let mut report = Report::new("a");
        report.fault(0, "a\nb", Problem::new("no \u{1b}[2J", "make Büro\n"));
        let faults = report.into_faults(Path::new("x.toml")).to_string();
        assert_eq!(faults, "x.toml:1: a\\nb: no \\u{1b}[2J; make Büro\\n");
    }

    #[test]
    fn a_line_ends_with_its_newline() {
        let report = Report::new("ab\ncd\n");
        assert_eq!([0, 2, 3, 5, 6].map(|offset| report.line(offset)), [1, 1, 2, 2, 3]);
    }
}
