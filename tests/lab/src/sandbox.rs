//! Namespaces of our own for the whole test process: users (unless root), mounts, network,
//! processes.
//!
//! Inside, `/run` is a fresh tmpfs, so that `ip netns`, wireguard-go and our scratch files share
//! nothing with the machine, and everything is gone when the first process of the sandbox ends.

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::wireguard_go;

/// Set inside the sandbox, to who we are there: [`ROOT`] or [`MAPPED`].
const MARK: &str = "SLIPWIRE_TEST_SANDBOX";
/// The machine's root: every user id exists.
const ROOT: &str = "root";
/// Root of a user namespace where no other user exists.
const MAPPED: &str = "mapped";

/// The user that slipwire runs as where we are root: nobody.
const NOBODY: u32 = 65534;

/// What the sandbox itself and every topology need.
const TOOLS: &[&str] = &["unshare", "mount", "ip", "setpriv", "wg"];

/// Prepares `/run`, then runs the arguments. The shell stays as first process of the process
/// namespace, because the kernel keeps an interrupt from the keyboard from a first process.
const ENTER: &str = r#"umask 022 && mount -t tmpfs -o mode=0755 tmpfs /run && "$@"; exit $?"#;

/// All that the tests ask of the kernel.
const PROBE: &str = "ip netns add probe && ip link add left type veth peer name right netns probe && \
                     ip -n probe tuntap add dev tunnel mode tun";

/// Makes sure that we run inside the sandbox: starts the program again in one if we don't, and then
/// does not return. The error says why there can be none.
pub fn enter() -> Result<(), String> {
    if env::var_os(MARK).is_some() {
        return Ok(());
    }
    let path = search_path();
    let tools = TOOLS.iter().map(Path::new).chain([wireguard_go::program()]);
    if let Some(missing) = tools.into_iter().find(|tool| find_in(&path, tool).is_none()) {
        return Err(format!("{} is not installed", missing.display()));
    }
    let mut reason = String::new();
    for (who, flags) in forms() {
        let unshare = |command: &[OsString]| {
            let mut unshare = Command::new("unshare");
            unshare.args(&flags).args(["sh", "-c", ENTER, "sandbox"]).args(command);
            unshare.env("PATH", &path).env(MARK, who);
            unshare
        };
        let probe = ["sh", "-c", PROBE].map(OsString::from);
        match unshare(&probe).output() {
            Ok(output) if output.status.success() => {
                let program = env::current_exe().map_err(|error| error.to_string())?;
                let again: Vec<_> =
                    [program.into_os_string()].into_iter().chain(env::args_os().skip(1)).collect();
                return Err(unshare(&again).exec().to_string());
            }
            Ok(output) => reason = String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => reason = error.to_string(),
        }
    }
    let reason = reason.lines().next().unwrap_or("no reason given").to_owned();
    Err(format!("no network namespaces with veth and TUN devices here ({reason})"))
}

/// The ways to make the sandbox, best first: where `/proc` cannot be mounted, there is no namespace
/// of processes.
fn forms() -> Vec<(&'static str, Vec<&'static str>)> {
    const NETWORK: &[&str] = &["--mount", "--net"];
    const PROCESSES: &[&str] = &["--pid", "--fork", "--kill-child", "--mount-proc"];
    const USER: &[&str] = &["--user", "--map-root-user"];
    let root = [(ROOT, [NETWORK, PROCESSES].concat()), (ROOT, NETWORK.to_vec())];
    let mapped =
        [(MAPPED, [USER, NETWORK, PROCESSES].concat()), (MAPPED, [USER, NETWORK].concat())];
    let is_root = rustix::process::geteuid().is_root();
    root.into_iter().filter(|_| is_root).chain(mapped).collect()
}

/// Whether user ids other than our own exist here.
fn is_real_root() -> bool {
    env::var_os(MARK).is_some_and(|who| who == ROOT)
}

/// The user to whom slipwire's files must belong.
pub fn unprivileged_user() -> Option<u32> {
    is_real_root().then_some(NOBODY)
}

/// The group ids for which unprivileged ping sockets can be allowed here.
pub fn ping_groups() -> &'static str {
    if is_real_root() { "0 2147483647" } else { "0 0" }
}

/// A command that runs `program` with no privilege at all.
pub fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_real_root() {
        command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]);
        command.arg("--clear-groups");
    }
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]).arg(program);
    command
}

/// Where scratch files go; every user may look inside.
pub fn scratch() -> &'static Path {
    Path::new("/run")
}

/// Whether a program can be found.
pub fn has_tool(name: &str) -> bool {
    find_in(&search_path(), Path::new(name)).is_some()
}

/// The search path with the directories of system programs, which users often lack.
fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}

/// Finds a program by name; one that is named by its whole path is just there or not.
fn find_in(path: &OsString, name: &Path) -> Option<PathBuf> {
    env::split_paths(path).map(|directory| directory.join(name)).find(|file| file.is_file())
}
