//! wireguard-go with a TUN device: an end of the tunnel that no one here wrote, with the kernel's
//! TCP.
//!
//! Which one: `SLIPWIRE_WIREGUARD_GO`, or `wireguard-go` on the search path, which is years old
//! where a distribution brought it. The benchmark takes the newest before that.

use std::{
    env,
    fmt::Write as _,
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    deadline::eventually,
    lab::{Lab, write_secret},
    net::{Host, add_addresses},
    peer::{Keys, Peer},
    process::{self, Process},
};

const START_LIMIT: Duration = Duration::from_secs(30);
const TOOL_LIMIT: Duration = Duration::from_secs(10);

/// wireguard-go's control sockets share one directory, so interface names are unique in a run.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// Names the program to run.
const VARIABLE: &str = "SLIPWIRE_WIREGUARD_GO";
/// As distributions call it.
const PACKAGED: &str = "wireguard-go";
/// As `go install golang.zx2c4.com/wireguard@latest` calls it.
const INSTALLED: &str = "wireguard";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// The program that is run, by path or by name.
pub fn program() -> &'static Path {
    PROGRAM.get_or_init(|| named().unwrap_or_else(|| PACKAGED.into()))
}

/// From now on the program is the one that `go install` has put down, unless there is none or
/// another is asked for.
pub fn prefer_installed() {
    PROGRAM.get_or_init(|| named().or_else(installed).unwrap_or_else(|| PACKAGED.into()));
}

/// What the program calls itself, and where it is.
pub fn version() -> Result<String> {
    let program = program();
    let said = process::output(Command::new(program).arg("--version"), TOOL_LIMIT)?;
    let version = said.lines().next().context("no version")?;
    Ok(format!("{version} ({})", program.display()))
}

fn named() -> Option<PathBuf> {
    env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Where Go puts programs: GOBIN, or bin below GOPATH, or below go in the home directory.
fn installed() -> Option<PathBuf> {
    let below =
        |name, path: &str| env::var_os(name).map(|directory| Path::new(&directory).join(path));
    let directories = [below("GOBIN", ""), below("GOPATH", "bin"), below("HOME", "go/bin")];
    let programs = directories.into_iter().flatten().map(|directory| directory.join(INSTALLED));
    programs.into_iter().find(|program| program.is_file())
}

/// What one interface is made of.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// UDP port; none lets wireguard-go choose.
    pub listen_port: Option<u16>,
    /// Addresses of the interface with prefix lengths.
    pub addresses: Vec<String>,
    /// Prefixes that are routed into the tunnel.
    pub routes: Vec<String>,
    /// The peers.
    pub peers: Vec<Peer>,
}

/// A running wireguard-go; dropping it kills it.
#[derive(Debug)]
pub struct WireguardGo {
    host: Host,
    name: String,
    interface: String,
    directory: PathBuf,
    public_key: String,
    config: Config,
    process: Process,
}

impl WireguardGo {
    /// Starts an interface on `host` and configures it.
    pub fn start(lab: &Lab, host: &Host, name: &str, keys: &Keys, config: Config) -> Result<Self> {
        let interface = format!("wg{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let directory = lab.directory(name)?;
        write_secret(&directory.join("private.key"), &keys.private)?;
        let process = spawn(host, name, &interface)?;
        let end = Self {
            host: host.clone(),
            name: name.to_owned(),
            interface,
            directory,
            public_key: keys.public.clone(),
            config,
            process,
        };
        end.configure()?;
        Ok(end)
    }

    /// Starts it again after [`Self::kill`], with the same keys and configuration.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.process = spawn(&self.host, &self.name, &self.interface)?;
        self.configure()
    }

    /// Kills it as kill -9 does; its interface goes with it.
    pub fn kill(&mut self) {
        self.process.kill();
        // wg removes a dead socket that it finds, at worst when the next process has just made it
        // anew.
        let _ = fs::remove_file(control_socket(&self.interface));
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The name of its interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Its public key, base64.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    /// `wg set` on this interface.
    pub fn set(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("wg");
        command.arg("set").arg(&self.interface).args(arguments);
        self.host.output(TOOL_LIMIT, &mut command).map(drop)
    }

    /// Seconds since the epoch of the last handshake with its only peer; 0 if there was none.
    pub fn latest_handshake(&self) -> Result<u64> {
        Ok(self.show("latest-handshakes")?[0])
    }

    /// Bytes received from and sent to its only peer, as WireGuard counts them.
    pub fn transfer(&self) -> Result<[u64; 2]> {
        let counters = self.show("transfer")?;
        Ok([counters[0], *counters.get(1).context("no second counter")?])
    }

    /// The numbers after the key in the first line of `wg show`.
    fn show(&self, what: &str) -> Result<Vec<u64>> {
        let mut command = Command::new("wg");
        command.args(["show", &self.interface, what]);
        let text = self.host.output(TOOL_LIMIT, &mut command)?;
        let line = text.lines().next().context("no peer")?;
        let numbers: Vec<u64> =
            line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
        (!numbers.is_empty()).then_some(numbers).context("no number")
    }

    fn configure(&self) -> Result<()> {
        let private_key = self.directory.join("private.key");
        let mut arguments = vec!["private-key".to_owned(), private_key.display().to_string()];
        let mut push = |key: &str, value: String| arguments.extend([key.to_owned(), value]);
        if let Some(port) = self.config.listen_port {
            push("listen-port", port.to_string());
        }
        for (index, peer) in self.config.peers.iter().enumerate() {
            push("peer", peer.public_key.clone());
            if let Some(key) = &peer.preshared_key {
                let file = self.directory.join(format!("{index}.psk"));
                write_secret(&file, key)?;
                push("preshared-key", file.display().to_string());
            }
            push("allowed-ips", peer.allowed_ips.join(","));
            push("persistent-keepalive", peer.persistent_keepalive.to_string());
            if let Some(endpoint) = &peer.endpoint {
                push("endpoint", endpoint.clone());
            }
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        // wg removes a socket that is there but does not listen yet, and then it never will.
        let socket = control_socket(&self.interface);
        eventually("control socket of wireguard-go", START_LIMIT, || {
            UnixStream::connect(&socket).context("connecting")
        })?;
        self.set(&arguments)?;

        let interface = &self.interface;
        add_addresses(&self.host, interface, self.config.addresses.iter().map(String::as_str))?;
        let mut lines = format!("link set {interface} up\n");
        for route in &self.config.routes {
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "route add {route} dev {interface}");
        }
        self.host.ip(&lines)
    }
}

fn control_socket(interface: &str) -> PathBuf {
    PathBuf::from(format!("/var/run/wireguard/{interface}.sock"))
}

fn spawn(host: &Host, name: &str, interface: &str) -> Result<Process> {
    let mut command = Command::new(program());
    command.args(["-f", interface]).env("LOG_LEVEL", "error");
    // Set by wireguard-go itself for a child in the background, it leaves out the greeting.
    command.env("WG_PROCESS_FOREGROUND", "1");
    host.spawn(name, &mut command)
}
