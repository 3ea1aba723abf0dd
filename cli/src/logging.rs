//! The log: lines on standard error.

use std::env;
use std::io::Write as _;

use env_logger::Builder;
use log::LevelFilter;

/// Starts logging at `level`, which `RUST_LOG` overrides.
pub(crate) fn start(level: LevelFilter) {
    let mut builder = Builder::new();
    builder.filter_level(level).parse_env("RUST_LOG");
    // The journal stamps lines itself.
    let stamped = env::var_os("JOURNAL_STREAM").is_none();
    builder.format(move |line, record| {
        if stamped {
            write!(line, "{} ", line.timestamp_millis())?;
        }
        let style = line.default_level_style(record.level());
        writeln!(line, "{style}{:5}{style:#} {}", record.level(), record.args())
    });
    // A second start in one process changes nothing, and there is none.
    let _ = builder.try_init();
}

/// Logs what a configuration asks for and does not get.
pub(crate) fn warn_all(warnings: &[String]) {
    for warning in warnings {
        log::warn!("{warning}");
    }
}
