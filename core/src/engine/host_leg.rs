//! What the embedder says of flows.

use std::net::SocketAddr;

use crate::action::IdleRings;
use crate::datagram::{TrafficClass, Undelivered};
use crate::engine::{Engine, split};
use crate::flow::{NoFlow, OpenError, Refusal};
use crate::id::FlowId;
use crate::tape::{Input, Output};
use crate::time::Instant;

/// Inputs from the host leg of flows.
impl Engine {
    /// Answers [`Action::Open`](crate::Action::Open): the host leg is there.
    pub fn handle_opened(&mut self, flow: FlowId, now: Instant) {
        self.advance(now);
        self.note(|| Input::Opened(flow));
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        stack.handle_opened(flow, &mut wire, now);
    }

    /// The host leg of a UDP flow of a peer has this port, on every address of the host: other
    /// peers reach the flow there (RFC 4787, REQ-9), unless a rule has given it another target.
    /// Without this call they don't.
    pub fn handle_bound(&mut self, flow: FlowId, port: u16, now: Instant) {
        self.advance(now);
        self.note(|| Input::Bound { flow, port });
        self.stack.handle_bound(flow, port);
    }

    /// Answers [`Action::Open`](crate::Action::Open): there is no host leg. The id is stale
    /// afterwards.
    pub fn handle_refused(&mut self, flow: FlowId, refusal: Refusal, now: Instant) {
        self.advance(now);
        self.note(|| Input::Refused { flow, refusal });
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        stack.handle_refused(flow, refusal, &mut wire, now);
    }

    /// Opens a TCP flow into the tunnel, to `target`.
    /// [`Action::Established`](crate::Action::Established) or
    /// [`Action::Aborted`](crate::Action::Aborted) follows.
    ///
    /// # Errors
    /// Any [`OpenError`]; nothing has changed then.
    pub fn open_tcp(&mut self, target: SocketAddr, now: Instant) -> Result<FlowId, OpenError> {
        self.advance(now);
        self.note(|| Input::OpenTcp(target));
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        let opened = stack.open_tcp(target, &mut wire, now);
        wire.note_output(|| Output::Opened(opened));
        opened
    }

    /// Opens a UDP flow into the tunnel, to `target`, with a virtual port of its own. When the
    /// pool is full the one that is nearest to its end is closed. Idle flows end with
    /// [`Action::Closed`](crate::Action::Closed).
    ///
    /// # Errors
    /// Any [`OpenError`]; nothing has changed then.
    pub fn open_udp(&mut self, target: SocketAddr, now: Instant) -> Result<FlowId, OpenError> {
        self.advance(now);
        self.note(|| Input::OpenUdp(target));
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        let opened = stack.open_udp(target, &mut wire, now);
        wire.note_output(|| Output::Opened(opened));
        opened
    }

    /// Lends the room of a TCP flow's send ring to `fill`, which returns how many bytes it put at
    /// the front, and a result. An empty slice means that the ring is full, or that the tunnel's
    /// handshake is not complete: [`Action::Writable`](crate::Action::Writable) will follow. The
    /// ring may have more room than one slice; call again.
    ///
    /// # Errors
    /// [`NoFlow`] if the flow is over, not opened yet, or its host leg already ended.
    pub fn send<R>(
        &mut self,
        flow: FlowId,
        fill: impl FnOnce(&mut [u8]) -> (usize, R),
        now: Instant,
    ) -> Result<R, NoFlow> {
        self.advance(now);
        let Self { stack, tape, now, .. } = self;
        let Some(tape) = tape else { return stack.send(flow, fill, *now) };
        let result = stack.send(
            flow,
            |room| {
                let (len, result) = fill(room);
                tape.send(flow, Some(room.len()), &room[..len.min(room.len())], *now);
                (len, result)
            },
            *now,
        );
        if result.is_err() {
            tape.send(flow, None, &[], *now);
        }
        result
    }

