//! Rules: what becomes of a flow that a peer asks for, by who asks, for what, and where.
//!
//! The first rule whose conditions all hold decides. The list is compiled into one index for each
//! condition; a look-up asks each index for the set of rules that the flow satisfies, and takes
//! the first rule that is in all of them, 64 rules at a time, leaving out what any of them lacks.
//!
//! ```text
//!   who asks  -->  sets by peer and by source prefix --.
//!   protocol  -->  sets by protocol ------------------- and --> first
//!   address   -->  sets by destination prefix --------|
//!   port      -->  sets by port ----------------------'
//! ```
//!
//! It is done once for each flow. What a verdict means for the flow is the stack's matter.
//!
//! - `check`: what is wrong with a rule;
//! - `intervals`: an index by ranges of values; `set`: sets of rules.

mod check;
mod intervals;
mod set;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use intervals::Intervals;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use set::{Common, Set, Union};

use crate::flow::Protocol;
use crate::key::PublicKey;
use crate::notation::ipv4_readings;

pub use crate::flow::ProxyProtocol;
pub use crate::limits::RULES_MAX;
pub use check::RuleError;

/// One rule. A condition that is empty holds for everything.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// Who asks: one of these.
    pub from: Vec<Source>,
    /// The protocol: one of these.
    pub protocols: Vec<Protocol>,
    /// Where the flow is meant to go: into one of these. What a rule refuses it refuses in every
    /// notation (see [`Rules::decide`]).
    pub to: Vec<IpNet>,
    /// The destination port: in one of these. ICMP has none.
    pub ports: Vec<RangeInclusive<u16>>,
    /// What becomes of the flow.
    pub action: RuleAction,
}

/// Who asks for a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Source {
    /// A peer, whatever its inner address.
    Peer(PublicKey),
    /// Whoever has an inner address in this prefix.
    Prefix(IpNet),
}

/// What becomes of a flow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RuleAction {
    /// It is offered to the embedder with its own destination as the target.
    Relay {
        /// What the host is told of the peer; TCP only.
        proxy_protocol: ProxyProtocol,
    },
    /// It is offered to the embedder with another target. ICMP has none and is not matched.
    Redirect {
        /// The other target.
        target: RedirectTarget,
        /// What the target is told of the peer; TCP only.
        proxy_protocol: ProxyProtocol,
    },
    /// It is offered to the embedder, who is the host leg itself: no socket, and no protected
    /// target. TCP and UDP only.
    Serve,
    /// It is answered with a reset or "administratively prohibited".
    Reject,
    /// It is not answered.
    Drop,
}

/// Where a redirected flow goes. A target is named by whoever wrote the rule, so that none is
/// protected.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RedirectTarget {
    /// A host socket.
    Address(SocketAddr),
    /// A Unix stream socket; TCP only.
    Unix(Arc<Path>),
}

impl fmt::Display for RedirectTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A flow that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Query {
    /// The peer.
    pub peer: PublicKey,
    /// The protocol.
    pub protocol: Protocol,
    /// The peer's inner address.
    pub source: IpAddr,
    /// Where the flow is meant to go (ICMP: the port is ignored).
    pub destination: SocketAddr,
}

/// The condition of a rule that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mismatch {
    /// Somebody else asks.
    From,
    /// It is another protocol, or one that the rule's action or ports are not for.
    Protocol,
    /// It goes to another address.
    To,
    /// It goes to another port.
    Port,
}

impl Rule {
    /// A rule without conditions.
    pub const fn any(action: RuleAction) -> Self {
        Self { from: Vec::new(), protocols: Vec::new(), to: Vec::new(), ports: Vec::new(), action }
    }

    /// Whether the rule is for flows of this protocol at all.
    pub fn is_for(&self, protocol: Protocol) -> bool {
        let listed = self.protocols.is_empty() || self.protocols.contains(&protocol);
        let possible = match &self.action {
            RuleAction::Relay { .. } | RuleAction::Reject | RuleAction::Drop => true,
            RuleAction::Redirect { target: RedirectTarget::Address(_), .. } | RuleAction::Serve => {
                protocol != Protocol::Icmp
            }
            RuleAction::Redirect { target: RedirectTarget::Unix(_), .. } => {
                protocol == Protocol::Tcp
            }
        };
        let has_port = protocol != Protocol::Icmp || self.ports.is_empty();
        listed && possible && has_port
    }

    /// The first condition that does not hold for a flow; `None` if the rule matches.
    pub fn mismatch(&self, query: &Query) -> Option<Mismatch> {
        let is_from = |source: &Source| match source {
            Source::Peer(key) => *key == query.peer,
            Source::Prefix(prefix) => prefix.contains(&query.source),
        };
        let (address, port) = (query.destination.ip(), query.destination.port());
        if !self.from.is_empty() && !self.from.iter().any(is_from) {
            Some(Mismatch::From)
        } else if !self.is_for(query.protocol) {
            Some(Mismatch::Protocol)
        } else if !self.to.is_empty() && !self.to.iter().any(|prefix| prefix.contains(&address)) {
            Some(Mismatch::To)
        } else if !self.ports.is_empty() && !self.ports.iter().any(|range| range.contains(&port)) {
            Some(Mismatch::Port)
        } else {
            None
        }
    }
}

/// A list of rules, ready to be asked.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    tcp: Set,
    udp: Set,
    icmp: Set,
    from_anybody: Set,
    peers: HashMap<PublicKey, Set>,
    sources: Prefixes,
    to_anywhere: Set,
    destinations: Prefixes,
    any_port: Set,
    ports: Intervals<u16>,
}

