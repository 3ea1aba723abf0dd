//! [`Engine`]: joins the tunnel and the stack.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::action::{
    Action, Datagram, FlowId, FlowMeta, Identity, NoFlow, OpenError, PeerId, Refusal, Transmit,
    Undelivered,
};
use crate::config::{self, Config, ConfigError};
use crate::conflict::{Others as _, PeerConflict, conflicts};
use crate::egress::Egress;
use crate::key::PublicKey;
use crate::rules::Rule;
use crate::stack::{Outlet, Route, Stack};
use crate::stats::{Counter, Stats};
use crate::tap::{Direction, Tap};
use crate::time::Instant;
use crate::tunnel::Tunnel;

/// A WireGuard end and the flows through it. The crate's documentation has the loop that drives
/// it.
#[derive(Debug)]
pub struct Engine {
    tunnel: Tunnel,
    stack: Stack,
    egress: Egress,
    stats: Stats,
    tap: Option<Box<dyn Tap>>,
    /// The latest time seen: it never runs backwards.
    now: Instant,
}

/// The tunnel as the stack sees it.
struct Wire<'a> {
    tunnel: &'a mut Tunnel,
    egress: &'a mut Egress,
    stats: &'a mut Stats,
    tap: Option<&'a mut (dyn Tap + 'static)>,
    now: Instant,
}

impl Wire<'_> {
    /// Lets the tap hear a packet.
    fn tap(&mut self, peer: PeerId, direction: Direction, packet: &[u8]) {
        if let Some(tap) = &mut self.tap
            && let Some(identity) = self.tunnel.identity(peer)
        {
            tap.packet(peer, identity, direction, packet, self.now);
        }
    }
}

impl Outlet for Wire<'_> {
    fn has_room(&self) -> bool {
        self.egress.has_room()
    }

    fn send(&mut self, peer: PeerId, buffer: &mut [u8], len: usize) {
        self.tap(peer, Direction::Out, &buffer[..len.min(buffer.len())]);
        self.tunnel.send(peer, buffer, len, self.egress, self.stats, self.now);
    }

    fn route(&self, destination: IpAddr) -> Option<Route> {
        self.tunnel.route(destination)
    }

    fn path_mtu(&self, peer: PeerId) -> u16 {
        self.tunnel.path_mtu(peer, self.now)
    }

    fn identity(&self, peer: PeerId) -> Option<Arc<Identity>> {
        self.tunnel.identity(peer).cloned()
    }

    fn count(&mut self, counter: Counter) {
        self.stats.count(counter);
    }
}

/// Splits an engine into its stack and the wire below it.
macro_rules! split {
    ($engine:expr) => {{
        let Engine { tunnel, stack, egress, stats, tap, now } = $engine;
        (stack, Wire { tunnel, egress, stats, tap: tap.as_deref_mut(), now: *now })
    }};
}

/// Getters.
impl Engine {
    /// Builds the engine. `seed` is entropy that no outsider may know; `now` starts its time.
    pub fn new(config: &Config, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut next_seed = || {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            seed
        };
        Self {
            tunnel: Tunnel::new(config, next_seed(), now),
            stack: Stack::new(config, next_seed()),
            egress: Egress::new(),
            stats: Stats::new(),
            tap: None,
            now,
        }
    }

    /// What a flow is about; `None` once it is over.
    pub fn meta(&self, flow: FlowId) -> Option<&FlowMeta> {
        self.stack.meta(flow)
    }

    /// Every peer, in no order that means anything.
    pub fn peers(&self) -> impl Iterator<Item = (PeerId, &Arc<Identity>)> {
        self.tunnel.peers()
    }

    /// The peer with a public key.
    pub fn peer(&self, public_key: &PublicKey) -> Option<PeerId> {
        self.tunnel.with_key(public_key)
    }

    /// Who a peer is; `None` once it was removed.
    pub fn identity(&self, peer: PeerId) -> Option<&Arc<Identity>> {
        self.tunnel.identity(peer)
    }

