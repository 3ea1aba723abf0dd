//! What belongs to one test: a name that no other test has, a scratch directory, its hosts, and the
//! logs of its processes, to be shown when it fails.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result};

use crate::{locked, net::Host, process::Lines, sandbox};

/// Lines of each log that a failure shows.
const SHOWN_LINES: usize = 25;

/// A number that nothing else in this process has.
fn number() -> usize {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// The logs of a test's processes, by name.
#[derive(Clone, Debug, Default)]
pub struct Logs(Arc<Mutex<Vec<(String, Lines)>>>);

impl Logs {
    /// Adds a log.
    pub fn add(&self, name: String, lines: Lines) {
        locked(&self.0).push((name, lines));
    }
}

/// The surroundings of one test.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    directory: PathBuf,
    logs: Logs,
}

impl Lab {
    /// An empty lab.
    pub fn new() -> Result<Self> {
        let prefix = format!("sw-{}-{}", process::id(), number());
        let directory = sandbox::scratch().join(&prefix);
        fs::create_dir_all(&directory).context("making the scratch directory")?;
        Ok(Self { prefix, directory, logs: Logs::default() })
    }

    /// A new host without links.
    pub fn host(&self, name: &str) -> Result<Host> {
        Host::new(format!("{}-{}-{name}", self.prefix, number()), self.logs.clone())
    }

    /// A new directory for the files of `name`.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let directory = self.directory.join(format!("{}-{name}", number()));
        fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    /// The end of each log, for a report.
    pub fn logs(&self) -> String {
        let mut report = String::new();
        for (name, lines) in locked(&self.logs.0).iter() {
            for line in lines.tail(SHOWN_LINES) {
                // Writing to a String cannot fail.
                let _ = writeln!(report, "{name}: {line}");
            }
        }
        report
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The directory lies on the sandbox's own tmpfs, which goes with the sandbox at the latest.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Writes a file that only its owner reads, as WireGuard keys are kept.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::{fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    Ok(())
}
