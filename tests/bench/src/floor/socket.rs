//! The floor's UDP socket: trains by GSO, batches by GRO and `recvmmsg`.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
};

use anyhow::Result;
use mio::net::UdpSocket;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};

/// Bytes that the kernel may hold; a window is far less.
const KERNEL_BUFFER: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Datagrams {
    socket: UdpSocket,
    state: UdpSocketState,
    peer: SocketAddr,
}

impl Datagrams {
    pub(super) fn bind(own: SocketAddr, peer: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(own)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        state.set_recv_buffer_size(UdpSockRef::from(&socket), KERNEL_BUFFER)?;
        state.set_send_buffer_size(UdpSockRef::from(&socket), KERNEL_BUFFER)?;
        Ok(Self { socket, state, peer })
    }

    pub(super) fn source(&mut self) -> &mut UdpSocket {
        &mut self.socket
    }

    pub(super) fn send(&self, contents: &[u8], segment_size: usize) -> io::Result<()> {
        let transmit = Transmit {
            destination: self.peer,
            ecn: None,
            contents,
            segment_size: Some(segment_size),
            src_ip: None,
        };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit)
    }

    pub(super) fn receive(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        self.state.recv(UdpSockRef::from(&self.socket), buffers, metas)
    }
}
