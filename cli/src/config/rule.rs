//! `[[rule]]`: what becomes of the flows that peers ask for.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use slipwire_core::config::Peer;
use slipwire_core::rules::{
    ProxyProtocol, RedirectTarget, Rule, RuleAction, RuleError, Rules, Source,
};
use slipwire_core::{IpNet, Protocol};
use toml::de::{DeTable, DeValue};

use super::address::{Prefix, TargetSocket};
use super::fault::{At, Problem, Report};
use super::schema::{self, nearest};
use super::section::{Section, Value};
use super::value::{Name, one_of, text};

/// One table, with the places that later checks speak of.
#[derive(Debug)]
pub(super) struct RuleTable {
    pub(super) rule: Rule,
    pub(super) offset: usize,
    protocol_offset: usize,
    target_offset: usize,
    proxy_offset: usize,
}

/// Reads the tables. Paths are relative to `directory`.
pub(super) fn read(
    root: &DeTable<'_>,
    peers: &[Peer],
    directory: &Path,
    report: &mut Report,
) -> Vec<RuleTable> {
    let sections = Section::all(&schema::RULE, root, report);
    sections.iter().filter_map(|section| table(section, peers, directory, report)).collect()
}

fn table(
    section: &Section<'_>,
    peers: &[Peer],
    directory: &Path,
    report: &mut Report,
) -> Option<RuleTable> {
    let from = list::<FromWord>(section, "from", report);
    let from = from.into_iter().filter_map(|word| source(word, peers, section, report)).collect();
    let protocols = list::<Protocol>(section, "protocol", report);
    let to = list::<ToWord>(section, "to", report).into_iter();
    let to = to.map(|word| word.map(|word| word.0).network(section, "to", report)).collect();
    let ports = list::<Ports>(section, "port", report);
    let verb = section.required::<Verb>("action", "action = \"relay\"", report);
    let target = section.optional::<Target>("target", report);
    let proxy = section.optional::<ProxyProtocol>("proxy_protocol", report);

    let verb = verb?.value;
    if verb != Verb::Redirect && section.has("target") {
        let mend = "take it out, or write action = \"redirect\"";
        let problem = Problem::new("only a redirect has a target", mend);
        report.fault(section.offset_of("target"), section.path("target"), problem);
    }
    let proxy_protocol = proxy.map_or(ProxyProtocol::Off, |proxy| proxy.value);
    let has_host = matches!(verb, Verb::Relay | Verb::Redirect);
    if !has_host && proxy_protocol != ProxyProtocol::Off {
        let problem = Problem::new("nobody is there to read it", "take it out");
        report.fault(section.offset_of("proxy_protocol"), section.path("proxy_protocol"), problem);
    }
    let action = match verb {
        Verb::Relay => RuleAction::Relay { proxy_protocol },
        Verb::Redirect => {
            if !section.has("target") {
                section.report_missing("target", "target = \"127.0.0.1:8443\"", report);
            }
            RuleAction::Redirect { target: target?.value.within(directory), proxy_protocol }
        }
        Verb::Reject => RuleAction::Reject,
        Verb::Drop => RuleAction::Drop,
    };
    let values = |items: Vec<At<Protocol>>| items.into_iter().map(|item| item.value).collect();
    let rule = Rule {
        from,
        protocols: values(protocols),
        to,
        ports: ports.into_iter().map(|ports| ports.value.0).collect(),
        action,
    };
    Some(RuleTable {
        rule,
        offset: section.offset(),
        protocol_offset: section.offset_of("protocol"),
        target_offset: section.offset_of("target"),
        proxy_offset: section.offset_of("proxy_protocol"),
    })
}

/// A list that may be absent. An empty one would be a condition that nothing meets, or everything:
/// whoever wrote it is asked which.
fn list<T: Value>(section: &Section<'_>, key: &str, report: &mut Report) -> Vec<At<T>> {
    let faults_before = report.count();
    let items = section.list::<T>(key, report);
    let is_empty = items.as_ref().is_some_and(|items| items.value.is_empty());
    if is_empty && report.count() == faults_before {
        let problem = Problem::new("is empty", "take the key out to mean everything");
        report.fault(section.offset_of(key), section.path(key), problem);
    }
    items.map_or_else(Vec::new, |items| items.value)
}

