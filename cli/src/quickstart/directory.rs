//! The directory of a quickstart: made whole, used as it is, or completed where only one
//! completion makes sense.
//!
//! ```text
//! gateway.key  laptop.key     private keys, mode 0600
//! slipwire.toml               the gateway; names the public key of laptop
//! client.conf                 laptop's side, for wg-quick; mode 0600
//! ```
//!
//! A key that `slipwire.toml` or `client.conf` already speaks of is never made anew.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use slipwire_core::PrivateKey;
use slipwire_core::config::Peer;
use zeroize::Zeroizing;

use super::client::{self, Outside};
use super::network::{self, USUAL_PORT};
use super::qr::{self, NoCode, Size};
use crate::config::{self, Configuration, Problem};
use crate::entropy;
use crate::failure::Failure;
use crate::outward;

const CONFIGURATION: &str = "slipwire.toml";
const CLIENT: &str = "client.conf";
const GATEWAY_KEY: &str = "gateway.key";
const LAPTOP: &str = "laptop";
const LAPTOP_KEY: &str = "laptop.key";

/// A client's configuration is far smaller.
const CLIENT_LEN_MAX: u64 = 64 << 10;

/// A directory in which everything is there and fits together.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The gateway.
    pub(crate) configuration: Configuration,
    /// Where the configuration for a real client stands.
    pub(crate) client_file: PathBuf,
    /// What it says; it holds a private key.
    client: Zeroizing<String>,
    /// The files that were not there before.
    pub(crate) made: Vec<&'static str>,
}

/// The client's configuration as a QR code.
pub(crate) enum Code {
    /// A drawing; it holds a private key.
    Drawn(Zeroizing<String>),
    /// A client would not know from it where the gateway is.
    NoEndpoint,
    /// No drawing would help.
    None(NoCode),
}

impl Prepared {
    /// The client's configuration in words, if it was made just now: its key is told once.
    pub(crate) fn new_client(&self) -> Option<&str> {
        self.made.contains(&CLIENT).then_some(self.client.as_str())
    }

    /// The client's configuration for the camera of a phone.
    pub(crate) fn code(&self, terminal: Size) -> Code {
        if !client::has_endpoint(&self.client) {
            return Code::NoEndpoint;
        }
        match qr::draw(&client::compact(&self.client), terminal) {
            Ok(drawing) => Code::Drawn(Zeroizing::new(drawing)),
            Err(reason) => Code::None(reason),
        }
    }
}

/// Makes what is missing in `directory` and reads the rest. `port` is where the gateway is to
/// listen, if not at WireGuard's usual port.
pub(crate) fn prepare(directory: &Path, port: Option<u16>) -> Result<Prepared, Failure> {
    Directory { path: directory, port, made: Vec::new() }.prepare()
}

struct Directory<'p> {
    path: &'p Path,
    port: Option<u16>,
    made: Vec<&'static str>,
}

