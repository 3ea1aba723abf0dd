//! What the driver needs to know beside core's configuration: everything that is about this host.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;
use std::time::Duration;

use slipwire_core::IdleRings;

use crate::error::FileError;
use crate::private_file::{self, Kind};

/// Bytes of captured packets, or of tapes, unless somebody says otherwise.
const FILES_LEN: u64 = 256 << 20;

/// The host's side of a configuration: a default, and what is to be different from it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Addresses of this host at which WireGuard is spoken; by default every one, IPv4 and IPv6.
    pub listen: Vec<ListenAddress>,
    /// The UDP port for that, the same at every address; without it any that is free.
    pub port: Option<u16>,
    /// Local ports that lead into the tunnel.
    pub forwards: Vec<Forward>,
    /// Where the packets of the tunnel are written, in plaintext; by default nowhere.
    pub capture: Option<CaptureFile>,
    /// Where all that happens is recorded, for a replay; by default nowhere.
    pub record: Option<TapeFiles>,
    /// How long the other end of a host socket, a server's or a local client's, may be silent
    /// before it is asked whether it is still there, and how often then; 9 times without an answer
    /// end the flow. From 1 to 32,767 whole seconds; `None` for never. By default 75 s.
    pub host_keepalive: Option<Duration>,
    /// What gives the pages of memory that idle connections do not need back to the system; by
    /// default nothing does, and they count to `limits.memory` until the connection ends. (There is
    /// no safe interface to that, and this crate has no other.)
    pub give_back: Option<fn(&IdleRings<'_>)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![
                IpAddr::from(Ipv4Addr::UNSPECIFIED).into(),
                IpAddr::from(Ipv6Addr::UNSPECIFIED).into(),
            ],
            port: None,
            forwards: Vec::new(),
            capture: None,
            record: None,
            host_keepalive: Some(Duration::from_secs(75)),
            give_back: None,
        }
    }
}

/// An address of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListenAddress {
    /// The address.
    pub ip: IpAddr,
    /// The interface of a link-local address (RFC 4007); 0 for all others.
    pub scope_id: u32,
}

impl ListenAddress {
    /// The address with a port.
    pub(crate) fn socket(self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V4(v4) => SocketAddrV4::new(v4, port).into(),
            IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, self.scope_id).into(),
        }
    }
}

impl From<IpAddr> for ListenAddress {
    fn from(ip: IpAddr) -> Self {
        Self { ip, scope_id: 0 }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope_id {
            0 => self.ip.fmt(f),
            scope_id => write!(f, "{}%{scope_id}", self.ip),
        }
    }
}

/// A file of captured packets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaptureFile {
    /// The file. Packets that it held before are gone; if it holds anything else it is left alone.
    pub file: PathBuf,
    /// Bytes that it may have. Then no more is captured.
    pub size_max: u64,
}

impl CaptureFile {
    /// A file of at most 256 MiB: some minutes of a busy tunnel, and room on any disk.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), size_max: FILES_LEN }
    }

    /// Whether a capture could begin, as far as that can be known without one.
    ///
    /// # Errors
    /// What stands against it.
    pub fn check(&self) -> Result<(), FileError> {
        private_file::check(&self.file, Kind::Capture)
    }
}

/// A ring of tapes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TapeFiles {
    /// The tape that is written; those before it have a number behind its name, from 1.
    pub file: PathBuf,
    /// Bytes that all of them may have together.
    pub size_max: u64,
    /// How many there are, at least 1.
    pub segments: u32,
}

impl TapeFiles {
    /// 4 tapes, of at most 256 MiB together.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), size_max: FILES_LEN, segments: 4 }
    }

    /// The files, from the one that is written to the oldest.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> + '_ {
        (0..self.segments.max(1)).map(|number| match number {
            0 => self.file.clone(),
            number => {
                let mut name = self.file.as_os_str().to_owned();
                name.push(format!(".{number}"));
                name.into()
            }
        })
    }

    /// Whether a recording could begin, as far as that can be known without one.
    ///
    /// # Errors
    /// What stands against it, and in which of the files.
    pub fn check(&self) -> Result<(), (PathBuf, FileError)> {
        let check = |file: PathBuf| {
            let outcome = private_file::check(&file, Kind::Tape);
            outcome.map_err(|error| (file, error))
        };
        self.files().try_for_each(check)?;
        // Of files that exist, too: each moves on to the next one's name.
        private_file::check_directory(&self.file).map_err(|error| (self.file.clone(), error))
    }
}

/// A local port that leads into the tunnel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forward {
    /// What people call it.
    pub name: String,
    /// What it carries.
    pub protocol: ForwardProtocol,
    /// Where local clients connect or send to. Port 0 is any free one. An IPv6 wildcard takes
    /// IPv6 clients only.
    pub listen: SocketAddr,
    /// Where that leads, in the tunnel.
    pub to: SocketAddr,
}

impl Forward {
    /// A forward that is called by the address where it listens.
    pub fn new(protocol: ForwardProtocol, listen: SocketAddr, to: SocketAddr) -> Self {
        Self { name: listen.to_string(), protocol, listen, to }
    }

    /// The forward with another [`name`](Self::name).
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

/// What a forward carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForwardProtocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for ForwardProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
