//! Ends that are gone without a word, and how those at the other side of the tunnel learn of it;
//! and mappings that make room where descriptors are few.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    netfilter::{Chain, Hook, TOOL},
    payload::Payload,
    row::Family,
    tcp::Service,
    tunnel::{Job, Plan, Tunnel, owned},
    udp::Echo,
};
use socket2::SockRef;

use crate::{
    common::{PORT, comes_up, connect, is_answered, send_to_sink, sink, tunnel},
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(30);
/// Ten seconds by the configuration, and what a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(60);
const TABLES: &str = "[tcp]\nhost_keepalive = \"1s\"\n";

pub(crate) fn tests() -> Vec<Test> {
    let servers = "a_server_that_vanishes_is_a_reset_for_its_peer";
    let clients = "a_local_client_that_vanishes_is_a_reset_for_its_server";
    [
        Test::each(&[Job::Gateway, Job::BothEnds], servers, server),
        Test::each(&[Job::Forward, Job::BothEnds], clients, client),
        Test::each(Job::ALL, "urgent_bytes_stay_in_their_stream", urgent),
    ]
    .into_iter()
    .flatten()
    .map(|test| test.with_tools(&[TOOL]))
    .chain([Test::new("gateway::few_descriptors_are_for_any_kind_of_flow", few_descriptors)])
    .collect()
}

fn watched(lab: &Lab, job: Job) -> Result<Tunnel> {
    let tunnel = Tunnel::start(lab, Plan { tables: TABLES.to_owned(), ..Plan::new(job) })?;
    comes_up(&tunnel, LIMIT)?;
    Ok(tunnel)
}

/// Reads until the connection ends, which must be by a reset.
fn is_reset(mut stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => bail!("a clean end, where nobody is"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error).context("no reset"),
        }
    }
}

fn server(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = watched(lab, job)?;
    let _sink = sink(&tunnel.row.far, PORT)?;
    let silent = connect(&tunnel, PORT)?;
    let mut busy = connect(&tunnel, PORT)?;
    busy.write_all(b"acknowledged")?;
    let chain = Chain::start(&tunnel.row.far, Hook::Input, &["meta l4proto tcp counter drop"])?;
    busy.write_all(b"never acknowledged")?;
    is_reset(&busy).context("with bytes under way")?;
    is_reset(&silent).context("without")?;
    chain.was_met()
}

fn client(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = watched(lab, job)?;
    let server = Service::start(&tunnel.row.far, PORT, |mut stream| {
        stream.write_all(b"hello")?;
        is_reset(&stream)
    })?;
    let mut client = connect(&tunnel, PORT)?;
    client.read_exact(&mut [0; 5])?;
    let gone = format!("iifname lo tcp dport {PORT} counter drop");
    let back = format!("iifname lo tcp sport {PORT} counter drop");
    let chain = Chain::start(&tunnel.row.near, Hook::Input, &[&gone, &back])?;
    server.result_within(2 * PATIENCE)?;
    chain.was_met()
}

fn urgent(lab: &Lab, job: Job) -> Result<()> {
    const STREAM: &str = "head!tail";
    let send = |mut stream: &TcpStream| -> Result<()> {
        stream.write_all(b"head")?;
        SockRef::from(stream).send_out_of_band(b"!")?;
        stream.write_all(b"tail")?;
        Ok(stream.shutdown(Shutdown::Write)?)
    };
    let exchange = move |mut stream: &TcpStream| -> Result<String> {
        // What comes from the tunnel is not urgent any more, whatever it was.
        SockRef::from(stream).set_out_of_band_inline(false)?;
        send(stream)?;
        let mut all = String::new();
        stream.read_to_string(&mut all)?;
        Ok(all)
    };
    let tunnel = tunnel(lab, job)?;
    comes_up(&tunnel, LIMIT)?;
    let server = Service::start(&tunnel.row.far, PORT, move |stream| exchange(&stream))?;
    let seen = exchange(&connect(&tunnel, PORT)?)?;
    ensure!(seen == STREAM, "{seen:?} at the client");
    let seen = server.result()?;
    ensure!(seen == STREAM, "{seen:?} at the server");
    Ok(())
}

fn few_descriptors(lab: &Lab) -> Result<()> {
    let wrapper = owned(&["prlimit", "--nofile=120:120"]);
    let tunnel = Tunnel::start(lab, Plan { wrapper, ..Plan::new(Job::Gateway) })?;
    comes_up(&tunnel, LIMIT)?;
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    let target = tunnel.target(Family::V4, PORT);
    // Each is of another socket, and so a mapping of its own.
    for _ in 0..100 {
        eventually("an answer", LIMIT, || is_answered(&tunnel.row.near, target))?;
    }
    let sink = sink(&tunnel.row.far, PORT)?;
    let sent = send_to_sink(&connect(&tunnel, PORT)?, Payload::mib(1, 3))?;
    ensure!(sink.result()? == sent, "other bytes arrived than were sent");
    Ok(())
}
