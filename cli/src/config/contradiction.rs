//! What core finds wrong with a configuration, led to the key that was written, its line, and the
//! mend. Core speaks of parts; how they are spelled in a file is known here alone.

use slipwire_core::config::{Buffer, ConfigError, ConfigErrors, ConfigTimer, Limit, MEMORY_MIN};
use toml::de::DeTable;

use super::fault::{Problem, Report};
use super::interface::InterfaceTable;
use super::peer::PeerTables;
use super::rule::{self, RuleTable};
use super::schema::{self, Schema};

/// The tables that core's configuration was made from.
#[derive(Debug)]
pub(super) struct Tables<'a> {
    pub(super) root: &'a DeTable<'a>,
    pub(super) interface: &'a InterfaceTable,
    pub(super) peers: &'a PeerTables,
    pub(super) rules: &'a [RuleTable],
}

impl Tables<'_> {
    /// Reports one contradiction.
    pub(super) fn report(&self, error: &ConfigError, report: &mut Report) {
        match *error {
            ConfigError::MtuOutOfRange { .. } | ConfigError::MtuTooSmallForIpv6 { .. } => {
                self.interface.report_mtu(error, report);
            }
            ConfigError::Peer { peer, conflict } => self.peers.report(peer, conflict, report),
            ConfigError::Rule { rule, error } => {
                if let Some(table) = self.rules.get(rule) {
                    rule::report_error(table, error, report);
                }
            }
            ConfigError::TooManyRules { .. } => {
                let offset = self.rules.last().map_or(0, |table| table.offset);
                report.fault(offset, "rule", Problem::new(error.to_string(), "write fewer"));
            }
            // Both are excluded by the values that are read; core checks for other embedders.
            ConfigError::BufferOutOfRange { buffer, .. } => {
                self.report_value(&schema::TCP, key_of_buffer(buffer), error.to_string(), report);
            }
            ConfigError::ZeroTimer { timer } => {
                let (table, key) = key_of_timer(timer);
                self.report_value(table, key, "must not be zero", report);
            }
            ConfigError::LimitTooLow { limit, .. } => {
                let what = match limit {
                    Limit::TcpFlows | Limit::UdpFlows | Limit::IcmpFlows | Limit::HalfOpen => {
                        "must not be zero".to_owned()
                    }
                    Limit::Memory => format!("must be at least {}MiB", MEMORY_MIN >> 20),
                };
                self.report_value(&schema::LIMITS, key_of_limit(limit), what, report);
            }
            ConfigError::LimitAboveOther { limit, whole } => {
                let whole = schema::LIMITS.path(key_of_limit(whole));
                let what = format!("must not exceed {whole}");
                self.report_value(&schema::LIMITS, key_of_limit(limit), what, report);
            }
        }
    }

    /// Reports that a value has to be another one. It stands at its key, or would in its table.
    fn report_value(
        &self,
        schema: &Schema,
        key: &str,
        what: impl Into<String>,
        report: &mut Report,
    ) {
        let table = self.root.get(schema.name);
        let place = table.and_then(|table| table.get_ref().get(key)).or(table);
        let offset = place.map_or(0, |place| place.span().start);
        report.fault(offset, schema.path(key), Problem::new(what, "change this value"));
    }
}

const fn key_of_buffer(buffer: Buffer) -> &'static str {
    match buffer {
        Buffer::Receive => "receive_buffer",
        Buffer::Send => "send_buffer",
    }
}

const fn key_of_timer(timer: ConfigTimer) -> (&'static Schema, &'static str) {
    match timer {
        ConfigTimer::TcpConnect => (&schema::TCP, "connect_timeout"),
        ConfigTimer::TcpIdle => (&schema::TCP, "idle_timeout"),
        ConfigTimer::TcpHalfOpen => (&schema::TCP, "half_open_timeout"),
        ConfigTimer::TcpKeepalive => (&schema::TCP, "keepalive"),
        ConfigTimer::UdpIdle | ConfigTimer::DnsIdle => (&schema::UDP, "idle_timeout"),
        ConfigTimer::IcmpIdle => (&schema::ICMP, "idle_timeout"),
    }
}

const fn key_of_limit(limit: Limit) -> &'static str {
    match limit {
        Limit::TcpFlows => "tcp_flows",
        Limit::UdpFlows => "udp_flows",
        Limit::IcmpFlows => "icmp_flows",
        Limit::HalfOpen => "half_open",
        Limit::Memory => "memory",
    }
}

/// All of them between commas, where no file is to blame.
pub(crate) fn in_one_line(errors: &ConfigErrors) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
