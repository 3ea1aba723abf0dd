//! Three hosts in a row, with addresses of both families:
//!
//! ```text
//!   near 10.1.0.2 ---- 10.1.0.1 mid 10.2.0.1 ---- 10.2.0.2 far
//!        fd01::2       fd01::1      fd02::1       fd02::2
//! ```
//!
//! The middle host has a route that says "unreachable" and a neighbour that never answers. Behind
//! the far host there is room for another, 10.4.0.2 and fd04::2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::{
    lab::Lab,
    net::{Host, link},
    sandbox,
};

/// Which Internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    const fn pick(self, v4: Ipv4Addr, v6: Ipv6Addr) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(v4),
            Self::V6 => IpAddr::V6(v6),
        }
    }

    const fn host(self, network: u8, host: u8) -> IpAddr {
        let v6 = Ipv6Addr::new(0xfd00 + network as u16, 0, 0, 0, 0, 0, 0, host as u16);
        self.pick(Ipv4Addr::new(10, network, 0, host), v6)
    }

    /// The near host.
    pub const fn near(self) -> IpAddr {
        self.host(1, 2)
    }

    /// The middle host as the near one sees it.
    pub const fn mid(self) -> IpAddr {
        self.host(1, 1)
    }

    /// The middle host as the far one sees it.
    pub const fn mid_inward(self) -> IpAddr {
        self.host(2, 1)
    }

    /// The far host.
    pub const fn far(self) -> IpAddr {
        self.host(2, 2)
    }

    /// The host behind the far one, if there is any.
    pub const fn beyond(self) -> IpAddr {
        self.host(4, 2)
    }

    /// A neighbour of the far host that swallows every packet.
    pub const fn silent(self) -> IpAddr {
        self.host(2, 0x77)
    }

    /// An address that the middle host's routes call unreachable.
    pub const fn unreachable(self) -> IpAddr {
        self.host(9, 1)
    }

    /// The near end of the tunnel.
    pub const fn near_inner(self) -> IpAddr {
        self.pick(Ipv4Addr::new(10, 77, 0, 2), Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2))
    }

    /// The middle end of the tunnel.
    pub const fn mid_inner(self) -> IpAddr {
        self.pick(Ipv4Addr::new(10, 77, 0, 1), Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1))
    }

    /// This host itself.
    pub const fn loopback(self) -> IpAddr {
        self.pick(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
    }
}

/// The hosts.
#[derive(Clone, Debug)]
pub struct Row {
    /// Where the clients are.
    pub near: Host,
    /// Between the two others.
    pub mid: Host,
    /// Where the servers are.
    pub far: Host,
}

/// The prefixes of a row, in `ip`'s and WireGuard's notation.
pub const EVERYTHING: [&str; 2] = ["0.0.0.0/0", "::/0"];
/// Prefixes of the near end's tunnel addresses: its own, and sixteen more of IPv4.
pub const NEAR_INNER: [&str; 3] = ["10.77.0.2/32", "10.77.0.16/28", "fd77::2/128"];

impl Row {
    /// Builds hosts and links.
    pub fn new(lab: &Lab) -> Result<Self> {
        let row = Self { near: lab.host("near")?, mid: lab.host("mid")?, far: lab.host("far")? };
        let Self { near, mid, far } = &row;
        link(
            (near, "out", &["10.1.0.2/24", "fd01::2/64"]),
            (mid, "out", &["10.1.0.1/24", "fd01::1/64"]),
        )?;
        link(
            (mid, "in", &["10.2.0.1/24", "fd02::1/64"]),
            (far, "in", &["10.2.0.2/24", "fd02::2/64"]),
        )?;
        mid.ip("route add unreachable 10.9.0.0/24\n\
                route add unreachable fd09::/64\n\
                neighbour add 10.2.0.119 lladdr 02:00:00:00:00:77 dev in nud permanent\n\
                neighbour add fd02::77 lladdr 02:00:00:00:00:77 dev in nud permanent")?;
        far.ip("route add 10.77.0.0/24 via 10.2.0.1\n\
                route add fd77::/64 via fd02::1")?;
        Ok(row)
    }

    /// Makes a router of the far host, with another host behind it.
    pub fn add_beyond(&self, lab: &Lab) -> Result<Host> {
        let Self { mid, far, .. } = self;
        let beyond = lab.host("beyond")?;
        link(
            (far, "beyond", &["10.4.0.1/24", "fd04::1/64"]),
            (&beyond, "in", &["10.4.0.2/24", "fd04::2/64"]),
        )?;
        far.forward_packets()?;
        mid.ip("route add 10.4.0.0/24 via 10.2.0.2\n\
                route add fd04::/64 via fd02::2")?;
        beyond.ip("route add default via 10.4.0.1")?;
        beyond.ip6("route add default via fd04::1")?;
        Ok(beyond)
    }

    /// Allows ping sockets on the middle host, which forbids them to everybody at first.
    pub fn allow_ping_sockets(&self) -> Result<()> {
        self.mid.sysctl("ipv4/ping_group_range", sandbox::ping_groups())
    }
}
