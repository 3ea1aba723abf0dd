//! Who belongs to an end: peers come and go, and nothing of one is left for the next.
//!
//! Places are taken again, so that tables by place grow with the peers at the same time, not with
//! all that there ever were. Ids are not: each carries the generation of its place.

use std::sync::Arc;

use ipnet::IpNet;
use slab::Slab;

use crate::config;
use crate::config::peer::Others;
use crate::config::peer_change::PeerChange;
use crate::egress::Egress;
use crate::event::Event;
use crate::id::{Identity, PeerId};
use crate::key::PublicKey;
use crate::monitor::Monitor;
use crate::routing::Member;
use crate::state::PeerState;
use crate::stats::Stats;
use crate::time::Instant;
use crate::tunnel::Tunnel;
use crate::tunnel::peer::TunnelPeer;

/// One peer, and what it claims.
struct Seat {
    peer: TunnelPeer,
    allowed_ips: Vec<IpNet>,
    stats: Stats,
}

impl Seat {
    fn state(&self, id: PeerId) -> PeerState<'_> {
        self.peer.state(id, &self.allowed_ips, &self.stats)
    }
}

/// Every peer of an end.
#[derive(Default)]
pub(super) struct Roster {
    slots: Slab<Seat>,
    generations: Vec<u32>,
}

impl Roster {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    fn seat(&self, id: PeerId) -> Option<&Seat> {
        self.is_current(id).then(|| self.slots.get(id.slot())).flatten()
    }

    fn seat_mut(&mut self, id: PeerId) -> Option<&mut Seat> {
        if !self.is_current(id) {
            return None;
        }
        self.slots.get_mut(id.slot())
    }

    pub(super) fn get(&self, id: PeerId) -> Option<&TunnelPeer> {
        self.seat(id).map(|seat| &seat.peer)
    }

    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut TunnelPeer> {
        self.seat_mut(id).map(|seat| &mut seat.peer)
    }

    /// The same with the counters of the peer.
    pub(super) fn get_mut_with_stats(
        &mut self,
        id: PeerId,
    ) -> Option<(&mut TunnelPeer, &mut Stats)> {
        self.seat_mut(id).map(|Seat { peer, stats, .. }| (peer, stats))
    }

    /// The counters of a peer.
    pub(super) fn stats_mut(&mut self, id: PeerId) -> Option<&mut Stats> {
        self.seat_mut(id).map(|seat| &mut seat.stats)
    }

    fn allowed_ips_mut(&mut self, id: PeerId) -> Option<&mut Vec<IpNet>> {
        if !self.is_current(id) {
            return None;
        }
        self.slots.get_mut(id.slot()).map(|seat| &mut seat.allowed_ips)
    }

    /// The id of the peer in a slot.
    pub(super) fn current(&self, slot: usize) -> Option<PeerId> {
        self.slots.contains(slot).then(|| self.id_of(slot))
    }

    /// Every peer, in the order of the slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerId, &TunnelPeer)> {
        self.slots.iter().map(|(slot, seat)| (self.id_of(slot), &seat.peer))
    }

    fn seats(&self) -> impl Iterator<Item = (PeerId, &Seat)> {
        self.slots.iter().map(|(slot, seat)| (self.id_of(slot), seat))
    }

    pub(super) fn iter_mut(
        &mut self,
    ) -> impl Iterator<Item = (PeerId, &mut TunnelPeer, &mut Stats)> {
        let Self { slots, generations } = self;
        slots
            .iter_mut()
            .map(|(slot, Seat { peer, stats, .. })| (id_in(slot, generations), peer, stats))
    }

    fn insert(&mut self, seat: Seat) -> PeerId {
        let slot = self.slots.insert(seat);
        if self.generations.len() <= slot {
            self.generations.resize(slot + 1, 0);
        }
        self.id_of(slot)
    }

    fn remove(&mut self, id: PeerId) -> Option<Seat> {
        if !self.is_current(id) {
            return None;
        }
        let seat = self.slots.try_remove(id.slot())?;
        self.generations[id.slot()] = self.generations[id.slot()].wrapping_add(1);
        Some(seat)
    }

    fn id_of(&self, slot: usize) -> PeerId {
        id_in(slot, &self.generations)
    }

    fn is_current(&self, id: PeerId) -> bool {
        self.generations.get(id.slot()) == Some(&id.generation)
    }
}

