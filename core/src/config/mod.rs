//! Typed configuration. Whoever holds a [`Config`] holds a valid one: [`Config::new`] is the only
//! way to it and reports every contradiction at once.
//!
//! Reading files, units and defaults that depend on the system belong to the embedder.

mod error;
pub(crate) mod peer;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::peer::{Others, conflicts};
use crate::errors::Errors;
use crate::key::{PrivateKey, PublicKey};
use crate::limits::{Limits, MEMORY_MIN};
use crate::rules::{RULES_MAX, Rule};

pub use error::{Buffer, ConfigError, ConfigErrors, ConfigTimer, Limit};
pub use peer::{Endpoint, Peer, PeerConflict, PeerConflicts};

/// The smallest tunnel MTU: what every IPv4 host must take (RFC 1122, section 3.3.3).
pub const MTU_MIN: u16 = 576;

/// The largest tunnel MTU: a datagram of 65,507 bytes less WireGuard's 32, rounded down.
pub const MTU_MAX: u16 = 65_456;

/// The smallest ring of a TCP flow, in bytes.
pub const BUFFER_MIN: usize = 4 << 10;

/// The largest ring of a TCP flow, in bytes.
pub const BUFFER_MAX: usize = 1 << 30;

/// The MTU below which a link carries no IPv6 (RFC 8200, section 5).
pub const MTU_IPV6_MIN: u16 = 1280;

/// This end of the tunnel.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Our identity.
    pub private_key: PrivateKey,
    /// Our addresses inside the tunnel, each with the prefix of its network.
    pub addresses: Vec<IpNet>,
    /// The largest IP packet that the tunnel carries, [`MTU_MIN`] to [`MTU_MAX`] bytes.
    pub mtu: u16,
}

/// What happens to a flow that no rule matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DefaultAction {
    /// Offered to the embedder with its original destination as the target.
    Relay,
    /// Answered with a reset or "administratively prohibited".
    Reject,
    /// Not answered.
    Drop,
}

/// What peers may reach through this end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gateway {
    /// Rules, of which the first that matches decides; at most [`RULES_MAX`].
    pub rules: Vec<Rule>,
    /// For flows that no rule matches.
    pub default: DefaultAction,
    /// Whether peers reach each other's allowed IPs.
    pub peer_to_peer: bool,
    /// Prefixes that always leave through the host, never to another peer.
    pub overlay_exclude: Vec<IpNet>,
    /// Addresses of this host that no peer may reach through it, beside those that are protected
    /// by their kind (loopback, link-local, multicast ...).
    pub host_addresses: Vec<IpAddr>,
}

/// Buffers and timers of TCP flows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tcp {
    /// Bytes of each flow's receive ring (peer to host), [`BUFFER_MIN`] to [`BUFFER_MAX`]. Reserved,
    /// not touched.
    pub receive_buffer: usize,
    /// Bytes of each flow's send ring (host to peer), as above.
    pub send_buffer: usize,
    /// How long the embedder's connect may take: by default about as long as that of a kernel.
    pub connect_timeout: Duration,
    /// How long an established flow may stay silent (RFC 5382, REQ-5).
    pub idle_timeout: Duration,
    /// How long a peer may take to complete its handshake.
    pub half_open_timeout: Duration,
    /// The interval of keepalives inside the tunnel on a silent flow.
    pub keepalive: Duration,
    /// What a peer hears of a connection that its target refused.
    pub refused: RefusedAnswer,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            receive_buffer: 1 << 20,
            send_buffer: 1 << 20,
            connect_timeout: Duration::from_secs(120),
            idle_timeout: Duration::from_secs(2 * 3600 + 4 * 60),
            half_open_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(75),
            refused: RefusedAnswer::Reset,
        }
    }
}

/// What a peer hears of a connection that its target refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RefusedAnswer {
    /// A reset, as from the target itself.
    Reset,
    /// ICMP "port unreachable".
    Icmp,
    /// Nothing.
    Drop,
}

