//! What becomes of a flow under a configuration, for whoever asks before it runs.

use crate::config::Config;
use crate::flow::{Protocol, Target};
use crate::policy::{Course, Denial, OverlaySay, Owner, Policy, Toward, Who};
use crate::rules::Query;

/// What becomes of a flow, and the rule that decided, by its place; `None` where no rule matched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The rule, by its place in [`Gateway::rules`](crate::config::Gateway::rules).
    pub rule: Option<usize>,
    /// What becomes of the flow.
    pub outcome: Outcome,
}

/// What becomes of a flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is offered to the embedder.
    Offered(Target),
    /// Its packets go to another peer, of this name.
    Overlay(String),
    /// It is refused with an answer.
    Rejected,
    /// It is refused: the destination is protected, and no rule names it.
    Protected,
    /// It is refused: the destination is another peer's, or the peer's own.
    PeersOwn,
    /// It is refused: the destination is on the tunnel's own network, where no peer has it, and no
    /// rule names it.
    NoPeer,
    /// It is not answered.
    Dropped,
    /// The engine itself answers: an echo request to one of its own addresses, about which no rule
    /// is asked.
    Answered,
}

impl Config {
    /// What would become of a flow of a peer. The addresses of the host are those of
    /// [`Gateway::host_addresses`](crate::config::Gateway::host_addresses).
    pub fn decide(&self, query: &Query) -> Decision {
        let parts = self.parts();
        let policy = Policy::new(parts.gateway.clone(), &parts.interface.addresses);
        let destination = query.destination.ip();
        let is_own = parts.interface.addresses.iter().any(|own| own.addr() == destination);
        let toward = if is_own { Toward::Own } else { Toward::Host };
        if is_own && query.protocol == Protocol::Icmp {
            return Decision { rule: None, outcome: Outcome::Answered };
        }
        if let Some(outcome) = self.overlay(query, &policy).filter(|_| !is_own) {
            return Decision { rule: None, outcome };
        }
        let rule = policy.rule_for(query).map(|(place, _)| place);
        let outcome = match policy.decide(query, toward) {
            Ok(offer) => Outcome::Offered(offer.target),
            Err(Denial::Rejected | Denial::Closed) => Outcome::Rejected,
            Err(Denial::Protected) => Outcome::Protected,
            Err(Denial::NoPeer) => Outcome::NoPeer,
            Err(Denial::Dropped) => Outcome::Dropped,
        };
        Decision { rule, outcome }
    }

    /// What becomes of packets that do not leave here.
    fn overlay(&self, query: &Query, policy: &Policy) -> Option<Outcome> {
        let destination = query.destination.ip();
        let (prefix, peer) = self.route(destination)?;
        let who = if peer.public_key == query.peer { Who::Sender } else { Who::Another };
        let owner = Owner { who, prefix_len: prefix.prefix_len() };
        let a_rule_takes = || policy.say_of_overlay(query) != OverlaySay::Pass;
        match policy.course(destination, Some(owner), a_rule_takes) {
            Course::Overlay => Some(Outcome::Overlay(peer.name.clone())),
            Course::Nowhere => Some(Outcome::PeersOwn),
            Course::Host => None,
        }
    }
}
