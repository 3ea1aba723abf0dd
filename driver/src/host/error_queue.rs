//! What the network says about datagrams that a host socket sent and that did not arrive.
//!
//! A socket that is connected to nobody hears of ICMP errors only if it asks for them. The system
//! then queues each error beside the received datagrams, together with the destination that it is
//! about, the router that it came from, and the start of what the datagram carried; and it fails
//! the next call on the socket once to call attention to it. Its own errors are queued too.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::libc::{
    EMSGSIZE, SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, SO_EE_ORIGIN_LOCAL, sock_extended_err,
};
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike, recvmsg, setsockopt,
};
use slipwire_core::{Loss, Refusal, Undelivered};

use super::echo;
use crate::datagrams::family::Family;

/// One entry of a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum QueuedError {
    /// What was sent did not arrive, and the peer is to hear why.
    Undelivered(Undelivered),
    /// What was sent to this address does not fit into the system's path to it. The port is not
    /// known: the call that sent it failed.
    TooBigToSend { to: IpAddr, mtu: u16 },
    /// An error that is of no concern to the peer.
    Other,
}

/// Room for one entry's control message: the error and the address of the router that sent it.
/// Control messages have to be aligned like the system's `size_t`.
#[repr(align(8))]
struct Control([u8; 128]);

/// Asks for the errors of a socket of one IP version.
pub(crate) fn enable(socket: &UdpSocket, family: Family) -> io::Result<()> {
    match family {
        Family::V4 => setsockopt(socket, Ipv4RecvErr, &true)?,
        Family::V6 => setsockopt(socket, Ipv6RecvErr, &true)?,
    }
    Ok(())
}

/// Takes the oldest entry out of the queue; `None` if it is empty, as it always is for a socket
/// that did not ask.
pub(crate) fn pop(socket: &impl AsRawFd, family: Family) -> Option<QueuedError> {
    match family {
        Family::V4 => pop_as::<SockaddrIn>(socket, |address| SocketAddr::V4((*address).into())),
        Family::V6 => pop_as::<SockaddrIn6>(socket, |address| SocketAddr::V6((*address).into())),
    }
}

fn pop_as<A: SockaddrLike>(
    socket: &impl AsRawFd,
    destination: impl FnOnce(&A) -> SocketAddr,
) -> Option<QueuedError> {
    let mut control = Control([0; 128]);
    // Of the datagram only the header of an echo request is of use: UDP's own is not there.
    let mut start = [0; echo::HEADER_LEN];
    let mut parts = [IoSliceMut::new(&mut start)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<A>(socket.as_raw_fd(), &mut parts, Some(&mut control.0), flags).ok()?;
    let Ok(mut notes) = message.cmsgs() else { return Some(QueuedError::Other) };
    let meaning = notes.find_map(|note| match note {
        ControlMessageOwned::Ipv4RecvErr(error, hop) => {
            meaning(&error, hop.map(|hop| SockaddrIn::from(hop).ip().into()))
        }
        ControlMessageOwned::Ipv6RecvErr(error, hop) => {
            meaning(&error, hop.map(|hop| SockaddrIn6::from(hop).ip().into()))
        }
        _ => None,
    });
    let (length, address) = (message.bytes, message.address.as_ref());
    // The system fills in the address with these errors, so it is looked at only then.
    let (Some(meaning), Some(address)) = (meaning, address) else {
        return Some(QueuedError::Other);
    };
    let remote = destination(address);
    Some(match meaning {
        Meaning::Lost(loss) => {
            let echo_sequence = echo::sequence(&start[..length]);
            QueuedError::Undelivered(Undelivered { remote, echo_sequence, loss })
        }
        Meaning::TooBigToSend { mtu } => QueuedError::TooBigToSend { to: remote.ip(), mtu },
    })
}

/// What an error means to the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Meaning {
    Lost(Loss),
    TooBigToSend { mtu: u16 },
}

fn meaning(error: &sock_extended_err, hop: Option<IpAddr>) -> Option<Meaning> {
    let mtu = u16::try_from(error.ee_info).unwrap_or(u16::MAX);
    match (error.ee_origin, error.ee_type, error.ee_code) {
        (SO_EE_ORIGIN_ICMP, 11, 0) | (SO_EE_ORIGIN_ICMP6, 3, 0) => {
            Some(Meaning::Lost(Loss::TimeExceeded { hop: hop? }))
        }
        (SO_EE_ORIGIN_ICMP, 3, 4) | (SO_EE_ORIGIN_ICMP6, 2, 0) => {
            Some(Meaning::Lost(Loss::TooBig { mtu }))
        }
        (SO_EE_ORIGIN_LOCAL, ..) if error.ee_errno == EMSGSIZE as u32 => {
            Some(Meaning::TooBigToSend { mtu })
        }
        _ => unreachable(error).map(|refusal| Meaning::Lost(Loss::Refused(refusal))),
    }
}

