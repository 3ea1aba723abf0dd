//! What the gateway keeps from its peers by default: its host's own services, the addresses that
//! are special to the host's network, and nothing else.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use slipwire_lab::{
    lab::Lab,
    net::{Host, add_addresses},
    payload::Payload,
    row::Family,
    tcp,
    tunnel::{Job, Plan, Tunnel, WIREGUARD_PORT},
    udp::{self, Echo},
    wireguard_go::WireguardGo,
};

use crate::{
    common::{PORT, connect, is_answered, send_to_sink, sink, tunnel},
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(20);
/// The cloud's metadata service, which answers on the link of the far host here.
const METADATA: &str = "169.254.169.254";

pub(crate) fn tests() -> Vec<Test> {
    let mut tests =
        Test::each(&[Job::Baseline], "a_router_does_not_refuse", own_services_of_a_router);
    tests.extend([
        Test::new("gateway::the_hosts_own_services_are_refused", own_services),
        Test::new("gateway::special_addresses_are_refused", special_addresses),
        Test::new("gateway::the_wireguard_port_is_no_target", wireguard_port),
        Test::new("gateway::a_refused_connect_is_an_icmp_error_if_so_configured", refused_by_icmp)
            .with_tools(&["nft"]),
        Test::new("gateway::a_refused_connect_is_silence_if_so_configured", refused_by_silence),
        Test::new("gateway::any_port_of_any_host_is_relayed", any_port),
    ]);
    tests
}

/// A tunnel into which the near host sends everything for [`PORT`], even what is its neighbours'
/// own.
pub(crate) fn gateway(lab: &Lab, job: Job) -> Result<Tunnel> {
    let tunnel = tunnel(lab, job)?;
    let end = tunnel.wireguard_go().context("no peer")?;
    send_everything_into_the_tunnel(&tunnel.row.near, end, PORT)?;
    Ok(tunnel)
}

/// Routes packets for `port` into the tunnel, even those to neighbours and to loopback.
fn send_everything_into_the_tunnel(host: &Host, end: &WireguardGo, port: u16) -> Result<()> {
    let interface = end.interface();
    let rules = format!(
        "rule add pref 50 table local\n\
         rule del pref 0 table local\n\
         rule add pref 10 dport {port} ipproto tcp table 100\n\
         rule add pref 11 dport {port} ipproto udp table 100\n\
         route add default dev {interface} table 100"
    );
    host.ip(&rules)?;
    host.ip6(&rules)?;
    for key in ["route_localnet", "accept_local"] {
        host.sysctl(&format!("ipv4/conf/{interface}/{key}"), "1")?;
    }
    Ok(())
}

/// Tries UDP and TCP to `target`, which must fail although the packets go into the tunnel; returns
/// how the connect failed.
pub(crate) fn is_shut(tunnel: &Tunnel, target: IpAddr) -> Result<io::Error> {
    let target = SocketAddr::new(target, PORT);
    let end = tunnel.wireguard_go().context("no peer")?;
    let sent = || end.transfer().map(|[_, sent]| sent);
    let before = sent()?;
    ensure!(is_answered(&tunnel.row.near, target).is_err(), "{target} answered over UDP");
    let between = sent()?;
    ensure!(between > before, "the question to {target} did not go into the tunnel");
    let connected = tcp::try_connect(&tunnel.row.near, target)?;
    let error = connected.err().with_context(|| format!("{target} accepted a connection"))?;
    ensure!(sent()? > between, "the SYN to {target} did not go into the tunnel: {error}");
    Ok(error)
}

/// The same, and the connect must be told so.
pub(crate) fn is_refused(tunnel: &Tunnel, target: IpAddr) -> Result<()> {
    let error = is_shut(tunnel, target)?;
    ensure!(error.kind() != ErrorKind::TimedOut, "{target}: a hang where a refusal was due");
    Ok(())
}

/// The gateway host's own addresses, as its peers can name them.
fn own_addresses() -> impl Iterator<Item = IpAddr> {
    Family::BOTH
        .into_iter()
        .flat_map(|family| [family.mid(), family.mid_inward(), family.mid_inner()])
}

fn own_services(lab: &Lab) -> Result<()> {
    let tunnel = gateway(lab, Job::Gateway)?;
    let (echo, sink) = (Echo::start(&tunnel.row.mid, PORT)?, sink(&tunnel.row.mid, PORT)?);
    for address in own_addresses() {
        is_refused(&tunnel, address)?;
    }
    for loopback in ["127.0.0.1", "127.3.2.1", "::1"] {
        // The peer's kernel may pass over an answer from such an address.
        is_shut(&tunnel, loopback.parse()?)?;
    }
    ensure!(echo.received() + sink.accepted() == 0, "a service of the gateway's host was reached");
    Ok(())
}

/// A router in the gateway's place does let its peers reach its services, so the test above would
/// notice one that slipwire does not refuse.
fn own_services_of_a_router(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = gateway(lab, job)?;
    let sink = sink(&tunnel.row.mid, PORT)?;
    for address in own_addresses() {
        let stream = tcp::connect(&tunnel.row.near, SocketAddr::new(address, PORT))?;
        send_to_sink(&stream, Payload { bytes: 1000, seed: 0 })?;
        sink.result()?;
    }
    Ok(())
}

fn special_addresses(lab: &Lab) -> Result<()> {
    let tunnel = gateway(lab, Job::Gateway)?;
    let (mid, far) = (&tunnel.row.mid, &tunnel.row.far);
    add_addresses(far, "in", [format!("{METADATA}/32").as_str()])?;
    mid.ip(&format!("route add {METADATA}/32 dev in"))?;
    let echo = Echo::start(far, PORT)?;
    let sink = sink(far, PORT)?;
    let metadata = SocketAddr::new(METADATA.parse()?, PORT);
    let stream = tcp::connect(mid, metadata).context("from the gateway's host itself")?;
    send_to_sink(&stream, Payload { bytes: 0, seed: 0 })?;
    let accepted = sink.accepted();

    is_refused(&tunnel, METADATA.parse()?)?;
    // These take datagrams only: the network's broadcast, everybody's, and a group that all hosts
    // join.
    for group in ["10.2.0.255", "255.255.255.255", "224.0.0.1", "ff02::1"] {
        let target = SocketAddr::new(group.parse()?, PORT);
        let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = udp::bind(&tunnel.row.near, any.parse()?)?;
        socket.set_broadcast(true)?;
        for _ in 0..3 {
            // What the peer's own kernel refuses to send does not reach anybody either.
            let _ = socket.send_to(b"everybody?", target);
        }
    }
    ensure!(is_answered(&tunnel.row.near, tunnel.target(Family::V4, PORT)).is_ok(), "no tunnel");
    ensure!(echo.received() == 1, "a datagram to a special address was relayed");
    ensure!(sink.accepted() == accepted, "a connection to a special address was relayed");
    Ok(())
}

fn wireguard_port(lab: &Lab) -> Result<()> {
    let tunnel = tunnel(lab, Job::Gateway)?;
    let end = tunnel.wireguard_go().context("no peer")?;
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    let target = SocketAddr::new(Family::V4.mid_inward(), WIREGUARD_PORT);
    let socket = udp::connect(&tunnel.row.near, target)?;
    let before = end.transfer()?[1];
    for _ in 0..3 {
        // A refusal may show as an error of a later call.
        let _ = socket.send(&[1; 148]);
        ensure!(udp::receive(&socket).ok().flatten().is_none(), "WireGuard answered in the tunnel");
    }
    ensure!(end.transfer()?[1] > before, "nothing went into the tunnel");
    is_answered(&tunnel.row.near, tunnel.target(Family::V4, PORT))
}

fn any_port(lab: &Lab) -> Result<()> {
    let tunnel = tunnel(lab, Job::Gateway)?;
    // The far host has another address that no configuration mentions.
    add_addresses(&tunnel.row.far, "in", ["203.0.113.7/32"])?;
    tunnel.row.mid.ip("route add 203.0.113.7/32 dev in")?;
    for port in [1, 22, 53, 80, 8443, 65535] {
        let sink = sink(&tunnel.row.far, port)?;
        for stream in [
            connect(&tunnel, port)?,
            tcp::connect(&tunnel.row.near, SocketAddr::new("203.0.113.7".parse()?, port))?,
        ] {
            let sent = send_to_sink(&stream, Payload { bytes: 1000, seed: port.into() })?;
            ensure!(sink.result()? == sent, "other bytes arrived at port {port} than were sent");
        }
    }
    Ok(())
}

/// How connects to a closed port of the far host fail, over IPv4 and IPv6.
fn refusals(tunnel: &Tunnel) -> Result<[ErrorKind; 2]> {
    let refusal = |family| -> Result<ErrorKind> {
        let connected = tcp::try_connect(&tunnel.row.near, tunnel.target(family, PORT))?;
        Ok(connected.err().context("connected to a closed port")?.kind())
    };
    Ok([refusal(Family::V4)?, refusal(Family::V6)?])
}

fn refused_by_icmp(lab: &Lab) -> Result<()> {
    let gateway = "default = \"relay\"\n[tcp]\nrefused = \"icmp\"";
    let tunnel = Tunnel::start(lab, Plan { gateway, ..Plan::new(Job::Gateway) })?;
    // So that it is not a reset that says it.
    let rules = "add table inet test; \
                 add chain inet test input { type filter hook input priority 0; }; \
                 add rule inet test input tcp flags rst drop";
    tunnel.row.near.output(LIMIT, Command::new("nft").arg(rules))?;
    let refusals = refusals(&tunnel)?;
    ensure!(refusals == [ErrorKind::ConnectionRefused; 2], "{refusals:?}");
    Ok(())
}

fn refused_by_silence(lab: &Lab) -> Result<()> {
    let gateway = "default = \"relay\"\n[tcp]\nrefused = \"drop\"";
    let tunnel = Tunnel::start(lab, Plan { gateway, ..Plan::new(Job::Gateway) })?;
    let refusals = refusals(&tunnel)?;
    ensure!(refusals == [ErrorKind::TimedOut; 2], "{refusals:?}");
    Ok(())
}
