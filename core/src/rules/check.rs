//! What is wrong with a rule, alone or in its place.

use std::fmt;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::address::is_one_host;
use crate::flow::{Protocol, ProxyProtocol};
use crate::rules::{Facts, RedirectTarget, Rule, RuleAction, Rules, Source};

/// A contradiction within a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleError {
    /// A range of ports ends before it begins.
    BackwardRange {
        /// Where it begins.
        first: u16,
        /// Where it ends.
        last: u16,
    },
    /// A redirect to port 0.
    NoPort,
    /// A redirect to an address that no single host has, whose answers would come from another.
    NoHost,
    /// A PROXY header for a flow that is not TCP.
    ProxyProtocol,
    /// The protocols that the rule asks for have no ports (ICMP), or can't be redirected to its
    /// target (ICMP to any, others than TCP to a Unix socket): no flow can match.
    NoProtocol,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BackwardRange { first, last } => {
                write!(f, "the port range {first}-{last} runs backwards")
            }
            Self::NoPort => f.write_str("port 0 is no target"),
            Self::NoHost => f.write_str("the target is no single host"),
            Self::ProxyProtocol => f.write_str("the PROXY protocol is for TCP"),
            Self::NoProtocol => f.write_str("no flow can match"),
        }
    }
}

impl std::error::Error for RuleError {}

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];

impl Rule {
    /// Everything that is wrong with the rule.
    pub fn errors(&self) -> Vec<RuleError> {
        let backward = self.ports.iter().filter(|range| range.is_empty());
        let mut errors: Vec<_> = backward
            .map(|range| RuleError::BackwardRange { first: *range.start(), last: *range.end() })
            .collect();
        let (target, header) = match &self.action {
            RuleAction::Relay { proxy_protocol } => (None, *proxy_protocol),
            RuleAction::Redirect { target, proxy_protocol } => (Some(target), *proxy_protocol),
            RuleAction::Serve | RuleAction::Reject | RuleAction::Drop => (None, ProxyProtocol::Off),
        };
        if let Some(RedirectTarget::Address(address)) = target
            && address.port() == 0
        {
            errors.push(RuleError::NoPort);
        }
        if let Some(RedirectTarget::Address(address)) = target
            && !is_one_host(address.ip())
        {
            errors.push(RuleError::NoHost);
        }
        let not_tcp = self.protocols.iter().any(|protocol| *protocol != Protocol::Tcp);
        if header != ProxyProtocol::Off && not_tcp {
            errors.push(RuleError::ProxyProtocol);
        } else if !PROTOCOLS.into_iter().any(|protocol| self.is_for(protocol)) {
            errors.push(RuleError::NoProtocol);
        }
        errors
    }

    /// A flow that the rule matches, with no more known of it than the rule asks for; `None` if it
    /// matches none.
    fn example(&self) -> Option<Facts<'_>> {
        let (peer, source) = match self.from.first() {
            Some(Source::Peer(key)) => (Some(key), None),
            Some(Source::Prefix(prefix)) => (None, Some(prefix.network())),
            None => (None, None),
        };
        Some(Facts {
            peer,
            protocol: PROTOCOLS.into_iter().find(|protocol| self.is_for(*protocol))?,
            source,
            address: self.to.first().map(IpNet::network),
            port: self.ports.first().map(|range| *range.start()),
        })
    }

    /// Whether this rule matches every flow that `other` matches.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let follows = |theirs: bool, ours: bool| ours || !theirs;
        let is_from = |source: &Source| {
            self.from.iter().any(|own| match (own, source) {
                (Source::Prefix(own), Source::Prefix(prefix)) => own.contains(prefix),
                (Source::Peer(own), Source::Peer(peer)) => own == peer,
                (Source::Prefix(_), Source::Peer(_)) | (Source::Peer(_), Source::Prefix(_)) => {
                    false
                }
            })
        };
        PROTOCOLS.into_iter().all(|protocol| follows(other.is_for(protocol), self.is_for(protocol)))
            && follows(other.from.is_empty(), self.from.is_empty())
            && (self.from.is_empty() || other.from.iter().all(is_from))
            && follows(other.to.is_empty(), self.to.is_empty())
            && (self.to.is_empty()
                || other.to.iter().all(|theirs| self.to.iter().any(|own| own.contains(theirs))))
            && follows(other.ports.is_empty(), self.ports.is_empty())
            && (self.ports.is_empty() || {
                let merged = merged(&self.ports);
                let within = |range: &RangeInclusive<u16>| {
                    merged.iter().any(|own| own.0 <= *range.start() && *range.end() <= own.1)
                };
                other.ports.iter().all(within)
            })
    }
}

/// Ranges without overlaps or seams, in order.
fn merged(ranges: &[RangeInclusive<u16>]) -> Vec<(u16, u16)> {
    let mut ranges: Vec<(u16, u16)> =
        ranges.iter().map(|range| (*range.start(), *range.end())).collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (start, end) in ranges {
        match merged.last_mut() {
            Some(last) if start <= last.1.saturating_add(1) => last.1 = last.1.max(end),
            Some(_) | None => merged.push((start, end)),
        }
    }
    merged
}

impl Rules {
    /// Rules that can never match, each with the earlier rule that takes everything before it. A
    /// rule that only several earlier ones cover together is not found.
    pub fn shadowed(&self) -> Vec<(usize, usize)> {
        let rules = self.as_slice();
        let shadow = |(place, rule): (usize, &Rule)| {
            // Who takes all flows of a rule takes any single one.
            let earlier = self.matching(rule.example()?).take_while(|earlier| *earlier < place);
            let mut earlier = earlier.filter(|earlier| rules[*earlier].covers(rule));
            Some((place, earlier.next()?))
        };
        rules.iter().enumerate().filter_map(shadow).collect()
    }
}
