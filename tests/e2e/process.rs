//! The process itself: soon ready, soon gone.

use std::{io::Read as _, time::Duration};

use anyhow::{Result, ensure};
use slipwire_tests::{lab::Lab, payload::Payload, tunnel::Job};

use crate::{
    common::{PORT, connect, source, tunnel},
    runner::Test,
};

pub(crate) fn tests() -> Vec<Test> {
    let ready = Test::each(Job::ALL, "ready_within_a_second", ready);
    let idle = Test::each(Job::ALL, "sigterm_ends_an_idle_process", ends_idle);
    let busy = Test::each(Job::ALL, "sigterm_ends_a_busy_process", ends_busy);
    ready.into_iter().chain(idle).chain(busy).map(Test::quiet).collect()
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
