//! [`SocketState`]: how datagrams get in and out of a UDP socket, many at once where the system
//! can.

use std::io::{self, IoSliceMut};
use std::os::fd::AsFd;

use mio::net::UdpSocket;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo, UdpGroSegment, UdpGsoSegment};
use nix::sys::socket::{getsockopt, setsockopt};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::io::Errno;
use rustix::net::sockopt::set_ipv6_recvtclass;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::socket_options::{Wish, wish};

/// What a socket can do.
#[derive(Debug)]
pub(crate) struct SocketState {
    /// `None` where the system refuses what quinn-udp can't be without: then each datagram has a
    /// system call, and says nothing but where it came from.
    batched: Option<UdpSocketState>,
    /// Whether the system sends trains, and does not just take the option.
    segments: bool,
    /// Whether it receives trains.
    coalesces: bool,
}

impl SocketState {
    /// Switches on what a socket can do, and notes what it can't.
    pub(crate) fn new(socket: &impl AsFd) -> Self {
        let batched = UdpSocketState::new(UdpSockRef::from(socket)).or_else(|error| {
            log::debug!("a UDP socket lacks an option: {error}");
            set_each(socket);
            // Its state is of the system, not of a socket: another's does as well.
            let open = |domain| Socket::new(domain, Type::DGRAM, Some(Protocol::UDP));
            [Domain::IPV4, Domain::IPV6]
                .into_iter()
                .map(open)
                .find_map(|other| UdpSocketState::new(UdpSockRef::from(&other.ok()?)).ok())
                .ok_or(error)
        });
        let segments = does_segment(socket);
        let coalesces = getsockopt(socket, UdpGroSegment) == Ok(true);
        let unsupported = || io::Error::from(io::ErrorKind::Unsupported);
        match batched {
            Ok(batched) => {
                let segments = segments && batched.max_gso_segments() > 1;
                wish(Wish::Segmentation, segments.then_some(()).ok_or_else(unsupported));
                wish(Wish::Coalescing, coalesces.then_some(()).ok_or_else(unsupported));
                Self { batched: Some(batched), segments, coalesces }
            }
            Err(error) => {
                wish::<(), _>(Wish::Batches, Err(error));
                Self { batched: None, segments: false, coalesces: false }
            }
        }
    }

    /// How many datagrams may leave as one; 1 where none can be together.
    pub(crate) fn segments_max(&self) -> usize {
        let batched = self.batched.as_ref().filter(|_| self.segments);
        batched.map_or(1, UdpSocketState::max_gso_segments)
    }

    pub(crate) const fn coalesces(&self) -> bool {
        self.coalesces
    }

    /// Sends a train of at most [`segments_max`](Self::segments_max) datagrams.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn send(&self, socket: &UdpSocket, transmit: &Transmit<'_>) -> io::Result<()> {
        match &self.batched {
            Some(batched) => batched.try_send(UdpSockRef::from(socket), transmit),
            None => socket.send_to(transmit.contents, transmit.destination).map(drop),
        }
    }

    /// Receives into as many buffers as there are datagrams, and says how many.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn receive(
        &self,
        socket: &UdpSocket,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        if let Some(batched) = &self.batched {
            match batched.recv(UdpSockRef::from(socket), buffers, metas) {
                // No recvmmsg.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOSYS) => {}
                outcome => return outcome,
            }
        }
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), metas.first_mut()) else {
            return Ok(0);
        };
        let (len, from) = socket.recv_from(buffer)?;
        *meta = RecvMeta::default();
        (meta.addr, meta.len, meta.stride) = (from, len, len);
        Ok(1)
    }
}

/// What quinn-udp did not come to, one by one.
fn set_each(socket: &impl AsFd) {
    let is_v4 = SockRef::from(socket).domain().is_ok_and(|domain| domain == Domain::IPV4);
    if is_v4 {
        wish(Wish::PacketInfo, setsockopt(socket, Ipv4PacketInfo, &true));
    } else {
        wish(Wish::PacketInfo, setsockopt(socket, Ipv6RecvPacketInfo, &true));
        wish(Wish::TrafficClass, set_ipv6_recvtclass(socket, true));
    }
    // Whether it was is looked at afterwards.
    let _ = setsockopt(socket, UdpGroSegment, &true);
}

/// gVisor takes the option and does nothing; what it says of it afterwards is the truth.
fn does_segment(socket: &impl AsFd) -> bool {
    /// Any size.
    const SIZE: i32 = 1500;
    let is_set = |size| {
        setsockopt(socket, UdpGsoSegment, &size).is_ok()
            && getsockopt(socket, UdpGsoSegment) == Ok(size)
    };
    let does = is_set(SIZE);
    // Each train has its own size, and a socket that kept one would cut larger datagrams up.
    let _ = is_set(0) || is_set(0);
    does
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A system that refuses all that can be refused.
    #[test]
    fn datagrams_pass_one_by_one_where_the_system_knows_no_batches() {
        let plain = SocketState { batched: None, segments: false, coalesces: false };
        let bind = || UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (sender, receiver) = (bind(), bind());
        assert_eq!(plain.segments_max(), 1);
        let destination = receiver.local_addr().unwrap();
        let transmit = |contents| Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: None,
        };
        plain.send(&sender, &transmit(b"one")).unwrap();
        plain.send(&sender, &transmit(b"")).unwrap();
        let mut metas = [RecvMeta::default(); 2];
        for expected in [&b"one"[..], b""] {
            let (mut first, mut second) = ([0; 10], [0; 10]);
            let mut buffers = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
            let count = loop {
                match plain.receive(&receiver, &mut buffers, &mut metas) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    outcome => break outcome.unwrap(),
                }
            };
            assert_eq!((count, metas[0].len), (1, expected.len()));
            assert_eq!(metas[0].addr, sender.local_addr().unwrap());
            assert_eq!(&first[..expected.len()], expected);
        }
    }

    #[test]
    fn to_ask_for_trains_leaves_a_socket_without_a_size() {
        let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let _ = SocketState::new(&socket);
        assert!(matches!(getsockopt(&socket, UdpGsoSegment), Ok(0) | Err(_)));
    }
}
