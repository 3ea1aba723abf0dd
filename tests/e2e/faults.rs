//! System calls that fail: what asked for them is answered or goes on, everything else does not
//! notice, nothing spins, and nothing is said more than once in a while.
//!
//! Descriptors run out for real, by a limit that is lowered under the running program. Other
//! errors are put in by `strace`, in the place of every so-manieth call of a kind.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    payload::Payload,
    process::Process,
    row::Family,
    tcp::{self, Service},
    tunnel::{Job, Plan, Tunnel},
    udp::{self, Echo},
};

use crate::{
    common::{PORT, PROMPT, connect, duplex, is_answered, send_to_sink, sink, tunnel},
    runner::Test,
};

/// Where a flow lives that is there before the fault and stays.
const OLD_PORT: u16 = PORT + 1;
/// How long the program is watched, and the processor time that it may take meanwhile: it has
/// nothing to do.
const WATCHED_FOR: Duration = Duration::from_secs(3);
const IDLE_TIME: Duration = Duration::from_millis(100);
/// Lines that a fault may cost, however often it occurs.
const LINES_MAX: usize = 3;
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn tests() -> Vec<Test> {
    let limited =
        |name: &str, body: fn(&Lab) -> Result<()>| Test::new(name, body).with_tools(&["prlimit"]);
    let traced =
        |name: &str, body: fn(&Lab) -> Result<()>| Test::new(name, body).with_tools(&["strace"]);
    let tunnel_errors = [
        ("gateway::no_buffers_at_the_wireguard_socket_cost_no_bytes", "sendmsg:error=ENOBUFS"),
        ("gateway::a_firewall_at_the_wireguard_socket_costs_no_bytes", "sendmsg:error=EPERM"),
        ("gateway::refusals_at_the_wireguard_socket_cost_no_bytes", "sendmsg:error=ECONNREFUSED"),
        ("gateway::errors_of_receiving_cost_no_bytes", "recvmmsg:error=ECONNREFUSED"),
        ("gateway::no_memory_for_receiving_costs_no_bytes", "recvmmsg:error=ENOMEM"),
    ];
    let tunnel_errors = tunnel_errors.into_iter().map(|(name, fault)| {
        Test::new(name, move |lab| reported_errors(lab, fault)).with_tools(&["strace"])
    });
    let opening_errors = [
        ("gateway::no_file_for_a_connection_is_a_refusal", "socket:error=ENFILE:when=12+2"),
        ("gateway::no_memory_for_a_connection_is_a_refusal", "socket:error=ENOMEM:when=12+2"),
        // Each of the first 20 is tried from 16 ports more.
        (
            "gateway::no_port_for_a_connection_is_a_refusal",
            "connect:error=EADDRNOTAVAIL:when=1..340",
        ),
        (
            "gateway::no_room_in_epoll_for_a_connection_is_a_refusal",
            "epoll_ctl:error=ENOMEM:when=12+2",
        ),
    ];
    let opening_errors = opening_errors.into_iter().map(|(name, fault)| {
        Test::new(name, move |lab| some_are_refused(lab, fault)).with_tools(&["strace"])
    });
    let mut tests = vec![
        limited("gateway::flows_without_descriptors_are_refused_until_there_are", no_descriptors),
        limited("forward::clients_wait_for_descriptors_and_are_served", clients_wait),
        limited("gateway::a_low_limit_of_descriptors_is_kept_to", low_limit),
        traced("forward::accepts_that_fail_lose_no_client", failing_accepts),
        traced("gateway::no_port_for_a_mapping_is_an_icmp_error", no_port_for_a_mapping),
        traced("gateway::datagrams_that_the_host_forbids_are_an_icmp_error", forbidden_datagrams),
        traced("gateway::lost_routes_at_the_wireguard_socket_cost_no_bytes", lost_routes),
        traced("gateway::trains_that_are_invalid_to_the_system_cost_no_bytes", invalid_trains),
        traced("gateway::datagrams_without_buffers_are_lost_and_no_more", lost_datagrams),
    ];
    tests.extend(tunnel_errors);
    tests.extend(opening_errors);
    tests
}

/// A tunnel whose slipwires get these errors.
fn faulty(lab: &Lab, job: Job, fault: &str) -> Result<Tunnel> {
    let inject = format!("inject={fault}");
    // With -D it is strace that runs beside slipwire, which so stays our child.
    let words = ["strace", "-D", "-f", "-o", "/dev/null", "-e", &inject];
    let wrapper = words.map(str::to_owned).to_vec();
    Tunnel::start(lab, Plan { wrapper, ..Plan::new(job) })
}

fn slipwire(tunnel: &Tunnel) -> &Process {
    let end = if matches!(tunnel.mid_end, slipwire_lab::tunnel::End::Slipwire(_)) {
        &tunnel.mid_end
    } else {
        &tunnel.near_end
    };
    end.process()
}

