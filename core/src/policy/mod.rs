//! What becomes of a flow that a peer asks for: the rules are asked, then the gateway's default,
//! and what they let through is checked for protected targets. [`decision`] says it beforehand.

pub mod decision;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::address::{is_protected, names};
use crate::config::{DefaultAction, Gateway};
use crate::flow::{Protocol, ProxyProtocol, Target};
use crate::id::PeerId;
use crate::routing::Route;
use crate::rules::{Query, RedirectTarget, Rule, RuleAction, Rules};

/// Where a packet is meant to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Toward {
    /// One of our own tunnel addresses.
    Own,
    /// The host's network.
    Host,
}

/// The peer that owns a destination, by the longest matching prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    pub(crate) who: Who,
    pub(crate) prefix_len: u8,
}

impl Owner {
    /// The owner at the end of a route, as a peer that sends there sees it.
    pub(crate) fn of(route: Route, sender: PeerId) -> Self {
        let who = if route.peer == sender { Who::Sender } else { Who::Another };
        Self { who, prefix_len: route.prefix_len }
    }
}

/// A peer, seen from the one that sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    Sender,
    Another,
}

/// Which way packets go that are not for us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Course {
    /// To the peer that owns the destination.
    Overlay,
    /// To the host's network, or wherever a rule leads.
    Host,
    /// They are refused.
    Nowhere,
}

/// Why a new flow is not offered to the embedder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Denial {
    /// A rule or the default refuses it.
    Rejected,
    /// The target is protected.
    Protected,
    /// The target is on the tunnel's own network, where no peer has it.
    NoPeer,
    /// Nobody can listen there.
    Closed,
    /// A rule or the default has it that nothing is said.
    Dropped,
}

/// What the embedder is offered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Offer {
    pub(crate) target: Target,
    pub(crate) rule: Option<usize>,
    pub(crate) proxy_protocol: ProxyProtocol,
}

impl Offer {
    /// An offer that nobody but the flow itself has a say in.
    pub(crate) const fn plain(target: Target) -> Self {
        Self { target, rule: None, proxy_protocol: ProxyProtocol::Off }
    }

    /// Whether the flow goes where its packets go, like others of its source.
    pub(crate) fn is_relay(&self, destination: SocketAddr) -> bool {
        self.elsewhere(destination).is_none()
    }

    /// The one host that the datagrams of the flow go to, if that is not for each to say. The
    /// embedder is whichever host it is taken for.
    pub(crate) fn elsewhere(&self, destination: SocketAddr) -> Option<SocketAddr> {
        match self.target {
            Target::Host(host) if host == destination => None,
            Target::Host(host) => Some(host),
            Target::Embedder | Target::Unix(_) | Target::Client => Some(destination),
        }
    }
}

/// What the rules say of a flow to another peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OverlaySay {
    /// It may go there.
    Pass,
    /// It goes somewhere else.
    Elsewhere,
    /// It goes nowhere.
    Stop,
}

/// The gateway's policy.
#[derive(Debug)]
pub(crate) struct Policy {
    gateway: Option<Gateway>,
    /// The tunnel's own networks.
    networks: Vec<IpNet>,
    rules: Rules,
    /// Whether a rule gives datagrams another target than their own.
    redirects_datagrams: bool,
}

impl Policy {
    /// The policy of a gateway with these addresses inside the tunnel.
    pub(crate) fn new(mut gateway: Option<Gateway>, own_addresses: &[IpNet]) -> Self {
        let rules = gateway.as_mut().map_or_else(Vec::new, |gateway| {
            // The compiled list is the only one that counts.
            std::mem::take(&mut gateway.rules)
        });
        // Whoever gives a prefix of no length means everything, which is no network.
        let networks = own_addresses.iter().filter(|own| own.prefix_len() > 0).copied().collect();
        let rules_of_none = Rules::new(Vec::new());
        let mut policy =
            Self { gateway, networks, rules: rules_of_none, redirects_datagrams: false };
        policy.set_rules(rules);
        policy
    }

    /// Replaces the rules. Without a gateway there are none to ask.
    pub(crate) fn set_rules(&mut self, rules: Vec<Rule>) {
        self.rules = Rules::new(rules);
        self.redirects_datagrams = self.rules.as_slice().iter().any(|rule| {
            let elsewhere = matches!(rule.action, RuleAction::Redirect { .. } | RuleAction::Serve);
            elsewhere && rule.is_for(Protocol::Udp)
        });
    }

    /// The gateway that this is the policy of, with the rules of now.
    pub(crate) fn gateway(&self) -> Option<Gateway> {
        let rules = self.rules().to_vec();
        self.gateway.clone().map(|gateway| Gateway { rules, ..gateway })
    }