impl Directory<'_> {
    fn prepare(mut self) -> Result<Prepared, Failure> {
        let created = DirBuilder::new().recursive(true).mode(0o700).create(self.path);
        created.map_err(|error| {
            Failure::System(format!(
                "slipwire: can't make {}: {error}; name a directory that this user may make: \
                 `slipwire quickstart DIR`",
                self.path.display()
            ))
        })?;
        if !self.has(CONFIGURATION) {
            self.make_configuration()?;
        }
        let configuration = config::load(&self.path.join(CONFIGURATION))?;
        if self.port.is_some() && self.port != configuration.settings.port {
            let file = self.path.join(CONFIGURATION);
            return Err(Failure::Fault(format!(
                "{}: listens on another port already; change listen_port there",
                file.display()
            )));
        }
        let laptop = self.peer(&configuration, LAPTOP)?;
        let client = self.client(&configuration, &laptop)?;
        Ok(Prepared { configuration, client_file: self.path.join(CLIENT), client, made: self.made })
    }

    fn has(&self, name: &str) -> bool {
        self.path.join(name).symlink_metadata().is_ok()
    }

    /// A contradiction that only the user can resolve.
    fn fault(&self, name: &str, what: &str) -> Failure {
        let file = self.path.join(name);
        Failure::Fault(format!(
            "{}: {what}; put the one that {CONFIGURATION} was made with back, or name an empty \
             directory to start afresh",
            file.display()
        ))
    }

    fn failed(&self, doing: &str, name: &str) -> impl Fn(io::Error) -> Failure + use<> {
        let what = format!("{doing} {}", self.path.join(name).display());
        move |error| Failure::system(&what)(error)
    }

    /// Writes the gateway's configuration, with the keys that are there and new ones.
    fn make_configuration(&mut self) -> Result<(), Failure> {
        if self.has(CLIENT) {
            let what = format!("belongs to a {CONFIGURATION} that is gone");
            return Err(self.fault(CLIENT, &what));
        }
        let port = self.port.unwrap_or(USUAL_PORT);
        if network::is_taken(port) {
            return Err(Failure::System(format!(
                "slipwire: UDP port {port} is in use; end the program that uses it (`ss -ulpn` names \
                 it), or choose another: `slipwire quickstart {} --port {}`",
                self.path.display(),
                if port == USUAL_PORT { USUAL_PORT + 1 } else { USUAL_PORT },
            )));
        }
        self.key(GATEWAY_KEY)?;
        let laptop = self.key(LAPTOP_KEY)?.public_key();
        let text = format!(
            "# Made by `slipwire quickstart`, yours to change. Run it alone with `slipwire run`.\n\
             \n\
             [interface]\n\
             private_key_file = \"{GATEWAY_KEY}\"\n\
             listen_port = {port}\n\
             address = [\"10.77.0.1/24\", \"fd77::1/64\"]\n\
             \n\
             [[peer]] # a laptop or a phone: {CLIENT} is its side\n\
             name = \"{LAPTOP}\"\n\
             public_key = \"{laptop}\"\n\
             allowed_ips = [\"10.77.0.2/32\", \"fd77::2/128\"]\n\
             \n\
             [gateway] # peers reach what this host reaches\n\
             default = \"relay\"\n"
        );
        self.write(CONFIGURATION, &text, 0o644)
    }

    /// Reads a key, or makes it.
    fn key(&mut self, name: &'static str) -> Result<PrivateKey, Failure> {
        if self.has(name) {
            return self.existing_key(name);
        }
        let key = PrivateKey::from_entropy(*entropy::secret_bytes()?);
        let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(key.to_base64())));
        self.write(name, &text, 0o600)?;
        Ok(key)
    }

    fn existing_key(&self, name: &str) -> Result<PrivateKey, Failure> {
        if !self.has(name) {
            let what = format!("is missing, and {CONFIGURATION} speaks of its public key");
            return Err(self.fault(name, &what));
        }
        let path = self.path.join(name);
        config::read_private_key(&path).map_err(|Problem { what, mend }| {
            Failure::Fault(format!("{}: {what}; {mend}", path.display()))
        })
    }

    fn peer(&self, configuration: &Configuration, name: &str) -> Result<Peer, Failure> {
        let mut peers = configuration.engine.parts().peers.iter();
        let found = peers.find(|peer| peer.name == name).cloned();
        found.ok_or_else(|| {
            Failure::Fault(format!(
                "{}: has no peer {name:?}; put it back, or run the file with `slipwire run`",
                self.path.join(CONFIGURATION).display()
            ))
        })
    }

    /// The configuration of the real client: as it stands, or made from its key.
    fn client(
        &mut self,
        configuration: &Configuration,
        laptop: &Peer,
    ) -> Result<Zeroizing<String>, Failure> {
        if self.has(CLIENT) {
            let text = self.read_client()?;
            let gateway = configuration.engine.parts().interface.private_key.public_key();
            if !client::belongs(&text, &laptop.public_key, &gateway) {
                let what = format!("has other keys than {CONFIGURATION}");
                return Err(self.fault(CLIENT, &what));
            }
            return Ok(text);
        }
        let key = self.existing_key(LAPTOP_KEY)?;
        if key.public_key() != laptop.public_key {
            return Err(self.fault(LAPTOP_KEY, &format!("is not the key of peer {LAPTOP:?}")));
        }
        let address = outward::address().zip(configuration.settings.port);
        let outside = Outside {
            endpoint: address.map(|(ip, port)| SocketAddr::new(ip, port)),
            resolver: network::resolver(),
        };
        let text = client::configuration(&configuration.engine, laptop, &key, outside);
        self.write(CLIENT, &text, 0o600)?;
        Ok(text)
    }

    fn read_client(&self) -> Result<Zeroizing<String>, Failure> {
        let failed = self.failed("can't read", CLIENT);
        let file = File::open(self.path.join(CLIENT)).map_err(&failed)?;
        let mut text = Zeroizing::new(String::with_capacity(CLIENT_LEN_MAX as usize));
        file.take(CLIENT_LEN_MAX).read_to_string(&mut text).map_err(&failed)?;
        Ok(text)
    }

    /// Writes a file that must not be there yet. One that could not be written whole is removed.
    fn write(&mut self, name: &'static str, text: &str, mode: u32) -> Result<(), Failure> {
        let path = self.path.join(name);
        let failed = self.failed("can't write", name);
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(mode).open(&path).map_err(&failed)?;
        if let Err(error) = file.write_all(text.as_bytes()) {
            // What matters is the first error.
            let _ = fs::remove_file(&path);
            return Err(failed(error));
        }
        self.made.push(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