fn source(
    word: At<FromWord>,
    peers: &[Peer],
    section: &Section<'_>,
    report: &mut Report,
) -> Option<Source> {
    let name = match word.value {
        FromWord::Prefix(prefix) => {
            let prefix = At { value: prefix, offset: word.offset };
            return Some(Source::Prefix(prefix.network(section, "from", report)));
        }
        FromWord::Name(name) => name,
    };
    if let Some(peer) = peers.iter().find(|peer| peer.name == name) {
        return Some(Source::Peer(peer.public_key));
    }
    let names = peers.iter().map(|peer| peer.name.as_str());
    let mend = match nearest(&name, names.clone()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if peers.is_empty() => "add a [[peer]]".to_owned(),
        None => format!("the peers are {}", names.collect::<Vec<_>>().join(", ")),
    };
    let problem = Problem::new(format!("no peer has the name {name:?}"), mend);
    report.fault(word.offset, section.path("from"), problem);
    None
}

/// Warns of every rule that can never match.
pub(super) fn warn_of_idle_rules(tables: &[RuleTable], peers: &[Peer], report: &mut Report) {
    let rules = Rules::new(tables.iter().map(|table| table.rule.clone()).collect());
    let shadowed = rules.shadowed();
    for (place, earlier) in &shadowed {
        let line = report.line(tables[*earlier].offset);
        let what = format!("rule {} can never match", place + 1);
        let mend = format!("rule {} of line {line} takes all that it is for", earlier + 1);
        report.warning(tables[*place].offset, "rule", Problem::new(what, mend));
    }
    let owned = |prefix: &IpNet| {
        let mut owned = peers.iter().flat_map(|peer| &peer.allowed_ips);
        owned.any(|own| own.contains(prefix) || prefix.contains(own))
    };
    for (place, table) in tables.iter().enumerate() {
        let nobody = |source: &Source| match source {
            Source::Peer(_) => false,
            Source::Prefix(prefix) => !owned(prefix),
        };
        let from = &table.rule.from;
        if !from.is_empty() && from.iter().all(nobody) {
            let what = format!("rule {} can never match", place + 1);
            let mend = "no peer's allowed_ips have anything of its `from`";
            report.warning(table.offset, "rule", Problem::new(what, mend));
        }
    }
}

/// Leads what core found in a rule back to its line.
pub(super) fn report_error(table: &RuleTable, error: RuleError, report: &mut Report) {
    let (offset, key, mend) = match error {
        RuleError::ProxyProtocol => {
            (table.proxy_offset, "rule.proxy_protocol", "set protocol = [\"tcp\"]")
        }
        RuleError::NoHost => (
            table.target_offset,
            "rule.target",
            "write its address, 127.0.0.1 or [::1] for this one",
        ),
        RuleError::NoProtocol => (
            table.protocol_offset,
            "rule.protocol",
            "ICMP has no ports and can't be redirected, and a Unix socket takes TCP only",
        ),
        // Both are excluded by the values that are read.
        RuleError::BackwardRange { .. } => (table.offset, "rule.port", "turn the range around"),
        RuleError::NoPort => (table.target_offset, "rule.target", "write a port behind it"),
    };
    report.fault(offset, key, Problem::new(error.to_string(), mend));
}

/// A peer's name, or a prefix of inner addresses.
#[derive(Debug)]
enum FromWord {
    Name(String),
    Prefix(Prefix),
}

impl Value for FromWord {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        let word = text(value, "the name of a peer, or a prefix: \"10.77.0.0/28\"")?;
        // No name has a slash, and none is an address.
        if word.contains('/') || word.parse::<std::net::IpAddr>().is_ok() {
            return Prefix::read(value).map(Self::Prefix);
        }
        Name::read(value).map(|name| Self::Name(name.0))
    }
}

/// A prefix of destinations.
#[derive(Debug)]
struct ToWord(Prefix);

impl Value for ToWord {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        let word = text(value, "a prefix: \"10.0.0.0/8\"")?;
        Prefix::read(value).map(Self).map_err(|problem| {
            let looks_like_a_name = word.contains(|c: char| c.is_alphabetic() || c == '*')
                && !word.contains([':', '/']);
            if looks_like_a_name {
                let what = format!("{word:?} is a name, which needs the built-in DNS");
                Problem::new(what, "write prefixes: this version has no DNS of its own yet")
            } else {
                problem
            }
        })
    }
}

/// One port, or a range of them.
#[derive(Debug)]
struct Ports(RangeInclusive<u16>);

impl Value for Ports {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const EXAMPLE: &str = "443 or \"8000-8999\"";
        let wrong = |what: String| Problem::new(what, format!("write it as {EXAMPLE}"));
        if let Some(number) = value.as_integer() {
            let port = u16::from_str_radix(number.as_str(), number.radix());
            let port = port.ok().filter(|port| *port != 0);
            return port
                .map(|port| Self(port..=port))
                .ok_or_else(|| wrong(format!("{number} is no port: ports are 1 to {}", u16::MAX)));
        }
        let word = text(value, EXAMPLE)?;
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port != 0);
        match port(first).zip(port(last)) {
            Some((first, last)) if first > last => {
                let what = format!("the range {word:?} runs backwards");
                Err(Problem::new(what, format!("write it as \"{last}-{first}\"")))
            }
            Some((first, last)) => Ok(Self(first..=last)),
            None => Err(wrong(format!("{word:?} is no port and no range of ports"))),
        }
    }
}

