//! One peer: boringtun's tunnel to it, and what that needs around it.
//!
//! Every entry first lets boringtun look at its timers, if its idea of the time is old, so that no
//! session outlives its end. What boringtun wants to say goes out here, and nothing but what it
//! has authenticated moves the endpoint or counts as a sign of life. When handshakes are due is the
//! [`Supervisor`]'s to say, where they go the [`PeerEndpoint`]'s. Here is what goes to the peer:
//!
//! - [`incoming`]: what comes from it,
//! - [`noise`]: boringtun's handshakes and sessions,
//! - [`change`]: what may be configured anew.

mod change;
mod incoming;
mod noise;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use boringtun::noise::TunnResult;
use boringtun::noise::errors::WireGuardError;
use ipnet::IpNet;

pub(super) use self::noise::OwnEnd;
use self::noise::{Noise, OtherEnd};
use crate::bucket::Bucket;
use crate::config;
use crate::ecn::Ecn;
use crate::egress::DatagramWay;
use crate::event::Event;
use crate::id::{Identity, PeerId};
use crate::limits::{DATA_OVERHEAD, QUEUED_PACKETS_MAX};
use crate::state::{PathState, PeerState, Transfer, Usage};
use crate::stats::{Counter, Stats};
use crate::time::{Instant, earlier};
use crate::tunnel::demux::{is_initiation, sender_index};
use crate::tunnel::endpoint::{PeerEndpoint, Resolution};
use crate::tunnel::endpoint_mtu::EndpointMtu;
use crate::tunnel::supervisor::Supervisor;
use crate::tunnel::wire::{PeerWire, deliver};

/// The name is resolved again after each so many unanswered initiations.
const UNANSWERED_ASK: u32 = 3;
/// The peer counts as lost after so many.
const UNANSWERED_LOST: u32 = 3;

/// The interval of persistent keepalive.
fn interval(seconds: NonZeroU16) -> Duration {
    Duration::from_secs(seconds.get().into())
}

/// A peer.
pub(super) struct TunnelPeer {
    identity: Arc<Identity>,
    noise: Noise,
    endpoint: PeerEndpoint,
    endpoint_mtu: EndpointMtu,
    supervisor: Supervisor,
    initiations: Bucket,
    /// Whether it was logged a short while ago that there are too many of them.
    notice: Bucket,
    last_handshake: Option<Instant>,
    /// Whether it was up when whoever listens last heard of that.
    told_up: bool,
    /// Packets given to boringtun while there was no session.
    queued: usize,
    /// Their bytes.
    queued_len: usize,
}

/// Getters.
impl TunnelPeer {
    /// A peer of this end. boringtun's clock must have been set.
    pub(super) fn new(
        own: &OwnEnd,
        peer: &config::Peer,
        mtu: u16,
        index: u32,
        now: Instant,
    ) -> Self {
        let keepalive = peer.persistent_keepalive.map(interval);
        let (name, public_key) = (peer.name.clone(), peer.public_key);
        let identity = Arc::new(Identity { name, public_key });
        let preshared_key = peer.preshared_key.as_ref();
        let other = OtherEnd { public_key: &peer.public_key, preshared_key };
        Self {
            noise: Noise::new(own, other, index),
            endpoint: PeerEndpoint::new(peer.endpoint.as_ref()),
            endpoint_mtu: EndpointMtu::new(Arc::clone(&identity), mtu),
            identity,
            supervisor: Supervisor::new(keepalive, now),
            initiations: Bucket::default(),
            notice: Bucket::default(),
            last_handshake: None,
            told_up: false,
            queued: 0,
            queued_len: 0,
        }
    }

    pub(super) const fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    pub(super) const fn endpoint(&self) -> &PeerEndpoint {
        &self.endpoint
    }

    /// Bytes of the largest packet that gets to the peer in one datagram.
    pub(super) fn path_mtu(&self, now: Instant) -> u16 {
        self.endpoint_mtu.limit(self.endpoint.in_use().map(|address| address.ip()), now)
    }

