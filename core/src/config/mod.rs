//! Typed configuration. Whoever holds a [`Config`] holds a valid one: [`Config::new`] is the only
//! way to it and reports every contradiction at once.
//!
//! Parts have constructors that name only what has no default; the other fields are there to be
//! set:
//!
//! ```
//! # use slipwire_core::config::{Gateway, Interface, Parts, Peer};
//! # use slipwire_core::{Config, PrivateKey};
//! let (ours, theirs) = ([7; 32], [8; 32]); // from a source of entropy
//! let interface = Interface::new(PrivateKey::from_entropy(ours), ["10.77.0.1/24".parse()?]);
//! let laptop = Peer::new(PrivateKey::from_entropy(theirs).public_key());
//! let mut parts = Parts::new(interface);
//! parts.peers.push(laptop.with_name("laptop").with_allowed_ips(["10.77.0.2/32".parse()?]));
//! parts.gateway = Some(Gateway::default());
//! let config = Config::new(parts)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Reading files, units and defaults that depend on the system belong to the embedder. `check` says
//! what has to hold between the parts, `error` how a contradiction is told, `peer` what a peer is,
//! `peer_change` what changes of one while an engine runs.

pub(crate) mod check;
mod error;
pub(crate) mod peer;
pub(crate) mod peer_change;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::key::PrivateKey;
use crate::limits::Limits;
use crate::rules::Rule;

pub use crate::limits::{
    BUFFER_MAX, BUFFER_MIN, MEMORY_MIN, MTU_DEFAULT, MTU_IPV6_MIN, MTU_MAX, MTU_MIN,
};
pub use error::{Buffer, ConfigError, ConfigErrors, ConfigTimer, Limit};
pub use peer::{Endpoint, ParseEndpointError, Peer, PeerConflict, PeerConflicts};
pub use peer_change::{ChangeConflict, ChangeConflicts, PeerChange};

/// This end of the tunnel.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Interface {
    /// Our identity.
    pub private_key: PrivateKey,
    /// Our addresses inside the tunnel, each with the prefix of its network.
    pub addresses: Vec<IpNet>,
    /// The largest IP packet that the tunnel carries, [`MTU_MIN`] to [`MTU_MAX`] bytes; by default
    /// [`MTU_DEFAULT`].
    pub mtu: u16,
}

impl Interface {
    /// An end with this identity and these addresses.
    pub fn new(private_key: PrivateKey, addresses: impl IntoIterator<Item = IpNet>) -> Self {
        Self { private_key, addresses: addresses.into_iter().collect(), mtu: MTU_DEFAULT }
    }
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
#[non_exhaustive]
pub struct Gateway {
    /// Rules, of which the first that matches decides; at most
    /// [`RULES_MAX`](crate::rules::RULES_MAX).
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

/// Peers reach what this host reaches, but not each other.
impl Default for Gateway {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            default: DefaultAction::Relay,
            peer_to_peer: false,
            overlay_exclude: Vec::new(),
            host_addresses: Vec::new(),
        }
    }
}

/// Buffers and timers of TCP flows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tcp {
    /// Bytes of each flow's receive ring (peer to host), [`BUFFER_MIN`] to [`BUFFER_MAX`].
    /// Reserved, not touched.
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
    /// How a flow finds out how much the way to a peer takes.
    pub congestion: CongestionControl,
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
            congestion: CongestionControl::default(),
        }
    }
}

/// How a flow finds out how much the way to a peer takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CongestionControl {
    /// Every loss means that it was too much: CUBIC (RFC 9438) with HyStart++ (RFC 9406).
    #[default]
    Cubic,
    /// The way has a rate and a round-trip time, which are measured: BBR (draft-ietf-ccwg-bbr).
    Bbr,
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
#[non_exhaustive]
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
#[non_exhaustive]
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

impl Parts {
    /// An end without peers that lets nobody reach anything.
    pub fn new(interface: Interface) -> Self {
        Self {
            interface,
            peers: Vec::new(),
            gateway: None,
            tcp: Tcp::default(),
            mappings: Mappings::default(),
            limits: Limits::default(),
        }
    }
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
        check::parts(&parts).map(|()| Self(parts))
    }

    /// The checked parts.
    pub const fn parts(&self) -> &Parts {
        &self.0
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> PrivateKey {
        PrivateKey::from_entropy([byte; 32])
    }

    fn peer(name: &str, byte: u8, prefix: &str) -> Peer {
        let peer = Peer::new(key(byte).public_key());
        peer.with_name(name).with_allowed_ips([prefix.parse().unwrap()])
    }

    #[test]
    fn the_longest_prefix_owns_an_address() {
        let mut parts = Parts::new(Interface::new(key(1), []));
        parts.peers = vec![peer("wide", 2, "10.0.0.0/8"), peer("narrow", 3, "10.1.0.0/16")];
        let config = Config::new(parts).unwrap();
        let owner =
            |address: &str| config.owner(address.parse().unwrap()).map(|peer| peer.name.as_str());
        assert_eq!(owner("10.1.2.3"), Some("narrow"));
        assert_eq!(owner("10.2.2.3"), Some("wide"));
        assert_eq!(owner("11.0.0.1"), None);
        assert_eq!(owner("::1"), None);
    }
}
