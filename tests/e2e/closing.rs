//! How connections end: half-closes, resets, refusals and unreachable targets reach the other side
//! for what they are.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use slipwire_lab::{
    lab::Lab,
    payload::{Payload, receive, send},
    row::Family,
    tcp::{self, Service},
    tunnel::{Job, Tunnel},
};

use crate::{
    common::{PORT, PROMPT, connect, receive_from_source, send_to_sink, sink, source, tunnel},
    runner::Test,
};

pub(crate) fn tests() -> Vec<Test> {
    let jobs = Job::WITH_BASELINE;
    let gateways = [Job::Gateway, Job::BothEnds];
    [
        Test::each(&gateways, "ports_of_a_gateway_come_round", ports_come_round),
        Test::each(jobs, "half_close_reaches_the_other_side", half_close_by_client),
        Test::each(jobs, "half_close_by_the_server_leaves_the_way_back_open", half_close_by_server),
        Test::each(jobs, "half_close_without_data_reaches_the_other_side", empty_half_close),
        Test::each(jobs, "reset_by_the_client_is_a_reset_at_the_server", reset_by_client),
        Test::each(jobs, "reset_by_the_server_is_a_reset_at_the_client", reset_by_server),
        Test::each(jobs, "reset_in_mid_transfer_is_no_clean_end", reset_in_mid_transfer),
        Test::each(jobs, "refused_target_is_refused_at_once", refused),
        Test::each(jobs, "unreachable_target_is_an_error_at_once", unreachable),
        Test::each(jobs, "silent_target_holds_up_nobody_else", silent),
        Test::each(jobs, "idle_connection_stays_open", idle),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn half_close_by_client(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let sink = sink(&tunnel.row.far, PORT)?;
    for family in Family::BOTH {
        let stream = tcp::connect(&tunnel.row.near, tunnel.target(family, PORT))?;
        let sent = send_to_sink(&stream, Payload { bytes: 3_000_000, seed: 5 })?;
        ensure!(sink.result()? == sent, "other bytes arrived than were sent over {family:?}");
    }
    Ok(())
}

fn half_close_by_server(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let source = source(&tunnel.row.far, PORT, Payload { bytes: 3_000_000, seed: 6 })?;
    for family in Family::BOTH {
        let stream = tcp::connect(&tunnel.row.near, tunnel.target(family, PORT))?;
        let received = receive_from_source(&stream)?;
        ensure!(source.result()? == received, "other bytes arrived than were sent over {family:?}");
    }
    Ok(())
}

fn empty_half_close(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let sink = sink(&tunnel.row.far, PORT)?;
    send_to_sink(&connect(&tunnel, PORT)?, Payload { bytes: 0, seed: 0 })?;
    ensure!(sink.result()?.bytes == 0, "bytes arrived that nobody sent");
    Ok(())
}

/// The host keeps the port of each connection that the client ended first for a minute.
fn ports_come_round(lab: &Lab, job: Job) -> Result<()> {
    const PORTS: &str = "40000 40063";
    let tunnel = tunnel(lab, job)?;
    tunnel.row.mid.sysctl("ipv4/ip_local_port_range", PORTS)?;
    let _server = Service::start(&tunnel.row.far, PORT, |mut stream| {
        ensure!(stream.read(&mut [0])? == 0, "bytes that nobody sent");
        Ok(())
    })?;
    for family in Family::BOTH {
        for connection in 0..200 {
            let once = || {
                let mut stream = tcp::connect(&tunnel.row.near, tunnel.target(family, PORT))?;
                stream.shutdown(Shutdown::Write)?;
                ensure!(stream.read(&mut [0])? == 0, "bytes that nobody sent");
                Ok(())
            };
            once().with_context(|| format!("connection {connection} over {family:?}"))?;
        }
    }
    Ok(())
}

/// A server that says hello, so that the client knows the connection to be there, then goes on with
/// `rest`.
fn greeter(
    tunnel: &Tunnel,
    rest: impl Fn(TcpStream) -> Result<()> + Send + Sync + 'static,
) -> Result<Service<()>> {
    Service::start(&tunnel.row.far, PORT, move |mut stream| {
        stream.write_all(b"hello")?;
        rest(stream)
    })
}

fn greeted(tunnel: &Tunnel) -> Result<TcpStream> {
    let mut stream = connect(tunnel, PORT)?;
    stream.read_exact(&mut [0; 5]).context("reading the greeting")?;
    Ok(stream)
}

fn reset_by_client(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let server = greeter(&tunnel, |stream| tcp::expect_reset(&stream))?;
    tcp::reset(greeted(&tunnel)?)?;
    server.result()
}

fn reset_by_server(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let server = greeter(&tunnel, |mut stream| {
        stream.read_exact(&mut [0; 3]).context("reading the answer")?;
        tcp::reset(stream)
    })?;
    let mut client = greeted(&tunnel)?;
    client.write_all(b"bye")?;
    server.result()?;
    tcp::expect_reset(&client)
}

fn reset_in_mid_transfer(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let server = Service::start(&tunnel.row.far, PORT, |mut stream| {
        let mut cut = stream.try_clone()?.take(1_000_000);
        receive(&mut cut)?;
        stream.write_all(b"enough")?;
        tcp::reset(stream)
    })?;
    let mut client = connect(&tunnel, PORT)?;
    let error = send(&mut client, Payload::mib(1024, 7))
        .err()
        .context("a gigabyte went to a server that had reset the connection")?;
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    ensure!(
        matches!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)),
        "{error:#}, not a reset"
    );
    server.result()
}

