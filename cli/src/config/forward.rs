//! `[[forward]]`: local ports that lead into the tunnel.

use std::net::SocketAddr;

use slipwire_core::config::Parts;
use slipwire_driver::{Forward, ForwardProtocol};
use toml::de::DeTable;

use super::address::{InnerSocket, ListenSocket};
use super::fault::{At, Problem, Report};
use super::schema;
use super::section::Section;
use super::value::Name;

/// One table, with the places that later checks speak of.
#[derive(Debug)]
pub(super) struct ForwardTable {
    pub(super) forward: Forward,
    pub(super) listen_offset: usize,
    to_offset: usize,
}

/// Reads the tables; the places where two of them listen are told from each other.
pub(super) fn read(root: &DeTable<'_>, report: &mut Report) -> Vec<ForwardTable> {
    let mut tables: Vec<ForwardTable> = Vec::new();
    for section in Section::all(&schema::FORWARD, root, report) {
        let Some(table) = table(&section, report) else { continue };
        if let Some(other) = tables.iter().find(|other| collide(&other.forward, &table.forward)) {
            let line = report.line(other.listen_offset);
            let what = format!("{} is taken by the forward of line {line}", table.forward.listen);
            let problem = Problem::new(what, "choose another port");
            report.fault(table.listen_offset, section.path("listen"), problem);
        }
        tables.push(table);
    }
    tables
}

fn collide(a: &Forward, b: &Forward) -> bool {
    a.protocol == b.protocol && a.listen == b.listen && a.listen.port() != 0
}

fn table(section: &Section<'_>, report: &mut Report) -> Option<ForwardTable> {
    let name = section.optional("name", report);
    let protocol = section.optional("protocol", report);
    let listen = section.required::<ListenSocket>("listen", "listen = \"127.0.0.1:8080\"", report);
    let to = section.required::<InnerSocket>("to", "to = \"192.168.4.2:80\"", report);
    let (listen, to) = (listen?, to?);
    let protocol = protocol.map_or(ForwardProtocol::Tcp, |protocol| protocol.value);
    let mut forward = Forward::new(protocol, listen.value.0, to.value.0);
    forward.name = name.map_or(forward.name, |name: At<Name>| name.value.0);
    Some(ForwardTable { forward, listen_offset: listen.offset, to_offset: to.offset })
}

/// Reports every forward that leads nowhere.
pub(super) fn check_targets(tables: &[ForwardTable], parts: &Parts, report: &mut Report) {
    for ForwardTable { forward: Forward { to, .. }, to_offset, .. } in tables {
        if let Some(problem) = unreachable(*to, parts) {
            report.fault(*to_offset, "forward.to", problem);
        }
    }
}

fn unreachable(to: SocketAddr, parts: &Parts) -> Option<Problem> {
    let address = to.ip();
    if parts.interface.addresses.iter().any(|own| own.addr() == address) {
        return Some(Problem::new(
            format!("{address} is this end of the tunnel itself"),
            "write an address behind a peer",
        ));
    }
    if !parts.peers.iter().flat_map(|peer| &peer.allowed_ips).any(|net| net.contains(&address)) {
        return Some(Problem::new(
            format!("no peer's allowed_ips contain {address}"),
            "add it to the allowed_ips of the peer that leads there",
        ));
    }
    let mut own = parts.interface.addresses.iter();
    let (version, example) =
        if address.is_ipv4() { ("IPv4", "10.77.0.1/24") } else { ("IPv6", "fd77::1/64") };
    let found = own.any(|own| own.addr().is_ipv4() == address.is_ipv4());
    (!found).then(|| {
        Problem::new(
            format!("this end has no {version} address in the tunnel to reach {address} from"),
            format!("add one to `address` of [interface], for example \"{example}\""),
        )
    })
}
