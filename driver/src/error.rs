//! Why a driver does not start.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What could not be had from the system, and why.
#[derive(Debug)]
pub enum StartError {
    /// There is no address for the WireGuard socket.
    NoListenAddress,
    /// A WireGuard socket.
    Tunnel {
        /// Where it should have listened.
        address: SocketAddr,
        /// The system's answer.
        error: io::Error,
    },
    /// The listener of a forward.
    Forward {
        /// Its place in [`Settings::forwards`](crate::Settings::forwards).
        index: usize,
        /// Its name.
        name: String,
        /// Where it should have listened.
        address: SocketAddr,
        /// The system's answer.
        error: io::Error,
    },
    /// The file of a tape.
    Record {
        /// The file.
        file: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// The file of captured packets.
    Capture {
        /// The file.
        file: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// Something that every process gets, as a rule.
    System {
        /// What it is.
        what: &'static str,
        /// The system's answer.
        error: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoListenAddress => f.write_str("no address to listen on for WireGuard"),
            Self::Tunnel { address, error } => {
                write!(f, "{address} (WireGuard): {}", Reason(error))
            }
            Self::Forward { name, address, error, .. } => {
                write!(f, "{address} (forward {name}): {}", Reason(error))
            }
            Self::Record { file, error } => {
                write!(f, "{} (tape): {}", file.display(), Reason(error))
            }
            Self::Capture { file, error } => {
                write!(f, "{} (capture): {}", file.display(), Reason(error))
            }
            Self::System { what, error } => write!(f, "{what}: {}", Reason(error)),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoListenAddress => None,
            Self::Tunnel { error, .. }
            | Self::Forward { error, .. }
            | Self::Capture { error, .. }
            | Self::Record { error, .. }
            | Self::System { error, .. } => Some(error),
        }
    }
}

/// The reasons that people meet, in their words; the rest in the system's.
struct Reason<'a>(&'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind() {
            io::ErrorKind::AddrInUse => f.write_str("address in use"),
            io::ErrorKind::AddrNotAvailable => f.write_str("not an address of this host"),
            io::ErrorKind::PermissionDenied => f.write_str("permission denied"),
            _ => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_address_its_use_and_the_reason() {
        let error = StartError::Forward {
            index: 0,
            name: "web".into(),
            address: "127.0.0.1:8080".parse().unwrap(),
            error: io::ErrorKind::AddrInUse.into(),
        };
        assert_eq!(error.to_string(), "127.0.0.1:8080 (forward web): address in use");
        let error = StartError::Tunnel {
            address: "[::1]:53".parse().unwrap(),
            error: io::ErrorKind::PermissionDenied.into(),
        };
        assert_eq!(error.to_string(), "[::1]:53 (WireGuard): permission denied");
    }
}
