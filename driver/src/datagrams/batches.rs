//! Many datagrams of a host socket in one system call, either way.
//!
//! What quinn-udp does for the WireGuard socket is done here by hand: it knows of a datagram's
//! traffic class no more than ECN, and sends each with that alone.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use mio::net::UdpSocket;
use nix::cmsg_space;
use nix::sys::socket::sockopt::UdpGroSegment;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage,
    recvmmsg, sendmsg, setsockopt,
};
use rustix::io::Errno;
use slipwire_core::TrafficClass;
use socket2::{Domain, Protocol, Socket, Type};

use super::train::Train;
use crate::batch::{BATCH, ReceiveBuffers, Truncated};
use crate::socket_state::SocketState;

/// Receives that fail one after the other before a socket counts as broken.
pub(crate) const FAILURES_MAX: usize = 16;

/// Trains that go singly before another is tried, where all have been refused so far.
const REST_MAX: u8 = 127;

/// Whether trains are worth a try on a socket. None is given up for good: a refusal may be about
/// one remote, its path and the size of its datagrams (EMSGSIZE, EINVAL), about one device (EIO),
/// or about an earlier datagram that a router could not pass on. But the more there are in a row
/// the longer it takes to the next try.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Trains {
    /// Those that are still to go singly.
    resting: u8,
    /// How many will after the next refusal.
    rest: u8,
}

impl Trains {
    const fn is_worth_a_try(&mut self) -> bool {
        let is_rested = self.resting == 0;
        self.resting = self.resting.saturating_sub(1);
        is_rested
    }

    fn refused(&mut self) {
        self.resting = self.rest;
        self.rest = self.rest.saturating_mul(2).saturating_add(1).min(REST_MAX);
    }

    fn taken(&mut self) {
        *self = Self::default();
    }
}

/// What it takes to receive batches and to send trains, for all sockets in turn.
#[derive(Debug)]
pub(crate) struct Batches {
    /// Datagrams of a train at most; 1 where the system has none.
    segments_max: usize,
    buffers: ReceiveBuffers,
}

/// What a datagram says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ReceivedFrom {
    /// Where it came from.
    pub(crate) remote: SocketAddr,
    /// How it was marked, where the system says so.
    pub(crate) traffic_class: TrafficClass,
}

impl Batches {
    /// Asks what the system can do.
    ///
    /// # Errors
    /// It has no UDP sockets.
    pub(crate) fn new() -> io::Result<Self> {
        let open = |domain| Socket::new(domain, Type::DGRAM, Some(Protocol::UDP));
        let socket = open(Domain::IPV4).or_else(|_| open(Domain::IPV6))?;
        let segments_max = SocketState::new(&socket).segments_max();
        Ok(Self { segments_max, buffers: ReceiveBuffers::new() })
    }

    /// Delivers one batch of datagrams, with what they say of themselves.
    ///
    /// # Errors
    /// What the system says, [`WouldBlock`](io::ErrorKind::WouldBlock) if there are none.
    pub(crate) fn receive(
        &mut self,
        socket: &UdpSocket,
        mut deliver: impl FnMut(ReceivedFrom, Result<&[u8], Truncated>),
    ) -> io::Result<()> {
        // Made anew: a call leaves the lengths of what came in it, and nix does not set them back.
        let control = Some(cmsg_space!(i32, i32));
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, control);
        let mut rooms = self.buffers.rooms().map(|room| [room]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let messages =
            match recvmmsg(socket.as_raw_fd(), &mut headers, rooms.iter_mut(), flags, None) {
                Err(nix::errno::Errno::ENOSYS) => return self.receive_one(socket, deliver),
                outcome => outcome?,
            };
        for message in messages {
            let Some((received, stride)) = read_notes(&message) else { continue };
            if message.flags.contains(MsgFlags::MSG_TRUNC) {
                deliver(received, Err(Truncated));
                continue;
            }
            match message.iovs().next() {
                None => deliver(received, Ok(&[])),
                Some(train) => {
                    let datagrams = train.chunks(stride.unwrap_or(train.len()).max(1));
                    datagrams.for_each(|datagram| deliver(received, Ok(datagram)));
                }
            }
        }
        Ok(())
    }

