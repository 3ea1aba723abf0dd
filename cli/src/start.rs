//! Starts a driver, and leads what the system refuses back to the line that asked for it.

use std::borrow::Cow;
use std::io::ErrorKind;

use slipwire_core::{Config, Limits};
use slipwire_driver::{Driver, OpenFiles, Settings, StartError};

use crate::config::{self, Origin};
use crate::entropy;
use crate::failure::Failure;
use crate::memory;

/// Builds the driver; every socket is open when it is there. What its connections do not need goes
/// back to the system.
pub(crate) fn start(
    engine: Config,
    mut settings: Settings,
    origin: &Origin,
) -> Result<Driver, Failure> {
    let seed = entropy::secret_bytes()?;
    settings.give_back = Some(memory::return_pages);
    let limits = engine.parts().limits.clone();
    let driver = Driver::new(engine, settings, *seed).map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(|error| describe(error, origin)).collect();
        Failure::System(lines.join("\n"))
    })?;
    if let Some(warning) = few_open_files(driver.open_files(), &limits) {
        log::warn!("{warning}");
    }
    Ok(driver)
}

/// What to say if the system allows fewer open files than the limits of flows need.
fn few_open_files(files: OpenFiles, limits: &Limits) -> Option<String> {
    let OpenFiles { allowed, kept_back, fixed, for_flows } = files;
    let flows = limits.tcp_flows.max(limits.udp_flows).max(limits.icmp_flows);
    (for_flows < flows).then(|| {
        let needed = kept_back + fixed + flows;
        format!(
            "`ulimit -Hn` allows {allowed} open files: less {kept_back} that are kept back and {fixed} \
             sockets that listen, {for_flows} are left for flows, and [limits] speaks of {flows}; \
             allow {needed} (LimitNOFILE= of a service, --ulimit nofile= of a container), or lower \
             tcp_flows, udp_flows and icmp_flows"
        )
    })
}

/// One error in a line, with the line of the file that asked for it.
fn describe(error: &StartError, origin: &Origin) -> String {
    let (line, key, mend): (_, _, Cow<'_, str>) = match error {
        StartError::WireGuard { error, .. } => {
            (origin.listen_line, "interface.listen_port", mend_tunnel(error.kind()).into())
        }
        StartError::NoListenAddress => (
            origin.listen_line,
            "interface.listen_address",
            mend_tunnel(ErrorKind::AddrNotAvailable).into(),
        ),
        StartError::Forward { index, error, .. } => {
            let line = origin.forward_lines.get(*index).copied().unwrap_or(1);
            (line, "forward.listen", mend_forward(error.kind()).into())
        }
        StartError::Capture { error, .. } => {
            (origin.capture_line, "capture.file", config::mend_file(error).into())
        }
        StartError::Record { error, .. } => {
            (origin.record_line, "record.file", config::mend_file(error).into())
        }
        StartError::HostAddresses { .. } | StartError::System { .. } => {
            return format!("slipwire: {error}");
        }
    };
    let file = origin.file.display();
    format!("{file}:{line}: {key}: {error}; {mend}")
}

fn mend_tunnel(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AddrInUse => {
            "end the program that uses it (`ss -ulpn` names it), or set another listen_port"
        }
        ErrorKind::AddrNotAvailable => "set listen_address to addresses that this machine has",
        ErrorKind::PermissionDenied => "set a listen_port of 1024 or more",
        _ => "set listen_port and listen_address to what this machine allows",
    }
}

fn mend_forward(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AddrInUse => {
            "end the program that uses it (`ss -tulpn` names it), or listen on another port"
        }
        ErrorKind::AddrNotAvailable => "listen on an address that this machine has",
        ErrorKind::PermissionDenied => "listen on a port of 1024 or more",
        _ => "listen on an address and port that this machine allows",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_open_files_are_said_with_the_arithmetic() {
        let limits = Limits::default();
        let files = |allowed, for_flows| OpenFiles { allowed, kept_back: 48, fixed: 3, for_flows };
        let warning = few_open_files(files(1024, 973), &limits).unwrap();
        for number in ["1024", "48", "3", "973", "16384", "16435"] {
            assert!(warning.contains(number), "{number} in {warning}");
        }
        assert_eq!(few_open_files(files(16_435, 16_384), &limits), None);
    }
}
