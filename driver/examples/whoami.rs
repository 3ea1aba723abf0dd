//! Tells WireGuard peers who they are: a server inside the tunnel, at every port of every address.
//! HTTP requests and datagrams are answered; the only socket is WireGuard's.
#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use slipwire_core::config::{Gateway, Interface, Parts, Peer};
use slipwire_core::rules::{Rule, RuleAction};
use slipwire_core::{Config, FlowMeta};
use slipwire_driver::{Driver, Page, PeerDatagrams, Settings};

const USAGE: &str = "usage: KEY_FILE 10.77.0.1/24 0.0.0.0:51820 NAME,KEY,10.77.0.2/32 ...";

/// Whose a flow is, and where to.
fn describe(meta: &FlowMeta) -> String {
    let FlowMeta { peer, protocol, source, destination, .. } = meta;
    let (name, key) = (&peer.name, &peer.public_key);
    format!("peer: {name}\nkey: {key}\nfrom: {source}\nto: {destination} ({protocol})\n")
}

/// The answer to any request.
fn page(meta: &FlowMeta) -> Vec<u8> {
    let body = describe(meta);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close";
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Reads a peer: its name, its public key and its inner addresses.
fn peer(text: &str) -> Result<Peer, Box<dyn Error>> {
    let mut fields = text.split(',');
    let (Some(name), Some(key)) = (fields.next(), fields.next()) else { return Err(USAGE.into()) };
    let allowed_ips = fields.map(str::parse).collect::<Result<Vec<_>, _>>()?;
    Ok(Peer::new(key.parse()?).with_name(name).with_allowed_ips(allowed_ips))
}

/// Reads the arguments: a configuration, and where to listen.
fn options() -> Result<(Config, SocketAddr), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [key_file, address, listen, peers @ ..] = &arguments[..] else { return Err(USAGE.into()) };
    let key = fs::read_to_string(key_file)?.parse()?;
    let mut parts = Parts::new(Interface::new(key, [address.parse()?]));
    parts.peers = peers.iter().map(|text| peer(text)).collect::<Result<_, _>>()?;
    let mut gateway = Gateway::default();
    gateway.rules.push(Rule::any(RuleAction::Serve));
    parts.gateway = Some(gateway);
    Ok((Config::new(parts)?, listen.parse()?))
}

fn run() -> Result<(), Box<dyn Error>> {
    let (config, listen) = options()?;
    let mut settings = Settings::default();
    settings.listen = vec![listen.ip().into()];
    settings.port = Some(listen.port());
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;

    let mut driver = Driver::new(config, settings, seed)?;
    driver.serve_streams(.., Page::new(page))?;
    driver.serve_datagrams(.., |_: &[u8], flow: &mut PeerDatagrams<'_>| {
        flow.send(describe(flow.meta()).as_bytes());
    })?;
    driver.local_addresses().for_each(|address| println!("{address} listens"));
    loop {
        driver.turn(None)?;
    }
}

fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    eprintln!("whoami: {error}");
    ExitCode::FAILURE
}
