//! The gateway's host itself, as its addresses come and go and however it is named: peers reach no
//! service there, and flows do not hang from an address that it has no more.

use std::{
    io::{ErrorKind, Write as _},
    net::{SocketAddr, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    net::{Host, add_addresses},
    payload::Payload,
    row::Family,
    tcp,
    tunnel::{Job, Plan, Tunnel},
    udp::{self, Echo},
};

use crate::{
    common::{PORT, PROMPT, comes_up, connect, is_answered, send_to_sink, sink, tunnel},
    gateway::{is_refused, is_shut},
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(60);

/// What makes addresses the middle host's own, and some of them.
const OWN: [(&str, &[&str]); 6] = [
    ("route add local 203.0.113.128/25 dev lo", &["203.0.113.128", "203.0.113.200"]),
    // The kernel answers from another address, so that a connection does not tell.
    ("route add local 203.0.113.64/26 dev lo src 10.2.0.1", &["203.0.113.66"]),
    ("route add local 2001:db8:1::/64 dev lo", &["2001:db8:1::", "2001:db8:1::9"]),
    ("address add 198.51.100.1/32 dev lo", &["198.51.100.1"]),
    ("address add 10.2.0.77/24 dev in", &["10.2.0.77"]),
    ("address add fd02::99/64 dev in nodad", &["fd02::99"]),
];

/// Other ways to write some of them: NAT64, 6to4, and a NAT64 prefix of the network's own.
const OTHERWISE: [&str; 4] = [
    "64:ff9b::203.0.113.200",
    "2002:cb00:71c8::1",
    "64:ff9b:1::203.0.113.66",
    "64:ff9b::10.2.0.77",
];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("gateway::whatever_leads_to_the_host_is_refused", whatever_leads_here)
            .with_tools(&["ping"]),
        Test::new("gateway::an_address_is_the_hosts_while_it_has_it", while_it_has_it),
        Test::new("gateway::a_connect_under_way_does_not_end_at_the_host", connect_under_way)
            .with_tools(&["ss"]),
        Test::new("gateway::rules_name_what_is_routed_to_the_host", named_by_a_rule),
        Test::new("gateway::without_netlink_it_does_not_start", without_netlink)
            .with_tools(&["strace"]),
        Test::new("forward::without_netlink_it_runs", forward_without_netlink)
            .with_tools(&["strace"]),
        Test::new("gateway::flows_from_an_address_that_is_gone_are_reset", address_gone)
            .with_tools(&["ping"]),
    ]
}

fn socket(address: &str) -> Result<SocketAddr> {
    Ok(SocketAddr::new(address.parse()?, PORT))
}

/// Adds everything of [`OWN`], with a service at each, which the host itself reaches.
fn own_everything(host: &Host) -> Result<()> {
    for (command, addresses) in OWN {
        if command.contains("::") {
            host.ip6(command)?
        } else {
            host.ip(command)?
        }
        for address in addresses {
            drop(tcp::connect(host, socket(address)?).context("from the host itself")?);
        }
    }
    Ok(())
}

fn is_prohibited_to_ping(client: &Host, target: &str) -> Result<()> {
    let mut ping = Command::new("ping");
    ping.args(["-n", "-c", "1", "-W", "5", target]);
    let error = client.output(LIMIT, &mut ping).err().context("an echo came back")?;
    let told = format!("{error:#}");
    let is_told =
        ["Packet filtered", "Administratively prohibited"].map(|word| told.contains(word));
    ensure!(is_told.contains(&true), "ping {target}: {told}");
    Ok(())
}

fn whatever_leads_here(lab: &Lab) -> Result<()> {
    let mut tunnel = crate::gateway::gateway(lab, Job::Gateway)?;
    let (echo, sink) = (Echo::start(&tunnel.row.mid, PORT)?, sink(&tunnel.row.mid, PORT)?);
    // All at once while it runs, and as it starts.
    own_everything(&tunnel.row.mid)?;
    for restart in [false, true] {
        if restart {
            tunnel.mid_end.restart()?;
            comes_up(&tunnel, LIMIT)?;
        }
        for address in OWN.iter().flat_map(|(_, addresses)| *addresses).chain(&OTHERWISE) {
            is_refused(&tunnel, address.parse()?).context(format!("restarted: {restart}"))?;
        }
    }
    for address in ["203.0.113.200", "203.0.113.66", "2001:db8:1::9"] {
        is_prohibited_to_ping(&tunnel.row.near, address)?;
    }
    let own = OWN.iter().map(|(_, addresses)| addresses.len()).sum();
    eventually("the host's own connections", LIMIT, || {
        ensure!(sink.accepted() >= own, "they are not accepted yet");
        Ok(())
    })?;
    ensure!(echo.received() == 0 && sink.accepted() == own, "a service of the host was reached");
    Ok(())
}

