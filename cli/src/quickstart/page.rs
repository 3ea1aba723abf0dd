//! The page that the gateway serves inside the tunnel, to prove the way to it.

use slipwire_core::config::Config;
use slipwire_core::rules::{Rule, RuleAction};
use slipwire_core::{FlowMeta, IpNet, Protocol};
use slipwire_driver::{Driver, Page};

use crate::config::in_one_line;
use crate::failure::Failure;

/// The port of the page at the gateway's tunnel addresses.
pub(crate) const PORT: u16 = 80;

/// A configuration whose rules lead to the page.
pub(crate) fn with_page(engine: &Config) -> Result<Config, Failure> {
    let mut parts = engine.parts().clone();
    let Some(gateway) = &mut parts.gateway else {
        return Err(Failure::Fault(
            "slipwire: the configuration has no [gateway] to try; put the table back, or run the \
             file with `slipwire run`"
                .to_owned(),
        ));
    };
    let addresses = parts.interface.addresses.iter().map(|own| IpNet::from(own.addr()));
    let rule = Rule {
        protocols: vec![Protocol::Tcp],
        to: addresses.collect(),
        ports: vec![PORT..=PORT],
        ..Rule::any(RuleAction::Serve)
    };
    gateway.rules.insert(0, rule);
    Config::new(parts).map_err(|errors| {
        let reasons = in_one_line(&errors);
        Failure::Fault(format!("slipwire: the page can't be served: {reasons}"))
    })
}

/// Has the gateway of such a configuration serve the page.
pub(crate) fn serve(gateway: &mut Driver) -> Result<(), Failure> {
    let served = gateway.serve_streams(PORT, Page::new(page));
    served
        .map(drop)
        .map_err(|error| Failure::Fault(format!("slipwire: the page can't be served: {error}")))
}

fn page(meta: &FlowMeta) -> Vec<u8> {
    let name = &meta.peer.name;
    let (inner, here) = (meta.source.ip(), meta.destination);
    let body = format!(
        "Hello {name}!\n\n\
         Your address in the tunnel is {inner}, and your key is {}.\n\
         This page came to you through WireGuard, from {here},\n\
         where slipwire itself answered: no socket of this host took part.\n",
        meta.peer.public_key
    );
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use slipwire_core::rules::ProxyProtocol;
    use slipwire_core::{Identity, PrivateKey, Target};

    use super::*;

    #[test]
    fn the_page_says_who_asked_and_how_long_it_is() {
        let public_key = PrivateKey::from_entropy([1; 32]).public_key();
        let meta = FlowMeta {
            peer: Arc::new(Identity { name: "büro".into(), public_key }),
            protocol: Protocol::Tcp,
            source: "10.77.0.3:40000".parse().unwrap(),
            destination: "10.77.0.1:80".parse().unwrap(),
            target: Target::Embedder,
            rule: Some(0),
            proxy_protocol: ProxyProtocol::Off,
        };
        let response = String::from_utf8(page(&meta)).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        assert!(body.contains("Hello büro!") && body.contains("10.77.0.3"), "{body}");
    }
}
