//! Rules in words, as `slipwire check` shows them.

use std::fmt::Write as _;

use slipwire_core::Config;
use slipwire_core::rules::{ProxyProtocol, Rule, RuleAction, Source};

/// One rule: who, what and where, and what becomes of it.
pub(super) fn describe(rule: &Rule, engine: &Config) -> String {
    let mut text = String::new();
    let protocols: Vec<_> = rule.protocols.iter().map(ToString::to_string).collect();
    text.push_str(if protocols.is_empty() { "any protocol" } else { "" });
    text.push_str(&protocols.join(", "));
    let from: Vec<_> = rule.from.iter().map(|source| describe_source(source, engine)).collect();
    condition(&mut text, " from ", &from);
    let to: Vec<_> = rule.to.iter().map(ToString::to_string).collect();
    condition(&mut text, " to ", &to);
    let ports: Vec<_> = rule
        .ports
        .iter()
        .map(|range| match (range.start(), range.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        })
        .collect();
    condition(&mut text, " port ", &ports);
    text.push_str(" -> ");
    text.push_str(&describe_action(&rule.action));
    text
}

fn condition(text: &mut String, word: &str, values: &[String]) {
    if !values.is_empty() {
        text.push_str(word);
        text.push_str(&values.join(", "));
    }
}

fn describe_source(source: &Source, engine: &Config) -> String {
    match source {
        Source::Prefix(prefix) => prefix.to_string(),
        Source::Peer(key) => {
            let peer = engine.parts().peers.iter().find(|peer| peer.public_key == *key);
            peer.map_or_else(|| key.to_string(), |peer| peer.name.clone())
        }
    }
}

fn describe_action(action: &RuleAction) -> String {
    let (mut text, header) = match action {
        RuleAction::Relay { proxy_protocol } => ("relay".to_owned(), *proxy_protocol),
        RuleAction::Redirect { target, proxy_protocol } => {
            (format!("redirect to {target}"), *proxy_protocol)
        }
        RuleAction::Serve => ("answered by slipwire".to_owned(), ProxyProtocol::Off),
        RuleAction::Reject => ("reject".to_owned(), ProxyProtocol::Off),
        RuleAction::Drop => ("drop".to_owned(), ProxyProtocol::Off),
    };
    let version = match header {
        ProxyProtocol::Off => return text,
        ProxyProtocol::V1 => 1,
        ProxyProtocol::V2 => 2,
    };
    // Writing to a String cannot fail.
    let _ = write!(text, " with PROXY protocol v{version}");
    text
}
