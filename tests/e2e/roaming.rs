//! A peer's port or address changes in mid-transfer, and the transfer goes on.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use slipwire_lab::{
    lab::Lab,
    payload::{MIB, Payload},
    row::Family,
    tunnel::{Job, Tunnel},
};

use crate::{
    common::{duplex, tunnel},
    runner::Test,
};

const RATE: u64 = 4 * MIB;
const MIB_EACH_WAY: u64 = 24;
const CHANGE_AFTER: Duration = Duration::from_secs(2);

pub(crate) fn tests() -> Vec<Test> {
    let with_wireguard_go = &[Job::Baseline, Job::Gateway, Job::Forward];
    let mut tests = Test::each(with_wireguard_go, "transfer_survives_a_new_port", new_port);
    tests.extend(Test::each(Job::WITH_BASELINE, "transfer_survives_a_new_address", new_address));
    tests
}

fn new_port(lab: &Lab, job: Job) -> Result<()> {
    transfer_during(&tunnel(lab, job)?, |tunnel| {
        let end = tunnel.wireguard_go().context("no other implementation here")?;
        end.set(&["listen-port", "51999"])
    })
}

fn new_address(lab: &Lab, job: Job) -> Result<()> {
    transfer_during(&tunnel(lab, job)?, |tunnel| {
        // Without this the old address would take the new one of the same network with it.
        tunnel.row.near.sysctl("ipv4/conf/out/promote_secondaries", "1")?;
        tunnel.row.near.ip("address add 10.1.0.3/24 dev out\naddress del 10.1.0.2/24 dev out")
    })
}

/// Makes a `change` while bytes flow both ways.
fn transfer_during(tunnel: &Tunnel, change: impl FnOnce(&Tunnel) -> Result<()>) -> Result<()> {
    thread::scope(|scope| {
        let payload = Payload::mib(MIB_EACH_WAY, 30);
        let transfer = scope.spawn(move || duplex(tunnel, Family::V4, payload, Some(RATE)));
        thread::sleep(CHANGE_AFTER);
        let too_early = transfer.is_finished();
        change(tunnel)?;
        transfer.join().map_err(|_| anyhow!("the transfer panicked"))??;
        ensure!(!too_early, "the transfer ended before the change");
        Ok(())
    })
}
