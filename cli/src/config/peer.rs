//! `[[peer]]`: everybody at the other end.

use slipwire_core::config::{self, Endpoint};
use slipwire_core::{IpNet, PeerConflict, PublicKey};
use toml::de::DeTable;

use super::address::{self, Prefix};
use super::fault::{At, Problem, Report};
use super::schema;
use super::secret::{self, Surroundings};
use super::section::Section;
use super::value::{Keepalive, Name};

const ALLOWED_IPS: &str = "allowed_ips";
const KEEPALIVE: &str = "persistent_keepalive";

/// One table, with the places that later checks speak of.
#[derive(Debug)]
pub(super) struct PeerTable {
    peer: config::Peer,
    name_offset: usize,
    public_key_offset: usize,
    endpoint_offset: usize,
    allowed_ips: Vec<At<IpNet>>,
    /// Whether nothing about those had to be reported.
    allowed_ips_sound: bool,
}

/// Every peer that can be told from others, that is, whose public key could be read.
#[derive(Debug)]
pub(super) struct PeerTables {
    tables: Vec<PeerTable>,
    /// Whether all that they own is known, so that what they do not own is too.
    pub(super) ownership_sound: bool,
}

/// Reads the tables.
pub(super) fn read(
    root: &DeTable<'_>,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> PeerTables {
    let sections = Section::all(&schema::PEER, root, report);
    let understood = !sections.is_empty() || !root.contains_key(schema::PEER.name);
    let tables: Vec<_> =
        sections.iter().filter_map(|section| table(section, surroundings, report)).collect();
    let ownership_sound = understood
        && tables.len() == sections.len()
        && tables.iter().all(|table| table.allowed_ips_sound);
    PeerTables { tables, ownership_sound }
}

fn table(
    section: &Section<'_>,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Option<PeerTable> {
    let name = section.optional("name", report).map(|name: At<Name>| name.value.0);
    let key = section.required::<PublicKey>("public_key", "public_key = \"<base64>\"", report);
    let preshared_key = secret::preshared_key(section, surroundings, report);
    let faults_before = report.count();
    if !section.has(ALLOWED_IPS) {
        section.report_missing(ALLOWED_IPS, "allowed_ips = [\"10.77.0.2/32\"]", report);
    }
    let allowed_ips = section.list::<Prefix>(ALLOWED_IPS, report);
    let allowed_ips = allowed_ips.into_iter().flat_map(|list| list.value);
    let allowed_ips: Vec<_> = allowed_ips
        .map(|item| At { value: item.network(section, ALLOWED_IPS, report), offset: item.offset })
        .collect();
    let allowed_ips_sound = report.count() == faults_before;
    if allowed_ips.is_empty() && allowed_ips_sound {
        let mend = "nothing is taken from this peer, and nothing sent to it";
        let problem = Problem::new("is empty", mend);
        report.warning(section.offset_of(ALLOWED_IPS), section.path(ALLOWED_IPS), problem);
    }
    let endpoint = section.optional::<Endpoint>("endpoint", report);
    if let Some(At { value, offset }) = &endpoint
        && let Some(Problem { what, mend }) = address::missing_link(value)
    {
        let problem = Problem::new(format!("{what} yet"), mend);
        report.warning(*offset, section.path("endpoint"), problem);
    }
    let keepalive = section.optional::<Keepalive>(KEEPALIVE, report);

    let At { value: public_key, offset: public_key_offset } = key?;
    let mut peer = config::Peer::new(public_key)
        .with_preshared_key(preshared_key.map(|key| key.value))
        .with_allowed_ips(allowed_ips.iter().map(|item| item.value))
        .with_persistent_keepalive(keepalive.and_then(|keepalive| keepalive.value.0));
    peer.name = name.unwrap_or(peer.name);
    peer.endpoint = endpoint.map(|endpoint| endpoint.value);
    Some(PeerTable {
        peer,
        name_offset: section.offset_of("name"),
        public_key_offset,
        endpoint_offset: section.offset_of("endpoint"),
        allowed_ips,
        allowed_ips_sound,
    })
}

impl PeerTables {
    /// The peers for the engine.
    pub(super) fn peers(&self) -> Vec<config::Peer> {
        self.tables.iter().map(|table| table.peer.clone()).collect()
    }

    /// Warns of every peer that a gateway calls over a path that closes when nothing is sent for a
    /// while: then the peer can't call. `closes` says why that is so for an endpoint.
    pub(super) fn warn_of_closing_paths(
        &self,
        closes: impl Fn(&Endpoint) -> Option<String>,
        report: &mut Report,
    ) {
        for table in &self.tables {
            let Some(endpoint) = &table.peer.endpoint else { continue };
            if table.peer.persistent_keepalive.is_none()
                && let Some(why) = closes(endpoint)
            {
                let name = &table.peer.name;
                let what = format!(
                    "{name:?} reaches this gateway only while packets keep the path open: {why}"
                );
                let mend = format!("write {KEEPALIVE} = 25 for this peer");
                report.warning(table.endpoint_offset, "peer.endpoint", Problem::new(what, mend));
            }
        }
    }

    /// Reports what core found out about the peer at `index`.
    pub(super) fn report(&self, index: usize, conflict: PeerConflict<usize>, report: &mut Report) {
        let Some(table) = self.tables.get(index) else { return };
        let line = |at: fn(&PeerTable) -> usize, other: usize| {
            self.tables.get(other).map_or(0, |table| report.line(at(table)))
        };
        let (offset, key, what, mend) = match conflict {
            PeerConflict::OwnPublicKey => (
                table.public_key_offset,
                "public_key",
                conflict.to_string(),
                "put the other end's public key here".to_owned(),
            ),
            PeerConflict::PublicKey { other } => (
                table.public_key_offset,
                "public_key",
                format!("{conflict} (line {})", line(|table| table.public_key_offset, other)),
                "remove one of the two, or give each its own key".to_owned(),
            ),
            PeerConflict::Name { other } => (
                table.name_offset,
                "name",
                format!("{conflict} (line {})", line(|table| table.name_offset, other)),
                "give each peer its own name".to_owned(),
            ),
            PeerConflict::AllowedIp { other, prefix } => (
                table.offset_of(prefix),
                "allowed_ips",
                format!(
                    "{prefix} already belongs to peer {:?} (line {})",
                    self.tables.get(other).map_or("", |other| other.peer.name.as_str()),
                    self.tables.get(other).map_or(0, |other| report.line(other.offset_of(prefix))),
                ),
                "keep it at one of them, or make one of the prefixes longer".to_owned(),
            ),
            PeerConflict::OwnAddress { address } => (
                table.offset_of(address.into()),
                "allowed_ips",
                conflict.to_string(),
                "write the peer's address, which is another one".to_owned(),
            ),
            // Of a change only: what is configured is there.
            PeerConflict::NoPeer => return,
        };
        report.fault(offset, format!("peer.{key}"), Problem::new(what, mend));
    }
}

impl PeerTable {
    fn offset_of(&self, prefix: IpNet) -> usize {
        let place = self.allowed_ips.iter().find(|item| item.value == prefix);
        place.map_or(self.public_key_offset, |item| item.offset)
    }
}