    /// The same where there is no recvmmsg.
    fn receive_one(
        &mut self,
        socket: &UdpSocket,
        mut deliver: impl FnMut(ReceivedFrom, Result<&[u8], Truncated>),
    ) -> io::Result<()> {
        let [mut room, ..] = self.buffers.rooms();
        let (len, remote) = socket.recv_from(&mut room)?;
        deliver(ReceivedFrom { remote, traffic_class: TrafficClass::DEFAULT }, Ok(&room[..len]));
        Ok(())
    }

    /// Sends a train as one, on a socket that has to do with `trains`. Says whether it was sent: if
    /// not, its datagrams are to be sent singly, so that each has its own error.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock): the host can't take it now.
    pub(crate) fn send(
        &self,
        socket: &UdpSocket,
        trains: Option<&mut Trains>,
        train: &Train<'_>,
    ) -> io::Result<bool> {
        let Some(trains) = trains else { return Ok(false) };
        let Ok(segment_size) = u16::try_from(train.segment_size) else { return Ok(false) };
        if !train.is_long() || self.segments_max < 2 || !trains.is_worth_a_try() {
            return Ok(false);
        }
        let notes = [ControlMessage::UdpGsoSegments(&segment_size)];
        let parts = [IoSlice::new(train.bytes())];
        let remote = SockaddrStorage::from(train.heading.remote);
        let flags = MsgFlags::MSG_DONTWAIT;
        let sent = sendmsg(socket.as_raw_fd(), &parts, &notes, flags, Some(&remote));
        let Err(error) = sent.map_err(io::Error::from) else {
            trains.taken();
            return Ok(true);
        };
        if error.kind() == io::ErrorKind::WouldBlock {
            return Err(error);
        }
        if let Some(Errno::IO | Errno::INVAL | Errno::MSGSIZE) = Errno::from_io_error(&error) {
            trains.refused();
        }
        Ok(false)
    }
}

/// What is said of a message, and the length of its datagrams if they came as a train.
fn read_notes(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<(ReceivedFrom, Option<usize>)> {
    let address = message.address.as_ref()?;
    let v4 = || Some(SocketAddr::V4(SocketAddrV4::from(*address.as_sockaddr_in()?)));
    let v6 = || Some(SocketAddr::V6(SocketAddrV6::from(*address.as_sockaddr_in6()?)));
    let mut received =
        ReceivedFrom { remote: v4().or_else(v6)?, traffic_class: TrafficClass::DEFAULT };
    let mut stride = None;
    for note in message.cmsgs().ok()? {
        match note {
            ControlMessageOwned::Ipv4Tos(class) => received.traffic_class = TrafficClass(class),
            // A byte, in the system's words an int.
            ControlMessageOwned::Ipv6TClass(class) => {
                received.traffic_class = TrafficClass(class as u8);
            }
            ControlMessageOwned::UdpGroSegments(len) => stride = usize::try_from(len).ok(),
            _ => {}
        }
    }
    Some((received, stride))
}

/// Lets the system put datagrams of a UDP socket together as they arrive. Where it can't they
/// arrive singly.
pub(crate) fn coalesce(socket: &impl AsFd) {
    let _ = setsockopt(socket, UdpGroSegment, &true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_trains_are_refused_the_fewer_are_tried_and_never_none() {
        let mut trains = Trains::default();
        let mut tried = Vec::new();
        for at in 0..10_000 {
            if trains.is_worth_a_try() {
                tried.push(at);
                trains.refused();
            }
        }
        assert_eq!(tried[..5], [0, 1, 3, 7, 15]);
        assert!(tried.windows(2).all(|pair| pair[1] - pair[0] <= 1 + usize::from(REST_MAX)));
        assert!(tried.len() < 100, "{tried:?}");
        trains.taken();
        assert!(trains.is_worth_a_try() && trains.is_worth_a_try());
    }
}
