//! Where a peer is reached: addresses to try, roaming, and names that have to be resolved.
//!
//! Data goes where the peer was last heard from (authenticated) and nowhere else. Handshakes that
//! are not answered try other addresses too: whoever answers from one is the peer, and is heard
//! there. The resolving is the embedder's; when to ask for it is decided here, and when to try
//! another address by the peer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config;
use crate::egress::DatagramWay;
use crate::limits::ENDPOINT_ADDRESSES_MAX;
use crate::time::Instant;

/// The wait before a name that did not resolve is tried again doubles from here ...
const RETRY_MIN: Duration = Duration::from_secs(1);
/// ... up to here.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The endpoint of one peer.
#[derive(Debug)]
pub(super) struct PeerEndpoint {
    name: Option<(String, u16)>,
    /// The configured address, or what the name resolved to.
    configured: Vec<SocketAddr>,
    /// Where the peer was last heard from.
    heard: Option<SocketAddr>,
    /// Where handshakes go, if not there.
    tried: Option<SocketAddr>,
    /// Our address that the peer last wrote to.
    local: Option<IpAddr>,
    /// The path that was last in use, since the peer was heard.
    path: Option<PathEnds>,
    /// Whether it is another one than was told.
    has_moved: bool,
    /// Whether what is in use is to be left as soon as the name, which is a new one, resolves.
    is_leaving: bool,
    question: ResolveQuestion,
    retry: Duration,
}

/// What makes a path another one. A port does not: it is new when a NAT has forgotten the old one,
/// and the way is the same (RFC 9000, section 9.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PathEnds {
    remote: IpAddr,
    /// `None` if the system did not say.
    local: Option<IpAddr>,
}

/// Whether the embedder has to resolve the name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ResolveQuestion {
    None,
    Open,
    Asked,
    Later(Instant),
}

/// What an answer of the embedder has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resolution {
    /// There is an address now, where there was none.
    Found,
    /// There is none, and this is the first time that it was asked for in vain.
    Failed,
    /// Nothing that matters before the next attempt.
    Unchanged,
}

impl PeerEndpoint {
    /// An endpoint as configured. A name is to be resolved at once.
    pub(super) fn new(endpoint: Option<&config::Endpoint>) -> Self {
        let (name, address) = match endpoint {
            Some(config::Endpoint::Name { host, port }) => (Some((host.clone(), *port)), None),
            Some(config::Endpoint::Address(address)) => (None, Some(*address)),
            None => (None, None),
        };
        Self {
            question: if name.is_some() { ResolveQuestion::Open } else { ResolveQuestion::None },
            name,
            configured: address.into_iter().collect(),
            heard: None,
            tried: address,
            local: None,
            path: None,
            has_moved: false,
            is_leaving: false,
            retry: RETRY_MIN,
        }
    }

    /// Has the peer be found elsewhere from now on, and with a name as soon as it is resolved.
    /// Without any it stays where it was heard.
    pub(super) fn change(&mut self, endpoint: Option<&config::Endpoint>) {
        let last = std::mem::replace(self, Self::new(endpoint));
        (self.path, self.has_moved) = (last.path, last.has_moved);
        match endpoint {
            Some(config::Endpoint::Address(_)) => {}
            Some(config::Endpoint::Name { .. }) => {
                (self.heard, self.local) = (last.in_use(), last.local);
                self.is_leaving = true;
            }
            None => (self.heard, self.local) = (last.heard, last.local),
        }
        self.follow_path();
    }

    /// Takes note of where data goes now, if the peer was ever heard.
    fn follow_path(&mut self) {
        let Some(remote) = self.in_use().map(|address| address.ip()) else { return };
        let Some(before) = self.path else { return };
        let is_same = before.remote == remote;
        let local = self.local.or(before.local.filter(|_| is_same));
        let is_elsewhere = before.local.is_some() && local.is_some() && local != before.local;
        self.has_moved |= !is_same || is_elsewhere;
        self.path = Some(PathEnds { remote, local });
    }

