//! A tunnel over the first link of a [`Row`], for each job of slipwire and, as a check of the
//! harness itself, with wireguard-go at both ends.
//!
//! Whatever the job, a client on the near host reaches port P of the far host: through routes where
//! the near end is wireguard-go, through a forward from port P of loopback where it is slipwire.

use std::{fmt, net::SocketAddr, ops::RangeInclusive, path::PathBuf};

use anyhow::Result;

use crate::{
    lab::Lab,
    peer::{Keys, Peer, preshared},
    process::Process,
    row::{EVERYTHING, Family, NEAR_INNER, Row},
    slipwire::{self, Forward, Slipwire},
    wireguard_go::{self, WireguardGo},
};

/// Ports of the far host that every tunnel leads to, TCP and UDP.
pub const PORTS: RangeInclusive<u16> = 7000..=7009;
/// The port of [`Family::unreachable`] that forwards lead to.
const UNREACHABLE_PORT: u16 = 7010;
/// The port of [`Family::silent`] that forwards lead to.
const SILENT_PORT: u16 = 7011;
/// Where WireGuard listens outside.
pub const WIREGUARD_PORT: u16 = 51820;

/// What stands at the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// wireguard-go, and wireguard-go on a router.
    Baseline,
    /// wireguard-go, and slipwire's gateway.
    Gateway,
    /// slipwire's forwards, and wireguard-go on a router.
    Forward,
    /// slipwire's forwards, and slipwire's gateway.
    BothEnds,
}

impl Job {
    /// The jobs of slipwire.
    pub const ALL: &[Self] = &[Self::Gateway, Self::Forward, Self::BothEnds];
    /// The jobs of slipwire, and the check of the harness.
    pub const WITH_BASELINE: &[Self] =
        &[Self::Baseline, Self::Gateway, Self::Forward, Self::BothEnds];

    /// Whether the near end is slipwire.
    pub fn forwards(self) -> bool {
        matches!(self, Self::Forward | Self::BothEnds)
    }

    /// Whether the middle end is slipwire.
    pub fn is_gateway(self) -> bool {
        matches!(self, Self::Gateway | Self::BothEnds)
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Baseline => "baseline",
            Self::Gateway => "gateway",
            Self::Forward => "forward",
            Self::BothEnds => "both_ends",
        })
    }
}

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// On the near host.
    Near,
    /// On the middle host.
    Mid,
}

/// What the two ends know as preshared key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresharedKey {
    /// None at either end.
    None,
    /// The same.
    Shared,
    /// One each.
    Different,
}

/// How a tunnel is set up.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What stands at the ends.
    pub job: Job,
    /// The addresses that the ends have for each other.
    pub outside: Family,
    /// The end that knows the other's endpoint.
    pub initiator: Side,
    /// Seconds between keepalives of the initiator; 0 is off.
    pub keepalive: u16,
    /// The preshared keys.
    pub preshared_key: PresharedKey,
    /// The lines of slipwire's `[gateway]` table, and whatever tables follow it.
    pub gateway: &'static str,
    /// Whether the middle host allows ping sockets.
    pub ping_sockets: bool,
    /// The endpoint that the initiator is given, where it is not simply the other end's.
    pub endpoint: Option<String>,
    /// A file that slipwire sees as `/etc/hosts`.
    pub hosts_file: Option<PathBuf>,
    /// Further tables of slipwire's configuration.
    pub tables: String,
    /// A command that is given slipwire to run.
    pub wrapper: Vec<String>,
    /// The slipwire to run, where it is not the one that was built.
    pub program: Option<PathBuf>,
}

impl Plan {
    /// IPv4 outside, the near end initiates, neither keepalives nor preshared keys, ping sockets
    /// allowed.
    pub fn new(job: Job) -> Self {
        Self {
            job,
            outside: Family::V4,
            initiator: Side::Near,
            keepalive: 0,
            preshared_key: PresharedKey::None,
            gateway: "default = \"relay\"",
            ping_sockets: true,
            endpoint: None,
            hosts_file: None,
            tables: String::new(),
            wrapper: Vec::new(),
            program: None,
        }
    }
}

