//! Where and how the benchmark ran.

use std::{env, fs, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use slipwire_lab::{process, wireguard_go};

const TOOL_LIMIT: Duration = Duration::from_secs(10);

/// What a reader of the numbers needs to know.
#[derive(Debug)]
pub struct Machine {
    cores: usize,
    model: String,
    kernel: String,
    date: String,
    load: String,
    wireguard_go: String,
    command: String,
}

impl Machine {
    /// This one, now, and the program that measures.
    pub fn this(program: &str) -> Result<Self> {
        let information = fs::read_to_string("/proc/cpuinfo")?;
        let model = information.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.and_then(|rest| rest.split_once(':')).map_or("unknown", |(_, name)| name);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let date = process::output(Command::new("date").args(["-u", "+%F %H:%M UTC"]), TOOL_LIMIT)?;
        let load = fs::read_to_string("/proc/loadavg")?;
        let arguments: String =
            env::args().skip(1).map(|argument| format!(" {argument}")).collect();
        Ok(Self {
            cores: thread::available_parallelism()?.get(),
            model: model.trim().to_owned(),
            kernel: kernel.trim().to_owned(),
            date: date.trim().to_owned(),
            load: load.split(' ').next().context("no load")?.to_owned(),
            wireguard_go: wireguard_go::version()?,
            command: format!("cargo run --release -p slipwire-tests --bin {program} --{arguments}"),
        })
    }

    /// The heading of the report.
    pub fn heading(&self) -> String {
        let Self { cores, model, kernel, date, load, wireguard_go, command } = self;
        format!(
            "# {cores} cores of {model}, Linux {kernel}, {date}\n\nLoad before the start: {load}. Compared with {wireguard_go}.\n\n    {command}\n"
        )
    }

    /// The same for the JSON.
    pub fn json(&self) -> Value {
        let Self { cores, model, kernel, date, load, wireguard_go, command } = self;
        json!({ "cores": cores, "model": model, "kernel": kernel, "date": date, "load": load, "wireguard_go": wireguard_go, "command": command })
    }
}
