//! Systems that are almost Linux: a socket option that is refused costs what it is for, and nothing
//! else. `strace` refuses them, each in turn, and all at once.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    net::Host,
    payload::Payload,
    peer::{Keys, Peer},
    row::Family,
    slipwire::{Config, Forward, Slipwire},
    tunnel::{Job, Plan, Tunnel},
    udp::Echo,
};

use crate::{
    common::{PORT, duplex, is_answered},
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(30);
/// What gVisor and old kernels say, and what filters of system calls do.
const REFUSALS: [&str; 2] = ["ENOPROTOOPT", "EPERM"];

pub(crate) fn tests() -> Vec<Test> {
    let traced =
        |name: &str, body: fn(&Lab) -> Result<()>| Test::new(name, body).with_tools(&["strace"]);
    let carries = [Job::Gateway, Job::Forward].map(|job| {
        Test::new(&format!("{job}::options_that_are_all_refused_stop_no_flow"), move |lab| {
            carries(lab, job)
        })
        .with_tools(&["strace"])
    });
    let mut tests = vec![
        traced("options::no_option_that_is_refused_stops_the_start", each_in_turn),
        traced("options::one_line_says_what_is_missing_and_what_that_costs", one_line),
    ];
    tests.extend(carries);
    tests
}

/// A gateway that has forwards, too: everything that opens a socket at the start.
fn start(lab: &Lab, host: &Host, wrapper: &[&str]) -> Result<Slipwire> {
    let forward = |protocol, listen: &str| Forward {
        protocol,
        listen: listen.to_owned(),
        to: "10.0.0.2:80".to_owned(),
    };
    let peer = Peer::caller("peer", &Keys::generate()?, &["10.0.0.2/32"]);
    let config = Config {
        listen_port: Some(51820),
        address: vec!["10.0.0.1/24".to_owned()],
        peers: vec![peer],
        forwards: ["127.0.0.1:7000", "[::1]:7000"]
            .iter()
            .flat_map(|listen| [forward("tcp", listen), forward("udp", listen)])
            .collect(),
        gateway: Some(String::new()),
        wrapper: wrapper.iter().map(|word| (*word).to_owned()).collect(),
        ..Config::default()
    };
    Slipwire::start(lab, host, "slipwire", &Keys::generate()?, &config)
}

/// With -D it is strace that runs beside slipwire, which so stays our child.
fn strace<'w>(log: &'w Path, what: &'w str) -> Result<[&'w str; 7]> {
    let log = log.to_str().context("no text")?;
    Ok(["strace", "-D", "-f", "-o", log, "-e", what])
}

/// How many options a start sets.
fn count(lab: &Lab, host: &Host) -> Result<usize> {
    let directory = lab.directory("strace")?;
    fs::set_permissions(&directory, Permissions::from_mode(0o777))?;
    let log = directory.join("log");
    let mut slipwire = start(lab, host, &strace(&log, "trace=setsockopt")?)?;
    slipwire.terminate(LIMIT)?;
    // Strace ends after its child.
    eventually("the end of strace", LIMIT, || {
        let text = fs::read_to_string(&log)?;
        ensure!(text.contains("+++ exited"), "it writes");
        Ok(text.lines().filter(|line| line.contains("setsockopt(")).count())
    })
}

fn each_in_turn(lab: &Lab) -> Result<()> {
    let host = lab.host("alone")?;
    let options = count(lab, &host)?;
    ensure!(options > 20, "just {options} options");
    for refusal in REFUSALS {
        // One more, to see that the last was reached.
        for number in 1..=options + 1 {
            let fault = format!("inject=setsockopt:error={refusal}:when={number}");
            start(lab, &host, &strace(Path::new("/dev/null"), &fault)?)
                .with_context(|| format!("the option {number} of {options}: {refusal}"))?;
        }
    }
    Ok(())
}

fn one_line(lab: &Lab) -> Result<()> {
    let host = lab.host("alone")?;
    let slipwire =
        start(lab, &host, &strace(Path::new("/dev/null"), "inject=setsockopt:error=ENOPROTOOPT")?)?;
    let lines = slipwire.process().stderr();
    ensure!(lines.count_lines(|line| line.contains("this system lacks ")) == 1, "not one line");
    for part in ["IP_PKTINFO", "IPV6_V6ONLY (a port that ", "SO_REUSEADDR", "IP_MTU_DISCOVER"] {
        ensure!(lines.count_lines(|line| line.contains(part)) > 0, "nothing about {part}");
    }
    Ok(())
}

fn carries(lab: &Lab, job: Job) -> Result<()> {
    let words = strace(Path::new("/dev/null"), "inject=setsockopt:error=ENOPROTOOPT")?;
    let wrapper = words.map(str::to_owned).to_vec();
    let tunnel = Tunnel::start(lab, Plan { wrapper, ..Plan::new(job) })?;
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    for family in Family::BOTH {
        eventually("an answer", LIMIT, || {
            is_answered(&tunnel.row.near, tunnel.target(family, PORT))
        })?;
        duplex(&tunnel, family, Payload::mib(2, 7), None)?;
    }
    Ok(())
}