/// The word for an action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verb {
    Relay,
    Redirect,
    Reject,
    Drop,
}

impl Value for Verb {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        if value.as_str() == Some("dns") {
            let mend = "write relay, redirect, reject or drop";
            return Err(Problem::new("this version has no DNS of its own yet", mend));
        }
        let words = [
            ("relay", Self::Relay),
            ("redirect", Self::Redirect),
            ("reject", Self::Reject),
            ("drop", Self::Drop),
        ];
        one_of(value, &words)
    }
}

/// Where a redirect leads: an address and port, or the path of a Unix socket.
#[derive(Debug)]
enum Target {
    Address(SocketAddr),
    Unix(PathBuf),
}

impl Target {
    fn within(self, directory: &Path) -> RedirectTarget {
        match self {
            Self::Address(address) => RedirectTarget::Address(address),
            Self::Unix(path) => RedirectTarget::Unix(directory.join(path).into()),
        }
    }
}

/// The longest path of a Unix socket on Linux, without the zero at its end.
const UNIX_PATH_LEN_MAX: usize = 107;

impl Value for Target {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        const EXAMPLE: &str = "\"127.0.0.1:8443\" or \"unix:/run/web.sock\"";
        let word = text(value, EXAMPLE)?;
        match word.strip_prefix("unix:") {
            Some("") => Err(Problem::new("names no socket", format!("write it as {EXAMPLE}"))),
            Some(path) if path.len() > UNIX_PATH_LEN_MAX => {
                let what = format!("the path is longer than {UNIX_PATH_LEN_MAX} bytes");
                Err(Problem::new(what, "Unix sockets have short paths: move it"))
            }
            Some(path) => Ok(Self::Unix(path.into())),
            None => TargetSocket::read(value).map(|target| Self::Address(target.0)),
        }
    }
}

impl Value for Protocol {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        one_of(value, &[("tcp", Self::Tcp), ("udp", Self::Udp), ("icmp", Self::Icmp)])
    }
}

impl Value for ProxyProtocol {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        one_of(value, &[("off", Self::Off), ("v1", Self::V1), ("v2", Self::V2)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Value>(toml: &str) -> Result<T, Problem> {
        T::read(DeValue::parse(toml).unwrap().get_ref())
    }

    #[test]
    fn ports_are_numbers_and_ranges() {
        let ports = |toml: &str| read::<Ports>(toml).ok().map(|ports| ports.0);
        assert_eq!(ports("443"), Some(443..=443));
        assert_eq!(ports("\"443\""), Some(443..=443));
        assert_eq!(ports("\"8000-8999\""), Some(8000..=8999));
        for bad in ["0", "65536", "-1", "\"\"", "\"a-b\"", "\"0-5\"", "\"1-2-3\"", "true"] {
            assert_eq!(ports(bad), None, "{bad}");
        }
        let backwards = read::<Ports>("\"9000-8000\"").unwrap_err();
        assert_eq!(backwards.what, "the range \"9000-8000\" runs backwards");
        assert_eq!(backwards.mend, "write it as \"8000-9000\"");
    }

    #[test]
    fn a_target_is_an_address_or_a_socket() {
        let target = |toml: &str| read::<Target>(toml).ok().map(|t| t.within(Path::new("/etc")));
        let unix = |path: &str| Some(RedirectTarget::Unix(Path::new(path).into()));
        assert_eq!(target("\"unix:/run/web\""), unix("/run/web"));
        assert_eq!(target("\"unix:web\""), unix("/etc/web"));
        let address = RedirectTarget::Address("[::1]:80".parse().unwrap());
        assert_eq!(target("\"[::1]:80\""), Some(address));
        for bad in ["\"unix:\"", "\"localhost:80\"", "\"10.0.0.1\"", "\"10.0.0.1:0\""] {
            assert_eq!(target(bad), None, "{bad}");
        }
        assert!(read::<Target>(&format!("\"unix:{}\"", "x".repeat(108))).is_err());
    }

    #[test]
    fn what_comes_with_dns_says_so() {
        for name in ["\"*.example.com\"", "\"example.com\""] {
            assert!(read::<ToWord>(name).unwrap_err().what.contains("DNS"), "{name}");
        }
        assert!(!read::<ToWord>("\"10.0.0.0/99\"").unwrap_err().what.contains("DNS"));
        assert!(read::<Verb>("\"dns\"").unwrap_err().what.contains("DNS"));
    }
}
