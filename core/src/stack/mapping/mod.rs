//! UDP and ICMP mappings: which datagrams belong together, who may answer, and for how long.
//!
//! - [`contacts`]: the hosts that a mapping has sent to;
//! - [`hairpin`]: which flow has a port of the host, for peers that reach each other there;
//! - [`queue`]: datagrams that wait for the embedder.

pub(crate) mod contacts;
pub(crate) mod hairpin;
pub(crate) mod queue;

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{Filtering, Mappings};
use crate::path_mtu::PathMtu;
use crate::stack::mapping::contacts::Contacts;
use crate::state::Transfer;
use crate::time::Instant;

/// The DNS port, whose mappings are short-lived.
const DNS_PORT: u16 = 53;

/// One mapping.
#[derive(Debug)]
pub(crate) struct Mapping {
    kind: MappingKind,
    timeout: Duration,
    active_at: Instant,
    pub(crate) transfer: Transfer,
    /// The port that its datagrams leave the host from, once that is known.
    pub(crate) external_port: Option<u16>,
    /// What the way to the far end inside the tunnel carries.
    path_mtu: PathMtu,
}

#[derive(Debug)]
enum MappingKind {
    /// A peer's UDP socket or echo sequence: it speaks with any host (RFC 4787, REQ-1).
    Gateway { contacts: Contacts, filtering: Filtering, use_by_hosts: UseByHosts },
    /// Datagrams of a peer that a rule gives one target, wherever they were meant for.
    Redirected { target: SocketAddr },
    /// A local client of the embedder: it speaks with one target in the tunnel.
    Client,
}

/// Whether what hosts send keeps a mapping open (RFC 4787, REQ-6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UseByHosts {
    /// It does: the peer has asked for it, for nobody else is let in.
    Refreshes,
    /// It does not.
    Ignored,
}

impl Mapping {
    /// A peer's UDP mapping.
    pub(crate) fn udp(config: &Mappings, now: Instant) -> Self {
        let filtering = config.udp_filtering;
        let use_by_hosts = match filtering {
            // Anybody could keep it open.
            Filtering::EndpointIndependent => UseByHosts::Ignored,
            Filtering::Address | Filtering::AddressAndPort => UseByHosts::Refreshes,
        };
        let kind = MappingKind::Gateway { contacts: Contacts::default(), filtering, use_by_hosts };
        Self::new(kind, config.dns_idle_timeout, now)
    }

    /// A peer's echo mapping. Replies come from the address that was asked.
    pub(crate) fn echo(config: &Mappings, now: Instant) -> Self {
        let (filtering, use_by_hosts) = (Filtering::Address, UseByHosts::Ignored);
        let kind = MappingKind::Gateway { contacts: Contacts::default(), filtering, use_by_hosts };
        Self::new(kind, config.icmp_idle_timeout, now)
    }

    /// A peer's UDP mapping for datagrams to `destination` that all go to `target`.
    pub(crate) const fn redirected(
        destination: SocketAddr,
        target: SocketAddr,
        config: &Mappings,
        now: Instant,
    ) -> Self {
        let timeout = match destination.port() {
            DNS_PORT => config.dns_idle_timeout,
            _ => config.udp_idle_timeout,
        };
        Self::new(MappingKind::Redirected { target }, timeout, now)
    }

    /// The mapping of a local client.
    pub(crate) const fn client(config: &Mappings, now: Instant) -> Self {
        Self::new(MappingKind::Client, config.udp_idle_timeout, now)
    }

    const fn new(kind: MappingKind, timeout: Duration, now: Instant) -> Self {
        let transfer = Transfer { bytes_in: 0, bytes_out: 0 };
        let (external_port, path_mtu) = (None, PathMtu::NONE);
        Self { kind, timeout, active_at: now, transfer, external_port, path_mtu }
    }

    /// What the way to the far end carries.
    pub(crate) const fn path_mtu(&self) -> PathMtu {
        self.path_mtu
    }

    /// See [`path_mtu`](Self::path_mtu).
    pub(crate) const fn path_mtu_mut(&mut self) -> &mut PathMtu {
        &mut self.path_mtu
    }

    /// Notes a datagram of the peer (RFC 4787, REQ-6: outbound traffic refreshes), and says who
    /// the embedder is to be told that it is about: the host that it goes to, or for a local client
    /// the one that it comes from. See [`Contacts::note`] for `contacts_max`.
    pub(crate) fn handle_outbound(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        config: &Mappings,
        contacts_max: impl FnOnce() -> usize,
        now: Instant,
    ) -> SocketAddr {
        self.active_at = now;
        match &mut self.kind {
            MappingKind::Gateway { contacts, .. } => {
                contacts.note(destination, contacts_max);
                if destination.port() != DNS_PORT && destination.port() != 0 {
                    self.timeout = config.udp_idle_timeout;
                }
                destination
            }
            MappingKind::Redirected { target } => *target,
            MappingKind::Client => source,
        }
    }