/// Timers of UDP and ICMP mappings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mappings {
    /// How long a UDP mapping lives without outbound traffic (RFC 4787, REQ-5).
    pub udp_idle_timeout: Duration,
    /// The same for mappings that only ever spoke to port 53.
    pub dns_idle_timeout: Duration,
    /// Which hosts may answer through a UDP mapping.
    pub udp_filtering: Filtering,
    /// How long an ICMP query mapping lives (RFC 5508, REQ-2).
    pub icmp_idle_timeout: Duration,
}

impl Default for Mappings {
    fn default() -> Self {
        Self {
            udp_idle_timeout: Duration::from_secs(300),
            dns_idle_timeout: Duration::from_secs(30),
            udp_filtering: Filtering::Address,
            icmp_idle_timeout: Duration::from_secs(60),
        }
    }
}

/// Which hosts may send to a UDP mapping (RFC 4787, section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Filtering {
    /// Any host.
    EndpointIndependent,
    /// Any port of an address that the peer has sent to.
    Address,
    /// Only an address and port that the peer has sent to.
    AddressAndPort,
}

/// The parts of a configuration before they are checked against each other.
#[derive(Clone, Debug)]
pub struct Parts {
    /// This end of the tunnel.
    pub interface: Interface,
    /// Everybody at the other end.
    pub peers: Vec<Peer>,
    /// What peers may reach; without it they reach nothing.
    pub gateway: Option<Gateway>,
    /// TCP flows.
    pub tcp: Tcp,
    /// UDP and ICMP mappings.
    pub mappings: Mappings,
    /// Bounds of everything.
    pub limits: Limits,
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config(Parts);

impl Config {
    /// Checks the parts against each other.
    ///
    /// # Errors
    /// Every contradiction there is, in the order of the parts.
    pub fn new(parts: Parts) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        check_interface(&parts.interface, &mut errors);
        check_peers(&parts, &mut errors);
        let rules = parts.gateway.as_ref().map_or(&[][..], |gateway| &gateway.rules);
        errors.extend(rule_errors(rules));
        check_tcp(&parts.tcp, &mut errors);
        check_mappings(&parts.mappings, &mut errors);
        errors.extend(limit_errors(&parts.limits));
        Errors::none_of(errors).map(|()| Self(parts))
    }

    /// The checked parts.
    pub const fn parts(&self) -> &Parts {
        &self.0
    }

    /// Lowers the number of host sockets to what the system has descriptors for.
    pub fn limit_sockets(&mut self, sockets: usize) {
        let limit = &mut self.0.limits.sockets;
        *limit = sockets.min(*limit);
    }

    /// The peer that owns an inner address: the one with the longest matching prefix.
    pub fn owner(&self, address: IpAddr) -> Option<&Peer> {
        self.route(address).map(|(_, peer)| peer)
    }

    /// The peer that owns an inner address, and by which prefix.
    pub(crate) fn route(&self, address: IpAddr) -> Option<(&IpNet, &Peer)> {
        self.0
            .peers
            .iter()
            .flat_map(|peer| peer.allowed_ips.iter().map(move |prefix| (prefix, peer)))
            .filter(|(prefix, _)| prefix.contains(&address))
            .max_by_key(|(prefix, _)| prefix.prefix_len())
    }
}

fn check_interface(interface: &Interface, errors: &mut Vec<ConfigError>) {
    let mtu = interface.mtu;
    if !(MTU_MIN..=MTU_MAX).contains(&mtu) {
        errors.push(ConfigError::MtuOutOfRange { mtu });
    } else if mtu < MTU_IPV6_MIN && interface.addresses.iter().any(|a| a.addr().is_ipv6()) {
        errors.push(ConfigError::MtuTooSmallForIpv6 { mtu });
    }
}

