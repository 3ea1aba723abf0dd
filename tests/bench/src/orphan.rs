//! Waiting in the benchmark's own child processes, which end when nobody is left to end them.

use std::{io, time::Duration};

use anyhow::{Result, ensure};
use mio::{Events, Poll};
use rustix::process::getppid;

const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Waits for events.
///
/// # Errors
/// Whoever started this process has gone.
pub(super) fn poll(poll: &mut Poll, events: &mut Events) -> Result<()> {
    match poll.poll(events, Some(CHECK_INTERVAL)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
        other => other?,
    }
    // In a process namespace, the first process is the shell of the sandbox.
    let is_orphan = events.is_empty() && getppid().is_none_or(|parent| parent.is_init());
    ensure!(!is_orphan, "the benchmark has ended");
    Ok(())
}
