//! Every broken configuration gives one clear message with file, line and mend, and exits with 1.

use std::fs;

use crate::program::{
    ALICE_PRIVATE, ALICE_PUBLIC, BOB_PUBLIC, directory_with, slipwire, slipwire_with_input, write,
};

const INTERFACE: &str =
    "[interface]\nprivate_key_file = \"slip0.key\"\naddress = [\"10.77.0.1/24\"]\n";

/// A name, a configuration, the line of the fault, its key, and a word of the mend.
type Case = (&'static str, String, usize, &'static str, &'static str);

fn peer(key: &str, allowed_ips: &str) -> String {
    format!("[[peer]]\npublic_key = \"{key}\"\nallowed_ips = [\"{allowed_ips}\"]\n")
}

fn cases() -> Vec<Case> {
    let bob = peer(BOB_PUBLIC, "10.77.0.2/32");
    let other = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    let forward = "[[forward]]\nlisten = \"127.0.0.1:8080\"\n";
    vec![
        (
            "unknown key",
            format!("{INTERFACE}listen_prot = 51820\n{bob}"),
            4,
            "interface.listen_prot",
            "did you mean `listen_port`?",
        ),
        ("unknown table", format!("{INTERFACE}[gatway]\n"), 4, "gatway", "`[gateway]`"),
        (
            "key like no other",
            format!("{INTERFACE}[tcp]\nwindow = \"1MiB\"\n"),
            5,
            "tcp.window",
            "[tcp] has receive_buffer",
        ),
        (
            "missing key",
            format!("{INTERFACE}[[peer]]\nallowed_ips = []\n"),
            4,
            "peer.public_key",
            "add `public_key = \"<base64>\"` below [[peer]]",
        ),
        (
            "missing private key",
            "[interface]\naddress = [\"10.77.0.1/24\"]\n".to_owned(),
            1,
            "interface.private_key_file",
            "add `private_key_file = \"slip0.key\"`",
        ),
        ("nothing at all", String::new(), 1, "interface", "add `[interface]`"),
        (
            "bad base64",
            format!("{INTERFACE}{}", peer("not base64!", "10.77.0.2/32")),
            5,
            "peer.public_key",
            "copy it again",
        ),
        (
            "wrong key length",
            format!("{INTERFACE}{}", peer("AAAA", "10.77.0.2/32")),
            5,
            "peer.public_key",
            "a key has 32",
        ),
        (
            "low-order key",
            format!("{INTERFACE}{}", peer(&format!("{}=", "A".repeat(43)), "10.77.0.2/32")),
            5,
            "peer.public_key",
            "use a key made by",
        ),
        (
            "own public key",
            format!("{INTERFACE}{}", peer(ALICE_PUBLIC, "10.77.0.2/32")),
            5,
            "peer.public_key",
            "put the other end's public key here",
        ),
        (
            "identical allowed IPs",
            format!("{INTERFACE}{bob}{}", peer(other, "10.77.0.2/32")),
            9,
            "peer.allowed_ips",
            "(line 6); keep it at one of them",
        ),
        (
            "one key for two peers",
            format!("{INTERFACE}{bob}name = \"b\"\n{}", peer(BOB_PUBLIC, "10.77.0.3")),
            9,
            "peer.public_key",
            "(line 5); remove one of the two",
        ),
        (
            "forward to an address no peer owns",
            format!("{INTERFACE}{bob}{forward}to = \"192.168.4.2:80\"\n"),
            9,
            "forward.to",
            "add it to the allowed_ips",
        ),
        (
            "two forwards at one place",
            format!(
                "{INTERFACE}{bob}{forward}to = \"10.77.0.2:80\"\n{forward}to = \"10.77.0.2:81\"\n"
            ),
            11,
            "forward.listen",
            "choose another port",
        ),
        (
            "key file missing",
            INTERFACE.replace("slip0.key", "gone.key"),
            2,
            "interface.private_key_file",
            "slipwire genkey > gone.key",
        ),
        (
            "key file readable by others",
            INTERFACE.replace("slip0.key", "open.key"),
            2,
            "interface.private_key_file",
            "run `chmod 600 open.key`",
        ),
        (
            "key in a file readable by others",
            INTERFACE.replace("private_key_file = \"slip0.key\"", &inline()),
            2,
            "interface.private_key",
            "run `chmod 600 slipwire.toml`",
        ),
        (
            "two private keys",
            format!("{INTERFACE}private_key = 3\n"),
            4,
            "interface.private_key",
            "keep one of the two",
        ),
        ("wrong type", format!("{INTERFACE}mtu = \"big\"\n"), 4, "interface.mtu", "576 to 65500"),
        (
            "impossible value",
            format!("{INTERFACE}listen_port = 70000\n"),
            4,
            "interface.listen_port",
            "1 to 65535",
        ),
        (
            "contradiction",
            format!("{INTERFACE}[limits]\ntcp_flows = 5\nhalf_open = 6\n"),
            6,
            "limits.half_open",
            "change this value",
        ),
        (
            "more tapes than anybody keeps",
            format!("{INTERFACE}[record]\nfile = \"a.tape\"\nsegments = 5000\n"),
            6,
            "record.segments",
            "write a number from 1 to 1000",
        ),
        (
            "bad endpoint",
            format!("{INTERFACE}{bob}endpoint = \"vpn.example.com\"\n"),
            7,
            "peer.endpoint",
            "\"vpn.example.com:51820\"",
        ),
        ("no TOML", format!("{INTERFACE}mtu =\n"), 4, "syntax", "mend this line"),
    ]
}

fn inline() -> String {
    format!("private_key = \"{ALICE_PRIVATE}\"")
}

#[test]
fn every_fault_has_file_line_and_mend_and_exits_with_1() {
    for (name, configuration, line, key, mend) in cases() {
        let directory = directory_with(&configuration);
        write(&directory, "open.key", ALICE_PRIVATE, 0o644);
        for command in ["check", "run"] {
            let ended = slipwire(directory.path(), &[command]);
            assert_eq!(ended.code, Some(1), "{name}: {ended:?}");
            assert_eq!(ended.stdout, "", "{name}");
            let start = format!("slipwire.toml:{line}: {key}: ");
            let about_it: Vec<_> =
                ended.stderr.lines().filter(|message| message.starts_with(&start)).collect();
            assert!(about_it.iter().any(|m| m.contains(mend)), "{name}: {start} {ended:?}");
            let all_good = ended.stderr.lines().all(|message| message.contains("; "));
            assert!(all_good, "{name}: {ended:?}");
            assert!(!ended.stderr.contains(&ALICE_PRIVATE[..12]), "{name}: a secret is told");
        }
    }
}

#[test]
fn a_single_fault_is_a_single_message() {
    for (name, configuration, ..) in cases() {
        let several = ["two private keys"];
        let directory = directory_with(&configuration);
        write(&directory, "open.key", ALICE_PRIVATE, 0o644);
        let lines = slipwire(directory.path(), &["check"]).stderr.lines().count();
        assert!(lines == 1 || several.contains(&name), "{name}: {lines} lines");
    }
}

#[test]
fn what_is_no_utf_8_says_what_it_is() {
    let utf16: Vec<u8> = INTERFACE.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin1 = [INTERFACE.as_bytes(), b"# B\xfcro\n"].concat();
    for (bytes, line, what) in [(&utf16, 1, "UTF-16"), (&latin1, 4, "no UTF-8 text")] {
        let directory = directory_with("");
        fs::write(directory.path().join("slipwire.toml"), bytes).unwrap();
        let ended = slipwire(directory.path(), &["check"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.starts_with(&format!("slipwire.toml:{line}: ")), "{ended:?}");
        assert!(ended.stderr.contains(what), "{ended:?}");
        assert!(ended.stderr.ends_with("; save the file as UTF-8\n"), "{ended:?}");
    }
}

#[test]
fn a_configuration_may_come_from_standard_input() {
    let directory = directory_with("");
    let check = |text: &str| slipwire_with_input(directory.path(), &["check", "-c", "-"], text);
    let ended = check(INTERFACE);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert!(ended.stdout.starts_with("standard input is valid\n"), "{ended:?}");
    let ended = check(&INTERFACE.replace("private_key_file = \"slip0.key\"", &inline()));
    assert_eq!(ended.code, Some(0), "nobody else reads a pipe: {ended:?}");
    let ended = check("[interface]\nmtu = 3\n");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("standard input:2: interface.mtu: "), "{ended:?}");
}

#[test]
fn a_file_that_is_missing_is_named() {
    let directory = tempfile::tempdir().unwrap();
    for command in ["check", "run"] {
        let ended = slipwire(directory.path(), &[command, "-c", "gone.toml"]);
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.starts_with("gone.toml: "), "{ended:?}");
        assert!(ended.stderr.contains("-c FILE"), "{ended:?}");
    }
}

#[test]
fn without_a_file_it_says_where_it_looked() {
    let directory = tempfile::tempdir().unwrap();
    if fs::exists("/etc/slipwire/slipwire.toml").unwrap() {
        return;
    }
    let ended = slipwire(directory.path(), &["run"]);
    assert_eq!(ended.code, Some(1));
    for place in ["./slipwire.toml", "/etc/slipwire/slipwire.toml", "-c FILE"] {
        assert!(ended.stderr.contains(place), "{ended:?}");
    }
}

#[test]
fn paths_are_relative_to_the_file() {
    let directory = directory_with(INTERFACE);
    let file = directory.path().join("slipwire.toml");
    let ended = slipwire(std::path::Path::new("/"), &["check", "-c", file.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
