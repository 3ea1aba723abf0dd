//! What changes while a driver runs: peers, rules, and the addresses of this host.

use std::sync::Arc;

use slipwire_core::config::Peer;
use slipwire_core::rules::Rule;
use slipwire_core::{ConfigErrors, Identity, Instant, PeerConflicts, PeerId};

use super::Driver;
use crate::addresses::News;
use crate::clock;

/// Changes while it runs. What follows from them is done in the next [`turn`](Driver::turn), which
/// does not block.
impl Driver {
    /// Adds a peer: see [`Engine::add_peer`](slipwire_core::Engine::add_peer).
    ///
    /// # Errors
    /// Everything that stands against it; nothing has changed then.
    pub fn add_peer(&mut self, peer: &Peer) -> Result<PeerId, PeerConflicts> {
        self.is_undrained = true;
        self.engine.add_peer(peer, clock::now())
    }

    /// Removes a peer and resets its flows: see
    /// [`Engine::remove_peer`](slipwire_core::Engine::remove_peer). Returns who it was.
    pub fn remove_peer(&mut self, peer: PeerId) -> Option<Arc<Identity>> {
        self.is_undrained = true;
        self.engine.remove_peer(peer, clock::now())
    }

    /// Replaces the rules, and resets the flows that the new ones forbid: see
    /// [`Engine::set_rules`](slipwire_core::Engine::set_rules).
    ///
    /// # Errors
    /// Everything that is wrong with the rules; nothing has changed then.
    pub fn set_rules(&mut self, rules: Vec<Rule>) -> Result<(), ConfigErrors> {
        self.is_undrained = true;
        let now = clock::now();
        self.engine.set_rules(rules, now)?;
        self.host.handle_rules_changed(&mut self.engine, now);
        Ok(())
    }
}

impl Driver {
    /// Takes in what has changed at this host.
    pub(super) fn follow_addresses(&mut self, now: Instant) {
        let news = self.addresses.as_mut().and_then(|own| own.follow(&mut self.engine, now));
        if let Some(News { gone }) = news {
            self.host.forget_routes();
            self.host.handle_addresses_gone(&gone, &mut self.engine, now);
        }
    }
}
