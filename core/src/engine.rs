//! [`Engine`]: joins the tunnel and the stack.

use std::net::{IpAddr, SocketAddr};

use crate::action::{
    Action, Datagram, FlowId, FlowMeta, NoFlow, OpenError, PeerId, Refusal, Transmit,
};
use crate::config::Config;
use crate::stats::Stats;
use crate::time::Instant;

/// A WireGuard end and the flows through it.
#[derive(Debug)]
pub struct Engine {}

/// Getters.
impl Engine {
    /// Builds the engine. `seed` is entropy that no outsider may know.
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Self {
        let _ = (config, seed, now);
        todo!()
    }

    /// What a flow is about; `None` once it is over.
    pub fn meta(&self, flow: FlowId) -> Option<&FlowMeta> {
        let _ = flow;
        todo!()
    }

    /// The host name and port of a peer's endpoint, if it is given by name.
    pub fn endpoint_name(&self, peer: PeerId) -> Option<(&str, u16)> {
        let _ = peer;
        todo!()
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        todo!()
    }
}

/// Inputs from the network and the clock.
impl Engine {
    /// Takes one datagram of the WireGuard socket. `local` is the address that it was sent to, if
    /// the system says. A bad datagram changes nothing but a counter.
    pub fn handle_datagram(
        &mut self,
        source: SocketAddr,
        local: Option<IpAddr>,
        datagram: &[u8],
        now: Instant,
    ) {
        let _ = (source, local, datagram, now);
        todo!()
    }

    /// Lets time pass: call it at [`poll_timeout`](Self::poll_timeout). Early and repeated calls
    /// do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// Takes the addresses of a peer's endpoint; none if the name did not resolve.
    pub fn handle_resolved(&mut self, peer: PeerId, addresses: &[SocketAddr], now: Instant) {
        let _ = (peer, addresses, now);
        todo!()
    }
}

/// Mutators.
impl Engine {
    /// Replaces the addresses of this host that no peer may reach through it
    /// ([`Gateway::host_addresses`](crate::config::Gateway::host_addresses)).
    pub fn set_host_addresses(&mut self, addresses: Vec<IpAddr>) {
        let _ = addresses;
        todo!()
    }

    /// Ends every flow, as the process is about to end: peers get resets, the embedder gets
    /// [`Action::Aborted`]. Drain the outputs once more afterwards.
    pub fn shut_down(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }
}

/// Inputs from the host leg of flows.
impl Engine {
    /// Answers [`Action::Open`]: the host leg is there.
    pub fn handle_opened(&mut self, flow: FlowId, now: Instant) {
        let _ = (flow, now);
        todo!()
    }

    /// Answers [`Action::Open`]: there is no host leg. The id is stale afterwards.
    pub fn handle_refused(&mut self, flow: FlowId, refusal: Refusal, now: Instant) {
        let _ = (flow, refusal, now);
        todo!()
    }

    /// Opens a TCP flow into the tunnel, to `target`. [`Action::Established`] or
    /// [`Action::Aborted`] follows.
    ///
    /// # Errors
    /// Any [`OpenError`]; nothing has changed then.
    pub fn open_tcp(&mut self, target: SocketAddr, now: Instant) -> Result<FlowId, OpenError> {
        let _ = (target, now);
        todo!()
    }

    /// Opens a UDP flow into the tunnel, to `target`, with a virtual port of its own. When the
    /// pool is full the least recently used one is closed. Idle flows end with
    /// [`Action::Closed`].
    ///
    /// # Errors
    /// Any [`OpenError`]; nothing has changed then.
    pub fn open_udp(&mut self, target: SocketAddr, now: Instant) -> Result<FlowId, OpenError> {
        let _ = (target, now);
        todo!()
    }

    /// Lends the room of a TCP flow's send ring to `fill`, which returns how many bytes it put at
    /// the front, and a result. An empty slice means that the ring is full:
    /// [`Action::Writable`] will follow. The ring may have more room than one slice; call again.
    ///
    /// # Errors
    /// [`NoFlow`] if the flow is over, not established yet, or its host leg already ended.
    pub fn send<R>(
        &mut self,
        flow: FlowId,
        fill: impl FnOnce(&mut [u8]) -> (usize, R),
        now: Instant,
    ) -> Result<R, NoFlow> {
        let _ = (flow, fill, now);
        todo!()
    }

    /// Lends the bytes that a TCP flow received to `take`, which returns how many of them, from
    /// the front, it has consumed, and a result. An empty slice means that there are none:
    /// [`Action::Readable`] or [`Action::Shutdown`] will follow. There may be more bytes than one
    /// slice; call again.
    ///
    /// # Errors
    /// [`NoFlow`] if the flow is over or not established yet.
    pub fn receive<R>(
        &mut self,
        flow: FlowId,
        take: impl FnOnce(&[u8]) -> (usize, R),
        now: Instant,
    ) -> Result<R, NoFlow> {
        let _ = (flow, take, now);
        todo!()
    }

    /// The host leg of a TCP flow ended in good order (read returned nothing): what is in the send
    /// ring is delivered, then a FIN.
    pub fn handle_shutdown(&mut self, flow: FlowId, now: Instant) {
        let _ = (flow, now);
        todo!()
    }

    /// The host leg of a flow failed. TCP: the peer gets a reset. UDP and ICMP: the mapping ends.
    /// The id is stale afterwards.
    pub fn handle_aborted(&mut self, flow: FlowId, now: Instant) {
        let _ = (flow, now);
        todo!()
    }

    /// Sends one datagram of a UDP or ICMP flow into the tunnel. `remote` is the host that it came
    /// from (ICMP: port 0); for a flow that the embedder opened it is ignored. A datagram that can't
    /// be sent, or that the mapping's filter does not admit, is a counter.
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
        let _ = (flow, remote, payload, now);
        todo!()
    }
}

/// Outputs. Drain them after inputs, until there are none: actions, then datagrams, then
/// transmits; then sleep until [`poll_timeout`](Self::poll_timeout).
impl Engine {
    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        todo!()
    }

    /// The next datagram for the host leg of a UDP or ICMP flow. It is consumed by this call.
    pub fn poll_datagram(&mut self) -> Option<Datagram<'_>> {
        todo!()
    }

    /// The train at the front. It stays there until [`transmitted`](Self::transmitted).
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        todo!()
    }

    /// Says that the first `bytes` of the train at the front have been sent, or given up: a
    /// multiple of its segment size, or all of it. The rest stays at the front.
    pub fn transmitted(&mut self, bytes: usize) {
        let _ = bytes;
        todo!()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due. Always later than the latest `now`
    /// after a call of it.
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }
}
