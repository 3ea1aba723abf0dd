//! What changes while flows live: rules, and the addresses and sockets of the host.

use std::net::IpAddr;

use crate::config::{self, ConfigErrors};
use crate::engine::Engine;
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

    /// Says how many sockets the host has for flows by now. That many or as many as are
    /// [configured](crate::Limits::sockets), if those are fewer, are the bound from now on; flows
    /// that are above it are aborted, those first that are missed least.
    pub fn limit_sockets(&mut self, sockets: usize, now: Instant) {
        self.advance(now);
        self.hand_in(Input::SocketLimit(sockets.min(self.sockets_configured)));
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

    /// Ends every flow, as the process is about to end: peers get resets, the embedder gets
    /// [`Action::Aborted`](crate::Action::Aborted). Drain the outputs once more afterwards.
    pub fn shut_down(&mut self, now: Instant) {
        self.advance(now);
        self.hand_in(Input::ShutDown);
    }
}
