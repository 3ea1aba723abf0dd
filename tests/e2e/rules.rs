//! Flows by rule: redirected to services of the gateway's host, refused, dropped or relayed, by who
//! asks and for what.

use std::{
    fs::{self, Permissions},
    io::{ErrorKind, Write as _},
    net::{IpAddr, SocketAddr},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
    process::Command,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    net::Host,
    payload::{Payload, Sum, receive},
    row::Family,
    tcp::{self, STALL_LIMIT, Service},
    tunnel::{End, Job, Plan, Tunnel},
    udp::{self, Echo},
};

use crate::{
    common::{PORT, send_to_sink, sink},
    peers::{OTHER_INNER, TwoPeers},
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(30);
/// Hosts that are nowhere.
const NOWHERE: [&str; 2] = ["203.0.113.7", "2001:db8::7"];

/// The scene of [`by_who_asks_and_for_what`].
const ROUTER: &str = r#"
[[rule]]
protocol = ["tcp"]
port = [443]
action = "redirect"
target = "127.0.0.1:7003"

[[rule]]
protocol = ["tcp"]
port = [80]
action = "redirect"
target = "[::1]:7004"

[[rule]]
to = ["10.5.0.0/16", "fd05::/16"]
action = "reject"

[[rule]]
to = ["10.6.0.0/16", "fd06::/16"]
action = "drop"

[[rule]]
from = ["near"]
to = ["10.2.0.2"]
port = [7002]
action = "relay"

[[rule]]
to = ["10.2.0.2"]
port = [7002]
action = "reject"
"#;

/// A peer is called before a rule about its ports is asked.
const OVERLAY: &str = r#"
peer_to_peer = true

[[rule]]
to = ["10.77.0.3", "fd77::3"]
port = [7001]
action = "reject"
"#;

const RESOLVER: &str = r#"
[[rule]]
protocol = ["udp", "tcp"]
port = [53]
action = "redirect"
target = "127.0.0.1:5353"

[[rule]]
protocol = ["udp"]
port = [54]
action = "redirect"
target = "127.0.0.1:9"
"#;

const NO_PINGS: &str = r#"
[[rule]]
protocol = ["icmp"]
to = ["10.2.0.2", "fd02::2"]
action = "reject"
"#;

/// Relative to the configuration.
const SOCKETS: &str = r#"
[[rule]]
port = [443]
action = "redirect"
target = "unix:web.sock"

[[rule]]
port = [80]
action = "redirect"
target = "unix:gone.sock"

[[rule]]
port = [81]
action = "redirect"
target = "127.0.0.1:9"
"#;

/// onetun's `-r`.
const REMOTE_FORWARD: &str = r#"
[[rule]]
to = ["10.77.0.1", "fd77::1"]
port = [2222]
action = "redirect"
target = "127.0.0.1:7000"
"#;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("gateway::flows_go_by_who_asks_and_for_what", by_who_asks_and_for_what),
        Test::new("gateway::rules_come_before_the_overlay", before_the_overlay),
        Test::new("gateway::a_redirected_question_is_answered_by_whom_it_was_meant_for", resolver)
            .with_tools(&["dig", "dnsmasq"]),
        Test::new("gateway::pings_that_a_rule_rejects_are_called_prohibited", pings)
            .with_tools(&["ping"]),
        Test::new("gateway::a_unix_socket_serves_any_address", unix_socket),
        Test::new("gateway::a_redirect_to_nobody_is_refused", nobody),
        Test::new("gateway::a_port_of_the_tunnel_address_leads_to_a_local_service", remote_forward),
    ]
}

fn tunnel(lab: &Lab, gateway: &'static str) -> Result<Tunnel> {
    Tunnel::start(lab, Plan { gateway, ..Plan::new(Job::Gateway) })
}

fn socket(address: &str, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(address.parse::<IpAddr>()?, port))
}

/// A service that says which one it is.
fn named(host: &Host, port: u16, name: &'static str) -> Result<Service<()>> {
    Service::start(host, port, move |mut stream| Ok(stream.write_all(name.as_bytes())?))
}

