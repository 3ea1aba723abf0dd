//! The gateway as servers see it: the address and port that a peer speaks from, and who may answer
//! there. The requirements are those of `tests/NAT.md`.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use slipwire_lab::{
    lab::Lab,
    net::add_addresses,
    payload::{MIB, Payload},
    row::Family,
    tunnel::{Job, Tunnel},
    udp::{self, Echo},
};

use crate::{
    common::{PORT, connect, send_to_sink, sink, tunnel},
    runner::Test,
};

/// How long slipwire may take to end.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("gateway::rfc4787_req_1_every_server_sees_one_address_and_port", one_port),
        Test::new("gateway::rfc4787_req_3_no_two_sources_share_a_port", no_overloading),
        Test::new("gateway::rfc4787_req_8_another_address_may_not_answer", filtering),
        Test::new("gateway::rfc6888_req_12_destinations_are_not_logged", no_log),
    ]
}

/// A second address of the far host.
fn second(family: Family) -> IpAddr {
    match family {
        Family::V4 => [10, 2, 0, 3].into(),
        Family::V6 => [0xfd02, 0, 0, 0, 0, 0, 0, 3].into(),
    }
}

fn gateway(lab: &Lab) -> Result<Tunnel> {
    let tunnel = tunnel(lab, Job::Gateway)?;
    add_addresses(&tunnel.row.far, "in", ["10.2.0.3/24", "fd02::3/64"])?;
    Ok(tunnel)
}

/// A server at an address of the far host, on a port of its own.
fn server(tunnel: &Tunnel, address: IpAddr, port: u16) -> Result<UdpSocket> {
    udp::bind(&tunnel.row.far, SocketAddr::new(address, port))
}

/// Sends until `server` hears of it; says whom the server takes for the sender.
fn seen_by(server: &UdpSocket, client: &UdpSocket) -> Result<SocketAddr> {
    let mut buffer = [0; 16];
    for _ in 0..10 {
        client.send_to(b"who am I?", server.local_addr()?)?;
        if let Ok((_, source)) = server.recv_from(&mut buffer) {
            return Ok(source);
        }
    }
    Err(anyhow::anyhow!("nothing came to {}", server.local_addr()?))
}

fn client(tunnel: &Tunnel, address: IpAddr, port: u16) -> Result<UdpSocket> {
    udp::bind(&tunnel.row.near, SocketAddr::new(address, port))
}

fn one_port(lab: &Lab) -> Result<()> {
    let tunnel = gateway(lab)?;
    for family in Family::BOTH {
        let client = client(&tunnel, family.near_inner(), 0)?;
        let first = server(&tunnel, family.far(), PORT)?;
        let source = seen_by(&first, &client)?;
        for (address, port) in [(family.far(), PORT + 1), (second(family), PORT)] {
            let other = seen_by(&server(&tunnel, address, port)?, &client)?;
            ensure!(other == source, "{address} saw {other}, and another {source}");
        }
    }
    Ok(())
}

fn no_overloading(lab: &Lab) -> Result<()> {
    let tunnel = gateway(lab)?;
    let end = tunnel.wireguard_go().context("no peer")?;
    add_addresses(&tunnel.row.near, end.interface(), ["10.77.0.16/32", "10.77.0.17/32"])?;
    let server = server(&tunnel, Family::V4.far(), PORT)?;
    let clients = [2, 16, 17].map(|host| client(&tunnel, [10, 77, 0, host].into(), 40_000));
    let clients = clients.into_iter().collect::<Result<Vec<_>>>()?;
    let sources: Vec<_> =
        clients.iter().map(|client| seen_by(&server, client)).collect::<Result<_>>()?;
    for (index, source) in sources.iter().enumerate() {
        ensure!(!sources[..index].contains(source), "two of them share a port: {sources:?}");
    }
    // Each answer finds its own way back.
    for (client, source) in clients.iter().zip(&sources) {
        server.send_to(source.to_string().as_bytes(), source)?;
        let answer = udp::receive(client)?.context("no answer")?;
        ensure!(answer == source.to_string().as_bytes(), "an answer to somebody else");
    }
    Ok(())
}

/// As configured by default: any port of an address that was written to, and no other address.
fn filtering(lab: &Lab) -> Result<()> {
    let tunnel = gateway(lab)?;
    for family in Family::BOTH {
        let client = client(&tunnel, family.near_inner(), 0)?;
        let asked = server(&tunnel, family.far(), PORT)?;
        let source = seen_by(&asked, &client)?;
        server(&tunnel, second(family), PORT)?.send_to(b"unasked", source)?;
        server(&tunnel, family.far(), PORT + 1)?.send_to(b"another port", source)?;
        let first = udp::receive(&client)?.context("the other port may not answer")?;
        ensure!(first == b"another port", "another address may answer");
        ensure!(udp::receive(&client)?.is_none(), "another address may answer, late");
    }
    Ok(())
}

fn no_log(lab: &Lab) -> Result<()> {
    let mut tunnel = tunnel(lab, Job::Gateway)?;
    let sink = sink(&tunnel.row.far, PORT)?;
    send_to_sink(&connect(&tunnel, PORT)?, Payload { bytes: MIB, seed: 96 })?;
    sink.result()?;
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    for family in Family::BOTH {
        let far = SocketAddr::new(family.far(), PORT);
        udp::ask(&udp::connect(&tunnel.row.near, far)?, b"hello")?;
    }
    // What is said of flows at their end counts too.
    let slipwire = tunnel.slipwires().next().context("no slipwire")?;
    let log = slipwire.whole_log(LIMIT)?.text();
    for family in Family::BOTH {
        ensure!(!log.contains(&family.far().to_string()), "{log}");
    }
    Ok(())
}
