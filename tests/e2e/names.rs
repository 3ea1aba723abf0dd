//! Endpoints by name: resolved at the start, when the name begins to exist, and again when the
//! address behind it has changed. And those on a link by the link's name.

use std::{fs, path::PathBuf, thread, time::Duration};

use anyhow::Result;
use slipwire_lab::{
    lab::Lab,
    net::add_addresses,
    tunnel::{Job, Plan, Side, Tunnel, WIREGUARD_PORT},
};

use crate::{
    common::{PROBE_PORT, comes_up, stays_shut},
    runner::Test,
};

const NAME: &str = "peer.slipwire.test";
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn tests() -> Vec<Test> {
    let forward = &[Job::Forward];
    let known = Test::each(forward, "endpoint_by_name_is_resolved", known);
    let late = Test::each(forward, "name_that_resolves_later_brings_the_tunnel_up", late);
    let moved = Test::each(forward, "name_is_resolved_again_when_the_peer_has_moved", moved);
    let moved = moved.into_iter().map(Test::slow);
    let all = &[Job::Gateway, Job::Forward, Job::BothEnds];
    let local = Test::each(all, "tunnel_over_link_local_addresses_comes_up", link_local);
    let target =
        Test::each(&[Job::Gateway], "redirect_leads_to_a_link_local_host", link_local_target);
    known.into_iter().chain(late).chain(moved).chain(local).chain(target).collect()
}

/// The file that slipwire sees as `/etc/hosts`; it is rewritten in place, as it is mounted there.
struct Names(PathBuf);

impl Names {
    fn new(lab: &Lab) -> Result<Self> {
        let names = Self(lab.directory("names")?.join("hosts"));
        names.set("127.0.0.1 localhost")?;
        Ok(names)
    }

    fn set(&self, line: &str) -> Result<()> {
        Ok(fs::write(&self.0, format!("{line}\n"))?)
    }

    fn start(&self, lab: &Lab, job: Job) -> Result<Tunnel> {
        let plan = Plan {
            endpoint: Some(format!("{NAME}:{WIREGUARD_PORT}")),
            hosts_file: Some(self.0.clone()),
            keepalive: 5,
            ..Plan::new(job)
        };
        Tunnel::start(lab, plan)
    }
}

fn known(lab: &Lab, job: Job) -> Result<()> {
    let names = Names::new(lab)?;
    for address in ["10.1.0.1", "fd01::1"] {
        names.set(&format!("{address} {NAME}"))?;
        comes_up(&names.start(lab, job)?, LIMIT)?;
    }
    Ok(())
}

fn late(lab: &Lab, job: Job) -> Result<()> {
    let names = Names::new(lab)?;
    let tunnel = names.start(lab, job)?;
    stays_shut(&tunnel)?;
    names.set(&format!("10.1.0.1 {NAME}"))?;
    comes_up(&tunnel, LIMIT)
}

fn moved(lab: &Lab, job: Job) -> Result<()> {
    let names = Names::new(lab)?;
    names.set(&format!("10.1.0.1 {NAME}"))?;
    let mut tunnel = names.start(lab, job)?;
    comes_up(&tunnel, LIMIT)?;
    // The peer restarts at another address, knows nobody's endpoint, and its old one is dead.
    tunnel.end(Side::Mid).kill();
    tunnel.row.mid.ip("address del 10.1.0.1/24 dev out\naddress add 10.1.0.9/24 dev out")?;
    tunnel.end(Side::Mid).restart()?;
    names.set(&format!("10.1.0.9 {NAME}"))?;
    thread::sleep(Duration::from_secs(1));
    comes_up(&tunnel, Duration::from_secs(200))
}

/// At first the link is there and the peer's address is not.
fn link_local(lab: &Lab, job: Job) -> Result<()> {
    let endpoint = Some(format!("[fe80::1%out]:{WIREGUARD_PORT}"));
    let tunnel = Tunnel::start(lab, Plan { endpoint, keepalive: 5, ..Plan::new(job) })?;
    add_addresses(&tunnel.row.mid, "out", ["fe80::1/64"])?;
    comes_up(&tunnel, LIMIT)
}

fn link_local_target(lab: &Lab, job: Job) -> Result<()> {
    let tables = format!(
        "[[rule]]\nport = [{PROBE_PORT}]\naction = \"redirect\"\ntarget = \"[fe80::99%in]:{PROBE_PORT}\"\n"
    );
    let tunnel = Tunnel::start(lab, Plan { tables, ..Plan::new(job) })?;
    add_addresses(&tunnel.row.far, "in", ["fe80::99/64"])?;
    // What was asked for is where nobody answers, so that all of it comes from there.
    tunnel.row.far.ip("address del 10.2.0.2/24 dev in")?;
    comes_up(&tunnel, LIMIT)
}
