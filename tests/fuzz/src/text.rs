//! Texts that people write: configurations, single values of them, keys, questions. Bytes that are
//! no UTF-8 are refused before any parser sees them, and pass here.

use std::net::SocketAddr;

use slipwire_core::{IpNet, PresharedKey, PrivateKey, PublicKey};

/// A whole configuration file.
pub(super) fn configuration(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        slipwire::fuzz::configuration(text);
    }
}

/// The value of any key of a configuration: names, addresses, endpoints, ports, sizes, times.
pub(super) fn value(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    slipwire::fuzz::value(text);
    if let Ok(key) = text.parse::<PrivateKey>() {
        assert!(key.to_base64().parse::<PrivateKey>().is_ok());
        let _ = key.public_key();
    }
    let _ = text.parse::<PresharedKey>();
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string().parse::<PublicKey>(), Ok(key));
    }
    let _ = text.parse::<IpNet>();
    let _ = text.parse::<SocketAddr>();
}

/// What `slipwire check --explain` is asked.
pub(super) fn question(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        slipwire::fuzz::question(text);
    }
}
