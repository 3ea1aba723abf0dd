//! What comes from a peer, or from whoever claims to be it.

use std::net::IpAddr;

use boringtun::noise::TunnResult;
use boringtun::noise::errors::WireGuardError;

use crate::arrival::Arrival;
use crate::bucket::Rate;
use crate::egress::DatagramWay;
use crate::event::Event;
use crate::limits::{PEER_INITIATIONS_BURST, PEER_INITIATIONS_RATE};
use crate::outcome::HandshakeFault;
use crate::stats::Counter;
use crate::tunnel::demux::{receiver_index, sender_index};
use crate::tunnel::handshake_gate::Effort;
use crate::tunnel::handshakes::NOTICES;
use crate::tunnel::inner::holds_its_header;
use crate::tunnel::peer::TunnelPeer;
use crate::tunnel::supervisor::Rise;
use crate::tunnel::wire::PeerWire;

/// Sessions that the peer may ask for.
const INITIATIONS: Rate = Rate::per_second(PEER_INITIATIONS_BURST, PEER_INITIATIONS_RATE);

/// A decrypted packet, at the start of [`PeerWire::plaintext`].
pub(in crate::tunnel) struct Inner {
    pub(in crate::tunnel) len: usize,
    pub(in crate::tunnel) source: IpAddr,
}

/// Datagrams from the peer, or from whoever claims to be it.
impl TunnelPeer {
    /// Takes an initiation that claims to be of this peer, and answers it.
    pub(in crate::tunnel) fn handle_initiation(
        &mut self,
        arrival: Arrival,
        datagram: &[u8],
        wire: &mut PeerWire<'_>,
    ) -> Effort {
        if !self.initiations.has_token(INITIATIONS, wire.now) {
            self.refuse_handshake(HandshakeFault::PeerRate, arrival, wire);
            if self.notice.take(NOTICES, wire.now) {
                log::warn!(
                    "peer {}: more handshakes than one peer needs, lately from {}; is its key in \
                     use on two machines?",
                    self.name(),
                    arrival.source,
                );
            }
            return Effort::Wasted;
        }
        self.refresh(wire);
        self.spare_session(wire);
        match self.noise.take_handshake(arrival.source.ip(), datagram, wire.scratch) {
            TunnResult::WriteToNetwork(response) => {
                let len = response.len();
                let index = sender_index(response).unwrap_or_default();
                wire.monitor.handle_authentic(datagram);
                // Taken only now, so that nobody else uses up the peer's share.
                self.initiations.take(INITIATIONS, wire.now);
                self.noise.numbered(index);
                self.supervisor.granted(index, wire.now);
                let way = if self.noise.takes_replays() {
                    Some(DatagramWay { from: arrival.local, ..DatagramWay::from(arrival.source) })
                } else {
                    self.follow(arrival);
                    self.endpoint.way()
                };
                self.emit(len, way, wire);
                Effort::Due
            }
            TunnResult::Err(error) => {
                log::debug!("peer {}: initiation refused: {error:?}", self.name());
                let fault = match error {
                    WireGuardError::WrongTai64nTimestamp
                    | WireGuardError::InvalidTai64nTimestamp => HandshakeFault::NotNewer,
                    _ => HandshakeFault::Forged,
                };
                self.refuse_handshake(fault, arrival, wire);
                Effort::Wasted
            }
            TunnResult::Done
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => Effort::Wasted,
        }
    }

    /// Keeps the session in use from being pushed out by one that the peer asks for, and may never
    /// use, as when our answers are lost: asks the peer itself, which takes the number in question.
    fn spare_session(&mut self, wire: &mut PeerWire<'_>) {
        let in_use = self.supervisor.session_index();
        if in_use.is_some_and(|index| self.noise.next_replaces(index)) {
            self.initiate(wire);
        }
    }

    /// Takes an answer to our initiation.
    pub(in crate::tunnel) fn handle_response(
        &mut self,
        arrival: Arrival,
        datagram: &[u8],
        wire: &mut PeerWire<'_>,
    ) -> Effort {
        self.refresh(wire);
        match self.noise.take_handshake(arrival.source.ip(), datagram, wire.scratch) {
            TunnResult::WriteToNetwork(keepalive) => {
                let len = keepalive.len();
                let index = receiver_index(datagram).unwrap_or_default();
                wire.monitor.handle_authentic(datagram);
                self.supervisor.answered(index, wire.now);
                self.follow(arrival);
                self.emit(len, self.endpoint.way(), wire);
                self.use_new_session(wire);
                Effort::Due
            }
            TunnResult::Err(error) => {
                log::debug!("peer {}: response refused: {error:?}", self.name());
                let (fault, effort) = match error {
                    // Nothing was asked that it answers, which is seen before any work.
                    WireGuardError::UnexpectedPacket => (HandshakeFault::NotAsked, Effort::Due),
                    WireGuardError::InvalidAeadTag => {
                        (HandshakeFault::PresharedKey, Effort::Wasted)
                    }
                    _ => (HandshakeFault::Forged, Effort::Wasted),
                };
                self.refuse_handshake(fault, arrival, wire);
                effort
            }
            TunnResult::Done
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => Effort::Wasted,
        }
    }