/// What an ICMP "destination unreachable" means to the peer (RFC 792, RFC 1122 section 3.2.2.1,
/// RFC 1812 section 5.2.7.1; RFC 4443 section 3.1).
const fn unreachable(error: &sock_extended_err) -> Option<Refusal> {
    match (error.ee_origin, error.ee_type, error.ee_code) {
        (SO_EE_ORIGIN_ICMP, 3, 3) | (SO_EE_ORIGIN_ICMP6, 1, 4) => Some(Refusal::Refused),
        // Unknown is as good as unreachable, and so is unreachable for this type of service.
        (SO_EE_ORIGIN_ICMP, 3, 1 | 7 | 12) | (SO_EE_ORIGIN_ICMP6, 1, 3) => {
            Some(Refusal::HostUnreachable)
        }
        (SO_EE_ORIGIN_ICMP, 3, 0 | 6 | 11) | (SO_EE_ORIGIN_ICMP6, 1, 0) => {
            Some(Refusal::NetworkUnreachable)
        }
        // IPv6 has two more words for it: a failed source address policy, and a reject route.
        (SO_EE_ORIGIN_ICMP, 3, 9 | 10 | 13) | (SO_EE_ORIGIN_ICMP6, 1, 1 | 5 | 6) => {
            Some(Refusal::Prohibited)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::host::source_ports::SourcePorts;
    use crate::host::udp;

    /// A loopback address where nobody listens, and a mapping's socket of its IP version; `None`
    /// where the host lacks that version.
    fn closed_port(host: &str) -> Option<(SocketAddr, UdpSocket)> {
        let closed = UdpSocket::bind((host, 0)).ok()?.local_addr().unwrap();
        let source = SocketAddr::new(closed.ip(), 0);
        Some((closed, udp::open(source, &SourcePorts::default()).unwrap()))
    }

    /// The error that a datagram of a single byte brings about.
    fn refused(remote: SocketAddr) -> QueuedError {
        let loss = Loss::Refused(Refusal::Refused);
        QueuedError::Undelivered(Undelivered { remote, echo_sequence: None, loss })
    }

    fn wait(socket: &UdpSocket, family: Family) -> QueuedError {
        let patience = Instant::now() + Duration::from_secs(5);
        loop {
            if let Some(entry) = pop(socket, family) {
                return entry;
            }
            assert!(Instant::now() < patience, "no error came");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_closed_port_is_named_together_with_its_refusal() {
        for (host, family) in [("127.0.0.1", Family::V4), ("::1", Family::V6)] {
            let Some((closed, socket)) = closed_port(host) else { continue };
            assert_eq!(pop(&socket, family), None);
            socket.send_to(b"?", closed).unwrap();
            assert_eq!(wait(&socket, family), refused(closed));
            assert_eq!(pop(&socket, family), None);
        }
    }

    #[test]
    fn each_of_several_remotes_is_named() {
        let (first, socket) = closed_port("127.0.0.1").unwrap();
        let second = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), first.port());
        for remote in [first, second] {
            // The first error may fail the second call, once.
            socket.send_to(b"?", remote).or_else(|_| socket.send_to(b"?", remote)).unwrap();
        }
        for remote in [first, second] {
            assert_eq!(wait(&socket, Family::V4), refused(remote));
        }
    }

    #[test]
    fn every_error_has_its_meaning() {
        let v4 = |code| (SO_EE_ORIGIN_ICMP, 3, code);
        let v6 = |code| (SO_EE_ORIGIN_ICMP6, 1, code);
        let refused = |refusal| Some(Meaning::Lost(Loss::Refused(refusal)));
        let hop = IpAddr::from([192, 0, 2, 1]);
        let expired = Some(Meaning::Lost(Loss::TimeExceeded { hop }));
        let too_big = Some(Meaning::Lost(Loss::TooBig { mtu: 1300 }));
        let cases = [
            (v4(0), refused(Refusal::NetworkUnreachable)),
            (v4(1), refused(Refusal::HostUnreachable)),
            (v4(3), refused(Refusal::Refused)),
            (v4(13), refused(Refusal::Prohibited)),
            (v6(0), refused(Refusal::NetworkUnreachable)),
            (v6(1), refused(Refusal::Prohibited)),
            (v6(3), refused(Refusal::HostUnreachable)),
            (v6(4), refused(Refusal::Refused)),
            (v4(4), too_big),
            ((SO_EE_ORIGIN_ICMP6, 2, 0), too_big),
            ((SO_EE_ORIGIN_ICMP, 11, 0), expired),
            ((SO_EE_ORIGIN_ICMP6, 3, 0), expired),
            // Fragments that did not all arrive say nothing about hops.
            ((SO_EE_ORIGIN_ICMP, 11, 1), None),
            ((SO_EE_ORIGIN_ICMP6, 3, 1), None),
            ((SO_EE_ORIGIN_LOCAL, 3, 3), Some(Meaning::TooBigToSend { mtu: 1300 })),
            ((nix::libc::SO_EE_ORIGIN_TIMESTAMPING, 3, 3), None),
        ];
        for ((ee_origin, ee_type, ee_code), expected) in cases {
            let error = sock_extended_err {
                ee_errno: EMSGSIZE as u32,
                ee_origin,
                ee_type,
                ee_code,
                ee_pad: 0,
                ee_info: 1300,
                ee_data: 0,
            };
            assert_eq!(meaning(&error, Some(hop)), expected, "{ee_origin} {ee_type} {ee_code}");
        }
    }
}
