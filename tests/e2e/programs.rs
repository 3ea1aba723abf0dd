//! Programs that everybody has work through the tunnel: curl, dig with a real DNS server, iperf3.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    process::Process,
    row::Family,
    tcp::Service,
    tunnel::{Job, Tunnel},
};

use crate::{
    common::{PORT, tunnel},
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn tests() -> Vec<Test> {
    let jobs = Job::WITH_BASELINE;
    let tests = [
        (&["curl"][..], Test::each(jobs, "curl_fetches_a_page", curl)),
        (&["dig", "dnsmasq"], Test::each(jobs, "dig_gets_its_answer_over_udp_and_tcp", dig)),
        (&["iperf3"], Test::each(jobs, "iperf3_runs_both_ways", iperf3)),
        (&["iperf3"], Test::each(jobs, "iperf3_runs_both_ways_over_udp", iperf3_udp)),
    ];
    let with_tools = |(tools, tests): (_, Vec<Test>)| {
        tests.into_iter().map(move |test| test.with_tools(tools)).collect::<Vec<_>>()
    };
    tests.into_iter().flat_map(with_tools).collect()
}

fn curl(lab: &Lab, job: Job) -> Result<()> {
    fetch_page(&tunnel(lab, job)?)
}

/// Fetches a page through the tunnel with curl, over either IP version.
pub(crate) fn fetch_page(tunnel: &Tunnel) -> Result<()> {
    const PAGE: &str = "It works, through the tunnel.";
    let _server = Service::start(&tunnel.row.far, PORT, |mut stream| {
        for line in BufReader::new(&stream).lines() {
            if line?.is_empty() {
                let length = PAGE.len();
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{PAGE}")?;
                return Ok(());
            }
        }
        bail!("no request")
    })?;
    for family in Family::BOTH {
        let url = format!("http://{}/", tunnel.target(family, PORT));
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", &url]);
        let page = tunnel.row.near.output(LIMIT, &mut curl)?;
        ensure!(page == PAGE, "{url}: {page:?}");
    }
    Ok(())
}

fn dig(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let mut dnsmasq = Command::new("dnsmasq");
    // In the foreground, without changing to another user, which a user namespace does not have.
    dnsmasq.args(["--no-daemon", "--conf-file=/dev/null", "--pid-file="]);
    dnsmasq.args(["--no-resolv", "--no-hosts", "--address=/service.test/192.0.2.7"]);
    dnsmasq.arg(format!("--port={PORT}"));
    let _dnsmasq = tunnel.row.far.spawn("dnsmasq", &mut dnsmasq)?;
    for family in Family::BOTH {
        let target = tunnel.target(family, PORT);
        for transport in ["+notcp", "+tcp"] {
            let mut dig = Command::new("dig");
            dig.args([&format!("@{}", target.ip()), "-p", &target.port().to_string()]);
            dig.args(["+short", "+tries=3", "+time=2", transport, "service.test", "A"]);
            // dnsmasq may still be starting.
            eventually("answer of the DNS server", LIMIT, || {
                let answer = tunnel.row.near.output(LIMIT, &mut dig)?;
                ensure!(answer.trim() == "192.0.2.7", "{transport} {family:?}: {answer:?}");
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn iperf3(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    for direction in [&[][..], &["--reverse"], &["--bidir"], &["--parallel", "4"]] {
        measure(&tunnel, direction)?;
    }
    Ok(())
}

fn iperf3_udp(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    const UDP: [&str; 5] = ["--udp", "--bitrate", "10M", "--length", "1200"];
    for direction in [&[][..], &["--reverse"]] {
        measure(&tunnel, &[&UDP, direction].concat())?;
    }
    Ok(())
}

/// Runs iperf3 for a second and wants bytes to have arrived.
pub(crate) fn measure(tunnel: &Tunnel, arguments: &[&str]) -> Result<()> {
    let target = tunnel.target(Family::V4, PORT);
    let mut server = iperf3_server(tunnel)?;
    let mut client = Command::new("iperf3");
    client.args(["--json", "--time", "1", "--client", &target.ip().to_string()]);
    client.args(["--port", &target.port().to_string()]).args(arguments);
    let report = tunnel.row.near.output(LIMIT, &mut client);
    let report = report.with_context(|| format!("iperf3 {arguments:?}"))?;
    let report: serde_json::Value = serde_json::from_str(&report)?;
    let sums = report["end"].as_object().context("no end in the report")?;
    for (name, sum) in sums.iter().filter(|(name, _)| name.starts_with("sum")) {
        let bytes = sum["bytes"].as_u64().unwrap_or(0);
        ensure!(bytes > 0, "iperf3 {arguments:?}: nothing in {name}");
    }
    server.wait(LIMIT)?;
    Ok(())
}

/// A server for one run; it says when it listens.
fn iperf3_server(tunnel: &Tunnel) -> Result<Process> {
    let mut command = Command::new("iperf3");
    command.args(["--server", "--one-off", "--forceflush", "--port", &PORT.to_string()]);
    let server = tunnel.row.far.spawn("iperf3", &mut command)?;
    eventually("server of iperf3", LIMIT, || {
        ensure!(server.stdout().has_word("listening"), "does not listen");
        Ok(())
    })?;
    Ok(server)
}