    /// Takes a datagram of a host, if it may go to the peer. Says whether it may.
    pub(crate) fn handle_inbound(&mut self, remote: SocketAddr, now: Instant) -> bool {
        if !self.admits(remote) {
            return false;
        }
        match &mut self.kind {
            MappingKind::Gateway { contacts, filtering, use_by_hosts: UseByHosts::Refreshes } => {
                contacts.use_by(remote, *filtering);
                self.active_at = now;
            }
            MappingKind::Gateway { use_by_hosts: UseByHosts::Ignored, .. } => {}
            MappingKind::Redirected { .. } | MappingKind::Client => self.active_at = now,
        }
        true
    }

    /// Forgets the hosts that the peer may not send to any more. Says how many.
    pub(crate) fn retain(&mut self, may: impl FnMut(SocketAddr) -> bool) -> usize {
        match &mut self.kind {
            MappingKind::Gateway { contacts, .. } => contacts.retain(may),
            MappingKind::Redirected { .. } | MappingKind::Client => 0,
        }
    }

    /// How many hosts it remembers that the peer has sent to.
    pub(crate) fn contacts(&self) -> usize {
        match &self.kind {
            MappingKind::Gateway { contacts, .. } => contacts.len(),
            MappingKind::Redirected { .. } | MappingKind::Client => 0,
        }
    }

    /// Whether there is a host that the peer may send to.
    pub(crate) fn has_contacts(&self) -> bool {
        match &self.kind {
            MappingKind::Gateway { contacts, .. } => contacts.len() > 0,
            MappingKind::Redirected { .. } | MappingKind::Client => true,
        }
    }

    /// Whether a datagram of `remote` may go to the peer (RFC 4787, section 5).
    pub(crate) fn admits(&self, remote: SocketAddr) -> bool {
        match &self.kind {
            MappingKind::Gateway { contacts, filtering, .. } => contacts.admit(remote, *filtering),
            MappingKind::Redirected { target } => *target == remote,
            MappingKind::Client => true,
        }
    }

    /// Whether the peer has sent to `remote` lately.
    pub(crate) fn has_sent_to(&self, remote: SocketAddr) -> bool {
        match &self.kind {
            MappingKind::Gateway { contacts, .. } => contacts.contain(remote),
            MappingKind::Redirected { target } => *target == remote,
            MappingKind::Client => false,
        }
    }

    /// When it was last used in a way that keeps it open.
    pub(crate) const fn active_at(&self) -> Instant {
        self.active_at
    }

    /// When the mapping ends unless it is used.
    pub(crate) fn deadline(&self) -> Instant {
        self.active_at + self.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn host(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn peer() -> SocketAddr {
        host("10.0.0.2:5000")
    }

    fn mapping(filtering: Filtering) -> (Mapping, Mappings) {
        let config = Mappings { udp_filtering: filtering, ..Mappings::default() };
        (Mapping::udp(&config, at(0)), config)
    }

    #[test]
    fn rfc4787_req_8_filtering_is_as_configured() {
        let admitted = |filtering| {
            let (mut mapping, config) = mapping(filtering);
            mapping.handle_outbound(peer(), host("192.0.2.1:1000"), &config, || 64, at(0));
            ["192.0.2.1:1000", "192.0.2.1:2000", "192.0.2.2:1000"]
                .map(|remote| mapping.admits(host(remote)))
        };
        assert_eq!(admitted(Filtering::EndpointIndependent), [true, true, true]);
        assert_eq!(admitted(Filtering::Address), [true, true, false]);
        assert_eq!(admitted(Filtering::AddressAndPort), [true, false, false]);
    }

    #[test]
    fn rfc4787_req_5_only_dns_mappings_are_short_lived() {
        let (mut mapping, config) = mapping(Filtering::Address);
        mapping.handle_outbound(peer(), host("192.0.2.1:53"), &config, || 64, at(10));
        assert_eq!(mapping.deadline(), at(40));
        mapping.handle_outbound(peer(), host("192.0.2.1:123"), &config, || 64, at(20));
        assert_eq!(mapping.deadline(), at(320));
        mapping.handle_outbound(peer(), host("192.0.2.1:53"), &config, || 64, at(30));
        assert_eq!(mapping.deadline(), at(330));
    }

    #[test]
    fn rfc4787_req_6_what_the_filter_admits_keeps_a_mapping_unless_it_admits_everybody() {
        let deadline = |filtering| {
            let (mut mapping, config) = mapping(filtering);
            mapping.handle_outbound(peer(), host("192.0.2.1:123"), &config, || 64, at(0));
            assert!(mapping.handle_inbound(host("192.0.2.1:123"), at(200)));
            mapping.handle_inbound(host("192.0.2.2:123"), at(250));
            mapping.deadline()
        };
        assert_eq!(deadline(Filtering::EndpointIndependent), at(300));
        assert_eq!(deadline(Filtering::Address), at(500));
        assert_eq!(deadline(Filtering::AddressAndPort), at(500));
    }

    #[test]
    fn redirected_questions_to_a_resolver_are_short_lived_too() {
        let (_, config) = mapping(Filtering::Address);
        let deadline = |destination| {
            let target = host("127.0.0.1:5353");
            Mapping::redirected(host(destination), target, &config, at(0)).deadline()
        };
        assert_eq!([deadline("192.0.2.1:53"), deadline("192.0.2.1:123")], [at(30), at(300)]);
    }
}
