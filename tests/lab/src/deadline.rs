//! Waiting with a deadline: the only way in which the harness waits.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// Pause between two probes of [`eventually`].
const PROBE_INTERVAL: Duration = Duration::from_millis(10);

/// Repeats `probe` until it succeeds; after `within`, its last error is the error.
pub fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() >= within => {
                return Err(error).with_context(|| format!("{what}: not within {within:?}"));
            }
            Err(_) => thread::sleep(PROBE_INTERVAL),
        }
    }
}
