//! `run`: what the system refuses, the line that says ready, and the end.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::pipe::{fcntl_setpipe_size, pipe};
use rustix::process::Signal;

use crate::program::{BOB_PUBLIC, Running, command, directory_with, slipwire};

/// What INTERFACE promises for the end.
const END: Duration = Duration::from_secs(2);

fn configuration(interface: &str, forward: &str) -> String {
    format!(
        "[interface]\nprivate_key_file = \"slip0.key\"\naddress = [\"10.77.0.1/24\"]\n\
         listen_address = [\"127.0.0.1\"]\n{interface}\n\
         [[peer]]\npublic_key = \"{BOB_PUBLIC}\"\nallowed_ips = [\"10.77.0.2/32\"]\n\
         [[forward]]\nlisten = \"{forward}\"\nto = \"10.77.0.2:80\"\n"
    )
}

#[test]
fn a_taken_wireguard_port_exits_with_3_and_names_its_line() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let directory = directory_with(&configuration(&format!("listen_port = {port}"), "[::1]:0"));
    let ended = slipwire(directory.path(), &["run"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let start = format!("slipwire.toml:5: interface.listen_port: 127.0.0.1:{port}");
    assert!(ended.stderr.starts_with(&start), "{ended:?}");
    assert!(ended.stderr.contains("address in use"), "{ended:?}");
    assert!(ended.stderr.contains("; end the program that uses it"), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1);
}

#[test]
fn a_taken_forward_port_exits_with_3_and_names_its_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let directory = directory_with(&configuration("", &address.to_string()));
    let ended = slipwire(directory.path(), &["run"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let start = format!("slipwire.toml:10: forward.listen: {address}");
    assert!(ended.stderr.starts_with(&start), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1);
}

#[test]
fn all_that_is_taken_is_named_at_once() {
    let wireguard = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = wireguard.local_addr().unwrap().port();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let one = configuration(&format!("listen_port = {port}"), &address.to_string());
    let other = format!("127.0.0.1:{port}");
    let second =
        format!("[[forward]]\nprotocol = \"udp\"\nlisten = \"{other}\"\nto = \"10.77.0.2:53\"\n");
    let ended = slipwire(directory_with(&format!("{one}{second}")).path(), &["run"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let starts = [
        format!("slipwire.toml:5: interface.listen_port: 127.0.0.1:{port} (WireGuard): "),
        format!("slipwire.toml:10: forward.listen: {address} (forward "),
        format!("slipwire.toml:14: forward.listen: {other} (forward "),
    ];
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), starts.len(), "{ended:?}");
    for (line, start) in lines.iter().zip(&starts) {
        assert!(line.starts_with(start) && line.contains("; end the program"), "{line}");
    }
}

#[test]
fn one_line_says_ready_within_a_second() {
    let directory = directory_with(&configuration("name = \"wg7\"", "127.0.0.1:0"));
    let start = Instant::now();
    let running = Running::start(directory.path(), &["run"]);
    let line = running.message("ready");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    for part in ["wg7", "127.0.0.1:", "1 peer", "1 forward", "0 rules", "gateway off: "] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn sigterm_and_sigint_end_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = directory_with(&configuration("", "127.0.0.1:0"));
        let mut running = Running::start(directory.path(), &["run"]);
        running.message("ready");
        running.signal(signal);
        assert_eq!(running.end(END).code(), Some(0));
    }
}

/// The exit code tells: who dies of a signal has none.
#[test]
fn signals_that_ask_for_nothing_do_nothing() {
    let directory = directory_with(&configuration("", "127.0.0.1:0"));
    let mut running = Running::start(directory.path(), &["run"]);
    running.message("ready");
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::XFSZ, Signal::HUP] {
        running.signal(signal);
    }
    running.signal(Signal::TERM);
    assert_eq!(running.end(END).code(), Some(0));
}

/// Standard error is a pipe of one page that is full from the start on, and one without a reader.
#[test]
fn a_log_that_nobody_reads_holds_up_neither_the_start_nor_the_end() {
    end_with_a_full_pipe(Some);
    end_with_a_full_pipe(|reader| {
        drop(reader);
        None
    });
}

fn end_with_a_full_pipe(keep: fn(OwnedFd) -> Option<OwnedFd>) {
    let directory = directory_with(&configuration("", "127.0.0.1:0"));
    let (reader, writer) = pipe().unwrap();
    fcntl_setpipe_size(&writer, 4096).unwrap();
    let mut writer = File::from(writer);
    writer.write_all(&[b'x'; 4096]).unwrap();
    let reader = keep(reader);
    let mut command = command(directory.path(), &["run"]);
    command.env("RUST_LOG", "trace").stderr(writer);
    let mut running = Running::spawn(&mut command);
    // That comes after SIGTERM, and both when every socket is open.
    running.catches(Signal::INT);
    running.signal(Signal::TERM);
    assert_eq!(running.end(END).code(), Some(0));
    drop(reader);
}

/// A service's processes inherit the variable, whether or not they inherit the stream.
#[test]
fn the_journal_gets_priorities_and_anybody_else_the_time() {
    let directory = directory_with(&configuration("", "127.0.0.1:0"));
    let (reader, writer) = pipe().unwrap();
    let metadata = File::from(writer.try_clone().unwrap()).metadata().unwrap();
    let stream = format!("{}:{}", metadata.dev(), metadata.ino());
    let mut command = command(directory.path(), &["run"]);
    let _journal = Running::spawn(command.env("JOURNAL_STREAM", &stream).stderr(writer));
    let mut line = String::new();
    BufReader::new(File::from(reader)).read_line(&mut line).unwrap();
    assert!(line.starts_with("<6>ready: "), "{line}");

    let other = Running::spawn(command.stderr(Stdio::piped()));
    let line = other.message("ready: ");
    assert!(line.starts_with("20") && line.contains("Z INFO "), "{line}");
}

/// While it is stopped signals gather; when it goes on both are there at once.
#[test]
fn a_second_signal_ends_at_once() {
    let directory = directory_with(&configuration("", "127.0.0.1:0"));
    let mut running = Running::start(directory.path(), &["run"]);
    running.message("ready");
    for signal in [Signal::STOP, Signal::INT, Signal::TERM, Signal::CONT] {
        running.signal(signal);
    }
    let signal = running.end(END).signal();
    assert!([Signal::INT, Signal::TERM].iter().any(|by| signal == Some(by.as_raw())), "{signal:?}");
}

#[test]
fn a_tape_shows_a_flow_that_is_on_it_and_no_other() {
    let record = format!("{}[record]\nfile = \"a.tape\"\n", configuration("", "127.0.0.1:0"));
    let directory = directory_with(&record);
    let mut running = Running::start(directory.path(), &["run"]);
    running.message("ready");
    running.signal(Signal::TERM);
    assert_eq!(running.end(END).code(), Some(0));
    assert_eq!(slipwire(directory.path(), &["replay", "a.tape"]).code, Some(0));
    let ended = slipwire(directory.path(), &["replay", "a.tape", "--flow", "9.9"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.starts_with("a.tape: there is no flow 9.9 in "), "{ended:?}");
}