    /// Takes a cookie, for the next initiation. It is no sign of life and moves no endpoint, as it
    /// can be made by whoever saw the initiation.
    pub(in crate::tunnel) fn handle_cookie_reply(
        &mut self,
        arrival: Arrival,
        datagram: &[u8],
        wire: &mut PeerWire<'_>,
    ) {
        self.refresh(wire);
        let result = self.noise.take_handshake(arrival.source.ip(), datagram, wire.scratch);
        if let TunnResult::Err(error) = result {
            let fault = match error {
                WireGuardError::UnexpectedPacket | WireGuardError::WrongIndex => {
                    HandshakeFault::NotAsked
                }
                _ => HandshakeFault::Forged,
            };
            self.refuse_handshake(fault, arrival, wire);
        }
    }

    /// Takes note of a handshake message that came to nothing.
    fn refuse_handshake(&self, fault: HandshakeFault, arrival: Arrival, wire: &mut PeerWire<'_>) {
        wire.monitor.count(fault.counter());
        let (source, peer) = (arrival.source, Some((wire.monitor.peer, &*self.identity)));
        wire.monitor.tell(Event::HandshakeRefused { source, peer, key: None, fault }, wire.now);
    }

    /// Takes data for the session `index` and decrypts it.
    pub(in crate::tunnel) fn handle_data(
        &mut self,
        arrival: Arrival,
        index: u32,
        datagram: &[u8],
        wire: &mut PeerWire<'_>,
    ) -> Option<Inner> {
        self.refresh(wire);
        let inner = match self.noise.take_data(index, datagram, wire.plaintext) {
            TunnResult::Done => None,
            TunnResult::WriteToTunnelV4(packet, source) => Some((packet, IpAddr::V4(source))),
            TunnResult::WriteToTunnelV6(packet, source) => Some((packet, IpAddr::V6(source))),
            TunnResult::Err(WireGuardError::InvalidPacket) => {
                // The datagram has the shape of data: it is the packet within that is none.
                wire.monitor.count(Counter::DropIpHeader);
                None
            }
            TunnResult::Err(error) => {
                wire.monitor.count(reason(&error));
                return None;
            }
            TunnResult::WriteToNetwork(_) => return None,
        };
        wire.monitor.handle_authentic(datagram);
        let inner = inner.and_then(|(packet, source)| {
            let is_whole = holds_its_header(packet);
            if !is_whole {
                wire.monitor.count(Counter::DropIpHeader);
            }
            is_whole.then_some(Inner { len: packet.len(), source })
        });
        self.follow(arrival);
        if self.supervisor.received(index, wire.now) {
            self.noise.confirmed(index);
            self.use_new_session(wire);
        } else {
            self.hear();
            self.flush(wire);
        }
        if inner.is_some() {
            self.supervisor.moved_data(wire.now);
        }
        inner
    }

    /// Both ends have the new session: it can be used.
    fn use_new_session(&mut self, wire: &mut PeerWire<'_>) {
        wire.monitor.count(Counter::Handshakes);
        self.last_handshake = Some(wire.now);
        log::debug!("peer {}: new session", self.name());
        self.endpoint_mtu.ask();
        self.hear();
        self.flush(wire);
    }

    fn hear(&mut self) {
        match self.supervisor.heard() {
            Rise::StillUp => {}
            Rise::First => log::info!("peer {} is up{}", self.name(), self.place()),
            Rise::Again => log::info!("peer {} is up again{}", self.name(), self.place()),
        }
    }

    fn follow(&mut self, arrival: Arrival) {
        if self.endpoint.roam(arrival.source, arrival.local) {
            log::debug!("peer {} is at {}", self.name(), arrival.source);
        }
    }
}

/// The counter for data that boringtun refused.
const fn reason(error: &WireGuardError) -> Counter {
    match error {
        WireGuardError::InvalidCounter | WireGuardError::DuplicateCounter => Counter::DropReplay,
        WireGuardError::NoCurrentSession
        | WireGuardError::WrongIndex
        | WireGuardError::ConnectionExpired => Counter::DropNoSession,
        WireGuardError::InvalidAeadTag
        | WireGuardError::DestinationBufferTooSmall
        | WireGuardError::IncorrectPacketLength
        | WireGuardError::UnexpectedPacket
        | WireGuardError::WrongPacketType
        | WireGuardError::WrongKey
        | WireGuardError::InvalidTai64nTimestamp
        | WireGuardError::WrongTai64nTimestamp
        | WireGuardError::InvalidMac
        | WireGuardError::InvalidPacket
        | WireGuardError::LockFailed
        | WireGuardError::UnderLoad => Counter::DropAuthentication,
    }
}