/// One end of a tunnel.
#[derive(Debug)]
pub enum End {
    /// The program under test.
    Slipwire(Slipwire),
    /// The other implementation.
    WireguardGo(WireguardGo),
}

impl End {
    /// Its process.
    pub fn process(&self) -> &Process {
        match self {
            Self::Slipwire(end) => end.process(),
            Self::WireguardGo(end) => end.process(),
        }
    }

    /// Kills it as kill -9 does.
    pub fn kill(&mut self) {
        match self {
            Self::Slipwire(end) => end.kill(),
            Self::WireguardGo(end) => end.kill(),
        }
    }

    /// Starts it again, after killing what still runs.
    pub fn restart(&mut self) -> Result<()> {
        match self {
            Self::Slipwire(end) => end.restart(),
            Self::WireguardGo(end) => end.restart(),
        }
    }
}

/// A running tunnel.
#[derive(Debug)]
pub struct Tunnel {
    /// The end on the near host.
    pub near_end: End,
    /// The end on the middle host.
    pub mid_end: End,
    /// The hosts.
    pub row: Row,
    job: Job,
}

impl Tunnel {
    /// Builds the hosts and starts both ends, first the one that waits for the other.
    pub fn start(lab: &Lab, plan: Plan) -> Result<Self> {
        let row = Row::new(lab)?;
        if plan.ping_sockets {
            row.allow_ping_sockets()?;
        }
        let keys = [Keys::generate()?, Keys::generate()?];
        let preshared_keys = preshared_keys(plan.preshared_key)?;
        let ends = Ends { lab, plan: &plan, row: &row, keys, preshared_keys };
        let (near_end, mid_end) = match plan.initiator {
            Side::Near => {
                let mid_end = ends.start_mid()?;
                (ends.start_near()?, mid_end)
            }
            Side::Mid => {
                let near_end = ends.start_near()?;
                (near_end, ends.start_mid()?)
            }
        };
        Ok(Self { near_end, mid_end, row, job: plan.job })
    }

    /// One end.
    pub fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Near => &mut self.near_end,
            Side::Mid => &mut self.mid_end,
        }
    }

    /// Every slipwire in it.
    pub fn slipwires(&mut self) -> impl Iterator<Item = &mut Slipwire> {
        [&mut self.near_end, &mut self.mid_end].into_iter().filter_map(|end| match end {
            End::Slipwire(slipwire) => Some(slipwire),
            End::WireguardGo(_) => None,
        })
    }

    /// The near end if it is wireguard-go, or else the middle one if it is.
    pub fn wireguard_go(&self) -> Option<&WireguardGo> {
        [&self.near_end, &self.mid_end].into_iter().find_map(|end| match end {
            End::Slipwire(_) => None,
            End::WireguardGo(end) => Some(end),
        })
    }

    /// What a client on the near host connects to for one of [`PORTS`] on the far host.
    pub fn target(&self, family: Family, port: u16) -> SocketAddr {
        self.through(family, SocketAddr::new(family.far(), port))
    }

    /// What a client connects to for a target that the middle host's routes call unreachable.
    pub fn unreachable(&self, family: Family) -> SocketAddr {
        self.through(family, SocketAddr::new(family.unreachable(), UNREACHABLE_PORT))
    }

    /// What a client connects to for a target that swallows every packet.
    pub fn silent(&self, family: Family) -> SocketAddr {
        self.through(family, SocketAddr::new(family.silent(), SILENT_PORT))
    }

    fn through(&self, family: Family, target: SocketAddr) -> SocketAddr {
        if self.job.forwards() { SocketAddr::new(family.loopback(), target.port()) } else { target }
    }
}

fn preshared_keys(who: PresharedKey) -> Result<[Option<String>; 2]> {
    Ok(match who {
        PresharedKey::None => [None, None],
        PresharedKey::Shared => {
            let key = preshared()?;
            [Some(key.clone()), Some(key)]
        }
        PresharedKey::Different => [Some(preshared()?), Some(preshared()?)],
    })
}

/// What both ends are made from; of the pairs, the near end's comes first.
struct Ends<'a> {
    lab: &'a Lab,
    plan: &'a Plan,
    row: &'a Row,
    keys: [Keys; 2],
    preshared_keys: [Option<String>; 2],
}

