//! What the kernel says of this host's addresses, and of where packets go: rtnetlink(7).
//!
//! A question is answered before the system call that asks it returns, so that nobody waits for the
//! answer. Changes come as messages of their own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use netlink_packet_core::{
    DefaultNla, Emitable, ErrorBuffer, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NetlinkBuffer, NlasIterator, parse_ip,
};
use nix::libc;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use slipwire_core::Protocol;

/// The largest message that the kernel sends.
const BUFFER_LEN: usize = 32 << 10;
/// Bytes before a message's payload.
const HEADER_LEN: usize = 16;
/// Bytes of a `struct rtmsg`, and where in it the type of a route is.
const ROUTE_LEN: usize = 12;
const ROUTE_TYPE: usize = 7;
/// Bytes of a `struct ifaddrmsg`.
const ADDRESS_LEN: usize = 8;
/// Attributes that libc has no names for: linux/rtnetlink.h and linux/if_addr.h.
const RTA_IP_PROTO: u16 = 27;
const RTA_DPORT: u16 = 29;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Times that the list of addresses is read anew because it changed meanwhile.
const DUMPS_MAX: usize = 16;
/// Messages about changes that are read at once.
const CHANGES_MAX: usize = 1024;

/// Where packets to an address go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RouteKind {
    /// To this host, or to no single one: broadcast, multicast and anycast too.
    Local,
    /// To another host.
    Remote,
}

/// Asks the kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    socket: OwnedFd,
    sequence: u32,
    question: Vec<u8>,
    answer: Vec<u8>,
}

impl Kernel {
    pub(crate) fn open() -> io::Result<Self> {
        let socket = open(0)?;
        Ok(Self { socket, sequence: 0, question: Vec::new(), answer: vec![0; BUFFER_LEN] })
    }

    /// Where packets of this process to `target` go. An error is what sending one would come to,
    /// if it is not about the question itself.
    pub(crate) fn route(
        &mut self,
        protocol: Protocol,
        target: SocketAddr,
    ) -> io::Result<RouteKind> {
        let (family, address, icmp) = match target.ip() {
            IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec(), libc::IPPROTO_ICMP),
            IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec(), libc::IPPROTO_ICMPV6),
        };
        let protocol = match protocol {
            Protocol::Tcp => libc::IPPROTO_TCP,
            Protocol::Udp => libc::IPPROTO_UDP,
            Protocol::Icmp => icmp,
        };
        let mut route = [0; ROUTE_LEN];
        (route[0], route[1]) = (family as u8, 8 * address.len() as u8);
        let mut attributes = vec![
            DefaultNla::new(libc::RTA_DST, address),
            DefaultNla::new(RTA_IP_PROTO, vec![protocol as u8]),
        ];
        if target.port() != 0 {
            attributes.push(DefaultNla::new(RTA_DPORT, target.port().to_be_bytes().to_vec()));
        }
        self.ask(libc::RTM_GETROUTE, 0, &route, &attributes)?;
        let kind = self.answers(|message| {
            match (message.message_type(), message.payload().get(ROUTE_TYPE)) {
                (libc::RTM_NEWROUTE, Some(&libc::RTN_UNICAST)) => {
                    ControlFlow::Break(RouteKind::Remote)
                }
                (libc::RTM_NEWROUTE, Some(_)) => ControlFlow::Break(RouteKind::Local),
                (_, _) => ControlFlow::Continue(()),
            }
        });
        // A kernel without that IP version does not know the question either.
        kind.map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::OPNOTSUPP) => Errno::AFNOSUPPORT.into(),
            _ => error,
        })
    }

    /// Every address of this host, in order.
    pub(crate) fn addresses(&mut self) -> io::Result<Vec<IpAddr>> {
        for _ in 0..DUMPS_MAX {
            self.ask(libc::RTM_GETADDR, NLM_F_DUMP, &[0; ADDRESS_LEN], &[])?;
            let (mut addresses, mut is_torn) = (Vec::new(), false);
            self.answers(|message| {
                is_torn |= message.flags() & NLM_F_DUMP_INTR != 0;
                match message.message_type() {
                    NLMSG_DONE => return ControlFlow::Break(()),
                    libc::RTM_NEWADDR => addresses.extend(own_address(message.payload())),
                    _ => {}
                }
                ControlFlow::Continue(())
            })?;
            if !is_torn {
                addresses.sort_unstable();
                addresses.dedup();
                return Ok(addresses);
            }
        }
        Err(io::Error::other("they change all the time"))
    }

    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        attributes: &[DefaultNla],
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let start = HEADER_LEN + body.len();
        let len = start + attributes.buffer_len();
        self.question.clear();
        self.question.resize(len, 0);
        self.question[HEADER_LEN..start].copy_from_slice(body);
        attributes.emit(&mut self.question[start..]);
        let mut header = NetlinkBuffer::new(&mut self.question);
        header.set_length(len as u32);
        header.set_message_type(kind);
        header.set_flags(NLM_F_REQUEST | flags);
        header.set_sequence_number(self.sequence);
        rustix::io::retry_on_intr(|| rustix::io::write(&self.socket, &self.question))?;
        Ok(())
    }

    /// Reads answers to the latest question until `take` has what it wants.
    fn answers<T>(
        &mut self,
        mut take: impl FnMut(NetlinkBuffer<&[u8]>) -> ControlFlow<T>,
    ) -> io::Result<T> {
        loop {
            let len = read(&self.socket, &mut self.answer)?;
            for message in messages(&self.answer[..len]) {
                // The answer to an earlier question, which nobody waited for, may still be there.
                if message.sequence_number() != self.sequence {
                    continue;
                }
                if message.message_type() == NLMSG_ERROR {
                    return Err(refusal(message.payload()));
                }
                if let ControlFlow::Break(result) = take(message) {
                    return Ok(result);
                }
            }
        }
    }
}

