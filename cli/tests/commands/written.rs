//! The files that `[capture]` and `[record]` write: whatever else they are stays as it is.

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use crate::program::{Ended, command, directory_with, slipwire, write};

const INTERFACE: &str =
    "[interface]\nprivate_key_file = \"slip0.key\"\naddress = [\"10.77.0.1/24\"]\n";

/// `check` and `run` say the same, in one line, and leave every file as it is.
fn refused(directory: &TempDir, tables: &str) -> String {
    write(directory, "slipwire.toml", &format!("{INTERFACE}{tables}"), 0o600);
    let before = contents(directory);
    let [check, run] = ["check", "run"].map(|command| slipwire(directory.path(), &[command]));
    for ended in [&check, &run] {
        assert_eq!(ended.code, Some(1), "{tables}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{tables}: {ended:?}");
    }
    assert_eq!(check.stderr, run.stderr);
    assert_eq!(contents(directory), before, "{tables}");
    check.stderr
}

fn contents(directory: &TempDir) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap());
    let mut contents: Vec<_> = entries
        .filter(|entry| entry.metadata().unwrap().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    contents.sort();
    contents
}

#[test]
fn a_capture_or_a_tape_takes_the_place_of_nothing_else() {
    let directory = directory_with(INTERFACE);
    symlink("slip0.key", directory.path().join("soft")).unwrap();
    fs::hard_link(directory.path().join("slip0.key"), directory.path().join("hard")).unwrap();
    for name in ["slip0.key", "slipwire.toml", "soft", "hard"] {
        for table in ["capture", "record"] {
            let message = refused(&directory, &format!("[{table}]\nfile = \"{name}\"\n"));
            assert!(message.contains(&format!("slipwire.toml:5: {table}.file: ")), "{message}");
            assert!(message.contains(&format!("{name} holds something else")), "{message}");
            assert!(message.contains("; name another file"), "{message}");
        }
    }
}

#[test]
fn older_tapes_take_the_place_of_nothing_else() {
    let directory = directory_with(INTERFACE);
    write(&directory, "a.tape.3", "mine", 0o600);
    let message = refused(&directory, "[record]\nfile = \"a.tape\"\n");
    assert!(message.contains("a.tape.3 holds something else"), "{message}");
    let message = refused(
        &directory,
        "[record]\nfile = \"a.tape\"\nsegments = 2\n[capture]\nfile = \"./a.tape.1\"\n",
    );
    assert!(message.contains("a.tape.1 is also the file of [capture]"), "{message}");
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = directory_with(INTERFACE);
    for (name, what) in [
        ("/dev/null", "is no regular file; name a file"),
        (".", "is no regular file; name a file"),
        ("gone/a", "there is no directory gone; make it: `mkdir -p gone`"),
    ] {
        for table in ["capture", "record"] {
            let message = refused(&directory, &format!("[{table}]\nfile = \"{name}\"\n"));
            assert!(message.contains(what), "{message}");
        }
    }
}

/// Its first line would come after the file was found empty.
#[test]
fn a_log_is_not_written_over() {
    let directory = directory_with(&format!("{INTERFACE}[capture]\nfile = \"log\"\n"));
    let log = directory.path().join("log");
    let mut run = command(directory.path(), &["run"]);
    let status = run.stderr(File::create(&log).unwrap()).status().unwrap();
    assert_eq!(status.code(), Some(1));
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("log is where this program's messages go; "), "{text}");
}

#[test]
fn a_replay_does_not_write_over_its_tape() {
    let directory = directory_with(INTERFACE);
    let tape = directory.path().join("a.tape");
    fs::write(&tape, b"slipwire tape\n").unwrap();
    let Ended { code, .. } = slipwire(directory.path(), &["replay", "a.tape", "--pcap", "a.tape"]);
    assert_eq!(code, Some(1));
    assert_eq!(fs::read(&tape).unwrap(), b"slipwire tape\n");
}
