//! [`Engine`]: joins the tunnel and the stack.
//!
//! Here are its inputs from the network and its outputs; [`host_leg`] has what the embedder says of
//! flows, [`wire`] the tunnel as the stack sees it, and [`recording`] what is written down of all
//! that.

mod host_leg;
mod peers;
mod recording;
mod state;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::action::Action;
use crate::arrival::Arrival;
use crate::config::peer::conflicts;
use crate::config::{self, Config, ConfigErrors, PeerConflicts};
use crate::datagram::Datagram;
use crate::egress::{Egress, Transmit};
use crate::engine::wire::Wire;
use crate::errors::Errors;
use crate::event::Observer;
use crate::flow::FlowMeta;
use crate::id::{FlowId, Identity, PeerId};
use crate::monitor::Monitor;
use crate::routing::Member;
use crate::rules::Rule;
use crate::stack::{Setup, Stack};
use crate::stats::Stats;
use crate::tap::{Direction, Tap};
use crate::tape::{Input, Output, Recorder};
use crate::time::{Instant, earlier};
use crate::tunnel::Tunnel;

/// A WireGuard end and the flows through it. The crate's documentation has the loop that drives
/// it.
#[derive(Debug)]
pub struct Engine {
    tunnel: Tunnel,
    stack: Stack,
    egress: Egress,
    monitor: Monitor,
    tap: Option<Box<dyn Tap>>,
    tape: Option<Box<Recorder>>,
    rng: ChaCha20Rng,
    /// The latest time seen: it never runs backwards.
    now: Instant,
}

/// An engine may be made in one thread and go on in another.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Engine>();
};

/// Splits an engine into its stack and the wire below it.
macro_rules! split {
    ($engine:expr) => {{
        let Engine { tunnel, stack, egress, monitor, tap, tape, now, .. } = $engine;
        let (tap, tape) = (tap.as_deref_mut(), tape.as_deref_mut());
        let now = *now;
        (stack, $crate::engine::wire::Wire { tunnel, egress, monitor, tap, tape, now })
    }};
}
use split;

/// Entropy for one part of an engine.
fn next_seed(rng: &mut ChaCha20Rng) -> [u8; 32] {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    seed
}

/// Getters.
impl Engine {
    /// Builds the engine. `seed` is entropy that no outsider may know; `now` starts its time.
    pub fn new(config: &Config, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        Self {
            tunnel: Tunnel::new(config, next_seed(&mut rng), now),
            stack: Stack::new(&Setup::of(config), next_seed(&mut rng), 0),
            egress: Egress::new(),
            monitor: Monitor::new(),
            tap: None,
            tape: None,
            rng,
            now,
        }
    }

    /// What a flow is about; `None` once it is over.
    pub fn meta(&self, flow: FlowId) -> Option<&FlowMeta> {
        self.stack.meta(flow)
    }

    /// Whether a flow may reach the host itself at `target`, its own target or where one of its
    /// datagrams goes: a rule names that, or leads there, or it is the port of a peer's mapping.
    ///
    /// Core refuses the [addresses](Self::set_host_addresses) that it knows; the system knows more
    /// (an address that is new, a range that is routed to this host). So whoever dials asks the
    /// system whether the target leads here, in each of its [readings](crate::readings), and if so
    /// asks this; if not, the answer is [`Refusal::Protected`](crate::Refusal::Protected).
    pub fn may_reach_host(&self, flow: FlowId, target: SocketAddr) -> bool {
        self.stack.may_reach_host(flow, target)
    }

    /// The counters of all peers, those that were removed too, and of what is of no peer.
    pub const fn stats(&self) -> &Stats {
        self.monitor.stats()
    }

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }
}

/// Inputs from the network and the clock.
impl Engine {
    /// Takes one datagram of the WireGuard socket. `local` is the address that it was sent to, if
    /// the system says. A bad datagram changes nothing but a counter. Where the system says how its
    /// IP header is marked [`handle_datagrams`](Self::handle_datagrams) takes that too.
    pub fn handle_datagram(
        &mut self,
        source: SocketAddr,
        local: Option<IpAddr>,
        datagram: &[u8],
        now: Instant,
    ) {
        self.handle_datagrams(Arrival { local, ..source.into() }, datagram, datagram.len(), now);
    }

    /// Takes datagrams that came together from one source, as `train`: all have `segment_size` bytes
    /// but the last, which may have fewer. It is the same as one call of
    /// [`handle_datagram`](Self::handle_datagram) for each, but cheaper.
    pub fn handle_datagrams(
        &mut self,
        arrival: Arrival,
        train: &[u8],
        segment_size: usize,
        now: Instant,
    ) {
        self.advance(now);
        for datagram in train.chunks(segment_size.max(1)) {
            self.take_in(arrival, datagram);
        }
        self.end_train();
    }

