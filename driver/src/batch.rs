//! Room for many datagrams at once: several come in one system call (recvmmsg), each of which may
//! be a whole train that the system has put together (UDP GRO); and how much leaves in one.

use std::array;
use std::io::{self, IoSliceMut};

use mio::net::UdpSocket;
use quinn_udp::RecvMeta;

use crate::socket_state::SocketState;

/// The payload of the largest UDP datagram over IPv4; a train is one such datagram until the
/// kernel cuts it into segments.
pub(crate) const SEND_LEN_MAX: usize = 65_507;

/// Receives in one system call.
pub(crate) const BATCH: usize = 16;

/// Room for one receive: with GRO a whole train of up to 64 KiB, without it the largest datagram.
/// One byte more than either can have, so that a full buffer tells of truncation.
const BUFFER_LEN: usize = 1 << 16;

/// Room for a batch, for many sockets in turn. The pages are touched only as far as datagrams fill
/// them.
#[derive(Debug)]
pub(crate) struct ReceiveBuffers(Vec<u8>);

/// A datagram was larger than any can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Truncated;

impl From<Truncated> for io::Error {
    fn from(_: Truncated) -> Self {
        Self::other("a datagram larger than any can be")
    }
}

impl ReceiveBuffers {
    pub(crate) fn new() -> Self {
        Self(vec![0; BATCH * BUFFER_LEN])
    }

    /// Room for each message of a batch.
    pub(crate) fn rooms(&mut self) -> [IoSliceMut<'_>; BATCH] {
        let mut rooms = self.0.chunks_exact_mut(BUFFER_LEN);
        array::from_fn(|_| IoSliceMut::new(rooms.next().unwrap_or_default()))
    }

    /// Delivers one batch of trains, with where each came from and went to, and how long its
    /// datagrams are but for the last.
    ///
    /// # Errors
    /// What the system says. Nothing was received then.
    pub(crate) fn receive(
        &mut self,
        state: &SocketState,
        socket: &UdpSocket,
        mut deliver: impl FnMut(&RecvMeta, Result<&[u8], Truncated>),
    ) -> io::Result<()> {
        let mut metas = [RecvMeta::default(); BATCH];
        let mut slices = self.rooms();
        let count = state.receive(socket, &mut slices, &mut metas)?;
        for (slice, meta) in slices.iter().zip(&metas).take(count) {
            match meta.len {
                BUFFER_LEN.. => deliver(meta, Err(Truncated)),
                len => deliver(meta, Ok(&slice[..len])),
            }
        }
        Ok(())
    }
}
