//! Memory: little when idle, bounded when a reader stops reading.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use slipwire_tests::{
    lab::Lab,
    payload::{MIB, Payload, receive},
    tcp::Service,
    tunnel::{Job, Tunnel},
};

use crate::{
    common::{PORT, connect, receive_from_source, send_to_sink, source, tunnel},
    runner::Test,
};

const IDLE_BOUND: u64 = 10 * MIB;
/// Idle memory, and what two flows may buffer: a megabyte each way and a few trains of datagrams.
const STOPPED_BOUND: u64 = 32 * MIB;
const STOPPED_FOR: Duration = Duration::from_secs(20);

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Test::each(Job::ALL, "idle_process_is_small", idle);
    tests.extend(Test::each(Job::ALL, "reader_that_stops_costs_no_memory", stopped_readers));
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

/// One reader at each end reads nothing for a while, then all there is.
fn stopped_readers(lab: &Lab, job: Job) -> Result<()> {
    let mut tunnel = tunnel(lab, job)?;
    let lazy_sink = Service::start(&tunnel.row.far, PORT, |mut stream| {
        thread::sleep(STOPPED_FOR);
        let sum = receive(&mut stream)?;
        std::io::Write::write_all(&mut stream, format!("{} bytes", sum.bytes).as_bytes())?;
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
    let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    ensure!(lazy_sink.result()? == sent, "wrong bytes at the server");
    bounded(&mut tunnel, STOPPED_BOUND)
}
