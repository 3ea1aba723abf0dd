//! How the hosts of a world know each other: keys, addresses, configurations.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;

use slipwire_core::config::{
    DefaultAction, Endpoint, Gateway, Interface, MTU_IPV6_MIN, Parts, Peer,
};
use slipwire_core::rules::{Rule, RuleAction};
use slipwire_core::{Config, Engine, Instant, IpNet, PrivateKey, Protocol};

use super::plan::{GATEWAY, Plan, inner, services};
use slipwire_worlds::dice::Dice;

const PORT: u16 = 51_820;

/// The address of a host outside the tunnel, before it roams.
pub(super) const fn address(host: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, host as u8)), PORT)
}

/// The host that an address belongs to, or belonged to.
pub(super) fn host_at(address: SocketAddr, hosts: usize) -> Option<usize> {
    (0..hosts).find(|host| self::address(*host).ip() == address.ip())
}

fn key(host: usize) -> PrivateKey {
    PrivateKey::from_entropy([host as u8 + 1; 32])
}

/// The configuration of a host.
pub(super) fn config(host: usize, plan: &Plan) -> Config {
    let own = &plan.hosts[host];
    let is_gateway = host == GATEWAY;
    let addresses = [false, true].map(|v6| inner(host, v6).into());
    let v4_only = own.mtu < MTU_IPV6_MIN;
    let clients = 1..plan.hosts.len();
    let peers = if is_gateway {
        let client = |client| {
            let allowed_ips = [false, true].map(|v6| inner(client, v6).into()).to_vec();
            peer(client, allowed_ips, Endpoint::Address(address(client)), own.keepalive_secs)
        };
        clients.map(client).collect()
    } else {
        let endpoint = match own.resolves_after {
            Some(_) => Endpoint::Name { host: "gateway.example".into(), port: PORT },
            None => Endpoint::Address(address(GATEWAY)),
        };
        let everything = vec![IpNet::V4(Default::default()), IpNet::V6(Default::default())];
        vec![peer(GATEWAY, everything, endpoint, own.keepalive_secs)]
    };
    let own_addresses = addresses[..if v4_only { 1 } else { 2 }].iter().copied();
    let mut parts = Parts::new(Interface::new(key(host), own_addresses));
    parts.interface.mtu = own.mtu;
    parts.peers = peers;
    let mut gateway = Gateway::default();
    gateway.rules.push(Rule {
        protocols: vec![Protocol::Tcp],
        to: addresses.iter().map(|own| IpNet::from(own.addr())).collect(),
        ports: vec![services()],
        ..Rule::any(RuleAction::Serve)
    });
    gateway.default = if is_gateway { DefaultAction::Relay } else { DefaultAction::Reject };
    gateway.peer_to_peer = is_gateway;
    parts.gateway = Some(gateway);
    parts.tcp = own.tcp.clone();
    parts.limits = own.limits.clone();
    match Config::new(parts) {
        Ok(config) => config,
        Err(errors) => panic!("plans are valid: {errors:?}"),
    }
}

fn peer(host: usize, allowed_ips: Vec<IpNet>, endpoint: Endpoint, keepalive_secs: u16) -> Peer {
    Peer::new(key(host).public_key())
        .with_name(format!("host {host}"))
        .with_allowed_ips(allowed_ips)
        .with_endpoint(endpoint)
        .with_persistent_keepalive(NonZeroU16::new(keepalive_secs))
}

/// A new engine. It starts at the epoch of its host's clock, not now: boringtun asks for the wall
/// clock once, at the start, and stamps handshakes with what has passed since. So the handshakes
/// of an engine that replaces another are later than its predecessor's, as they are in life.
pub(super) fn engine(config: &Config, dice: &mut Dice) -> Engine {
    Engine::new(config, dice.entropy(), Instant::ZERO)
}
