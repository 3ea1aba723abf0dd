//! What the embedder says of flows, each through a handle ([`Flow`]), and the flows that it opens.

use std::net::SocketAddr;

use crate::action::IdleRings;
use crate::datagram::{TrafficClass, Undelivered};
use crate::engine::Engine;
use crate::flow::{FlowMeta, NoFlow, OpenError, Refusal};
use crate::id::FlowId;
use crate::stack::input::{Input, Reply};
use crate::state::FlowState;
use crate::tape::Output;
use crate::time::Instant;

/// Flows.
impl Engine {
    /// A flow, to say what its host leg does.
    ///
    /// # Errors
    /// [`NoFlow`] once it is over.
    pub fn flow(&mut self, flow: FlowId) -> Result<Flow<'_>, NoFlow> {
        self.stack.meta(flow).ok_or(NoFlow)?;
        Ok(Flow { engine: self, id: flow })
    }

    /// Opens a TCP flow into the tunnel, to `target`.
    /// [`Action::Established`](crate::Action::Established) or
    /// [`Action::Aborted`](crate::Action::Aborted) follows.
    ///
    /// # Errors
    /// Any [`OpenError`]; nothing has changed then.
    pub fn open_tcp(&mut self, target: SocketAddr, now: Instant) -> Result<FlowId, OpenError> {
        self.open(Input::OpenTcp(target), now)
    }

    /// Opens a UDP flow into the tunnel, to `target`, with a virtual port of its own. When the
    /// pool is full the one that is nearest to its end is closed. Idle flows end with
    /// [`Action::Closed`](crate::Action::Closed).
    ///
    /// # Errors
    /// Any [`OpenError`]; nothing has changed then.
    pub fn open_udp(&mut self, target: SocketAddr, now: Instant) -> Result<FlowId, OpenError> {
        self.open(Input::OpenUdp(target), now)
    }

    fn open(&mut self, input: Input<'_>, now: Instant) -> Result<FlowId, OpenError> {
        self.advance(now);
        match self.hand_in(input) {
            Reply::Opened(opened) => opened,
            // Whoever asks for a flow is answered by one.
            Reply::Done | Reply::Taken(_) | Reply::GivenBack(_) | Reply::Serviced { .. } => {
                Err(OpenError::Limit)
            }
        }
    }
}

/// A flow that lives, from its host leg's side ([`Engine::flow`]). What is said of a flow of
/// another protocol changes nothing.
///
/// Bytes of TCP flows are copied from and to a buffer of the caller ([`send`](Self::send),
/// [`receive`](Self::receive)), or not at all:
///
/// ```
/// # use std::io::{self, Read, Write};
/// # use slipwire_core::{Flow, Instant};
/// # type Done = io::Result<()>;
/// # fn example(flow: &mut Flow<'_>, socket: &mut (impl Read + Write), now: Instant) -> Done {
/// let len = socket.read(flow.send_room(now))?; // into the ring
/// flow.commit(len, now);
/// let len = socket.write(flow.received())?; // out of the ring
/// flow.consume(len, now);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Flow<'a> {
    engine: &'a mut Engine,
    id: FlowId,
}

/// Of any protocol.
impl Flow<'_> {
    /// Its name.
    pub const fn id(&self) -> FlowId {
        self.id
    }

    /// What it is about.
    pub fn meta(&self) -> &FlowMeta {
        self.state().meta
    }

    /// What can be read of it.
    #[expect(
        clippy::expect_used,
        reason = "it lived when the handle was made, and what ends a flow takes its handle"
    )]
    pub fn state(&self) -> FlowState<'_> {
        self.engine.stack.flow_state(self.id).expect("a flow lives as long as its handle")
    }

    /// Answers [`Action::Open`](crate::Action::Open): the host leg is there. `port` is that of a
    /// UDP socket for this flow alone, on every address of the host: other peers reach the flow
    /// there (RFC 4787, REQ-9), unless a rule has given it another target. Without one they don't.
    pub fn opened(&mut self, port: Option<u16>, now: Instant) {
        let flow = self.id;
        self.hand_in(Input::Opened { flow, port }, now);
    }

    /// Answers [`Action::Open`](crate::Action::Open): there is no host leg. The id is stale
    /// afterwards.
    pub fn refused(mut self, refusal: Refusal, now: Instant) {
        let flow = self.id;
        self.hand_in(Input::Refused { flow, refusal }, now);
    }

    /// The host leg failed. TCP: the peer gets a reset. UDP and ICMP: the mapping ends. The id is
    /// stale afterwards.
    pub fn abort(mut self, now: Instant) {
        let flow = self.id;
        self.hand_in(Input::Aborted(flow), now);
    }

    fn hand_in(&mut self, input: Input<'_>, now: Instant) -> Reply {
        self.engine.advance(now);
        self.engine.hand_in(input)
    }
}

