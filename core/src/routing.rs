//! Cryptokey routing: which peer owns an inner address.
//!
//! One table serves both ways: it finds the peer that a packet goes to, and says whether the
//! source of a packet belongs to the peer that it came from.

use std::net::IpAddr;

use ipnet::IpNet;
use prefix_trie::joint::map::JointPrefixMap;
use serde::Deserialize;
use serde::Serialize;

use crate::id::PeerId;
use crate::key::PublicKey;

/// Who owns an inner address, by the longest matching prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Route {
    pub(crate) peer: PeerId,
    pub(crate) prefix_len: u8,
}

/// A peer, as far as a stack knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) id: PeerId,
    pub(crate) name: String,
    pub(crate) public_key: PublicKey,
    pub(crate) allowed_ips: Vec<IpNet>,
}

/// The prefixes of all peers.
#[derive(Debug, Default)]
pub(crate) struct AllowedIps {
    prefixes: JointPrefixMap<IpNet, PeerId>,
    /// For each place of a peer, an address that is known to be that peer's: the source of most of
    /// its packets. Nothing is known after a change.
    known: Vec<Option<(PeerId, IpAddr)>>,
}

impl AllowedIps {
    /// Gives a prefix to a peer, and takes it from whoever had exactly that one.
    pub(crate) fn insert(&mut self, prefix: IpNet, peer: PeerId) {
        self.prefixes.insert(prefix.trunc(), peer);
        self.known.clear();
    }

    /// Takes a prefix from a peer, if it has exactly that one: another may have taken it since.
    pub(crate) fn remove(&mut self, prefix: IpNet, peer: PeerId) {
        let prefix = prefix.trunc();
        if self.holder(prefix) == Some(peer) {
            self.prefixes.remove(&prefix);
        }
        self.known.clear();
    }

    /// Whether an address is a peer's.
    pub(crate) fn owns(&mut self, peer: PeerId, address: IpAddr) -> bool {
        let place = peer.slot();
        if self.known.get(place) == Some(&Some((peer, address))) {
            return true;
        }
        let owns = self.owner(address) == Some(peer);
        if owns {
            if self.known.len() <= place {
                self.known.resize(place + 1, None);
            }
            self.known[place] = Some((peer, address));
        }
        owns
    }

    /// The peer with exactly this prefix, which has no host bits.
    pub(crate) fn holder(&self, prefix: IpNet) -> Option<PeerId> {
        self.prefixes.get(&prefix).copied()
    }

    /// The peer with the longest prefix that contains the address.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<PeerId> {
        self.route(address).map(|route| route.peer)
    }

    /// The same with the length of that prefix.
    pub(crate) fn route(&self, address: IpAddr) -> Option<Route> {
        let (prefix, peer) = self.prefixes.get_lpm(&IpNet::from(address))?;
        Some(Route { peer: *peer, prefix_len: prefix.prefix_len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(prefixes: &[(&str, u32)]) -> AllowedIps {
        let mut table = AllowedIps::default();
        for (prefix, peer) in prefixes {
            table.insert(prefix.parse().unwrap(), PeerId::first(*peer));
        }
        table
    }

    fn owner(table: &AllowedIps, address: &str) -> Option<u32> {
        table.owner(address.parse().unwrap()).map(|peer| peer.slot)
    }

    #[test]
    fn the_longest_prefix_owns_an_address() {
        let table = table(&[
            ("0.0.0.0/0", 1),
            ("10.0.0.0/8", 2),
            ("10.1.2.3/16", 3),
            ("10.1.2.3/32", 4),
            ("fd00::/8", 5),
        ]);
        assert_eq!(owner(&table, "192.0.2.1"), Some(1));
        assert_eq!(owner(&table, "10.9.9.9"), Some(2));
        assert_eq!(owner(&table, "10.1.9.9"), Some(3));
        assert_eq!(owner(&table, "10.1.2.3"), Some(4));
        assert_eq!(owner(&table, "fd12::1"), Some(5));
        assert_eq!(owner(&table, "2001:db8::1"), None);
    }

    #[test]
    fn a_prefix_that_is_taken_away_leaves_the_wider_ones() {
        let mut table = table(&[("10.0.0.0/8", 2), ("10.1.2.3/16", 3)]);
        assert_eq!(table.holder("10.1.0.0/16".parse().unwrap()), Some(PeerId::first(3)));
        table.remove("10.1.7.7/16".parse().unwrap(), PeerId::first(2));
        assert!(table.holder("10.1.0.0/16".parse().unwrap()).is_some(), "it is not that peer's");
        table.remove("10.1.7.7/16".parse().unwrap(), PeerId::first(3));
        assert_eq!(table.holder("10.1.0.0/16".parse().unwrap()), None);
        assert_eq!(owner(&table, "10.1.9.9"), Some(2));
    }
}