/// The far host has the address, then the gateway's has it too, and then the far host alone again.
fn while_it_has_it(lab: &Lab) -> Result<()> {
    let tunnel = crate::gateway::gateway(lab, Job::Gateway)?;
    let (near, mid, far) = (&tunnel.row.near, &tunnel.row.mid, &tunnel.row.far);
    add_addresses(far, "in", ["203.0.113.7/32", "2001:db8::7/128"])?;
    mid.ip("route add 203.0.113.7/32 dev in")?;
    mid.ip6("route add 2001:db8::7/128 dev in")?;
    // From the address that was asked.
    far.ip("route add 10.2.0.1 dev in src 203.0.113.7")?;
    far.ip6("route add fd02::1 dev in src 2001:db8::7")?;
    let (far_echo, far_sink) = (Echo::start(far, PORT)?, sink(far, PORT)?);
    let (echo, sink) = (Echo::start(mid, PORT)?, sink(mid, PORT)?);
    let cases = [
        ("203.0.113.7", "address VERB 203.0.113.7/32 dev lo"),
        ("203.0.113.7", "route VERB local 203.0.113.7 dev lo"),
        ("203.0.113.7", "route VERB local 203.0.113.7 dev lo src 10.2.0.1"),
        ("2001:db8::7", "address VERB 2001:db8::7/128 dev lo"),
        ("2001:db8::7", "-6 route VERB local 2001:db8::/120 dev lo"),
    ];
    // A mapping that is in use all the time.
    for (address, command) in cases {
        let target = socket(address)?;
        let client = udp::connect(near, target)?;
        let change = |verb: &str| {
            let command = command.replace("VERB", verb);
            match command.strip_prefix("-6 ") {
                Some(command) => mid.ip6(command),
                None => mid.ip(&command),
            }
        };
        for _ in 0..3 {
            udp::ask(&client, b"is it the far host?").context(command)?;
            let received = far_echo.received();
            change("add")?;
            eventually("refusal", LIMIT, || {
                let asked = client.send(b"is it the gateway?");
                let told = asked.and_then(|_| client.recv(&mut [0; 64])).err();
                let kind = told.context("an answer")?.kind();
                ensure!(kind != ErrorKind::WouldBlock, "nothing was said");
                Ok(())
            })
            .context(command)?;
            is_shut(&tunnel, target.ip()).context(command)?;
            change("del")?;
            ensure!(far_echo.received() == received, "{command}: the wrong way out");
        }
        udp::ask(&client, b"is it the far host again?").context(command)?;
        let sent = send_to_sink(&tcp::connect(near, target)?, Payload { bytes: 1000, seed: 1 })?;
        ensure!(far_sink.result()? == sent, "other bytes arrived than were sent");
    }
    ensure!(echo.received() + sink.accepted() == 0, "a service of the gateway's host was reached");
    Ok(())
}

/// A SYN that nobody answers is repeated, and by then its way may lead here.
fn connect_under_way(lab: &Lab) -> Result<()> {
    let tunnel = tunnel(lab, Job::Gateway)?;
    let (near, mid) = (&tunnel.row.near, &tunnel.row.mid);
    let target = socket("203.0.113.9")?;
    mid.ip("route add 203.0.113.0/24 via 10.2.0.119")?;
    let sink = sink(mid, PORT)?;
    thread::scope(|scope| -> Result<()> {
        let connecting = scope.spawn(|| tcp::try_connect(near, target));
        // The gateway's connect has begun as soon as there is a route of this kind in use.
        let mut sockets = Command::new("ss");
        sockets.args(["-Htn", "state", "syn-sent"]);
        eventually("connect", LIMIT, || {
            let list = mid.output(LIMIT, &mut sockets)?;
            ensure!(list.contains("203.0.113.9"), "{list}");
            Ok(())
        })?;
        // So that the source does not tell.
        mid.ip("route add local 203.0.113.9 dev lo src 10.2.0.1")?;
        eventually("repeated SYN", LIMIT, || {
            ensure!(sink.accepted() > 0, "nothing came");
            Ok(())
        })?;
        let connected = connecting.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
        let kind = connected.err().context("a peer is connected to the gateway's host")?.kind();
        ensure!(kind == ErrorKind::ConnectionRefused, "{kind:?} and not a reset");
        Ok(())
    })
}

