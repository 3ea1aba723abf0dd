//! The tables that only tune: `[gateway]`, `[tcp]`, `[udp]`, `[icmp]`, `[limits]`, `[log]`, and
//! those that only look, `[capture]` and `[record]`.

use std::path::Path;
use std::time::Duration;

use log::LevelFilter;
use slipwire_core::config::{
    CongestionControl, DefaultAction, Filtering, Gateway, Mappings, RefusedAnswer, Tcp,
};
use slipwire_core::{Limits, Share};
use slipwire_driver::{CaptureFile, Settings, TapeFiles};
use toml::de::DeTable;

use super::address::Prefix;
use super::fault::{At, Report};
use super::schema;
use super::section::Section;
use super::value::{ByteSize, Count, FilePath, HostKeepalive, RingSize, Segments};

/// What peers may reach; nothing without the table. The addresses of this host are the driver's
/// to find.
pub(super) fn gateway(root: &DeTable<'_>, report: &mut Report) -> Option<Gateway> {
    let section = Section::one(&schema::GATEWAY, root, report)?;
    let mut gateway = Gateway::default();
    section.set::<DefaultAction, _>("default", &mut gateway.default, report);
    section.set::<bool, _>("peer_to_peer", &mut gateway.peer_to_peer, report);
    const EXCLUDE: &str = "overlay_exclude";
    if let Some(list) = section.list::<Prefix>(EXCLUDE, report) {
        let prefixes = list.value.into_iter();
        gateway.overlay_exclude =
            prefixes.map(|prefix| prefix.network(&section, EXCLUDE, report)).collect();
    }
    Some(gateway)
}

/// What core is told of connections, and the driver's `host_keepalive`.
pub(super) fn tcp(root: &DeTable<'_>, report: &mut Report) -> (Tcp, Option<Duration>) {
    let mut tcp = Tcp::default();
    let mut host_keepalive = Settings::default().host_keepalive;
    if let Some(section) = Section::one(&schema::TCP, root, report) {
        section.set::<RingSize, _>("receive_buffer", &mut tcp.receive_buffer, report);
        section.set::<RingSize, _>("send_buffer", &mut tcp.send_buffer, report);
        section.set::<Duration, _>("connect_timeout", &mut tcp.connect_timeout, report);
        section.set::<Duration, _>("idle_timeout", &mut tcp.idle_timeout, report);
        section.set::<Duration, _>("half_open_timeout", &mut tcp.half_open_timeout, report);
        section.set::<Duration, _>("keepalive", &mut tcp.keepalive, report);
        section.set::<HostKeepalive, _>("host_keepalive", &mut host_keepalive, report);
        section.set::<RefusedAnswer, _>("refused", &mut tcp.refused, report);
        section.set::<CongestionControl, _>("congestion", &mut tcp.congestion, report);
    }
    (tcp, host_keepalive)
}

pub(super) fn mappings(root: &DeTable<'_>, report: &mut Report) -> Mappings {
    let mut mappings = Mappings::default();
    if let Some(section) = Section::one(&schema::UDP, root, report) {
        section.set::<Duration, _>("idle_timeout", &mut mappings.udp_idle_timeout, report);
        section.set::<Filtering, _>("filtering", &mut mappings.udp_filtering, report);
    }
    // A query to port 53 never waits longer than other traffic.
    mappings.dns_idle_timeout = mappings.dns_idle_timeout.min(mappings.udp_idle_timeout);
    if let Some(section) = Section::one(&schema::ICMP, root, report) {
        section.set::<Duration, _>("idle_timeout", &mut mappings.icmp_idle_timeout, report);
    }
    mappings
}

/// The bounds.
pub(super) fn limits(root: &DeTable<'_>, report: &mut Report) -> Limits {
    let mut limits = Limits::default();
    let Some(section) = Section::one(&schema::LIMITS, root, report) else { return limits };
    section.set::<Count, _>("tcp_flows", &mut limits.tcp_flows, report);
    section.set::<Count, _>("udp_flows", &mut limits.udp_flows, report);
    section.set::<Count, _>("icmp_flows", &mut limits.icmp_flows, report);
    // A smaller tcp_flows alone must not contradict a default that nobody wrote.
    limits.half_open = limits.half_open.min(limits.tcp_flows);
    section.set::<Count, _>("half_open", &mut limits.half_open, report);
    section.set::<Share, _>("per_peer", &mut limits.per_peer, report);
    section.set::<ByteSize, _>("memory", &mut limits.memory, report);
    limits
}

/// Where packets are captured, if anywhere, and the place of the key that says so. Paths are
/// relative to `directory`.
pub(super) fn capture(
    root: &DeTable<'_>,
    directory: &Path,
    report: &mut Report,
) -> Option<At<CaptureFile>> {
    let section = Section::one(&schema::CAPTURE, root, report)?;
    let mut capture = CaptureFile::new("");
    section.set::<ByteSize, _>("size", &mut capture.size_max, report);
    let file = section.required::<FilePath>("file", "file = \"slipwire.pcap\"", report)?;
    capture.file = directory.join(file.value.0);
    Some(At { value: capture, offset: file.offset })
}

/// Where all that happens is recorded, if anywhere, and the place of the key that says so.
pub(super) fn record(
    root: &DeTable<'_>,
    directory: &Path,
    report: &mut Report,
) -> Option<At<TapeFiles>> {
    let section = Section::one(&schema::RECORD, root, report)?;
    let mut tapes = TapeFiles::new("");
    section.set::<ByteSize, _>("size", &mut tapes.size_max, report);
    section.set::<Segments, _>("segments", &mut tapes.segments, report);
    let file = section.required::<FilePath>("file", "file = \"slipwire.tape\"", report)?;
    tapes.file = directory.join(file.value.0);
    Some(At { value: tapes, offset: file.offset })
}

pub(super) fn log_level(root: &DeTable<'_>, report: &mut Report) -> LevelFilter {
    let mut level = LevelFilter::Info;
    if let Some(section) = Section::one(&schema::LOG, root, report) {
        section.set::<LevelFilter, _>("level", &mut level, report);
    }
    level
}
