//! Local clients: bytes go straight between their sockets and the rings of their flows.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use slipwire_core::{Flow, Instant};

/// The host leg of a flow.
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    /// Whether the engine has room for what the client says.
    pub(crate) reads: bool,
    /// Whether the engine has bytes that the client did not take yet.
    pub(crate) writes: bool,
}

impl Client {
    /// Nothing is read before the engine says that the flow is established.
    pub(crate) const fn new(socket: TcpStream) -> Self {
        Self { socket, reads: false, writes: false }
    }

    /// Reads the client straight into the flow's send ring.
    pub(crate) fn read(&mut self, flow: &mut Flow<'_>, now: Instant) -> io::Result<()> {
        loop {
            let room = flow.send_room(now);
            // If the ring is full the engine says when there is room.
            self.reads = !room.is_empty();
            if room.is_empty() {
                return Ok(());
            }
            match self.socket.read(room) {
                Ok(0) => {
                    self.reads = false;
                    flow.shut_down(now);
                    return Ok(());
                }
                Ok(len) => flow.commit(len, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes the flow's receive ring straight to the client.
    pub(crate) fn write(&mut self, flow: &mut Flow<'_>, now: Instant) -> io::Result<()> {
        loop {
            let bytes = flow.received();
            // If the ring is empty the engine says when there is more.
            self.writes = !bytes.is_empty();
            if bytes.is_empty() {
                return Ok(());
            }
            match self.socket.write(bytes) {
                Ok(len) => flow.consume(len, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
