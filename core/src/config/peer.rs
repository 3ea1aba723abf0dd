//! A peer, and what stands against it: the rest of its end's configuration, and who else has what it
//! claims.
//!
//! The same questions are asked of every peer of a [`Config`](crate::Config), and again of one that
//! is added to a running engine.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

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

/// One WireGuard peer.
#[derive(Clone, Debug)]
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
        let own = own_addresses.iter().map(IpNet::addr);
        let claimed = own.filter(|own| IpNet::from(*own) == prefix);
        conflicts.extend(claimed.map(|address| PeerConflict::OwnAddress { address }));
    }
    conflicts
}