fn check_peers(parts: &Parts, errors: &mut Vec<ConfigError>) {
    let Interface { private_key, addresses, .. } = &parts.interface;
    let own_key = private_key.public_key();
    for (place, peer) in parts.peers.iter().enumerate() {
        let earlier = &parts.peers[..place];
        let conflicts = conflicts(peer, &own_key, addresses, earlier).into_iter();
        errors.extend(conflicts.map(|conflict| ConfigError::Peer { peer: place, conflict }));
    }
}

impl Others for [Peer] {
    type Id = usize;

    fn with_key(&self, key: &PublicKey) -> Option<usize> {
        self.iter().position(|peer| peer.public_key == *key)
    }

    fn with_name(&self, name: &str) -> Option<usize> {
        self.iter().position(|peer| peer.name == name)
    }

    fn with_prefix(&self, prefix: IpNet) -> Option<usize> {
        self.iter().position(|peer| peer.allowed_ips.iter().any(|other| other.trunc() == prefix))
    }
}

/// Checks a list of rules.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn check_rules(rules: &[Rule]) -> Result<(), ConfigErrors> {
    Errors::none_of(rule_errors(rules))
}

fn rule_errors(rules: &[Rule]) -> impl Iterator<Item = ConfigError> {
    let count = rules.len();
    let too_many = (count > RULES_MAX).then_some(ConfigError::TooManyRules { rules: count });
    let wrong = rules.iter().enumerate().flat_map(|(place, rule)| {
        let errors = rule.errors().into_iter();
        errors.map(move |error| ConfigError::Rule { rule: place, error })
    });
    too_many.into_iter().chain(wrong)
}

fn check_tcp(tcp: &Tcp, errors: &mut Vec<ConfigError>) {
    let buffers = [(Buffer::Receive, tcp.receive_buffer), (Buffer::Send, tcp.send_buffer)];
    let wrong = buffers.into_iter().filter(|(_, bytes)| !(BUFFER_MIN..=BUFFER_MAX).contains(bytes));
    errors.extend(wrong.map(|(buffer, bytes)| ConfigError::BufferOutOfRange { buffer, bytes }));
    let timers = [
        (ConfigTimer::TcpConnect, tcp.connect_timeout),
        (ConfigTimer::TcpIdle, tcp.idle_timeout),
        (ConfigTimer::TcpHalfOpen, tcp.half_open_timeout),
        (ConfigTimer::TcpKeepalive, tcp.keepalive),
    ];
    check_timers(&timers, errors);
}

fn check_mappings(mappings: &Mappings, errors: &mut Vec<ConfigError>) {
    let timers = [
        (ConfigTimer::UdpIdle, mappings.udp_idle_timeout),
        (ConfigTimer::DnsIdle, mappings.dns_idle_timeout),
        (ConfigTimer::IcmpIdle, mappings.icmp_idle_timeout),
    ];
    check_timers(&timers, errors);
}

fn check_timers(timers: &[(ConfigTimer, Duration)], errors: &mut Vec<ConfigError>) {
    let zero = timers.iter().filter(|(_, duration)| duration.is_zero());
    errors.extend(zero.map(|(timer, _)| ConfigError::ZeroTimer { timer: *timer }));
}

