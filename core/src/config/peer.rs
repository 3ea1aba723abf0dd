//! A peer, and what stands against it: the rest of its end's configuration, and who else has what
//! it claims.
//!
//! The same questions are asked of every peer of a [`Config`](crate::Config), and again of one that
//! is added to a running engine.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

use ipnet::IpNet;

use crate::errors::Errors;
use crate::id::PeerId;
use crate::key::{PresharedKey, PublicKey};

/// Where a peer is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// A fixed address. A link-local one has the scope id of the link (RFC 4007).
    Address(SocketAddr),
    /// A name that the embedder resolves when asked by
    /// [`Action::Resolve`](crate::Action::Resolve).
    Name {
        /// A DNS name, or a link-local address with the name of an interface, `fe80::1%eth0`: the
        /// scope id that this stands for is another one when the interface comes back.
        host: String,
        /// A UDP port.
        port: u16,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

/// Reads what `Display` writes: an address, or a name, and behind a colon the port, which is not 0.
/// What has colons of its own stands in brackets.
impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        let endpoint = match text.parse() {
            Ok(address) => Self::Address(address),
            Err(_) => {
                let (host, port) = text.rsplit_once(':').ok_or(ParseEndpointError)?;
                let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
                let host = inside.unwrap_or(host).to_owned();
                // Brackets are for addresses, of which those without a zone have been read already.
                if host.contains(':') != inside.is_some()
                    || (host.contains(':') && !host.contains('%'))
                {
                    return Err(ParseEndpointError);
                }
                Self::Name { host, port: port.parse().map_err(|_| ParseEndpointError)? }
            }
        };
        let is_sound = match &endpoint {
            Self::Address(address) => address.port() != 0,
            Self::Name { host, port } => {
                *port != 0
                    && !host.is_empty()
                    && !host.contains(|c: char| c.is_whitespace() || "[]/".contains(c))
            }
        };
        if is_sound { Ok(endpoint) } else { Err(ParseEndpointError) }
    }
}

/// It is no [`Endpoint`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseEndpointError;

impl fmt::Display for ParseEndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an endpoint is a host and a port, as in vpn.example.com:51820 or [::1]:51820")
    }
}

impl std::error::Error for ParseEndpointError {}

/// One WireGuard peer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// What people call it.
    pub name: String,
    /// Its identity.
    pub public_key: PublicKey,
    /// A secret shared with it beside the keys.
    pub preshared_key: Option<PresharedKey>,
    /// The inner addresses that are its own: what it may send from and what is sent to it.
    pub allowed_ips: Vec<IpNet>,
    /// Where it is reached, if that is known beforehand.
    pub endpoint: Option<Endpoint>,
    /// The interval, in seconds, at which the path to it is kept open.
    pub persistent_keepalive: Option<NonZeroU16>,
}

/// Characters of its key that a peer is called by as long as nobody gives it a name.
const KEY_NAME_LEN: usize = 8;

impl Peer {
    /// A peer that calls us and may send nothing yet. It is called by the first 8 characters of its
    /// key.
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            name: public_key.to_string().chars().take(KEY_NAME_LEN).collect(),
            public_key,
            preshared_key: None,
            allowed_ips: Vec::new(),
            endpoint: None,
            persistent_keepalive: None,
        }
    }

    /// The peer with another [`name`](Self::name).
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The peer with another [`preshared_key`](Self::preshared_key).
    pub fn with_preshared_key(mut self, key: impl Into<Option<PresharedKey>>) -> Self {
        self.preshared_key = key.into();
        self
    }

    /// The peer with other [`allowed_ips`](Self::allowed_ips).
    pub fn with_allowed_ips(mut self, prefixes: impl IntoIterator<Item = IpNet>) -> Self {
        self.allowed_ips = prefixes.into_iter().collect();
        self
    }

    /// The peer with another [`endpoint`](Self::endpoint).
    pub fn with_endpoint(mut self, endpoint: impl Into<Endpoint>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// The peer with another [`persistent_keepalive`](Self::persistent_keepalive).
    pub fn with_persistent_keepalive(mut self, seconds: impl Into<Option<NonZeroU16>>) -> Self {
        self.persistent_keepalive = seconds.into();
        self
    }
}

/// Everything that stands against a peer of a running engine.
pub type PeerConflicts = Errors<PeerConflict>;