    /// The host name and port of a peer's endpoint, if it is given by name.
    pub fn endpoint_name(&self, peer: PeerId) -> Option<(&str, u16)> {
        self.tunnel.endpoint_name(peer)
    }

    /// The counters.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
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
        self.advance(now);
        let Self { tunnel, stack, egress, stats, tap, now } = self;
        let received = tunnel.handle_datagram(source, local, datagram, egress, stats, *now);
        let Some((peer, len)) = received.map(|(peer, packet)| (peer, packet.len())) else { return };
        // The stack answers through the tunnel while it looks at the packet.
        let mut plaintext = std::mem::take(tunnel.plaintext_mut());
        let tap = tap.as_deref_mut();
        let mut wire = Wire { tunnel, egress, stats, tap, now: *now };
        wire.tap(peer, Direction::In, &plaintext[..len]);
        stack.handle_packet(peer, &mut plaintext[..len], &mut wire, *now);
        *tunnel.plaintext_mut() = plaintext;
    }

    /// Lets time pass: call it at [`poll_timeout`](Self::poll_timeout). Early and repeated calls
    /// do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.tunnel.handle_timeout(&mut self.egress, &mut self.stats, self.now);
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        stack.handle_timeout(&mut wire, now);
    }

    /// Takes the addresses of a peer's endpoint; none if the name did not resolve.
    pub fn handle_resolved(&mut self, peer: PeerId, addresses: &[SocketAddr], now: Instant) {
        self.advance(now);
        let Self { tunnel, egress, stats, now, .. } = self;
        tunnel.handle_resolved(peer, addresses, egress, stats, *now);
    }

    /// Answers [`poll_path_question`](Self::poll_path_question): the system's path MTU to `address`
    /// is `path_mtu` bytes, IP header included (RFC 1191, RFC 8201). Peers there are sent packets
    /// that fit, 576 bytes or more and over IPv6 1280 or more; a path that can't carry the tunnel's
    /// MTU is logged as a warning, once. That is true until the next answer.
    pub fn handle_path_mtu(&mut self, address: IpAddr, path_mtu: u16, now: Instant) {
        self.advance(now);
        let lowered = self.tunnel.handle_path_mtu(address, path_mtu, &mut self.stats, self.now);
        self.lower(&lowered);
    }

    /// The system refused a WireGuard datagram of `datagram_len` bytes to `address` for its size
    /// (EMSGSIZE). `path_mtu` is what it now says the path carries, in bytes with the IP header, if
    /// it knows. Peers there are sent smaller packets for 10 minutes (RFC 1191, section 6.3), 576
    /// bytes or more and over IPv6 1280 or more, and what is on the way to them is sent again. The
    /// refusal of a datagram that smaller packets would not help changes nothing.
    pub fn handle_too_big(
        &mut self,
        address: IpAddr,
        datagram_len: usize,
        path_mtu: Option<u16>,
        now: Instant,
    ) {
        self.advance(now);
        let Self { tunnel, stats, now, .. } = self;
        let lowered = tunnel.handle_too_big(address, datagram_len, path_mtu, stats, *now);
        self.lower(&lowered);
    }

    fn lower(&mut self, peers: &[PeerId]) {
        let (stack, wire) = split!(self);
        for peer in peers {
            stack.handle_path_mtu(*peer, &wire, wire.now);
        }
    }
}

/// Mutators.
impl Engine {
    /// Replaces the addresses of this host that no peer may reach through it
    /// ([`Gateway::host_addresses`](crate::config::Gateway::host_addresses)).
    pub fn set_host_addresses(&mut self, addresses: Vec<IpAddr>, now: Instant) {
        self.advance(now);
        let (stack, mut wire) = split!(self);
        stack.set_host_addresses(addresses, &mut wire);
    }

