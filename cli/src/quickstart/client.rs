//! The other side of the gateway for a real client, in the format of wg-quick.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use slipwire_core::config::{Config, Peer};
use slipwire_core::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

/// Seconds; most home routers forget a silent UDP mapping after 30.
const PERSISTENT_KEEPALIVE: u16 = 25;

/// Where a client finds things outside the tunnel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outside {
    /// Where the gateway is, if that could be found out.
    pub(super) endpoint: Option<SocketAddr>,
    /// The resolver to use through the tunnel.
    pub(super) resolver: Resolver,
}

/// A resolver that clients can reach through the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resolver {
    /// The one that the gateway's host asks.
    OfHost(IpAddr),
    /// Somebody else's, that anybody may ask.
    Quad9,
}

impl Resolver {
    /// Its line, and whose it is.
    fn lines(self) -> String {
        match self {
            Self::OfHost(address) => {
                format!("# The resolver that the gateway's host asks:\nDNS = {address}")
            }
            Self::Quad9 => format!(
                "# The gateway's host has no resolver that others can ask. This is Quad9, a public \
                 one: change\n# it, or take it out, if names are to be asked elsewhere.\nDNS = {QUAD9}"
            ),
        }
    }
}

const QUAD9: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);

/// Writes the configuration of `peer`, whose key is `key`, as a client of `gateway`.
pub(super) fn configuration(
    gateway: &Config,
    peer: &Peer,
    key: &PrivateKey,
    outside: Outside,
) -> Zeroizing<String> {
    let interface = &gateway.parts().interface;
    let addresses: Vec<_> = peer.allowed_ips.iter().map(ToString::to_string).collect();
    // One allocation, so that wiping it wipes every copy of the key.
    let mut text = Zeroizing::new(String::with_capacity(1024 + 64 * addresses.len()));
    let private_key = Zeroizing::new(key.to_base64());
    let endpoint = match outside.endpoint {
        Some(endpoint) => format!("Endpoint = {endpoint}"),
        None => "# Fill in where this gateway is reached:\n# Endpoint = ADDRESS:PORT".to_owned(),
    };
    let preshared_key = Zeroizing::new(match &peer.preshared_key {
        Some(key) => format!("PresharedKey = {}\n", *Zeroizing::new(key.to_base64())),
        None => String::new(),
    });
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "[Interface]\nPrivateKey = {}\nAddress = {}\n{}\nMTU = {}\n\n\
         [Peer]\nPublicKey = {}\n{}AllowedIPs = 0.0.0.0/0, ::/0\n{endpoint}\n\
         PersistentKeepalive = {PERSISTENT_KEEPALIVE}\n",
        *private_key,
        addresses.join(", "),
        outside.resolver.lines(),
        interface.mtu,
        interface.private_key.public_key(),
        *preshared_key,
    );
    text
}

/// The value of a key in a client's configuration.
fn value<'t>(text: &'t str, wanted: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        key.trim().eq_ignore_ascii_case(wanted).then(|| value.trim())
    })
}

/// Whether a client's configuration says where the gateway is.
pub(super) fn has_endpoint(text: &str) -> bool {
    value(text, "Endpoint").is_some()
}

/// The same configuration in as few characters as can be, for a small QR code.
pub(super) fn compact(text: &str) -> Zeroizing<String> {
    let mut short = Zeroizing::new(String::with_capacity(text.len()));
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    for line in lines.filter(|line| !line.trim().is_empty()) {
        short.extend(line.chars().filter(|c| !c.is_whitespace()));
        short.push('\n');
    }
    short
}

/// Whether a client's configuration is one of `client` at `gateway`.
pub(super) fn belongs(text: &str, client: &PublicKey, gateway: &PublicKey) -> bool {
    let private_key = value(text, "PrivateKey").and_then(|text| text.parse::<PrivateKey>().ok());
    let public_key = value(text, "PublicKey").and_then(|text| text.parse::<PublicKey>().ok());
    private_key.is_some_and(|key| key.public_key() == *client)
        && public_key.as_ref() == Some(gateway)
}

