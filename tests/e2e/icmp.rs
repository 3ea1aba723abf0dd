//! ICMP echo through the gateway, and to the gateway itself.

use std::{net::IpAddr, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use slipwire_lab::{
    lab::Lab,
    net::Host,
    row::Family,
    tunnel::{Job, Plan, Tunnel},
};

use crate::{
    common::{comes_up, tunnel},
    runner::Test,
};

const COUNT: u32 = 4;
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn tests() -> Vec<Test> {
    let jobs = &[Job::Baseline, Job::Gateway];
    [
        Test::each(jobs, "echo_reaches_the_far_host", far_host),
        Test::each(jobs, "echo_to_the_gateways_tunnel_address_is_answered", own_address),
        Test::each(jobs, "echoes_at_once_are_kept_apart", at_once),
        Test::each(&[Job::Gateway], "forbidden_ping_sockets_are_told_and_harm_nothing", forbidden),
    ]
    .into_iter()
    .flatten()
    .map(|test| test.with_tools(&["ping"]))
    .collect()
}

/// The payloads of echo requests: the usual one, one byte, and what fills a packet of 1420 bytes.
const fn sizes(family: Family) -> [usize; 3] {
    match family {
        Family::V4 => [56, 1, 1420 - 28],
        Family::V6 => [56, 1, 1420 - 48],
    }
}

fn ping(host: &Host, target: IpAddr, size: usize) -> Result<()> {
    let mut command = Command::new("ping");
    command.args(["-n", "-i", "0.2", "-W", "2", "-c", &COUNT.to_string()]);
    let text = host.output(LIMIT, command.args(["-s", &size.to_string(), &target.to_string()]))?;
    // A handshake may come before the first reply; a duplicate or a lost one shows here.
    let summary = text.lines().find(|line| line.contains("packets transmitted"));
    let summary = summary.context("no summary")?;
    ensure!(summary.contains(&format!(" {COUNT} received,")), "{target}, {size} bytes: {summary}");
    Ok(())
}

fn far_host(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    for family in Family::BOTH {
        for size in sizes(family) {
            ping(&tunnel.row.near, family.far(), size)?;
        }
    }
    Ok(())
}

fn own_address(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    for family in Family::BOTH {
        for size in sizes(family) {
            ping(&tunnel.row.near, family.mid_inner(), size)?;
        }
    }
    Ok(())
}

fn at_once(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let near = &tunnel.row.near;
    thread::scope(|scope| {
        let one = |size| scope.spawn(move || ping(near, Family::V4.far(), size));
        let pings: Vec<_> = (100..108).map(one).collect();
        pings.into_iter().try_for_each(|ping| ping.join().map_err(|_| anyhow!("panicked"))?)
    })
}

fn forbidden(lab: &Lab, job: Job) -> Result<()> {
    let mut tunnel = Tunnel::start(lab, Plan { ping_sockets: false, ..Plan::new(job) })?;
    for _ in 0..3 {
        let error = ping(&tunnel.row.near, Family::V4.far(), 56).err();
        let error = format!("{:#}", error.context("an echo came back")?);
        ensure!(error.contains("Packet filtered"), "the peer is not told: {error}");
    }
    comes_up(&tunnel, LIMIT)?;
    let slipwire = tunnel.slipwires().next().context("no slipwire")?;
    let log = slipwire.whole_log(LIMIT)?;
    let told = log.count_lines(|line| line.to_lowercase().contains("icmp"));
    // The line about what is off, and one of its own.
    ensure!((1..=2).contains(&told), "told {told} times:\n{}", log.text());
    Ok(())
}
