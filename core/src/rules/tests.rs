use std::sync::LazyLock;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::key::PrivateKey;
use crate::rules::*;

const RELAY: RuleAction = RuleAction::Relay { proxy_protocol: ProxyProtocol::Off };

/// A few keys, made once: each takes a multiplication on the curve.
fn key(index: u8) -> PublicKey {
    static KEYS: LazyLock<[PublicKey; 5]> = LazyLock::new(|| {
        std::array::from_fn(|index| PrivateKey::from_entropy([index as u8; 32]).public_key())
    });
    KEYS[usize::from(index)]
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn any() -> Rule {
    Rule::any(RELAY)
}

fn redirect(target: &str) -> RuleAction {
    let target = match target.strip_prefix("unix:") {
        Some(path) => RedirectTarget::Unix(Path::new(path).into()),
        None => RedirectTarget::Address(target.parse().unwrap()),
    };
    RuleAction::Redirect { target, proxy_protocol: ProxyProtocol::Off }
}

fn query(protocol: Protocol, peer: u8, source: &str, destination: &str) -> Query {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    Query { peer: key(peer), protocol, source, destination }
}

#[test]
fn the_first_rule_whose_conditions_hold_decides() {
    let rules = Rules::new(vec![
        Rule { ports: vec![443..=443], protocols: vec![Protocol::Tcp], ..any() },
        Rule { from: vec![Source::Peer(key(2))], to: vec![net("10.0.0.0/8")], ..any() },
        Rule { from: vec![Source::Prefix(net("fd00::/64"))], ..any() },
        Rule { to: vec![net("10.0.0.0/8")], action: RuleAction::Reject, ..any() },
    ]);
    let place = |query: Query| rules.decide(&query).map(|(place, _)| place);
    let (tcp, udp, icmp) = (Protocol::Tcp, Protocol::Udp, Protocol::Icmp);
    assert_eq!(place(query(tcp, 1, "10.7.0.1", "10.0.0.1:443")), Some(0));
    assert_eq!(place(query(udp, 1, "10.7.0.1", "10.0.0.1:443")), Some(3));
    assert_eq!(place(query(udp, 2, "10.7.0.2", "10.0.0.1:443")), Some(1));
    assert_eq!(place(query(icmp, 2, "10.7.0.2", "10.0.0.1:0")), Some(1));
    assert_eq!(place(query(icmp, 1, "fd00::5", "[2001:db8::1]:0")), Some(2));
    assert_eq!(place(query(tcp, 1, "fd01::5", "[2001:db8::1]:80")), None);
}

#[test]
fn what_is_refused_is_refused_in_every_notation() {
    let rules = Rules::new(vec![
        Rule { to: vec![net("10.0.0.7/32")], ..any() },
        Rule { to: vec![net("64:ff9b::a00:8/128")], ..any() },
        Rule { ports: vec![443..=443], ..any() },
        Rule { to: vec![net("10.0.0.0/8")], action: RuleAction::Reject, ..any() },
        Rule { to: vec![net("192.168.0.0/16")], action: RuleAction::Drop, ..any() },
        Rule { to: vec![net("172.16.0.0/12")], ..any() },
    ]);
    let place = |destination: &str| {
        let query = query(Protocol::Tcp, 1, "fd00::5", destination);
        rules.decide(&query).map(|(place, _)| place)
    };
    for (destination, expected) in [
        ("[64:ff9b::10.0.0.1]:80", Some(3)),
        ("[64:ff9b:1::10.0.0.1]:80", Some(3)),
        ("[64:ff9b:1:a00:0:100::]:80", Some(3)),
        ("[2002:a00:1::1]:80", Some(3)),
        ("[::ffff:10.0.0.1]:80", Some(3)),
        ("[2001:db8::5efe:10.0.0.1]:80", Some(3)),
        ("[64:ff9b::192.168.0.1]:80", Some(4)),
        // Exceptions before the refusal hold, of the address as of this way to write it.
        ("[64:ff9b::10.0.0.7]:80", None),
        ("[64:ff9b::10.0.0.8]:80", Some(1)),
        ("[64:ff9b::10.0.0.1]:443", Some(2)),
        // What is opened is opened as it is written alone.
        ("[64:ff9b::172.16.0.1]:80", None),
        ("[2001:db8::a00:1]:80", None),
    ] {
        assert_eq!(place(destination), expected, "{destination}");
    }
}

#[test]
fn icmp_matches_neither_ports_nor_redirects() {
    let rules = Rules::new(vec![
        Rule { ports: vec![0..=u16::MAX], ..any() },
        Rule { action: redirect("127.0.0.1:80"), ..any() },
        Rule { action: RuleAction::Serve, ..any() },
        Rule { action: RuleAction::Drop, ..any() },
    ]);
    let ping = query(Protocol::Icmp, 1, "10.7.0.1", "10.0.0.1:0");
    assert_eq!(rules.decide(&ping).map(|(place, _)| place), Some(3));
}

#[test]
fn a_unix_socket_takes_tcp_only() {
    let rules = Rules::new(vec![Rule { action: redirect("unix:/run/web"), ..any() }]);
    assert!(rules.decide(&query(Protocol::Tcp, 1, "10.7.0.1", "10.0.0.1:1")).is_some());
    assert!(rules.decide(&query(Protocol::Udp, 1, "10.7.0.1", "10.0.0.1:1")).is_none());
}

#[test]
fn an_empty_list_decides_nothing() {
    let nothing = query(Protocol::Tcp, 1, "10.7.0.1", "10.0.0.1:1");
    assert!(Rules::new(Vec::new()).decide(&nothing).is_none());
}

/// Small worlds, so that conditions often meet.
fn random_rule(rng: &mut ChaCha20Rng) -> Rule {
    let mut pick = |below: u32| rng.next_u32() % below;
    let mut rule = any();
    for _ in 0..pick(3) {
        let prefix = format!("10.0.{}.0/{}", pick(8), 20 + pick(13));
        rule.from.push(match pick(2) {
            0 => Source::Peer(key(pick(4) as u8)),
            _ => Source::Prefix(net(&prefix).trunc()),
        });
    }
    for _ in 0..pick(3) {
        let v4 = format!("192.0.2.{}/{}", pick(256), 24 + pick(9));
        let v6 = format!("2001:db8::{:x}/{}", pick(256), 118 + pick(11));
        rule.to.push(net(if pick(2) == 0 { &v4 } else { &v6 }));
    }
    for _ in 0..pick(3) {
        let first = pick(20) as u16;
        rule.ports.push(first..=first + pick(5) as u16);
    }
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];
    rule.protocols.extend(protocols.into_iter().filter(|_| pick(3) == 0));
    rule.action = match pick(4) {
        0 => redirect("127.0.0.1:9"),
        1 => redirect("unix:/x"),
        2 => RuleAction::Reject,
        _ => RELAY,
    };
    rule
}