#[cfg(test)]
mod tests {
    use slipwire_core::PresharedKey;
    use slipwire_core::config::{Interface, Parts};

    use super::*;

    fn gateway() -> Config {
        let key = PrivateKey::from_entropy([1; 32]);
        let mut parts = Parts::new(Interface::new(key, ["10.77.0.1/24".parse().unwrap()]));
        parts.interface.mtu = 1380;
        Config::new(parts).unwrap()
    }

    fn laptop(preshared_key: Option<PresharedKey>) -> Peer {
        Peer::new(PrivateKey::from_entropy([2; 32]).public_key())
            .with_name("laptop")
            .with_preshared_key(preshared_key)
            .with_allowed_ips(["10.77.0.2/32", "fd77::2/128"].map(|own| own.parse().unwrap()))
    }

    fn written(peer: &Peer, endpoint: Option<&str>) -> Zeroizing<String> {
        let endpoint = endpoint.map(|endpoint| endpoint.parse().unwrap());
        let outside = Outside { endpoint, resolver: Resolver::OfHost([192, 168, 1, 1].into()) };
        configuration(&gateway(), peer, &PrivateKey::from_entropy([2; 32]), outside)
    }

    #[test]
    fn a_client_knows_the_gateway_and_its_own_addresses() {
        let text = written(&laptop(None), Some("[2001:db8::1]:51820"));
        for line in [
            "Address = 10.77.0.2/32, fd77::2/128",
            "DNS = 192.168.1.1",
            "# The resolver that the gateway's host asks:",
            "MTU = 1380",
            "Endpoint = [2001:db8::1]:51820",
        ] {
            assert!(text.lines().any(|written| written == line), "{line}: {}", *text);
        }
        assert!(!text.contains("PresharedKey"));
    }

    #[test]
    fn a_secret_that_the_gateway_asks_for_is_there() {
        let key = PresharedKey::from_entropy([3; 32]);
        let line = format!("PresharedKey = {}", key.to_base64());
        assert!(written(&laptop(Some(key)), None).lines().any(|written| written == line));
    }

    #[test]
    fn an_endpoint_that_is_not_known_is_left_to_fill_in() {
        assert!(written(&laptop(None), None).contains("\n# Endpoint = ADDRESS:PORT\n"));
    }

    #[test]
    fn a_resolver_of_somebody_else_is_never_unsaid() {
        let lines = Resolver::Quad9.lines();
        assert!(lines.contains("# The gateway's host has no resolver that others can ask."));
        assert!(lines.contains("Quad9, a public") && lines.ends_with("\nDNS = 9.9.9.9"), "{lines}");
    }

    #[test]
    fn a_compact_configuration_says_the_same_in_fewer_characters() {
        let text = written(&laptop(None), Some("[2001:db8::1]:51820"));
        let short = compact(&text);
        for key in ["PrivateKey", "Address", "DNS", "AllowedIPs", "PublicKey", "Endpoint"] {
            let plain = |text: &str| value(text, key).unwrap().replace(' ', "");
            assert_eq!(plain(&short), plain(&text), "{key}");
        }
        assert!(!short.contains(['#', ' ']) && !short.contains("\n\n"), "{}", *short);
        assert!(has_endpoint(&short) && !has_endpoint(&written(&laptop(None), None)));
    }

    #[test]
    fn a_client_of_other_keys_does_not_belong_here() {
        let (laptop, text) = (laptop(None), written(&laptop(None), None));
        let gateway = gateway().parts().interface.private_key.public_key();
        assert!(belongs(&text, &laptop.public_key, &gateway));
        assert!(!belongs(&text, &gateway, &gateway));
        assert!(!belongs(&text, &laptop.public_key, &laptop.public_key));
        assert!(!belongs("[Interface]\nPrivateKey\n", &laptop.public_key, &gateway));
    }
}
