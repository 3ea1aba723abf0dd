//! Bulk transfers over TCP arrive whole and in order.

use std::{sync::Barrier, thread};

use anyhow::{Context as _, Result, anyhow, ensure};
use slipwire_lab::{
    lab::Lab,
    payload::{Payload, Sum},
    row::Family,
    tunnel::{Job, Plan, Tunnel},
};

use crate::{
    common::{PORT, connect, duplex, receive_from_source, send_to_sink, sink, source, tunnel},
    runner::Test,
};

const LARGE_MIB: u64 = 256;
const CONNECTIONS: u64 = 64;

pub(crate) fn tests() -> Vec<Test> {
    let jobs = Job::ALL;
    let v6_jobs = &[Job::Gateway, Job::Forward];
    let with_baseline = Job::WITH_BASELINE;
    let mut tests = Test::each(jobs, "large_upload_arrives_unchanged", upload);
    tests.extend(Test::each(jobs, "large_download_arrives_unchanged", download));
    tests.extend(Test::each(with_baseline, "both_directions_at_once_arrive_unchanged", duplex_v4));
    tests.extend(Test::each(v6_jobs, "ipv6_inside_and_outside_arrives_unchanged", duplex_v6));
    tests.extend(Test::each(with_baseline, "many_connections_at_once_arrive_unchanged", many));
    tests
}

fn upload(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let sink = sink(&tunnel.row.far, PORT)?;
    let sent = send_to_sink(&connect(&tunnel, PORT)?, Payload::mib(LARGE_MIB, 1))?;
    ensure!(sink.result()? == sent, "other bytes arrived than were sent");
    Ok(())
}

fn download(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let source = source(&tunnel.row.far, PORT, Payload::mib(LARGE_MIB, 2))?;
    let received = receive_from_source(&connect(&tunnel, PORT)?)?;
    ensure!(source.result()? == received, "other bytes arrived than were sent");
    Ok(())
}

fn duplex_v4(lab: &Lab, job: Job) -> Result<()> {
    duplex(&tunnel(lab, job)?, Family::V4, Payload::mib(LARGE_MIB, 3), None)
}

fn duplex_v6(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = Tunnel::start(lab, Plan { outside: Family::V6, ..Plan::new(job) })?;
    duplex(&tunnel, Family::V6, Payload::mib(LARGE_MIB, 4), None)
}

fn many(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let sink = sink(&tunnel.row.far, PORT)?;
    let all_connected = Barrier::new(usize::try_from(CONNECTIONS)?);
    let client = |seed| -> Result<Sum> {
        let stream = connect(&tunnel, PORT);
        all_connected.wait();
        send_to_sink(&stream?, Payload::mib(1, seed))
    };
    let sent = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CONNECTIONS).map(|seed| scope.spawn(move || client(seed))).collect();
        let join = |client: thread::ScopedJoinHandle<'_, Result<Sum>>| {
            client.join().map_err(|_| anyhow!("a client panicked"))?
        };
        clients.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let mut arrived = (0..CONNECTIONS).map(|_| sink.result()).collect::<Result<Vec<_>>>()?;
    for sum in sent {
        let index = arrived.iter().position(|other| *other == sum).context("bytes went astray")?;
        arrived.swap_remove(index);
    }
    Ok(())
}
