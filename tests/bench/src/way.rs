//! The ways from the near host to the far one.

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    process::Command,
    time::Duration,
};

use anyhow::{Result, bail};

use slipwire_lab::{
    lab::Lab,
    peer::{Keys, Peer},
    process::Process,
    row::{Family, Row},
    sandbox,
    tunnel::{Job, PORTS, Plan, Side, Tunnel, WIREGUARD_PORT, owned},
    wireguard_go::{self, WireguardGo},
};

/// More than is measured.
const FILE_SIZE: &str = "64GiB";
/// A single peer may have all there is.
const LIMITS: &str = "[limits]\nper_peer = \"100%\"\n";
/// More ports of clients than the kernel's usual, for many connections one after the other.
const CLIENT_PORTS: &str = "10000 60999";

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Routes, without a tunnel.
    Direct,
    /// System calls and a cipher.
    Floor,
    /// wireguard-go at both ends, what others are compared with.
    Baseline,
    /// wireguard-go, and slipwire's gateway.
    Gateway,
    /// slipwire's forwards, and wireguard-go.
    Forward,
    /// slipwire's forwards, and slipwire's gateway.
    BothEnds,
    /// onetun, and wireguard-go.
    Onetun,
    /// [`Self::Gateway`] with a tape of all packets.
    Record,
    /// [`Self::Gateway`] with a capture of all packets.
    Capture,
}

impl Kind {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Direct,
        Self::Floor,
        Self::Baseline,
        Self::Gateway,
        Self::Forward,
        Self::BothEnds,
        Self::Onetun,
        Self::Record,
        Self::Capture,
    ];

    /// Those that are measured for more than their transfers.
    pub const PLAIN: [Self; 6] =
        [Self::Direct, Self::Baseline, Self::Gateway, Self::Forward, Self::BothEnds, Self::Onetun];

    /// What it is called in tables: the near end, and the middle one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Floor => "floor",
            Self::Baseline => "wg-go – wg-go",
            Self::Gateway => "wg-go – gateway",
            Self::Forward => "forward – wg-go",
            Self::BothEnds => "forward – gateway",
            Self::Onetun => "onetun – wg-go",
            Self::Record => "wg-go – gateway, [record]",
            Self::Capture => "wg-go – gateway, [capture]",
        }
    }

    /// What it is called in the JSON.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Floor => "floor",
            Self::Baseline => "baseline",
            Self::Gateway => "gateway",
            Self::Forward => "forward",
            Self::BothEnds => "both_ends",
            Self::Onetun => "onetun",
            Self::Record => "gateway_record",
            Self::Capture => "gateway_capture",
        }
    }

    /// Whether it can be built here.
    pub fn is_there(self) -> bool {
        self != Self::Onetun || sandbox::has_tool("onetun")
    }

    /// Whether this end is slipwire.
    pub fn is_slipwire(self, side: Side) -> bool {
        match self {
            Self::Direct | Self::Floor | Self::Baseline | Self::Onetun => false,
            Self::Gateway | Self::Record | Self::Capture => side == Side::Mid,
            Self::Forward => side == Side::Near,
            Self::BothEnds => true,
        }
    }

    /// Whether clients connect to a port of their own host.
    fn is_forwarded(self) -> bool {
        match self {
            Self::Direct | Self::Baseline | Self::Gateway | Self::Record | Self::Capture => false,
            Self::Floor | Self::Forward | Self::BothEnds | Self::Onetun => true,
        }
    }
}

/// One way, with all that stands on it.
#[derive(Debug)]
pub struct Way {
    /// Which it is.
    pub kind: Kind,
    /// The hosts.
    pub row: Row,
    ends: Ends,
}

#[derive(Debug)]
enum Ends {
    /// There are none, or, with the floor, a transfer starts its own.
    None,
    Tunnel(Box<Tunnel>),
    Onetun {
        near: Process,
        mid: Box<WireguardGo>,
    },
}

impl Way {
    /// Builds the hosts and starts what belongs there.
    pub fn start(lab: &Lab, kind: Kind) -> Result<Self> {
        let (row, ends) = match kind {
            Kind::Direct => (direct(lab)?, Ends::None),
            Kind::Floor => (Row::new(lab)?, Ends::None),
            Kind::Baseline => tunnel(lab, Job::Baseline, "")?,
            Kind::Gateway => tunnel(lab, Job::Gateway, "")?,
            Kind::Forward => tunnel(lab, Job::Forward, "")?,
            Kind::BothEnds => tunnel(lab, Job::BothEnds, "")?,
            Kind::Onetun => onetun(lab)?,
            Kind::Record => tunnel(lab, Job::Gateway, &file_table(lab, "record")?)?,
            Kind::Capture => tunnel(lab, Job::Gateway, &file_table(lab, "capture")?)?,
        };
        for host in [&row.near, &row.mid] {
            host.sysctl("ipv4/ip_local_port_range", CLIENT_PORTS)?;
            // A client's port is free again after a second and not after a minute.
            host.sysctl("ipv4/tcp_tw_reuse", "1")?;
        }
        Ok(Self { kind, row, ends })
    }

