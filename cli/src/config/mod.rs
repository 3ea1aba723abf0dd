//! From a TOML file to a configuration that can run, or to everything that is wrong with it.
//!
//! The file is parsed into a tree whose values know where they stand. Each table is read by a
//! module of its own, which reports faults and goes on; then the whole is checked for
//! contradictions, by [`slipwire_core::Config`] and here, and what is found is led back to its
//! line. What the system has a say in, such as ports that are taken, turns up when it runs.
//!
//! ```text
//! source -> text -> tree -> sections of values -> core::Config + driver::Settings
//!                     \____________\_______________\__ Report: line, key, what, mend
//! ```
//!
//! - [`find`] and [`source`]: the file, and its text;
//! - [`schema`]: every table and key; [`foreign`]: words of wg and wg-quick instead of ours;
//! - [`section`]: one table, key by key; [`value`], [`address`], [`place`], [`zone`]: what a key
//!   may hold;
//! - [`secret`], and [`exposure`]: keys, and who else may read the file that one is in;
//! - [`interface`], [`peer`], [`forward`], [`rule`], [`options`]: a table each;
//! - [`path`] and [`written`]: what is looked at once all are read;
//! - [`fault`]: what is wrong, where, and the mend; [`contradiction`]: what core finds, led to its
//!   key.

mod address;
mod contradiction;
mod exposure;
mod fault;
mod find;
mod foreign;
mod forward;
mod interface;
mod options;
mod path;
mod peer;
mod place;
mod rule;
pub(crate) mod schema;
mod secret;
mod section;
mod source;
mod value;
mod written;
mod zone;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use log::LevelFilter;
use slipwire_core::Config;
use slipwire_core::config::Parts;
use slipwire_driver::Settings;
use toml::de::DeTable;

use contradiction::Tables;
pub(crate) use contradiction::in_one_line;
use exposure::Exposure;
use fault::Report;
pub(crate) use fault::{Faults, Problem};
pub(crate) use find::find;
use foreign::WgQuick;
use secret::Surroundings;
pub(crate) use secret::read_private_key;
pub(crate) use source::LoadError;
use source::Source;
pub(crate) use written::mend as mend_file;

/// A valid configuration file.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// Where it stands, to speak of it.
    pub(crate) origin: Origin,
    /// What logs and tools call this end.
    pub(crate) interface_name: String,
    /// What the engine is to do.
    pub(crate) engine: Config,
    /// What the driver is to do.
    pub(crate) settings: Settings,
    /// What is logged unless the environment says otherwise.
    pub(crate) log_level: LevelFilter,
    /// What is not done as it is written, one line each.
    pub(crate) warnings: Vec<String>,
}

/// A file, and the lines in it, from 1, that only the system can find fault with.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The file.
    pub(crate) file: PathBuf,
    /// The line of `interface.listen_port`, or of its table.
    pub(crate) listen_line: usize,
    /// The lines of `forward.listen`, in the order of the forwards.
    pub(crate) forward_lines: Vec<usize>,
    /// The lines of the rules, in their order.
    pub(crate) rule_lines: Vec<usize>,
    /// The line of `capture.file`, or the first.
    pub(crate) capture_line: usize,
    /// The line of `record.file`, or the first.
    pub(crate) record_line: usize,
}

/// Reads and checks a configuration file, or standard input if the file is called `-`.
pub(crate) fn load(file: &Path) -> Result<Configuration, LoadError> {
    let Source { name, exposure, text } = source::read(file)?;
    parse(&text, Surroundings::new(&name, exposure)).map_err(LoadError::Faults)
}

/// Reads a configuration that stands in no file: messages call it `file`, which nobody else may
/// read, and relative paths are relative to that.
pub(crate) fn parse_text(text: &str, file: &Path) -> Result<Configuration, Faults> {
    parse(text, Surroundings::new(file, Exposure::NONE))
}

fn parse(text: &str, mut surroundings: Surroundings<'_>) -> Result<Configuration, Faults> {
    let mut report = Report::new(text);
    match read(text, &mut surroundings, &mut report) {
        Some(configuration) if report.count() == 0 => Ok(configuration),
        Some(_) | None => Err(report.into_faults(surroundings.file)),
    }
}

