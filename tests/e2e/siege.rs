//! A peer or an outsider who wants harm: limits are answered properly, the other peer does not feel
//! it, and memory stays bounded and is given back. How long things take is for the benchmark.

use std::{io::ErrorKind, net::SocketAddr, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use slipwire_lab::{
    attack::{Attack, ENDLESS_PORT, OPEN_PORT, Tally, connect_beside_own_scan},
    deadline::eventually,
    lab::Lab,
    payload::{MIB, Payload},
    row::Family,
    siege::Siege,
    tcp::{self, Service},
    tunnel::{Job, Plan, Tunnel},
    udp::Echo,
};

use crate::{
    common::{PORT, connect, is_answered, send_to_sink, sink},
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Reassembly and TIME-WAIT take half a minute to forget, and a busy machine longer.
const AFTERMATH: Duration = Duration::from_secs(120);
/// What flows cost beside the bytes that they buffer, and what may be left of it in the end.
const PEAK_SPARE: u64 = 16 * MIB;
const REST: u64 = 4 * MIB;
const MEMORY: u64 = 8 * MIB;
/// Short, so that what an attack leaves behind is soon over; and a limit that is reached.
const TABLES: &str = "[tcp]\nconnect_timeout = \"5s\"\nhalf_open_timeout = \"5s\"\n\
                      [udp]\nidle_timeout = \"5s\"\n[limits]\nmemory = \"8MiB\"\n";

pub(crate) fn tests() -> Vec<Test> {
    let memory = [
        ("gateway::memory_of_connects_to_dead_addresses_is_given_back", Attack::DeadConnects),
        ("gateway::memory_of_forged_handshakes_is_given_back", Attack::ForgedHandshakes),
        ("gateway::memory_of_many_mappings_is_given_back", Attack::Mappings),
        ("gateway::memory_of_fragments_is_given_back", Attack::Fragments),
        ("gateway::memory_of_a_peer_that_never_reads_is_given_back", Attack::NeverReads),
        ("gateway::memory_of_short_connections_is_given_back", Attack::Churn),
    ];
    let memory = memory
        .into_iter()
        .map(|(name, attack)| Test::new(name, move |lab| memory_is_given_back(lab, attack)));
    let mut tests = vec![
        Test::new("gateway::a_peer_that_scans_is_not_answered_and_others_connect", scan),
        Test::new("gateway::a_peer_that_scans_reaches_a_live_server", own_scan),
        Test::new("gateway::connections_beyond_the_limit_are_reset", connections),
        Test::new("gateway::mappings_beyond_the_limit_replace_the_oldest", mappings),
    ];
    tests.extend(memory);
    tests
}

/// Lets the other peer do its work again and again while `attack` goes on for `count` packets.
fn attacked(siege: &Siege, attack: Attack, rate: u32, count: u32) -> Result<Tally> {
    let sink = sink(&siege.row.far, PORT)?;
    let target = SocketAddr::new(Family::V4.far(), PORT);
    thread::scope(|scope| {
        let rogue = scope.spawn(|| attack.run(siege, rate, 0, |sent| sent < count));
        let mut seed = 0;
        while !rogue.is_finished() || seed == 0 {
            seed += 1;
            let stream = tcp::connect(&siege.row.near, target).context("the other peer")?;
            let sent = send_to_sink(&stream, Payload { bytes: 10_000, seed })?;
            ensure!(sink.result()? == sent, "other bytes arrived than were sent");
        }
        rogue.join().map_err(|_| anyhow!("the attacker panicked"))?
    })
}

fn scan(lab: &Lab) -> Result<()> {
    const HALF_OPEN: u32 = 256;
    const ATTEMPTS: u32 = 10_000;
    // Nothing times out meanwhile, and half of the limit is for one peer.
    let tables =
        format!("[tcp]\nconnect_timeout = \"60s\"\n[limits]\nhalf_open = {}\n", 2 * HALF_OPEN);
    let siege = Siege::start(lab, &tables, &[])?;
    let tally = attacked(&siege, Attack::DeadConnects, 2_000, ATTEMPTS)?;
    ensure!(tally.accepted == 0, "dead addresses accepted {tally:?}");
    // Within the limit they hang, and those beyond it make room: the peer asks again, if it wants.
    ensure!(tally.resets == 0, "{tally:?}, where no host refused anything");
    Ok(())
}

/// Far more connects than its share hang, and none of those to a live server is lost for that.
fn own_scan(lab: &Lab) -> Result<()> {
    const SCANS: u32 = 25;
    const PACKETS: u32 = 15_000;
    let tables = "[limits]\nhalf_open = 2048\n";
    let siege = Siege::start(lab, tables, &[])?;
    let _server = siege.open_server(OPEN_PORT)?;
    let connects = connect_beside_own_scan(&siege, SCANS, 5_000, 0, |sent| sent < PACKETS)?;
    let (asked, accepted) = (connects.asked as usize, connects.latencies.len());
    // A busy machine loses some datagrams.
    ensure!(accepted * 10 >= asked * 9, "{accepted} of {asked} connects were accepted");
    Ok(())
}

fn memory_is_given_back(lab: &Lab, attack: Attack) -> Result<()> {
    let siege = Siege::start(lab, TABLES, &[])?;
    let _servers: [Service<()>; 2] =
        [siege.open_server(OPEN_PORT)?, siege.endless_server(ENDLESS_PORT)?];
    // Some honest work first, so that what every connection needs once is there.
    attacked(&siege, Attack::Churn, 100, 100)?;
    let idle = siege.resident()?;

    let (rate, count) = match attack {
        Attack::DeadConnects | Attack::ForgedHandshakes | Attack::Fragments => (3_000, 15_000),
        Attack::Mappings => (2_000, 10_000),
        Attack::NeverReads => (30, 150),
        Attack::Churn => (500, 3_000),
    };
    attacked(&siege, attack, rate, count)?;
    let peak = siege.gateway.process().peak_resident()?;
    let bound = idle + MEMORY + PEAK_SPARE;
    ensure!(peak < bound, "{peak} bytes at the worst, {idle} before");
    eventually("memory", AFTERMATH, || {
        let after = siege.resident()?;
        ensure!(after < idle + REST, "{after} bytes after, {peak} at the worst, {idle} before");
        Ok(())
    })
}

fn limited(lab: &Lab, limits: &str) -> Result<Tunnel> {
    let tables = format!("[limits]\n{limits}\n");
    Tunnel::start(lab, Plan { tables, ..Plan::new(Job::Gateway) })
}

fn connections(lab: &Lab) -> Result<()> {
    // Half of it is for one peer.
    let tunnel = limited(lab, "tcp_flows = 8")?;
    let _sink = sink(&tunnel.row.far, PORT)?;
    let target = tunnel.target(Family::V4, PORT);
    let mut held = (0..4).map(|_| connect(&tunnel, PORT)).collect::<Result<Vec<_>>>()?;
    for _ in 0..3 {
        let error =
            tcp::try_connect(&tunnel.row.near, target)?.err().context("beyond the limit")?;
        ensure!(error.kind() == ErrorKind::ConnectionRefused, "{error}, not a refusal");
    }
    for stream in &held {
        send_to_sink(stream, Payload { bytes: 1000, seed: 1 })?;
    }
    held.pop();
    eventually("a connection", LIMIT, || connect(&tunnel, PORT).map(drop))
}

fn mappings(lab: &Lab) -> Result<()> {
    let tunnel = limited(lab, "udp_flows = 8")?;
    let echo = Echo::start(&tunnel.row.far, PORT)?;
    let process = tunnel.mid_end.process();
    let before = process.descriptors()?;
    for _ in 0..20 {
        eventually("an answer", LIMIT, || {
            is_answered(&tunnel.row.near, tunnel.target(Family::V4, PORT))
        })?;
    }
    ensure!(echo.received() >= 20, "{} datagrams arrived", echo.received());
    let sockets = process.descriptors()? - before;
    ensure!(sockets == 4, "{sockets} sockets for the four mappings of one peer");
    Ok(())
}