/// The program does nothing while it has nothing to do, and has said little about it.
fn is_calm(tunnel: &Tunnel) -> Result<()> {
    let process = slipwire(tunnel);
    let before = process.cpu_time()?;
    thread::sleep(WATCHED_FOR);
    let used = process.cpu_time()? - before;
    ensure!(used < IDLE_TIME, "{used:?} of processor time within {WATCHED_FOR:?} of nothing to do");
    let lines =
        process.stderr().count_lines(|line| line.contains("WARN") || line.contains("ERROR"));
    ensure!(lines <= LINES_MAX, "{lines} lines of warnings");
    Ok(())
}

/// A connection that says something now and then.
struct OldFlow {
    stream: TcpStream,
    _server: Service<()>,
}

impl OldFlow {
    fn start(tunnel: &Tunnel) -> Result<Self> {
        let _server = Service::start(&tunnel.row.far, OLD_PORT, |mut stream| {
            let mut byte = [0];
            while stream.read(&mut byte)? > 0 {
                stream.write_all(&byte)?;
            }
            Ok(())
        })?;
        let mut flow = Self { stream: connect(tunnel, OLD_PORT)?, _server };
        flow.goes_on()?;
        Ok(flow)
    }

    fn goes_on(&mut self) -> Result<()> {
        let mut byte = [7];
        self.stream.write_all(&byte)?;
        self.stream.read_exact(&mut byte).context("a flow that was there already")
    }
}

/// How a connect ended, which must not be by waiting.
fn attempt(tunnel: &Tunnel, target: SocketAddr) -> Result<Result<TcpStream, ErrorKind>> {
    let start = Instant::now();
    let connected = tcp::try_connect(&tunnel.row.near, target)?;
    ensure!(start.elapsed() < PROMPT, "an answer after {:?}", start.elapsed());
    Ok(connected.map_err(|error| error.kind()))
}

fn is_refused(tunnel: &Tunnel, port: u16) -> Result<()> {
    match attempt(tunnel, tunnel.target(Family::V4, port))? {
        Ok(_) => bail!("a connection where there is no descriptor for it"),
        Err(ErrorKind::ConnectionRefused) => Ok(()),
        Err(other) => bail!("{other:?}, not a refusal"),
    }
}

/// A datagram is answered by an ICMP error, which shows at the socket that it came from.
fn is_unreachable(tunnel: &Tunnel, port: u16) -> Result<()> {
    eventually("an ICMP error", LIMIT, || {
        // Each attempt from a new socket: a mapping that is there already has its port.
        let socket = udp::connect(&tunnel.row.near, tunnel.target(Family::V4, port))?;
        let sent = socket.send(b"?").map(drop);
        match sent.and_then(|()| socket.recv(&mut [0]).map(drop)) {
            Err(error) if error.kind() == ErrorKind::HostUnreachable => Ok(()),
            Err(error) => Err(error).context("another error"),
            Ok(()) => bail!("an answer"),
        }
    })
}

fn no_descriptors(lab: &Lab) -> Result<()> {
    let tunnel = tunnel(lab, Job::Gateway)?;
    let (near, far) = (&tunnel.row.near, &tunnel.row.far);
    let (sink, _echo) = (sink(far, PORT)?, Echo::start(far, PORT)?);
    let mut old = OldFlow::start(&tunnel)?;
    let process = slipwire(&tunnel);

    process.deny_descriptors()?;
    for _ in 0..20 {
        is_refused(&tunnel, PORT)?;
        is_unreachable(&tunnel, PORT)?;
    }
    old.goes_on()?;
    is_calm(&tunnel)?;

    process.limit_descriptors(1024)?;
    let sent = send_to_sink(&connect(&tunnel, PORT)?, Payload { bytes: 100_000, seed: 1 })?;
    ensure!(sink.result()? == sent, "other bytes arrived than were sent");
    eventually("an answer", LIMIT, || is_answered(near, tunnel.target(Family::V4, PORT)))?;
    old.goes_on()
}

fn clients_wait(lab: &Lab) -> Result<()> {
    let tunnel = tunnel(lab, Job::Forward)?;
    let sink = sink(&tunnel.row.far, PORT)?;
    let mut old = OldFlow::start(&tunnel)?;
    let process = slipwire(&tunnel);

    process.deny_descriptors()?;
    let clients: Vec<_> = (0..5).map(|_| connect(&tunnel, PORT)).collect::<Result<_>>()?;
    old.goes_on()?;
    is_calm(&tunnel)?;
    ensure!(sink.accepted() == 0, "a client was served without a descriptor");

    process.limit_descriptors(1024)?;
    for (client, seed) in clients.iter().zip(0..) {
        let sent = send_to_sink(client, Payload { bytes: 10_000, seed })?;
        ensure!(sink.result()? == sent, "other bytes arrived than were sent");
    }
    old.goes_on()
}

