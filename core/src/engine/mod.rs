//! [`Engine`]: joins the tunnel and the stack.
//!
//! ```text
//!   network.rs     datagrams of WireGuard, and what the system says of their way   --> tunnel
//!   mod.rs         the clock, and the one door of the stack: recorded here
//!   flow.rs        what the embedder says of a flow                                --> stack
//!   changes.rs     rules and addresses that change
//!   peers.rs       peers that come, change and go
//!   wire.rs        the tunnel as the stack sees it
//!   recording.rs   when tapes begin and end
//!   state.rs       what can be read
//! ```
//!
//! Here are the outputs.

mod changes;
mod flow;
mod network;
mod peers;
mod recording;
mod state;
mod wire;

use std::net::SocketAddr;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::action::Action;
use crate::config::Config;
use crate::datagram::Datagram;
use crate::egress::{Egress, Transmit};
use crate::engine::wire::Wire;
use crate::event::Observer;
use crate::flow::FlowMeta;
use crate::id::FlowId;
use crate::monitor::Monitor;
use crate::stack::input::{Input, Reply};
use crate::stack::{Setup, Stack};
use crate::stats::Stats;
use crate::tap::Tap;
use crate::tape::{Output, Recorder};
use crate::time::{Instant, earlier};
use crate::tunnel::Tunnel;

pub use flow::Flow;

/// A WireGuard end and the flows through it. The crate's documentation has the loop that drives
/// it.
#[derive(Debug)]
pub struct Engine {
    tunnel: Tunnel,
    stack: Stack,
    egress: Egress,
    monitor: Monitor,
    tap: Option<Box<dyn Tap>>,
    tape: Option<Box<Recorder>>,
    rng: ChaCha20Rng,
    /// The bound of host sockets is never above this one.
    sockets_configured: usize,
    /// The latest time seen: it never runs backwards.
    now: Instant,
}

/// An engine may be made in one thread and go on in another.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Engine>();
};

/// Entropy for one part of an engine.
fn next_seed(rng: &mut ChaCha20Rng) -> [u8; 32] {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    seed
}

/// Starting, and getters.
impl Engine {
    /// Builds the engine. `seed` is entropy that no outsider may know; `now` starts its time.
    pub fn new(config: &Config, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        Self {
            tunnel: Tunnel::new(config, next_seed(&mut rng), now),
            stack: Stack::new(&Setup::of(config), next_seed(&mut rng), 0),
            egress: Egress::new(),
            monitor: Monitor::new(),
            tap: None,
            tape: None,
            rng,
            sockets_configured: config.parts().limits.sockets,
            now,
        }
    }

    /// Has `tap` hear every packet of peers from now on, or nobody. Without one that costs nothing.
    pub fn set_tap(&mut self, tap: Option<Box<dyn Tap>>) {
        self.tap = tap;
    }

    /// Has `observer` hear of every [`Event`](crate::Event) from now on, or nobody. Without one
    /// that costs nothing.
    pub fn set_observer(&mut self, observer: Option<Box<dyn Observer>>) {
        self.monitor.set_observer(observer);
    }

    /// What a flow is about; `None` once it is over.
    pub fn meta(&self, flow: FlowId) -> Option<&FlowMeta> {
        self.stack.meta(flow)
    }

    /// Whether a flow may reach the host itself at `target`, its own target or where one of its
    /// datagrams goes: a rule names that, or leads there, or it is the port of a peer's mapping.
    ///
    /// Core refuses the [addresses](Self::set_host_addresses) that it knows; the system knows more
    /// (an address that is new, a range that is routed to this host). So whoever dials asks the
    /// system whether the target leads here, in each of its [readings](crate::readings), and if so
    /// asks this; if not, the answer is [`Refusal::Protected`](crate::Refusal::Protected).
    pub fn may_reach_host(&self, flow: FlowId, target: SocketAddr) -> bool {
        self.stack.may_reach_host(flow, target)
    }

    /// The counters of all peers, those that were removed too, and of what is of no peer.
    pub const fn stats(&self) -> &Stats {
        self.monitor.stats()
    }
}

