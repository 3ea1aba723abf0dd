//! What changes of a peer while an engine runs, and what stands against that.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;

use ipnet::IpNet;

use crate::config::peer::{Endpoint, Peer, PeerConflict, claimed};
use crate::errors::Errors;
use crate::id::PeerId;
use crate::key::PresharedKey;
use crate::routing::Member;

/// What changes of a peer ([`Engine::set_peer`](crate::Engine::set_peer)): what is `None` stays as
/// it is. What may be absent is taken away by `Some(None)`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PeerChange {
    /// What people call it.
    pub name: Option<String>,
    /// The secret shared with it beside the keys: of the next handshake, which begins at once if
    /// the peer is in use. The session goes on until that has succeeded or its three minutes are
    /// over, so that both ends can be changed in turn.
    pub preshared_key: Option<Option<PresharedKey>>,
    /// All the inner addresses that are its own from now on.
    pub allowed_ips: Option<Vec<IpNet>>,
    /// Where it is reached, even if it is the same as before and the peer has moved away: the next
    /// packets go there, and with a name as soon as that is resolved. Without one the peer stays
    /// where it was last heard.
    pub endpoint: Option<Option<Endpoint>>,
    /// The interval, in seconds, at which the path to it is kept open. Where there was none a
    /// keepalive is sent at once.
    pub persistent_keepalive: Option<Option<NonZeroU16>>,
}

impl PeerChange {
    /// What makes the second of two configurations of a peer out of the first. What they agree on
    /// stays: a peer that has moved away from its endpoint is left where it is. The public key is
    /// not looked at: another one is another peer.
    pub fn between(before: &Peer, after: &Peer) -> Self {
        fn new<T: Clone + PartialEq>(before: &T, after: &T) -> Option<T> {
            (before != after).then(|| after.clone())
        }
        Self {
            name: new(&before.name, &after.name),
            preshared_key: new(&before.preshared_key, &after.preshared_key),
            allowed_ips: new(&before.allowed_ips, &after.allowed_ips),
            endpoint: new(&before.endpoint, &after.endpoint),
            persistent_keepalive: new(&before.persistent_keepalive, &after.persistent_keepalive),
        }
    }

    /// The change with another [`name`](Self::name).
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The change with another [`preshared_key`](Self::preshared_key), or none.
    pub fn with_preshared_key(mut self, key: impl Into<Option<PresharedKey>>) -> Self {
        self.preshared_key = Some(key.into());
        self
    }

    /// The change with other [`allowed_ips`](Self::allowed_ips).
    pub fn with_allowed_ips(mut self, prefixes: impl IntoIterator<Item = IpNet>) -> Self {
        self.allowed_ips = Some(prefixes.into_iter().collect());
        self
    }

    /// The change with another [`endpoint`](Self::endpoint), or none.
    pub fn with_endpoint(mut self, endpoint: impl Into<Option<Endpoint>>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// The change with another [`persistent_keepalive`](Self::persistent_keepalive), or none.
    pub fn with_persistent_keepalive(mut self, seconds: impl Into<Option<NonZeroU16>>) -> Self {
        self.persistent_keepalive = Some(seconds.into());
        self
    }

    /// Whether nothing changes.
    pub const fn is_empty(&self) -> bool {
        let Self { name, preshared_key, allowed_ips, endpoint, persistent_keepalive } = self;
        name.is_none()
            && preshared_key.is_none()
            && allowed_ips.is_none()
            && endpoint.is_none()
            && persistent_keepalive.is_none()
    }

    /// Whether others notice: by its name, or by what it owns.
    pub(crate) const fn is_seen(&self) -> bool {
        self.name.is_some() || self.allowed_ips.is_some()
    }
}

/// Everything that stands against changes of peers.
pub type ChangeConflicts = Errors<ChangeConflict>;

/// Something that stands against a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChangeConflict {
    /// Whose change it is.
    pub peer: PeerId,
    /// What stands against it.
    pub conflict: PeerConflict,
}

