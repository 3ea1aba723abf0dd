//! What a configuration has to be, so that an engine can run on it: each part alone, and against
//! the others.

use std::time::Duration;

use ipnet::IpNet;

use crate::config::peer::{Others, conflicts};
use crate::config::{
    Buffer, ConfigError, ConfigErrors, ConfigTimer, Interface, Limit, Mappings, Parts, Peer, Tcp,
};
use crate::errors::Errors;
use crate::key::PublicKey;
use crate::limits::{
    BUFFER_MAX, BUFFER_MIN, Limits, MEMORY_MIN, MTU_IPV6_MIN, MTU_MAX, MTU_MIN, RULES_MAX,
};
use crate::rules::Rule;

/// Checks everything.
///
/// # Errors
/// Every contradiction there is, in the order of the parts.
pub(super) fn parts(parts: &Parts) -> Result<(), ConfigErrors> {
    let mut errors = Vec::new();
    check_interface(&parts.interface, &mut errors);
    check_peers(parts, &mut errors);
    let rules = parts.gateway.as_ref().map_or(&[][..], |gateway| &gateway.rules);
    errors.extend(rule_errors(rules));
    check_tcp(&parts.tcp, &mut errors);
    check_mappings(&parts.mappings, &mut errors);
    errors.extend(limit_errors(&parts.limits));
    Errors::none_of(errors)
}

fn check_interface(interface: &Interface, errors: &mut Vec<ConfigError>) {
    let mtu = interface.mtu;
    if !(MTU_MIN..=MTU_MAX).contains(&mtu) {
        errors.push(ConfigError::MtuOutOfRange { mtu });
    } else if mtu < MTU_IPV6_MIN && interface.addresses.iter().any(|a| a.addr().is_ipv6()) {
        errors.push(ConfigError::MtuTooSmallForIpv6 { mtu });
    }
}

fn check_peers(parts: &Parts, errors: &mut Vec<ConfigError>) {
    let Interface { private_key, addresses, .. } = &parts.interface;
    let own_key = private_key.public_key();
    for (place, peer) in parts.peers.iter().enumerate() {
        let earlier = &parts.peers[..place];
        let conflicts = conflicts(peer, &own_key, addresses, earlier).into_iter();
        errors.extend(conflicts.map(|conflict| ConfigError::Peer { peer: place, conflict }));
    }
}

impl Others for [Peer] {
    type Id = usize;

    fn with_key(&self, key: &PublicKey) -> Option<usize> {
        self.iter().position(|peer| peer.public_key == *key)
    }

    fn with_name(&self, name: &str) -> Option<usize> {
        self.iter().position(|peer| peer.name == name)
    }

    fn with_prefix(&self, prefix: IpNet) -> Option<usize> {
        self.iter().position(|peer| peer.allowed_ips.iter().any(|other| other.trunc() == prefix))
    }
}

/// Checks a list of rules alone.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn rules(rules: &[Rule]) -> Result<(), ConfigErrors> {
    Errors::none_of(rule_errors(rules))
}

fn rule_errors(rules: &[Rule]) -> impl Iterator<Item = ConfigError> {
    let count = rules.len();
    let too_many = (count > RULES_MAX).then_some(ConfigError::TooManyRules { rules: count });
    let wrong = rules.iter().enumerate().flat_map(|(place, rule)| {
        let errors = rule.errors().into_iter();
        errors.map(move |error| ConfigError::Rule { rule: place, error })
    });
    too_many.into_iter().chain(wrong)
}

fn check_tcp(tcp: &Tcp, errors: &mut Vec<ConfigError>) {
    let buffers = [(Buffer::Receive, tcp.receive_buffer), (Buffer::Send, tcp.send_buffer)];
    let wrong = buffers.into_iter().filter(|(_, bytes)| !(BUFFER_MIN..=BUFFER_MAX).contains(bytes));
    errors.extend(wrong.map(|(buffer, bytes)| ConfigError::BufferOutOfRange { buffer, bytes }));
    let timers = [
        (ConfigTimer::TcpConnect, tcp.connect_timeout),
        (ConfigTimer::TcpIdle, tcp.idle_timeout),
        (ConfigTimer::TcpHalfOpen, tcp.half_open_timeout),
        (ConfigTimer::TcpKeepalive, tcp.keepalive),
    ];
    check_timers(&timers, errors);
}

