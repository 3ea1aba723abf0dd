//! The scenarios of netns.sh, WireGuard's own test of its kernel module, for an end in user space.
//!
//! | there | here |
//! |---|---|
//! | pings and streams, IPv4 and IPv6 inside and outside | `each_family_passes_over_each_family` |
//! | large packets | `the_largest_datagrams_come_back`, and in [`udp`](crate::udp) |
//! | NAT with short-lived mappings, with and without keepalive | the two tests of masquerading |
//! | sources that a peer may not use, and those of another peer | `a_peer_with_anothers_address_gets_nothing` in [`peers`](crate::peers) |
//! | more specific and overlapping allowed IPs | `more_specific_allowed_ips_belong_to_the_other_peer` in [`peers`](crate::peers); the same prefix twice is an error of the configuration |
//! | a new private key | `a_peer_that_takes_anothers_key_takes_its_place` in [`peers`](crate::peers), `unknown_key_lets_nothing_through` in [`handshake`](crate::handshake) |
//! | a new port, a new address | [`roaming`](crate::roaming) |
//! | preshared keys | [`handshake`](crate::handshake) |
//! | low-order public keys | refused in the configuration: `low_order_points_are_refused` in core's `key.rs` |
//! | a peer that is not there, and comes | [`recovery`](crate::recovery) |
//! | routing by policy, marks, devices that move between namespaces | no device and no routes here |

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use slipwire_lab::{
    lab::Lab,
    netfilter::{Chain, Hook, TOOL},
    payload::{Payload, Random},
    row::Family,
    tcp::{self, STALL_LIMIT, Service},
    tunnel::{Job, Plan, Tunnel, WIREGUARD_PORT},
    udp::{self, Echo},
};

use crate::{
    common::{PORT, comes_up, connect, duplex, tunnel},
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn tests() -> Vec<Test> {
    let jobs = Job::WITH_BASELINE;
    let nat = &[TOOL];
    let families = Test::each(jobs, "each_family_passes_over_each_family", families);
    let largest = &[Job::Baseline, Job::Gateway];
    let largest = Test::each(largest, "the_largest_datagrams_come_back", largest_datagrams);
    let held = Test::each(jobs, "keepalive_holds_the_way_through_a_masquerade", held_open);
    let shut = Test::each(jobs, "without_keepalive_the_next_word_opens_the_masquerade", shut);
    let masquerades = held.into_iter().chain(shut).map(|test| test.with_tools(nat));
    let pings = families.into_iter().map(|test| test.with_tools(&["ping"]));
    pings.chain(largest).chain(masquerades).collect()
}

fn families(lab: &Lab, job: Job) -> Result<()> {
    for outside in Family::BOTH {
        let tunnel = Tunnel::start(lab, Plan { outside, ..Plan::new(job) })?;
        for inside in Family::BOTH {
            let what = || format!("{inside:?} over {outside:?}");
            duplex(&tunnel, inside, Payload::mib(4, 80), None).with_context(what)?;
            if !job.forwards() {
                let mut ping = Command::new("ping");
                ping.args(["-n", "-c", "3", "-i", "0.2", "-W", "2", &inside.far().to_string()]);
                tunnel.row.near.output(LIMIT, &mut ping).with_context(what)?;
            }
        }
    }
    Ok(())
}

fn largest_datagrams(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    let mut random = Random::new(81);
    for (family, largest) in [(Family::V4, 65_507), (Family::V6, 65_527)] {
        let socket = udp::connect(&tunnel.row.near, tunnel.target(family, PORT))?;
        for size in [20_000, 65_000, largest] {
            udp::ask(&socket, &random.bytes(size)).with_context(|| format!("{family:?}"))?;
        }
    }
    Ok(())
}

/// How long a masquerade remembers a way without traffic.
const MEMORY_SECONDS: &str = "2";
/// Longer than that.
const FORGOTTEN: Duration = Duration::from_secs(3);
/// Longer than that, and shorter than WireGuard's own keepalive after data, which takes 10 seconds.
const SILENCE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(3);

/// A tunnel whose near end is behind a masquerade, and a server that speaks after a long silence.
fn masqueraded(lab: &Lab, job: Job, keepalive: u16) -> Result<(Chain, Service<()>, Tunnel)> {
    let tunnel = Tunnel::start(lab, Plan { keepalive, ..Plan::new(job) })?;
    let near = &tunnel.row.near;
    let rule =
        format!("udp dport {WIREGUARD_PORT} counter masquerade to :40000-50000 fully-random");
    let chain = Chain::start(near, Hook::Source, &[&rule])?;
    for key in ["nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"] {
        near.sysctl(&format!("netfilter/{key}"), MEMORY_SECONDS)?;
    }
    if let Some(end) = tunnel.wireguard_go().filter(|_| !job.forwards()) {
        // The kernel looks for routers of IPv6 even on such an interface, and opens the way by
        // that.
        near.sysctl(&format!("ipv6/conf/{}/disable_ipv6", end.interface()), "1")?;
        // What it has said so far may have been answered since the rule is there: to the masquerade
        // that is a way that the other end has begun, until it is forgotten.
        thread::sleep(FORGOTTEN);
    }
    comes_up(&tunnel, LIMIT)?;
    chain.was_met()?;
    let server = Service::start(&tunnel.row.far, PORT, |mut stream| {
        stream.read_exact(&mut [0])?;
        thread::sleep(SILENCE);
        stream.write_all(b"still there?")?;
        stream.read_exact(&mut [0; 3]).context("no answer of the client")
    })?;
    Ok((chain, server, tunnel))
}

/// Connects, and hears the server's question or not.
fn question(tunnel: &Tunnel) -> Result<(TcpStream, Option<ErrorKind>)> {
    let mut stream = connect(tunnel, PORT)?;
    stream.write_all(b"x")?;
    stream.set_read_timeout(Some(SILENCE + PATIENCE))?;
    let error = stream.read_exact(&mut [0; 12]).err().map(|error| error.kind());
    stream.set_read_timeout(Some(STALL_LIMIT))?;
    Ok((stream, error))
}

fn held_open(lab: &Lab, job: Job) -> Result<()> {
    let (_chain, server, tunnel) = masqueraded(lab, job, 1)?;
    let (mut stream, error) = question(&tunnel)?;
    ensure!(error.is_none(), "the question did not come: {error:?}");
    stream.write_all(b"yes")?;
    server.result()
}

fn shut(lab: &Lab, job: Job) -> Result<()> {
    let (_chain, server, tunnel) = masqueraded(lab, job, 0)?;
    let (mut stream, error) = question(&tunnel)?;
    ensure!(error == Some(ErrorKind::WouldBlock), "the masquerade let it through: {error:?}");
    stream.write_all(b"yes")?;
    tcp::expect_rest(&stream, b"still there?")?;
    server.result()
}
