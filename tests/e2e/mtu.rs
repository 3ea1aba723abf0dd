//! Paths that carry less than the tunnel's MTU, below the tunnel and behind the peer: everything
//! arrives, and who can mend it hears how.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use slipwire_lab::{
    lab::Lab,
    net::link,
    payload::Payload,
    row::{Family, Row},
    tcp,
    tunnel::{Job, Plan, Side, Tunnel},
    udp::{self, Echo},
};

use crate::{
    common::{PORT, connect, duplex, receive_from_source, source, tunnel},
    runner::Test,
};

const PAYLOAD: Payload = Payload { bytes: 3_000_000, seed: 90 };
/// How long strace may take to get hold of a process, and slipwire to end.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn tests() -> Vec<Test> {
    let below = Test::each(Job::ALL, "a_narrow_path_is_named_with_the_mtu_to_set", narrow_below);
    let tiny = Test::each(Job::ALL, "a_path_too_narrow_for_ipv6_carries_it", too_narrow_for_ipv6);
    let refused =
        Test::new("gateway::datagrams_refused_for_their_size_cost_no_bytes", refused_sizes);
    let behind =
        Test::new("gateway::a_narrow_link_behind_the_peer_holds_up_nothing", narrow_behind);
    [below, tiny, vec![refused.with_tools(&["strace"]), behind]].into_iter().flatten().collect()
}

/// Makes the link below the tunnel narrower, and lets both ends find it so at their start.
fn narrow(tunnel: &mut Tunnel, mtu: u16) -> Result<()> {
    let Row { near, mid, .. } = &tunnel.row;
    for host in [near, mid] {
        host.ip(&format!("link set out mtu {mtu}"))?;
    }
    tunnel.end(Side::Mid).restart()?;
    tunnel.end(Side::Near).restart()
}

/// Bytes both ways, and datagrams of every size, over both IP versions.
fn carries_everything(tunnel: &Tunnel) -> Result<()> {
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    for family in Family::BOTH {
        duplex(tunnel, family, PAYLOAD, None).with_context(|| format!("TCP, {family:?}"))?;
        let socket = udp::connect(&tunnel.row.near, tunnel.target(family, PORT))?;
        for len in [1, 1200, 1300, 1372, 1392, 9000] {
            udp::ask(&socket, &vec![7; len]).with_context(|| format!("UDP, {family:?}"))?;
        }
    }
    Ok(())
}

/// Every slipwire has said once that this MTU is to be set; that ends them.
fn is_warned_of(tunnel: &mut Tunnel, mtu: u16) -> Result<()> {
    let advice = format!("Set an MTU of {mtu} at both ends");
    for slipwire in tunnel.slipwires() {
        let log = slipwire.whole_log(LIMIT)?;
        let count = log.count_lines(|line| line.contains(&advice));
        ensure!(count == 1, "{advice:?} was said {count} times:\n{}", log.text());
    }
    Ok(())
}

fn narrow_below(lab: &Lab, job: Job) -> Result<()> {
    for (outside, mtu) in [(Family::V4, 1320), (Family::V6, 1300)] {
        let mut tunnel = Tunnel::start(lab, Plan { outside, ..Plan::new(job) })?;
        narrow(&mut tunnel, 1380)?;
        carries_everything(&tunnel).with_context(|| format!("{outside:?} outside"))?;
        is_warned_of(&mut tunnel, mtu)?;
    }
    Ok(())
}

fn too_narrow_for_ipv6(lab: &Lab, job: Job) -> Result<()> {
    let mut tunnel = tunnel(lab, job)?;
    narrow(&mut tunnel, 1280)?;
    carries_everything(&tunnel)?;
    is_warned_of(&mut tunnel, 1220)
}

fn refused_sizes(lab: &Lab) -> Result<()> {
    let mut tunnel = tunnel(lab, Job::Gateway)?;
    let service = source(&tunnel.row.far, PORT, Payload::mib(16, 91))?;
    let stream = connect(&tunnel, PORT)?;
    // The tunnel is up: whatever fails from now on belongs to a transfer that is under way.
    let process = tunnel.mid_end.process().id().to_string();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-p", &process, "-e", "trace=sendmsg", "-o", "/dev/null"]);
    strace.args(["-e", "inject=sendmsg:error=EMSGSIZE:when=30..60"]);
    let mut strace = tunnel.row.mid.spawn("strace", &mut strace)?;
    strace.wait_for_word("attached", LIMIT)?;
    let received = receive_from_source(&stream)?;
    ensure!(service.result()? == received, "other bytes arrived than were sent");
    let slipwire = tunnel.slipwires().next().context("no slipwire")?;
    let log = slipwire.whole_log(LIMIT)?;
    let is_told = |line: &str| line.contains("Message too long");
    ensure!(log.count_lines(is_told) == 1, "no datagram was refused:\n{}", log.text());
    Ok(())
}

/// A client behind the near host, whose link to it is narrower than the client knows.
fn narrow_behind(lab: &Lab) -> Result<()> {
    let tunnel = tunnel(lab, Job::Gateway)?;
    let (near, client) = (&tunnel.row.near, lab.host("client")?);
    near.forward_packets()?;
    link((near, "behind", &["10.77.0.30/28"]), (&client, "out", &["10.77.0.17/28"]))?;
    near.ip("link set behind mtu 1300")?;
    client.ip("route add default via 10.77.0.30")?;
    let target = tunnel.target(Family::V4, PORT);

    let service = source(&tunnel.row.far, PORT, PAYLOAD)?;
    let received = receive_from_source(&tcp::connect(&client, target)?)?;
    ensure!(service.result()? == received, "other bytes arrived than were sent");

    // Now the client knows and cuts what it sends. The first reply that is too large is lost, as on
    // any path.
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    let request = vec![7; 1372];
    client.sysctl("ipv4/ip_no_pmtu_disc", "1")?;
    client.ip("link set out mtu 1300")?;
    udp::ask(&udp::connect(&client, target)?, &request).context("UDP")
}
