//! One WireGuard socket: batches in, trains out, with the offloads that the system has.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};

use mio::event::Event;
use mio::net::UdpSocket;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv6DontFrag, ReceiveTimestampns};
use quinn_udp::{EcnCodepoint, RecvMeta};
use rustix::io::Errno;
use rustix::net::sockopt;
use slipwire_core::{Arrival, Ecn, Transmit};

use super::train::leading_len;
use crate::batch::ReceiveBuffers;
use crate::socket_options::{Wish, wish};
use crate::socket_state::SocketState;

/// What a receive brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Received {
    /// At least one datagram.
    Datagrams,
    /// None.
    Nothing,
}

/// Why the rest of a train was not sent, and how many bytes were.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) sent: usize,
    pub(crate) error: io::Error,
}

/// One WireGuard socket.
#[derive(Debug)]
pub(crate) struct WireGuardSocket {
    socket: UdpSocket,
    state: SocketState,
    local: SocketAddr,
    readable: bool,
    writable: bool,
    /// Whether the last receive ended with an error.
    failing: bool,
    /// A source that the system did not let us send from: the address has left this host, and
    /// core learns of it only with the peer's next datagram.
    refused_source: Option<IpAddr>,
}

impl WireGuardSocket {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let state = prepare(&socket, local);
        Ok(Self {
            socket,
            state,
            local,
            readable: true,
            writable: true,
            failing: false,
            refused_source: None,
        })
    }

    pub(crate) const fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn has_gso(&self) -> bool {
        self.state.segments_max() > 1
    }

    pub(crate) fn has_gro(&self) -> bool {
        self.state.coalesces()
    }

    pub(crate) const fn is_readable(&self) -> bool {
        self.readable
    }

    pub(crate) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_error();
        self.writable |= event.is_writable();
    }

    /// Delivers one batch of trains, with how they came and how long their datagrams are but for
    /// the last. Whatever goes wrong is told to `report`.
    pub(crate) fn receive(
        &mut self,
        buffers: &mut ReceiveBuffers,
        mut deliver: impl FnMut(Arrival, &[u8], usize),
        mut report: impl FnMut(&io::Error),
    ) -> Received {
        let Self { socket, state, refused_source, .. } = self;
        let received = buffers.receive(state, socket, |meta, train| {
            if refused_source.is_some() && meta.dst_ip == *refused_source {
                *refused_source = None;
            }
            match train {
                Ok(train) => deliver(arrival(meta), train, meta.stride),
                Err(truncated) => report(&truncated.into()),
            }
        });
        match received {
            Ok(()) => {
                self.failing = false;
                Received::Datagrams
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Received::Nothing
            }
            Err(error) => {
                // A pending error goes away by being read. One that stays must not make the loop
                // spin; then the next datagram makes an edge.
                self.readable = !mem::replace(&mut self.failing, true);
                report(&error);
                Received::Nothing
            }
        }
    }

    /// Sends a train, in as few pieces as the system takes.
    pub(crate) fn send(&mut self, train: &Transmit<'_>) -> Result<(), Unsent> {
        let is_wildcard = self.local.ip().is_unspecified();
        let mut source =
            train.source.filter(|source| is_wildcard && self.refused_source != Some(*source));
        let mut segments_max = usize::MAX;
        let mut sent = 0;
        while sent < train.contents.len() {
            if !self.writable {
                return Err(Unsent { sent, error: io::ErrorKind::WouldBlock.into() });
            }
            let rest = &train.contents[sent..];
            let segments = segments_max.min(self.state.segments_max());
            let piece = &rest[..leading_len(rest.len(), train.segment_size, segments)];
            let transmit = quinn_udp::Transmit {
                destination: train.destination,
                ecn: EcnCodepoint::from_bits(train.ecn.bits()),
                contents: piece,
                segment_size: Some(train.segment_size),
                src_ip: source,
            };
            let Err(error) = self.state.send(&self.socket, &transmit) else {
                sent += piece.len();
                continue;
            };
            match remedy(&error, piece.len() > train.segment_size, source.is_some()) {
                Remedy::AnySource => {
                    self.refused_source = source.take();
                    // An EINVAL looks like a fault of GSO, which has been switched off for it.
                    self.state = prepare(&self.socket, self.local);
                }
                Remedy::Singly => segments_max = 1,
                Remedy::None => {
                    self.writable = error.kind() != io::ErrorKind::WouldBlock;
                    return Err(Unsent { sent, error });
                }
            }
        }
        Ok(())
    }
}

