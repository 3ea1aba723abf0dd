//! What changes while a driver runs: peers, rules, forwards, and the addresses of this host.

use std::sync::Arc;

use rustix::io::Errno;
use slipwire_core::config::Peer;
use slipwire_core::rules::Rule;
use slipwire_core::{
    ChangeConflicts, ConfigErrors, Identity, Instant, PeerChange, PeerConflicts, PeerId,
};

use super::Driver;
use crate::addresses::News;
use crate::clock;
use crate::descriptors::OpenFiles;
use crate::error::StartError;
use crate::listen::table::{ForwardId, refused};
use crate::settings::Forward;

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

    /// Changes a peer in place: see [`Engine::set_peer`](slipwire_core::Engine::set_peer). If its
    /// endpoint is a name, that is resolved as any is.
    ///
    /// # Errors
    /// Everything that stands against it; nothing has changed then.
    pub fn set_peer(&mut self, peer: PeerId, change: PeerChange) -> Result<(), PeerConflicts> {
        self.is_undrained = true;
        self.engine.set_peer(peer, change, clock::now())
    }

    /// Changes peers in place, all at once: see
    /// [`Engine::set_peers`](slipwire_core::Engine::set_peers).
    ///
    /// # Errors
    /// Everything that stands against any of them; nothing has changed then.
    pub fn set_peers(&mut self, changes: &[(PeerId, PeerChange)]) -> Result<(), ChangeConflicts> {
        self.is_undrained = true;
        self.engine.set_peers(changes, clock::now())
    }

    /// Adds a forward, which listens when this returns. It takes the open file of one flow: if
    /// all are in use, a flow ends for it.
    ///
    /// # Errors
    /// Why the system does not let it listen, for example that the address is in use, or that there
    /// are no open files left. The `index` of the error is the number of forwards there are.
    pub fn add_forward(&mut self, forward: Forward) -> Result<ForwardId, StartError> {
        let index = self.host.forwards().len();
        if self.open_files.for_flows == 0 {
            return Err(refused(forward, index, Errno::MFILE.into()));
        }
        let added = self.host.add_forward(forward, index)?;
        self.is_undrained = true;
        self.count_forwards();
        Ok(added)
    }

    /// Removes a forward: its socket is closed when this returns, and its address is free.
    /// Connections that were accepted go on until they end by themselves, those that wait for that
    /// are reset; UDP clients, who share the socket, lose their flows. Returns what it was; `None`
    /// if it is gone already.
    pub fn remove_forward(&mut self, id: ForwardId) -> Option<Forward> {
        self.is_undrained = true;
        let removed = self.host.remove_forward(id, &mut self.engine, clock::now());
        self.count_forwards();
        removed
    }

    /// Divides the open files anew, and lets both sides know what flows may have.
    fn count_forwards(&mut self) {
        let fixed = self.wireguard.addresses().count() + self.host.forwards().len();
        self.open_files = OpenFiles::with(self.open_files.allowed, fixed);
        let sockets_max = self.open_files.for_flows;
        self.engine.limit_sockets(sockets_max, clock::now());
        self.host.limit_sockets(sockets_max);
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
