//! The peers of a replay: what the tunnel would say of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use crate::id::{Identity, PeerId};
use crate::routing::{AllowedIps, Member};

/// More slots than an engine has peers: tables grow with them, and a damaged tape may say anything.
const SLOTS_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Members {
    pub(crate) allowed_ips: AllowedIps,
    known: BTreeMap<PeerId, (Arc<Identity>, Vec<IpNet>)>,
}

impl Members {
    /// Adds a peer. Says whether there can be such a one.
    pub(crate) fn add(&mut self, member: Member) -> bool {
        let Member { id, name, public_key, allowed_ips } = member;
        if id.slot() >= SLOTS_MAX || self.known.contains_key(&id) {
            return false;
        }
        for prefix in &allowed_ips {
            self.allowed_ips.insert(*prefix, id);
        }
        self.known.insert(id, (Arc::new(Identity { name, public_key }), allowed_ips));
        true
    }

    /// Peers have other names or addresses. Says whether there are such peers.
    pub(crate) fn change(&mut self, changed: &[Member]) -> bool {
        for Member { id, .. } in changed {
            let Some((_, allowed_ips)) = self.known.get(id) else { return false };
            for prefix in allowed_ips {
                self.allowed_ips.remove(*prefix, *id);
            }
        }
        for Member { id, name, public_key, allowed_ips } in changed {
            for prefix in allowed_ips {
                self.allowed_ips.insert(*prefix, *id);
            }
            let identity = Identity { name: name.clone(), public_key: *public_key };
            self.known.insert(*id, (Arc::new(identity), allowed_ips.clone()));
        }
        true
    }

    pub(crate) fn remove(&mut self, id: PeerId) {
        let Some((_, allowed_ips)) = self.known.remove(&id) else { return };
        for prefix in allowed_ips {
            self.allowed_ips.remove(prefix, id);
        }
    }

    pub(crate) fn identity(&self, id: PeerId) -> Option<&Arc<Identity>> {
        self.known.get(&id).map(|(identity, _)| identity)
    }
}