fn id_in(slot: usize, generations: &[u32]) -> PeerId {
    // Memory ends far below 2^32 peers.
    PeerId { slot: slot as u32, generation: generations[slot] }
}

/// Coming and going.
impl Tunnel {
    /// Adds a peer against which nothing stands.
    pub(crate) fn add_peer(&mut self, peer: &config::Peer, now: Instant) -> PeerId {
        let now = self.clock.set(now);
        let index = self.demux.unused_index(&mut self.rng);
        let id = self.peers.insert(Seat {
            peer: TunnelPeer::new(&self.own, peer, self.mtu, index, now),
            allowed_ips: peer.allowed_ips.clone(),
            stats: Stats::new(),
        });
        self.demux.insert(id, index, &peer.public_key);
        for prefix in &peer.allowed_ips {
            self.allowed_ips.insert(*prefix, id);
        }
        self.arm(id);
        id
    }

    /// Changes peers, against which nothing stands. Prefixes may move from one to another.
    pub(crate) fn change_peers(
        &mut self,
        changes: &[(PeerId, PeerChange)],
        egress: &mut Egress,
        monitor: &mut Monitor,
        now: Instant,
    ) {
        let now = self.clock.set(now);
        for (id, change) in changes {
            let Some(prefixes) = &change.allowed_ips else { continue };
            let Some(allowed_ips) = self.peers.allowed_ips_mut(*id) else { continue };
            for given_up in std::mem::replace(allowed_ips, prefixes.clone()) {
                self.allowed_ips.remove(given_up, *id);
            }
        }
        for (id, change) in changes {
            if change.allowed_ips.is_some()
                && let Some(allowed_ips) = self.peers.allowed_ips_mut(*id)
            {
                for prefix in allowed_ips.iter() {
                    self.allowed_ips.insert(*prefix, *id);
                }
            }
            let own = self.own.clone();
            self.enter(*id, egress, monitor, now, |peer, wire| peer.change(change, &own, wire));
        }
    }

    /// Removes a peer with its sessions, whatever they still had to say. Returns who it was.
    pub(crate) fn remove_peer(
        &mut self,
        id: PeerId,
        monitor: &mut Monitor,
        now: Instant,
    ) -> Option<Arc<Identity>> {
        let Seat { peer, allowed_ips, .. } = self.peers.remove(id)?;
        let identity = Arc::clone(peer.identity());
        if peer.was_told_up() {
            monitor.tell(Event::PeerDown { peer: id, identity: &identity }, now);
        }
        self.queued_len -= peer.queued_len();
        self.demux.remove(&identity.public_key);
        for prefix in allowed_ips {
            self.allowed_ips.remove(prefix, id);
        }
        self.timers.set(id.slot(), None);
        self.questions.retain(|asked| *asked != id);
        self.path_questions.retain(|asked| *asked != id);
        Some(identity)
    }

    /// Every peer, as others but the tunnel know it.
    pub(crate) fn members(&self) -> impl Iterator<Item = Member> {
        self.peers.seats().map(|(id, seat)| {
            let Identity { name, public_key } = &**seat.peer.identity();
            let (name, public_key) = (name.clone(), *public_key);
            Member { id, name, public_key, allowed_ips: seat.allowed_ips.clone() }
        })
    }

    /// What can be read of every peer but what it uses, in the order of the slots.
    pub(crate) fn peer_states(&self) -> impl Iterator<Item = PeerState<'_>> {
        self.peers.seats().map(|(id, seat)| seat.state(id))
    }

    /// What can be read of a peer but what it uses.
    pub(crate) fn peer_state(&self, id: PeerId) -> Option<PeerState<'_>> {
        self.peers.seat(id).map(|seat| seat.state(id))
    }
}

impl Others for Tunnel {
    type Id = PeerId;

    fn with_key(&self, key: &PublicKey) -> Option<PeerId> {
        self.demux.by_key(key.as_bytes())
    }

    fn with_name(&self, name: &str) -> Option<PeerId> {
        self.peers.iter().find(|(_, peer)| peer.identity().name == name).map(|(id, _)| id)
    }

    fn with_prefix(&self, prefix: IpNet) -> Option<PeerId> {
        self.allowed_ips.holder(prefix)
    }
}