fn random_query(rng: &mut ChaCha20Rng) -> Query {
    let mut pick = |below: u32| rng.next_u32() % below;
    let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp][pick(3) as usize];
    let port = if protocol == Protocol::Icmp { 0 } else { pick(25) };
    let destination = match pick(2) {
        0 => format!("192.0.2.{}:{port}", pick(256)),
        _ => format!("[2001:db8::{:x}]:{port}", pick(256)),
    };
    let source = format!("10.0.{}.{}", pick(10), pick(256));
    query(protocol, pick(5) as u8, &source, &destination)
}

#[test]
fn the_compiled_list_says_what_reading_the_rules_says() {
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    for count in [1, 5, 63, 64, 65, 300] {
        let rules = Rules::new((0..count).map(|_| random_rule(&mut rng)).collect());
        for _ in 0..2_000 {
            let query = random_query(&mut rng);
            let read = rules.as_slice().iter().position(|rule| rule.mismatch(&query).is_none());
            let decided = rules.decide(&query).map(|(place, _)| place);
            assert_eq!(decided, read, "{query:?} of {count} rules");
        }
    }
}

#[test]
fn a_shadowed_rule_never_matches() {
    let mut rng = ChaCha20Rng::from_seed([8; 32]);
    let mut found = 0;
    for _ in 0..50 {
        let rules = Rules::new((0..30).map(|_| random_rule(&mut rng)).collect());
        let shadowed = rules.shadowed();
        found += shadowed.len();
        for _ in 0..2_000 {
            let query = random_query(&mut rng);
            let decided = rules.decide(&query).map(|(place, _)| place);
            assert!(!shadowed.iter().any(|(place, _)| decided == Some(*place)));
        }
    }
    assert!(found > 100, "{found}");
}