fn refused(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    // With the tunnel up, a refusal takes no longer than a direct one.
    sink(&tunnel.row.far, PORT).and_then(|sink| {
        send_to_sink(&connect(&tunnel, PORT)?, Payload { bytes: 1, seed: 0 })?;
        sink.result()
    })?;
    for family in Family::BOTH {
        let refusal = failure(&tunnel, tunnel.target(family, PORT + 1), PROMPT)?;
        let expected: &[ErrorKind] = if job.forwards() {
            &[ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset]
        } else {
            &[ErrorKind::ConnectionRefused]
        };
        ensure!(expected.contains(&refusal), "{refusal:?} over {family:?}");
    }
    Ok(())
}

fn unreachable(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    for family in Family::BOTH {
        let failure = failure(&tunnel, tunnel.unreachable(family), PROMPT)?;
        ensure!(failure != ErrorKind::TimedOut, "a hang over {family:?}");
    }
    Ok(())
}

/// Connects and reads, which must fail `within` the time and not look like a clean end.
fn failure(tunnel: &Tunnel, target: SocketAddr, within: Duration) -> Result<ErrorKind> {
    let start = Instant::now();
    let connected = tcp::try_connect(&tunnel.row.near, target)?;
    let kind = match connected.and_then(|mut stream| stream.read(&mut [0])) {
        Ok(length) => bail!("{target}: {length} bytes and a clean end, where an error was due"),
        Err(error) => error.kind(),
    };
    let elapsed = start.elapsed();
    ensure!(elapsed < within, "{target}: {kind:?} took {elapsed:?}");
    Ok(kind)
}

fn silent(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let sink = sink(&tunnel.row.far, PORT)?;
    let near = &tunnel.row.near;
    let silent = tunnel.silent(Family::V4);
    thread::scope(|scope| {
        for _ in 0..20 {
            // How these end is not of interest here.
            scope.spawn(|| tcp::try_connect(near, silent).map(drop));
        }
        thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        send_to_sink(&connect(&tunnel, PORT)?, Payload { bytes: 10_000, seed: 8 })?;
        ensure!(start.elapsed() < PROMPT, "took {:?}", start.elapsed());
        sink.result().map(drop)
    })
}

fn idle(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let sink = sink(&tunnel.row.far, PORT)?;
    let stream = connect(&tunnel, PORT)?;
    // Longer than WireGuard's keepalive (10 s) and the new handshake after silence (15 s).
    thread::sleep(Duration::from_secs(20));
    let sent = send_to_sink(&stream, Payload { bytes: 10_000, seed: 9 })?;
    ensure!(sink.result()? == sent, "other bytes arrived than were sent");
    Ok(())
}