impl fmt::Display for ChangeConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.peer, self.conflict)
    }
}

impl std::error::Error for ChangeConflict {}

/// Peers as others will see them.
#[derive(Default)]
struct Seen<'a> {
    names: BTreeMap<&'a str, PeerId>,
    prefixes: BTreeMap<IpNet, PeerId>,
}

impl<'a> Seen<'a> {
    /// Adds a peer, and returns what stands against it.
    fn add(&mut self, member: &'a Member, own_addresses: &[IpNet]) -> Vec<PeerConflict> {
        let mut conflicts = Vec::new();
        let Member { id, name, allowed_ips, .. } = member;
        let other = *self.names.entry(name).or_insert(*id);
        conflicts.extend((other != *id).then_some(PeerConflict::Name { other }));
        for prefix in allowed_ips.iter().map(IpNet::trunc) {
            let other = *self.prefixes.entry(prefix).or_insert(*id);
            conflicts.extend((other != *id).then_some(PeerConflict::AllowedIp { other, prefix }));
            let own = claimed(prefix, own_addresses);
            conflicts.extend(own.map(|address| PeerConflict::OwnAddress { address }));
        }
        conflicts
    }
}

/// The peers that others see in another way after changes, out of all that there are before.
///
/// # Errors
/// Everything that stands against it. What one of them gives up, a name or a prefix, another may
/// take.
pub(crate) fn seen_after(
    changes: &[(PeerId, PeerChange)],
    members: impl Iterator<Item = Member>,
    own_addresses: &[IpNet],
) -> Result<Vec<Member>, ChangeConflicts> {
    let mut others: BTreeMap<PeerId, Member> = members.map(|member| (member.id, member)).collect();
    let mut changed = BTreeMap::new();
    let mut conflicts = Vec::new();
    for (peer, PeerChange { name, allowed_ips, .. }) in changes {
        let Some(member) = others.remove(peer).or_else(|| changed.remove(peer)) else {
            conflicts.push(ChangeConflict { peer: *peer, conflict: PeerConflict::NoPeer });
            continue;
        };
        let name = name.clone().unwrap_or(member.name);
        let allowed_ips = allowed_ips.clone().unwrap_or(member.allowed_ips);
        changed.insert(*peer, Member { name, allowed_ips, ..member });
    }
    let mut seen = Seen::default();
    for other in others.values() {
        // Nothing stands against those that stay.
        seen.add(other, &[]);
    }
    for (peer, member) in &changed {
        let against = seen.add(member, own_addresses).into_iter();
        conflicts.extend(against.map(|conflict| ChangeConflict { peer: *peer, conflict }));
    }
    Errors::none_of(conflicts)?;
    Ok(changed.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PrivateKey;

    #[test]
    fn what_two_configurations_agree_on_stays() {
        let key = |byte| PresharedKey::from_entropy([byte; 32]);
        let before = Peer::new(PrivateKey::from_entropy([1; 32]).public_key())
            .with_name("laptop")
            .with_preshared_key(key(1))
            .with_allowed_ips(["10.0.0.2/32".parse().unwrap()]);
        assert!(PeerChange::between(&before, &before).is_empty());
        let none = PeerChange::default();
        let after = before.clone().with_preshared_key(key(2)).with_name("phone");
        let PeerChange { name, preshared_key, allowed_ips, endpoint, persistent_keepalive } =
            PeerChange::between(&before, &after);
        assert_eq!((name.as_deref(), preshared_key), (Some("phone"), Some(Some(key(2)))));
        assert!(allowed_ips.is_none() && endpoint.is_none() && persistent_keepalive.is_none());
        let without = before.clone().with_preshared_key(None);
        let change = PeerChange::between(&before, &without);
        assert!(matches!(change, PeerChange { preshared_key: Some(None), .. }));
        assert!(none.is_empty() && !change.is_empty() && !change.is_seen());
    }
}
