//! Why a driver does not start.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use slipwire_core::Errors;

/// Everything that stood in the way of a start. All listeners are tried, so that one attempt shows
/// which of them fail.
pub type StartErrors = Errors<StartError>;

/// The results, if all are good, or all errors among them.
pub(crate) fn all_of<T>(
    results: impl IntoIterator<Item = Result<T, StartError>>,
) -> Result<Vec<T>, StartErrors> {
    let (mut good, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(error) => errors.push(error),
        }
    }
    Errors::none_of(errors).map(|()| good)
}

/// Both results, if both are good, or all errors of both.
pub(crate) fn both<T, U>(
    a: Result<T, StartErrors>,
    b: Result<U, StartErrors>,
) -> Result<(T, U), StartErrors> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(mut a), Err(b)) => {
            a.extend(b);
            Err(a)
        }
        (Err(errors), Ok(_)) | (Ok(_), Err(errors)) => Err(errors),
    }
}

/// What could not be had from the system, and why.
#[derive(Debug)]
pub enum StartError {
    /// There is no address for the WireGuard socket.
    NoListenAddress,
    /// A WireGuard socket.
    WireGuard {
        /// Where it should have listened.
        address: SocketAddr,
        /// The system's answer.
        error: io::Error,
    },
    /// The listener of a forward.
    Forward {
        /// Its place in [`Settings::forwards`](crate::Settings::forwards); of one that was added
        /// later, how many there were.
        index: usize,
        /// Its name.
        name: String,
        /// Where it should have listened.
        address: SocketAddr,
        /// The system's answer.
        error: io::Error,
    },
    /// A file of the tapes.
    Record {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: FileError,
    },
    /// The file of captured packets.
    Capture {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: FileError,
    },
    /// The addresses of this host, from which a gateway keeps its peers.
    HostAddresses {
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
            Self::WireGuard { address, error } => {
                write!(f, "{address} (WireGuard): {}", Reason(error))
            }
            Self::Forward { name, address, error, .. } => {
                write!(f, "{address} (forward {name}): {}", Reason(error))
            }
            Self::Record { file, error } => write!(f, "{} (tape): {error}", file.display()),
            Self::Capture { file, error } => write!(f, "{} (capture): {error}", file.display()),
            Self::HostAddresses { error } => write!(
                f,
                "a gateway has to know which addresses are this host's own, and can't: {error}; \
                 allow it netlink sockets (AF_NETLINK in systemd's RestrictAddressFamilies=)"
            ),
            Self::System { what, error } => write!(f, "{what}: {}", Reason(error)),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoListenAddress => None,
            Self::WireGuard { error, .. }
            | Self::Forward { error, .. }
            | Self::HostAddresses { error }
            | Self::System { error, .. } => Some(error),
            Self::Capture { error, .. } | Self::Record { error, .. } => Some(error),
        }
    }
}

/// Why a file is not made, or not written over.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileError {
    /// It holds something, and that is not what an earlier run would have left there.
    Foreign,
    /// It is a directory, a device, a pipe or a socket.
    NotRegular,
    /// The directory for it does not exist.
    NoDirectory(PathBuf),
    /// The directory for it lets no file be made.
    Directory {
        /// The directory.
        directory: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// The system refused.
    System(io::Error),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("holds something else, which would be lost"),
            Self::NotRegular => f.write_str("is no regular file"),
            Self::NoDirectory(directory) => {
                write!(f, "there is no directory {}", directory.display())
            }
            Self::Directory { directory, error } => {
                write!(f, "no file can be made in {}: {}", directory.display(), Reason(error))
            }
            Self::System(error) => Reason(error).fmt(f),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Foreign | Self::NotRegular | Self::NoDirectory(_) => None,
            Self::Directory { error, .. } | Self::System(error) => Some(error),
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
        let error = StartError::WireGuard {
            address: "[::1]:53".parse().unwrap(),
            error: io::ErrorKind::PermissionDenied.into(),
        };
        assert_eq!(error.to_string(), "[::1]:53 (WireGuard): permission denied");
    }
}