    /// Replaces the addresses of the host. Says whether they are others than before.
    pub(crate) fn set_host_addresses(&mut self, addresses: Vec<IpAddr>) -> bool {
        let Some(gateway) = &mut self.gateway else { return false };
        let changed = gateway.host_addresses != addresses;
        gateway.host_addresses = addresses;
        changed
    }

    pub(crate) const fn rules(&self) -> &[Rule] {
        self.rules.as_slice()
    }

    pub(crate) const fn has_rules(&self) -> bool {
        !self.rules.as_slice().is_empty()
    }

    /// Whether rules have a say in packets between peers, or those that may come once will.
    pub(crate) fn judges_overlay(&self) -> bool {
        self.has_rules() || self.allows_overlay()
    }

    /// Whether a datagram may belong to a flow of its own, with a target of its own.
    pub(crate) const fn redirects_datagrams(&self) -> bool {
        self.redirects_datagrams
    }

    /// Which way packets to a destination go. `a_rule_takes` says whether a rule does something
    /// else with packets to another peer than let them go there.
    pub(crate) fn course(
        &self,
        destination: IpAddr,
        owner: Option<Owner>,
        a_rule_takes: impl FnOnce() -> bool,
    ) -> Course {
        let Some(Owner { who, prefix_len }) = owner.filter(|_| !self.excludes(destination)) else {
            return Course::Host;
        };
        match who {
            Who::Another if a_rule_takes() => Course::Host,
            Who::Another if self.allows_overlay() => Course::Overlay,
            // What the sender owns is its own network, which the packet has come from.
            Who::Another | Who::Sender if prefix_len > 0 => Course::Nowhere,
            // A peer that takes everything is a way out, not the owner of each address.
            Who::Another | Who::Sender => Course::Host,
        }
    }