#[test]
fn the_first_rule_that_covers_another_is_its_shadow() {
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    for _ in 0..50 {
        let rules = Rules::new((0..70).map(|_| random_rule(&mut rng)).collect());
        let slice = rules.as_slice();
        let covering = |place: usize| {
            let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];
            if !protocols.into_iter().any(|protocol| slice[place].is_for(protocol)) {
                return None;
            }
            let earlier = slice[..place].iter().position(|rule| rule.covers(&slice[place]))?;
            Some((place, earlier))
        };
        let expected: Vec<_> = (0..slice.len()).filter_map(covering).collect();
        assert_eq!(rules.shadowed(), expected);
    }
}

#[test]
fn the_shadow_is_named() {
    let rules = Rules::new(vec![
        Rule { ports: vec![1..=9, 10..=20], ..any() },
        Rule { to: vec![net("10.0.0.0/8")], protocols: vec![Protocol::Tcp], ..any() },
        Rule { ports: vec![5..=15], protocols: vec![Protocol::Udp], ..any() },
        Rule { to: vec![net("10.1.0.0/16")], protocols: vec![Protocol::Tcp], ..any() },
        Rule { to: vec![net("10.1.0.0/16")], ..any() },
    ]);
    assert_eq!(rules.shadowed(), [(2, 0), (3, 1)]);
}

#[test]
fn every_contradiction_of_a_rule_is_reported() {
    let proxy_protocol = ProxyProtocol::V2;
    let target = RedirectTarget::Address("127.0.0.1:0".parse().unwrap());
    let header =
        |protocols| Rule { protocols, action: RuleAction::Relay { proxy_protocol }, ..any() };
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is wrong with it")]
    let backward = Rule {
        ports: vec![9..=8],
        action: RuleAction::Redirect { target, proxy_protocol: ProxyProtocol::Off },
        ..any()
    };
    assert_eq!(
        backward.errors(),
        [RuleError::BackwardRange { first: 9, last: 8 }, RuleError::NoPort]
    );
    for target in ["0.0.0.0:53", "[::]:53", "224.0.0.1:53", "255.255.255.255:53"] {
        let redirect = Rule { action: redirect(target), ..any() };
        assert_eq!(redirect.errors(), [RuleError::NoHost], "{target}");
    }
    assert_eq!(header(vec![Protocol::Udp]).errors(), [RuleError::ProxyProtocol]);
    assert_eq!(header(vec![Protocol::Tcp]).errors(), []);
    assert_eq!(header(Vec::new()).errors(), [], "it is for TCP only, and others go without");
    let ping = vec![Protocol::Icmp];
    let ports = Rule { protocols: ping.clone(), ports: vec![1..=2], ..any() };
    let moved = Rule { protocols: ping, action: redirect("127.0.0.1:1"), ..any() };
    for rule in [ports, moved] {
        assert_eq!(rule.errors(), [RuleError::NoProtocol]);
    }
}
