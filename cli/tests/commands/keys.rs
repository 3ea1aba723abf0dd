//! `genkey`, `pubkey` and `genpsk` do as `wg` does.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::{ALICE_PRIVATE, ALICE_PUBLIC, command, slipwire, slipwire_with_input};

fn print(name: &str) -> String {
    let ended = slipwire(Path::new("/"), &[name]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    ended.stdout
}

fn public(input: &str) -> crate::program::Ended {
    slipwire_with_input(Path::new("/"), &["pubkey"], input)
}

#[test]
fn keys_are_a_line_of_base64_and_never_the_same() {
    let keys: HashSet<_> =
        ["genkey", "genkey", "genpsk", "genpsk"].into_iter().map(print).collect();
    assert_eq!(keys.len(), 4);
    assert!(keys.iter().all(|key| key.len() == 45 && key.ends_with("=\n")), "{keys:?}");
}

#[test]
fn the_public_key_is_that_of_rfc_7748() {
    assert_eq!(public(ALICE_PRIVATE).stdout, format!("{ALICE_PUBLIC}\n"));
    assert_eq!(public(&format!("{ALICE_PRIVATE}\n")).stdout, format!("{ALICE_PUBLIC}\n"));
}

#[test]
fn what_is_no_key_exits_with_1_and_is_not_repeated() {
    let too_long = "A".repeat(100_000);
    for input in ["", "AAAA", "not a key", "\0\0", &too_long, &ALICE_PRIVATE[..43]] {
        let ended = public(input);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{input:.20}");
        assert!(ended.stderr.contains("; "), "{ended:?}");
        assert!(input.len() < 9 || !ended.stderr.contains(&input[..9]), "{ended:?}");
    }
}

#[test]
fn wg_finds_the_same_public_key() {
    let private = print("genkey");
    let wg = Command::new("wg").arg("pubkey").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut wg) = wg else {
        assert!(std::env::var_os("SLIPWIRE_TEST_ALL").is_none(), "wg is not installed");
        return;
    };
    wg.stdin.take().unwrap().write_all(private.as_bytes()).unwrap();
    let theirs = String::from_utf8(wg.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(public(&private).stdout, theirs);
}

#[test]
fn a_secret_in_a_file_for_everybody_gets_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    for (mode, warned) in [(0o644, true), (0o600, false)] {
        let path = directory.path().join("key");
        let file = fs::File::create(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let output = command(directory.path(), &["genkey"]).stdout(file).output().unwrap();
        assert!(output.status.success());
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(message.contains("umask 077"), warned, "{message}");
    }
}
