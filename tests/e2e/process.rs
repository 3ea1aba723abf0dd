//! The process itself: soon ready, soon gone.

use std::{
    fs::{self, Permissions},
    io::{ErrorKind, Read as _},
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use slipwire_lab::{
    lab::Lab,
    payload::Payload,
    row::Family,
    tcp,
    tunnel::{Job, Plan, Tunnel},
    udp::Echo,
};

use crate::{
    common::{PORT, PROBE_PORT, connect, is_answered, source, tunnel},
    runner::Test,
};

pub(crate) fn tests() -> Vec<Test> {
    let ready = Test::each(Job::ALL, "ready_within_a_second", ready);
    let idle = Test::each(Job::ALL, "sigterm_ends_an_idle_process", ends_idle);
    let busy = Test::each(Job::ALL, "sigterm_ends_a_busy_process", ends_busy);
    let mut tests: Vec<_> = ready.into_iter().chain(idle).chain(busy).map(Test::quiet).collect();
    tests.push(Test::new("gateway::a_log_that_nobody_reads_stops_no_flow", unread));
    tests
}

fn ready(lab: &Lab, job: Job) -> Result<()> {
    for slipwire in tunnel(lab, job)?.slipwires() {
        let after = slipwire.ready_after();
        ensure!(after < Duration::from_secs(1), "ready after {after:?}");
    }
    Ok(())
}

fn ends_idle(lab: &Lab, job: Job) -> Result<()> {
    for slipwire in tunnel(lab, job)?.slipwires() {
        let status = slipwire.terminate(Duration::from_secs(2))?;
        ensure!(status.success(), "{status}");
    }
    Ok(())
}

fn ends_busy(lab: &Lab, job: Job) -> Result<()> {
    let mut tunnel = tunnel(lab, job)?;
    let _source = source(&tunnel.row.far, PORT, Payload::mib(1024, 50))?;
    let mut streams = [connect(&tunnel, PORT)?, connect(&tunnel, PORT)?];
    for stream in &mut streams {
        stream.read_exact(&mut [0; 100_000])?;
    }
    for slipwire in tunnel.slipwires() {
        let status = slipwire.terminate(Duration::from_secs(2))?;
        ensure!(status.success(), "{status}");
    }
    Ok(())
}

/// A pipe of 64 KiB that is read up to the line that says ready, and a log of twice that.
fn unread(lab: &Lab) -> Result<()> {
    const SCRIPT: &str = r#"mkfifo "$0" && {
        (while read -r line; do
            echo "$line" >&2
            case "$line" in *ready:*) break ;; esac
        done
        exec sleep 600 >/dev/null 2>&1) <"$0" &
        exec env RUST_LOG=debug "$@" 2>"$0"
    }"#;
    /// Each of them is worth two lines.
    const REFUSALS: usize = 1000;
    let directory = lab.directory("pipe")?;
    fs::set_permissions(&directory, Permissions::from_mode(0o777))?;
    let fifo = directory.join("stderr").to_str().context("no text")?.to_owned();
    let wrapper = ["sh", "-c", SCRIPT, &fifo].map(str::to_owned).to_vec();
    let mut tunnel = Tunnel::start(lab, Plan { wrapper, ..Plan::new(Job::Gateway) })?;
    let _echo = Echo::start(&tunnel.row.far, PROBE_PORT)?;
    let closed = tunnel.target(Family::V4, PORT);
    for _ in 0..REFUSALS {
        let kind = tcp::try_connect(&tunnel.row.near, closed)?.map_err(|error| error.kind());
        ensure!(matches!(kind, Err(ErrorKind::ConnectionRefused)), "{kind:?}");
    }
    is_answered(&tunnel.row.near, tunnel.target(Family::V4, PROBE_PORT))?;
    for slipwire in tunnel.slipwires() {
        let status = slipwire.terminate(Duration::from_secs(2))?;
        ensure!(status.success(), "{status}");
    }
    Ok(())
}
