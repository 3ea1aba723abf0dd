//! What a peer is told when a host refuses it: the same as over a direct connection. netfilter on
//! the far host gives each answer that a network can give; the baseline shows that it is given.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    netfilter::{Chain, Hook, TOOL},
    payload::{MIB, Payload},
    row::Family,
    tcp::{self, Service},
    tunnel::{Job, Plan, Tunnel},
    udp,
};

use crate::{
    common::{PORT, PROMPT, comes_up, duplex, tunnel},
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn tests() -> Vec<Test> {
    let routed = &[Job::Baseline, Job::Gateway];
    let resets = "connections_that_netfilter_resets_are_reset";
    [
        Test::each(
            routed,
            "rfc5382_req_9_each_refusal_of_a_connect_is_passed_on",
            refused_connects,
        ),
        Test::each(
            routed,
            "rfc4787_req_12_each_refusal_of_a_datagram_is_passed_on",
            refused_datagrams,
        ),
        Test::each(
            routed,
            "rfc5382_req_10_errors_do_not_end_an_open_connection",
            errors_in_between,
        ),
        Test::each(Job::WITH_BASELINE, resets, reset_in_between),
        Test::each(&[Job::Gateway], "silence_is_passed_on_until_connect_timeout", silence),
    ]
    .into_iter()
    .flatten()
    .map(|test| test.with_tools(&[TOOL]))
    .collect()
}

/// How netfilter refuses, and what a client of the same host's network is told by its kernel.
type Refusal = (Family, &'static str, ErrorKind);

const CONNECTS: [Refusal; 12] = [
    (Family::V4, "tcp reset", ErrorKind::ConnectionRefused),
    (Family::V6, "tcp reset", ErrorKind::ConnectionRefused),
    (Family::V4, "icmp type port-unreachable", ErrorKind::ConnectionRefused),
    (Family::V4, "icmp type host-unreachable", ErrorKind::HostUnreachable),
    (Family::V4, "icmp type net-unreachable", ErrorKind::NetworkUnreachable),
    (Family::V4, "icmp type host-prohibited", ErrorKind::HostUnreachable),
    (Family::V4, "icmp type net-prohibited", ErrorKind::NetworkUnreachable),
    (Family::V4, "icmp type admin-prohibited", ErrorKind::HostUnreachable),
    (Family::V6, "icmpv6 type port-unreachable", ErrorKind::ConnectionRefused),
    (Family::V6, "icmpv6 type addr-unreachable", ErrorKind::HostUnreachable),
    (Family::V6, "icmpv6 type no-route", ErrorKind::NetworkUnreachable),
    (Family::V6, "icmpv6 type admin-prohibited", ErrorKind::PermissionDenied),
];

fn refused_connects(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    comes_up(&tunnel, LIMIT)?;
    for (family, how, expected) in CONNECTS {
        let rule = format!("meta l4proto tcp counter reject with {how}");
        let chain = Chain::start(&tunnel.row.far, Hook::Input, &[&rule])?;
        let start = Instant::now();
        let connected = tcp::try_connect(&tunnel.row.near, tunnel.target(family, PORT))?;
        let kind = connected.err().with_context(|| format!("{how}: connected"))?.kind();
        ensure!(kind == expected, "{how}: {kind:?} and not {expected:?}");
        ensure!(start.elapsed() < PROMPT, "{how}: told after {:?}", start.elapsed());
        chain.was_met()?;
    }
    Ok(())
}

/// Those of which a kernel tells a connected UDP socket.
const DATAGRAMS: [Refusal; 4] = [
    (Family::V4, "icmp type port-unreachable", ErrorKind::ConnectionRefused),
    (Family::V4, "icmp type admin-prohibited", ErrorKind::HostUnreachable),
    (Family::V6, "icmpv6 type port-unreachable", ErrorKind::ConnectionRefused),
    (Family::V6, "icmpv6 type admin-prohibited", ErrorKind::PermissionDenied),
];

fn refused_datagrams(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    comes_up(&tunnel, LIMIT)?;
    for (family, how, expected) in DATAGRAMS {
        let rule = format!("meta l4proto udp counter reject with {how}");
        let chain = Chain::start(&tunnel.row.far, Hook::Input, &[&rule])?;
        let socket = udp::connect(&tunnel.row.near, tunnel.target(family, PORT))?;
        let told = (0..6).find_map(|_| {
            // The error of an earlier datagram may show at either call.
            let reply = socket.send(b"?").and_then(|_| socket.recv(&mut [0; 16]));
            reply.err().map(|error| error.kind()).filter(|kind| *kind != ErrorKind::WouldBlock)
        });
        ensure!(told == Some(expected), "{how}: {told:?} and not {expected:?}");
        chain.was_met()?;
    }
    Ok(())
}

fn errors_in_between(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let payload = Payload { bytes: 6 * MIB, seed: 95 };
    thread::scope(|scope| {
        let transfer = scope.spawn(|| duplex(&tunnel, Family::V4, payload, Some(2 * MIB)));
        for how in ["host-unreachable", "net-unreachable", "port-unreachable", "admin-prohibited"] {
            thread::sleep(Duration::from_millis(300));
            let rule = format!("tcp flags & syn == 0 counter reject with icmp type {how}");
            let chain = Chain::start(&tunnel.row.far, Hook::Input, &[&rule])?;
            // What was rejected is sent again, later each time.
            eventually("rejected packet", LIMIT, || chain.was_met())?;
        }
        transfer.join().map_err(|_| anyhow!("the transfer panicked"))?
    })
}

fn reset_in_between(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    for family in Family::BOTH {
        let _server = Service::start(&tunnel.row.far, PORT, |mut stream| {
            stream.write_all(b"hello")?;
            Ok(stream.read(&mut [0])?)
        })?;
        let mut client = tcp::connect(&tunnel.row.near, tunnel.target(family, PORT))?;
        client.read_exact(&mut [0; 5])?;
        let rule = "meta l4proto tcp counter reject with tcp reset";
        let chain = Chain::start(&tunnel.row.far, Hook::Input, &[rule])?;
        match client.write_all(b"?") {
            Ok(()) => tcp::expect_reset(&client)?,
            // A late acknowledgement of the greeting was rejected before.
            Err(error) => ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}"),
        }
        chain.was_met()?;
    }
    Ok(())
}

/// The peer's own patience is shorter than what `connect_timeout` allows, or else it is told.
fn silence(lab: &Lab, job: Job) -> Result<()> {
    const TIMEOUT: Duration = Duration::from_secs(4);
    let plan =
        Plan { gateway: "default = \"relay\"\n[tcp]\nconnect_timeout = \"4s\"", ..Plan::new(job) };
    let tunnel = Tunnel::start(lab, plan)?;
    comes_up(&tunnel, LIMIT)?;
    let rule = "meta l4proto tcp counter drop";
    let chain = Chain::start(&tunnel.row.far, Hook::Input, &[rule])?;
    for family in Family::BOTH {
        let start = Instant::now();
        let connected = tcp::try_connect(&tunnel.row.near, tunnel.target(family, PORT))?;
        let kind = connected.err().context("connected to a host that is silent")?.kind();
        ensure!(kind == ErrorKind::HostUnreachable, "{kind:?} where nobody answered");
        ensure!(start.elapsed() >= TIMEOUT, "told after {:?} already", start.elapsed());
    }
    chain.was_met()
}
