//! Builders, one for each noun. What a test does not name is as the defaults of core have it.

use std::net::SocketAddr;

use slipwire_core::config::{Interface, Parts, Peer};
use slipwire_core::{Config, Engine, Instant, IpNet, PrivateKey};

/// An address and a port, from text.
pub fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A prefix, from text.
pub fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// The private key of the end of that number. Whoever knows the number knows both keys.
pub fn key(end: u8) -> PrivateKey {
    PrivateKey::from_entropy([end; 32])
}

/// How others know the end of that number.
pub fn peer(end: u8, allowed_ips: &[&str]) -> Peer {
    Peer::new(key(end).public_key()).with_allowed_ips(allowed_ips.iter().map(|text| net(text)))
}

/// What the configuration of the end of that number is made of: its key and its addresses in the
/// tunnel. It knows no peer yet.
pub fn configuration(end: u8, addresses: &[&str]) -> Parts {
    Parts::new(Interface::new(key(end), addresses.iter().map(|text| net(text))))
}

/// The configuration of those parts.
pub fn config(parts: Parts) -> Config {
    Config::new(parts).unwrap()
}

/// The engine of the end of that number, at the start of time.
pub fn engine(end: u8, parts: Parts) -> Engine {
    engine_at(end, parts, Instant::ZERO)
}

/// The same at another time.
pub fn engine_at(end: u8, parts: Parts, now: Instant) -> Engine {
    Engine::new(&config(parts), [end; 32], now)
}
