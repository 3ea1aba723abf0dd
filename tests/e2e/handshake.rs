//! How tunnels come to be: either end may begin, with and without preshared keys, over IPv4 and
//! IPv6, and keepalives keep them.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use slipwire_lab::{
    deadline::eventually,
    lab::{Lab, write_secret},
    peer::Keys,
    row::Family,
    tunnel::{Job, Plan, PresharedKey, Side, Tunnel},
    udp::Echo,
};

use crate::{
    common::{PROBE_PORT, comes_up, stays_shut, stays_silent},
    runner::Test,
};

/// A handshake is repeated every 5 seconds; this leaves room for a few.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn tests() -> Vec<Test> {
    let all = Job::WITH_BASELINE;
    let mixed = &[Job::Gateway, Job::Forward];
    [
        Test::each(all, "near_end_initiates", near_initiates),
        Test::each(all, "middle_end_initiates", mid_initiates),
        Test::each(all, "tunnel_over_ipv6_comes_up", over_ipv6),
        Test::each(all, "shared_preshared_key_lets_traffic_through", shared_key),
        Test::each(all, "different_preshared_keys_let_nothing_through", different_keys),
        Test::each(mixed, "unknown_key_lets_nothing_through", unknown_key),
        Test::each(mixed, "keepalive_of_slipwire_holds_the_tunnel_without_traffic", keepalive),
        Test::each(mixed, "tunnel_that_was_idle_still_works", idle),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn near_initiates(lab: &Lab, job: Job) -> Result<()> {
    comes_up(&Tunnel::start(lab, Plan::new(job))?, LIMIT)
}

fn mid_initiates(lab: &Lab, job: Job) -> Result<()> {
    let plan = Plan { initiator: Side::Mid, keepalive: 1, ..Plan::new(job) };
    comes_up(&Tunnel::start(lab, plan)?, LIMIT)
}

fn over_ipv6(lab: &Lab, job: Job) -> Result<()> {
    for initiator in [Side::Near, Side::Mid] {
        let plan = Plan { outside: Family::V6, initiator, keepalive: 1, ..Plan::new(job) };
        comes_up(&Tunnel::start(lab, plan)?, LIMIT)?;
    }
    Ok(())
}

fn shared_key(lab: &Lab, job: Job) -> Result<()> {
    for initiator in [Side::Near, Side::Mid] {
        let preshared_key = PresharedKey::Shared;
        let plan = Plan { initiator, keepalive: 1, preshared_key, ..Plan::new(job) };
        comes_up(&Tunnel::start(lab, plan)?, LIMIT)?;
    }
    Ok(())
}

fn different_keys(lab: &Lab, job: Job) -> Result<()> {
    let preshared_key = PresharedKey::Different;
    let mut tunnel = Tunnel::start(lab, Plan { keepalive: 1, preshared_key, ..Plan::new(job) })?;
    stays_shut(&tunnel)?;
    if let Some(end) = tunnel.wireguard_go() {
        ensure!(end.latest_handshake()? == 0, "a handshake in spite of different keys");
    }
    ensure!(tunnel.slipwires().all(|end| end.is_running()), "slipwire has ended");
    Ok(())
}

/// wireguard-go becomes somebody else and asks for a new session.
fn unknown_key(lab: &Lab, job: Job) -> Result<()> {
    let initiator = if job.forwards() { Side::Mid } else { Side::Near };
    let mut tunnel = Tunnel::start(lab, Plan { initiator, keepalive: 1, ..Plan::new(job) })?;
    comes_up(&tunnel, LIMIT)?;
    let stranger = lab.directory("stranger")?.join("key");
    write_secret(&stranger, &Keys::generate()?.private)?;
    let end = tunnel.wireguard_go().context("no other implementation here")?;
    end.set(&["private-key", &stranger.display().to_string()])?;
    // It sends nothing in its old session any more, but goes on to take what comes there.
    let _echo = Echo::start(&tunnel.row.far, PROBE_PORT)?;
    stays_silent(&tunnel)?;
    ensure!(tunnel.slipwires().all(|end| end.is_running()), "slipwire has ended");
    Ok(())
}

fn keepalive(lab: &Lab, job: Job) -> Result<()> {
    let initiator = if job.forwards() { Side::Near } else { Side::Mid };
    let tunnel = Tunnel::start(lab, Plan { initiator, keepalive: 1, ..Plan::new(job) })?;
    let end = tunnel.wireguard_go().context("no other implementation here")?;
    eventually("handshake without traffic", LIMIT, || {
        ensure!(end.latest_handshake()? > 0, "none yet");
        Ok(())
    })?;
    let [received, sent] = end.transfer()?;
    thread::sleep(Duration::from_secs(8));
    let [received_later, sent_later] = end.transfer()?;
    // A keepalive is 32 bytes; all 8 may not have come, but more than one must.
    ensure!(received_later >= received + 4 * 32, "{received} then {received_later} bytes");
    ensure!(sent_later <= sent + 2 * 148, "wireguard-go had to say {sent} then {sent_later} bytes");
    Ok(())
}

fn idle(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = Tunnel::start(lab, Plan::new(job))?;
    comes_up(&tunnel, LIMIT)?;
    // Longer than WireGuard waits for an answer before it tries a new handshake.
    thread::sleep(Duration::from_secs(45));
    comes_up(&tunnel, LIMIT)
}