impl Ends<'_> {
    fn start_near(&self) -> Result<End> {
        let (lab, host, keys) = (self.lab, &self.row.near, &self.keys[0]);
        let addresses = owned(&["10.77.0.2/24", "fd77::2/64"]);
        let peer = Peer {
            name: "mid".into(),
            public_key: self.keys[1].public.clone(),
            preshared_key: self.preshared_keys[0].clone(),
            allowed_ips: owned(&EVERYTHING),
            ..self.towards(Side::Mid)
        };
        let listen_port = self.listen_port(Side::Near);
        if !self.plan.job.forwards() {
            let (routes, peers) = (owned(&EVERYTHING), vec![peer]);
            let config = wireguard_go::Config { listen_port, addresses, routes, peers };
            return WireguardGo::start(lab, host, "near", keys, config).map(End::WireguardGo);
        }
        let config = slipwire::Config {
            listen_port,
            address: addresses,
            peers: vec![peer],
            forwards: forwards(),
            gateway: None,
            tables: self.plan.tables.clone(),
            hosts_file: self.plan.hosts_file.clone(),
            wrapper: self.plan.wrapper.clone(),
            program: self.plan.program.clone(),
        };
        Slipwire::start(lab, host, "near", keys, &config).map(End::Slipwire)
    }

    fn start_mid(&self) -> Result<End> {
        let (lab, host, keys) = (self.lab, &self.row.mid, &self.keys[1]);
        let addresses = owned(&["10.77.0.1/24", "fd77::1/64"]);
        let peer = Peer {
            name: "near".into(),
            public_key: self.keys[0].public.clone(),
            preshared_key: self.preshared_keys[1].clone(),
            allowed_ips: owned(&NEAR_INNER),
            ..self.towards(Side::Near)
        };
        let listen_port = self.listen_port(Side::Mid);
        if !self.plan.job.is_gateway() {
            host.forward_packets()?;
            let (routes, peers) = (Vec::new(), vec![peer]);
            let config = wireguard_go::Config { listen_port, addresses, routes, peers };
            return WireguardGo::start(lab, host, "mid", keys, config).map(End::WireguardGo);
        }
        let config = slipwire::Config {
            listen_port,
            address: addresses,
            peers: vec![peer],
            forwards: Vec::new(),
            gateway: Some(self.plan.gateway.to_owned()),
            tables: self.plan.tables.clone(),
            hosts_file: self.plan.hosts_file.clone(),
            wrapper: self.plan.wrapper.clone(),
            program: self.plan.program.clone(),
        };
        Slipwire::start(lab, host, "mid", keys, &config).map(End::Slipwire)
    }

    /// The initiator takes any port, the other end the known one.
    fn listen_port(&self, side: Side) -> Option<u16> {
        (side != self.plan.initiator).then_some(WIREGUARD_PORT)
    }

    /// What one end knows about reaching the other, which is at `side`.
    fn towards(&self, side: Side) -> Peer {
        if side == self.plan.initiator {
            return Peer::default();
        }
        let address = match side {
            Side::Near => self.plan.outside.near(),
            Side::Mid => self.plan.outside.mid(),
        };
        let direct = || SocketAddr::new(address, WIREGUARD_PORT).to_string();
        Peer {
            endpoint: Some(self.plan.endpoint.clone().unwrap_or_else(direct)),
            persistent_keepalive: self.plan.keepalive,
            ..Peer::default()
        }
    }
}

fn forwards() -> Vec<Forward> {
    let targets = Family::BOTH.into_iter().flat_map(|family| {
        let far = PORTS.map(move |port| SocketAddr::new(family.far(), port));
        let unreachable = SocketAddr::new(family.unreachable(), UNREACHABLE_PORT);
        let silent = SocketAddr::new(family.silent(), SILENT_PORT);
        far.chain([unreachable, silent])
            .map(move |to| (SocketAddr::new(family.loopback(), to.port()), to))
    });
    let both = |(listen, to): (SocketAddr, SocketAddr)| {
        ["tcp", "udp"].map(|protocol| Forward {
            protocol,
            listen: listen.to_string(),
            to: to.to_string(),
        })
    };
    targets.flat_map(both).collect()
}

/// Owned copies, as configurations hold them.
pub fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}