    /// Whether packets to another peer's addresses may go there.
    fn allows_overlay(&self) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| gateway.peer_to_peer)
    }

    /// Whether packets to `destination` leave through the host, whichever peer owns it.
    fn excludes(&self, destination: IpAddr) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| {
            gateway.overlay_exclude.iter().any(|prefix| prefix.contains(&destination))
        })
    }

    /// Whether this is an address by which the network knows the host, so not loopback, say.
    pub(crate) fn is_host_address(&self, address: IpAddr) -> bool {
        let own = self.gateway.as_ref().map_or(&[][..], |gateway| &gateway.host_addresses);
        own.contains(&address) && !is_protected(address, &[])
    }

    /// The rule that matches a flow, with its place in the list.
    pub(crate) fn rule_for(&self, query: &Query) -> Option<(usize, &Rule)> {
        self.gateway.as_ref()?;
        self.rules.decide(query)
    }

    /// What the rules say of a flow to another peer.
    pub(crate) fn say_of_overlay(&self, query: &Query) -> OverlaySay {
        self.rule_for(query).map_or(OverlaySay::Pass, |(_, rule)| match rule.action {
            RuleAction::Relay { .. } => OverlaySay::Pass,
            RuleAction::Redirect { .. } | RuleAction::Serve => OverlaySay::Elsewhere,
            RuleAction::Reject | RuleAction::Drop => OverlaySay::Stop,
        })
    }

    /// Whether a new flow is offered to the embedder, and as what. Nobody can listen on port 0 (RFC
    /// 6335, section 6).
    pub(crate) fn decide(&self, query: &Query, toward: Toward) -> Result<Offer, Denial> {
        let has_ports = query.protocol != Protocol::Icmp;
        match self.decide_any_port(query, toward) {
            Ok(_) if has_ports && query.destination.port() == 0 => Err(Denial::Closed),
            decision => decision,
        }
    }

    fn decide_any_port(&self, query: &Query, toward: Toward) -> Result<Offer, Denial> {
        let Some(gateway) = &self.gateway else {
            return match toward {
                Toward::Own => Err(Denial::Rejected),
                Toward::Host => Err(Denial::Dropped),
            };
        };
        let Some((place, rule)) = self.rule_for(query) else {
            return match (toward, gateway.default) {
                (Toward::Own, _) | (_, DefaultAction::Reject) => Err(Denial::Rejected),
                (Toward::Host, DefaultAction::Drop) => Err(Denial::Dropped),
                (Toward::Host, DefaultAction::Relay) => {
                    self.relay(query, &[], Offer::plain(Target::Host(query.destination)))
                }
            };
        };
        let offer = |target, proxy_protocol| {
            let is_tcp = query.protocol == Protocol::Tcp;
            let proxy_protocol = if is_tcp { proxy_protocol } else { ProxyProtocol::Off };
            Offer { target, rule: Some(place), proxy_protocol }
        };
        match &rule.action {
            RuleAction::Relay { proxy_protocol } => match toward {
                // Behind our own address is nothing but what rules put there.
                Toward::Own => Err(Denial::Rejected),
                Toward::Host => {
                    let target = Target::Host(query.destination);
                    self.relay(query, &rule.to, offer(target, *proxy_protocol))
                }
            },
            RuleAction::Redirect { target, proxy_protocol } => {
                let target = match target {
                    RedirectTarget::Address(address) => Target::Host(*address),
                    RedirectTarget::Unix(path) => Target::Unix(path.clone()),
                };
                Ok(offer(target, *proxy_protocol))
            }
            RuleAction::Serve => Ok(offer(Target::Embedder, ProxyProtocol::Off)),
            RuleAction::Reject => Err(Denial::Rejected),
            RuleAction::Drop => Err(Denial::Dropped),
        }
    }

    /// Whether the rules let a flow reach the host itself at `target`: a relay whose rule names it,
    /// or a redirect there.
    pub(crate) fn opens(&self, query: &Query, target: SocketAddr) -> bool {
        self.rule_for(query).is_some_and(|(_, rule)| match &rule.action {
            RuleAction::Relay { .. } => {
                let address = target.ip();
                query.destination == target && rule.to.iter().any(|net| names(net, address))
            }
            RuleAction::Redirect { target: RedirectTarget::Address(address), .. } => {
                *address == target
            }
            RuleAction::Redirect { target: RedirectTarget::Unix(_), .. }
            | RuleAction::Serve
            | RuleAction::Reject
            | RuleAction::Drop => false,
        })
    }

    /// Lets a flow go where it is meant to go, if that is neither protected nor a peer's that there
    /// is not, or is named.
    fn relay(&self, query: &Query, named: &[IpNet], offer: Offer) -> Result<Offer, Denial> {
        let address = query.destination.ip();
        let host = self.gateway.as_ref().map_or(&[][..], |gateway| &gateway.host_addresses);
        if is_protected(address, host) && !named.iter().any(|prefix| names(prefix, address)) {
            return Err(Denial::Protected);
        }
        if self.is_on_the_tunnel(address, named) && !self.excludes(address) {
            return Err(Denial::NoPeer);
        }
        Ok(offer)
    }

    /// Whether an address is on one of the tunnel's networks, and no prefix within that names it.
    /// (What a peer there has goes to that peer, and nobody is asked here.)
    fn is_on_the_tunnel(&self, address: IpAddr, named: &[IpNet]) -> bool {
        let mut networks = self.networks.iter().filter(|network| network.contains(&address));
        networks.any(|network| {
            let names = |prefix: &IpNet| prefix.contains(&address) && network.contains(prefix);
            !named.iter().any(names)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PrivateKey;
    use crate::rules::RULES_MAX;

    const RELAY: RuleAction = RuleAction::Relay { proxy_protocol: ProxyProtocol::V2 };

    fn gateway(default: DefaultAction, rules: Vec<Rule>) -> Policy {
        assert!(rules.len() <= RULES_MAX);
        let gateway = Some(Gateway {
            rules,
            default,
            peer_to_peer: true,
            overlay_exclude: vec!["10.9.0.0/16".parse().unwrap()],
            host_addresses: vec!["192.0.2.1".parse().unwrap()],
        });
        Policy::new(gateway, &["10.77.0.1/24".parse().unwrap()])
    }

    fn rule(to: &str, action: RuleAction) -> Rule {
        let to = if to.is_empty() { Vec::new() } else { vec![to.parse().unwrap()] };
        Rule { to, ..Rule::any(action) }
    }

    fn redirect(target: &str) -> RuleAction {
        let target = RedirectTarget::Address(target.parse().unwrap());
        RuleAction::Redirect { target, proxy_protocol: ProxyProtocol::V1 }
    }

    fn query(protocol: Protocol, destination: &str) -> Query {
        Query {
            peer: PrivateKey::from_entropy([1; 32]).public_key(),
            protocol,
            source: "10.0.0.2".parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    fn tcp(policy: &Policy, destination: &str) -> Result<Offer, Denial> {
        policy.decide(&query(Protocol::Tcp, destination), Toward::Host)
    }

    fn host(target: &str) -> Target {
        Target::Host(target.parse().unwrap())
    }

    #[test]
    fn without_a_gateway_nothing_is_reached() {
        let policy = Policy::new(None, &[]);
        assert_eq!(tcp(&policy, "8.8.8.8:53"), Err(Denial::Dropped));
        let own = policy.decide(&query(Protocol::Tcp, "10.0.0.1:80"), Toward::Own);
        assert_eq!(own, Err(Denial::Rejected));
        assert!(!policy.allows_overlay());
    }

    #[test]
    fn without_a_rule_the_default_decides() {
        let verdict = |default| tcp(&gateway(default, Vec::new()), "8.8.8.8:53");
        assert_eq!(verdict(DefaultAction::Reject), Err(Denial::Rejected));
        assert_eq!(verdict(DefaultAction::Drop), Err(Denial::Dropped));
        let offer = Offer::plain(host("8.8.8.8:53"));
        assert_eq!(verdict(DefaultAction::Relay), Ok(offer));
    }

    #[test]
    fn excluded_prefixes_never_go_to_a_peer() {
        let policy = gateway(DefaultAction::Relay, Vec::new());
        assert!(!policy.excludes("10.8.0.1".parse().unwrap()));
        assert!(policy.excludes("10.9.0.1".parse().unwrap()));
    }

    #[test]
    fn a_protected_target_is_opened_by_its_name_only() {
        let closed = gateway(DefaultAction::Relay, vec![rule("", RELAY), rule("0.0.0.0/0", RELAY)]);
        let open = gateway(
            DefaultAction::Drop,
            vec![rule("127.0.0.0/8", RELAY), rule("192.0.2.1/32", RELAY)],
        );
        for target in ["127.0.0.1:80", "192.0.2.1:80"] {
            assert_eq!(tcp(&closed, target), Err(Denial::Protected), "{target}");
            assert!(tcp(&open, target).is_ok(), "{target}");
        }
    }

    #[test]
    fn an_address_of_the_tunnels_network_leaves_only_by_its_name() {
        let verdict = |rules| tcp(&gateway(DefaultAction::Relay, rules), "10.77.0.9:80");
        for wider in ["", "0.0.0.0/0", "10.0.0.0/8", "10.77.0.8/32"] {
            assert_eq!(verdict(vec![rule(wider, RELAY)]), Err(Denial::NoPeer), "{wider}");
        }
        for name in ["10.77.0.9/32", "10.77.0.0/24", "10.77.0.8/30"] {
            assert!(verdict(vec![rule(name, RELAY)]).is_ok(), "{name}");
        }
        assert!(verdict(vec![rule("", redirect("127.0.0.1:1"))]).is_ok());
        assert_eq!(verdict(vec![rule("", RuleAction::Reject)]), Err(Denial::Rejected));
        let quiet = gateway(DefaultAction::Drop, Vec::new());
        assert_eq!(tcp(&quiet, "10.77.0.9:80"), Err(Denial::Dropped), "who answers nobody");
    }

    #[test]
    fn a_redirect_leads_anywhere_and_from_anywhere() {
        let policy = gateway(DefaultAction::Drop, vec![rule("", redirect("127.0.0.1:8443"))]);
        let expected = Offer {
            target: host("127.0.0.1:8443"),
            rule: Some(0),
            proxy_protocol: ProxyProtocol::V1,
        };
        for (destination, toward) in [
            ("10.0.0.1:443", Toward::Own),
            ("8.8.8.8:443", Toward::Host),
            ("127.0.0.1:443", Toward::Host),
        ] {
            let verdict = policy.decide(&query(Protocol::Tcp, destination), toward);
            assert_eq!(verdict, Ok(expected.clone()), "{destination}");
        }
    }

    #[test]
    fn only_connections_are_introduced() {
        let policy = gateway(DefaultAction::Drop, vec![rule("", redirect("127.0.0.1:53"))]);
        let udp = policy.decide(&query(Protocol::Udp, "8.8.8.8:53"), Toward::Host);
        let offer = Offer { rule: Some(0), ..Offer::plain(host("127.0.0.1:53")) };
        assert_eq!(udp, Ok(offer));
    }

    #[test]
    fn our_own_address_is_not_relayed() {
        let policy = gateway(DefaultAction::Relay, vec![rule("10.0.0.1/32", RELAY)]);
        let own = policy.decide(&query(Protocol::Tcp, "10.0.0.1:80"), Toward::Own);
        assert_eq!(own, Err(Denial::Rejected));
    }

    #[test]
    fn what_rules_refuse_is_refused_their_way() {
        let rules = vec![
            rule("10.1.0.0/16", RuleAction::Reject),
            rule("10.2.0.0/16", RuleAction::Drop),
            rule("", RuleAction::Serve),
        ];
        let policy = gateway(DefaultAction::Relay, rules);
        assert_eq!(tcp(&policy, "10.1.0.1:1"), Err(Denial::Rejected));
        assert_eq!(tcp(&policy, "10.2.0.1:1"), Err(Denial::Dropped));
        let offer = Offer { rule: Some(2), ..Offer::plain(Target::Embedder) };
        assert_eq!(tcp(&policy, "10.3.0.1:1"), Ok(offer.clone()));
        assert_eq!(tcp(&policy, "127.0.0.1:1"), Ok(offer), "nobody dials it");
    }
}
