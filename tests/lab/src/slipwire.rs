//! The program under test: its configuration as a file, and its process without any privilege.

use std::{
    env, fmt,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::{
    lab::{Lab, write_secret},
    net::Host,
    peer::{Keys, Peer},
    process::{Lines, Process},
    sandbox,
};

/// How long a start may take before the harness gives up; the promise of one second is a test.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A `[[forward]]` table.
#[derive(Clone, Debug)]
pub struct Forward {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The local `host:port`.
    pub listen: String,
    /// The `host:port` in the tunnel.
    pub to: String,
}

/// A whole configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// UDP port of WireGuard; none takes any.
    pub listen_port: Option<u16>,
    /// The tunnel addresses of this end with prefix lengths.
    pub address: Vec<String>,
    /// The peers.
    pub peers: Vec<Peer>,
    /// The forwards.
    pub forwards: Vec<Forward>,
    /// The lines of `[gateway]`; without it there is no such table.
    pub gateway: Option<String>,
    /// Further tables, as text.
    pub tables: String,
    /// A file that slipwire sees as `/etc/hosts`; no part of its own file.
    pub hosts_file: Option<PathBuf>,
    /// A command, as words, that is given slipwire to run: `strace`, `prlimit`; no part of the
    /// file. The process that it starts must become slipwire.
    pub wrapper: Vec<String>,
    /// The slipwire to run, where every user can run it; [`binary`] where none is named.
    pub program: Option<PathBuf>,
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "[interface]\nprivate_key_file = \"private.key\"\naddress = {:?}",
            self.address
        )?;
        if let Some(port) = self.listen_port {
            writeln!(f, "listen_port = {port}")?;
        }
        for (index, peer) in self.peers.iter().enumerate() {
            writeln!(f, "[[peer]]\nname = {:?}\npublic_key = {:?}", peer.name, peer.public_key)?;
            writeln!(f, "allowed_ips = {:?}", peer.allowed_ips)?;
            if peer.preshared_key.is_some() {
                writeln!(f, "preshared_key_file = \"{index}.psk\"")?;
            }
            if let Some(endpoint) = &peer.endpoint {
                writeln!(f, "endpoint = {endpoint:?}")?;
            }
            if peer.persistent_keepalive > 0 {
                writeln!(f, "persistent_keepalive = {}", peer.persistent_keepalive)?;
            }
        }
        for Forward { protocol, listen, to } in &self.forwards {
            writeln!(
                f,
                "[[forward]]\nprotocol = \"{protocol}\"\nlisten = \"{listen}\"\nto = \"{to}\""
            )?;
        }
        if let Some(lines) = &self.gateway {
            writeln!(f, "[gateway]\n{lines}")?;
        }
        f.write_str(&self.tables)
    }
}

impl Config {
    fn write(&self, directory: &Path, keys: &Keys) -> Result<()> {
        write_secret(&directory.join("private.key"), &keys.private)?;
        for (index, peer) in self.peers.iter().enumerate() {
            if let Some(key) = &peer.preshared_key {
                write_secret(&directory.join(format!("{index}.psk")), key)?;
            }
        }
        fs::write(directory.join("slipwire.toml"), self.to_string())?;
        if let Some(user) = sandbox::unprivileged_user() {
            chown(directory, Some(user), Some(user))?;
            for entry in fs::read_dir(directory)? {
                chown(entry?.path(), Some(user), Some(user))?;
            }
        }
        Ok(())
    }
}

/// A running slipwire; dropping it kills it.
#[derive(Debug)]
pub struct Slipwire {
    host: Host,
    name: String,
    directory: PathBuf,
    surroundings: Surroundings,
    process: Process,
    ready_after: Duration,
}

impl Slipwire {
    /// Starts slipwire on `host` and waits until it says that it is ready.
    pub fn start(lab: &Lab, host: &Host, name: &str, keys: &Keys, config: &Config) -> Result<Self> {
        let directory = lab.directory(name)?;
        config.write(&directory, keys)?;
        let surroundings = Surroundings {
            hosts_file: config.hosts_file.clone(),
            wrapper: config.wrapper.clone(),
            program: config.program.clone(),
        };
        let (process, ready_after) = spawn(host, name, &directory, &surroundings)?;
        let (host, name) = (host.clone(), name.to_owned());
        Ok(Self { host, name, directory, surroundings, process, ready_after })
    }

