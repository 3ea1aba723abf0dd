//! Memory: little when idle, bounded when a reader stops reading.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    payload::{MIB, Payload, Random, receive},
    tcp::Service,
    tunnel::{Job, Plan, Tunnel},
};

use crate::{
    common::{PORT, connect, receive_from_source, send_to_sink, source, tunnel},
    runner::Test,
};

const IDLE_BOUND: u64 = 10 * MIB;
/// Idle memory, and what two flows may buffer: a megabyte each way and a few trains of datagrams.
const STOPPED_BOUND: u64 = 32 * MIB;
/// Connections that move much, and then nothing.
const CONNECTIONS: u64 = 64;
/// What each of them may keep.
const CONNECTION_BOUND: u64 = 16 * 1024;
const STOPPED_FOR: Duration = Duration::from_secs(20);

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Test::each(Job::ALL, "idle_process_is_small", idle);
    tests.extend(Test::each(Job::ALL, "reader_that_stops_costs_no_memory", stopped_readers));
    tests.extend(Test::each(Job::ALL, "connections_that_went_idle_give_memory_back", gone_idle));
    tests.push(Test::new("gateway::memory_of_slow_connections_is_bounded", slow_connections));
    tests
}

fn bounded(tunnel: &mut Tunnel, bound: u64) -> Result<()> {
    for slipwire in tunnel.slipwires() {
        let resident = slipwire.process().resident()?;
        ensure!(resident < bound, "{resident} bytes resident, which is {bound} or more");
    }
    Ok(())
}

fn idle(lab: &Lab, job: Job) -> Result<()> {
    let mut tunnel = tunnel(lab, job)?;
    thread::sleep(Duration::from_secs(2));
    bounded(&mut tunnel, IDLE_BOUND)
}

/// Connections that were busy keep little, and go on as if nothing had been.
fn gone_idle(lab: &Lab, job: Job) -> Result<()> {
    const CHUNK: usize = 512 * 1024;
    let mut tunnel = tunnel(lab, job)?;
    let _echo = Service::start(&tunnel.row.far, PORT, |mut stream| {
        Ok(std::io::copy(&mut stream.try_clone()?, &mut stream)?)
    })?;
    let clients = (0..CONNECTIONS).map(|_| connect(&tunnel, PORT)).collect::<Result<Vec<_>>>()?;
    thread::sleep(Duration::from_millis(500));
    let resident = |tunnel: &mut Tunnel| {
        let processes = tunnel.slipwires().map(|slipwire| slipwire.process().resident());
        processes.collect::<Result<Vec<_>>>()
    };
    let before = resident(&mut tunnel)?;
    let mut random = Random::new(43);
    for round in 0..2 {
        for client in &clients {
            exchange(client, &random.bytes(CHUNK)).with_context(|| format!("round {round}"))?;
        }
        let is_low = |tunnel: &mut Tunnel| {
            let after = resident(tunnel)?;
            let grown =
                after.iter().zip(&before).map(|(after, before)| after.saturating_sub(*before));
            let grown = grown.max().unwrap_or_default();
            // Whatever else the process keeps after a rush is not for each connection.
            ensure!(grown < 4 * MIB + CONNECTIONS * CONNECTION_BOUND, "{grown} bytes more");
            Ok(())
        };
        eventually("memory", Duration::from_secs(20), || is_low(&mut tunnel))?;
    }
    Ok(())
}

/// Connections that are never idle for long and carry little at a time do not end up with all of
/// their buffers resident.
fn slow_connections(lab: &Lab) -> Result<()> {
    const CHUNK: usize = 24 * 1024;
    let tables = "[limits]\nmemory = \"8MiB\"\n".to_owned();
    let mut tunnel = Tunnel::start(lab, Plan { tables, ..Plan::new(Job::Gateway) })?;
    let _echo = Service::start(&tunnel.row.far, PORT, |mut stream| {
        Ok(std::io::copy(&mut stream.try_clone()?, &mut stream)?)
    })?;
    let clients = (0..CONNECTIONS).map(|_| connect(&tunnel, PORT)).collect::<Result<Vec<_>>>()?;
    thread::sleep(Duration::from_millis(500));
    let before = tunnel.mid_end.process().resident()?;
    let mut random = Random::new(44);
    for round in 0..50 {
        for client in &clients {
            let (bytes, mut back) = (random.bytes(CHUNK), vec![0; CHUNK]);
            (&mut &*client).write_all(&bytes)?;
            (&mut &*client).read_exact(&mut back).with_context(|| format!("round {round}"))?;
            ensure!(back == bytes, "other bytes came back");
        }
        let after = tunnel.mid_end.process().resident()?;
        let bound = before + 8 * MIB + 4 * MIB + CONNECTIONS * CONNECTION_BOUND;
        ensure!(after < bound, "{after} bytes resident after round {round}, {before} before");
    }
    bounded(&mut tunnel, STOPPED_BOUND)
}

/// Sends bytes to an echo and wants them back, the way a slow reader would: the rings fill.
fn exchange(client: &TcpStream, bytes: &[u8]) -> Result<()> {
    let mut writer = client.try_clone()?;
    thread::scope(|scope| {
        let sender = scope.spawn(move || writer.write_all(bytes));
        thread::sleep(Duration::from_millis(20));
        let mut back = vec![0; bytes.len()];
        (&mut &*client).read_exact(&mut back)?;
        sender.join().map_err(|_| anyhow!("the sender panicked"))??;
        ensure!(back == bytes, "other bytes came back");
        Ok(())
    })
}

/// One reader at each end reads nothing for a while, then all there is.
fn stopped_readers(lab: &Lab, job: Job) -> Result<()> {
    let mut tunnel = tunnel(lab, job)?;
    let lazy_sink = Service::start(&tunnel.row.far, PORT, |mut stream| {
        thread::sleep(STOPPED_FOR);
        let sum = receive(&mut stream)?;
        stream.write_all(format!("{} bytes", sum.bytes).as_bytes())?;
        Ok(sum)
    })?;
    let source = source(&tunnel.row.far, PORT + 1, Payload::mib(96, 41))?;
    let (up, down) = (connect(&tunnel, PORT)?, connect(&tunnel, PORT + 1)?);
    let sender = thread::spawn(move || send_to_sink(&up, Payload::mib(96, 40)));

    let start = Instant::now();
    while start.elapsed() < STOPPED_FOR {
        bounded(&mut tunnel, STOPPED_BOUND)?;
        thread::sleep(Duration::from_millis(100));
    }
    ensure!(receive_from_source(&down)? == source.result()?, "wrong bytes at the client");
    let sent = sender.join().map_err(|_| anyhow!("the sender panicked"))??;
    ensure!(lazy_sink.result()? == sent, "wrong bytes at the server");
    bounded(&mut tunnel, STOPPED_BOUND)
}
