//! `slipwire check --explain`: which rule decides about a flow, and why no other does.

use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};

use slipwire_core::config::{DefaultAction, Peer};
use slipwire_core::decision::Outcome;
use slipwire_core::rules::{Mismatch, Query, Rule, RuleAction};
use slipwire_core::{Config, IpNet, Protocol, Target};

use super::rule_table;
use crate::config::{Configuration, in_one_line};

/// How a flow is asked about.
pub(super) const FORM: &str = "PROTOCOL PEER DESTINATION, for example \"tcp laptop 10.0.0.5:443\", \
                               \"udp 10.77.0.2 [2001:db8::1]:53\" or \"icmp laptop 10.0.0.5\"";

/// Reasons of earlier rules that are listed; the others are counted.
const EARLIER_MAX: usize = 16;

/// Answers a question about a flow. `is_this_host` says whether a destination is this host itself,
/// as a gateway that runs knows.
///
/// # Errors
/// What is wrong with the question, in words.
pub(crate) fn explain(
    question: &str,
    configuration: &Configuration,
    is_this_host: impl Fn(Protocol, SocketAddr) -> bool,
) -> Result<String, String> {
    let (peer, query) = read(question, &configuration.engine)?;
    let mut parts = configuration.engine.parts().clone();
    if let Some(gateway) = &mut parts.gateway
        && is_this_host(query.protocol, query.destination)
    {
        gateway.host_addresses.push(query.destination.ip());
    }
    let engine = Config::new(parts).map_err(|errors| in_one_line(&errors))?;
    Ok(Answer { configuration, engine, peer, query }.to_string())
}

fn read<'c>(question: &str, engine: &'c Config) -> Result<(&'c Peer, Query), String> {
    let words: Vec<&str> = question.split_whitespace().collect();
    let [protocol, peer, destination] = words[..] else {
        return Err(format!("{question:?} is not {FORM}"));
    };
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "icmp" => Protocol::Icmp,
        other => return Err(format!("{other:?} is no protocol: write tcp, udp or icmp")),
    };
    let destination = match protocol {
        Protocol::Icmp => destination.parse().map(|address| SocketAddr::new(address, 0)).ok(),
        Protocol::Tcp | Protocol::Udp => {
            destination.parse().ok().filter(|to: &SocketAddr| to.port() != 0)
        }
    }
    .ok_or_else(|| format!("{destination:?} is no destination: write {FORM}"))?;
    let (peer, source) = asker(peer, destination, engine)?;
    Ok((peer, Query { peer: peer.public_key, protocol, source, destination }))
}

/// Who asks, by name or inner address, and the inner address that it asks from.
fn asker<'c>(
    word: &str,
    destination: SocketAddr,
    engine: &'c Config,
) -> Result<(&'c Peer, IpAddr), String> {
    let peers = &engine.parts().peers;
    if let Ok(source) = word.parse() {
        let owner = engine.owner(source);
        return owner
            .map(|peer| (peer, source))
            .ok_or_else(|| format!("no peer's allowed_ips contain {source}"));
    }
    let peer = peers.iter().find(|peer| peer.name == word).ok_or_else(|| {
        let names: Vec<_> = peers.iter().map(|peer| peer.name.as_str()).collect();
        format!("no peer has the name {word:?}; the peers are {}", names.join(", "))
    })?;
    let same = |net: &&IpNet| net.addr().is_ipv4() == destination.is_ipv4();
    let source =
        peer.allowed_ips.iter().find(same).map(IpNet::addr).ok_or_else(|| {
            format!("{word} has no inner address of the IP version of {destination}")
        })?;
    Ok((peer, source))
}

struct Answer<'c> {
    configuration: &'c Configuration,
    /// What runs, with what it finds out about this host.
    engine: Config,
    peer: &'c Peer,
    query: Query,
}