/// The limit is there from the start, so that descriptors are kept back for the program itself.
fn low_limit(lab: &Lab) -> Result<()> {
    let wrapper = ["prlimit", "--nofile=80:80"].map(str::to_owned).to_vec();
    let tunnel = Tunnel::start(lab, Plan { wrapper, ..Plan::new(Job::Gateway) })?;
    let (near, far) = (&tunnel.row.near, &tunnel.row.far);
    let (sink, _echo) = (sink(far, PORT)?, Echo::start(far, PORT)?);
    let mut old = OldFlow::start(&tunnel)?;

    let mut held = Vec::new();
    let refusal = loop {
        match attempt(&tunnel, tunnel.target(Family::V4, PORT))? {
            Ok(stream) => held.push(stream),
            Err(kind) => break kind,
        }
        ensure!(held.len() < 80, "more connections than descriptors");
    };
    ensure!(refusal == ErrorKind::ConnectionRefused, "{refusal:?}, not a refusal");
    is_unreachable(&tunnel, PORT).context("a mapping beyond the limit")?;
    ensure!(held.len() >= 4, "only {} connections", held.len());
    let descriptors = slipwire(&tunnel).descriptors()?;
    ensure!(descriptors < 60, "{descriptors} of 80 descriptors in use, and none kept back");
    old.goes_on()?;
    is_calm(&tunnel)?;

    drop(held);
    eventually("a connection", LIMIT, || {
        send_to_sink(&connect(&tunnel, PORT)?, Payload { bytes: 1000, seed: 2 })
    })?;
    sink.result()?;
    eventually("an answer", LIMIT, || is_answered(near, tunnel.target(Family::V4, PORT)))
}

/// A transfer with an error every now and then.
fn transfer(lab: &Lab, fault: &str) -> Result<Tunnel> {
    let tunnel = faulty(lab, Job::Gateway, &format!("{fault}:when=20+20"))?;
    duplex(&tunnel, Family::V4, Payload { bytes: 1_000_000, seed: 3 }, None)?;
    is_calm(&tunnel)?;
    Ok(tunnel)
}

fn reported_errors(lab: &Lab, fault: &str) -> Result<()> {
    let tunnel = transfer(lab, fault)?;
    let lines = slipwire(&tunnel).stderr().count_lines(|line| line.contains("WireGuard socket"));
    ensure!(lines == 1, "{lines} lines about the fault");
    Ok(())
}

/// The error may mean that the source address has left the host, and goes with the source then.
fn lost_routes(lab: &Lab) -> Result<()> {
    transfer(lab, "sendmsg:error=ENETUNREACH").map(drop)
}

/// As gVisor says of trains, after it has taken the option for them. A source that has left says
/// the same.
fn invalid_trains(lab: &Lab) -> Result<()> {
    transfer(lab, "sendmsg:error=EINVAL").map(drop)
}

fn some_are_refused(lab: &Lab, fault: &str) -> Result<()> {
    let tunnel = faulty(lab, Job::Gateway, fault)?;
    let _sink = sink(&tunnel.row.far, PORT)?;
    // A connection that was refused may have reached the server, which has a result of it too.
    let (mut served, mut refused) = (0, 0);
    for seed in 0..40 {
        match attempt(&tunnel, tunnel.target(Family::V4, PORT))? {
            Ok(stream) => {
                send_to_sink(&stream, Payload { bytes: 1000, seed })?;
                served += 1;
            }
            Err(ErrorKind::ConnectionRefused) => refused += 1,
            Err(other) => bail!("{other:?}, not a refusal"),
        }
    }
    ensure!(served >= 10 && refused >= 10, "{served} were served, {refused} refused");
    is_calm(&tunnel)
}

fn failing_accepts(lab: &Lab) -> Result<()> {
    let tunnel = faulty(lab, Job::Forward, "accept4:error=EMFILE:when=1+2")?;
    let sink = sink(&tunnel.row.far, PORT)?;
    for seed in 0..20 {
        let sent = send_to_sink(&connect(&tunnel, PORT)?, Payload { bytes: 1000, seed })?;
        ensure!(sink.result()? == sent, "other bytes arrived than were sent");
    }
    is_calm(&tunnel)
}

fn no_port_for_a_mapping(lab: &Lab) -> Result<()> {
    // The first ones are of the program's start.
    let tunnel = faulty(lab, Job::Gateway, "bind:error=EADDRNOTAVAIL:when=8+")?;
    let sink = sink(&tunnel.row.far, PORT)?;
    for seed in 0..10 {
        is_unreachable(&tunnel, PORT)?;
        let sent = send_to_sink(&connect(&tunnel, PORT)?, Payload { bytes: 1000, seed })?;
        ensure!(sink.result()? == sent, "other bytes arrived than were sent");
    }
    is_calm(&tunnel)
}

fn forbidden_datagrams(lab: &Lab) -> Result<()> {
    let tunnel = faulty(lab, Job::Gateway, "sendto:error=EPERM:when=8+")?;
    for _ in 0..20 {
        is_unreachable(&tunnel, PORT)?;
    }
    is_calm(&tunnel)
}

fn lost_datagrams(lab: &Lab) -> Result<()> {
    // Two calls in turn, because one that fails is repeated at once.
    let tunnel = faulty(lab, Job::Gateway, "sendto:error=ENOBUFS:when=8..80")?;
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    let socket = udp::connect(&tunnel.row.near, tunnel.target(Family::V4, PORT))?;
    let request = [9; 1000];
    eventually("an answer", LIMIT, || udp::ask(&socket, &request))?;
    is_calm(&tunnel)
}
