//! The path behind the gateway shows as it is: its hops to traceroute, and its MTU to whoever sends
//! more than fits.
//!
//! ```text
//!   near ==== mid ---- far ---- beyond
//!     the tunnel         a router now
//! ```

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    net::Host,
    row::Family,
    tunnel::{Job, Tunnel},
    udp::{self, Echo},
};

use crate::{
    common::{PORT, tunnel},
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(30);
/// The MTU of the narrow link, where the tunnel has 1420.
const NARROW: usize = 1300;

pub(crate) fn tests() -> Vec<Test> {
    let jobs = &[Job::Baseline, Job::Gateway];
    let tests = [
        (&["traceroute"][..], Test::each(jobs, "traceroute_shows_every_hop", traceroute)),
        (&["tracepath"], Test::each(jobs, "tracepath_finds_hops_and_mtu", tracepath)),
        (&["ping"], Test::each(jobs, "ping_hears_of_a_narrow_link_further_on", narrow_further_on)),
        (&["ping"], Test::each(jobs, "ping_hears_of_a_narrow_link_at_the_gateway", narrow_at_once)),
        (&["ping"], Test::each(jobs, "ping_hears_that_a_host_is_unreachable", unreachable)),
        (&[], Test::each(jobs, "datagrams_that_may_be_cut_pass_a_narrow_link", cut)),
    ];
    let with_tools = |(tools, tests): (_, Vec<Test>)| {
        tests.into_iter().map(move |test| test.with_tools(tools)).collect::<Vec<_>>()
    };
    tests.into_iter().flat_map(with_tools).collect()
}

/// A tunnel with one more host behind the far one.
struct LongPath {
    tunnel: Tunnel,
    beyond: Host,
}

impl LongPath {
    fn new(lab: &Lab, job: Job) -> Result<Self> {
        let tunnel = tunnel(lab, job)?;
        let beyond = tunnel.row.add_beyond(lab)?;
        Ok(Self { tunnel, beyond })
    }

    fn near(&self) -> &Host {
        &self.tunnel.row.near
    }

    /// Makes the link between the two last hosts narrow.
    fn narrow_further_on(&self) -> Result<()> {
        self.tunnel.row.far.ip(&format!("link set beyond mtu {NARROW}"))?;
        self.beyond.ip(&format!("link set in mtu {NARROW}"))
    }

    /// Makes the link behind the gateway narrow.
    fn narrow_at_once(&self) -> Result<()> {
        self.tunnel.row.mid.ip(&format!("link set in mtu {NARROW}"))?;
        self.tunnel.row.far.ip(&format!("link set in mtu {NARROW}"))
    }
}

/// What a program says, whether it succeeds or not.
fn words(host: &Host, command: &mut Command) -> String {
    host.output(LIMIT, command).unwrap_or_else(|error| format!("{error:#}"))
}

fn traceroute(lab: &Lab, job: Job) -> Result<()> {
    let path = LongPath::new(lab, job)?;
    for family in Family::BOTH {
        let hops = [family.mid_inner(), family.far(), family.beyond()];
        for mode in ["--icmp", "--udp"] {
            let target = family.beyond().to_string();
            // One probe at a time: hosts limit how many errors they send.
            let arguments = ["-n", "-q", "1", "-N", "1", "-w", "2", "-m", "5", mode, &target];
            eventually("traceroute", LIMIT, || {
                let text = path.near().output(LIMIT, Command::new("traceroute").args(arguments))?;
                ensure!(hops_of(&text) == hops.map(Some), "{mode} {family:?}:\n{text}");
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// The hops in the table that traceroute prints below its headline; none for a silent one.
fn hops_of(text: &str) -> Vec<Option<IpAddr>> {
    let hop = |line: &str| line.split_whitespace().nth(1)?.parse().ok();
    text.lines().skip(1).map(hop).collect()
}

fn tracepath(lab: &Lab, job: Job) -> Result<()> {
    let path = LongPath::new(lab, job)?;
    path.narrow_further_on()?;
    for family in Family::BOTH {
        let target = family.beyond().to_string();
        eventually("tracepath", LIMIT, || {
            let mut tracepath = Command::new("tracepath");
            let text = path.near().output(LIMIT, tracepath.args(["-n", "-m", "5", &target]))?;
            let wanted =
                [format!("{} ", family.far()), format!("pmtu {NARROW}"), "reached".to_owned()];
            ensure!(wanted.iter().all(|word| text.contains(word)), "{family:?}:\n{text}");
            Ok(())
        })?;
    }
    Ok(())
}

fn narrow_further_on(lab: &Lab, job: Job) -> Result<()> {
    let path = LongPath::new(lab, job)?;
    path.narrow_further_on()?;
    Family::BOTH.into_iter().try_for_each(|family| learns(&path, family))
}

fn narrow_at_once(lab: &Lab, job: Job) -> Result<()> {
    let path = LongPath::new(lab, job)?;
    path.narrow_at_once()?;
    Family::BOTH.into_iter().try_for_each(|family| learns(&path, family))
}

/// Sends echo requests of 1400 bytes that may not be cut, and wants to hear what would fit; and
/// what fits comes back.
fn learns(path: &LongPath, family: Family) -> Result<()> {
    let headers = match family {
        Family::V4 => 28,
        Family::V6 => 48,
    };
    let ping = |size: usize| {
        let mut command = Command::new("ping");
        command.args(["-n", "-i", "0.2", "-W", "2", "-c", "3", "-M", "do"]);
        command.args(["-s", &(size - headers).to_string(), &family.beyond().to_string()]);
        command
    };
    eventually("error", LIMIT, || {
        let text = words(path.near(), &mut ping(1400));
        // From the network the first time, from the peer's own system once it knows.
        let told = ["mtu = ", "mtu=", "mtu: "].map(|word| format!("{word}{NARROW}"));
        ensure!(told.iter().any(|word| text.contains(word)), "{family:?}:\n{text}");
        Ok(())
    })?;
    path.near().output(LIMIT, &mut ping(NARROW)).map(drop)
}

fn unreachable(lab: &Lab, job: Job) -> Result<()> {
    const OWN_WORDS: &str = "From 10.77.0.1 icmp_seq=1 Destination Host Unreachable";
    let path = LongPath::new(lab, job)?;
    path.tunnel.row.far.ip("route add prohibit 10.4.0.9/32\nroute add prohibit fd04::9/128")?;
    for (target, answer) in [
        // The gateway's own routes, of which it speaks for itself, and those of a router behind it.
        (Family::V4.unreachable().to_string(), OWN_WORDS),
        ("10.4.0.9".to_owned(), "Packet filtered"),
        ("fd04::9".to_owned(), "Administratively prohibited"),
    ] {
        eventually("error", LIMIT, || {
            let mut ping = Command::new("ping");
            let text = words(path.near(), ping.args(["-n", "-c", "1", "-W", "2", &target]));
            ensure!(text.contains(answer), "{target}:\n{text}");
            Ok(())
        })?;
    }
    Ok(())
}

fn cut(lab: &Lab, job: Job) -> Result<()> {
    let path = LongPath::new(lab, job)?;
    path.narrow_further_on()?;
    let _echo = Echo::start(&path.beyond, PORT)?;
    for family in Family::BOTH {
        let target = SocketAddr::new(family.beyond(), PORT);
        let socket = udp::connect(path.near(), target)?;
        let request = vec![7; 4000];
        eventually("reply", LIMIT, || {
            // What does not fit may be said as an error of any call, until it is known.
            socket.send(&request)?;
            let reply = udp::receive(&socket)?.context("no reply")?;
            ensure!(reply == request, "a wrong reply");
            Ok(())
        })?;
    }
    Ok(())
}