    /// Lends the bytes that a TCP flow received to `take`, which returns how many of them, from the
    /// front, it has consumed, and a result. An empty slice means that there are none:
    /// [`Action::Readable`](crate::Action::Readable) or
    /// [`Action::Shutdown`](crate::Action::Shutdown) will follow. There may be more bytes than one
    /// slice; call again.
    ///
    /// # Errors
    /// [`NoFlow`] if the flow is over or not opened yet.
    pub fn receive<R>(
        &mut self,
        flow: FlowId,
        take: impl FnOnce(&[u8]) -> (usize, R),
        now: Instant,
    ) -> Result<R, NoFlow> {
        self.advance(now);
        let Self { stack, tape, now, .. } = self;
        let Some(tape) = tape else { return stack.receive(flow, take, *now) };
        let result = stack.receive(
            flow,
            |bytes| {
                let (len, result) = take(bytes);
                tape.receive(flow, Some(bytes), len.min(bytes.len()), *now);
                (len, result)
            },
            *now,
        );
        if result.is_err() {
            tape.receive(flow, None, 0, *now);
        }
        result
    }

    /// Lends the memory of a TCP flow's rings, if they are empty, to be given back to the system
    /// (see [`Action::Idle`](crate::Action::Idle)): it does not count to `memory` of
    /// [`Limits`](crate::Limits) any more, until bytes come to it again.
    pub fn lend_idle_rings(&mut self, flow: FlowId, now: Instant) -> Option<IdleRings<'_>> {
        self.advance(now);
        self.note(|| Input::RingsGivenBack(flow));
        let addresses = self.stack.give_back_rings(flow);
        if let Some(tape) = &mut self.tape {
            tape.output(Output::Known(addresses.is_some()));
        }
        addresses.map(IdleRings::new)
    }

    /// The host leg of a TCP flow ended in good order (read returned nothing): what is in the send
    /// ring is delivered, then a FIN.
    pub fn handle_shutdown(&mut self, flow: FlowId, now: Instant) {
        self.advance(now);
        self.note(|| Input::HostEnded(flow));
        self.stack.handle_shutdown(flow);
    }

    /// The host leg of a flow failed. TCP: the peer gets a reset. UDP and ICMP: the mapping ends.
    /// The id is stale afterwards.
    pub fn handle_aborted(&mut self, flow: FlowId, now: Instant) {
        self.advance(now);
        self.note(|| Input::Aborted(flow));
        let (stack, mut wire) = split!(self);
        stack.handle_aborted(flow, &mut wire);
    }

    /// Sends one datagram of a UDP or ICMP flow into the tunnel. `remote` is the host that it came
    /// from (ICMP: port 0); for a flow that the embedder opened it is ignored. A datagram that
    /// can't be sent, or that the mapping's filter does not admit, is a counter.
    ///
    /// # Errors
    /// [`NoFlow`] if the flow is over.
    pub fn send_datagram(
        &mut self,
        flow: FlowId,
        remote: SocketAddr,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), NoFlow> {
        self.send_marked_datagram(flow, remote, TrafficClass::DEFAULT, payload, now)
    }

    /// The same for a datagram that came with a DSCP or ECN of its own, which it keeps.
    ///
    /// # Errors
    /// [`NoFlow`] if the flow is over.
    pub fn send_marked_datagram(
        &mut self,
        flow: FlowId,
        remote: SocketAddr,
        traffic_class: TrafficClass,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), NoFlow> {
        self.advance(now);
        self.note(|| Input::Datagram { flow, remote, traffic_class, payload });
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        let result =
            stack.send_marked_datagram(flow, remote, traffic_class, payload, &mut wire, now);
        wire.note_output(|| Output::Known(result.is_ok()));
        result
    }

    /// The system says that a datagram of a UDP or ICMP flow did not arrive (an ICMP error on the
    /// host leg, or a failed send): the peer gets the matching ICMP error, if it did send to that
    /// remote. The flow goes on. For a flow that the embedder opened nothing happens.
    ///
    /// # Errors
    /// [`NoFlow`] if the flow is over.
    pub fn handle_undelivered(
        &mut self,
        flow: FlowId,
        undelivered: Undelivered,
        now: Instant,
    ) -> Result<(), NoFlow> {
        self.advance(now);
        self.note(|| Input::Undelivered { flow, undelivered });
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        let result = stack.handle_undelivered(flow, undelivered, &mut wire, now);
        wire.note_output(|| Output::Known(result.is_ok()));
        result
    }
}
