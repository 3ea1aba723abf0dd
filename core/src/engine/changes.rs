//! What changes while flows live: peers, rules and the addresses of the host.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::peer::conflicts;
use crate::config::{self, ConfigErrors, PeerConflicts};
use crate::engine::Engine;
use crate::errors::Errors;
use crate::id::{Identity, PeerId};
use crate::routing::Member;
use crate::rules::Rule;
use crate::stack::input::Input;
use crate::time::Instant;

/// Changes.
impl Engine {
    /// Replaces the addresses of this host that no peer may reach through it
    /// ([`Gateway::host_addresses`](crate::config::Gateway::host_addresses)).
    pub fn set_host_addresses(&mut self, addresses: Vec<IpAddr>, now: Instant) {
        self.advance(now);
        self.hand_in(Input::HostAddresses(addresses));
    }

    /// Replaces the [rules](crate::config::Gateway::rules). Flows that the new ones would not have
    /// let in, or would have led elsewhere, are aborted; others do not notice. It looks at every
    /// flow.
    ///
    /// # Errors
    /// Everything that is wrong with the rules; nothing has changed then.
    pub fn set_rules(&mut self, rules: Vec<Rule>, now: Instant) -> Result<(), ConfigErrors> {
        config::check::rules(&rules)?;
        self.advance(now);
        self.hand_in(Input::Rules(rules));
        Ok(())
    }

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

    /// Ends every flow, as the process is about to end: peers get resets, the embedder gets
    /// [`Action::Aborted`](crate::Action::Aborted). Drain the outputs once more afterwards.
    pub fn shut_down(&mut self, now: Instant) {
        self.advance(now);
        self.hand_in(Input::ShutDown);
    }
}