    /// Replaces the [rules](crate::config::Gateway::rules). Flows that the new ones would not have
    /// let in, or would have led elsewhere, are aborted; others do not notice. It looks at every
    /// flow.
    ///
    /// # Errors
    /// Everything that is wrong with the rules; nothing has changed then.
    pub fn set_rules(&mut self, rules: Vec<Rule>, now: Instant) -> Result<(), Vec<ConfigError>> {
        let errors = config::check_rules(&rules);
        if !errors.is_empty() {
            return Err(errors);
        }
        self.advance(now);
        let (stack, mut wire) = split!(self);
        stack.set_rules(rules, &mut wire);
        Ok(())
    }

    /// Adds a peer. Flows go on, but for those whose ends it owns from now on (by a longer prefix
    /// than whoever owned them), which are aborted. It looks at every flow.
    ///
    /// A new peer remembers no handshake: if it was one before and was removed, somebody who
    /// recorded its initiations could have the latest answered once more, to no avail.
    ///
    /// # Errors
    /// Everything that stands against it; nothing has changed then.
    pub fn add_peer(
        &mut self,
        peer: &config::Peer,
        now: Instant,
    ) -> Result<PeerId, Vec<PeerConflict>> {
        let Self { tunnel, stack, .. } = self;
        let conflicts = conflicts(peer, tunnel.public_key(), stack.own_addresses(), tunnel);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        self.advance(now);
        let id = self.tunnel.add_peer(peer, self.now);
        let (stack, mut wire) = split!(self);
        stack.handle_peer_added(&mut wire);
        Ok(id)
    }

    /// Removes a peer: its flows are reset and aborted ([`Abort::NoPeer`](crate::Abort::NoPeer)),
    /// its sessions end, and its key, name and addresses are free. Its id names nobody any more.
    /// Flows of others do not notice. It looks at every flow. Returns who it was; `None` if it is
    /// gone already.
    pub fn remove_peer(&mut self, peer: PeerId, now: Instant) -> Option<Arc<Identity>> {
        self.advance(now);
        let (stack, mut wire) = split!(self);
        stack.remove_peer(peer, &mut wire);
        self.tunnel.remove_peer(peer)
    }

    /// Has `tap` hear every packet of peers from now on, or nobody. Without one that costs nothing.
    pub fn set_tap(&mut self, tap: Option<Box<dyn Tap>>) {
        self.tap = tap;
    }

    /// Ends every flow, as the process is about to end: peers get resets, the embedder gets
    /// [`Action::Aborted`]. Drain the outputs once more afterwards.
    pub fn shut_down(&mut self, now: Instant) {
        self.advance(now);
        let (stack, mut wire) = split!(self);
        stack.shut_down(&mut wire);
    }
}

/// Inputs from the host leg of flows.
impl Engine {
    /// Answers [`Action::Open`]: the host leg is there.
    pub fn handle_opened(&mut self, flow: FlowId, now: Instant) {
        self.advance(now);
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        stack.handle_opened(flow, &mut wire, now);
    }

    /// The host leg of a UDP flow of a peer has this port, on every address of the host: other
    /// peers reach the flow there (RFC 4787, REQ-9), unless a rule has given it another target.
    /// Without this call they don't.
    pub fn handle_bound(&mut self, flow: FlowId, port: u16, now: Instant) {
        self.advance(now);
        self.stack.handle_bound(flow, port);
    }

    /// Answers [`Action::Open`]: there is no host leg. The id is stale afterwards.
    pub fn handle_refused(&mut self, flow: FlowId, refusal: Refusal, now: Instant) {
        self.advance(now);
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        stack.handle_refused(flow, refusal, &mut wire, now);
    }

    /// Opens a TCP flow into the tunnel, to `target`. [`Action::Established`] or
    /// [`Action::Aborted`] follows.
    ///
    /// # Errors
    /// Any [`OpenError`]; nothing has changed then.
    pub fn open_tcp(&mut self, target: SocketAddr, now: Instant) -> Result<FlowId, OpenError> {
        self.advance(now);
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        stack.open_tcp(target, &mut wire, now)
    }

