//! What either end of a tunnel knows of the other, and keys, made by `wg` itself.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// The key pair of one end of a tunnel, base64 as `wg` writes it.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The private key.
    pub private: String,
    /// The public key that belongs to it.
    pub public: String,
}

impl Keys {
    /// A fresh key pair.
    pub fn generate() -> Result<Self> {
        let private = wg("genkey", "")?;
        let public = wg("pubkey", &private)?;
        Ok(Self { private, public })
    }
}

/// The other end, in the terms of `wg set` and of a `[[peer]]` table.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Its name; slipwire's alone.
    pub name: String,
    /// Its public key.
    pub public_key: String,
    /// The preshared key, if any.
    pub preshared_key: Option<String>,
    /// Its allowed IPs.
    pub allowed_ips: Vec<String>,
    /// `host:port` of its WireGuard socket.
    pub endpoint: Option<String>,
    /// Seconds; 0 is off.
    pub persistent_keepalive: u16,
}

impl Peer {
    /// A peer that is known by name, key and allowed IPs, and calls by itself.
    pub fn caller(name: &str, keys: &Keys, allowed_ips: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            public_key: keys.public.clone(),
            allowed_ips: allowed_ips.iter().map(ToString::to_string).collect(),
            ..Self::default()
        }
    }
}

/// A fresh preshared key.
pub fn preshared() -> Result<String> {
    wg("genpsk", "")
}

fn wg(subcommand: &str, input: &str) -> Result<String> {
    let mut child = Command::new("wg")
        .arg(subcommand)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting wg")?;
    if let Some(mut stdin) = child.stdin.take() {
        std::io::Write::write_all(&mut stdin, input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "wg {subcommand}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
