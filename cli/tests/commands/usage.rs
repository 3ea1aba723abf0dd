//! Help, versions, wrong usage, and what `check` prints.

use std::path::Path;
use std::process::Stdio;

use crate::program::{ALICE_PUBLIC, BOB_PUBLIC, command, directory_with, slipwire};

const COMMANDS: [&str; 8] =
    ["run", "quickstart", "check", "genkey", "pubkey", "genpsk", "replay", "help"];

fn here(arguments: &[&str]) -> crate::program::Ended {
    slipwire(Path::new("/"), arguments)
}

#[test]
fn every_command_has_help_with_examples() {
    let top = here(&["--help"]);
    assert_eq!((top.code, top.stderr.as_str()), (Some(0), ""));
    for command in COMMANDS {
        assert!(top.stdout.contains(&format!("\n  {command} ")), "{command}");
        for option in ["--help", "-h"] {
            let help = here(&[command, option]);
            assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{command}");
            let usage = match command {
                "help" => "Usage: slipwire COMMAND".to_owned(),
                _ => format!("Usage: slipwire {command}"),
            };
            assert!(help.stdout.contains(&usage), "{command}");
            assert!(help.stdout.contains("Example"), "{command}");
        }
    }
}

#[test]
fn help_is_a_command_too() {
    assert_eq!(here(&["help"]).stdout, here(&["--help"]).stdout);
    for command in COMMANDS {
        let help = here(&["help", command]);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{command}");
        assert_eq!(help.stdout, here(&[command, "--help"]).stdout, "{command}");
    }
    let unknown = here(&["help", "chekc"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("did you mean `check`?"), "{unknown:?}");
}

#[test]
fn a_configuration_is_named_with_or_without_an_option() {
    let directory = directory_with("[interface]\nmtu = 3\n");
    for command in ["check", "run"] {
        let with = slipwire(directory.path(), &[command, "-c", "slipwire.toml"]);
        let without = slipwire(directory.path(), &[command, "slipwire.toml"]);
        assert_eq!((without.code, &without.stderr), (Some(1), &with.stderr), "{command}");
        assert!(without.stderr.contains("slipwire.toml:2: interface.mtu: "), "{without:?}");
    }
}

#[test]
fn help_fits_a_terminal() {
    for command in COMMANDS {
        let help = here(&[command, "--help"]).stdout;
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{command}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = format!("slipwire {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(here(&["--version"]).stdout, version);
    assert_eq!(here(&["-V"]).stdout, version);
}

#[test]
fn wrong_usage_exits_with_2_and_says_where_help_is() {
    let cases: [&[&str]; 11] = [
        &[],
        &["fly"],
        &["--colour"],
        &["run", "-c", "file", "other"],
        &["run", "-c"],
        &["check", "--config", "a", "--config", "b"],
        &["genkey", "x"],
        &["pubkey", "--file"],
        &["quickstart", "a", "b"],
        &["help", "fly"],
        &["help", "run", "check"],
    ];
    for arguments in cases {
        let ended = here(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
        assert!(ended.stderr.contains("--help` shows how"), "{ended:?}");
    }
    assert!(here(&["chekc"]).stderr.contains("did you mean `check`?"));
}

#[test]
fn check_prints_what_would_run() {
    let directory = directory_with(&format!(
        "[interface]\nname = \"wg7\"\nprivate_key_file = \"slip0.key\"\nlisten_port = 51820\n\
         address = [\"10.77.0.1/24\", \"fd77::1/64\"]\n\
         [[peer]]\nname = \"office\"\npublic_key = \"{BOB_PUBLIC}\"\n\
         allowed_ips = [\"192.168.4.0/24\"]\nendpoint = \"vpn.example.com:51820\"\n\
         persistent_keepalive = 25\n\
         [[forward]]\nname = \"web\"\nlisten = \"127.0.0.1:8080\"\nto = \"192.168.4.2:80\"\n\
         [gateway]\npeer_to_peer = true\n"
    ));
    let ended = slipwire(directory.path(), &["check"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for part in [
        "slipwire.toml is valid",
        "wg7",
        ALICE_PUBLIC,
        "10.77.0.1/24, fd77::1/64",
        "UDP port 51820 of 0.0.0.0, ::",
        "office",
        BOB_PUBLIC,
        "192.168.4.0/24",
        "vpn.example.com:51820",
        "every 25 s",
        "web: tcp 127.0.0.1:8080 -> 192.168.4.2:80 (peer office)",
        "default relay; peers reach each other",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
}

#[test]
fn check_warns_of_what_is_not_done_as_written() {
    let directory = directory_with(
        "[interface]\nprivate_key_file = \"slip0.key\"\naddress = [\"10.77.0.1/24\"]\nmtu = 65500\n",
    );
    let ended = slipwire(directory.path(), &["check"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.starts_with("slipwire.toml:4: interface.mtu: "), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stdout.contains("mtu          65456"), "{ended:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let mut child = command(Path::new("/"), &["--help"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn a_full_disk_is_a_refusal_of_the_system() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else { return };
    let status =
        command(Path::new("/"), &["genkey"]).stdout(full).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(3));
}

#[test]
fn what_is_no_tape_is_a_fault_that_names_it() {
    let directory = directory_with("[interface]\n");
    let cases: [(&[&str], i32, &str); 5] = [
        (&["replay", "slipwire.toml"], 1, "slipwire.toml: it is no tape"),
        (&["replay", "missing.tape"], 1, "missing.tape: No such file"),
        (&["replay"], 2, "no tape"),
        (&["replay", "a", "--flow", "x"], 2, "two numbers"),
        (&["replay", "a", "--until", "-1"], 2, "invalid digit"),
    ];
    for (arguments, code, message) in cases {
        let ended = slipwire(directory.path(), arguments);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.stderr.contains(message), "{message}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}
