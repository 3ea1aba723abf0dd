//! What is wrong with a configuration file, where, and how to mend it.
//!
//! Faults are collected, not thrown: whoever reads a part reports and goes on, so that one run
//! shows everything that there is to mend.

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

/// The faults of a file found so far.
#[derive(Debug)]
pub(crate) struct Report<'t> {
    text: &'t str,
    faults: Vec<Fault>,
}

impl<'t> Report<'t> {
    pub(crate) const fn new(text: &'t str) -> Self {
        Self { text, faults: Vec::new() }
    }

    /// The line, from 1, of an offset.
    pub(crate) fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    /// Takes note of a fault of `key`, which stands at `offset`.
    pub(crate) fn fault(&mut self, offset: usize, key: impl Into<String>, problem: Problem) {
        let line = self.line(offset);
        self.faults.push(Fault { line, key: key.into(), problem });
    }

    /// How many faults there are so far: whoever compares two counts knows whether the part
    /// between them was sound.
    pub(crate) fn count(&self) -> usize {
        self.faults.len()
    }

    /// All of it, from the top of the file down.
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
        for (index, Fault { line, key, problem }) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            let Problem { what, mend } = problem;
            write!(f, "{separator}{}:{line}: {key}: {what}; {mend}", self.file.display())?;
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
    fn a_line_ends_with_its_newline() {
        let report = Report::new("ab\ncd\n");
        assert_eq!([0, 2, 3, 5, 6].map(|offset| report.line(offset)), [1, 1, 2, 2, 3]);
    }
}