    fn end_train(&mut self) {
        if self.stack.is_in_train() {
            self.note(|| Input::TrainEnd);
            let (stack, mut wire) = split!(self);
            let now = wire.now;
            stack.handle_train_end(&mut wire, now);
        }
    }

    fn take_in(&mut self, arrival: Arrival, datagram: &[u8]) {
        let Self { tunnel, stack, egress, monitor, tap, tape, now, .. } = self;
        let received = tunnel.handle_datagram(arrival, datagram, egress, monitor, *now);
        let Some((peer, len)) = received.map(|(peer, packet)| (peer, packet.len())) else { return };
        // The stack answers through the tunnel while it looks at the packet.
        let mut plaintext = std::mem::take(tunnel.plaintext_mut());
        let (tap, tape) = (tap.as_deref_mut(), tape.as_deref_mut());
        let mut wire = Wire { tunnel, egress, monitor, tap, tape, now: *now };
        wire.tap(peer, Direction::In, &plaintext[..len]);
        if let Some(tape) = &mut wire.tape {
            tape.input(Input::Packet { peer, bytes: &plaintext[..len] }, *now);
        }
        stack.handle_packet(peer, &mut plaintext[..len], &mut wire, *now);
        *tunnel.plaintext_mut() = plaintext;
    }

    /// Lets time pass: call it at [`poll_timeout`](Self::poll_timeout). Early and repeated calls
    /// do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.tunnel.handle_timeout(&mut self.egress, &mut self.monitor, self.now);
        self.note(|| Input::Timeout);
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        stack.handle_timeout(&mut wire, now);
        wire.note_output(|| Output::Deadline(stack.poll_timeout()));
    }

    /// Takes the addresses of a peer's endpoint; none if the name did not resolve.
    pub fn handle_resolved(&mut self, peer: PeerId, addresses: &[SocketAddr], now: Instant) {
        self.advance(now);
        let Self { tunnel, egress, monitor, now, .. } = self;
        tunnel.handle_resolved(peer, addresses, egress, monitor, *now);
    }

    /// Answers [`poll_path_question`](Self::poll_path_question): the system's path MTU to `address`
    /// is `path_mtu` bytes, IP header included (RFC 1191, RFC 8201). Peers there are sent packets
    /// that fit, 576 bytes or more and over IPv6 1280 or more; a path that can't carry the tunnel's
    /// MTU is logged as a warning, once. That is true until the next answer.
    pub fn handle_path_mtu(&mut self, address: IpAddr, path_mtu: u16, now: Instant) {
        self.advance(now);
        let lowered = self.tunnel.handle_path_mtu(address, path_mtu, &mut self.monitor, self.now);
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
        let Self { tunnel, monitor, now, .. } = self;
        let lowered = tunnel.handle_too_big(address, datagram_len, path_mtu, monitor, *now);
        self.lower(&lowered);
    }

    fn lower(&mut self, peers: &[PeerId]) {
        for peer in peers {
            self.note(|| Input::PathMtu(*peer));
            let (stack, mut wire) = split!(self);
            let now = wire.now;
            stack.handle_path_mtu(*peer, &mut wire, now);
        }
    }
}

/// Mutators.
impl Engine {
    /// Replaces the addresses of this host that no peer may reach through it
    /// ([`Gateway::host_addresses`](crate::config::Gateway::host_addresses)).
    pub fn set_host_addresses(&mut self, addresses: Vec<IpAddr>, now: Instant) {
        self.advance(now);
        self.note(|| Input::HostAddresses(addresses.clone()));
        let (stack, mut wire) = split!(self);
        stack.set_host_addresses(addresses, &mut wire);
    }

    /// Replaces the [rules](crate::config::Gateway::rules). Flows that the new ones would not have
    /// let in, or would have led elsewhere, are aborted; others do not notice. It looks at every
    /// flow.
    ///
    /// # Errors
    /// Everything that is wrong with the rules; nothing has changed then.
    pub fn set_rules(&mut self, rules: Vec<Rule>, now: Instant) -> Result<(), ConfigErrors> {
        config::check::rules(&rules)?;
        self.advance(now);
        self.replace_rules(rules);
        Ok(())
    }

    fn replace_rules(&mut self, rules: Vec<Rule>) {
        self.note(|| Input::Rules(rules.clone()));
        let (stack, mut wire) = split!(self);
        stack.set_rules(rules, &mut wire);
    }

