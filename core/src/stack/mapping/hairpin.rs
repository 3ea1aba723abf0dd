//! Hairpinning (RFC 4787, REQ-9): peers that know each other's external address and port reach each
//! other there, although all else on this host is protected from them.
//!
//! The embedder says which port of the host a UDP mapping has. A datagram to one of the host's
//! addresses and such a port goes out like any other; the host loops it back from one mapping's
//! socket to the other's, whose filter decides, as it does for everybody.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::flow::Protocol;
use crate::id::FlowId;
use crate::stack::Stack;
use crate::stack::packet::icmp::Version;

/// The ports of the host that live UDP mappings have. There are no more of them than mappings.
#[derive(Debug, Default)]
pub(crate) struct ExternalPorts {
    v4: BTreeSet<u16>,
    v6: BTreeSet<u16>,
}

impl ExternalPorts {
    const fn of(&mut self, version: Version) -> &mut BTreeSet<u16> {
        match version {
            Version::V4 => &mut self.v4,
            Version::V6 => &mut self.v6,
        }
    }

    pub(crate) fn insert(&mut self, version: Version, port: u16) {
        self.of(version).insert(port);
    }

    pub(crate) fn remove(&mut self, version: Version, port: u16) {
        self.of(version).remove(&port);
    }

    pub(crate) fn contain(&self, socket: SocketAddr) -> bool {
        match socket {
            SocketAddr::V4(_) => self.v4.contains(&socket.port()),
            SocketAddr::V6(_) => self.v6.contains(&socket.port()),
        }
    }
}

impl Stack {
    /// The host leg of a UDP mapping has this port on every address of the host.
    pub(in crate::stack) fn handle_bound(&mut self, id: FlowId, port: u16) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let key = flow.key;
        // Where a rule leads datagrams, nobody else is answered from; and the socket may be of the
        // other IP version, in which its port says nothing about this one.
        if key.protocol != Protocol::Udp || key.outer.is_some() {
            return;
        }
        let version = Version::of(key.inner.ip());
        let Some(mapping) = flow.mapping_mut() else { return };
        if let Some(before) = mapping.external_port.replace(port) {
            self.external_ports.remove(version, before);
        }
        self.external_ports.insert(version, port);
    }

    /// Whether a protected destination is a peer's mapping rather than the host.
    pub(in crate::stack) fn is_mapped(&self, protocol: Protocol, destination: SocketAddr) -> bool {
        protocol == Protocol::Udp
            && self.external_ports.contain(destination)
            && self.policy.is_host_address(destination.ip())
    }
}
