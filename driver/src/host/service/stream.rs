//! Services of byte streams: [`StreamService`], and a stream in its hands, [`PeerStream`].
//!
//! ```text
//!   service  <-- read --   receive ring  <--  tunnel
//!   service  -- write -->  send ring     -->  tunnel
//! ```
//!
//! Bytes wait in core's rings, which are bounded: a service that does not read closes its peer's
//! window, and one that finds no room to write is told when there is some.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, Read, Write};

use slipwire_core::{Abort, Engine, Flow, FlowId, FlowMeta, Instant, NoFlow, Refusal};

use super::{ServiceId, Services};
use crate::host::work::Work;

/// Bytes that one stream moves each way before others have their turn.
const BUDGET: usize = 256 << 10;

/// States that are kept room for although there are few.
const STATES_KEPT: usize = 256;

/// What takes the connections of peers: see
/// [`Driver::serve_streams`](crate::Driver::serve_streams).
///
/// All calls come from within [`Driver::turn`](crate::Driver::turn), one at a time, and hold up
/// everything else as long as they take.
pub trait StreamService: Send + 'static {
    /// What the service keeps for each stream.
    type State: Send;

    /// A peer wants to connect: `meta` says who it is, where from, and where to. The peer is
    /// answered after that, so a refused connection has never been open.
    ///
    /// # Errors
    /// What the peer is told instead.
    fn accept(&mut self, flow: FlowId, meta: &FlowMeta) -> Result<Self::State, Refusal>;

    /// Something has changed: bytes have come, or the end of them, or there is room to write.
    /// The service does what it can, until that [would block](io::ErrorKind::WouldBlock).
    ///
    /// It is called again when there is more to do. If it left bytes unread, that is soon if it
    /// took any, and otherwise not before something else has changed: then it waits, for room to
    /// write or for something outside, and reads on when it has that. It may be called without a
    /// reason.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) means what `Ok` does. Any other resets the stream.
    fn ready(&mut self, state: &mut Self::State, stream: &mut PeerStream<'_>) -> io::Result<()>;

    /// A stream is over. This is the last call about it, and comes once for each that was accepted,
    /// unless the service itself is removed.
    fn ended(&mut self, state: Self::State, flow: FlowId, end: StreamEnd) {
        let _ = (state, flow, end);
    }
}

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StreamEnd {
    /// Both directions are complete.
    Complete,
    /// It was cut off, and bytes may be missing.
    Aborted(Abort),
    /// The service gave it up: by an error, or by [`PeerStream::abort`].
    GivenUp,
}

/// One stream of a peer, for as long as a call takes.
///
/// [`read`](Read::read) returns 0 once the peer has ended its direction;
/// [`write`](Write::write) may take a part. Either fails with
/// [`WouldBlock`](io::ErrorKind::WouldBlock) while there are no bytes, or is no room, and when the
/// stream has moved so much that it is the turn of others.
pub struct PeerStream<'a> {
    flow: FlowId,
    served: &'a mut ServedStream,
    engine: &'a mut Engine,
    /// Bytes that may be moved each way.
    budget: usize,
    read: usize,
    written: usize,
    now: Instant,
}

impl PeerStream<'_> {
    /// Names the stream for [`Driver::stream`](crate::Driver::stream), later.
    pub const fn id(&self) -> FlowId {
        self.flow
    }

    /// Whose it is, where it came from, and where it was meant to go: as it is now, since peers and
    /// rules may have changed.
    pub fn meta(&self) -> &FlowMeta {
        self.engine.meta(self.flow).unwrap_or(&self.served.meta)
    }

    /// Writes what `source` has, until it has nothing more. What the stream does not take stays in
    /// there, for the next time.
    ///
    /// # Errors
    /// As of [`write`](Write::write), or of the source.
    pub fn write_from(&mut self, source: &mut impl BufRead) -> io::Result<()> {
        loop {
            let bytes = source.fill_buf()?;
            if bytes.is_empty() {
                return Ok(());
            }
            let len = self.write(bytes)?;
            source.consume(len);
        }
    }

    /// Ends the direction to the peer: what was written arrives, then the end. The peer may still
    /// send.
    pub fn finish(&mut self) {
        self.served.has_finished = true;
        if let Ok(mut flow) = self.engine.flow(self.flow) {
            flow.shut_down(self.now);
        }
    }

    /// Gives the stream up: the peer gets a reset.
    pub const fn abort(&mut self) {
        self.served.is_given_up = true;
    }

    /// # Errors
    /// It is over.
    fn flow(&mut self) -> io::Result<Flow<'_>> {
        self.engine.flow(self.flow).map_err(|NoFlow| io::ErrorKind::NotConnected.into())
    }

    /// # Errors
    /// It has been given up.
    fn check(&self) -> io::Result<()> {
        if self.served.is_given_up { Err(io::ErrorKind::NotConnected.into()) } else { Ok(()) }
    }
}

