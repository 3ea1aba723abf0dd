//! What the IP header of a datagram says beyond its addresses, and protocols and ports that nobody
//! has.

use std::{
    io::{ErrorKind, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    cmsg_space,
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg},
};
use rustix::net::sockopt::{set_ip_recvtos, set_ip_tos, set_ipv6_recvtclass, set_ipv6_tclass};
use slipwire_lab::{deadline::eventually, lab::Lab, row::Family, tcp, tunnel::Job, udp};

use crate::{
    common::{PORT, tunnel},
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(20);
/// Expedited forwarding, and a transport that understands marks of congestion.
const OUT: u8 = 0xb9;
/// Another class, which has met congestion on its way.
const BACK: u8 = 0x4b;

pub(crate) fn tests() -> Vec<Test> {
    let routed = &[Job::Baseline, Job::Gateway];
    [
        Test::each(Job::WITH_BASELINE, "dscp_and_ecn_pass_both_ways", marks),
        Test::each(routed, "port_0_is_refused_at_once", port_0),
    ]
    .into_iter()
    .flatten()
    .chain(
        Test::each(routed, "a_protocol_that_nobody_speaks_is_unreachable", protocol)
            .into_iter()
            .map(|test| test.with_tools(&["traceroute"])),
    )
    .collect()
}

/// A socket that marks what it sends, and is told how what it receives is marked.
struct Marked {
    socket: UdpSocket,
}

impl Marked {
    fn new(socket: UdpSocket, class: u8) -> Result<Self> {
        if socket.local_addr()?.is_ipv4() {
            set_ip_tos(&socket, class)?;
            set_ip_recvtos(&socket, true)?;
        } else {
            set_ipv6_tclass(&socket, class.into())?;
            set_ipv6_recvtclass(&socket, true)?;
        }
        Ok(Self { socket })
    }

    /// The next datagram's sender and mark.
    fn receive(&self) -> Result<(SocketAddr, u8)> {
        let (mut buffer, mut control) = ([0; 64], cmsg_space!(i32));
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::empty());
        let message = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), flags)?;
        let address = message.address.context("no sender")?;
        let v4 = address.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
        let v6 = address.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into()));
        let class = message.cmsgs()?.find_map(|note| match note {
            ControlMessageOwned::Ipv4Tos(class) => Some(class),
            ControlMessageOwned::Ipv6TClass(class) => Some(class as u8),
            _ => None,
        });
        Ok((v4.or(v6).context("no address")?, class.context("no class")?))
    }
}

fn marks(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    for family in Family::BOTH {
        let server = udp::bind(&tunnel.row.far, SocketAddr::new(family.far(), PORT))?;
        let server = Marked::new(server, BACK)?;
        let client = udp::connect(&tunnel.row.near, tunnel.target(family, PORT))?;
        let client = Marked::new(client, OUT)?;
        eventually("datagram", LIMIT, || {
            client.socket.send(b"there")?;
            let (from, class) = server.receive()?;
            ensure!(class == OUT, "{family:?}: {class:#x} arrived at the server");
            server.socket.send_to(b"and back", from)?;
            let (_, class) = client.receive()?;
            ensure!(class == BACK, "{family:?}: {class:#x} arrived at the client");
            Ok(())
        })?;
    }
    Ok(())
}

fn port_0(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    for family in Family::BOTH {
        let target = SocketAddr::new(family.far(), 0);
        let connected = tcp::try_connect(&tunnel.row.near, target)?;
        let kind = connected.err().context("connected to port 0")?.kind();
        ensure!(kind == ErrorKind::ConnectionRefused, "{family:?}: {kind:?}");
    }
    Ok(())
}

/// Traceroute with a protocol for experiments (RFC 3692): the target says that it is unreachable.
fn protocol(lab: &Lab, job: Job) -> Result<()> {
    let tunnel = tunnel(lab, job)?;
    let target = Family::V4.far().to_string();
    eventually("answer", LIMIT, || {
        let mut traceroute = Command::new("traceroute");
        traceroute.args(["-n", "-q", "1", "-w", "2", "-m", "4", "-P", "253", &target]);
        let text = tunnel.row.near.output(LIMIT, &mut traceroute)?;
        let last = text.lines().last().context("no line")?;
        ensure!(last.contains(&target) && last.contains("!P"), "{text}");
        Ok(())
    })
}
