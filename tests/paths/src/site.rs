//! A tunnel over a path: the hosts, both ends, and the relay between them.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::net::sockopt::set_tcp_congestion;
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    process::Process,
    row::Family,
    tcp,
    tunnel::{Plan, Tunnel, WIREGUARD_PORT},
    udp::{self, Echo},
};
use slipwire_worlds::{link::Profile, path::Direction};
use socket2::SockRef;

use super::{
    program::Program,
    relay::{Lane, Ledger, Relay},
};

/// Where the relay listens, beside the end that waits for the other.
const RELAY_PORT: u16 = 51_821;
/// Pings are answered here.
pub const ECHO_PORT: u16 = 7003;
/// WireGuard asks again after five seconds if its first handshake is lost.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(20);
/// What a socket may hold back on the way to slipwire on the same link.
const LOCAL_BUFFER: usize = 256 * 1024;

/// One program at the ends of a path.
#[derive(Debug)]
pub struct Site {
    /// What stands at the ends.
    pub program: Program,
    tunnel: Tunnel,
    relay: Option<Relay>,
    _echo: Echo,
}

impl Site {
    /// Builds the hosts and starts both ends; they reach each other from [`Self::renew`] on.
    pub fn start(lab: &Lab, program: Program) -> Result<Self> {
        let plan = Plan {
            endpoint: Some(SocketAddr::new(Family::V4.mid(), RELAY_PORT).to_string()),
            tables: program.tables.clone(),
            program: program.binary.clone(),
            ..Plan::new(program.job)
        };
        let tunnel = Tunnel::start(lab, plan)?;
        let echo = Echo::start(&tunnel.row.far, ECHO_PORT)?;
        Ok(Self { program, tunnel, relay: None, _echo: echo })
    }

    /// Starts both ends again, so that they know nothing of the path, which from now on is
    /// `profile`, and waits until they have shaken hands.
    pub fn renew(&mut self, profile: Profile, seed: u64) -> Result<()> {
        self.relay = None;
        self.tunnel.mid_end.restart()?;
        let row = &self.tunnel.row;
        for host in [&row.near, &row.mid, &row.far] {
            host.ip("tcp_metrics flush all")?;
        }
        let [listen, server] =
            [RELAY_PORT, WIREGUARD_PORT].map(|port| SocketAddr::new(Family::V4.mid(), port));
        let lane = Lane::new(&row.mid, listen, server)?;
        self.relay = Some(Relay::start(vec![lane], profile, seed)?);
        // It begins a handshake as soon as its interface is up.
        self.tunnel.near_end.restart()?;
        let row = &self.tunnel.row;
        let socket = udp::connect(&row.near, self.target(ECHO_PORT))?;
        eventually("an answer through the tunnel", HANDSHAKE_LIMIT, || {
            udp::ask(&socket, b"are you there?")
        })
    }

    /// What the relay did since [`Self::renew`].
    pub fn ledger(&self) -> Result<Ledger> {
        Ok(self.relay.as_ref().context("no relay")?.ledger())
    }

    /// What a client on the near host connects to for `port` of the far host.
    pub fn target(&self, port: u16) -> SocketAddr {
        self.tunnel.target(Family::V4, port)
    }

    /// The hosts.
    pub fn row(&self) -> &slipwire_lab::row::Row {
        &self.tunnel.row
    }

    /// The process at the far end of the path.
    pub fn mid_process(&self) -> &Process {
        self.tunnel.mid_end.process()
    }

    /// Connects from the near host to `port` of the far one.
    pub fn connect(&self, port: u16) -> Result<TcpStream> {
        let stream = tcp::connect(&self.tunnel.row.near, self.target(port))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Program {
    /// Prepares a socket that sends this way: with the kernel's congestion control if it sends
    /// through the tunnel, and else with little room, so that what is sent is soon at slipwire.
    pub fn prepare_sender(&self, stream: &TcpStream, direction: Direction) -> Result<()> {
        if self.kernel_sends(direction) {
            let name = self.kernel.name();
            return set_tcp_congestion(stream, name).with_context(|| format!("choosing {name}"));
        }
        SockRef::from(stream).set_send_buffer_size(LOCAL_BUFFER).context("setting a buffer")
    }
}