    /// Opens a UDP flow into the tunnel, to `target`, with a virtual port of its own. When the
    /// pool is full the one that is nearest to its end is closed. Idle flows end with
    /// [`Action::Closed`].
    ///
    /// # Errors
    /// Any [`OpenError`]; nothing has changed then.
    pub fn open_udp(&mut self, target: SocketAddr, now: Instant) -> Result<FlowId, OpenError> {
        self.advance(now);
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        stack.open_udp(target, &mut wire, now)
    }

    /// Lends the room of a TCP flow's send ring to `fill`, which returns how many bytes it put at
    /// the front, and a result. An empty slice means that the ring is full, or that the tunnel's
    /// handshake is not complete: [`Action::Writable`] will follow. The ring may have more room
    /// than one slice; call again.
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
        self.stack.send(flow, fill, self.now)
    }

    /// Lends the bytes that a TCP flow received to `take`, which returns how many of them, from
    /// the front, it has consumed, and a result. An empty slice means that there are none:
    /// [`Action::Readable`] or [`Action::Shutdown`] will follow. There may be more bytes than one
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
        self.stack.receive(flow, take, self.now)
    }

    /// The host leg of a TCP flow ended in good order (read returned nothing): what is in the send
    /// ring is delivered, then a FIN.
    pub fn handle_shutdown(&mut self, flow: FlowId, now: Instant) {
        self.advance(now);
        self.stack.handle_shutdown(flow);
    }

    /// The host leg of a flow failed. TCP: the peer gets a reset. UDP and ICMP: the mapping ends.
    /// The id is stale afterwards.
    pub fn handle_aborted(&mut self, flow: FlowId, now: Instant) {
        self.advance(now);
        let (stack, mut wire) = split!(self);
        stack.handle_aborted(flow, &mut wire);
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
        self.advance(now);
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        stack.send_datagram(flow, remote, payload, &mut wire, now)
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
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        stack.handle_undelivered(flow, undelivered, &mut wire, now)
    }
}

/// Outputs. Drain them after inputs, until there are none: actions, then datagrams, then
/// transmits, then once more actions, which transmits may bring about; then sleep until
/// [`poll_timeout`](Self::poll_timeout).
impl Engine {
    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(action) = self.stack.poll_action() {
            return Some(action);
        }
        if let Some(peer) = self.tunnel.poll_resolve() {
            return Some(Action::Resolve(peer));
        }
        self.pump();
        self.stack.poll_action()
    }

    /// The next endpoint that the embedder should look up the path MTU to, for
    /// [`handle_path_mtu`](Self::handle_path_mtu): each when it is first known, and with each new
    /// session. To leave the question alone costs speed on narrow paths, and a warning.
    pub fn poll_path_question(&mut self) -> Option<SocketAddr> {
        self.tunnel.poll_path_question()
    }

    /// The next datagram for the host leg of a UDP or ICMP flow. It is consumed by this call.
    pub fn poll_datagram(&mut self) -> Option<Datagram<'_>> {
        self.stack.poll_datagram()
    }

    /// The train at the front. It stays there until [`transmitted`](Self::transmitted).
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        // Flows with more to send follow as soon as trains have left.
        while self.egress.front().is_none() && self.pump() {}
        self.egress.front()
    }

    /// Says that the first `bytes` of the train at the front have been sent, or given up: a
    /// multiple of its segment size, or all of it. The rest stays at the front.
    pub fn transmitted(&mut self, bytes: usize) {
        self.egress.transmitted(bytes);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due. Always later than the latest `now`
    /// after a call of it.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.tunnel.poll_timeout(), self.stack.poll_timeout()].into_iter().flatten().min()
    }

    /// Lets ready flows send and say what is new. Says whether there was any.
    fn pump(&mut self) -> bool {
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        stack.pump(&mut wire, now)
    }
}
