//! The path to one peer: what is the tunnel's own, and the inner addresses behind it.

use std::net::IpAddr;
use std::time::Duration;

use crate::id::PeerId;
use crate::limits::{PATH_HOSTS_MAX, PATH_SIZE_PROVED};
use crate::stack::tcp::path::host::HostPath;
use crate::stack::tcp::path::size::FoundSize;
use crate::stack::tcp::path::size::KnownSize;
use crate::stack::tcp::path::{Aged, Hint, Learnt, fresh};
use crate::state::PathState;
use crate::time::Instant;

/// What is known of the path to a peer.
#[derive(Debug)]
pub(super) struct PeerPath {
    peer: PeerId,
    /// Bytes of all its flows that are in flight.
    flight: u64,
    hosts: Vec<HostPath>,
    reordering: Option<Aged<Duration>>,
    losses: Option<Aged<LossCount>>,
    size: Option<KnownSize>,
    /// Sizes that fit on the way to single inner addresses, where it is not the tunnel that is
    /// narrow. As many as there are inner addresses.
    host_sizes: Vec<(IpAddr, KnownSize)>,
}

/// Bytes that arrived and bytes that did not.
#[derive(Clone, Copy, Default, Debug)]
struct LossCount {
    delivered: u64,
    lost: u64,
}

impl LossCount {
    /// What is older than so many bytes counts half.
    const SPAN: u64 = 16 << 20;

    const fn add(self, delivered: u64, lost: u64) -> Self {
        let delivered = self.delivered.saturating_add(delivered);
        let lost = self.lost.saturating_add(lost);
        if delivered.saturating_add(lost) > Self::SPAN {
            return Self { delivered: delivered / 2, lost: lost / 2 };
        }
        Self { delivered, lost }
    }

    fn permille(self) -> u16 {
        let all = self.delivered.saturating_add(self.lost).max(1);
        // At most a thousand.
        u16::try_from(self.lost.saturating_mul(1_000) / all).unwrap_or(1_000)
    }
}

impl PeerPath {
    pub(super) const fn new(peer: PeerId) -> Self {
        Self {
            peer,
            flight: 0,
            hosts: Vec::new(),
            reordering: None,
            losses: None,
            size: None,
            host_sizes: Vec::new(),
        }
    }

    pub(super) const fn peer(&self) -> PeerId {
        self.peer
    }

    fn host(&self, inner: IpAddr) -> Option<&HostPath> {
        self.hosts.iter().find(|host| host.inner == inner)
    }

    /// What is known of an inner address, which takes the place of the oldest if there are many.
    fn host_mut(&mut self, inner: IpAddr, now: Instant) -> &mut HostPath {
        let known = self.hosts.iter().position(|host| host.inner == inner);
        let place = known.unwrap_or_else(|| {
            if self.hosts.len() < PATH_HOSTS_MAX {
                self.hosts.push(HostPath::new(inner, now));
                return self.hosts.len() - 1;
            }
            let oldest = (0..self.hosts.len()).min_by_key(|at| self.hosts[*at].learnt_at);
            let place = oldest.unwrap_or_default();
            self.hosts[place] = HostPath::new(inner, now);
            place
        });
        &mut self.hosts[place]
    }

    pub(super) fn hint(&self, inner: IpAddr, initial: u64, now: Instant) -> Hint {
        let host = self.host(inner);
        Hint {
            smoothed: host.and_then(|host| host.smoothed(now)),
            lowest: host.and_then(|host| host.lowest(now)),
            variation: host.and_then(|host| host.variation(now)),
            rate: host.and_then(|host| host.rate(now)),
            first_flight: host.map_or(initial, |host| host.first_flight(initial, self.flight, now)),
            reordering: fresh(self.reordering, now),
            packet_max: self.packet_max(inner, now),
        }
    }

    pub(super) fn learn(&mut self, inner: IpAddr, learnt: &Learnt, now: Instant) {
        self.host_mut(inner, now).learn(learnt, now);
        if let Some(reordering) = learnt.reordering {
            self.reordering = Some(Aged::new(reordering, now));
        }
        if learnt.delivered > 0 || learnt.lost > 0 {
            let known = fresh(self.losses, now).unwrap_or_default();
            self.losses = Some(Aged::new(known.add(learnt.delivered, learnt.lost), now));
        }
        if self.size.is_some_and(|size| size.is_refuted_by(learnt.packet_arrived)) {
            self.size = None;
        }
    }

    pub(super) fn retreat(&mut self, inner: IpAddr, flight: u64, lost: u64, now: Instant) {
        self.host_mut(inner, now).retreat(flight, lost, now);
    }

    pub(super) const fn account(&mut self, before: u64, after: u64) {
        self.flight = self.flight.saturating_sub(before).saturating_add(after);
    }

    /// A size that fits is the tunnel's, unless what was too large for one host has reached another
    /// one lately: then it is of the way behind the peer.
    pub(super) fn handle_size(&mut self, inner: IpAddr, found: FoundSize, now: Instant) -> bool {
        let before = self.packet_max(inner, now);
        self.host_sizes.retain(|(address, size)| *address != inner && size.is_fresh(now));
        let Some(known) = KnownSize::of(found, now) else {
            self.size = None;
            return false;
        };
        let mut others = self.hosts.iter().filter(|host| host.inner != inner);
        let reach_others = others.any(|host| host.has_passed(known.fails, PATH_SIZE_PROVED, now));
        self.host_mut(inner, now).doubt_size();
        if reach_others {
            if self.host_sizes.len() >= PATH_HOSTS_MAX {
                self.host_sizes.remove(0);
            }
            self.host_sizes.push((inner, known));
        } else {
            self.size = Some(known);
        }
        before.is_none_or(|before| found.fits < before)
    }

    pub(super) fn packet_max(&self, inner: IpAddr, now: Instant) -> Option<u16> {
        self.sizes(inner).filter(|size| size.is_fresh(now)).map(|size| size.fits).min()
    }

    fn sizes(&self, inner: IpAddr) -> impl Iterator<Item = &KnownSize> {
        let of_host = self.host_sizes.iter().find(|(address, _)| *address == inner);
        self.size.iter().chain(of_host.map(|(_, size)| size))
    }

    pub(super) fn take_search(&mut self, inner: IpAddr, now: Instant) -> bool {
        let of_host = self.host_sizes.iter_mut().find(|(address, _)| *address == inner);
        let mut is_due = false;
        for size in self.size.iter_mut().chain(of_host.map(|(_, size)| size)) {
            is_due |= size.take_search(now);
        }
        is_due
    }

    /// Forgets all but what its flows have in flight.
    pub(super) fn forget(&mut self) {
        *self = Self { flight: self.flight, ..Self::new(self.peer) };
    }

    pub(super) fn state(&self, now: Instant) -> PathState {
        let latest = self.hosts.iter().max_by_key(|host| host.learnt_at);
        PathState {
            round_trip: latest.and_then(|host| host.smoothed(now)),
            lowest_round_trip: self.hosts.iter().filter_map(|host| host.lowest(now)).min(),
            rate: self.hosts.iter().filter_map(|host| host.rate(now)).max(),
            loss_permille: fresh(self.losses, now).map(LossCount::permille),
            packet_max: self.size.filter(|size| size.is_fresh(now)).map(|size| size.fits),
        }
    }
}
