//! The tunnel as the stack sees it.

use std::net::IpAddr;
use std::sync::Arc;

use crate::egress::Egress;
use crate::event::Event;
use crate::id::{Identity, PeerId};
use crate::monitor::Monitor;
use crate::routing::Route;
use crate::stack::outlet::Outlet;
use crate::stats::Counter;
use crate::tap::{Direction, Tap};
use crate::tape::Recorder;
use crate::time::Instant;
use crate::tunnel::Tunnel;

/// The tunnel as the stack sees it.
pub(super) struct Wire<'a> {
    pub(super) tunnel: &'a mut Tunnel,
    pub(super) egress: &'a mut Egress,
    pub(super) monitor: &'a mut Monitor,
    pub(super) tap: Option<&'a mut (dyn Tap + 'static)>,
    pub(super) tape: Option<&'a mut Recorder>,
    pub(super) now: Instant,
}

impl Wire<'_> {
    /// Lets the tap hear a packet to a peer.
    fn tap(&mut self, peer: PeerId, packet: &[u8]) {
        if let Some(tap) = &mut self.tap
            && let Some(identity) = self.tunnel.identity(peer)
        {
            tap.packet(peer, identity, Direction::Out, packet, self.now);
        }
    }
}

impl Outlet for Wire<'_> {
    fn has_room(&mut self) -> bool {
        let has_room = self.egress.has_room();
        if let Some(tape) = &mut self.tape {
            tape.answer_room(has_room);
        }
        has_room
    }

    fn send(&mut self, peer: PeerId, buffer: &mut [u8], len: usize) {
        let packet = &buffer[..len.min(buffer.len())];
        self.tap(peer, packet);
        if let Some(tape) = &mut self.tape {
            tape.packet(peer, packet);
        }
        self.tunnel.send(peer, buffer, len, self.egress, self.monitor, self.now);
    }

    fn route(&self, destination: IpAddr) -> Option<Route> {
        self.tunnel.route(destination)
    }

    fn path_mtu(&mut self, peer: PeerId) -> u16 {
        let path_mtu = self.tunnel.path_mtu(peer, self.now);
        if let Some(tape) = &mut self.tape {
            tape.answer_path_mtu(path_mtu);
        }
        path_mtu
    }

    fn identity(&self, peer: PeerId) -> Option<Arc<Identity>> {
        self.tunnel.identity(peer).cloned()
    }

    fn is_observed(&self) -> bool {
        self.monitor.is_observed()
    }

    fn tell(&mut self, event: Event<'_>) {
        self.monitor.tell(event, self.now);
    }

    fn count(&mut self, peer: PeerId, counter: Counter) {
        self.tunnel.count(peer, counter, self.monitor);
        if let Some(tape) = &mut self.tape {
            tape.count(counter);
        }
    }
}