/// How a train came, as far as the system says.
fn arrival(meta: &RecvMeta) -> Arrival {
    let ecn = meta.ecn.map_or(Ecn::NotEct, |codepoint| Ecn::from_bits(codepoint as u8));
    Arrival { source: meta.addr, local: meta.dst_ip, ecn }
}

/// Switches on what the socket can do.
fn prepare(socket: &UdpSocket, local: SocketAddr) -> SocketState {
    let state = SocketState::new(socket);
    // Nobody looks at the time that the system would note of each datagram.
    let _ = setsockopt(socket, ReceiveTimestampns, &false);
    // As the kernel's own WireGuard does: where the path is narrower than the tunnel's MTU the
    // outer datagrams are fragmented, which is slow, rather than lost, which is worse.
    match local {
        SocketAddr::V4(_) => {
            let dont = sockopt::Ipv4PathMtuDiscovery::DONT;
            wish(Wish::Fragmentation, sockopt::set_ip_mtu_discover(socket, dont));
        }
        SocketAddr::V6(_) => {
            let dont = sockopt::Ipv6PathMtuDiscovery::DONT;
            wish(Wish::Fragmentation, sockopt::set_ipv6_mtu_discover(socket, dont));
            wish(Wish::Fragmentation, setsockopt(socket, Ipv6DontFrag, &false));
        }
    }
    state
}

/// What may help after a failed send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Remedy {
    /// Let the system choose the source address.
    AnySource,
    /// One segment for each send.
    Singly,
    None,
}

