//! What is configured of a peer changes while it lives: its sessions go on.

use std::sync::Arc;

use super::noise::{OtherEnd, OwnEnd, Sessions};
use super::{TunnelPeer, interval};
use crate::config::peer_change::PeerChange;
use crate::id::Identity;
use crate::stats::Counter;
use crate::tunnel::supervisor::Dealings;
use crate::tunnel::wire::PeerWire;

impl TunnelPeer {
    /// Takes on what has changed, against which nothing stands. What it owns is not known here.
    pub(in crate::tunnel) fn change(
        &mut self,
        change: &PeerChange,
        own: &OwnEnd,
        wire: &mut PeerWire<'_>,
    ) {
        let PeerChange { name, preshared_key, allowed_ips: _, endpoint, persistent_keepalive } =
            change;
        self.refresh(wire);
        if let Some(name) = name {
            let public_key = self.identity.public_key;
            self.identity = Arc::new(Identity { name: name.clone(), public_key });
            self.endpoint_mtu.rename(Arc::clone(&self.identity));
        }
        if let Some(endpoint) = endpoint {
            self.endpoint.change(endpoint.as_ref());
            self.endpoint_mtu.begin_anew();
            self.supervisor.moved(wire.now);
        }
        if let Some(keepalive) = persistent_keepalive {
            let is_new = self.supervisor.set_keepalive(keepalive.map(interval), wire.now);
            if is_new && self.noise.has_session() {
                self.send_keepalive(wire);
            }
        }
        if let Some(key) = preshared_key
            && key.as_ref() != self.noise.preshared_key()
        {
            let public_key = self.identity.public_key;
            let other = OtherEnd { public_key: &public_key, preshared_key: key.as_ref() };
            self.change_preshared_key(other, own, wire);
        }
        self.keep_alive(wire);
    }

    /// Has the next handshake use another key, and asks for it at once if the peer is in use. The
    /// session is the old one until it has come about.
    fn change_preshared_key(&mut self, other: OtherEnd<'_>, own: &OwnEnd, wire: &mut PeerWire<'_>) {
        let dealings = self.supervisor.dealings();
        let sessions = match dealings {
            Dealings::Session => Sessions::GoOn,
            Dealings::None | Dealings::Attempt => Sessions::None,
        };
        self.noise.change_preshared_key(own, other, sessions, wire.now);
        self.supervisor.gave_up();
        // What waited for a session waits in vain.
        wire.monitor.add(Counter::DropNoSession, self.queued as u64);
        (self.queued, self.queued_len) = (0, 0);
        match dealings {
            Dealings::Session | Dealings::Attempt if self.endpoint.in_use().is_some() => {
                self.initiate(wire);
            }
            Dealings::Session | Dealings::Attempt | Dealings::None => {}
        }
    }
}