fn check_mappings(mappings: &Mappings, errors: &mut Vec<ConfigError>) {
    let timers = [
        (ConfigTimer::UdpIdle, mappings.udp_idle_timeout),
        (ConfigTimer::DnsIdle, mappings.dns_idle_timeout),
        (ConfigTimer::IcmpIdle, mappings.icmp_idle_timeout),
    ];
    check_timers(&timers, errors);
}

fn check_timers(timers: &[(ConfigTimer, Duration)], errors: &mut Vec<ConfigError>) {
    let zero = timers.iter().filter(|(_, duration)| duration.is_zero());
    errors.extend(zero.map(|(timer, _)| ConfigError::ZeroTimer { timer: *timer }));
}

fn limit_errors(limits: &Limits) -> impl Iterator<Item = ConfigError> {
    let least = [
        (Limit::TcpFlows, limits.tcp_flows, 1),
        (Limit::UdpFlows, limits.udp_flows, 1),
        (Limit::IcmpFlows, limits.icmp_flows, 1),
        (Limit::HalfOpen, limits.half_open, 1),
        (Limit::Memory, limits.memory, MEMORY_MIN),
    ];
    let too_low = least.into_iter().filter(|(_, value, min)| value < min);
    let too_low = too_low.map(|(limit, _, min)| ConfigError::LimitTooLow { limit, min });
    let part = ConfigError::LimitAboveOther { limit: Limit::HalfOpen, whole: Limit::TcpFlows };
    too_low.chain((limits.half_open > limits.tcp_flows).then_some(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, PeerConflict};
    use crate::key::PrivateKey;

    fn key(byte: u8) -> PrivateKey {
        PrivateKey::from_entropy([byte; 32])
    }

    fn peer(name: &str, byte: u8, allowed_ips: &[&str]) -> Peer {
        let allowed_ips = allowed_ips.iter().map(|p| p.parse().unwrap());
        Peer::new(key(byte).public_key()).with_name(name).with_allowed_ips(allowed_ips)
    }

    fn parts(peers: Vec<Peer>) -> Parts {
        let interface = Interface::new(key(1), ["10.0.0.1/24".parse().unwrap()]);
        Parts { peers, ..Parts::new(interface) }
    }

    #[test]
    fn the_defaults_agree_with_each_other() {
        assert_eq!(limit_errors(&Limits::default()).count(), 0);
        assert!(Config::new(parts(Vec::new())).is_ok(), "timers and buffers as they come");
    }

    #[test]
    fn every_contradiction_is_reported() {
        let mut parts = parts(vec![
            peer("a", 2, &["10.0.1.0/24", "10.0.0.1/32"]),
            peer("a", 2, &["10.0.1.7/24"]),
            peer("self", 1, &[]),
        ]);
        parts.interface.mtu = 100;
        parts.tcp.keepalive = Duration::ZERO;
        parts.tcp.send_buffer = 1;
        parts.limits.half_open = parts.limits.tcp_flows + 1;
        parts.limits.memory = MEMORY_MIN - 1;
        let errors = Config::new(parts).unwrap_err();
        let of_peer = |peer, conflict| ConfigError::Peer { peer, conflict };
        let prefix = "10.0.1.0/24".parse().unwrap();
        let address = "10.0.0.1".parse().unwrap();
        assert_eq!(
            errors.as_slice(),
            [
                ConfigError::MtuOutOfRange { mtu: 100 },
                of_peer(0, PeerConflict::OwnAddress { address }),
                of_peer(1, PeerConflict::PublicKey { other: 0 }),
                of_peer(1, PeerConflict::Name { other: 0 }),
                of_peer(1, PeerConflict::AllowedIp { other: 0, prefix }),
                of_peer(2, PeerConflict::OwnPublicKey),
                ConfigError::BufferOutOfRange { buffer: Buffer::Send, bytes: 1 },
                ConfigError::ZeroTimer { timer: ConfigTimer::TcpKeepalive },
                ConfigError::LimitTooLow { limit: Limit::Memory, min: MEMORY_MIN },
                ConfigError::LimitAboveOther { limit: Limit::HalfOpen, whole: Limit::TcpFlows },
            ]
        );
    }

    #[test]
    fn ipv6_needs_its_minimum_mtu() {
        let mut parts = parts(vec![]);
        parts.interface.mtu = 1279;
        assert!(Config::new(parts.clone()).is_ok());
        parts.interface.addresses.push("fd00::1/64".parse().unwrap());
        let error = ConfigError::MtuTooSmallForIpv6 { mtu: 1279 };
        assert_eq!(Config::new(parts).unwrap_err(), error.into());
    }
}
