//! Faults that are real: netfilter drops, rejects or rewrites packets on a host.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::net::Host;

/// The program that sets rules; tests that need it say so.
pub const TOOL: &str = "nft";

const TOOL_LIMIT: Duration = Duration::from_secs(10);

/// Where on a host packets meet a [`Chain`].
#[derive(Clone, Copy, Debug)]
pub enum Hook {
    /// On their way to a socket of the host.
    Input,
    /// On their way from a socket of the host.
    Output,
    /// Before they leave, where sources are rewritten.
    Source,
}

impl Hook {
    const fn kind(self) -> &'static str {
        match self {
            Self::Input => "filter hook input priority 0",
            Self::Output => "filter hook output priority 0",
            Self::Source => "nat hook postrouting priority 100",
        }
    }
}

/// Rules on a host; dropping them takes them away.
#[derive(Debug)]
pub struct Chain {
    host: Host,
    table: String,
}

impl Chain {
    /// Adds rules in `nft`'s notation. [`hits`](Self::hits) needs the word `counter` in them.
    pub fn start(host: &Host, hook: Hook, rules: &[&str]) -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let table = format!("inet faults{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let kind = hook.kind();
        let mut script = format!("add table {table}; add chain {table} rules {{ type {kind}; }}");
        for rule in rules {
            script.push_str(&format!("; add rule {table} rules {rule}"));
        }
        nft(host, &script)?;
        Ok(Self { host: host.clone(), table })
    }

    /// How many packets the rules with a counter have met.
    pub fn hits(&self) -> Result<u64> {
        let text = nft(&self.host, &format!("list table {}", self.table))?;
        let counts = text.split("counter packets ").skip(1);
        counts.map(|rest| Ok(rest.split(' ').next().unwrap_or_default().parse::<u64>()?)).sum()
    }

    /// Wants the rules to have met packets: a fault that did not happen proves nothing.
    pub fn was_met(&self) -> Result<()> {
        ensure!(self.hits()? > 0, "the rules of {} met no packet", self.table);
        Ok(())
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // What cannot be removed now goes with its host.
        let _ = nft(&self.host, &format!("delete table {}", self.table));
    }
}

fn nft(host: &Host, script: &str) -> Result<String> {
    host.output(TOOL_LIMIT, Command::new(TOOL).arg(script))
}
