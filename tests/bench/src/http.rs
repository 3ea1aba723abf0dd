//! Requests to nginx: on connections that stay, each on a connection of its own, and so many of
//! those in a row that ports come round.

use std::{fs, path::Path, process::Command, str::FromStr, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{
    Report,
    figures::{Entry, Figures},
    options::Options,
    rounds,
    table::{Table, number},
    way::{Kind, Way},
};
use slipwire_lab::{
    deadline::eventually, lab::Lab, net::Host, process::Process, row::Family, sandbox, tcp,
};

const PORT: u16 = 7005;
const CLIENTS: &str = "50";
const IN_A_ROW: u32 = 60_000;
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long [`IN_A_ROW`] may take.
const ROW_LIMIT: Duration = Duration::from_secs(180);
/// How much longer than asked a tool may take.
const TOOL_LIMIT: Duration = Duration::from_secs(20);
const TOOLS: [&str; 3] = ["nginx", "ab", "wrk"];

/// One process, as there is one processor for it at best.
const CONFIG: &str = r#"
daemon off;
master_process off;
pid DIRECTORY/nginx.pid;
error_log stderr;
worker_rlimit_nofile 65536;
events { worker_connections 16384; }
http {
    client_body_temp_path DIRECTORY/body;
    proxy_temp_path DIRECTORY/proxy;
    fastcgi_temp_path DIRECTORY/fastcgi;
    uwsgi_temp_path DIRECTORY/uwsgi;
    scgi_temp_path DIRECTORY/scgi;
    access_log off;
    keepalive_requests 100000000;
    server {
        listen PORT backlog=4096;
        return 200 "It works, through the tunnel.";
    }
}
"#;

pub(super) fn run(options: &Options) -> Result<Report> {
    if let Some(missing) = TOOLS.iter().find(|tool| !sandbox::has_tool(tool)) {
        let markdown = format!("## Requests\n\nNot measured: {missing} is not installed.\n\n");
        return Ok(Report { markdown, json: serde_json::Value::Null });
    }
    let lab = Lab::new()?;
    let figures = rounds::measure("http", options, &Kind::PLAIN, |way, entry| {
        let _server = serve(&lab, &way.row.far)?;
        entry.add("kept_per_s", wrk(way, options.duration, &[])?);
        entry.add("new_per_s", wrk(way, options.duration, &["--header", "Connection: close"])?);
        in_a_row(way, entry)
    })?;
    let markdown = format!(
        "## Requests\n\nTo nginx, by {CLIENTS} clients at once: a second on connections that stay, and each on a \
         connection of its own (wrk); and {IN_A_ROW} of those in a row with what the slowest took (ab).\n\n{}{}",
        table(&figures),
        figures.failures(),
    );
    Ok(Report { markdown, json: figures.json() })
}

fn serve(lab: &Lab, far: &Host) -> Result<Process> {
    let directory = lab.directory("nginx")?;
    let server = spawn(&directory, far)?;
    let address = (Family::V4.far(), PORT).into();
    eventually("nginx", START_LIMIT, || tcp::connect(far, address).map(drop))?;
    Ok(server)
}

fn spawn(directory: &Path, far: &Host) -> Result<Process> {
    let file = directory.join("nginx.conf");
    let config = CONFIG.replace("DIRECTORY", &directory.display().to_string());
    fs::write(&file, config.replace("PORT", &PORT.to_string()))?;
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-c"]).arg(&file);
    far.spawn("nginx", &mut command)
}

fn url(way: &Way) -> String {
    format!("http://{}/", way.target(PORT))
}

/// Requests a second.
fn wrk(way: &Way, duration: Duration, arguments: &[&str]) -> Result<f64> {
    let mut command = Command::new("wrk");
    command.args(["--threads", "1", "--connections", CLIENTS]);
    command.args(["--duration", &format!("{}s", duration.as_secs())]).args(arguments);
    let report = way.row.near.output(duration + TOOL_LIMIT, command.arg(url(way)))?;
    ensure!(!report.contains("Non-2xx"), "{report}");
    number_after(&report, "Requests/sec:")
}

fn in_a_row(way: &Way, entry: &mut Entry<'_>) -> Result<()> {
    let mut command = Command::new("ab");
    command.args(["-q", "-r", "-c", CLIENTS, "-n", &IN_A_ROW.to_string()]);
    let report = way.row.near.output(ROW_LIMIT, command.arg(url(way)))?;
    entry.add("row_per_s", number_after(&report, "Requests per second:")?);
    entry.add("row_failed", number_after(&report, "Failed requests:")?);
    entry.add("row_p99_ms", number_after(&report, " 99%")?);
    entry.add("row_worst_ms", number_after(&report, "100%")?);
    Ok(())
}

/// The first word after these in a report.
fn number_after(report: &str, words: &str) -> Result<f64> {
    let rest = report.split_once(words).map(|(_, rest)| rest);
    let word = rest.and_then(|rest| rest.split_whitespace().next());
    let number = word.and_then(|word| f64::from_str(word).ok());
    number.with_context(|| format!("no number after {words:?} in {report}"))
}

fn table(figures: &Figures) -> Table {
    let mut table = Table::new(&[
        "near – middle",
        "kept, a second",
        "new, a second",
        "in a row, a second",
        "p99 ms",
        "slowest ms",
        "failed",
    ]);
    for kind in figures.kinds_with("kept_per_s") {
        let median = |figure| figures.median(kind, figure);
        let cells =
            ["kept_per_s", "new_per_s", "row_per_s"].map(|figure| number(median(figure), 0));
        let times = ["row_p99_ms", "row_worst_ms", "row_failed"];
        table.row(
            kind.name(),
            cells.into_iter().chain(times.map(|figure| number(median(figure), 0))),
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_what_the_tools_print() {
        let ab = "Failed requests:        3\nRequests per second:    8912.32 [#/sec] (mean)\n\
                  \x20 99%      9\n 100%    1043 (longest request)\n";
        let found = ["Failed requests:", "Requests per second:", " 99%", "100%"];
        let found = found.map(|words| number_after(ab, words).unwrap());
        assert_eq!(found, [3.0, 8912.32, 9.0, 1043.0]);
        assert!(number_after(ab, "Requests/sec:").is_err());
    }
}