impl Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Query { protocol, source, destination, .. } = self.query;
        let to = match protocol {
            Protocol::Icmp => destination.ip().to_string(),
            Protocol::Tcp | Protocol::Udp => destination.to_string(),
        };
        writeln!(f, "{protocol} of {} ({source}) to {to}", self.peer.name)?;
        let engine = &self.engine;
        let Some(gateway) = &engine.parts().gateway else {
            return writeln!(f, "  dropped: the gateway is off, without a [gateway] table");
        };
        let decision = engine.decide(&self.query);
        if decision.outcome == Outcome::Answered {
            return writeln!(f, "  -> slipwire itself answers, without asking rules");
        }
        let rules = &gateway.rules;
        match decision.rule {
            Some(place) => {
                let line = self.configuration.origin.rule_lines.get(place).unwrap_or(&0);
                let text = rule_table::describe(&rules[place], engine);
                writeln!(f, "  rule {} (line {line}) decides: {text}", place + 1)?;
            }
            None if rules.is_empty() => writeln!(f, "  there are no rules")?,
            None if matches!(decision.outcome, Outcome::Overlay(_) | Outcome::PeersOwn) => {
                writeln!(f, "  no rule leads it elsewhere")?;
            }
            None => writeln!(f, "  no rule matches")?,
        }
        let outcome = describe_outcome(&decision.outcome, decision.rule, gateway.default);
        let is_relay = |place: usize| matches!(rules[place].action, RuleAction::Relay { .. });
        if decision.outcome == Outcome::Rejected && decision.rule.is_some_and(is_relay) {
            writeln!(f, "  {outcome}: behind our own address is only what rules redirect")?;
        } else {
            writeln!(f, "  {outcome}")?;
        }
        let earlier = &rules[..decision.rule.unwrap_or(rules.len())];
        self.write_earlier(f, earlier)
    }
}

impl Answer<'_> {
    /// Why the rules before the one that decides do not match.
    fn write_earlier(&self, f: &mut fmt::Formatter<'_>, rules: &[Rule]) -> fmt::Result {
        for (place, rule) in rules.iter().enumerate().take(EARLIER_MAX) {
            let reason = match rule.mismatch(&self.query) {
                Some(Mismatch::From) => "it is for others (from)",
                Some(Mismatch::Protocol) => "it is for other protocols",
                Some(Mismatch::To) => "it is for other destinations (to)",
                Some(Mismatch::Port) => "it is for other ports",
                None => continue,
            };
            writeln!(f, "  rule {} does not match: {reason}", place + 1)?;
        }
        match rules.len().saturating_sub(EARLIER_MAX) {
            0 => Ok(()),
            more => writeln!(f, "  nor do {more} more"),
        }
    }
}

fn describe_outcome(outcome: &Outcome, rule: Option<usize>, default: DefaultAction) -> String {
    match (outcome, rule) {
        (Outcome::Offered(Target::Host(host)), Some(_)) => format!("-> it reaches {host}"),
        (Outcome::Offered(Target::Host(host)), None) => {
            format!("-> it reaches {host}: the gateway's default is relay")
        }
        (Outcome::Offered(Target::Unix(path)), _) => format!("-> it reaches unix:{}", path.display()),
        (Outcome::Offered(Target::Embedder | Target::Client) | Outcome::Answered, _) => {
            "-> slipwire itself answers".to_owned()
        }
        (Outcome::Overlay(name), _) => format!("-> it goes to peer {name}, through the overlay"),
        (Outcome::Protected, _) => "-> refused: the destination is this host itself, its link or no \
                                    single host; a rule opens it whose `to` names it"
            .to_owned(),
        (Outcome::PeersOwn, _) => "-> refused: the destination is in the allowed_ips of the peer \
                                   itself, or of another while peer_to_peer is off"
            .to_owned(),
        (Outcome::NoPeer, _) => "-> refused: the destination is on the tunnel's own network, where no \
                                 peer has it; a rule opens it whose `to` names it, or overlay_exclude"
            .to_owned(),
        (Outcome::Rejected, Some(_)) => "-> refused with an answer".to_owned(),
        (Outcome::Rejected, None) => match default {
            DefaultAction::Reject => "-> refused with an answer: the gateway's default is reject",
            DefaultAction::Relay | DefaultAction::Drop => {
                "-> refused with an answer: nothing listens at our own address but what rules put there"
            }
        }
        .to_owned(),
        (Outcome::Dropped, Some(_)) => "-> not answered".to_owned(),
        (Outcome::Dropped, None) => "-> not answered: the gateway's default is drop".to_owned(),
    }
}