fn is_served_by(client: &Host, target: SocketAddr, name: &str) -> Result<()> {
    let stream = tcp::connect(client, target)?;
    tcp::expect_rest(&stream, name.as_bytes()).with_context(|| target.to_string())
}

/// Wants a connect to fail, and says how.
fn failure(client: &Host, target: SocketAddr) -> Result<ErrorKind> {
    let connected = tcp::try_connect(client, target)?;
    Ok(connected.err().with_context(|| format!("{target} accepted a connection"))?.kind())
}

/// Wants a connect to be answered by a reset.
fn is_refused(client: &Host, target: SocketAddr) -> Result<()> {
    let kind = failure(client, target)?;
    ensure!(kind == ErrorKind::ConnectionRefused, "{target}: {kind:?} and not a reset");
    Ok(())
}

fn by_who_asks_and_for_what(lab: &Lab) -> Result<()> {
    let peers = TwoPeers::start(lab, ROUTER)?;
    let (near, other, mid, far) = (&peers.row.near, &peers.other, &peers.row.mid, &peers.row.far);
    let _secure = named(mid, 7003, "secure")?;
    let _plain = named(mid, 7004, "plain")?;
    let _far = [named(far, 7002, "far")?, named(far, PORT, "relayed")?];
    for client in [near, other] {
        // Whatever the address: nobody's, the far host's, and the other side of the gateway.
        for address in [NOWHERE[0], NOWHERE[1], "10.2.0.2", "fd02::2", "10.2.0.1"] {
            is_served_by(client, socket(address, 443)?, "secure")?;
            is_served_by(client, socket(address, 80)?, "plain")?;
        }
        for address in ["10.5.6.7", "fd05::7"] {
            is_refused(client, socket(address, 7000)?)?;
        }
        for family in Family::BOTH {
            is_served_by(client, SocketAddr::new(family.far(), PORT), "relayed")?;
        }
    }
    let (one, two) = (socket("10.6.6.7", 7000)?, socket("fd06::7", 7000)?);
    let kinds = thread::scope(|scope| -> Result<_> {
        let one = scope.spawn(|| failure(near, one));
        let two = failure(other, two);
        Ok([one.join().map_err(|_| anyhow!("the client panicked"))??, two?])
    })?;
    ensure!(kinds == [ErrorKind::TimedOut; 2], "{kinds:?} where nothing was due");
    is_served_by(near, socket("10.2.0.2", 7002)?, "far")?;
    is_refused(other, socket("10.2.0.2", 7002)?)
}

fn before_the_overlay(lab: &Lab) -> Result<()> {
    let peers = TwoPeers::start(lab, OVERLAY)?;
    let _services = [named(&peers.other, 7000, "open")?, named(&peers.other, 7001, "shut")?];
    for address in OTHER_INNER {
        is_served_by(&peers.row.near, socket(address, 7000)?, "open")?;
        is_refused(&peers.row.near, socket(address, 7001)?)?;
    }
    Ok(())
}

fn resolver(lab: &Lab) -> Result<()> {
    let tunnel = tunnel(lab, RESOLVER)?;
    let mut dnsmasq = Command::new("dnsmasq");
    dnsmasq.args(["--no-daemon", "--conf-file=/dev/null", "--pid-file="]);
    dnsmasq.args(["--no-resolv", "--no-hosts", "--address=/service.test/192.0.2.7"]);
    dnsmasq.args(["--port=5353", "--listen-address=127.0.0.1", "--bind-interfaces"]);
    let _dnsmasq = tunnel.row.mid.spawn("dnsmasq", &mut dnsmasq)?;
    for address in NOWHERE {
        for transport in ["+notcp", "+tcp"] {
            // dig takes no answer from anybody but whom it asked.
            let mut dig = Command::new("dig");
            dig.args([&format!("@{address}"), "+short", "+tries=3", "+time=2", transport]);
            dig.args(["service.test", "A"]);
            // dnsmasq may still be starting.
            eventually("answer of the DNS server", LIMIT, || {
                let answer = tunnel.row.near.output(LIMIT, &mut dig)?;
                ensure!(answer.trim() == "192.0.2.7", "{transport} {address}: {answer:?}");
                Ok(())
            })?;
        }
        // A rule's target that is not there is told in the name of the destination.
        let socket = udp::connect(&tunnel.row.near, socket(address, 54)?)?;
        eventually("refusal", LIMIT, || {
            let failed = socket.send(b"anybody?").and_then(|_| socket.recv(&mut [0; 16])).err();
            let kind = failed.context("an answer from nobody")?.kind();
            ensure!(kind == ErrorKind::ConnectionRefused, "{kind:?}");
            Ok(())
        })?;
    }
    // Beside it, datagrams go where they are meant to.
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    udp::ask(&udp::connect(&tunnel.row.near, tunnel.target(Family::V4, PORT))?, b"and you?")
}