    /// Ends both ends and starts them again.
    pub fn restart(&mut self) -> Result<()> {
        let Ends::Tunnel(tunnel) = &mut self.ends else { bail!("no tunnel to restart") };
        tunnel.mid_end.restart()?;
        tunnel.near_end.restart()
    }

    /// What a client on the near host connects to for `port` of the far host.
    pub fn target(&self, port: u16) -> SocketAddr {
        let family = Family::V4;
        SocketAddr::new(
            if self.kind.is_forwarded() { family.loopback() } else { family.far() },
            port,
        )
    }

    /// The process of one end.
    pub fn process(&self, side: Side) -> Option<&Process> {
        let (near, mid) = match &self.ends {
            Ends::None => return None,
            Ends::Tunnel(tunnel) => (tunnel.near_end.process(), tunnel.mid_end.process()),
            Ends::Onetun { near, mid } => (near, mid.process()),
        };
        Some(match side {
            Side::Near => near,
            Side::Mid => mid,
        })
    }

    /// The ends that are slipwire.
    pub fn slipwires(&self) -> impl Iterator<Item = (Side, &Process)> {
        let sides = [Side::Near, Side::Mid].into_iter();
        let sides = sides.filter(|&side| self.kind.is_slipwire(side));
        sides.filter_map(|side| Some((side, self.process(side)?)))
    }

    /// Processor time that both ends have used so far.
    pub fn cpu(&self) -> Result<Cpu> {
        let time = |side| self.process(side).map_or(Ok(Duration::ZERO), Process::cpu_time);
        Ok(Cpu { near: time(Side::Near)?, mid: time(Side::Mid)? })
    }
}

/// Processor time, user's and system's, of the ends.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    near: Duration,
    mid: Duration,
}

impl Cpu {
    /// The seconds since `earlier`, by end.
    pub fn since(&self, earlier: &Self) -> [(Side, f64); 2] {
        let seconds = |now: Duration, then| now.saturating_sub(then).as_secs_f64();
        [
            (Side::Near, seconds(self.near, earlier.near)),
            (Side::Mid, seconds(self.mid, earlier.mid)),
        ]
    }
}

/// What an end is called in figures.
pub(super) const fn side_key(side: Side) -> &'static str {
    match side {
        Side::Near => "near",
        Side::Mid => "mid",
    }
}

fn direct(lab: &Lab) -> Result<Row> {
    let row = Row::new(lab)?;
    row.mid.forward_packets()?;
    row.near.ip("route add 10.2.0.0/24 via 10.1.0.1")?;
    row.far.ip("route add 10.1.0.0/24 via 10.2.0.1")?;
    Ok(row)
}

fn tunnel(lab: &Lab, job: Job, tables: &str) -> Result<(Row, Ends)> {
    let plan = Plan { tables: format!("{LIMITS}{tables}"), ..Plan::new(job) };
    let tunnel = Tunnel::start(lab, plan)?;
    Ok((tunnel.row.clone(), Ends::Tunnel(Box::new(tunnel))))
}

/// A table that makes a gateway write all packets to a file.
fn file_table(lab: &Lab, name: &str) -> Result<String> {
    let directory = lab.directory(name)?;
    fs::set_permissions(&directory, Permissions::from_mode(0o777))?;
    let file = directory.join("packets");
    Ok(format!("[{name}]\nfile = {file:?}\nsize = \"{FILE_SIZE}\"\n"))
}

fn onetun(lab: &Lab) -> Result<(Row, Ends)> {
    let row = Row::new(lab)?;
    row.mid.forward_packets()?;
    let [near_keys, mid_keys] = [Keys::generate()?, Keys::generate()?];
    let config = wireguard_go::Config {
        listen_port: Some(WIREGUARD_PORT),
        addresses: owned(&["10.77.0.1/24"]),
        routes: Vec::new(),
        peers: vec![Peer::caller("near", &near_keys, &["10.77.0.2/32"])],
    };
    let mid = Box::new(WireguardGo::start(lab, &row.mid, "mid", &mid_keys, config)?);
    let far = Family::V4.far();
    let mut command = Command::new("onetun");
    command.args(PORTS.map(|port| format!("127.0.0.1:{port}:{far}:{port}:TCP,UDP")));
    command.args(["--endpoint-addr", &format!("{}:{WIREGUARD_PORT}", Family::V4.mid())]);
    command.args(["--endpoint-public-key", &mid_keys.public, "--private-key", &near_keys.private]);
    command.args(["--source-peer-ip", "10.77.0.2", "--keep-alive", "10", "--log", "warn"]);
    let near = row.near.spawn("onetun", &mut command)?;
    Ok((row, Ends::Onetun { near, mid }))
}