    /// Says once that the path is another one: the peer's address or ours has changed.
    pub(super) const fn take_move(&mut self) -> bool {
        let has_moved = self.has_moved;
        self.has_moved = false;
        has_moved
    }

    /// The name to resolve, if it is one.
    pub(super) fn name(&self) -> Option<(&str, u16)> {
        self.name.as_ref().map(|(host, port)| (host.as_str(), *port))
    }

    /// Where data goes; before the peer was ever heard, where it is to be found, as far as is
    /// known.
    pub(super) fn in_use(&self) -> Option<SocketAddr> {
        self.heard.or(self.tried)
    }

    /// The way of data, and of everything else that answers what the peer was heard to say.
    pub(super) fn way(&self) -> Option<DatagramWay> {
        self.in_use().map(|to| DatagramWay { from: self.local, ..DatagramWay::from(to) })
    }

    /// The way of our own handshakes.
    pub(super) fn handshake_way(&self) -> Option<DatagramWay> {
        // If the last one was lost our own address may be what is wrong: the system chooses anew.
        self.tried.map(DatagramWay::from).or_else(|| self.way())
    }

    /// Whether the configuration says where the peer is, so that it should answer.
    pub(super) fn is_configured(&self) -> bool {
        self.name.is_some() || !self.configured.is_empty()
    }

    /// Follows the peer to where an authenticated message came from. Returns whether that is a
    /// new place.
    pub(super) fn roam(&mut self, source: SocketAddr, local: Option<IpAddr>) -> bool {
        let moved = self.heard != Some(source);
        let is_same = !moved && self.local == local;
        self.heard = Some(source);
        self.tried = None;
        self.local = local;
        if !is_same {
            self.path.get_or_insert(PathEnds { remote: source.ip(), local });
            self.follow_path();
        }
        moved
    }

    /// Has handshakes try the next address, as the last one was not answered: where the peer was
    /// last heard from, and what is configured, in turn.
    pub(super) fn try_next(&mut self) {
        let heard = self.heard;
        let last = self.tried.or(heard);
        let others = self.configured.iter().copied().filter(|address| Some(*address) != heard);
        let mut turn = heard.into_iter().chain(others);
        let first = turn.clone().next();
        let next = turn.by_ref().find(|address| Some(*address) == last).and_then(|_| turn.next());
        self.tried = next.or(first);
    }

    /// Asks for the name to be resolved, unless that is under way or was tried just now.
    pub(super) fn ask(&mut self) {
        if self.name.is_some() && self.question == ResolveQuestion::None {
            self.question = ResolveQuestion::Open;
        }
    }

    /// Says once that the embedder has to resolve the name.
    pub(super) fn take_question(&mut self) -> bool {
        let open = self.question == ResolveQuestion::Open;
        if open {
            self.question = ResolveQuestion::Asked;
        }
        open
    }

    /// Takes the addresses that the name resolved to. An address in use stays in use, as the
    /// peer may well be there, unless it is of an endpoint before this one.
    pub(super) fn handle_resolved(&mut self, addresses: &[SocketAddr], now: Instant) -> Resolution {
        if self.name.is_none() {
            return Resolution::Unchanged;
        }
        let was_known = self.in_use().is_some() && !self.is_leaving;
        if let Some(first) = addresses.first() {
            self.configured.clear();
            self.configured.extend(addresses.iter().take(ENDPOINT_ADDRESSES_MAX));
            if !was_known {
                (self.heard, self.local, self.tried) = (None, None, Some(*first));
                self.is_leaving = false;
                self.follow_path();
            }
        }
        if self.in_use().is_some() && !self.is_leaving {
            // Whoever finds it silent asks again.
            self.question = ResolveQuestion::None;
            self.retry = RETRY_MIN;
            return if was_known { Resolution::Unchanged } else { Resolution::Found };
        }
        let is_first = self.retry == RETRY_MIN;
        self.question = ResolveQuestion::Later(now + self.retry);
        self.retry = (self.retry * 2).min(RETRY_MAX);
        if is_first { Resolution::Failed } else { Resolution::Unchanged }
    }

