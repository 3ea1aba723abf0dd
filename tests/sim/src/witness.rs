//! What an observer of a host's engine hears, and what the engine can be asked, against each other
//! and against what the world knows.

use std::sync::{Arc, Mutex, PoisonError};

use slipwire_core::{Counter, Engine, Event, Instant, Observer, PeerId, Protocol, Transfer};

use super::host::{Host, Leg};
use super::oracle::{Violation, ensure};

/// What was heard of one engine.
#[derive(Clone, Default, Debug)]
pub(super) struct Witness(Arc<Mutex<Heard>>);

#[derive(Clone, Default, Debug)]
struct Heard {
    opened: usize,
    ended: usize,
    /// Peers that are up.
    up: Vec<PeerId>,
    /// The first thing that makes no sense.
    nonsense: Option<String>,
}

impl Witness {
    /// Listens to an engine.
    pub(super) fn of(engine: &mut Engine) -> Self {
        let witness = Self::default();
        engine.set_observer(Some(Box::new(witness.clone())));
        witness
    }

    fn heard(&self) -> Heard {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Witness {
    fn event(&mut self, event: Event<'_>, now: Instant) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let makes_sense = match event {
            Event::PeerUp { peer, .. } => {
                let was_down = !heard.up.contains(&peer);
                heard.up.push(peer);
                was_down
            }
            Event::PeerDown { peer, .. } => {
                let before = heard.up.len();
                heard.up.retain(|up| *up != peer);
                heard.up.len() + 1 == before
            }
            Event::FlowOpened(flow) => {
                heard.opened += 1;
                flow.opened_at == now
            }
            Event::FlowEnded { flow, outcome } => {
                heard.ended += 1;
                // Datagrams may move before their flow is refused.
                let is_stream = flow.meta.protocol == Protocol::Tcp;
                let has_moved = flow.transfer != Transfer::default();
                flow.opened_at <= now && !(outcome.is_refusal() && is_stream && has_moved)
            }
            Event::FlowRefused { outcome, .. } => outcome.is_refusal(),
            _ => true,
        };
        if !makes_sense {
            heard.nonsense.get_or_insert_with(|| format!("{event:?}"));
        }
    }
}

/// Counters of which something is of no peer, or not known to be of one: datagrams that are no
/// good, and what they are answered.
const PARTLY_OF_NOBODY: &[Counter] = &[
    Counter::DatagramsIn,
    Counter::BytesIn,
    Counter::DatagramsOut,
    Counter::BytesOut,
    Counter::CookieReplies,
    Counter::DropMalformed,
    Counter::DropHandshake,
    Counter::DropHandshakeRate,
    Counter::DropNoSession,
    Counter::DropCounterRange,
    Counter::DropEgressFull,
];

impl Host {
    /// What the engine tells agrees with what it can be asked, and with what legs have moved.
    pub(super) fn audit_witness(&self) -> Result<(), Violation> {
        let (name, engine) = (self.index, &self.engine);
        let Heard { opened, ended, up, nonsense } = self.witness.heard();
        ensure!(nonsense.is_none(), "host {name} told of {nonsense:?}");
        let live = engine.flows().count();
        ensure!(
            opened == ended + live && live == self.legs.len(),
            "host {name} told of {opened} flows and {ended} ends, and has {live}"
        );
        let usage = engine.usage();
        let used = usage.tcp_flows + usage.udp_flows + usage.icmp_flows;
        ensure!(used == live, "host {name} has {live} flows and {usage:?}");
        for (flow, leg) in &self.legs {
            let Some(state) = engine.flow_state(*flow) else { continue };
            if let Leg::Stream(leg) = leg {
                let (received, sent) = (leg.socket.received, leg.socket.sent);
                let transfer = state.transfer;
                ensure!(
                    (transfer.bytes_in, transfer.bytes_out) == (received, sent),
                    "{} has read {received} and written {sent} bytes: {transfer:?}",
                    leg.id
                );
            }
        }
        for peer in engine.peers() {
            let is_up = up.contains(&peer.id);
            ensure!(peer.is_up == is_up, "host {name} told wrongly of {:?}", peer.id);
        }
        self.audit_counters_of_peers()
    }

    fn audit_counters_of_peers(&self) -> Result<(), Violation> {
        for (counter, all) in self.engine.stats().iter() {
            let of_peers: u64 = self.engine.peers().map(|peer| peer.stats.value(counter)).sum();
            let agrees = of_peers == all || of_peers < all && PARTLY_OF_NOBODY.contains(&counter);
            let (name, counter) = (self.index, counter.name());
            ensure!(agrees, "host {name}: {counter} is {all}, and {of_peers} of peers");
        }
        Ok(())
    }
}
