//! Where datagrams to a target lead, as the kernel has said: it is not asked for each of them.
//!
//! The port belongs to the target, since a rule of the host may route by it (`ip rule add dport`).

use std::collections::HashMap;
use std::mem;
use std::net::SocketAddr;

use slipwire_core::Protocol;

use crate::netlink::RouteKind;

/// Targets of a generation.
const GENERATION_MAX: usize = 4096;

type Generation = HashMap<(Protocol, SocketAddr), RouteKind>;

/// The targets of all peers, in two generations: when the young one is full the old one is
/// forgotten. A target that is in use comes back from there in time, so that one peer with
/// thousands of them, each for a datagram or two, costs the others nothing but that.
#[derive(Debug, Default)]
pub(crate) struct RouteCache {
    young: Generation,
    old: Generation,
}

impl RouteCache {
    pub(crate) fn find(&mut self, protocol: Protocol, target: SocketAddr) -> Option<RouteKind> {
        if let Some(route) = self.young.get(&(protocol, target)) {
            return Some(*route);
        }
        let route = self.old.remove(&(protocol, target))?;
        self.remember(protocol, target, route);
        Some(route)
    }

    pub(crate) fn remember(&mut self, protocol: Protocol, target: SocketAddr, route: RouteKind) {
        if self.young.len() >= GENERATION_MAX {
            mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert((protocol, target), route);
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(number: u32) -> SocketAddr {
        SocketAddr::new(number.to_be_bytes().into(), 53)
    }

    #[test]
    fn a_target_in_use_is_known_beside_a_peer_with_ten_thousands_of_others() {
        let mut routes = RouteCache::default();
        routes.remember(Protocol::Udp, target(0), RouteKind::Remote);
        for number in 1..50_000 {
            routes.remember(Protocol::Udp, target(number), RouteKind::Local);
            if number.is_multiple_of(1_000) {
                assert_eq!(
                    routes.find(Protocol::Udp, target(0)),
                    Some(RouteKind::Remote),
                    "{number}"
                );
            }
            assert!(routes.young.len() + routes.old.len() <= 2 * GENERATION_MAX);
        }
        assert_eq!(routes.find(Protocol::Udp, target(1)), None, "it is of long ago");
        routes.clear();
        assert_eq!(routes.find(Protocol::Udp, target(0)), None);
    }

    #[test]
    fn ports_and_protocols_are_told_apart() {
        let mut routes = RouteCache::default();
        routes.remember(Protocol::Udp, target(1), RouteKind::Remote);
        assert_eq!(routes.find(Protocol::Icmp, target(1)), None);
        assert_eq!(routes.find(Protocol::Udp, SocketAddr::new(target(1).ip(), 54)), None);
        assert_eq!(routes.find(Protocol::Udp, target(1)), Some(RouteKind::Remote));
    }
}
