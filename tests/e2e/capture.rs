//! `[capture]`: what the tunnel carries can be looked at with tcpdump, by nobody but the file's
//! owner, and a full disk is the capture's trouble alone.

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    net::Host,
    row::Family,
    tcp::Service,
    tunnel::{Job, Plan, Tunnel},
    udp::Echo,
};

use crate::{
    common::{PORT, is_answered, move_more_than_a_small_disk_holds, small_disk},
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("capture::tcpdump_reads_what_the_tunnel_carries", reads)
            .with_tools(&["tcpdump", "ping", "curl"]),
        Test::new("capture::a_full_disk_stops_nothing_else", full_disk).with_tools(&["tcpdump"]),
    ]
}

/// A gateway that captures to `file`, in a directory where it may.
fn gateway(lab: &Lab, file: &Path) -> Result<Tunnel> {
    let tables = format!("[capture]\nfile = {file:?}\n");
    Tunnel::start(lab, Plan { tables, ..Plan::new(Job::Gateway) })
}

fn tcpdump(host: &Host, file: &Path) -> Result<String> {
    let mut tcpdump = Command::new("tcpdump");
    // As the user that we are: there may be no other.
    tcpdump.args(["-Z", "root", "-n", "-A", "-r"]).arg(file);
    host.output(LIMIT, &mut tcpdump)
}

fn reads(lab: &Lab) -> Result<()> {
    let directory = lab.directory("capture")?;
    fs::set_permissions(&directory, Permissions::from_mode(0o777))?;
    let file = directory.join("tunnel.pcap");
    let mut tunnel = gateway(lab, &file)?;
    let (near, far) = (tunnel.row.near.clone(), tunnel.row.far.clone());
    let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "mode {mode:o}");

    let _echo = Echo::start(&far, PORT)?;
    let _server = Service::start(&far, PORT, |mut stream| {
        for line in BufReader::new(&stream).lines() {
            if line?.is_empty() {
                write!(stream, "HTTP/1.0 200 OK\r\n\r\nthe page")?;
                return Ok(());
            }
        }
        bail!("no request")
    })?;
    for family in Family::BOTH {
        let target = tunnel.target(family, PORT);
        let mut ping = Command::new("ping");
        near.output(LIMIT, ping.args(["-n", "-c", "1", "-W", "5", &target.ip().to_string()]))?;
        is_answered(&near, target)?;
        let mut curl = Command::new("curl");
        let url = format!("http://{target}/");
        near.output(LIMIT, curl.args(["--silent", "--fail", "--noproxy", "*", &url]))?;
    }
    // While it runs, and at its end, when what is new has waited for less than a second.
    eventually("the packets in the file", LIMIT, || {
        let text = tcpdump(&near, &file)?;
        Family::BOTH.iter().try_for_each(|family| shows(&text, tunnel.target(*family, PORT)))
    })?;
    is_answered(&near, tunnel.target(Family::V4, PORT))?;
    for slipwire in tunnel.slipwires() {
        ensure!(slipwire.terminate(LIMIT)?.success(), "no end in order");
    }
    let answers = tcpdump(&near, &file)?.matches("is anybody there?").count();
    ensure!(answers == 6, "{answers} datagrams with the question and its echo");
    let name = b"near";
    let bytes = fs::read(&file)?;
    ensure!(bytes.windows(name.len()).any(|window| window == name), "no name of the peer");
    Ok(())
}

/// Whether all that went to `target` is there, and what came back.
fn shows(text: &str, target: SocketAddr) -> Result<()> {
    let host = target.ip();
    let port = target.port();
    let icmp = if host.is_ipv6() { "ICMP6," } else { "ICMP" };
    let patterns = [
        format!("> {host}: {icmp} echo request"),
        format!("{host} > "),
        format!("> {host}.{port}: Flags [S]"),
        format!("{host}.{port} > "),
        "GET / HTTP".to_owned(),
        "the page".to_owned(),
        "is anybody there?".to_owned(),
    ];
    for pattern in patterns {
        ensure!(text.contains(&pattern), "no {pattern:?} in\n{text}");
    }
    Ok(())
}

fn full_disk(lab: &Lab) -> Result<()> {
    let disk = small_disk(lab)?;
    let file = disk.join("tunnel.pcap");
    let mut tunnel = gateway(lab, &file)?;
    move_more_than_a_small_disk_holds(&tunnel)?;
    let slipwire = tunnel.slipwires().next();
    let Some(slipwire) = slipwire else { bail!("no slipwire") };
    let log = slipwire.whole_log(LIMIT)?.tail(100);
    let lines: Vec<_> = log.iter().filter(|line| line.contains("capture: ")).collect();
    ensure!(lines.len() == 2, "one line when it begins and one at the end: {lines:#?}");
    ensure!(lines[0].contains("No space left on device"), "{lines:#?}");
    // What is there is whole.
    let text = tcpdump(&tunnel.row.near, &file)?;
    ensure!(text.contains(&format!(".{PORT}: Flags [S]")), "no beginning in\n{text}");
    Ok(())
}
