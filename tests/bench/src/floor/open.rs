//! The end that receives, opens and writes a TCP socket.

use std::{
    collections::VecDeque,
    io::{ErrorKind, IoSlice, IoSliceMut, Write as _},
    net::Shutdown,
    ops::Range,
};

use anyhow::{Context as _, Result};
use mio::{
    Token,
    net::{TcpStream, UdpSocket},
};
use quinn_udp::RecvMeta;

use super::{CREDIT, End, Progress, SOCKET, message::Key, socket::Datagrams};

/// Buffers of one `recvmmsg`, each for what GRO makes of a train.
const BUFFERS: usize = 16;
const BUFFER: usize = 64 * 1024;
/// Slices that one `writev` takes.
const SLICES_MAX: usize = 1024;

pub(super) struct Opener {
    stream: TcpStream,
    datagrams: Datagrams,
    key: Key,
    /// All buffers, one behind the other.
    area: Vec<u8>,
    /// Where in the area there are payloads to be written.
    payloads: VecDeque<Range<usize>>,
    written: u64,
    /// What the other end knows of it.
    told: u64,
    readable: bool,
    ended: bool,
}

impl Opener {
    pub(super) fn new(stream: TcpStream, datagrams: Datagrams) -> Result<Self> {
        Ok(Self {
            stream,
            datagrams,
            key: Key::new()?,
            area: vec![0; BUFFERS * BUFFER],
            payloads: VecDeque::with_capacity(SLICES_MAX),
            written: 0,
            told: 0,
            readable: true,
            ended: false,
        })
    }

    /// Writes what was opened; whether that was all of it.
    fn flush(&mut self) -> Result<bool> {
        while !self.payloads.is_empty() {
            let slice = |range: &Range<usize>| IoSlice::new(&self.area[range.clone()]);
            let slices: Vec<_> = self.payloads.iter().take(SLICES_MAX).map(slice).collect();
            match self.stream.write_vectored(&slices) {
                Ok(length) => self.forget(length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("writing"),
            }
            self.give_credit()?;
        }
        Ok(true)
    }

    fn forget(&mut self, mut length: usize) {
        self.written += length as u64;
        while let Some(first) = self.payloads.front_mut() {
            if length < first.len() {
                first.start += length;
                return;
            }
            length -= first.len();
            self.payloads.pop_front();
        }
    }

    fn give_credit(&mut self) -> Result<()> {
        if self.written - self.told >= CREDIT {
            let total = self.written.to_le_bytes();
            self.datagrams.send(&total, total.len()).context("sending credit")?;
            self.told = self.written;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let mut metas = [RecvMeta::default(); BUFFERS];
        let mut buffers = self.area.chunks_mut(BUFFER).map(IoSliceMut::new);
        let mut buffers: [_; BUFFERS] =
            std::array::from_fn(|_| buffers.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        let filled = match self.datagrams.receive(&mut buffers, &mut metas) {
            Ok(filled) => filled,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                return Ok(());
            }
            Err(error) => return Err(error).context("receiving"),
        };
        for (index, meta) in metas[..filled].iter().enumerate() {
            self.open(index * BUFFER, meta)?;
        }
        Ok(())
    }

    /// Opens all datagrams of one buffer.
    fn open(&mut self, base: usize, meta: &RecvMeta) -> Result<()> {
        let mut start = base;
        for datagram in self.area[base..base + meta.len].chunks_mut(meta.stride.max(1)) {
            let payload = self.key.open(datagram)?;
            let first = start + Key::PAYLOAD_START;
            if payload == 0 {
                self.ended = true;
            } else {
                self.payloads.push_back(first..first + payload);
            }
            start += datagram.len();
        }
        Ok(())
    }
}

impl End for Opener {
    fn sources(&mut self) -> (&mut TcpStream, &mut UdpSocket) {
        (&mut self.stream, self.datagrams.source())
    }

    fn handle_event(&mut self, token: Token) {
        if token == SOCKET {
            self.readable = true;
        }
    }

    fn advance(&mut self) -> Result<Progress> {
        while self.flush()? {
            if self.ended {
                self.stream.shutdown(Shutdown::Write)?;
                return Ok(Progress::Done);
            }
            if !self.readable {
                break;
            }
            self.receive()?;
        }
        Ok(Progress::Waits)
    }
}
