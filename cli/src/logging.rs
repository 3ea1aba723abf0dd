//! The log: lines on standard error, or in the journal.

use std::env;
use std::fmt::Arguments;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use anstream::AutoStream;
use env_logger::{Builder, Target};
use log::{Level, LevelFilter};

use crate::standard_error::Lines;

/// How long the end of the program waits for its last lines to be written.
const FINISH: Duration = Duration::from_millis(500);

/// Where lines go once logging has started.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Starts logging at `level`, which `RUST_LOG` overrides.
pub(crate) fn start(level: LevelFilter) {
    let mut builder = Builder::new();
    builder.filter_level(level).parse_env("RUST_LOG");
    let is_journal = leads_to_journal();
    builder.format(move |line, record| {
        if is_journal {
            return write_to_journal(line, record.level(), record.args());
        }
        let style = line.default_level_style(record.level());
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        writeln!(line, "{time} {style}{:5}{style:#} {}", record.level(), record.args())
    });
    // Without a thread for them lines are written at once, and wait for whoever reads them.
    if let Ok(lines) = Lines::start(if is_journal { journal_notice } else { notice }) {
        builder.write_style(AutoStream::choice(&io::stderr()).into());
        builder.target(Target::Pipe(Box::new(LINES.get_or_init(|| lines).clone())));
    }
    // A second start in one process changes nothing, and there is none.
    let _ = builder.try_init();
}

/// Logs what a configuration asks for and does not get.
pub(crate) fn warn_all(warnings: &[String]) {
    for warning in warnings {
        log::warn!("{warning}");
    }
}

/// Says why the program ends: behind the lines of the log, which may have nobody who reads it, or
/// without a log at once.
pub(crate) fn say_failure(message: &str) {
    let is_journal = leads_to_journal();
    for line in message.lines() {
        let mut text = Vec::new();
        // Writing to memory can't fail.
        let _ = if is_journal {
            write_to_journal(&mut text, Level::Error, &format_args!("{line}"))
        } else {
            writeln!(text, "{line}")
        };
        match LINES.get() {
            Some(lines) => lines.push(&text),
            // If nobody listens, the exit code still tells.
            None => drop(io::stderr().write_all(&text)),
        }
    }
}

/// Waits until the lines so far are written, but not long.
pub(crate) fn finish() {
    if let Some(lines) = LINES.get() {
        lines.finish(FINISH);
    }
}

/// Whether standard error is the journal's: systemd says which device and inode that is, since a
/// process inherits the variable from a service whose output it does not share (systemd.exec(5)).
fn leads_to_journal() -> bool {
    let Some(stream) = env::var("JOURNAL_STREAM").ok() else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| is_stream(&stream, stat.st_dev, stat.st_ino))
}

fn is_stream(text: &str, device: u64, inode: u64) -> bool {
    text.split_once(':').is_some_and(|(d, i)| d.parse() == Ok(device) && i.parse() == Ok(inode))
}

/// A line with its priority before it, as the journal reads it (sd-daemon(3)). It stamps lines
/// itself.
fn write_to_journal(to: &mut dyn Write, level: Level, text: &Arguments<'_>) -> io::Result<()> {
    // Of syslog's priorities: err, warning, info, debug.
    let priority = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    writeln!(to, "<{priority}>{text}")
}

fn notice(lost: u64) -> String {
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    format!("{time} {:5} {}\n", Level::Warn, describe_lost(lost))
}

fn journal_notice(lost: u64) -> String {
    let mut line = Vec::new();
    // Writing to memory can't fail.
    let _ = write_to_journal(&mut line, Level::Warn, &format_args!("{}", describe_lost(lost)));
    String::from_utf8_lossy(&line).into_owned()
}

fn describe_lost(lost: u64) -> String {
    let lines = if lost == 1 { "line" } else { "lines" };
    format!("{lost} {lines} of the log lost: nobody read it in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(is_stream("8:1234", 8, 1234));
        for other in ["8:1235", "9:1234", "8", "", ":", "8:1234:", "x:1234"] {
            assert!(!is_stream(other, 8, 1234), "{other}");
        }
    }

    #[test]
    fn the_journal_is_told_priorities() {
        let mut log = Vec::new();
        for level in [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace] {
            write_to_journal(&mut log, level, &format_args!("{level}")).unwrap();
        }
        assert_eq!(log, b"<3>ERROR\n<4>WARN\n<6>INFO\n<7>DEBUG\n<7>TRACE\n");
        assert_eq!(journal_notice(2), "<4>2 lines of the log lost: nobody read it in time\n");
    }
}