fn remedy(error: &io::Error, is_train: bool, has_source: bool) -> Remedy {
    match Errno::from_io_error(error) {
        // EIO: the device can't segment. EMSGSIZE: a segment does not fit the path unfragmented,
        // and a train can't be fragmented. EINVAL: either, in older kernels, and where trains are
        // unknown; it may be about the source too, which the next datagram alone will tell.
        Some(Errno::IO | Errno::INVAL | Errno::MSGSIZE) if is_train => Remedy::Singly,
        // For a source that is not ours Linux says either, depending on its version.
        Some(Errno::INVAL | Errno::NETUNREACH) if has_source => Remedy::AnySource,
        _ => Remedy::None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as StdSocket;
    use std::time::Duration;

    use super::*;

    const V4: &str = "127.0.0.1:0";
    const V6: &str = "[::1]:0";

    /// A socket under test and one to test it with; `None` if the system lacks the IP version.
    fn pair(address: &str) -> Option<(WireGuardSocket, StdSocket)> {
        let other = StdSocket::bind(address).ok()?;
        other.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let socket = UdpSocket::bind(address.parse().unwrap()).unwrap();
        Some((WireGuardSocket::new(socket).unwrap(), other))
    }

    fn receive_all(socket: &mut WireGuardSocket, count: usize) -> Vec<Vec<u8>> {
        let mut buffers = ReceiveBuffers::new();
        let mut datagrams = Vec::new();
        for _ in 0..500 {
            socket.readable = true;
            let deliver = |_, train: &[u8], segment_size: usize| {
                datagrams.extend(train.chunks(segment_size).map(<[u8]>::to_vec));
            };
            socket.receive(&mut buffers, deliver, |error| panic!("{error}"));
            if datagrams.len() >= count {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        datagrams
    }

    #[test]
    fn a_train_arrives_as_the_datagrams_it_is_made_of() {
        for (mut sender, receiver) in [V4, V6].into_iter().filter_map(pair) {
            let contents: Vec<u8> = (0..5_u8).flat_map(|i| [i; 100]).chain([9; 30]).collect();
            let destination = receiver.local_addr().unwrap();
            let train = Transmit {
                destination,
                source: None,
                ecn: Ecn::NotEct,
                segment_size: 100,
                contents: &contents,
            };
            sender.send(&train).unwrap();
            let mut buffer = [0; 1000];
            for segment in contents.chunks(100) {
                let len = receiver.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..len], segment);
            }
        }
    }

    #[test]
    fn coalesced_datagrams_are_told_apart() {
        let (mut receiver, _) = pair(V4).unwrap();
        let (mut sender, _) = pair(V4).unwrap();
        let contents: Vec<u8> = (0..40_u8).flat_map(|i| [i; 700]).chain([99; 1]).collect();
        let train = Transmit {
            destination: receiver.local(),
            source: None,
            ecn: Ecn::NotEct,
            segment_size: 700,
            contents: &contents,
        };
        sender.send(&train).unwrap();
        let datagrams = receive_all(&mut receiver, 41);
        assert!(datagrams.iter().map(Vec::as_slice).eq(contents.chunks(700)));
    }

    #[test]
    fn congestion_marks_are_sent_and_received() {
        for address in [V4, V6] {
            let Some((mut receiver, _)) = pair(address) else { continue };
            let Some((mut sender, _)) = pair(address) else { continue };
            let mut buffers = ReceiveBuffers::new();
            for ecn in [Ecn::Ce, Ecn::NotEct, Ecn::Ect0, Ecn::Ect1] {
                let destination = receiver.local();
                let contents = &[1; 250];
                let train =
                    Transmit { destination, source: None, ecn, segment_size: 100, contents };
                sender.send(&train).unwrap();
                let mut marks = Vec::new();
                for _ in 0..500 {
                    receiver.readable = true;
                    let deliver = |arrival: Arrival, train: &[u8], segment_size: usize| {
                        marks.extend(train.chunks(segment_size).map(|_| arrival.ecn));
                    };
                    receiver.receive(&mut buffers, deliver, |error| panic!("{error}"));
                    if marks.len() == 3 {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                assert_eq!(marks, [ecn; 3], "{address}");
            }
        }
    }

    #[test]
    fn the_largest_datagram_is_received_whole() {
        let (mut receiver, sender) = pair(V4).unwrap();
        sender.send_to(&[7; 65_507], receiver.local()).unwrap();
        assert_eq!(receive_all(&mut receiver, 1), [[7; 65_507]]);
    }

    #[test]
    fn a_source_that_left_the_host_does_not_stop_a_train() {
        let socket = UdpSocket::bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let mut sender = WireGuardSocket::new(socket).unwrap();
        let receiver = StdSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let had_gso = sender.has_gso();
        let gone: IpAddr = "192.0.2.1".parse().unwrap();
        let train = Transmit {
            destination: receiver.local_addr().unwrap(),
            source: Some(gone),
            ecn: Ecn::NotEct,
            segment_size: 4,
            contents: b"one two",
        };
        sender.send(&train).unwrap();
        let mut buffer = [0; 10];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 4);
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 3);
        assert_eq!(sender.refused_source, Some(gone));
        assert_eq!(sender.has_gso(), had_gso);
    }

    #[test]
    fn errors_lead_to_the_remedy_that_may_help() {
        let error = |errno: Errno| io::Error::from(errno);
        assert_eq!(remedy(&error(Errno::INVAL), true, true), Remedy::Singly);
        assert_eq!(remedy(&error(Errno::INVAL), false, true), Remedy::AnySource);
        assert_eq!(remedy(&error(Errno::NETUNREACH), false, true), Remedy::AnySource);
        assert_eq!(remedy(&error(Errno::INVAL), true, false), Remedy::Singly);
        assert_eq!(remedy(&error(Errno::IO), true, true), Remedy::Singly);
        assert_eq!(remedy(&error(Errno::MSGSIZE), true, false), Remedy::Singly);
        for errno in [Errno::IO, Errno::INVAL, Errno::MSGSIZE, Errno::NETUNREACH, Errno::PERM] {
            assert_eq!(remedy(&error(errno), false, false), Remedy::None);
        }
        assert_eq!(remedy(&error(Errno::CONNREFUSED), true, true), Remedy::None);
    }
}
