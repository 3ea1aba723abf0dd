//! The PROXY protocol: the header before the first byte of a connection that tells a host who its
//! client is (haproxy.org, proxy-protocol.txt).
//!
//! The source is the peer's inner address and port, the destination what the peer asked for.
//! Version 2 also carries who the peer is, in types that the protocol leaves to applications.

use std::io;

use ppp::v2::{Builder, Command, Protocol, Version};
use slipwire_core::FlowMeta;
use slipwire_core::rules::ProxyProtocol;

/// The type of the value in a PROXY protocol header, version 2, that holds the 32 bytes of the
/// peer's public key.
pub const PROXY_PUBLIC_KEY: u8 = 0xe0;
/// The type of the value that holds the peer's name, in UTF-8.
pub const PROXY_PEER_NAME: u8 = 0xe1;

/// The header for a flow; empty if it is to have none.
pub(crate) fn header(meta: &FlowMeta) -> io::Result<Vec<u8>> {
    match meta.proxy_protocol {
        ProxyProtocol::Off => Ok(Vec::new()),
        ProxyProtocol::V1 => {
            let addresses = ppp::v1::Addresses::from((meta.source, meta.destination));
            Ok(addresses.to_string().into_bytes())
        }
        ProxyProtocol::V2 => {
            let (version, addresses) =
                (Version::Two | Command::Proxy, (meta.source, meta.destination));
            Builder::with_addresses(version, Protocol::Stream, addresses)
                .write_tlv(PROXY_PUBLIC_KEY, meta.peer.public_key.as_bytes())?
                .write_tlv(PROXY_PEER_NAME, meta.peer.name.as_bytes())?
                .build()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use slipwire_core::{Identity, PrivateKey, Protocol, Target};

    use super::*;

    fn meta(source: &str, destination: &str, proxy_protocol: ProxyProtocol) -> FlowMeta {
        let public_key = PrivateKey::from_entropy([7; 32]).public_key();
        let destination = destination.parse().unwrap();
        FlowMeta {
            peer: Arc::new(Identity { name: "büro".into(), public_key }),
            protocol: Protocol::Tcp,
            source: source.parse().unwrap(),
            destination,
            target: Target::Host(destination),
            rule: None,
            proxy_protocol,
        }
    }

    #[test]
    fn version_1_is_a_line_of_text() {
        let line = |source, destination| {
            String::from_utf8(header(&meta(source, destination, ProxyProtocol::V1)).unwrap())
        };
        assert_eq!(
            line("10.7.0.2:4000", "10.0.0.1:443").unwrap(),
            "PROXY TCP4 10.7.0.2 10.0.0.1 4000 443\r\n"
        );
        assert_eq!(
            line("[fd00::2]:4000", "[2001:db8::1]:443").unwrap(),
            "PROXY TCP6 fd00::2 2001:db8::1 4000 443\r\n"
        );
    }

    #[test]
    fn version_2_says_who_the_peer_is() {
        for (source, destination) in
            [("10.7.0.2:4000", "10.0.0.1:443"), ("[fd00::2]:4000", "[2001:db8::1]:443")]
        {
            let meta = meta(source, destination, ProxyProtocol::V2);
            let bytes = header(&meta).unwrap();
            let parsed = ppp::v2::Header::try_from(bytes.as_slice()).unwrap();
            assert_eq!(parsed.addresses, (meta.source, meta.destination).into());
            let values: Vec<_> = parsed.tlvs().map(Result::unwrap).collect();
            let values: Vec<_> =
                values.iter().map(|value| (value.kind, value.value.as_ref())).collect();
            let key = meta.peer.public_key.as_bytes();
            let expected =
                [(PROXY_PUBLIC_KEY, key.as_slice()), (PROXY_PEER_NAME, "büro".as_bytes())];
            assert_eq!(values, expected);
        }
    }

    #[test]
    fn a_flow_without_it_starts_with_its_own_first_byte() {
        let meta = meta("10.7.0.2:4000", "10.0.0.1:443", ProxyProtocol::Off);
        assert!(header(&meta).unwrap().is_empty());
    }
}