/// Reads the whole file; `None` only after a fault was reported.
fn read(
    text: &str,
    surroundings: &mut Surroundings<'_>,
    report: &mut Report,
) -> Option<Configuration> {
    let (root, syntax_errors) = DeTable::parse_recoverable(text);
    if !syntax_errors.is_empty() {
        // Of what is left of the file half would be reported as missing.
        report_syntax(text, &syntax_errors, report);
        return None;
    }
    let root = root.get_ref();
    section::report_unknown_tables(root, report);
    let interface = interface::read(root, surroundings, report);
    let peers = peer::read(root, surroundings, report);
    let forwards = forward::read(root, report);
    let known_peers = peers.peers();
    let directory = surroundings.file.parent().unwrap_or(Path::new(""));
    let rules = rule::read(root, &known_peers, directory, report);
    let mut gateway = options::gateway(root, report);
    match (&mut gateway, rules.first()) {
        (Some(gateway), _) => {
            gateway.rules = rules.iter().map(|table| table.rule.clone()).collect()
        }
        (None, Some(first)) if !root.contains_key(schema::GATEWAY.name) => {
            let what = "without a gateway no peer reaches anything";
            report.fault(first.offset, "rule", Problem::new(what, "add a [gateway] table"));
        }
        (None, _) => {}
    }
    let (tcp, host_keepalive) = options::tcp(root, report);
    let mut parts = Parts::new(interface.interface.clone());
    parts.peers = known_peers;
    parts.gateway = gateway;
    parts.tcp = tcp;
    parts.mappings = options::mappings(root, report);
    parts.limits = options::limits(root, report);
    let capture = options::capture(root, directory, report);
    let record = options::record(root, directory, report);
    written::check(capture.as_ref(), record.as_ref(), report);
    let log_level = options::log_level(root, report);
    if interface.addresses_sound && peers.ownership_sound {
        forward::check_targets(&forwards, &parts, report);
    }
    let engine = Config::new(parts)
        .map_err(|errors| {
            let tables = Tables { root, interface: &interface, peers: &peers, rules: &rules };
            errors.iter().for_each(|error| tables.report(error, report));
        })
        .ok()?;
    rule::warn_of_idle_rules(&rules, &engine.parts().peers, report);
    if engine.parts().gateway.is_some() {
        let closes = |endpoint: &_| path::closes(endpoint, interface.listen_port);
        peers.warn_of_closing_paths(closes, report);
    }
    let origin = Origin {
        file: surroundings.file.to_owned(),
        listen_line: report.line(interface.listen_offset),
        forward_lines: forwards.iter().map(|table| report.line(table.listen_offset)).collect(),
        rule_lines: rules.iter().map(|table| report.line(table.offset)).collect(),
        capture_line: report.line(capture.as_ref().map_or(0, |capture| capture.offset)),
        record_line: report.line(record.as_ref().map_or(0, |record| record.offset)),
    };
    let mut settings = Settings::default();
    settings.listen = interface.listen_addresses;
    settings.port = interface.listen_port;
    settings.forwards = forwards.into_iter().map(|table| table.forward).collect();
    settings.capture = capture.map(|capture| capture.value);
    settings.record = record.map(|record| record.value);
    settings.host_keepalive = host_keepalive;
    Some(Configuration {
        origin,
        interface_name: interface.name,
        engine,
        settings,
        log_level,
        warnings: report.warnings(surroundings.file),
    })
}

/// Reports what is no TOML, once for each line: what the parser says of the rest of a line that it
/// lost track of is noise. So is everything that it says of a file in another form.
fn report_syntax(text: &str, errors: &[toml::de::Error], report: &mut Report) {
    if let Some(WgQuick { offset, key }) = foreign::wg_quick(text) {
        let what = "this file is in the form of wg-quick, which this version does not read";
        let mend = "write it as TOML: private_key = \"...\" below [interface], public_key = \"...\" \
                    and allowed_ips = [\"...\", \"...\"] below [[peer]]";
        report.fault(offset, key, Problem::new(what, mend));
        return;
    }
    let mut lines = BTreeSet::new();
    for error in errors {
        let offset = error.span().map_or(0, |span| span.start);
        if lines.insert(report.line(offset)) {
            let mend = match error.message() {
                "duplicate key" => "keep one of those that have this name",
                _ => "mend this line: text goes in \"quotes\", lists in [brackets]",
            };
            report.fault(offset, "syntax", Problem::new(error.message(), mend));
        }
    }
}

#[cfg(test)]
mod tests;
