//! Two peers of one gateway: each has its own traffic and addresses, and they reach each other only
//! where the gateway allows it.
//!
//! ```text
//!   near  10.1.0.2 ----+
//!    inner 10.77.0.2   mid ---- far
//!   other 10.3.0.2 ----+
//!    inner 10.77.0.3
//! ```

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use slipwire_lab::{
    deadline::eventually,
    lab::{Lab, write_secret},
    net::{Host, add_addresses, link},
    payload::Payload,
    peer::{Keys, Peer},
    row::{EVERYTHING, Family, Row},
    slipwire::{Config, Slipwire},
    tcp,
    tunnel::{WIREGUARD_PORT, owned},
    udp::{self, Echo},
    wireguard_go::{self, WireguardGo},
};

use crate::{
    common::{PORT, is_answered, send_to_sink, sink},
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const OTHER_INNER: [&str; 2] = ["10.77.0.3", "fd77::3"];

pub(crate) fn tests() -> Vec<Test> {
    let ping = &["ping"];
    vec![
        Test::new("gateway::two_peers_at_once_get_their_own_bytes", at_once),
        Test::new("gateway::peers_reach_each_other_if_allowed", overlay).with_tools(ping),
        Test::new("gateway::peers_hear_which_mtu_fits_another_peer", overlay_mtu).with_tools(ping),
        Test::new("gateway::peers_do_not_reach_each_other_by_default", no_overlay),
        Test::new("gateway::an_address_that_no_peer_has_is_unreachable", nobody),
        Test::new("gateway::rules_between_peers_hold_for_answers_that_nobody_asked_for", ruled),
        Test::new("gateway::peers_meet_at_their_external_ports_and_find_no_service_there", hairpin),
        Test::new("gateway::a_peer_with_anothers_address_gets_nothing", wrong_source),
        Test::new("gateway::more_specific_allowed_ips_belong_to_the_other_peer", more_specific),
        Test::new("gateway::a_peer_that_takes_anothers_key_takes_its_place", new_key),
    ]
}

/// Two peers with wireguard-go and a gateway between them.
pub(crate) struct TwoPeers {
    near_end: WireguardGo,
    other_end: WireguardGo,
    other_keys: Keys,
    _gateway: Slipwire,
    pub(crate) other: Host,
    pub(crate) row: Row,
}

impl TwoPeers {
    pub(crate) fn start(lab: &Lab, gateway: &str) -> Result<Self> {
        Self::start_with(lab, gateway, &["10.77.0.2/32", "fd77::2/128"])
    }

    /// With other allowed IPs of the near peer than its addresses.
    fn start_with(lab: &Lab, gateway: &str, near_allowed: &[&str]) -> Result<Self> {
        let row = Row::new(lab)?;
        row.allow_ping_sockets()?;
        let other = lab.host("other")?;
        link((&row.mid, "other", &["10.3.0.1/24"]), (&other, "out", &["10.3.0.2/24"]))?;
        let [gateway_keys, near_keys, other_keys] =
            [Keys::generate()?, Keys::generate()?, Keys::generate()?];
        let config = Config {
            listen_port: Some(WIREGUARD_PORT),
            address: owned(&["10.77.0.1/24", "fd77::1/64"]),
            peers: vec![
                Peer::caller("near", &near_keys, near_allowed),
                Peer::caller("other", &other_keys, &OTHER_INNER),
            ],
            gateway: Some(gateway.to_owned()),
            ..Config::default()
        };
        let gateway = Slipwire::start(lab, &row.mid, "gateway", &gateway_keys, &config)?;
        let end = |host: &Host, name: &str, keys: &Keys, addresses: &[&str], endpoint: &str| {
            let gateway = Peer {
                endpoint: Some(format!("{endpoint}:{WIREGUARD_PORT}")),
                // Opens the way back, so that either peer can be called first.
                persistent_keepalive: 1,
                ..Peer::caller("", &gateway_keys, &EVERYTHING)
            };
            let config = wireguard_go::Config {
                listen_port: None,
                addresses: owned(addresses),
                routes: owned(&EVERYTHING),
                peers: vec![gateway],
            };
            WireguardGo::start(lab, host, name, keys, config)
        };
        let near_inner = &["10.77.0.2/32", "fd77::2/128"];
        let near_end = end(&row.near, "near", &near_keys, near_inner, "10.1.0.1")?;
        let other_inner = &["10.77.0.3/32", "fd77::3/128"];
        let other_end = end(&other, "other", &other_keys, other_inner, "10.3.0.1")?;
        Ok(Self { near_end, other_end, other_keys, _gateway: gateway, other, row })
    }
}

fn far(port: u16) -> SocketAddr {
    SocketAddr::new(Family::V4.far(), port)
}

fn at_once(lab: &Lab) -> Result<()> {
    let peers = TwoPeers::start(lab, "default = \"relay\"")?;
    let sinks = [sink(&peers.row.far, PORT)?, sink(&peers.row.far, PORT + 1)?];
    let send =
        |host, port, seed| send_to_sink(&tcp::connect(host, far(port))?, Payload::mib(32, seed));
    let (from_near, from_other) = thread::scope(|scope| {
        let near = scope.spawn(|| send(&peers.row.near, PORT, 20));
        let other = send(&peers.other, PORT + 1, 21);
        (near.join(), other)
    });
    let from_near = from_near.map_err(|_| anyhow!("the sender panicked"))??;
    ensure!(sinks[0].result()? == from_near, "other bytes arrived than near sent");
    ensure!(sinks[1].result()? == from_other?, "other bytes arrived than other sent");
    Ok(())
}

fn overlay(lab: &Lab) -> Result<()> {
    let peers = TwoPeers::start(lab, "default = \"relay\"\npeer_to_peer = true")?;
    for address in OTHER_INNER {
        let mut ping = Command::new("ping");
        ping.args(["-n", "-c", "3", "-i", "0.2", "-W", "2", address]);
        peers.row.near.output(Duration::from_secs(20), &mut ping)?;
    }
    let _echo = Echo::start(&peers.other, PORT)?;
    let sink = sink(&peers.other, PORT)?;
    for address in OTHER_INNER {
        let target = SocketAddr::new(address.parse()?, PORT);
        udp::ask(&udp::connect(&peers.row.near, target)?, b"over here")?;
        let stream = tcp::connect(&peers.row.near, target)?;
        let sent = send_to_sink(&stream, Payload::mib(8, 22))?;
        ensure!(sink.result()? == sent, "other bytes arrived at {address} than were sent");
    }
    // The way to the outside stays open beside it.
    let _echo = Echo::start(&peers.row.far, PORT)?;
    udp::ask(&udp::connect(&peers.row.near, far(PORT))?, b"and out there")
}

fn overlay_mtu(lab: &Lab) -> Result<()> {
    let peers = TwoPeers::start(lab, "default = \"relay\"\npeer_to_peer = true")?;
    // This peer has a wider tunnel than the gateway has to the other.
    let near = &peers.row.near;
    for (host, interface) in [(near, "out"), (&peers.row.mid, "out")] {
        host.ip(&format!("link set {interface} mtu 9000"))?;
    }
    near.ip(&format!("link set {} mtu 1500", peers.near_end.interface()))?;
    for (address, headers) in OTHER_INNER.into_iter().zip([28, 48]) {
        let ping = |packet_len: usize| {
            let mut ping = Command::new("ping");
            ping.args(["-n", "-c", "3", "-i", "0.2", "-W", "2", "-M", "do", "-s"]);
            near.output(
                Duration::from_secs(20),
                ping.args([&(packet_len - headers).to_string(), address]),
            )
        };
        ping(1420).with_context(|| format!("{address}: what fits"))?;
        let error = ping(1421).err().with_context(|| format!("{address}: a reply"))?;
        let error = format!("{error:#}");
        ensure!(error.contains("1420"), "{address}: the size that fits was not said: {error}");
    }
    Ok(())
}

fn no_overlay(lab: &Lab) -> Result<()> {
    let peers = TwoPeers::start(lab, "default = \"relay\"")?;
    let _outside = Echo::start(&peers.row.far, PORT)?;
    udp::ask(&udp::connect(&peers.row.near, far(PORT))?, b"the tunnel works")?;
    let echo = Echo::start(&peers.other, PORT)?;
    let sink = sink(&peers.other, PORT)?;
    for address in OTHER_INNER {
        let target = SocketAddr::new(address.parse()?, PORT);
        ensure!(is_answered(&peers.row.near, target).is_err(), "{address} answered");
        let connected = tcp::try_connect(&peers.row.near, target)?;
        let kind = connected.err().context("connected to the other peer")?.kind();
        ensure!(kind != ErrorKind::TimedOut, "a hang where a refusal was due");
    }
    ensure!(echo.received() + sink.accepted() == 0, "something arrived at the other peer");
    Ok(())
}

/// On the tunnel's own network, while the gateway's host has a way for everything.
fn nobody(lab: &Lab) -> Result<()> {
    let peers = TwoPeers::start(lab, "default = \"relay\"\npeer_to_peer = true")?;
    let _outside = Echo::start(&peers.row.far, PORT)?;
    udp::ask(&udp::connect(&peers.row.near, far(PORT))?, b"the tunnel works")?;
    peers.row.mid.ip("route add 10.77.0.0/24 via 10.2.0.2")?;
    for address in ["10.77.0.77", "fd77::77"] {
        let target = SocketAddr::new(address.parse()?, PORT);
        let connected = tcp::try_connect(&peers.row.near, target)?;
        let kind = connected.err().context("connected to nobody")?.kind();
        ensure!(kind == ErrorKind::HostUnreachable, "{address}: {kind:?}");
    }
    Ok(())
}

/// The other peer may be asked, and asks nobody.
fn ruled(lab: &Lab) -> Result<()> {
    let rule = "[[rule]]\nfrom = [\"other\"]\naction = \"reject\"";
    let gateway = format!("default = \"relay\"\npeer_to_peer = true\n{rule}");
    let peers = TwoPeers::start(lab, &gateway)?;
    let (near, other) = (&peers.row.near, &peers.other);
    let heard = Echo::start(near, PORT)?;
    let _echo = Echo::start(other, PORT)?;
    let sink = sink(other, PORT)?;
    let there = SocketAddr::new(OTHER_INNER[0].parse()?, PORT);
    udp::ask(&udp::connect(near, there)?, b"question")?;
    let sent = send_to_sink(&tcp::connect(near, there)?, Payload::mib(1, 23))?;
    ensure!(sink.result()? == sent, "other bytes arrived than were sent");
    let back = SocketAddr::new(Family::V4.near_inner(), PORT);
    ensure!(is_answered(other, back).is_err(), "the other peer may ask");
    let connected = tcp::try_connect(other, back)?;
    let kind = connected.err().context("the other peer may connect")?.kind();
    ensure!(kind == ErrorKind::ConnectionRefused, "{kind:?}");
    ensure!(heard.received() == 0, "something arrived");
    Ok(())
}

/// RFC 4787, REQ-9 and REQ-9a, with filtering by address: the first datagram only opens the way.
fn hairpin(lab: &Lab) -> Result<()> {
    const PORTS: [u16; 2] = [41_000, 41_001];
    let peers = TwoPeers::start(lab, "default = \"relay\"")?;
    let service = Echo::start(&peers.row.mid, PORT)?;
    let _outside = Echo::start(&peers.row.far, PORT)?;
    for family in Family::BOTH {
        let external = |port| SocketAddr::new(family.mid_inward(), port);
        let open = |host, port| -> Result<UdpSocket> {
            let any = if family == Family::V4 { "0.0.0.0" } else { "::" };
            let socket = udp::bind(host, SocketAddr::new(any.parse()?, port))?;
            // Ports that are free at the gateway are the same on both sides of it.
            eventually("mapping", LIMIT, || {
                socket.send_to(b"open", SocketAddr::new(family.far(), PORT))?;
                udp::receive(&socket)?.context("no reply").map(drop)
            })?;
            Ok(socket)
        };
        let near = open(&peers.row.near, PORTS[0])?;
        let other = open(&peers.other, PORTS[1])?;
        let pass = |from: &UdpSocket, to: &UdpSocket, ports: [u16; 2]| {
            eventually("datagram", LIMIT, || {
                from.send_to(b"hello", external(ports[1]))?;
                let mut buffer = [0; 16];
                let (length, source) = to.recv_from(&mut buffer)?;
                ensure!(&buffer[..length] == b"hello", "something else");
                ensure!(source == external(ports[0]), "a datagram from {source}");
                Ok(())
            })
        };
        near.send_to(b"hello", external(PORTS[1]))?;
        pass(&other, &near, [PORTS[1], PORTS[0]])?;
        pass(&near, &other, PORTS)?;
        ensure!(is_answered(&peers.row.near, external(PORT)).is_err(), "the service answered");
    }
    ensure!(service.received() == 0, "a service of the gateway's host was reached");
    Ok(())
}

fn wrong_source(lab: &Lab) -> Result<()> {
    let peers = TwoPeers::start(lab, "default = \"relay\"")?;
    let near = &peers.row.near;
    let echo = Echo::start(&peers.row.far, PORT)?;
    let ask_from = |source: &str| ask_from(near, source);
    add_addresses(near, peers.near_end.interface(), ["10.77.0.3/32", "10.99.0.1/32"])?;
    ask_from("10.77.0.2").context("with its own address")?;
    let heard = echo.received();
    for source in ["10.77.0.3", "10.99.0.1"] {
        ensure!(ask_from(source).is_err(), "an answer to {source}");
    }
    ensure!(echo.received() == heard, "a datagram from a wrong source got out");
    ask_from("10.77.0.2").context("with its own address again")
}

/// A question to the far host from one of the addresses of `host`.
fn ask_from(host: &Host, source: &str) -> Result<()> {
    let socket = udp::bind(host, SocketAddr::new(source.parse()?, 0))?;
    host.run(|| socket.connect(far(PORT)))??;
    udp::ask(&socket, b"who am I?")
}

/// A wide prefix of one peer and an address within it of another.
fn more_specific(lab: &Lab) -> Result<()> {
    let gateway = "default = \"relay\"\npeer_to_peer = true";
    let peers = TwoPeers::start_with(lab, gateway, &["10.77.0.0/24", "fd77::/64"])?;
    let near = &peers.row.near;
    let echo = Echo::start(&peers.row.far, PORT)?;
    add_addresses(near, peers.near_end.interface(), ["10.77.0.3/32", "10.77.0.200/32"])?;
    ask_from(near, "10.77.0.200").context("from the wide prefix")?;
    let heard = echo.received();
    ensure!(ask_from(near, "10.77.0.3").is_err(), "an answer to the other peer's address");
    ensure!(echo.received() == heard, "a datagram from a wrong source got out");
    ask_from(&peers.other, "10.77.0.3").context("from the other peer")?;
    // And what is for that address goes there.
    let _there = Echo::start(&peers.other, PORT + 1)?;
    near.ip(&format!("address del 10.77.0.3/32 dev {}", peers.near_end.interface()))?;
    let target = SocketAddr::new(OTHER_INNER[0].parse()?, PORT + 1);
    udp::ask(&udp::connect(near, target)?, b"over there")
}

/// The near peer gets the private key of the other, which is gone: it is that peer at once.
fn new_key(lab: &Lab) -> Result<()> {
    let mut peers = TwoPeers::start(lab, "default = \"relay\"")?;
    let near = &peers.row.near;
    let _echo = Echo::start(&peers.row.far, PORT)?;
    ask_from(near, "10.77.0.2")?;
    ask_from(&peers.other, "10.77.0.3")?;
    peers.other_end.kill();
    add_addresses(near, peers.near_end.interface(), ["10.77.0.3/32"])?;
    let key = lab.directory("key")?.join("private.key");
    write_secret(&key, &peers.other_keys.private)?;
    peers.near_end.set(&["private-key", &key.display().to_string()])?;
    ask_from(near, "10.77.0.3").context("with the new key")?;
    ensure!(ask_from(near, "10.77.0.2").is_err(), "an answer to the address of the old key");
    Ok(())
}