impl Rules {
    /// Compiles a list, of which at most [`RULES_MAX`] rules count.
    pub fn new(mut rules: Vec<Rule>) -> Self {
        rules.truncate(RULES_MAX);
        let count = rules.len();
        let placed = || (0..).zip(&rules);
        let set_of = |holds: &dyn Fn(&Rule) -> bool| {
            let places = placed().filter(|(_, rule)| holds(rule)).map(|(place, _)| place);
            Set::new(places.collect(), count)
        };
        let mut peers: HashMap<PublicKey, Vec<u32>> = HashMap::new();
        let (mut sources, mut destinations, mut ports) = (Vec::new(), Vec::new(), Vec::new());
        for (place, rule) in placed() {
            for source in &rule.from {
                match source {
                    Source::Peer(key) => {
                        let places = peers.entry(*key).or_default();
                        if places.last() != Some(&place) {
                            places.push(place);
                        }
                    }
                    Source::Prefix(prefix) => sources.push((*prefix, place)),
                }
            }
            destinations.extend(rule.to.iter().map(|prefix| (*prefix, place)));
            ports.extend(rule.ports.iter().map(|range| (range.clone(), place)));
        }
        Self {
            tcp: set_of(&|rule| rule.is_for(Protocol::Tcp)),
            udp: set_of(&|rule| rule.is_for(Protocol::Udp)),
            icmp: set_of(&|rule| rule.is_for(Protocol::Icmp)),
            from_anybody: set_of(&|rule| rule.from.is_empty()),
            peers: peers.into_iter().map(|(key, set)| (key, Set::new(set, count))).collect(),
            sources: Prefixes::new(&sources, count),
            to_anywhere: set_of(&|rule| rule.to.is_empty()),
            destinations: Prefixes::new(&destinations, count),
            any_port: set_of(&|rule| rule.ports.is_empty()),
            ports: Intervals::new(&ports, count, |port| port.checked_add(1)),
            rules,
        }
    }

    /// The rules, in order.
    pub const fn as_slice(&self) -> &[Rule] {
        self.rules.as_slice()
    }

    /// The rule that decides, with its place in the list; `None` if no rule matches.
    ///
    /// A refusal holds for every notation of what it names: if the first rule for an IPv4 address
    /// refuses it, that rule decides on IPv6 addresses that lead there too (NAT64, 6to4, mapped),
    /// unless an earlier one matches those as they are written.
    pub fn decide(&self, query: &Query) -> Option<(usize, &Rule)> {
        let literal = self.first(query, query.destination.ip());
        let IpAddr::V6(destination) = query.destination.ip() else { return literal };
        let readings = ipv4_readings(destination).filter_map(|v4| self.first(query, v4.into()));
        let refusals = readings.filter(|(_, rule)| match rule.action {
            RuleAction::Reject | RuleAction::Drop => true,
            RuleAction::Relay { .. } | RuleAction::Redirect { .. } | RuleAction::Serve => false,
        });
        literal.into_iter().chain(refusals).min_by_key(|(place, _)| *place)
    }

    /// The first rule that matches a flow if its destination has this address.
    fn first(&self, query: &Query, address: IpAddr) -> Option<(usize, &Rule)> {
        let Query { peer, protocol, source, destination } = query;
        let place = self
            .matching(Facts {
                peer: Some(peer),
                protocol: *protocol,
                source: Some(*source),
                address: Some(address),
                port: Some(destination.port()),
            })
            .next()?;
        self.rules.get(place).map(|rule| (place, rule))
    }

    /// The places of the rules whose conditions hold for what is known of a flow; one about what is
    /// not known does not hold.
    fn matching(&self, facts: Facts<'_>) -> Common<'_, 4> {
        let Facts { peer, protocol, source, address, port } = facts;
        let protocol = match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
            Protocol::Icmp => &self.icmp,
        };
        let destinations = address.and_then(|address| self.destinations.find(address));
        let ports = port.and_then(|port| self.ports.find(port));
        let peers = peer.and_then(|peer| self.peers.get(peer));
        let sources = source.and_then(|source| self.sources.find(source));
        // Most rules differ in where flows go.
        Common::new([
            Union::new([Some(&self.to_anywhere), destinations, None]),
            Union::new([Some(&self.any_port), ports, None]),
            Union::new([Some(&self.from_anybody), peers, sources]),
            Union::new([Some(protocol), None, None]),
        ])
    }
}

/// What is known of a flow.
struct Facts<'a> {
    peer: Option<&'a PublicKey>,
    protocol: Protocol,
    source: Option<IpAddr>,
    address: Option<IpAddr>,
    port: Option<u16>,
}

/// Which rules ask for an address.
#[derive(Debug)]
struct Prefixes {
    v4: Intervals<u32>,
    v6: Intervals<u128>,
}

impl Prefixes {
    fn new(prefixes: &[(IpNet, u32)], rules: usize) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, place) in prefixes {
            match prefix {
                IpNet::V4(net) => {
                    v4.push((net.network().to_bits()..=net.broadcast().to_bits(), *place));
                }
                IpNet::V6(net) => {
                    v6.push((net.network().to_bits()..=net.broadcast().to_bits(), *place));
                }
            }
        }
        Self {
            v4: Intervals::new(&v4, rules, |address| address.checked_add(1)),
            v6: Intervals::new(&v6, rules, |address| address.checked_add(1)),
        }
    }

    fn find(&self, address: IpAddr) -> Option<&Set> {
        match address {
            IpAddr::V4(v4) => self.v4.find(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.find(v6.to_bits()),
        }
    }
}

#[cfg(test)]
mod tests;
