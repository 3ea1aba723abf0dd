//! `slipwire check`: whether a configuration is valid, and what it would run.

use std::fmt::{self, Display, Write as _};
use std::net::SocketAddr;

use lexopt::Parser;
use slipwire_core::Protocol;
use slipwire_core::config::{DefaultAction, Endpoint, Gateway, Peer};
use slipwire_driver::{CaptureFile, Forward, TapeFiles};

use super::{arguments, explain, rule_table};
use crate::config::{self, Configuration};
use crate::failure::Failure;
use crate::output;

const HELP: &str = "\
Validates a configuration and prints what would run. If anything is wrong, prints all of it, one
line each with file, line and mend, and exits with 1. Ports are not opened: whether one is taken
turns up when it runs. Files that would be written are looked at, and left as they are. What would
be done otherwise than it is written is a warning.

Usage: slipwire check [FILE] [--explain FLOW]

Arguments:
  FILE                the configuration, - for standard input; default: ./slipwire.toml, then
                      /etc/slipwire/slipwire.toml

Options:
  -c, --config FILE   the same
  --explain FLOW      say what becomes of a flow of a peer, which rule decides, and why the rules
                      before it do not. FLOW is the protocol, the peer (by name or inner address)
                      and the destination, in one argument

Examples:
  slipwire check
  slipwire check --explain \"tcp laptop 10.0.0.5:443\"
  slipwire check --explain \"icmp 10.77.0.2 192.0.2.1\"
  slipwire check /etc/slipwire/slipwire.toml && systemctl restart slipwire
";

pub(super) fn main(parser: Parser) -> Result<(), Failure> {
    let parsed = arguments::check(parser);
    let Some(asked) = arguments::settle(parsed, "check", HELP)? else { return Ok(()) };
    let configuration = config::find(asked.file)?;
    for warning in &configuration.warnings {
        output::complain(warning);
    }
    match asked.explain {
        None => output::print(&describe(&configuration)),
        Some(flow) => match explain::explain(&flow, &configuration, is_this_host) {
            Ok(answer) => output::print(&answer),
            Err(message) => Err(Failure::Usage { message, help: "slipwire check".to_owned() }),
        },
    }
}

/// Whether a destination is this host itself.
fn is_this_host(protocol: Protocol, destination: SocketAddr) -> bool {
    slipwire_driver::is_this_host(protocol, destination).unwrap_or_else(|error| {
        output::complain(&format!(
            "slipwire: warning: whether {} is this host itself can't be found out: {error}; a \
             gateway does not start without that",
            destination.ip()
        ));
        false
    })
}

/// What a configuration would run, for people.
pub(crate) fn describe(configuration: &Configuration) -> String {
    Summary(configuration).to_string()
}

struct Summary<'c>(&'c Configuration);

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let configuration = self.0;
        let parts = configuration.engine.parts();
        let interface = &parts.interface;
        writeln!(f, "{} is valid\n", configuration.origin.file.display())?;
        row(f, "interface", &configuration.interface_name)?;
        row(f, "", &format!("public key   {}", interface.private_key.public_key()))?;
        row(f, "", &format!("address      {}", list(&interface.addresses)))?;
        row(f, "", &format!("listens on   {}", listens(configuration)))?;
        row(f, "", &format!("mtu          {}", interface.mtu))?;
        for (index, peer) in parts.peers.iter().enumerate() {
            write_peer(f, if index == 0 { "peers" } else { "" }, peer)?;
        }
        for (index, forward) in configuration.settings.forwards.iter().enumerate() {
            let label = if index == 0 { "forwards" } else { "" };
            write_forward(f, label, forward, configuration)?;
        }
        row(f, "gateway", &describe_gateway(parts.gateway.as_ref()))?;
        let rules = parts.gateway.as_ref().map_or(&[][..], |gateway| &gateway.rules);
        for (index, rule) in rules.iter().enumerate() {
            let label = if index == 0 { "rules" } else { "" };
            let text = rule_table::describe(rule, &configuration.engine);
            row(f, label, &format!("{:>2}  {text}", index + 1))?;
        }
        if let Some(CaptureFile { file, size_max }) = &configuration.settings.capture {
            let text = format!("plaintext packets to {}, at most {size_max} bytes", file.display());
            row(f, "capture", &text)?;
        }
        if let Some(TapeFiles { file, size_max, segments }) = &configuration.settings.record {
            let file = file.display();
            let text = format!(
                "plaintext tapes to {file}, {segments} of them kept, at most {size_max} bytes together"
            );
            row(f, "record", &text)?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, label: &str, value: &str) -> fmt::Result {
    writeln!(f, "{label:<11}{value}")
}

fn list<T: Display>(items: &[T]) -> String {
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{item}");
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

fn listens(configuration: &Configuration) -> String {
    let addresses = list(&configuration.settings.listen);
    match configuration.settings.port {
        Some(port) => format!("UDP port {port} of {addresses}"),
        None => format!("any free UDP port of {addresses}"),
    }
}

fn write_peer(f: &mut fmt::Formatter<'_>, label: &str, peer: &Peer) -> fmt::Result {
    row(f, label, &peer.name)?;
    row(f, "", &format!("  public key   {}", peer.public_key))?;
    row(f, "", &format!("  allowed ips  {}", list(&peer.allowed_ips)))?;
    let endpoint = match &peer.endpoint {
        Some(Endpoint::Address(address)) => address.to_string(),
        Some(zoned @ Endpoint::Name { host, .. }) if host.contains('%') => zoned.to_string(),
        Some(name @ Endpoint::Name { .. }) => format!("{name} (a name, resolved when it runs)"),
        None => "unknown until it calls".to_owned(),
    };
    row(f, "", &format!("  endpoint     {endpoint}"))?;
    if let Some(seconds) = peer.persistent_keepalive {
        row(f, "", &format!("  keepalive    every {seconds} s"))?;
    }
    if peer.preshared_key.is_some() {
        row(f, "", "  preshared    yes")?;
    }
    Ok(())
}

fn write_forward(
    f: &mut fmt::Formatter<'_>,
    label: &str,
    forward: &Forward,
    configuration: &Configuration,
) -> fmt::Result {
    let Forward { name, protocol, listen, to } = forward;
    let owner = configuration.engine.owner(to.ip()).map_or("nobody", |peer| peer.name.as_str());
    let name = if *name == listen.to_string() { String::new() } else { format!("{name}: ") };
    row(f, label, &format!("{name}{protocol} {listen} -> {to} (peer {owner})"))
}

fn describe_gateway(gateway: Option<&Gateway>) -> String {
    let Some(gateway) = gateway else {
        return "off: peers reach nothing through this end".to_owned();
    };
    let default = match gateway.default {
        DefaultAction::Relay => "relay",
        DefaultAction::Reject => "reject",
        DefaultAction::Drop => "drop",
    };
    let peers = if gateway.peer_to_peer { "reach" } else { "don't reach" };
    let mut text = format!("on: default {default}; peers {peers} each other");
    if !gateway.overlay_exclude.is_empty() {
        let _ = write!(text, "; never to a peer: {}", list(&gateway.overlay_exclude));
    }
    text
}
