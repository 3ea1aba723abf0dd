//! What the network says about datagrams that a host socket sent and that did not arrive.
//!
//! A socket that is connected to nobody hears of ICMP errors only if it asks for them. The system
//! then queues each error beside the received datagrams, together with the destination that it is
//! about, and fails the next call on the socket once to call attention to it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::libc::{SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, sock_extended_err};
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike, recvmsg, setsockopt,
};
use slipwire_core::Refusal;

use super::icmp::Family;

/// One entry of a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    /// What was sent to this remote did not arrive, and the peer is to hear why.
    Refused(SocketAddr, Refusal),
    /// An error that is of no concern to the peer.
    Other,
}

/// Room for one entry's control message: the error and the address of the router that sent it.
/// Control messages have to be aligned like the system's `size_t`.
#[repr(align(8))]
struct Control([u8; 128]);

/// Asks for the errors of a UDP socket of one IP version.
pub(crate) fn enable(socket: &UdpSocket, family: Family) -> io::Result<()> {
    match family {
        Family::V4 => setsockopt(socket, Ipv4RecvErr, &true)?,
        Family::V6 => setsockopt(socket, Ipv6RecvErr, &true)?,
    }
    Ok(())
}

/// Takes the oldest entry out of the queue; `None` if it is empty, as it always is for a socket
/// that did not ask.
pub(crate) fn pop(socket: &impl AsRawFd, family: Family) -> Option<Entry> {
    match family {
        Family::V4 => pop_as::<SockaddrIn>(socket, |address| SocketAddr::V4((*address).into())),
        Family::V6 => pop_as::<SockaddrIn6>(socket, |address| SocketAddr::V6((*address).into())),
    }
}

fn pop_as<A: SockaddrLike>(
    socket: &impl AsRawFd,
    destination: impl FnOnce(&A) -> SocketAddr,
) -> Option<Entry> {
    let mut control = Control([0; 128]);
    // What the error quotes of the datagram is of no use: its headers are the host's.
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<A>(socket.as_raw_fd(), &mut [], Some(&mut control.0), flags).ok()?;
    let Ok(mut parts) = message.cmsgs() else { return Some(Entry::Other) };
    let refusal = parts.find_map(|part| match part {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            icmp_refusal(&error)
        }
        _ => None,
    });
    // The system fills in the address with every ICMP error, so it is looked at only then.
    let (Some(refusal), Some(address)) = (refusal, &message.address) else {
        return Some(Entry::Other);
    };
    Some(Entry::Refused(destination(address), refusal))
}

/// What an ICMP "destination unreachable" means to the peer (RFC 792, RFC 1122 section 3.2.2.1,
/// RFC 1812 section 5.2.7.1; RFC 4443 section 3.1).
const fn icmp_refusal(error: &sock_extended_err) -> Option<Refusal> {
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
    use crate::host::udp;

    /// A loopback address where nobody listens, and a mapping's socket of its IP version; `None`
    /// where the host lacks that version.
    fn closed_port(host: &str) -> Option<(SocketAddr, UdpSocket)> {
        let closed = UdpSocket::bind((host, 0)).ok()?.local_addr().unwrap();
        let source = SocketAddr::new(closed.ip(), 0);
        Some((closed, udp::open(source).unwrap()))
    }

    fn wait(socket: &UdpSocket, family: Family) -> Entry {
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
            assert_eq!(wait(&socket, family), Entry::Refused(closed, Refusal::Refused));
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
            assert_eq!(wait(&socket, Family::V4), Entry::Refused(remote, Refusal::Refused));
        }
    }

    #[test]
    fn every_unreachable_destination_has_its_refusal() {
        let v4 = |code| (SO_EE_ORIGIN_ICMP, 3, code);
        let v6 = |code| (SO_EE_ORIGIN_ICMP6, 1, code);
        let cases = [
            (v4(0), Some(Refusal::NetworkUnreachable)),
            (v4(1), Some(Refusal::HostUnreachable)),
            (v4(3), Some(Refusal::Refused)),
            (v4(13), Some(Refusal::Prohibited)),
            (v6(0), Some(Refusal::NetworkUnreachable)),
            (v6(1), Some(Refusal::Prohibited)),
            (v6(3), Some(Refusal::HostUnreachable)),
            (v6(4), Some(Refusal::Refused)),
            // Fragmentation needed, packet too big, time exceeded, and errors of no network.
            (v4(4), None),
            ((SO_EE_ORIGIN_ICMP6, 2, 0), None),
            ((SO_EE_ORIGIN_ICMP, 11, 0), None),
            ((SO_EE_ORIGIN_ICMP6, 3, 0), None),
            ((nix::libc::SO_EE_ORIGIN_LOCAL, 3, 3), None),
        ];
        for ((ee_origin, ee_type, ee_code), expected) in cases {
            let error = sock_extended_err {
                ee_errno: 0,
                ee_origin,
                ee_type,
                ee_code,
                ee_pad: 0,
                ee_info: 0,
                ee_data: 0,
            };
            assert_eq!(icmp_refusal(&error), expected, "{ee_origin} {ee_type} {ee_code}");
        }
    }
}