const NAMED: &str = r#"default = "relay"

[[rule]]
to = ["203.0.113.200", "10.2.0.1"]
action = "relay"

[[rule]]
to = ["203.0.113.201"]
action = "redirect"
target = "203.0.113.202:7000"
"#;

fn named_by_a_rule(lab: &Lab) -> Result<()> {
    let tunnel = Tunnel::start(lab, Plan { gateway: NAMED, ..Plan::new(Job::Gateway) })?;
    let (near, mid) = (&tunnel.row.near, &tunnel.row.mid);
    mid.ip("route add local 203.0.113.128/25 dev lo")?;
    let (_echo, sink) = (Echo::start(mid, PORT)?, sink(mid, PORT)?);
    for address in ["203.0.113.200", "10.2.0.1", "203.0.113.201"] {
        let target = socket(address)?;
        let sent = send_to_sink(&tcp::connect(near, target)?, Payload { bytes: 1000, seed: 1 })?;
        ensure!(sink.result()? == sent, "other bytes arrived than were sent");
        if address != "203.0.113.201" {
            udp::ask(&udp::connect(near, target)?, b"hello").context(address)?;
        }
    }
    let connected = tcp::try_connect(near, socket("203.0.113.202")?)?;
    ensure!(connected.is_err(), "it is a target of a rule, and named by none");
    Ok(())
}

/// Runs slipwire, which gets no sockets, by their numbers.
fn denied(job: Job, numbers: &str) -> Plan {
    let inject = format!("inject=socket:error=EAFNOSUPPORT:when={numbers}");
    let words = ["strace", "-D", "-f", "-o", "/dev/null", "-e", &inject];
    Plan { wrapper: words.map(str::to_owned).to_vec(), ..Plan::new(job) }
}

fn without_netlink(lab: &Lab) -> Result<()> {
    // Netlink is what it asks for first.
    let started = Tunnel::start(lab, denied(Job::Gateway, "1+"));
    let error = format!("{:#}", started.err().context("a gateway that can't know itself runs")?);
    for word in ["address", "AF_NETLINK", "RestrictAddressFamilies"] {
        ensure!(error.contains(word), "no {word:?} in {error}");
    }
    Ok(())
}

fn forward_without_netlink(lab: &Lab) -> Result<()> {
    let tunnel = Tunnel::start(lab, denied(Job::Forward, "5"))?;
    // The first four are of the program that starts it.
    let log = tunnel.near_end.process().stderr();
    ensure!(log.count_lines(|line| line.contains("stay unknown")) == 1, "netlink was not denied");
    let sink = sink(&tunnel.row.far, PORT)?;
    let sent = send_to_sink(&connect(&tunnel, PORT)?, Payload { bytes: 1000, seed: 1 })?;
    ensure!(sink.result()? == sent, "other bytes arrived than were sent");
    Ok(())
}

/// The middle host's address towards the far one changes.
fn address_gone(lab: &Lab) -> Result<()> {
    let tunnel = tunnel(lab, Job::Gateway)?;
    let (near, mid, far) = (&tunnel.row.near, &tunnel.row.mid, &tunnel.row.far);
    let (_echo, server) = (Echo::start(far, PORT)?, sink(far, PORT)?);
    for (family, old, new) in
        [(Family::V4, "10.2.0.1/24", "10.2.0.9/24"), (Family::V6, "fd02::1/64", "fd02::9/64")]
    {
        let target = tunnel.target(family, PORT);
        let mut stream: TcpStream = tcp::connect(near, target)?;
        stream.write_all(b"hello")?;
        let mapping = udp::connect(near, target)?;
        udp::ask(&mapping, b"before")?;

        mid.ip(&format!("address del {old} dev in"))?;
        stream.set_read_timeout(Some(PROMPT))?;
        tcp::expect_reset(&stream)?;
        add_addresses(mid, "in", [new])?;
        udp::ask(&mapping, b"after")?;
        is_answered(near, target)?;
        let mut ping = Command::new("ping");
        ping.args(["-n", "-c", "1", "-W", "5", &target.ip().to_string()]);
        near.output(LIMIT, &mut ping)?;
        let accepted = server.accepted();
        send_to_sink(&tcp::connect(near, target)?, Payload { bytes: 1000, seed: 2 })?;
        ensure!(server.accepted() == accepted + 1, "it went elsewhere");
    }
    Ok(())
}