impl Read for PeerStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        let now = self.now;
        let room = buffer.len().min(self.budget - self.read);
        if room == 0 {
            return blocked_unless(buffer.is_empty());
        }
        match self.flow()?.receive(&mut buffer[..room], now) {
            0 => {
                // Nothing comes any more without an action.
                self.served.is_readable = false;
                blocked_unless(self.served.has_ended)
            }
            len => {
                self.read += len;
                Ok(len)
            }
        }
    }
}

impl Write for PeerStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        let now = self.now;
        if self.served.has_finished {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = bytes.len().min(self.budget - self.written);
        if len == 0 {
            return blocked_unless(bytes.is_empty());
        }
        match self.flow()?.send(&bytes[..len], now) {
            // The flow says when there is room again.
            0 => blocked_unless(false),
            len => {
                self.written += len;
                Ok(len)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a call comes to that has moved nothing.
fn blocked_unless(nothing_is_right: bool) -> io::Result<usize> {
    if nothing_is_right { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

impl fmt::Debug for PeerStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerStream").field("flow", &self.flow).finish_non_exhaustive()
    }
}

/// The host leg of a stream that is served.
#[derive(Debug)]
pub(crate) struct ServedStream {
    service: ServiceId,
    /// As it was when it was accepted, for whoever asks of a flow that is over.
    meta: FlowMeta,
    /// Whether there may be bytes.
    is_readable: bool,
    /// The peer has sent its last byte, and it was read.
    has_ended: bool,
    /// The service has written its last byte.
    has_finished: bool,
    is_given_up: bool,
}

impl ServedStream {
    pub(crate) const fn new(service: ServiceId, meta: FlowMeta) -> Self {
        Self {
            service,
            meta,
            is_readable: false,
            has_ended: false,
            has_finished: false,
            is_given_up: false,
        }
    }

    pub(crate) const fn service(&self) -> ServiceId {
        self.service
    }

    /// The flow has bytes.
    pub(crate) const fn handle_readable(&mut self) {
        self.is_readable = true;
    }

    /// The flow has no more bytes, ever.
    pub(crate) const fn handle_end(&mut self) {
        self.has_ended = true;
    }

    /// The stream in the hands of somebody who may move as much as there is.
    pub(crate) const fn lend<'a>(
        &'a mut self,
        flow: FlowId,
        engine: &'a mut Engine,
        now: Instant,
    ) -> PeerStream<'a> {
        let budget = usize::MAX;
        PeerStream { flow, served: self, engine, budget, read: 0, written: 0, now }
    }

    /// Lets the service do what there is to do, within a budget.
    pub(crate) fn work(
        &mut self,
        flow: FlowId,
        services: &mut Services,
        engine: &mut Engine,
        now: Instant,
    ) -> Work {
        if engine.meta(flow).is_none() {
            // How it ended is on the way.
            return Work::NOTHING;
        }
        let Some(service) = services.streams(self.service) else { return Work::NOTHING };
        let mut stream = PeerStream { budget: BUDGET, ..self.lend(flow, engine, now) };
        if let Err(error) = service.ready(&mut stream)
            && error.kind() != io::ErrorKind::WouldBlock
        {
            log::debug!("{flow:?}: {error}");
            stream.abort();
        }
        let PeerStream { read, written, .. } = stream;
        if self.is_given_up {
            if let Ok(flow) = engine.flow(flow) {
                flow.abort(now);
            }
            service.ended(flow, StreamEnd::GivenUp);
            return Work::Over;
        }
        let moved = read + written;
        let has_more = written == BUDGET || read > 0 && self.is_readable;
        if has_more { Work::More { moved } } else { Work::Done { moved } }
    }
}

/// A service of streams, whatever it keeps of each.
pub(crate) trait AnyStreamService: Send {
    fn accept(&mut self, flow: FlowId, meta: &FlowMeta) -> Result<(), Refusal>;
    fn ready(&mut self, stream: &mut PeerStream<'_>) -> io::Result<()>;
    fn ended(&mut self, flow: FlowId, end: StreamEnd);
}

/// A service, and what it keeps of its streams.
pub(crate) struct WithStates<S: StreamService> {
    service: S,
    states: HashMap<FlowId, S::State>,
}

impl<S: StreamService> WithStates<S> {
    pub(crate) fn new(service: S) -> Self {
        Self { service, states: HashMap::new() }
    }
}

impl<S: StreamService> AnyStreamService for WithStates<S> {
    fn accept(&mut self, flow: FlowId, meta: &FlowMeta) -> Result<(), Refusal> {
        let state = self.service.accept(flow, meta)?;
        self.states.insert(flow, state);
        Ok(())
    }

    fn ready(&mut self, stream: &mut PeerStream<'_>) -> io::Result<()> {
        let Some(state) = self.states.get_mut(&stream.id()) else { return Ok(()) };
        self.service.ready(state, stream)
    }

    fn ended(&mut self, flow: FlowId, end: StreamEnd) {
        let Some(state) = self.states.remove(&flow) else { return };
        let len = self.states.len();
        if self.states.capacity() > STATES_KEPT && len <= self.states.capacity() / 8 {
            self.states.shrink_to(2 * len);
        }
        self.service.ended(state, flow, end);
    }
}
