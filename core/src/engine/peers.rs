//! Peers that come, change and go while the engine runs.

use std::sync::Arc;

use crate::config::peer::conflicts;
use crate::config::peer_change::seen_after;
use crate::config::{self, ChangeConflicts, PeerChange, PeerConflicts};
use crate::engine::Engine;
use crate::errors::Errors;
use crate::id::{Identity, PeerId};
use crate::routing::Member;
use crate::stack::input::Input;
use crate::time::Instant;

/// Changes of peers.
impl Engine {
    /// Adds a peer. Flows go on, but for those whose ends it owns from now on (by a longer prefix
    /// than whoever owned them), which are aborted. It looks at every flow.
    ///
    /// A new peer remembers no handshake: if it was one before and was removed, somebody who
    /// recorded its initiations could have the latest answered once more, to no avail.
    ///
    /// # Errors
    /// Everything that stands against it; nothing has changed then.
    pub fn add_peer(&mut self, peer: &config::Peer, now: Instant) -> Result<PeerId, PeerConflicts> {
        let Self { tunnel, stack, .. } = self;
        Errors::none_of(conflicts(peer, tunnel.public_key(), stack.own_addresses(), tunnel))?;
        self.advance(now);
        let id = self.tunnel.add_peer(peer, self.now);
        self.hand_in(Input::PeerAdded(Member {
            id,
            name: peer.name.clone(),
            public_key: peer.public_key,
            allowed_ips: peer.allowed_ips.clone(),
        }));
        Ok(id)
    }

    /// Removes a peer: its flows are reset and aborted ([`Abort::NoPeer`](crate::Abort::NoPeer)),
    /// its sessions end, and its key, name and addresses are free. Its id names nobody any more.
    /// Flows of others do not notice. It looks at every flow. Returns who it was; `None` if it is
    /// gone already.
    pub fn remove_peer(&mut self, peer: PeerId, now: Instant) -> Option<Arc<Identity>> {
        self.advance(now);
        self.hand_in(Input::PeerRemoved(peer));
        self.tunnel.remove_peer(peer, &mut self.monitor, self.now)
    }

    /// Changes a peer in place. Its session goes on, and so do its flows, but for those whose inner
    /// address it does not own any more: they are reset and aborted
    /// ([`Abort::NoPeer`](crate::Abort::NoPeer)), as are those of others of which it owns an end
    /// from now on. It looks at every flow if the name or the allowed IPs change.
    ///
    /// # Errors
    /// Everything that stands against it; nothing has changed then.
    pub fn set_peer(
        &mut self,
        peer: PeerId,
        change: PeerChange,
        now: Instant,
    ) -> Result<(), PeerConflicts> {
        self.set_peers(&[(peer, change)], now).or_else(|conflicts| {
            Errors::none_of(conflicts.into_iter().map(|against| against.conflict))
        })
    }

    /// Changes peers in place, all at once, as [`set_peer`](Self::set_peer) does one. What one of
    /// them gives up another may take: that is how a prefix moves from peer to peer.
    ///
    /// # Errors
    /// Everything that stands against any of them; nothing has changed then.
    pub fn set_peers(
        &mut self,
        changes: &[(PeerId, PeerChange)],
        now: Instant,
    ) -> Result<(), ChangeConflicts> {
        let seen = seen_after(changes, self.tunnel.members(), self.stack.own_addresses())?;
        self.advance(now);
        let Self { tunnel, egress, monitor, now, .. } = self;
        tunnel.change_peers(changes, egress, monitor, *now);
        self.tell_moves();
        if changes.iter().any(|(_, change)| change.is_seen()) {
            self.hand_in(Input::PeersChanged(seen));
        }
        Ok(())
    }
}
