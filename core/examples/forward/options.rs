//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use lexopt::prelude::*;
use slipwire_core::config::Peer;
use slipwire_core::{Config, IpNet, PublicKey};

use crate::support::{Outcome, config};

pub(crate) const HELP: &str = "\
Lead a local TCP port to a host behind a WireGuard peer.

    forward --key-file FILE --address 10.77.0.2/32 --peer PUBLIC_KEY --endpoint 192.0.2.1:51820
            --listen 127.0.0.1:8080 --to 10.77.0.1:80

    --key-file FILE      our private key, in base64
    --address PREFIX     our address in the tunnel
    --peer PUBLIC_KEY    the peer, to whom everything goes
    --endpoint ADDRESS   where it is
    --listen ADDRESS     where local clients connect; port 0 is any
    --to ADDRESS         where that leads, in the tunnel
";

/// What the command line says.
pub(crate) struct Options {
    pub(crate) config: Config,
    pub(crate) endpoint: SocketAddr,
    pub(crate) listen: SocketAddr,
    pub(crate) to: SocketAddr,
}

/// Reads the arguments; nothing if they ask for help.
pub(crate) fn read() -> Outcome<Option<Options>> {
    let mut parser = lexopt::Parser::from_env();
    let (mut key_file, mut address, mut peer) = (None, None, None);
    let (mut endpoint, mut listen, mut to) = (None, None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("key-file") => key_file = Some(PathBuf::from(parser.value()?)),
            Long("address") => address = Some(parser.value()?.parse::<IpNet>()?),
            Long("peer") => {
                peer = Some(parser.value()?.parse::<PublicKey>()?);
            }
            Long("endpoint") => endpoint = Some(parser.value()?.parse()?),
            Long("listen") => listen = Some(parser.value()?.parse()?),
            Long("to") => to = Some(parser.value()?.parse()?),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    let endpoint: SocketAddr = endpoint.ok_or("--endpoint is missing")?;
    let peer = Peer::new(peer.ok_or("--peer is missing")?)
        .with_name("peer")
        .with_allowed_ips(["0.0.0.0/0".parse()?, "::/0".parse()?])
        .with_endpoint(endpoint);
    let key_file = key_file.ok_or("--key-file is missing")?;
    let addresses = vec![address.ok_or("--address is missing")?];
    let config = config(&key_file, addresses, vec![peer], None)?;
    let (listen, to) = (listen.ok_or("--listen is missing")?, to.ok_or("--to is missing")?);
    Ok(Some(Options { config, endpoint, listen, to }))
}
