//! What the stack needs of the tunnel.

use std::net::IpAddr;
use std::sync::Arc;

use crate::event::Event;
use crate::id::{Identity, PeerId};
use crate::routing::Route;
use crate::stats::Counter;

/// What the stack needs of the tunnel.
pub(crate) trait Outlet {
    /// Whether bulk may be sent. Answers may always be tried.
    fn has_room(&mut self) -> bool;

    /// Sends the packet `buffer[..len]`; at least 15 bytes follow it, which are overwritten.
    fn send(&mut self, peer: PeerId, buffer: &mut [u8], len: usize);

    /// Who owns an address.
    fn route(&self, destination: IpAddr) -> Option<Route>;

    /// Bytes of the largest packet that the way to a peer's endpoint carries in one datagram: the
    /// tunnel's MTU or less, and at least [`MTU_MIN`](crate::config::MTU_MIN).
    fn path_mtu(&mut self, peer: PeerId) -> u16;

    /// Who a peer is.
    fn identity(&self, peer: PeerId) -> Option<Arc<Identity>>;

    /// Whether anybody hears of events, so that it is worth while to find out what to tell.
    fn is_observed(&self) -> bool;

    /// Lets whoever listens hear of an event.
    fn tell(&mut self, event: Event<'_>);

    /// Counts something of a peer.
    fn count(&mut self, peer: PeerId, counter: Counter);
}

/// What a packet leaves through: the tunnel, and the buffer that it is written in.
pub(crate) struct Exit<'a> {
    pub(crate) outlet: &'a mut dyn Outlet,
    pub(crate) scratch: &'a mut [u8],
}
