//! Runs the binary in a directory of its own.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The key pairs of RFC 7748, section 6.1.
pub(crate) const ALICE_PRIVATE: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
pub(crate) const ALICE_PUBLIC: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
pub(crate) const BOB_PUBLIC: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a program that ended left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program to its end.
pub(crate) fn slipwire(directory: &Path, arguments: &[&str]) -> Ended {
    slipwire_with_input(directory, arguments, "")
}

/// The same, with something to read.
pub(crate) fn slipwire_with_input(directory: &Path, arguments: &[&str], input: &str) -> Ended {
    let mut child = command(directory, arguments).stdin(Stdio::piped()).spawn().unwrap();
    // A program that fails early need not read all.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipwire"));
    command.args(arguments).current_dir(directory).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A directory with a configuration, and Alice's key in `slip0.key`.
pub(crate) fn directory_with(configuration: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(&directory, "slip0.key", ALICE_PRIVATE, 0o600);
    write(&directory, "slipwire.toml", configuration, 0o644);
    directory
}

pub(crate) fn write(directory: &TempDir, name: &str, content: &str, mode: u32) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

/// A program that runs; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Self {
        Self::spawn(&mut command(directory, arguments))
    }

    /// The same with a command that may have been changed.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().map_or_else(|| mpsc::channel().1, lines);
        let stderr = child.stderr.take().map_or_else(|| mpsc::channel().1, lines);
        Self { child, stdout, stderr }
    }

    /// Waits until it has a handler for a signal.
    pub(crate) fn catches(&self, signal: Signal) {
        let start = Instant::now();
        let file = format!("/proc/{}/status", self.child.id());
        loop {
            let status = fs::read_to_string(&file).unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
            if mask & 1 << (signal.as_raw() - 1) != 0 {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{signal:?} is not caught");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for a line of standard error.
    pub(crate) fn message(&self, needle: &str) -> String {
        wait_for(&self.stderr, needle).pop().unwrap()
    }

    /// Waits for a line of standard output; returns all up to it.
    pub(crate) fn output(&self, needle: &str) -> Vec<String> {
        wait_for(&self.stdout, needle)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn end(&mut self, within: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < within, "still running after {within:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            // Nobody may care any more; the pipe is read all the same.
            let _ = sender.send(line);
        }
    });
    receiver
}

fn wait_for(lines: &Receiver<String>, needle: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let end = Instant::now() + PATIENCE;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => seen.push(line),
            Err(error) => panic!("no line with {needle:?} ({error}) but {seen:#?}"),
        }
        if seen.last().is_some_and(|line| line.contains(needle)) {
            return seen;
        }
    }
}
