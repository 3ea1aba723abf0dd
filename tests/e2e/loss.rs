//! Packets that netfilter drops at random, on the path of the tunnel and behind it: every byte
//! still arrives.

use std::time::Duration;

use anyhow::{Result, ensure};
use slipwire_lab::{
    lab::Lab,
    netfilter::{Chain, Hook, TOOL},
    payload::Payload,
    row::Family,
    tunnel::{Job, Tunnel, WIREGUARD_PORT},
    udp::{self, Echo},
};

use crate::{
    common::{PORT, comes_up, duplex, tunnel},
    runner::Test,
};

/// Five packets of a hundred.
const LOSE: &str = "numgen random mod 100 < 5 counter drop";
const LIMIT: Duration = Duration::from_secs(30);
const MIB_EACH_WAY: u64 = 2;

pub(crate) fn tests() -> Vec<Test> {
    [
        Test::each(Job::WITH_BASELINE, "loss_on_the_path_of_the_tunnel_costs_no_byte", on_the_path),
        Test::each(Job::WITH_BASELINE, "loss_behind_the_tunnel_costs_no_byte", behind),
    ]
    .into_iter()
    .flatten()
    .map(|test| test.with_tools(&[TOOL]))
    .collect()
}

fn on_the_path(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    comes_up(&tunnel, LIMIT)?;
    let mid = &tunnel.row.mid;
    let towards = Chain::start(mid, Hook::Input, &[&format!("udp dport {WIREGUARD_PORT} {LOSE}")])?;
    let back = Chain::start(mid, Hook::Output, &[&format!("udp sport {WIREGUARD_PORT} {LOSE}")])?;
    passes(&tunnel)?;
    towards.was_met()?;
    back.was_met()
}

fn behind(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    comes_up(&tunnel, LIMIT)?;
    let far = &tunnel.row.far;
    let towards = Chain::start(far, Hook::Input, &[&format!("meta l4proto tcp {LOSE}")])?;
    let back = Chain::start(far, Hook::Output, &[&format!("meta l4proto tcp {LOSE}")])?;
    passes(&tunnel)?;
    towards.was_met()?;
    back.was_met()
}

fn passes(tunnel: &Tunnel) -> Result<()> {
    for inside in Family::BOTH {
        duplex(tunnel, inside, Payload::mib(MIB_EACH_WAY, 90), None)?;
    }
    let echo = Echo::start(&tunnel.row.far, PORT)?;
    let socket = udp::connect(&tunnel.row.near, tunnel.target(Family::V4, PORT))?;
    for number in 0..20_u8 {
        udp::ask(&socket, &[number; 100])?;
    }
    ensure!(echo.received() >= 20, "a reply without a request");
    Ok(())
}