    /// Starts it again with the same configuration, after killing what still runs.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let (process, ready_after) =
            spawn(&self.host, &self.name, &self.directory, &self.surroundings)?;
        self.process = process;
        self.ready_after = ready_after;
        Ok(())
    }

    /// Kills it as kill -9 does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end by SIGTERM and waits for that.
    pub fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.process.terminate(within)
    }

    /// The same, when it has to be an end in order: all that it has ever logged.
    pub fn whole_log(&mut self, within: Duration) -> Result<&Lines> {
        let status = self.terminate(within)?;
        ensure!(status.success(), "no end in order: {status}");
        Ok(self.process.stderr())
    }

    /// The directory of its configuration, to which paths there are relative.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Time from its start to the line that says that it is ready.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }
}

/// Why there is no slipwire to test, if there is none.
pub fn missing() -> Option<String> {
    binary().err().map(|error| format!("{error:#}"))
}

/// The program under test, where a user without privileges can run it.
///
/// # Errors
/// It was not built.
pub fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let copy = || -> Result<PathBuf> {
        let source = match env::var_os("SLIPWIRE_BIN") {
            Some(path) => PathBuf::from(path),
            None => built_beside_us()?,
        };
        for_everybody(&source, &sandbox::scratch().join("slipwire")).with_context(|| {
            format!(
                "no slipwire at {}; build it with cargo build, or name another in SLIPWIRE_BIN",
                source.display()
            )
        })
    };
    BINARY
        .get_or_init(|| copy().map_err(|error| format!("{error:#}")))
        .as_deref()
        .map_err(|error| anyhow!("{error}"))
}

/// Copies `program` to `target`, where a user without privileges can run it.
pub fn for_everybody(program: &Path, target: &Path) -> Result<PathBuf> {
    fs::copy(program, target).with_context(|| format!("copying {}", program.display()))?;
    fs::set_permissions(target, Permissions::from_mode(0o755))?;
    Ok(target.to_owned())
}

/// `target/<profile>/slipwire`, as seen from a test in `deps/` or from a program beside it.
fn built_beside_us() -> Result<PathBuf> {
    let program = env::current_exe()?;
    let mut directory = program.parent().context("no directory")?;
    if directory.ends_with("deps") {
        directory = directory.parent().context("no target directory")?;
    }
    Ok(directory.join("slipwire"))
}

/// What slipwire finds beside its configuration.
#[derive(Debug)]
struct Surroundings {
    hosts_file: Option<PathBuf>,
    wrapper: Vec<String>,
    program: Option<PathBuf>,
}

fn spawn(
    host: &Host,
    name: &str,
    directory: &Path,
    surroundings: &Surroundings,
) -> Result<(Process, Duration)> {
    let mut command = sandbox::unprivileged(match &surroundings.program {
        Some(program) => program,
        None => binary()?,
    });
    command.arg("run").arg("-c").arg(directory.join("slipwire.toml"));
    if let Some((wrapper, words)) = surroundings.wrapper.split_first() {
        command = wrapped(Command::new(wrapper).args(words), &command);
    }
    if let Some(file) = &surroundings.hosts_file {
        command = with_hosts_file(file, &command);
    }
    if env::var_os("RUST_LOG").is_none() {
        command.env("RUST_LOG", "info");
    }
    let start = Instant::now();
    let mut process = host.spawn(name, &mut command)?;
    process.wait_for_word("ready", START_LIMIT).context("starting slipwire")?;
    Ok((process, start.elapsed()))
}

/// `inner` as the last arguments of `outer`.
fn wrapped(outer: &Command, inner: &Command) -> Command {
    let mut command = Command::new(outer.get_program());
    command.args(outer.get_args()).arg(inner.get_program()).args(inner.get_args());
    command
}

/// `command` with `file` in the place of `/etc/hosts`.
fn with_hosts_file(file: &Path, command: &Command) -> Command {
    const SCRIPT: &str = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
    let mut outer = Command::new("unshare");
    outer.args(["--mount", "sh", "-c", SCRIPT]).arg(file);
    wrapped(&outer, command)
}
