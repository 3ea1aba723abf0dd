//! `[interface]`: this end of the tunnel.

use slipwire_core::config::{self, MTU_DEFAULT, MTU_IPV6_MIN, MTU_MAX};
use slipwire_core::{IpNet, PrivateKey};
use slipwire_driver::{ListenAddress, Settings};
use toml::de::DeTable;

use super::address::OwnAddress;
use super::exposure::Secrets;
use super::fault::{At, Problem, Report};
use super::schema;
use super::secret::{self, Surroundings};
use super::section::Section;
use super::value::{InterfaceName, Mtu, Port};

const DEFAULT_NAME: &str = "slip0";

/// The table, with the places that later checks speak of.
#[derive(Debug)]
pub(super) struct InterfaceTable {
    pub(super) name: String,
    pub(super) listen_port: Option<u16>,
    pub(super) listen_addresses: Vec<ListenAddress>,
    pub(super) interface: config::Interface,
    /// Whether nothing about the tunnel addresses had to be reported.
    pub(super) addresses_sound: bool,
    pub(super) listen_offset: usize,
    mtu_offset: usize,
}

/// Reads the table. What is missing or wrong has been reported and has a stand-in here, so that
/// the rest of the file can still be checked.
pub(super) fn read(
    root: &DeTable<'_>,
    surroundings: &mut Surroundings<'_>,
    report: &mut Report,
) -> InterfaceTable {
    let Some(section) = Section::one(&schema::INTERFACE, root, report) else {
        if !root.contains_key(schema::INTERFACE.name) {
            let mend = "add `[interface]` with private_key_file and address";
            report.fault(0, schema::INTERFACE.name, Problem::new("missing", mend));
        }
        return stand_in();
    };
    let name = section.optional("name", report);
    section.set::<Secrets, _>("secrets", &mut surroundings.secrets, report);
    let private_key = secret::private_key(&section, surroundings, report);
    let listen_port = section.optional("listen_port", report).map(|port: At<Port>| port.value.0);
    let mtu = mtu(&section, report);
    let faults_before = report.count();
    let addresses = addresses(&section, report);
    let addresses_sound = report.count() == faults_before;
    let fallback = stand_in();
    let private_key = private_key.map_or(fallback.interface.private_key, |key| key.value);
    let mut interface = config::Interface::new(private_key, addresses);
    interface.mtu = mtu;
    InterfaceTable {
        name: name.map_or(fallback.name, |name: At<InterfaceName>| name.value.0),
        listen_port,
        listen_addresses: listen_addresses(&section, report).unwrap_or(fallback.listen_addresses),
        interface,
        addresses_sound,
        listen_offset: section.offset_of("listen_port"),
        mtu_offset: section.offset_of("mtu"),
    }
}

fn stand_in() -> InterfaceTable {
    let key = PrivateKey::from_entropy([0; slipwire_core::KEY_LEN]);
    InterfaceTable {
        name: DEFAULT_NAME.to_owned(),
        listen_port: None,
        listen_addresses: Settings::default().listen,
        interface: config::Interface::new(key, []),
        addresses_sound: false,
        listen_offset: 0,
        mtu_offset: 0,
    }
}

/// The MTU, cut down to what a tunnel can have.
fn mtu(section: &Section<'_>, report: &mut Report) -> u16 {
    const KEY: &str = "mtu";
    let Some(At { value: Mtu(written), offset }) = section.optional(KEY, report) else {
        return MTU_DEFAULT;
    };
    if written > MTU_MAX {
        let what = format!("{written} is more than WireGuard fits into a UDP datagram");
        let problem = Problem::new(what, format!("{MTU_MAX} is used instead"));
        report.warning(offset, section.path(KEY), problem);
    }
    written.min(MTU_MAX)
}

fn listen_addresses(section: &Section<'_>, report: &mut Report) -> Option<Vec<ListenAddress>> {
    let key = "listen_address";
    let At { value: list, offset } = section.list::<ListenAddress>(key, report)?;
    let mut addresses = Vec::with_capacity(list.len());
    for At { value, offset } in list {
        if addresses.contains(&value) {
            let problem = Problem::new(format!("{value} stands here twice"), "remove one of them");
            report.fault(offset, section.path(key), problem);
        }
        addresses.push(value);
    }
    if addresses.is_empty() {
        let mend = "write [\"0.0.0.0\", \"::\"], or remove the key";
        report.fault(offset, section.path(key), Problem::new("lists no address", mend));
    }
    Some(addresses)
}

fn addresses(section: &Section<'_>, report: &mut Report) -> Vec<IpNet> {
    const KEY: &str = "address";
    const EXAMPLE: &str = "address = [\"10.77.0.1/24\"]";
    if !section.has(KEY) {
        section.report_missing(KEY, EXAMPLE, report);
    }
    let faults_before = report.count();
    let Some(At { value: list, offset }) = section.list::<OwnAddress>(KEY, report) else {
        return Vec::new();
    };
    if list.is_empty() && report.count() == faults_before {
        let problem = Problem::new("lists no address", format!("write `{EXAMPLE}`"));
        report.fault(offset, section.path(KEY), problem);
    }
    for At { value, offset } in &list {
        if let Some(problem) = value.doubt() {
            report.warning(*offset, section.path(KEY), problem);
        }
    }
    list.into_iter().map(|address| address.value.0).collect()
}

impl InterfaceTable {
    /// Reports a contradiction about the MTU.
    pub(super) fn report_mtu(&self, error: &config::ConfigError, report: &mut Report) {
        let mend = format!("set mtu = {MTU_IPV6_MIN} or more, or remove the IPv6 addresses");
        report.fault(self.mtu_offset, "interface.mtu", Problem::new(error.to_string(), mend));
    }
}