/// What has changed at this host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Change {
    Nothing,
    /// Routes.
    Routes,
    /// Addresses, and routes with them.
    Addresses,
}

/// Hears of changes. The flag says "maybe", as those of flows' sockets do.
#[derive(Debug)]
pub(crate) struct Changes {
    socket: OwnedFd,
    buffer: Vec<u8>,
    readable: bool,
}

impl Changes {
    pub(crate) fn subscribe(token: Token, registry: &Registry) -> io::Result<Self> {
        let groups = libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV6_ROUTE
            | libc::RTMGRP_IPV4_RULE;
        let ipv6_rule = 1 << (libc::RTNLGRP_IPV6_RULE - 1);
        let socket = open(groups as u32 | ipv6_rule)?;
        registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { socket, buffer: vec![0; BUFFER_LEN], readable: false })
    }

    /// The socket is readable.
    pub(crate) const fn note(&mut self) {
        self.readable = true;
    }

    pub(crate) const fn is_readable(&self) -> bool {
        self.readable
    }

    /// What has changed since the last call, as far as it fits into one turn.
    pub(crate) fn take(&mut self) -> Change {
        let mut change = Change::Nothing;
        for _ in 0..CHANGES_MAX {
            if !self.readable {
                break;
            }
            let news = match read(&self.socket, &mut self.buffer) {
                Ok(len) => messages(&self.buffer[..len])
                    .map(|message| match message.message_type() {
                        libc::RTM_NEWADDR | libc::RTM_DELADDR => Change::Addresses,
                        _ => Change::Routes,
                    })
                    .max()
                    .unwrap_or(Change::Nothing),
                Err(error) => {
                    // More came than the socket holds (ENOBUFS): it might have been anything.
                    let is_overrun = Errno::from_io_error(&error) == Some(Errno::NOBUFS);
                    self.readable = is_overrun;
                    match error.kind() {
                        io::ErrorKind::WouldBlock => Change::Nothing,
                        _ => Change::Addresses,
                    }
                }
            };
            change = change.max(news);
        }
        change
    }
}

fn open(groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

fn read(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut *buffer))?)
}

/// The messages in a buffer; what is cut off is none.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = NetlinkBuffer<&[u8]>> {
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(bytes).ok()?;
        let len = (message.length() as usize).next_multiple_of(4);
        bytes = bytes.get(len..).unwrap_or_default();
        Some(message)
    })
}

/// What an error message says.
fn refusal(payload: &[u8]) -> io::Error {
    let code = ErrorBuffer::new_checked(payload).ok().and_then(|error| error.code());
    // The code is that of the system, negated.
    code.map_or_else(
        || io::ErrorKind::InvalidData.into(),
        |code| io::Error::from_raw_os_error(code.get().saturating_neg()),
    )
}

/// The address that a message gives an interface. Of a point-to-point link the other attribute is
/// the far end.
fn own_address(payload: &[u8]) -> Option<IpAddr> {
    let attribute = |kind| {
        let attributes = NlasIterator::new(payload.get(ADDRESS_LEN..)?);
        let found = attributes.flatten().find(|attribute| attribute.kind() == kind)?;
        parse_ip(found.value()).ok()
    };
    attribute(IFA_LOCAL).or_else(|| attribute(IFA_ADDRESS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];

    #[test]
    fn every_address_of_the_host_leads_here() {
        let mut kernel = Kernel::open().unwrap();
        let addresses = kernel.addresses().unwrap();
        assert!(addresses.contains(&IpAddr::from([127, 0, 0, 1])), "{addresses:?}");
        for address in addresses {
            for protocol in PROTOCOLS {
                let route = kernel.route(protocol, SocketAddr::new(address, 80));
                assert_eq!(route.unwrap(), RouteKind::Local, "{protocol} {address}");
            }
        }
    }

    #[test]
    fn no_single_host_is_here_too_and_others_are_away_or_out_of_reach() {
        let mut kernel = Kernel::open().unwrap();
        for address in ["127.9.9.9:80", "255.255.255.255:80", "224.0.0.1:80"] {
            let route = kernel.route(Protocol::Udp, address.parse().unwrap());
            assert!(!matches!(route, Ok(RouteKind::Remote)), "{address}: {route:?}");
        }
        for address in ["198.51.100.7:80", "[2001:db8::7]:80"] {
            // Where there is no route the kernel says so.
            let route = kernel.route(Protocol::Tcp, address.parse().unwrap());
            assert!(!matches!(route, Ok(RouteKind::Local)), "{address}: {route:?}");
        }
    }

    #[test]
    fn an_answer_that_nobody_took_is_not_taken_for_another() {
        let mut kernel = Kernel::open().unwrap();
        kernel.ask(libc::RTM_GETADDR, NLM_F_DUMP, &[0; ADDRESS_LEN], &[]).unwrap();
        let route = kernel.route(Protocol::Tcp, "127.0.0.1:80".parse().unwrap());
        // A second question while a list is being read may be refused, but not answered wrongly.
        assert!(matches!(route, Ok(RouteKind::Local) | Err(_)), "{route:?}");
        assert!(!kernel.addresses().unwrap().is_empty());
    }
}
