//! Hosts and the links between them: network namespaces and veth pairs.
//!
//! A socket belongs to the namespace of the thread that made it, and a process to that of the
//! thread that started it; so [`Host::run`] on a fresh thread is all it takes to act on a host.
//! Sockets made there can be used from any thread.

use std::{
    fs::{self, File},
    io::Write as _,
    os::fd::AsFd as _,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{
    lab::Logs,
    process::{Process, finish},
};

/// A network namespace with its loopback up; it goes with its last handle.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    namespace: File,
    logs: Logs,
}

impl Host {
    pub(crate) fn new(name: String, logs: Logs) -> Result<Self> {
        ip(&["netns", "add", &name], "")?;
        let namespace = File::open(format!("/run/netns/{name}"))?;
        let host = Self(Arc::new(Inner { name, namespace, logs }));
        // Nobody else has the link-local addresses of links to come. While they are being checked
        // for that, the kernel can't ask for neighbours, and after three seconds it calls them
        // unreachable.
        host.sysctl("ipv6/conf/default/dad_transmits", "0")?;
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// Runs commands of `ip` on this host, one a line.
    pub fn ip(&self, lines: &str) -> Result<()> {
        ip(&["-n", &self.0.name, "-batch", "-"], lines)
    }

    /// The same for IPv6, where the arguments of a command don't tell.
    pub fn ip6(&self, lines: &str) -> Result<()> {
        ip(&["-6", "-n", &self.0.name, "-batch", "-"], lines)
    }

    /// Sets a sysctl of this host's network, named by its path below `/proc/sys/net`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.run(|| fs::write(format!("/proc/sys/net/{key}"), value))?
            .with_context(|| format!("setting {key} to {value}"))
    }

    /// Makes this host forward packets, as a router.
    pub fn forward_packets(&self) -> Result<()> {
        self.sysctl("ipv4/ip_forward", "1")?;
        self.sysctl("ipv6/conf/all/forwarding", "1")
    }

    /// Does `work` on a thread of its own inside this host.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let inside = || -> Result<T> {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.0.namespace.as_fd(), network)
                .context("entering a network namespace")?;
            Ok(work())
        };
        thread::scope(|scope| scope.spawn(inside).join())
            .map_err(|_| anyhow!("a thread in {} panicked", self.0.name))?
    }

    /// Starts a program on this host; its log is shown under `name` when the test fails.
    pub fn spawn(&self, name: &str, command: &mut Command) -> Result<Process> {
        let process = self.run(|| Process::spawn(command))??;
        self.0.logs.add(name.to_owned(), process.stderr().clone());
        Ok(process)
    }

    /// Runs a program on this host to its end; its standard output, or an error if it failed.
    pub fn output(&self, within: Duration, command: &mut Command) -> Result<String> {
        finish(self.run(|| Process::spawn(command))??, within)
            .with_context(|| format!("{command:?}"))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What cannot be removed now goes with the sandbox.
        let _ = ip(&["netns", "del", &self.name], "");
    }
}

/// One end of a link: the host, its interface's name and its addresses there with prefix lengths.
pub type LinkEnd<'a> = (&'a Host, &'a str, &'a [&'a str]);

/// Joins two hosts by a veth pair with addresses, ready to use at once.
pub fn link(a: LinkEnd<'_>, b: LinkEnd<'_>) -> Result<()> {
    ip(
        &["-batch", "-"],
        &format!(
            "link add {} netns {} type veth peer name {} netns {}",
            a.1, a.0.0.name, b.1, b.0.0.name
        ),
    )?;
    for (host, interface, addresses) in [a, b] {
        host.ip(&format!("link set {interface} up"))?;
        add_addresses(host, interface, addresses.iter().copied())?;
    }
    Ok(())
}

/// Gives an interface addresses; those of IPv6 without duplicate address detection, which takes a
/// second.
pub fn add_addresses<'a>(
    host: &Host,
    interface: &str,
    addresses: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let line = |address: &str| {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        format!("address add {address} dev {interface}{nodad}\n")
    };
    host.ip(&addresses.into_iter().map(line).collect::<String>())
}

fn ip(arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting ip")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {arguments:?} {input:?}: {}", complaint.trim());
    Ok(())
}
