//! Either end may die at any moment and come back: the other one finds it again by itself.

use std::{
    io::{Read as _, Write as _},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use slipwire_lab::{
    lab::Lab,
    tcp::{self, Service},
    tunnel::{Job, Plan, Side, Tunnel},
};

use crate::{
    common::{PORT, comes_up, connect, stays_shut},
    runner::Test,
};

/// WireGuard looks for a lost peer 15 seconds after the first packet that got no answer, and tries
/// again every 5; this leaves room for a slow machine.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn tests() -> Vec<Test> {
    let all = Job::WITH_BASELINE;
    let slipwire = Job::ALL;
    let gateways = &[Job::Gateway, Job::BothEnds];
    let quick = [
        Test::each(all, "killed_near_end_is_found_again", near_killed),
        Test::each(all, "killed_middle_end_is_found_again", mid_killed),
        Test::each(gateways, "connection_from_before_a_restart_is_reset", old_connection),
        Test::each(slipwire, "peer_that_starts_late_is_found", late_peer),
        Test::each(slipwire, "initiator_with_keepalive_finds_a_late_peer", late_peer_of_mid),
    ];
    let slow = [
        Test::each(slipwire, "peer_away_for_minutes_is_found_again", away),
        Test::each(slipwire, "keepalive_finds_a_peer_away_for_minutes", away_from_mid),
    ];
    let slow = slow.into_iter().flatten().map(Test::slow);
    quick.into_iter().flatten().chain(slow).collect()
}

fn near_killed(lab: &Lab, job: Job) -> Result<()> {
    killed(lab, Plan::new(job), Side::Near, Duration::ZERO)
}

fn mid_killed(lab: &Lab, job: Job) -> Result<()> {
    killed(lab, Plan::new(job), Side::Mid, Duration::ZERO)
}

/// The gateway forgets its flows, their clients don't: they are told, and do not hang.
fn old_connection(lab: &Lab, job: Job) -> Result<()> {
    let mut tunnel = Tunnel::start(lab, Plan::new(job))?;
    comes_up(&tunnel, LIMIT)?;
    let _server = Service::start(&tunnel.row.far, PORT, |mut stream| {
        stream.write_all(b"hello")?;
        Ok(stream.read(&mut [0])?)
    })?;
    let mut client = connect(&tunnel, PORT)?;
    client.read_exact(&mut [0; 5]).context("reading the greeting")?;
    tunnel.end(Side::Mid).restart()?;
    client.write_all(b"are you still there?")?;
    tcp::expect_reset(&client)
}

/// Longer than the 90 seconds after which an implementation of WireGuard gives up.
const LONG: Duration = Duration::from_secs(130);

fn away(lab: &Lab, job: Job) -> Result<()> {
    killed(lab, Plan::new(job), Side::Mid, LONG)
}

fn away_from_mid(lab: &Lab, job: Job) -> Result<()> {
    killed(lab, mid_calls(job), Side::Near, LONG)
}

fn killed(lab: &Lab, plan: Plan, side: Side, away: Duration) -> Result<()> {
    let mut tunnel = Tunnel::start(lab, plan)?;
    comes_up(&tunnel, LIMIT)?;
    tunnel.end(side).kill();
    if !away.is_zero() {
        stays_shut(&tunnel)?;
        thread::sleep(away);
    }
    tunnel.end(side).restart()?;
    comes_up(&tunnel, LIMIT)
}

fn late_peer(lab: &Lab, job: Job) -> Result<()> {
    late(lab, Plan::new(job), [Side::Mid, Side::Near])
}

fn late_peer_of_mid(lab: &Lab, job: Job) -> Result<()> {
    late(lab, mid_calls(job), [Side::Near, Side::Mid])
}

fn mid_calls(job: Job) -> Plan {
    Plan { initiator: Side::Mid, keepalive: 2, ..Plan::new(job) }
}

/// Starts the initiator while the other end is down, and that one later.
fn late(lab: &Lab, plan: Plan, [late, initiator]: [Side; 2]) -> Result<()> {
    let mut tunnel = Tunnel::start(lab, plan)?;
    tunnel.end(late).kill();
    tunnel.end(initiator).restart()?;
    stays_shut(&tunnel)?;
    thread::sleep(Duration::from_secs(5));
    tunnel.end(late).restart()?;
    comes_up(&tunnel, LIMIT)
}
