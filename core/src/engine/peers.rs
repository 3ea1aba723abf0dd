//! Peers that are changed while the engine runs.

use crate::config::peer_change::seen_after;
use crate::config::{ChangeConflicts, PeerChange, PeerConflicts};
use crate::engine::Engine;
use crate::errors::Errors;
use crate::id::PeerId;
use crate::stack::input::Input;
use crate::time::Instant;

/// Changes of peers.
impl Engine {
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
        if changes.iter().any(|(_, change)| change.is_seen()) {
            self.hand_in(Input::PeersChanged(seen));
        }
        Ok(())
    }
}
