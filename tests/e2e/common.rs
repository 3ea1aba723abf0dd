//! Helpers that more than one subject uses.

use std::{
    io::Write as _,
    net::{Shutdown, SocketAddr, TcpStream},
    path::PathBuf,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    net::Host,
    payload::{Payload, Sum, receive, send, send_paced, throttle},
    row::Family,
    tcp::{self, Service},
    tunnel::{Job, Plan, Tunnel},
    udp::{self, Echo},
};

/// The port of the service that most tests need; other services take the ports after it.
pub(crate) const PORT: u16 = 7000;
/// The port of the [`Echo`] with which a test asks whether the tunnel works.
pub(crate) const PROBE_PORT: u16 = 7005;

/// What counts as an answer at once and not as a hang: a lost first packet may be repeated once.
pub(crate) const PROMPT: Duration = Duration::from_secs(3);

/// A tunnel for `job` with nothing special about it.
pub(crate) fn tunnel(lab: &Lab, job: Job) -> Result<Tunnel> {
    Tunnel::start(lab, Plan::new(job))
}

/// Connects a client on the near host to a port of the far host, over IPv4 inside.
pub(crate) fn connect(tunnel: &Tunnel, port: u16) -> Result<TcpStream> {
    tcp::connect(&tunnel.row.near, tunnel.target(Family::V4, port))
}

/// A server that reads to the end, answers with the length, and closes: it needs a half-close.
pub(crate) fn sink(host: &Host, port: u16) -> Result<Service<Sum>> {
    Service::start(host, port, |mut stream| {
        let sum = receive(&mut stream)?;
        write!(stream, "{} bytes", sum.bytes)?;
        Ok(sum)
    })
}

/// Sends `payload` to a [`sink`], closes only the sending half, and wants the answer; returns what
/// was sent.
pub(crate) fn send_to_sink(mut stream: &TcpStream, payload: Payload) -> Result<Sum> {
    let sent = send(&mut stream, payload)?;
    stream.shutdown(Shutdown::Write)?;
    tcp::expect_rest(stream, format!("{} bytes", sent.bytes).as_bytes())?;
    Ok(sent)
}

/// A server that sends `payload`, closes only the sending half, and then wants `thanks` to the end.
pub(crate) fn source(host: &Host, port: u16, payload: Payload) -> Result<Service<Sum>> {
    Service::start(host, port, move |mut stream| {
        let sent = send(&mut stream, payload)?;
        stream.shutdown(Shutdown::Write)?;
        tcp::expect_rest(&stream, b"thanks")?;
        Ok(sent)
    })
}

/// Reads all that a [`source`] sends, then thanks it; returns what was read.
pub(crate) fn receive_from_source(mut stream: &TcpStream) -> Result<Sum> {
    let received = receive(&mut stream)?;
    stream.write_all(b"thanks")?;
    stream.shutdown(Shutdown::Write)?;
    Ok(received)
}

/// Sends `payload` both ways at once over one connection, at most `rate` bytes a second each way,
/// and wants both to arrive unchanged.
pub(crate) fn duplex(
    tunnel: &Tunnel,
    inside: Family,
    payload: Payload,
    rate: Option<u64>,
) -> Result<()> {
    let back = Payload { seed: payload.seed + 1, ..payload };
    let server =
        Service::start(&tunnel.row.far, PORT, move |stream| send_and_receive(&stream, back, rate))?;
    let client = tcp::connect(&tunnel.row.near, tunnel.target(inside, PORT))?;
    let (sent, received) = send_and_receive(&client, payload, rate).context("client")?;
    let (sent_back, received_there) = server.result()?;
    ensure!(sent == received_there, "other bytes arrived at the server than were sent");
    ensure!(sent_back == received, "other bytes arrived at the client than were sent");
    Ok(())
}

fn send_and_receive(
    mut stream: &TcpStream,
    payload: Payload,
    rate: Option<u64>,
) -> Result<(Sum, Sum)> {
    thread::scope(|scope| {
        let sender = scope.spawn(move || -> Result<Sum> {
            let sent = match rate {
                Some(rate) => send_paced(&mut stream, payload, throttle(rate))?,
                None => send(&mut stream, payload)?,
            };
            stream.shutdown(Shutdown::Write)?;
            Ok(sent)
        });
        let received = receive(&mut stream)?;
        let sent = sender.join().map_err(|_| anyhow!("the sender panicked"))??;
        Ok((sent, received))
    })
}

/// A question over UDP with one attempt, from a new socket, to an [`Echo`].
pub(crate) fn is_answered(client: &Host, target: SocketAddr) -> Result<()> {
    let socket = udp::connect(client, target)?;
    socket.send(b"is anybody there?")?;
    let reply = udp::receive(&socket)?.with_context(|| format!("no reply from {target}"))?;
    ensure!(reply == b"is anybody there?", "a wrong reply");
    Ok(())
}

/// Waits until UDP passes both ways through the tunnel, and then TCP too.
pub(crate) fn comes_up(tunnel: &Tunnel, within: Duration) -> Result<()> {
    let (near, far) = (&tunnel.row.near, &tunnel.row.far);
    let _echo = Echo::start(far, PROBE_PORT)?;
    let sink = sink(far, PROBE_PORT)?;
    eventually("tunnel", within, || is_answered(near, tunnel.target(Family::V4, PROBE_PORT)))?;
    let stream = connect(tunnel, PROBE_PORT)?;
    let sent = send_to_sink(&stream, Payload { bytes: 100_000, seed: 77 })?;
    ensure!(sink.result()? == sent, "other bytes arrived than were sent");
    Ok(())
}

/// Wants nothing to pass through the tunnel for a while.
pub(crate) fn stays_shut(tunnel: &Tunnel) -> Result<()> {
    let echo = Echo::start(&tunnel.row.far, PROBE_PORT)?;
    stays_silent(tunnel)?;
    ensure!(echo.received() == 0, "a datagram came through the tunnel");
    Ok(())
}

/// Wants no reply of an [`Echo`] to come through the tunnel for a while.
pub(crate) fn stays_silent(tunnel: &Tunnel) -> Result<()> {
    for _ in 0..6 {
        if is_answered(&tunnel.row.near, tunnel.target(Family::V4, PROBE_PORT)).is_ok() {
            bail!("a reply came through the tunnel");
        }
    }
    Ok(())
}

/// A directory on a disk of 256 KiB, which goes with the sandbox.
pub(crate) fn small_disk(lab: &Lab) -> Result<PathBuf> {
    let disk = lab.directory("disk")?;
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=256k,mode=0777", "tmpfs"]).arg(&disk);
    ensure!(mount.status()?.success(), "no tmpfs");
    Ok(disk)
}

/// Moves 3 MiB through the tunnel, which arrive.
pub(crate) fn move_more_than_a_small_disk_holds(tunnel: &Tunnel) -> Result<()> {
    for seed in 0..3 {
        let sink = sink(&tunnel.row.far, PORT)?;
        let stream = connect(tunnel, PORT)?;
        let sent = send_to_sink(&stream, Payload { bytes: 1 << 20, seed })?;
        ensure!(sink.result()? == sent, "other bytes arrived than were sent");
    }
    Ok(())
}