fn pings(lab: &Lab) -> Result<()> {
    let tunnel = tunnel(lab, NO_PINGS)?;
    let ping = |target: IpAddr| {
        let mut ping = Command::new("ping");
        ping.args(["-n", "-c", "1", "-W", "5", &target.to_string()]);
        tunnel.row.near.output(LIMIT, &mut ping)
    };
    for (family, told) in
        [(Family::V4, "Packet filtered"), (Family::V6, "Administratively prohibited")]
    {
        let error = ping(family.far()).err().context("an echo came back")?;
        ensure!(format!("{error:#}").contains(told), "the peer is not told: {error:#}");
        // Others are not meant.
        ping(family.mid_inner())?;
    }
    Ok(())
}

fn unix_socket(lab: &Lab) -> Result<()> {
    let tunnel = tunnel(lab, SOCKETS)?;
    let End::Slipwire(gateway) = &tunnel.mid_end else { return Err(anyhow!("no gateway")) };
    let path = gateway.directory().join("web.sock");
    for address in NOWHERE {
        let server = unix_sink(&path)?;
        let stream = tcp::connect(&tunnel.row.near, socket(address, 443)?)?;
        let sent = send_to_sink(&stream, Payload::mib(64, 31))?;
        let received = server.join().map_err(|_| anyhow!("the server panicked"))??;
        ensure!(sent == received, "other bytes arrived than were sent");
    }
    Ok(())
}

/// Serves one connection as [`sink`] does.
fn unix_sink(path: &Path) -> Result<JoinHandle<Result<Sum>>> {
    // It is there from the last time, or it is not.
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    // slipwire is another user.
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(STALL_LIMIT))?;
        let sum = receive(&mut stream)?;
        write!(stream, "{} bytes", sum.bytes)?;
        Ok(sum)
    }))
}

fn nobody(lab: &Lab) -> Result<()> {
    let tunnel = tunnel(lab, SOCKETS)?;
    let End::Slipwire(gateway) = &tunnel.mid_end else { return Err(anyhow!("no gateway")) };
    // A socket whose server has gone.
    drop(UnixListener::bind(gateway.directory().join("web.sock"))?);
    fs::set_permissions(gateway.directory().join("web.sock"), Permissions::from_mode(0o666))?;
    for address in NOWHERE {
        for port in [443, 80, 81] {
            is_refused(&tunnel.row.near, socket(address, port)?)?;
        }
    }
    Ok(())
}

fn remote_forward(lab: &Lab) -> Result<()> {
    let tunnel = tunnel(lab, REMOTE_FORWARD)?;
    let sink = sink(&tunnel.row.mid, PORT)?;
    for family in Family::BOTH {
        let target = |port| SocketAddr::new(family.mid_inner(), port);
        let stream = tcp::connect(&tunnel.row.near, target(2222))?;
        let sent = send_to_sink(&stream, Payload::mib(16, 32))?;
        ensure!(sink.result()? == sent, "other bytes arrived than were sent");
        // The service's own port stays shut, and so do all others.
        for port in [PORT, 2223] {
            is_refused(&tunnel.row.near, target(port))?;
        }
    }
    Ok(())
}
