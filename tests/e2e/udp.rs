//! Datagrams pass both ways, of every size, and each client gets its own replies.

use std::{
    io::ErrorKind,
    net::{Ipv6Addr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    net::{Host, add_addresses},
    payload::Random,
    row::Family,
    tunnel::{End, Job, Tunnel},
    udp::{self, Echo},
};

use crate::{
    common::{PORT, tunnel},
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(20);

/// The largest datagrams that fit into a packet of the tunnel's 1420 bytes.
const fn largest(family: Family) -> usize {
    match family {
        Family::V4 => 1420 - 28,
        Family::V6 => 1420 - 48,
    }
}

pub(crate) fn tests() -> Vec<Test> {
    let jobs = Job::WITH_BASELINE;
    let routed = &[Job::Baseline, Job::Gateway];
    [
        Test::each(jobs, "datagrams_of_every_size_come_back", sizes),
        Test::each(jobs, "datagrams_larger_than_the_mtu_come_back", fragments),
        Test::each(jobs, "the_first_datagram_of_each_socket_comes_back", first_datagrams),
        Test::each(jobs, "bursts_of_every_size_come_back", bursts),
        Test::each(jobs, "each_client_gets_only_its_own_replies", many_clients),
        Test::each(jobs, "clients_on_several_addresses_are_answered", several_addresses),
        Test::each(jobs, "two_services_are_kept_apart", two_services),
        Test::each(routed, "closed_udp_port_is_refused", closed_port),
        Test::each(routed, "rfc4787_req_3_a_port_that_is_free_is_preserved", free_port),
        Test::each(&[Job::Gateway], "a_port_of_a_service_is_left_to_it", services_port),
        Test::each(
            &[Job::Gateway],
            "rfc4787_req_4_of_a_port_that_is_taken_parity_is_preserved",
            taken_port,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn sizes(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    let mut random = Random::new(10);
    for family in Family::BOTH {
        let socket = udp::connect(&tunnel.row.near, tunnel.target(family, PORT))?;
        for size in [1, 0, 2, 100, 512, 1200, largest(family) - 1, largest(family)] {
            udp::ask(&socket, &random.bytes(size)).with_context(|| format!("{family:?}"))?;
        }
    }
    Ok(())
}

fn fragments(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    let mut random = Random::new(11);
    for family in Family::BOTH {
        let socket = udp::connect(&tunnel.row.near, tunnel.target(family, PORT))?;
        for size in [largest(family) + 1, 4000, 8000] {
            udp::ask(&socket, &random.bytes(size)).with_context(|| format!("{family:?}"))?;
        }
    }
    Ok(())
}

/// Once the tunnel is up nothing is lost here, so that nobody has to ask twice.
fn first_datagrams(lab: &Lab, job: Job) -> Result<()> {
    const SOCKETS: usize = 8;
    let tunnel = tunnel(lab, job)?;
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    for family in Family::BOTH {
        let target = tunnel.target(family, PORT);
        let connect = || udp::connect(&tunnel.row.near, target);
        udp::ask(&connect()?, b"is anybody there?")?;
        for number in 1..=SOCKETS {
            let socket = connect()?;
            socket.send(b"first")?;
            let reply = (0..10).find_map(|_| udp::receive(&socket).transpose());
            let reply =
                reply.with_context(|| format!("{family:?}: socket {number} is alone"))??;
            ensure!(reply == b"first", "another reply");
        }
    }
    Ok(())
}

/// Datagrams that may share a system call, or may not for their size, arrive as they were sent.
fn bursts(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    let mut random = Random::new(12);
    for family in Family::BOTH {
        let connect = || udp::connect(&tunnel.row.near, tunnel.target(family, PORT));
        udp::ask(&connect()?, b"is anybody there?")?;
        let socket = connect()?;
        let mut bursts = vec![vec![64; 40], vec![1200; 40], vec![300, 300, 7, 0, 900, 900]];
        // Of IPv6 kernels lose some before they know what the path carries.
        bursts.extend((family == Family::V4).then(|| vec![4000; 10]));
        for sizes in bursts {
            let burst: Vec<_> = sizes.iter().map(|size| random.bytes(*size)).collect();
            for datagram in &burst {
                socket.send(datagram)?;
            }
            for (number, datagram) in burst.iter().enumerate() {
                let reply = (0..10).find_map(|_| udp::receive(&socket).transpose());
                let reply =
                    reply.with_context(|| format!("{family:?} {sizes:?}: {number} lost"))?;
                ensure!(reply? == *datagram, "{family:?} {sizes:?}: {number} is another");
            }
        }
    }
    Ok(())
}

fn many_clients(lab: &Lab, job: Job) -> Result<()> {
    const CLIENTS: u8 = 32;
    let tunnel = tunnel(lab, job)?;
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    let (near, target) = (&tunnel.row.near, tunnel.target(Family::V4, PORT));
    thread::scope(|scope| {
        let client = |name| scope.spawn(move || converse(near, target, name));
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().map_err(|_| anyhow!("a client panicked"))?)
    })
}

/// Sends numbered messages under a name and wants each of them back, and nobody else's.
fn converse(host: &Host, target: SocketAddr, name: u8) -> Result<()> {
    const MESSAGES: u8 = 40;
    const ROUNDS: usize = 10;
    let socket = udp::connect(host, target)?;
    let mut missing: Vec<u8> = (0..MESSAGES).collect();
    for _ in 0..ROUNDS {
        for &number in &missing {
            socket.send(&[name, number])?;
        }
        while !missing.is_empty() {
            let Some(reply) = udp::receive(&socket)? else { break };
            let &[whose, number] = reply.as_slice() else { bail!("a reply of another length") };
            ensure!(whose == name, "client {name} got a reply to client {whose}");
            missing.retain(|&other| other != number);
        }
    }
    ensure!(missing.is_empty(), "client {name}: no reply to {} messages", missing.len());
    Ok(())
}

fn several_addresses(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let near = &tunnel.row.near;
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    let sources = match &tunnel.near_end {
        End::Slipwire(_) => ["127.0.0.2:0", "127.0.0.3:0", "127.0.0.4:0"],
        End::WireguardGo(end) => {
            add_addresses(near, end.interface(), ["10.77.0.16/32", "10.77.0.31/32"])?;
            ["10.77.0.2:0", "10.77.0.16:0", "10.77.0.31:0"]
        }
    };
    let sockets = sources
        .iter()
        .map(|source| {
            let socket = udp::bind(near, source.parse()?)?;
            near.run(|| socket.connect(tunnel.target(Family::V4, PORT)))??;
            Ok(socket)
        })
        .collect::<Result<Vec<_>>>()?;
    for round in 0..3 {
        for (socket, source) in sockets.iter().zip(sources) {
            udp::ask(socket, format!("{source} {round}").as_bytes()).context(source)?;
        }
    }
    Ok(())
}

fn two_services(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let (near, far) = (&tunnel.row.near, &tunnel.row.far);
    let services = [Echo::start(far, PORT)?, Echo::start(far, PORT + 1)?];
    let socket = udp::bind(near, "0.0.0.0:0".parse()?)?;
    for (index, service) in services.iter().enumerate() {
        let target = tunnel.target(Family::V4, PORT + u16::try_from(index)?);
        near.run(|| socket.connect(target))??;
        for _ in 0..3 {
            udp::ask(&socket, target.to_string().as_bytes())?;
        }
        ensure!(service.received() >= 3, "{target} did not get what was sent to it");
    }
    Ok(())
}

fn closed_port(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    for family in Family::BOTH {
        let socket = udp::connect(&tunnel.row.near, tunnel.target(family, PORT))?;
        let mut kinds = Vec::new();
        for _ in 0..6 {
            // The error of an earlier datagram may show at either call.
            let reply = socket.send(b"?").and_then(|_| socket.recv(&mut [0; 16]));
            kinds.extend(reply.err().map(|error| error.kind()));
        }
        ensure!(kinds.contains(&ErrorKind::ConnectionRefused), "{family:?}: {kinds:?}");
    }
    Ok(())
}

/// The port from which the far host hears of a client of the near host that sends from `port`.
fn port_outside(tunnel: &Tunnel, family: Family, port: u16) -> Result<u16> {
    let server = udp::bind(&tunnel.row.far, (Ipv6Addr::UNSPECIFIED, PORT).into())?;
    let any = if family == Family::V4 { "0.0.0.0" } else { "::" };
    let client = udp::bind(&tunnel.row.near, SocketAddr::new(any.parse()?, port))?;
    let name = port.to_be_bytes();
    eventually("datagram", LIMIT, || {
        client.send_to(&name, tunnel.target(family, PORT))?;
        let mut message = [0; 16];
        let (length, from) = server.recv_from(&mut message)?;
        // Of an earlier client that had to ask twice one may still be on its way.
        ensure!(message[..length] == name, "a datagram of somebody else");
        Ok(from.port())
    })
}

fn free_port(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    for family in Family::BOTH {
        for port in [32_768, 41_000, 60_999] {
            let outside = port_outside(&tunnel, family, port)?;
            ensure!(outside == port, "{family:?}: {port} is {outside} outside");
        }
    }
    Ok(())
}

/// Ports below and above those that the system gives to anybody, as it comes.
fn services_port(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    for port in [1024, 5353, 32_767, 61_000, 65_535] {
        for family in Family::BOTH {
            let outside = port_outside(&tunnel, family, port)?;
            let is_of_the_system = (32_768..=60_999).contains(&outside);
            ensure!(is_of_the_system && outside % 2 == port % 2, "{family:?}: {port} is {outside}");
        }
        // The mappings live, and a service of the host begins.
        udp::bind(&tunnel.row.mid, (Ipv6Addr::UNSPECIFIED, port).into())?;
    }
    Ok(())
}

fn taken_port(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    for port in [41_000, 41_001] {
        let _taken = udp::bind(&tunnel.row.mid, (Ipv6Addr::UNSPECIFIED, port).into())?;
        for family in Family::BOTH {
            let outside = port_outside(&tunnel, family, port)?;
            ensure!(outside != port && outside >= 1024, "{family:?}: {port} is {outside} outside");
            ensure!(outside % 2 == port % 2, "{family:?}: {port} is {outside} outside");
        }
    }
    Ok(())
}