fn limit_errors(limits: &Limits) -> impl Iterator<Item = ConfigError> {
    let least = [
        (Limit::TcpFlows, limits.tcp_flows, 1),
        (Limit::UdpFlows, limits.udp_flows, 1),
        (Limit::IcmpFlows, limits.icmp_flows, 1),
        (Limit::HalfOpen, limits.half_open, 1),
        (Limit::Memory, limits.memory, MEMORY_MIN),
    ];
    let too_low = least.into_iter().filter(|(_, value, min)| value < min);
    let too_low = too_low.map(|(limit, _, min)| ConfigError::LimitTooLow { limit, min });
    let part = ConfigError::LimitAboveOther { limit: Limit::HalfOpen, whole: Limit::TcpFlows };
    too_low.chain((limits.half_open > limits.tcp_flows).then_some(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> PrivateKey {
        PrivateKey::from_entropy([byte; 32])
    }

    fn peer(name: &str, byte: u8, allowed_ips: &[&str]) -> Peer {
        Peer {
            name: name.into(),
            public_key: key(byte).public_key(),
            preshared_key: None,
            allowed_ips: allowed_ips.iter().map(|p| p.parse().unwrap()).collect(),
            endpoint: None,
            persistent_keepalive: None,
        }
    }

    fn parts(peers: Vec<Peer>) -> Parts {
        Parts {
            interface: Interface {
                private_key: key(1),
                addresses: vec!["10.0.0.1/24".parse().unwrap()],
                mtu: 1420,
            },
            peers,
            gateway: None,
            tcp: Tcp::default(),
            mappings: Mappings::default(),
            limits: Limits::default(),
        }
    }

    #[test]
    fn an_endpoint_is_shown_as_it_is_written() {
        let name = |host: &str| Endpoint::Name { host: host.into(), port: 7 }.to_string();
        assert_eq!(name("vpn.example.com"), "vpn.example.com:7");
        assert_eq!(name("fe80::1%eth0"), "[fe80::1%eth0]:7");
    }

    #[test]
    fn the_longest_prefix_owns_an_address() {
        let peers = vec![peer("wide", 2, &["10.0.0.0/8"]), peer("narrow", 3, &["10.1.0.0/16"])];
        let config = Config::new(parts(peers)).unwrap();
        let owner =
            |address: &str| config.owner(address.parse().unwrap()).map(|peer| peer.name.as_str());
        assert_eq!(owner("10.1.2.3"), Some("narrow"));
        assert_eq!(owner("10.2.2.3"), Some("wide"));
        assert_eq!(owner("11.0.0.1"), None);
        assert_eq!(owner("::1"), None);
    }

    #[test]
    fn every_contradiction_is_reported() {
        let mut parts = parts(vec![
            peer("a", 2, &["10.0.1.0/24", "10.0.0.1/32"]),
            peer("a", 2, &["10.0.1.7/24"]),
            peer("self", 1, &[]),
        ]);
        parts.interface.mtu = 100;
        parts.tcp.keepalive = Duration::ZERO;
        parts.tcp.send_buffer = 1;
        parts.limits.half_open = parts.limits.tcp_flows + 1;
        parts.limits.memory = MEMORY_MIN - 1;
        let errors = Config::new(parts).unwrap_err();
        let of_peer = |peer, conflict| ConfigError::Peer { peer, conflict };
        let prefix = "10.0.1.0/24".parse().unwrap();
        let address = "10.0.0.1".parse().unwrap();
        assert_eq!(
            errors.as_slice(),
            [
                ConfigError::MtuOutOfRange { mtu: 100 },
                of_peer(0, PeerConflict::OwnAddress { address }),
                of_peer(1, PeerConflict::PublicKey { other: 0 }),
                of_peer(1, PeerConflict::Name { other: 0 }),
                of_peer(1, PeerConflict::AllowedIp { other: 0, prefix }),
                of_peer(2, PeerConflict::OwnPublicKey),
                ConfigError::BufferOutOfRange { buffer: Buffer::Send, bytes: 1 },
                ConfigError::ZeroTimer { timer: ConfigTimer::TcpKeepalive },
                ConfigError::LimitTooLow { limit: Limit::Memory, min: MEMORY_MIN },
                ConfigError::LimitAboveOther { limit: Limit::HalfOpen, whole: Limit::TcpFlows },
            ]
        );
    }

    #[test]
    fn ipv6_needs_its_minimum_mtu() {
        let mut parts = parts(vec![]);
        parts.interface.mtu = 1279;
        assert!(Config::new(parts.clone()).is_ok());
        parts.interface.addresses.push("fd00::1/64".parse().unwrap());
        let error = ConfigError::MtuTooSmallForIpv6 { mtu: 1279 };
        assert_eq!(Config::new(parts).unwrap_err(), error.into());
    }
}