/// Why a peer can't be one of an end's. The other peer, where there is one, is named by an `Id`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerConflict<Id = PeerId> {
    /// It has our own public key.
    OwnPublicKey,
    /// Another peer has its public key.
    PublicKey {
        /// The other peer.
        other: Id,
    },
    /// Another peer has its name.
    Name {
        /// The other peer.
        other: Id,
    },
    /// Another peer has exactly this one of its prefixes.
    AllowedIp {
        /// The other peer.
        other: Id,
        /// The prefix, without host bits.
        prefix: IpNet,
    },
    /// It claims exactly one of our own tunnel addresses.
    OwnAddress {
        /// The address.
        address: IpAddr,
    },
    /// There is no such peer (any more) that could be changed.
    NoPeer,
}

impl<Id> fmt::Display for PeerConflict<Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnPublicKey => f.write_str("this is our own public key"),
            Self::PublicKey { .. } => f.write_str("another peer has this public key"),
            Self::Name { .. } => f.write_str("another peer has this name"),
            Self::AllowedIp { prefix, .. } => {
                write!(f, "{prefix} already belongs to another peer")
            }
            Self::OwnAddress { address } => write!(f, "{address} is our own tunnel address"),
            Self::NoPeer => f.write_str("there is no such peer"),
        }
    }
}

impl<Id: fmt::Debug> std::error::Error for PeerConflict<Id> {}

/// The peers that one more has to get along with.
pub(crate) trait Others {
    /// What names one of them.
    type Id;

    /// Who has a public key.
    fn with_key(&self, key: &PublicKey) -> Option<Self::Id>;

    /// Who has a name.
    fn with_name(&self, name: &str) -> Option<Self::Id>;

    /// Who has exactly this prefix, which has no host bits.
    fn with_prefix(&self, prefix: IpNet) -> Option<Self::Id>;
}

/// Everything that stands against a peer of the end with this key and these addresses.
pub(crate) fn conflicts<O: Others + ?Sized>(
    peer: &Peer,
    own_key: &PublicKey,
    own_addresses: &[IpNet],
    others: &O,
) -> Vec<PeerConflict<O::Id>> {
    let mut conflicts = Vec::new();
    if peer.public_key == *own_key {
        conflicts.push(PeerConflict::OwnPublicKey);
    }
    let other = others.with_key(&peer.public_key);
    conflicts.extend(other.map(|other| PeerConflict::PublicKey { other }));
    let other = others.with_name(&peer.name);
    conflicts.extend(other.map(|other| PeerConflict::Name { other }));
    for prefix in peer.allowed_ips.iter().map(IpNet::trunc) {
        let other = others.with_prefix(prefix);
        conflicts.extend(other.map(|other| PeerConflict::AllowedIp { other, prefix }));
        let own = claimed(prefix, own_addresses);
        conflicts.extend(own.map(|address| PeerConflict::OwnAddress { address }));
    }
    conflicts
}

/// Those of our own addresses that are exactly this prefix.
pub(crate) fn claimed(prefix: IpNet, own_addresses: &[IpNet]) -> impl Iterator<Item = IpAddr> {
    own_addresses.iter().map(IpNet::addr).filter(move |own| IpNet::from(*own) == prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_shown_as_it_is_written_and_read() {
        let name = |host: &str| Endpoint::Name { host: host.into(), port: 7 };
        let address = |text: &str| Endpoint::from(text.parse::<SocketAddr>().unwrap());
        for (endpoint, text) in [
            (name("vpn.example.com"), "vpn.example.com:7"),
            (name("fe80::1%eth0"), "[fe80::1%eth0]:7"),
            (address("192.0.2.1:7"), "192.0.2.1:7"),
            (address("[2001:db8::1]:7"), "[2001:db8::1]:7"),
        ] {
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(text.parse(), Ok(endpoint));
        }
    }

    #[test]
    fn what_names_no_host_and_port_is_no_endpoint() {
        for text in [
            "",
            "host",
            "host:",
            ":7",
            "host:0",
            "192.0.2.1:0",
            "host:65536",
            "::1:7",
            "[host]:7",
            "[::1]",
            "[::1:7",
            "a host:7",
            "http://host:7",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(ParseEndpointError), "{text:?}");
        }
    }

    #[test]
    fn a_peer_without_a_name_is_called_by_its_key() {
        let key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=".parse().unwrap();
        assert_eq!(Peer::new(key).name, "hSDwCYkw");
    }
}
