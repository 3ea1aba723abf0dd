//! The end that reads a TCP socket, seals and sends.

use std::io::{ErrorKind, IoSliceMut, Read as _};

use anyhow::{Context as _, Result};
use mio::{
    Token,
    net::{TcpStream, UdpSocket},
};
use quinn_udp::RecvMeta;

use super::{
    End, Progress, SOCKET, STREAM, WINDOW,
    message::{DATAGRAM, Key, PAYLOAD, SEGMENTS},
    socket::Datagrams,
};

pub(super) struct Sealer {
    stream: TcpStream,
    datagrams: Datagrams,
    key: Key,
    text: Vec<u8>,
    train: Vec<u8>,
    /// Bytes of the train that the kernel has not taken yet.
    unsent: usize,
    sent: u64,
    /// What the other end has written of it.
    written: u64,
    readable: bool,
    credit_waits: bool,
    ended: bool,
}

impl Sealer {
    pub(super) fn new(stream: TcpStream, datagrams: Datagrams) -> Result<Self> {
        Ok(Self {
            stream,
            datagrams,
            key: Key::new()?,
            text: vec![0; SEGMENTS * PAYLOAD],
            train: vec![0; SEGMENTS * DATAGRAM],
            unsent: 0,
            sent: 0,
            written: 0,
            readable: true,
            credit_waits: false,
            ended: false,
        })
    }

    /// Whether the train is on its way.
    fn flush(&mut self) -> Result<bool> {
        if self.unsent > 0 {
            match self.datagrams.send(&self.train[..self.unsent], DATAGRAM) {
                Ok(()) => self.unsent = 0,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("sending a train"),
            }
        }
        Ok(true)
    }

    /// Fills a train with what there is to read, within the window; the end of the stream is an
    /// empty datagram.
    fn fill(&mut self) -> Result<()> {
        let room = WINDOW.saturating_sub(self.sent - self.written);
        let length = self.text.len().min(room as usize);
        match self.stream.read(&mut self.text[..length]) {
            Ok(length) => {
                self.ended = length == 0;
                self.unsent = self.key.seal(&self.text[..length], &mut self.train)?;
                self.sent += length as u64;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
            Err(error) => return Err(error).context("reading"),
        }
        Ok(())
    }

    /// Reads how much the other end has written.
    fn take_credit(&mut self) -> Result<()> {
        let mut buffer = [0; 2048];
        while self.credit_waits {
            let mut metas = [RecvMeta::default()];
            match self.datagrams.receive(&mut [IoSliceMut::new(&mut buffer)], &mut metas) {
                Ok(_) => {
                    for total in buffer[..metas[0].len].chunks_exact(8) {
                        let total = total.try_into().map(u64::from_le_bytes)?;
                        self.written = self.written.max(total);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.credit_waits = false,
                Err(error) => return Err(error).context("receiving credit"),
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.sent - self.written + PAYLOAD as u64 <= WINDOW
    }
}

impl End for Sealer {
    fn sources(&mut self) -> (&mut TcpStream, &mut UdpSocket) {
        (&mut self.stream, self.datagrams.source())
    }

    fn handle_event(&mut self, token: Token) {
        match token {
            STREAM => self.readable = true,
            SOCKET => self.credit_waits = true,
            _ => {}
        }
    }

    fn advance(&mut self) -> Result<Progress> {
        self.take_credit()?;
        while self.flush()? {
            if self.ended {
                return Ok(Progress::Done);
            }
            if !self.readable || !self.has_room() {
                break;
            }
            self.fill()?;
        }
        Ok(Progress::Waits)
    }
}