    /// Adds a peer. Flows go on, but for those whose ends it owns from now on (by a longer prefix
    /// than whoever owned them), which are aborted. It looks at every flow.
    ///
    /// A new peer remembers no handshake: if it was one before and was removed, somebody who
    /// recorded its initiations could have the latest answered once more, to no avail.
    ///
    /// # Errors
    /// Everything that stands against it; nothing has changed then.
    pub fn add_peer(&mut self, peer: &config::Peer, now: Instant) -> Result<PeerId, PeerConflicts> {
        let Self { tunnel, stack, .. } = self;
        Errors::none_of(conflicts(peer, tunnel.public_key(), stack.own_addresses(), tunnel))?;
        self.advance(now);
        let id = self.tunnel.add_peer(peer, self.now);
        self.note(|| {
            Input::PeerAdded(Member {
                id,
                name: peer.name.clone(),
                public_key: peer.public_key,
                allowed_ips: peer.allowed_ips.clone(),
            })
        });
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
        self.note(|| Input::PeerRemoved(peer));
        let (stack, mut wire) = split!(self);
        stack.remove_peer(peer, &mut wire);
        self.tunnel.remove_peer(peer, &mut self.monitor, self.now)
    }

    /// Has `tap` hear every packet of peers from now on, or nobody. Without one that costs nothing.
    pub fn set_tap(&mut self, tap: Option<Box<dyn Tap>>) {
        self.tap = tap;
    }

    /// Has `observer` hear of every [`Event`](crate::Event) from now on, or nobody. Without one that
    /// costs nothing.
    pub fn set_observer(&mut self, observer: Option<Box<dyn Observer>>) {
        self.monitor.set_observer(observer);
    }

    /// Ends every flow, as the process is about to end: peers get resets, the embedder gets
    /// [`Action::Aborted`]. Drain the outputs once more afterwards.
    pub fn shut_down(&mut self, now: Instant) {
        self.advance(now);
        self.note(|| Input::ShutDown);
        let (stack, mut wire) = split!(self);
        stack.shut_down(&mut wire);
    }
}

/// Outputs. Drain them after inputs, until there are none: actions, then datagrams, then
/// transmits, then once more actions, which transmits may bring about; then sleep until
/// [`poll_timeout`](Self::poll_timeout).
impl Engine {
    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(action) = self.next_action() {
            return Some(action);
        }
        if let Some(peer) = self.tunnel.poll_resolve() {
            return Some(Action::Resolve(peer));
        }
        self.pump();
        self.next_action()
    }

    /// Whether an action waits. If so [`poll_action`](Self::poll_action) returns it at once; if not it
    /// lets flows say what is new first.
    pub fn has_action(&self) -> bool {
        self.stack.has_action()
    }

    fn next_action(&mut self) -> Option<Action> {
        let action = self.stack.poll_action();
        if let Some(tape) = &mut self.tape {
            tape.action(action);
        }
        action
    }

    /// The next endpoint that the embedder should look up the path MTU to, for
    /// [`handle_path_mtu`](Self::handle_path_mtu): each when it is first known, and with each new
    /// session. To leave the question alone costs speed on narrow paths, and a warning.
    pub fn poll_path_question(&mut self) -> Option<SocketAddr> {
        self.tunnel.poll_path_question()
    }

    /// Whose the next datagram is, and where it goes: what [`poll_datagram`](Self::poll_datagram)
    /// returns next. It stays there.
    pub fn next_datagram(&mut self) -> Option<(FlowId, SocketAddr)> {
        self.stack.next_datagram()
    }

    /// The next datagram for the host leg of a UDP or ICMP flow. It is consumed by this call.
    pub fn poll_datagram(&mut self) -> Option<Datagram<'_>> {
        let datagram = self.stack.poll_datagram();
        if let Some(tape) = &mut self.tape {
            tape.datagram(datagram.as_ref());
        }
        datagram
    }

    /// The train at the front. It stays there until [`transmitted`](Self::transmitted).
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        // Flows with more to send follow as soon as trains have left.
        while self.egress.front().is_none() && self.pump() {}
        self.egress.front()
    }

    /// Whether a train waits. If so [`poll_transmit`](Self::poll_transmit) returns it at once; if not
    /// it lets flows send first.
    pub fn has_transmit(&self) -> bool {
        self.egress.front().is_some()
    }

    /// Says that the first `bytes` of the train at the front have been sent, or given up: a
    /// multiple of its segment size, or all of it. The rest stays at the front.
    pub fn transmitted(&mut self, bytes: usize) {
        self.egress.transmitted(bytes);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due. Always later than the latest `now`
    /// after a call of it.
    pub fn poll_timeout(&self) -> Option<Instant> {
        earlier(self.tunnel.poll_timeout(), self.stack.poll_timeout())
    }

    /// Lets ready flows send and say what is new. Says whether they may have more.
    fn pump(&mut self) -> bool {
        if self.stack.is_idle() {
            return false;
        }
        self.note(|| Input::Pump);
        let (stack, mut wire) = split!(self);
        let now = wire.now;
        stack.pump(&mut wire, now)
    }
}