/// Time, and the turns of flows.
impl Engine {
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// The one way into the stack: what happens to it is written down, if anybody does, then it
    /// happens.
    ///
    /// Inlined, so that an input is made where the stack looks for it: moving it once more costs
    /// 10 ns for each packet.
    #[inline(always)]
    fn hand_in(&mut self, input: Input<'_>) -> Reply {
        let Self { tunnel, stack, egress, monitor, tap, tape, now, .. } = self;
        let (tap, mut tape, now) = (tap.as_deref_mut(), tape.as_deref_mut(), *now);
        if let Some(tape) = &mut tape {
            tape.input(&input, stack, now);
        }
        let mut wire = Wire { tunnel, egress, monitor, tap, tape, now };
        let reply = stack.handle(input, &mut wire, now);
        if let Some(tape) = wire.tape {
            tape.reply(reply);
        }
        reply
    }

    /// Tells the stack which peers are reached by another path than before.
    fn tell_moves(&mut self) {
        while let Some(peer) = self.tunnel.poll_move() {
            self.hand_in(Input::PeerMoved(peer));
        }
    }

    /// Lets time pass: call it at [`poll_timeout`](Self::poll_timeout). Early and repeated calls
    /// do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.tunnel.handle_timeout(&mut self.egress, &mut self.monitor, self.now);
        self.hand_in(Input::Timeout);
        if let Some(tape) = &mut self.tape {
            tape.output(Output::Deadline(self.stack.poll_timeout()));
        }
    }

    /// Gives flows their turns: those with something to do send packets, as long as there is room
    /// for them, and say what is new. Says whether the outputs are worth another look: something
    /// new waits, or a flow has more to send. Bounded work for each flow.
    pub fn service(&mut self, now: Instant) -> bool {
        self.advance(now);
        if self.stack.is_idle() {
            return false;
        }
        let was_empty = self.egress.front().is_none();
        let has_more = self.hand_in(Input::Service) == Reply::Serviced { has_more: true };
        has_more || was_empty && self.egress.front().is_some()
    }
}

/// Outputs. Looking at them changes nothing but that what was returned is not returned again, and
/// of datagrams and transmits not even that. Drain them after inputs: actions, then datagrams, then
/// transmits; then give flows their turns ([`service`](Self::service)), and begin again for as long
/// as there is anything; then sleep until [`poll_timeout`](Self::poll_timeout).
impl Engine {
    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.stack.poll_action();
        if let Some(tape) = &mut self.tape {
            tape.action(action);
        }
        action.or_else(|| self.tunnel.poll_resolve().map(Action::Resolve))
    }

    /// The next endpoint that the embedder should look up the path MTU to, for
    /// [`handle_path_mtu`](Self::handle_path_mtu): each when it is first known, and with each new
    /// session. To leave the question alone costs speed on narrow paths, and a warning.
    pub fn poll_path_question(&mut self) -> Option<SocketAddr> {
        self.tunnel.poll_path_question()
    }

    /// The datagram at the front, for the host leg of a UDP or ICMP flow. It stays there until
    /// [`delivered`](Self::delivered).
    pub fn poll_datagram(&self) -> Option<Datagram<'_>> {
        self.stack.poll_datagram()
    }

    /// Says that the datagram at the front, of `flow`, has been sent, or given up. If the flow has
    /// ended since, the datagram is gone already, and nothing happens.
    pub fn delivered(&mut self, flow: FlowId) {
        if self.stack.poll_datagram().is_none_or(|next| next.flow != flow) {
            return;
        }
        match &mut self.tape {
            Some(tape) => tape.output(Output::take_datagram(&mut self.stack)),
            None => self.stack.pop_datagram(),
        }
    }

    /// The train at the front. It stays there until [`transmitted`](Self::transmitted).
    pub fn poll_transmit(&self) -> Option<Transmit<'_>> {
        self.egress.front()
    }

    /// Says that the first `bytes` of the train at the front have been sent, or given up: a
    /// multiple of its segment size, or all of it. The rest stays at the front.
    pub fn transmitted(&mut self, bytes: usize) {
        self.egress.transmitted(bytes);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due. Always later than the latest `now`
    /// after a call of it.
    pub fn poll_timeout(&self) -> Option<Instant> {
        earlier(self.tunnel.poll_timeout(), self.stack.poll_timeout())
    }
}
