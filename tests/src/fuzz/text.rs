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
    if let Ok(key) = PrivateKey::from_base64(text) {
        assert!(PrivateKey::from_base64(&key.to_base64()).is_ok());
        let _ = key.public_key();
    }
    let _ = PresharedKey::from_base64(text);
    if let Ok(key) = PublicKey::from_base64(text) {
        assert_eq!(PublicKey::from_base64(&key.to_string()), Ok(key));
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