    /// Opens the question again when its wait is over.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.question, ResolveQuestion::Later(at) if at <= now) {
            self.question = ResolveQuestion::Open;
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self.question {
            ResolveQuestion::Later(at) => Some(at),
            ResolveQuestion::None | ResolveQuestion::Open | ResolveQuestion::Asked => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "192.0.2.1:51820";
    const V6: &str = "[2001:db8::1]:51820";
    const ROAMED: &str = "198.51.100.7:4000";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn named() -> PeerEndpoint {
        let name = config::Endpoint::Name { host: "vpn.example.com".into(), port: 51820 };
        PeerEndpoint::new(Some(&name))
    }

    #[test]
    fn a_name_is_asked_for_once_until_it_is_answered() {
        let mut endpoint = named();
        assert!(endpoint.take_question());
        endpoint.ask();
        assert!(!endpoint.take_question());
        endpoint.handle_resolved(&[address(V4)], Instant::ZERO);
        assert_eq!(endpoint.in_use(), Some(address(V4)));
        assert!(!endpoint.take_question());
        endpoint.ask();
        assert!(endpoint.take_question());
    }

    #[test]
    fn a_name_that_does_not_resolve_is_asked_for_again_with_growing_waits() {
        let mut endpoint = named();
        let mut now = Instant::ZERO;
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert!(endpoint.take_question());
            endpoint.handle_resolved(&[], now);
            endpoint.ask();
            assert!(!endpoint.take_question());
            let due = endpoint.deadline().unwrap();
            waits.push(due.saturating_duration_since(now).as_secs());
            now = due;
            endpoint.handle_timeout(now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn a_failed_question_keeps_the_addresses_known_before() {
        let mut endpoint = named();
        endpoint.handle_resolved(&[address(V6), address(V4)], Instant::ZERO);
        endpoint.handle_resolved(&[], Instant::ZERO);
        assert_eq!((endpoint.in_use(), endpoint.deadline()), (Some(address(V6)), None));
        endpoint.try_next();
        assert_eq!(endpoint.in_use(), Some(address(V4)));
    }

    #[test]
    fn addresses_are_tried_in_turn() {
        let mut endpoint = named();
        endpoint.handle_resolved(&[address(V6), address(V4)], Instant::ZERO);
        endpoint.roam(address(ROAMED), Some("10.0.0.1".parse().unwrap()));
        let way = endpoint.way();
        assert_eq!(endpoint.handshake_way(), way);
        let mut tried = Vec::new();
        for _ in 0..4 {
            endpoint.try_next();
            let DatagramWay { to, from, .. } = endpoint.handshake_way().unwrap();
            assert_eq!(from, None);
            tried.push(to.to_string());
        }
        assert_eq!(tried, [V6, V4, ROAMED, V6]);
        assert_eq!(endpoint.way(), way, "data stays with the peer");
        endpoint.roam(address(V4), None);
        assert_eq!(endpoint.in_use(), Some(address(V4)));
        assert_eq!(endpoint.handshake_way(), endpoint.way());
    }

    #[test]
    fn an_address_that_the_name_lost_is_left() {
        let mut endpoint = named();
        endpoint.handle_resolved(&[address(V6)], Instant::ZERO);
        endpoint.handle_resolved(&[address(V4)], Instant::ZERO);
        assert_eq!(endpoint.in_use(), Some(address(V6)));
        endpoint.try_next();
        assert_eq!(endpoint.in_use(), Some(address(V4)));
    }

    #[test]
    fn another_address_is_used_at_once() {
        let mut endpoint = named();
        endpoint.handle_resolved(&[address(V6)], Instant::ZERO);
        endpoint.roam(address(ROAMED), Some("10.0.0.1".parse().unwrap()));
        endpoint.change(Some(&config::Endpoint::Address(address(V4))));
        assert_eq!(endpoint.way(), Some(DatagramWay::from(address(V4))));
        assert!(endpoint.name().is_none() && !endpoint.take_question());
        let late = endpoint.handle_resolved(&[address(V6)], Instant::ZERO);
        assert_eq!((late, endpoint.in_use()), (Resolution::Unchanged, Some(address(V4))));
    }

    #[test]
    fn another_name_is_used_once_it_resolves() {
        let mut endpoint = PeerEndpoint::new(Some(&config::Endpoint::Address(address(V4))));
        endpoint.roam(address(ROAMED), None);
        let name = config::Endpoint::Name { host: "new.example.com".into(), port: 51820 };
        endpoint.change(Some(&name));
        assert_eq!(endpoint.in_use(), Some(address(ROAMED)), "there is no better place yet");
        assert!(endpoint.take_question());
        assert_eq!(endpoint.handle_resolved(&[], Instant::ZERO), Resolution::Failed);
        assert_eq!(endpoint.in_use(), Some(address(ROAMED)));
        let due = endpoint.deadline().unwrap();
        endpoint.handle_timeout(due);
        assert!(endpoint.take_question(), "it is asked for until it resolves");
        let resolved = endpoint.handle_resolved(&[address(V6), address(V4)], Instant::ZERO);
        assert_eq!((resolved, endpoint.in_use()), (Resolution::Found, Some(address(V6))));
        endpoint.roam(address(ROAMED), None);
        let again = endpoint.handle_resolved(&[address(V4)], Instant::ZERO);
        assert_eq!((again, endpoint.in_use()), (Resolution::Unchanged, Some(address(ROAMED))));
    }

    #[test]
    fn a_peer_whose_endpoint_is_not_known_any_more_stays_where_it_was_heard() {
        let mut endpoint = named();
        endpoint.handle_resolved(&[address(V6)], Instant::ZERO);
        endpoint.roam(address(ROAMED), None);
        endpoint.change(None);
        assert_eq!((endpoint.in_use(), endpoint.is_configured()), (Some(address(ROAMED)), false));
        let mut unheard = PeerEndpoint::new(Some(&config::Endpoint::Address(address(V4))));
        unheard.change(None);
        assert_eq!(unheard.in_use(), None);
    }

    #[test]
    fn another_address_of_either_end_is_another_path_and_another_port_is_not() {
        let mut endpoint = named();
        endpoint.handle_resolved(&[address(V4)], Instant::ZERO);
        let (own, other) = ("10.0.0.1".parse().ok(), "10.0.0.2".parse().ok());
        for (source, local, is_another) in [
            (V4, None, false),
            (V4, own, false),
            ("192.0.2.1:9", own, false),
            (V4, None, false),
            (V4, own, false),
            (V4, other, true),
            (V6, None, true),
            (V6, own, false),
            (ROAMED, other, true),
        ] {
            endpoint.roam(address(source), local);
            assert_eq!(endpoint.take_move(), is_another, "{source} to {local:?}");
            assert!(!endpoint.take_move(), "it is said once");
        }
        endpoint.change(None);
        assert!(!endpoint.take_move(), "it stays where it is");
        endpoint.change(Some(&config::Endpoint::Address(address(V4))));
        assert!(endpoint.take_move());
        let name = config::Endpoint::Name { host: "new.example.com".into(), port: 51820 };
        endpoint.change(Some(&name));
        assert!(!endpoint.take_move());
        endpoint.handle_resolved(&[address(V6)], Instant::ZERO);
        assert!(endpoint.take_move());
    }

    #[test]
    fn a_peer_without_any_address_has_none_to_try() {
        let mut endpoint = PeerEndpoint::new(None);
        endpoint.try_next();
        endpoint.ask();
        assert_eq!((endpoint.in_use(), endpoint.take_question()), (None, false));
    }

    #[test]
    fn more_addresses_than_can_be_tried_are_not_kept() {
        let mut endpoint = named();
        let many: Vec<_> = (1..=100).map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
        endpoint.handle_resolved(&many, Instant::ZERO);
        assert_eq!(endpoint.configured.len(), ENDPOINT_ADDRESSES_MAX);
    }
}
