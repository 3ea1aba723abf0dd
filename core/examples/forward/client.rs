//! Local clients: bytes go straight between their sockets and the rings of their flows.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use slipwire_core::{Engine, FlowId, Instant};

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
    pub(crate) fn read(
        &mut self,
        flow: FlowId,
        engine: &mut Engine,
        now: Instant,
    ) -> io::Result<()> {
        self.reads = true;
        while self.reads {
            let fill = |room: &mut [u8]| match room {
                [] => (0, Ok(None)),
                room => match self.socket.read(room) {
                    Ok(len) => (len, Ok(Some(len))),
                    Err(error) => (0, Err(error)),
                },
            };
            match engine.send(flow, fill, now) {
                Ok(Ok(Some(0))) => {
                    self.reads = false;
                    engine.handle_shutdown(flow, now);
                }
                Ok(Ok(Some(_))) => {}
                // The ring is full: the engine says when there is room.
                Ok(Ok(None)) | Err(_) => self.reads = false,
                Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes the flow's receive ring straight to the client.
    pub(crate) fn write(
        &mut self,
        flow: FlowId,
        engine: &mut Engine,
        now: Instant,
    ) -> io::Result<()> {
        self.writes = true;
        while self.writes {
            let take = |bytes: &[u8]| match bytes {
                [] => (0, Ok(0)),
                bytes => match self.socket.write(bytes) {
                    Ok(len) => (len, Ok(len)),
                    Err(error) => (0, Err(error)),
                },
            };
            match engine.receive(flow, take, now) {
                // The ring is empty: the engine says when there is more.
                Ok(Ok(0)) | Err(_) => self.writes = false,
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }
}