    /// What can be read of it, beside what its place knows and what it uses.
    pub(super) fn state<'a>(
        &'a self,
        id: PeerId,
        allowed_ips: &'a [IpNet],
        stats: &'a Stats,
    ) -> PeerState<'a> {
        let (bytes_in, bytes_out) = (stats.value(Counter::BytesIn), stats.value(Counter::BytesOut));
        PeerState {
            id,
            identity: &self.identity,
            allowed_ips,
            endpoint: self.endpoint.in_use(),
            endpoint_name: self.endpoint.name(),
            persistent_keepalive: self.supervisor.keepalive(),
            is_up: self.supervisor.is_up(),
            last_handshake: self.last_handshake,
            transfer: Transfer { bytes_in, bytes_out },
            path: PathState::default(),
            usage: Usage::default(),
            stats,
        }
    }

    /// Bytes of packets that wait for its handshake.
    pub(super) const fn queued_len(&self) -> usize {
        self.queued_len
    }

    /// Says once that it is reached by another path.
    pub(super) const fn take_move(&mut self) -> bool {
        self.endpoint.take_move()
    }

    /// What is known of the path to the endpoint.
    pub(super) const fn endpoint_mtu_mut(&mut self) -> &mut EndpointMtu {
        &mut self.endpoint_mtu
    }

    /// When the session in use was agreed on.
    #[cfg(test)]
    pub(super) fn session_since(&self) -> Option<Instant> {
        self.supervisor.session_since()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let start = self.endpoint.in_use().and(self.supervisor.handshake_start());
        let of_endpoint = earlier(self.endpoint.deadline(), self.noise.retired_until());
        earlier(earlier(self.supervisor.deadline(), of_endpoint), start)
    }

    /// Where the peer is believed to be, for logs.
    fn place(&self) -> String {
        self.endpoint.handshake_way().map(|way| format!(", at {}", way.to)).unwrap_or_default()
    }

    fn name(&self) -> &str {
        &self.identity.name
    }
}

/// Packets to the peer, time, and addresses.
impl TunnelPeer {
    /// Sends a packet, padded already, as soon as there is a session.
    pub(super) fn send(&mut self, packet: &[u8], wire: &mut PeerWire<'_>) {
        self.supervisor.asked(wire.now);
        self.refresh(wire);
        let Some(way) = self.endpoint.way() else {
            wire.monitor.count(Counter::DropNoEndpoint);
            self.endpoint.ask();
            return;
        };
        if !self.noise.has_session() {
            self.queue(packet, wire);
            return;
        }
        let way = DatagramWay { ecn: Ecn::of(packet), ..way };
        let len = packet.len() + DATA_OVERHEAD;
        let Some(mut reservation) = wire.egress.reserve(way, len) else {
            wire.monitor.count(Counter::DropEgressFull);
            return;
        };
        if let TunnResult::WriteToNetwork(datagram) =
            self.noise.encapsulate(packet, reservation.buffer())
        {
            let len = datagram.len();
            reservation.commit(len);
            self.supervisor.moved_data(wire.now);
            wire.monitor.count(Counter::PacketsOut);
            wire.monitor.count(Counter::DatagramsOut);
            wire.monitor.add(Counter::BytesOut, len as u64);
        }
    }

    /// Leaves a packet with boringtun until there is a session, and starts a handshake if none is
    /// under way.
    fn queue(&mut self, packet: &[u8], wire: &mut PeerWire<'_>) {
        let queued_len = self.queued_len + packet.len();
        let is_full = self.queued == QUEUED_PACKETS_MAX || queued_len > wire.queue_max;
        // The first one asks for the handshake.
        if is_full && self.queued > 0 {
            wire.monitor.count(Counter::DropNoSession);
            return;
        }
        (self.queued, self.queued_len) = (self.queued + 1, queued_len);
        wire.monitor.count(Counter::PacketsOut);
        let result = self.noise.encapsulate(packet, wire.scratch);
        self.say(written(&result), wire);
    }

    /// Sends what boringtun has queued, which it does only on request.
    fn flush(&mut self, wire: &mut PeerWire<'_>) {
        let Some(way) = self.endpoint.way() else { return };
        while let Some(datagram) = self.noise.next_queued(wire.scratch) {
            let room = wire.egress.reserve(way, datagram.len());
            deliver(datagram, room, |counter, amount| wire.monitor.add(counter, amount));
            self.supervisor.moved_data(wire.now);
        }
        (self.queued, self.queued_len) = (0, 0);
    }

    /// Lets time pass.
    pub(super) fn handle_timeout(&mut self, wire: &mut PeerWire<'_>) {
        self.endpoint.handle_timeout(wire.now);
        if !self.supervisor.is_held(wire.now) {
            self.look_at_timers(wire);
        }
        self.supervisor.handle_timeout(wire.now);
        self.keep_alive(wire);
    }

    /// Takes what the name of the endpoint resolved to. What is silent so far is tried there.
    pub(super) fn handle_resolved(&mut self, addresses: &[SocketAddr], wire: &mut PeerWire<'_>) {
        match self.endpoint.handle_resolved(addresses, wire.now) {
            Resolution::Failed => log::warn!(
                "peer {}: {} does not resolve; trying on",
                self.name(),
                self.endpoint.name().map_or("its name", |(host, _)| host),
            ),
            Resolution::Unchanged => {}
            Resolution::Found => {
                self.endpoint_mtu.ask();
                self.refresh(wire);
                self.keep_alive(wire);
            }
        }
    }

    /// Starts the handshake or sends the keepalive that is due.
    fn keep_alive(&mut self, wire: &mut PeerWire<'_>) {
        if self.endpoint.in_use().is_none() {
            return;
        }
        let wants_session = if self.supervisor.is_keepalive_due(wire.now) {
            self.send_keepalive(wire);
            self.supervisor.is_rekey_due(wire.now)
        } else {
            self.supervisor.is_handshake_due(wire.now)
        };
        if wants_session {
            self.initiate(wire);
        }
    }

