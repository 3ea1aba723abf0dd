//! The host leg of a TCP flow: a connection to a host, or from a local client.
//!
//! ```text
//!   host socket  -- read -->   flow.send_room, commit     send ring     -->  tunnel
//!   host socket  <-- write --  flow.received, consume     receive ring  <--  tunnel
//! ```
//!
//! Bytes go straight between the socket and core's rings. Whichever side has no bytes, or no room,
//! stops its direction until it says otherwise: that is all there is to back-pressure.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use slipwire_core::{Engine, Flow, FlowId, Instant, Refusal};

use super::guard::{Guard, Pass};
use super::keepalive::HostKeepalive;
use super::stream::Stream;
use super::work::Work;
use crate::refusal::refusal;

/// Bytes that one flow moves each way before others have their turn.
const BUDGET: usize = 256 << 10;

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ConnectionStage {
    /// The host has not answered yet.
    Connecting,
    /// A local client is there; the other end of the tunnel has not answered yet.
    AwaitingTunnel,
    /// Bytes may move.
    Open,
}

/// A host socket and what is known about both of its sides.
///
/// The flags say "maybe": they are raised by events and actions, and lowered only by a read, write
/// or loan that brought nothing. So no edge is lost, and one too many costs a system call.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    stage: ConnectionStage,
    /// What let it through, if it goes to an address.
    pass: Option<Pass>,
    keepalive: HostKeepalive,
    /// What the host is to read before the first byte of the flow.
    header: Vec<u8>,
    host_readable: bool,
    host_writable: bool,
    host_failed: bool,
    flow_readable: bool,
    flow_writable: bool,
    /// The host has sent its last byte, and it was read.
    read_ended: bool,
    /// The host has been given its last byte.
    write_ended: bool,
}

impl Connection {
    /// Takes over a socket that is connecting. Once it is connected the host reads `header`, then
    /// the bytes of the flow.
    pub(crate) fn connecting(
        stream: Stream,
        pass: Option<Pass>,
        header: Vec<u8>,
        keepalive: HostKeepalive,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        let connection =
            Self::register(stream, ConnectionStage::Connecting, keepalive, token, registry)?;
        Ok(Self { pass, header, ..connection })
    }

    /// Takes over a local client, to be served once the flow is
    /// [`established`](Self::handle_established).
    pub(crate) fn accepted(
        stream: TcpStream,
        keepalive: HostKeepalive,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        let stream = Stream::Tcp(stream);
        stream.watch(&keepalive);
        Self::register(stream, ConnectionStage::AwaitingTunnel, keepalive, token, registry)
    }

    fn register(
        mut stream: Stream,
        stage: ConnectionStage,
        keepalive: HostKeepalive,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = registry.register(&mut stream, token, interest) {
            stream.reset();
            return Err(error);
        }
        stream.prepare();
        Ok(Self {
            stream,
            stage,
            keepalive,
            pass: None,
            header: Vec::new(),
            host_readable: true,
            host_writable: true,
            host_failed: false,
            flow_readable: true,
            flow_writable: true,
            read_ended: false,
            write_ended: false,
        })
    }

    /// Notes what the system says about the socket.
    pub(crate) fn note(&mut self, event: &Event) {
        self.host_readable |= event.is_readable() || event.is_read_closed();
        self.host_writable |= event.is_writable() || event.is_write_closed();
        self.host_failed |= event.is_error();
    }

    /// The flow has bytes.
    pub(crate) const fn handle_readable(&mut self) {
        self.flow_readable = true;
    }

    /// The flow has room.
    pub(crate) const fn handle_writable(&mut self) {
        self.flow_writable = true;
    }

    /// The other end of the tunnel has answered.
    pub(crate) const fn handle_established(&mut self) {
        self.stage = ConnectionStage::Open;
    }

    /// The flow has no more bytes, ever.
    pub(crate) fn shut_down(&mut self) {
        self.write_ended = true;
        // It fails only if the host has reset the connection, which an event tells as well.
        let _ = self.stream.shut_down();
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        self.stream.reset();
    }

    /// The address of this host that it is bound to.
    pub(crate) fn local_ip(&self) -> Option<IpAddr> {
        self.stream.local_ip()
    }

    /// The target, if the connection is to this host itself, as core has allowed.
    pub(crate) fn target_at_this_host(&self) -> Option<SocketAddr> {
        self.pass.and_then(Pass::to_this_host)
    }

