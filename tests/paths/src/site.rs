//! A tunnel over a path: the hosts, both ends, and the relay between them.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::net::sockopt::set_tcp_congestion;
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    net::Host,
    process::Process,
    row::{Family, Row},
    slipwire, tcp,
    tunnel::{Plan, Side, Tunnel, WIREGUARD_PORT},
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

/// What is between the two ends of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// A relay, that is a path: see [`renew`].
    Path,
    /// Nothing but a link.
    Nothing,
}

/// One program at the ends of a path.
#[derive(Debug)]
pub struct Site {
    /// What stands at the ends.
    pub program: Program,
    tunnel: Tunnel,
    relay: Option<Arc<Relay>>,
    _echo: Echo,
}

/// Starts both ends of each site again, so that they know nothing of the path, which they share
/// and which from now on is `profile`; waits until all have shaken hands.
pub fn renew(sites: &mut [&mut Site], profile: Profile, seed: u64) -> Result<()> {
    let mut lanes = Vec::new();
    for site in &mut *sites {
        if let Some(relay) = site.relay.take() {
            relay.end();
        }
        site.tunnel.end(Side::Mid).restart()?;
        let at = |port| SocketAddr::new(Family::V4.mid(), port);
        lanes.push((site.tunnel.row.mid.clone(), at(RELAY_PORT), at(WIREGUARD_PORT)));
    }
    let lanes = lanes.into_iter().map(|(host, listen, server)| Lane::new(&host, listen, server));
    let relay = Arc::new(Relay::start(lanes.collect::<Result<_>>()?, profile, seed)?);
    for site in &mut *sites {
        site.relay = Some(Arc::clone(&relay));
        // It begins a handshake as soon as it is there, and only once in five seconds.
        site.tunnel.end(Side::Near).restart()?;
        site.forget()?;
    }
    sites.iter().try_for_each(|site| site.wait_for_handshake())
}

impl Site {
    /// Builds the hosts and starts both ends. With a path between them, they reach each other from
    /// the first [`renew`] on.
    pub fn start(lab: &Lab, mut program: Program, between: Between) -> Result<Self> {
        if let Some(binary) = &program.binary {
            let target = lab.directory("program")?.join("slipwire");
            program.binary = Some(slipwire::for_everybody(binary, &target)?);
        }
        let relay = || SocketAddr::new(Family::V4.mid(), RELAY_PORT).to_string();
        let plan = Plan {
            endpoint: (between == Between::Path).then(relay),
            tables: program.tables.clone(),
            program: program.binary.clone(),
            ..Plan::new(program.job)
        };
        let tunnel = Tunnel::start(lab, plan)?;
        let echo = Echo::start(&tunnel.row.far, ECHO_PORT)?;
        Ok(Self { program, tunnel, relay: None, _echo: echo })
    }

    /// [`renew`] of this one alone.
    pub fn renew(&mut self, profile: Profile, seed: u64) -> Result<()> {
        renew(&mut [self], profile, seed)
    }

    /// Starts both ends again, where nothing is between them.
    pub fn restart(&mut self) -> Result<()> {
        for side in [Side::Mid, Side::Near] {
            self.tunnel.end(side).restart()?;
        }
        self.forget()?;
        self.wait_for_handshake()
    }

    /// What the relay did since the path was renewed.
    pub fn ledger(&self) -> Result<Ledger> {
        Ok(self.relay.as_ref().context("no relay")?.ledger())
    }

    /// How many datagrams found a full socket at either end or at the relay.
    pub fn overflowed(&self) -> Result<u64> {
        let count = |host: &Host| -> Result<u64> {
            let text = host.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
            overflowed(&text).context("no count of datagrams that found a full socket")
        };
        Ok(count(&self.tunnel.row.near)? + count(&self.tunnel.row.mid)?)
    }

    /// The hosts.
    pub fn row(&self) -> &Row {
        &self.tunnel.row
    }

    /// The process at the far end of the path.
    pub fn mid_process(&self) -> &Process {
        self.tunnel.mid_end.process()
    }

    /// What a client on the near host connects to for `port` of the far host.
    pub fn target(&self, port: u16) -> SocketAddr {
        self.tunnel.target(Family::V4, port)
    }

    /// Connects from the near host to `port` of the far one.
    pub fn connect(&self, port: u16) -> Result<TcpStream> {
        connect(&self.tunnel.row.near, self.target(port))
    }

    /// Makes the hosts' kernels forget what they learnt of each other.
    fn forget(&self) -> Result<()> {
        let Row { near, mid, far } = &self.tunnel.row;
        [near, mid, far].into_iter().try_for_each(|host| host.ip("tcp_metrics flush all"))
    }

    fn wait_for_handshake(&self) -> Result<()> {
        let socket = udp::connect(&self.tunnel.row.near, self.target(ECHO_PORT))?;
        eventually("an answer through the tunnel", HANDSHAKE_LIMIT, || {
            udp::ask(&socket, b"are you there?")
        })
    }
}

/// A connection that waits for nothing before it sends.
pub fn connect(host: &Host, to: SocketAddr) -> Result<TcpStream> {
    let stream = tcp::connect(host, to)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The count in what the kernel says of UDP: a line of names, and one of numbers.
fn overflowed(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Udp:"));
    let (names, numbers) = (lines.next()?.split_whitespace(), lines.next()?.split_whitespace());
    let (_, number) = names.zip(numbers).find(|(name, _)| *name == "RcvbufErrors")?;
    number.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_sockets_are_found_in_what_the_kernel_says() {
        let snmp = "Tcp: InErrs\nTcp: 7\nUdp: InDatagrams RcvbufErrors MemErrors\nUdp: 3 5 9\n";
        assert_eq!(overflowed(snmp), Some(5));
        assert_eq!(overflowed("Udp: InDatagrams\nUdp: 3\n"), None);
    }
}
