//! A transfer that outlasts the two minutes after which WireGuard changes its keys.

use anyhow::{Result, ensure};
use slipwire_lab::{
    lab::Lab,
    payload::{MIB, Payload},
    row::Family,
    tunnel::{Job, Plan, Side, Tunnel},
};

use crate::{
    common::{comes_up, duplex},
    runner::{Test, soak_seconds},
};

/// How long each transfer takes, unless a longer soak is asked for.
const SECONDS: u64 = 145;
const RATE: u64 = MIB;

pub(crate) fn tests() -> Vec<Test> {
    let near = Test::each(Job::ALL, "transfer_runs_across_a_rekey", near_initiates);
    let mid = Test::each(Job::ALL, "transfer_runs_across_a_rekey_by_the_middle", mid_initiates);
    near.into_iter().chain(mid).map(Test::slow).collect()
}

fn near_initiates(lab: &Lab, job: Job) -> Result<()> {
    across_a_rekey(lab, Plan::new(job))
}

fn mid_initiates(lab: &Lab, job: Job) -> Result<()> {
    across_a_rekey(lab, Plan { initiator: Side::Mid, keepalive: 5, ..Plan::new(job) })
}

fn across_a_rekey(lab: &Lab, plan: Plan) -> Result<()> {
    let tunnel = Tunnel::start(lab, plan)?;
    comes_up(&tunnel, std::time::Duration::from_secs(20))?;
    let handshake = || tunnel.wireguard_go().map(|end| end.latest_handshake()).transpose();
    let before = handshake()?;
    let seconds = SECONDS.max(soak_seconds());
    duplex(&tunnel, Family::V4, Payload { bytes: seconds * RATE, seed: 60 }, Some(RATE))?;
    ensure!(before.is_none() || before != handshake()?, "there was no new handshake");
    Ok(())
}
