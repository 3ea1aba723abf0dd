//! Numbers that documents repeat are those of the code.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

use std::fs;

use slipwire_tidy::sources::root;

/// What a document says, and the line of the code that it says it of.
struct Repeated {
    document: &'static str,
    said: &'static str,
    file: &'static str,
    line: &'static str,
}

const fn repeated(
    document: &'static str,
    said: &'static str,
    file: &'static str,
    line: &'static str,
) -> Repeated {
    Repeated { document, said, file, line }
}

const README: &str = "README.md";
const NAT: &str = "tests/NAT.md";
const EXAMPLE: &str = "config.example.toml";
const LIMITS: &str = "core/src/limits.rs";
const CONFIG: &str = "core/src/config/mod.rs";
const SETTINGS: &str = "driver/src/settings.rs";

const NUMBERS: [Repeated; 18] = [
    repeated(README, "size = \"256MiB\"", SETTINGS, "const FILES_LEN: u64 = 256 << 20;"),
    repeated(README, "32 datagrams or 1 MiB in pieces", LIMITS, "FRAGMENTED_PEER_MAX: usize = 32;"),
    repeated(README, "or 1 MiB in pieces", LIMITS, "FRAGMENTED_LEN_PEER_MAX: usize = 1 << 20;"),
    repeated(
        README,
        "for each peer, 30 seconds",
        LIMITS,
        "FRAGMENT_TIMEOUT: Duration = Duration::from_secs(30);",
    ),
    repeated(
        README,
        "send less for 10 minutes",
        "core/src/path_mtu.rs",
        "LIFETIME: Duration = Duration::from_secs(600);",
    ),
    repeated(README, "at more than 500 a second", LIMITS, "HANDSHAKES_WASTED_RATE: u32 = 500;"),
    repeated(
        README,
        "takes it 5 seconds",
        "core/src/tunnel/supervisor.rs",
        "REKEY_TIMEOUT: Duration = Duration::from_secs(5);",
    ),
    repeated(
        README,
        "not answered for 90 seconds",
        "core/src/tunnel/supervisor.rs",
        "ASKED_FOR: Duration = Duration::from_secs(90);",
    ),
    repeated(README, "(48 are kept back)", "driver/src/descriptors.rs", "RESERVE: usize = 48;"),
    repeated(
        README,
        "two seconds after the last byte",
        LIMITS,
        "TCP_RINGS_IDLE: Duration = Duration::from_secs(2);",
    ),
    repeated(
        README,
        "at most 64 KiB wait for a thread",
        "cli/src/standard_error.rs",
        "WAITING_MAX: usize = 64 << 10;",
    ),
    repeated(
        README,
        "46 seconds or less",
        "driver/src/host/keepalive.rs",
        "SYSTEM_PATIENCE: Duration = Duration::from_secs(924);",
    ),
    repeated(
        EXAMPLE,
        "Up to 46s",
        "driver/src/host/keepalive.rs",
        "SYSTEM_PATIENCE: Duration = Duration::from_secs(924);",
    ),
    repeated(
        EXAMPLE,
        "how often then; 9 times",
        "driver/src/host/keepalive.rs",
        "PROBES: u32 = 9;",
    ),
    repeated(
        NAT,
        "`udp.idle_timeout`, five minutes",
        CONFIG,
        "udp_idle_timeout: Duration::from_secs(300),",
    ),
    repeated(
        NAT,
        "30 seconds where all that was asked was port 53",
        CONFIG,
        "dns_idle_timeout: Duration::from_secs(30),",
    ),
    repeated(
        NAT,
        "2 minutes by default, while the host is silent",
        CONFIG,
        "connect_timeout: Duration::from_secs(120),",
    ),
    repeated(
        NAT,
        "10 seconds, to complete the handshake",
        CONFIG,
        "half_open_timeout: Duration::from_secs(10),",
    ),
];

/// A text as one line, without the signs of comments.
fn flat(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("# "));
    lines.collect::<Vec<_>>().join(" ")
}

#[test]
fn numbers_that_documents_repeat_are_those_of_the_code() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    for Repeated { document, said, file, line } in NUMBERS {
        assert!(read(file).contains(line), "{file} has another {line:?}: {document} says {said:?}");
        assert!(flat(&read(document)).contains(said), "{document} no longer says {said:?}");
    }
}
