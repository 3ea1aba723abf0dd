//! What a program needs before it has a loop: a private key, entropy, a clock, a configuration.

use std::error::Error;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::time;

use slipwire_core::config::{Gateway, Interface, Parts, Peer};
use slipwire_core::{Config, Instant, IpNet, PrivateKey};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The configuration of an end with these addresses and peers.
pub(crate) fn config(
    key_file: &Path,
    addresses: Vec<IpNet>,
    peers: Vec<Peer>,
    gateway: Option<Gateway>,
) -> Outcome<Config> {
    let unreadable = |error: &dyn Error| format!("{}: {error}", key_file.display());
    let text = fs::read_to_string(key_file).map_err(|error| unreadable(&error))?;
    let private_key = text.parse::<PrivateKey>().map_err(|error| unreadable(&error))?;
    let mut parts = Parts::new(Interface::new(private_key, addresses));
    parts.peers = peers;
    parts.gateway = gateway;
    Ok(Config::new(parts)?)
}

/// Entropy for an engine.
pub(crate) fn seed() -> Outcome<[u8; 32]> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}

/// The time, which an engine does not ask for itself.
pub(crate) struct Clock(time::Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the clock is the embedder's")]
    pub(crate) fn start() -> Self {
        Self(time::Instant::now())
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }
}