    fn send_keepalive(&mut self, wire: &mut PeerWire<'_>) {
        let result = self.noise.encapsulate(&[], wire.scratch);
        self.supervisor.sent_keepalive(wire.now);
        self.say(written(&result), wire);
    }

    /// Begins a handshake: in any case, so that what the supervisor believes to be under way is.
    fn initiate(&mut self, wire: &mut PeerWire<'_>) {
        let result = self.noise.initiate(wire.scratch);
        self.say(written(&result), wire);
    }

    /// Lets boringtun look at its timers if it has not done so for a while.
    fn refresh(&mut self, wire: &mut PeerWire<'_>) {
        if self.supervisor.is_stale(wire.now) {
            self.look_at_timers(wire);
        }
    }

    fn look_at_timers(&mut self, wire: &mut PeerWire<'_>) {
        self.supervisor.looked(wire.now);
        if let Some(len) = self.noise.update_retired(wire.scratch, wire.now) {
            self.emit(len, self.endpoint.way(), wire);
        }
        let result = self.noise.update_timers(wire.scratch);
        if let TunnResult::Err(WireGuardError::ConnectionExpired) = result {
            (self.queued, self.queued_len) = (0, 0);
            self.supervisor.expired(wire.now);
        }
        self.say(written(&result), wire);
    }

    /// Lets the observer hear whether there is a session, if that is news.
    pub(super) fn tell_standing(&mut self, wire: &mut PeerWire<'_>) {
        let is_up = self.supervisor.is_up();
        if is_up == self.told_up {
            return;
        }
        self.told_up = is_up;
        let (peer, identity) = (wire.monitor.peer, &*self.identity);
        let event = if is_up {
            Event::PeerUp { peer, identity, endpoint: self.endpoint.in_use() }
        } else {
            Event::PeerDown { peer, identity }
        };
        wire.monitor.tell(event, wire.now);
    }

    /// Whether the observer has heard that there is a session.
    pub(super) const fn was_told_up(&self) -> bool {
        self.told_up
    }

    /// Whether the embedder has to resolve the name of the endpoint now.
    pub(super) fn take_question(&mut self) -> bool {
        self.endpoint.take_question()
    }
}

/// The way out.
impl TunnelPeer {
    /// Sends what boringtun has written to the scratch buffer, if it has.
    fn say(&mut self, written: Option<usize>, wire: &mut PeerWire<'_>) {
        let Some(len) = written else { return };
        let way = if is_initiation(&wire.scratch[..len]) {
            self.prepare_initiation(wire);
            self.noise.numbered(sender_index(&wire.scratch[..len]).unwrap_or_default());
            self.supervisor.initiated(wire.rng, wire.now);
            self.endpoint.handshake_way()
        } else {
            self.endpoint.way()
        };
        self.emit(len, way, wire);
    }

    /// Looks for another way to a peer that does not answer.
    fn prepare_initiation(&mut self, wire: &mut PeerWire<'_>) {
        let unanswered = self.supervisor.unanswered();
        if unanswered == 0 {
            return;
        }
        self.endpoint.try_next();
        if unanswered.is_multiple_of(UNANSWERED_ASK) {
            self.endpoint.ask();
        }
        if unanswered >= UNANSWERED_LOST && self.supervisor.lost() {
            self.report_lost(wire);
        }
    }

    fn report_lost(&self, wire: &mut PeerWire<'_>) {
        let endpoint = self.endpoint.handshake_way().map(|way| way.to);
        let (peer, identity) = (wire.monitor.peer, &*self.identity);
        wire.monitor.tell(Event::PeerSilent { peer, identity, endpoint }, wire.now);
        if self.endpoint.is_configured() {
            log::warn!(
                "peer {} does not answer{}; trying on. Is it running, is the address right, does \
                 it know our public key? If this machine's clock was set back, it refuses us \
                 until the clock has caught up",
                self.name(),
                self.place(),
            );
        } else {
            // Nobody said that it has to be there: a laptop that was closed, most likely.
            log::debug!("peer {} does not answer{}", self.name(), self.place());
        }
    }

    /// Sends the first `len` bytes of the scratch buffer: a handshake message or a keepalive.
    fn emit(&self, len: usize, way: Option<DatagramWay>, wire: &mut PeerWire<'_>) {
        let Some(way) = way else {
            wire.monitor.count(Counter::DropNoEndpoint);
            return;
        };
        let room = wire.egress.reserve_control(way, len);
        deliver(&wire.scratch[..len], room, |counter, amount| {
            wire.monitor.add(counter, amount);
        });
    }
}

/// How much boringtun has written for the network.
fn written(result: &TunnResult<'_>) -> Option<usize> {
    match result {
        TunnResult::WriteToNetwork(message) => Some(message.len()),
        TunnResult::Done
        | TunnResult::Err(_)
        | TunnResult::WriteToTunnelV4(..)
        | TunnResult::WriteToTunnelV6(..) => None,
    }
}
