//! Handshake messages: through the [`Gate`](super::handshake_gate::Gate) to the peer that they
//! claim to be of or are for, and back what came of it.
//!
//! Whoever operates this end, or a peer that is not heard, has to find the reason in the log: each
//! is said once a minute at most.

use std::net::IpAddr;
use std::time::Duration;

use boringtun::noise::HandshakeInit;
use boringtun::noise::handshake::parse_handshake_anon;

use crate::arrival::Arrival;
use crate::bucket::{Bucket, Rate};
use crate::egress::{DatagramWay, Egress};
use crate::event::Event;
use crate::key::PublicKey;
use crate::monitor::Monitor;
use crate::outcome::HandshakeFault;
use crate::stats::Counter;
use crate::time::Instant;
use crate::tunnel::Tunnel;
use crate::tunnel::handshake_gate::{Effort, GateVerdict, HandshakeKind, Proof};
use crate::tunnel::wire::deliver;

/// How often each notice is logged at most.
pub(super) const NOTICES: Rate = Rate::new(1, Duration::from_secs(60));

/// Whether a notice was logged a short while ago.
#[derive(Debug, Default)]
pub(super) struct Notices {
    stranger: Bucket,
    challenged: Bucket,
    refused: Bucket,
}

impl Notices {
    fn stranger(&mut self, source: IpAddr, key: PublicKey, now: Instant) {
        if self.stranger.take(NOTICES, now) {
            log::warn!("a handshake from {source} is of no peer here: its public key is {key}");
        }
    }

    fn challenged(&mut self, source: IpAddr, now: Instant) {
        if self.challenged.take(NOTICES, now) {
            log::warn!(
                "under load by handshakes that come to nothing: senders, {source} among them, have \
                 to prove their address by a cookie, which takes peers 5 s more"
            );
        }
    }

    fn refused(&mut self, source: IpAddr, now: Instant) {
        if self.refused.take(NOTICES, now) {
            log::warn!(
                "handshakes from {source} are refused: more came to nothing from there than one \
                 address may cost while this end is under load"
            );
        }
    }
}

/// Takes note of a handshake message that no peer gets to see.
fn refuse(
    fault: HandshakeFault,
    arrival: Arrival,
    key: Option<PublicKey>,
    monitor: &mut Monitor,
    now: Instant,
) {
    monitor.count(fault.counter());
    let source = arrival.source;
    monitor.tell(Event::HandshakeRefused { source, peer: None, key, fault }, now);
}

impl Tunnel {
    pub(super) fn handle_initiation(
        &mut self,
        arrival: Arrival,
        initiation: &HandshakeInit<'_>,
        datagram: &[u8],
        egress: &mut Egress,
        monitor: &mut Monitor,
        now: Instant,
    ) {
        let kind = HandshakeKind::Initiation;
        let Some(proof) = self.admit(kind, arrival, datagram, egress, monitor, now) else { return };
        // Names a peer without proof: anybody who knows both public keys can make this much.
        let own_key = self.public_key.point();
        let claimed = parse_handshake_anon(&self.own.private_key, &own_key, initiation);
        let key = claimed.ok().map(|claim| claim.peer_static_public);
        let effort = match key.and_then(|key| self.demux.by_key(&key)) {
            Some(id) => self.enter(id, egress, monitor, now, |peer, wire| {
                peer.handle_initiation(arrival, datagram, wire)
            }),
            None => {
                let key = key.and_then(|key| PublicKey::from_bytes(key).ok());
                match key {
                    Some(key) => {
                        self.notices.stranger(arrival.source.ip(), key, now);
                        refuse(HandshakeFault::UnknownKey, arrival, Some(key), monitor, now);
                    }
                    None => refuse(HandshakeFault::Forged, arrival, None, monitor, now),
                }
                Some(Effort::Wasted)
            }
        };
        if let Some(effort) = effort {
            self.gate.handle_effort(effort, kind, proof, arrival.source.ip(), now);
        }
    }

    pub(super) fn handle_response(
        &mut self,
        arrival: Arrival,
        receiver: u32,
        datagram: &[u8],
        egress: &mut Egress,
        monitor: &mut Monitor,
        now: Instant,
    ) {
        let kind = HandshakeKind::Response;
        let Some(id) = self.receiver(receiver, monitor) else { return };
        let Some(proof) = self.admit(kind, arrival, datagram, egress, monitor, now) else { return };
        let effort = self.enter(id, egress, monitor, now, |peer, wire| {
            peer.handle_response(arrival, datagram, wire)
        });
        if let Some(effort) = effort {
            self.gate.handle_effort(effort, kind, proof, arrival.source.ip(), now);
        }
    }

    /// What the sender of a handshake message has shown, if the gate admits it; if not, the sender
    /// may have to hear why.
    fn admit(
        &mut self,
        kind: HandshakeKind,
        arrival: Arrival,
        datagram: &[u8],
        egress: &mut Egress,
        monitor: &mut Monitor,
        now: Instant,
    ) -> Option<Proof> {
        let source = arrival.source.ip();
        match self.gate.judge(kind, source, datagram, now) {
            GateVerdict::Admitted(proof) => return Some(proof),
            GateVerdict::Challenged(cookie_reply) => {
                refuse(HandshakeFault::Challenged, arrival, None, monitor, now);
                monitor.count(Counter::CookieReplies);
                // Not from the reserve, which a flood would use up.
                let way = DatagramWay { from: arrival.local, ..DatagramWay::from(arrival.source) };
                let room = egress.reserve(way, cookie_reply.len());
                deliver(&cookie_reply, room, |counter, amount| monitor.add(counter, amount));
                self.notices.challenged(source, now);
            }
            GateVerdict::Refused(fault) => {
                refuse(fault, arrival, None, monitor, now);
                if fault == HandshakeFault::SourceRate {
                    self.notices.refused(source, now);
                }
            }
        }
        None
    }
}