    /// Does what there is to do, within a budget.
    pub(crate) fn work(
        &mut self,
        flow: FlowId,
        guard: Option<&mut Guard>,
        engine: &mut Engine,
        now: Instant,
    ) -> Work {
        let arrived = match self.stage {
            ConnectionStage::Connecting => Some(self.arrive(flow, guard, engine)),
            ConnectionStage::AwaitingTunnel | ConnectionStage::Open => None,
        };
        // Of a flow that is over the last action is on the way.
        let Ok(mut flow) = engine.flow(flow) else { return Work::NOTHING };
        match arrived {
            Some(Ok(false)) => return Work::NOTHING,
            Some(Ok(true)) => {
                self.stage = ConnectionStage::Open;
                // Not before: it would bound the connect, which core does.
                self.stream.watch(&self.keepalive);
                flow.opened(None, now);
            }
            Some(Err(refusal)) => {
                flow.refused(refusal, now);
                return Work::Over;
            }
            None => {}
        }
        match self.exchange(&mut flow, now) {
            Ok(work) => work,
            Err(error) => {
                log::debug!("{:?}: {error}", flow.id());
                flow.abort(now);
                Work::Over
            }
        }
    }

    /// Once the socket is connected, and may be, sends the header. Says whether it is.
    fn arrive(
        &mut self,
        flow: FlowId,
        guard: Option<&mut Guard>,
        engine: &Engine,
    ) -> Result<bool, Refusal> {
        let failed = |error: &io::Error| {
            log::debug!("{flow:?}: {error}");
            refusal(error)
        };
        if !self.stream.connected().map_err(|error| failed(&error))? {
            return Ok(false);
        }
        if let (Some(guard), Some(pass), Some(local)) = (guard, self.pass, self.stream.local_ip()) {
            let confirmed = guard.confirm(pass, flow, local, engine).inspect_err(|barrier| {
                log::debug!("{flow:?}: {barrier}");
                // Whoever accepted it here is not left waiting.
                self.stream.reset();
            });
            self.pass = Some(confirmed.map_err(|barrier| barrier.refusal())?);
        }
        self.introduce().map_err(|error| failed(&error))?;
        Ok(true)
    }

    fn introduce(&mut self) -> io::Result<()> {
        let header = std::mem::take(&mut self.header);
        // Nothing has been sent yet: there is room for many headers, or the host is gone.
        if !header.is_empty() && self.stream.write(&header)? < header.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    fn exchange(&mut self, flow: &mut Flow<'_>, now: Instant) -> io::Result<Work> {
        // Both directions may be stopped by the other side, and still a reset has to be noticed.
        // Once both are complete there is nothing left that it could cut off.
        if std::mem::take(&mut self.host_failed)
            && !(self.read_ended && self.write_ended)
            && let Some(error) = self.stream.take_error()?
        {
            return Err(error);
        }
        match self.stage {
            ConnectionStage::Connecting | ConnectionStage::AwaitingTunnel => Ok(Work::NOTHING),
            ConnectionStage::Open => {
                let written = self.write_to_host(flow, now)?;
                let read = self.read_from_host(flow, now)?;
                let has_more = self.can_write() || self.can_read();
                let moved = written + read;
                Ok(if has_more { Work::More { moved } } else { Work::Done { moved } })
            }
        }
    }

    const fn can_write(&self) -> bool {
        self.flow_readable && self.host_writable && !self.write_ended
    }

    const fn can_read(&self) -> bool {
        self.host_readable && self.flow_writable && !self.read_ended
    }

    fn write_to_host(&mut self, flow: &mut Flow<'_>, now: Instant) -> io::Result<usize> {
        let mut moved = 0;
        while self.can_write() && moved < BUDGET {
            let bytes = flow.received();
            if bytes.is_empty() {
                // Nothing comes any more without an action.
                self.flow_readable = false;
                break;
            }
            match self.stream.write(&bytes[..bytes.len().min(BUDGET)]) {
                Ok(0) => self.host_writable = false,
                Ok(len) => {
                    flow.consume(len, now);
                    moved += len;
                }
                Err(error) => self.host_writable = is_transient(error)?,
            }
        }
        Ok(moved)
    }

    fn read_from_host(&mut self, flow: &mut Flow<'_>, now: Instant) -> io::Result<usize> {
        let mut moved = 0;
        while self.can_read() && moved < BUDGET {
            let room = flow.send_room(now);
            if room.is_empty() {
                self.flow_writable = false;
                break;
            }
            let budget = room.len().min(BUDGET);
            match self.stream.read(&mut room[..budget]) {
                Ok(0) => {
                    self.read_ended = true;
                    flow.shut_down(now);
                }
                Ok(len) => {
                    flow.commit(len, now);
                    moved += len;
                }
                Err(error) => self.host_readable = is_transient(error)?,
            }
        }
        Ok(moved)
    }
}

/// Whether the call that failed is to be repeated at once, or only when the socket is ready again;
/// any other error is the connection's end.
fn is_transient(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(true),
        io::ErrorKind::WouldBlock => Ok(false),
        _ => Err(error),
    }
}