/// Of TCP.
impl Flow<'_> {
    /// Sends bytes of the host into the tunnel, as many from the front as there is room for, and
    /// says how many. If that is not all of them [`Action::Writable`](crate::Action::Writable)
    /// follows, unless nothing can be sent any more: after [`shut_down`](Self::shut_down), or when
    /// the peer has reset the flow.
    pub fn send(&mut self, bytes: &[u8], now: Instant) -> usize {
        let flow = self.id;
        match self.hand_in(Input::Send { flow, bytes }, now) {
            Reply::Taken(len) => len as usize,
            // Bytes are answered by how many were taken.
            Reply::Done | Reply::Opened(_) | Reply::GivenBack(_) | Reply::Serviced { .. } => 0,
        }
    }

    /// The room for bytes of the host, to be filled from the front and
    /// [committed](Self::commit). It is empty if there is none, or the tunnel's handshake is not
    /// complete: [`Action::Writable`](crate::Action::Writable) follows, as it does after
    /// [`send`](Self::send). The ring may have more room than one slice; look again.
    pub fn send_room(&mut self, now: Instant) -> &mut [u8] {
        let flow = self.id;
        if self.engine.stack.send_room(flow).is_some_and(|room| room.is_empty()) {
            self.hand_in(Input::Send { flow, bytes: &[] }, now);
        }
        let Engine { stack, tape, .. } = &mut *self.engine;
        // The ring grows when somebody looks, whether something is put into it or not.
        if let Some(tape) = tape {
            tape.output(Output::room(stack, flow));
        }
        stack.send_room(flow).unwrap_or_default()
    }

    /// The first `len` bytes of the [room](Self::send_room) are to be sent, which have been filled.
    pub fn commit(&mut self, len: usize, now: Instant) {
        let flow = self.id;
        self.hand_in(Input::Sent { flow, len }, now);
    }

    /// Takes bytes that the flow received for the host, as many as fit into `buffer`, and says how
    /// many. None means that there are none: [`Action::Readable`](crate::Action::Readable),
    /// [`Action::Shutdown`](crate::Action::Shutdown) or the end of the flow follows.
    pub fn receive(&mut self, buffer: &mut [u8], now: Instant) -> usize {
        let mut taken = 0;
        while let rest @ [_, ..] = &mut buffer[taken..] {
            let received = self.received();
            let len = received.len().min(rest.len());
            if len == 0 {
                break;
            }
            rest[..len].copy_from_slice(&received[..len]);
            self.consume(len, now);
            taken += len;
        }
        taken
    }

    /// The bytes that the flow received for the host, as far as they are in one piece. Those that
    /// the host takes are to be [consumed](Self::consume).
    pub fn received(&mut self) -> &[u8] {
        self.engine.stack.received(self.id)
    }

    /// The first `len` of the [received](Self::received) bytes have been taken.
    pub fn consume(&mut self, len: usize, now: Instant) {
        let flow = self.id;
        // No ring is that long.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.hand_in(Input::Receive { flow, len }, now);
    }

    /// The host leg ended in good order (read returned nothing): what was sent is delivered, then a
    /// FIN.
    pub fn shut_down(&mut self, now: Instant) {
        let flow = self.id;
        self.hand_in(Input::HostEnded(flow), now);
    }
}

/// Of UDP and ICMP.
impl Flow<'_> {
    /// Sends one datagram into the tunnel. `remote` is the host that it came from (ICMP: port 0);
    /// for a flow that the embedder opened it is ignored. It keeps the `traffic_class` that it came
    /// with ([`TrafficClass::DEFAULT`] if nobody says). A datagram that can't be sent, or that the
    /// mapping's filter does not admit, is a counter.
    pub fn send_datagram(
        &mut self,
        remote: SocketAddr,
        traffic_class: TrafficClass,
        payload: &[u8],
        now: Instant,
    ) {
        let flow = self.id;
        self.hand_in(Input::Datagram { flow, remote, traffic_class, payload }, now);
    }

    /// The system says that a datagram did not arrive (an ICMP error on the host leg, or a failed
    /// send): the peer gets the matching ICMP error, if it did send to that remote. The flow goes
    /// on. For a flow that the embedder opened nothing happens.
    pub fn undelivered(&mut self, undelivered: Undelivered, now: Instant) {
        let flow = self.id;
        self.hand_in(Input::Undelivered { flow, undelivered }, now);
    }
}

/// Memory.
impl<'a> Flow<'a> {
    /// Lends the memory of a TCP flow's rings, if they are empty, to be given back to the system
    /// (see [`Action::Idle`](crate::Action::Idle)): it does not count to `memory` of
    /// [`Limits`](crate::Limits) any more, until bytes come to it again.
    pub fn lend_idle_rings(mut self, now: Instant) -> Option<IdleRings<'a>> {
        let flow = self.id;
        let reply = self.hand_in(Input::RingsGivenBack(flow), now);
        if reply != Reply::GivenBack(true) {
            return None;
        }
        self.engine.stack.ring_addresses(flow).map(IdleRings::new)
    }
}
