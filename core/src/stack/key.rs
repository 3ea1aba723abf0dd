//! What a packet says about the flow that it belongs to.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use crate::flow::Protocol;
use crate::id::PeerId;
use crate::key::PublicKey;
use crate::rules::Query;

/// What a packet of a peer says about the flow that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FlowKey {
    pub(crate) protocol: Protocol,
    pub(crate) peer: PeerId,
    /// The far end inside the tunnel.
    pub(crate) inner: SocketAddr,
    /// The address that this end speaks as; `None` for a mapping that speaks as any host.
    pub(crate) outer: Option<SocketAddr>,
}

impl FlowKey {
    /// The key of a connection with these ends.
    pub(crate) const fn of_connection(ends: Ends) -> Self {
        let Ends { local, remote, peer } = ends;
        Self { protocol: Protocol::Tcp, peer, inner: remote, outer: Some(local) }
    }

    /// The key of a mapping that speaks as any host.
    pub(crate) const fn of_mapping(protocol: Protocol, peer: PeerId, inner: SocketAddr) -> Self {
        Self { protocol, peer, inner, outer: None }
    }

    /// What the rules are asked of a flow to `destination`, by the peer with this key.
    pub(crate) const fn query(&self, peer: PublicKey, destination: SocketAddr) -> Query {
        Query { peer, protocol: self.protocol, source: self.inner.ip(), destination }
    }

    /// Both ends of a connection, seen from ours.
    pub(crate) fn ends(&self) -> Option<Ends> {
        Some(Ends { local: self.outer?, remote: self.inner, peer: self.peer })
    }

    /// Everything that tells keys apart, but for what tells an IPv4 address from the IPv6 one that
    /// it can be written as.
    fn packed(&self) -> [u8; 45] {
        let mut packed = [0; 45];
        let socket = |address: SocketAddr| {
            let ip = match address.ip() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            (ip.octets(), address.port().to_be_bytes())
        };
        let (inner, inner_port) = socket(self.inner);
        packed[..16].copy_from_slice(&inner);
        packed[16..18].copy_from_slice(&inner_port);
        if let Some(outer) = self.outer {
            let (outer, outer_port) = socket(outer);
            packed[18..34].copy_from_slice(&outer);
            packed[34..36].copy_from_slice(&outer_port);
        }
        packed[36..40].copy_from_slice(&self.peer.slot.to_be_bytes());
        packed[40..44].copy_from_slice(&self.peer.generation.to_be_bytes());
        packed[44] = self.protocol as u8;
        packed
    }
}

/// Hashed in one piece: a key is looked up for each packet.
impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.packed());
    }
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) peer: PeerId,
}
