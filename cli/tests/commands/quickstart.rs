//! `quickstart`: from nothing to a page through a tunnel, and the same again.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::program::{Running, slipwire};

/// Ports below those that the system gives to others, one for each test.
const PORTS: [&str; 3] = ["21821", "21822", "21823"];

/// Gets the page at the address that the program invites to.
fn fetch(running: &Running) -> (Vec<String>, String) {
    let lines = running.output("curl http://");
    let url = lines.last().unwrap().trim().strip_prefix("curl http://").unwrap();
    let mut stream = TcpStream::connect(url.trim_end_matches('/')).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: trial\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    (lines, response)
}

fn keys(directory: &Path) -> Vec<String> {
    let names = ["gateway.key", "laptop.key", "slipwire.toml", "client.conf"];
    names.iter().map(|name| fs::read_to_string(directory.join(name)).unwrap()).collect()
}

#[test]
fn a_page_comes_through_the_tunnel_and_the_second_run_uses_what_is_there() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("vpn");
    let mut first_keys = None;
    for run in 1..=2 {
        let arguments = ["quickstart", "vpn", "--port", PORTS[0]];
        let mut running = Running::start(parent.path(), &arguments);
        let (lines, page) = fetch(&running);
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert!(page.contains("Hello trial!") && page.contains("10.77.0.3"), "{page}");
        let text = lines.join("\n");
        assert_eq!(text.contains("[Interface]\nPrivateKey = "), run == 1, "told once: {text}");
        assert!(text.contains("vpn/client.conf"), "{text}");
        assert!(!text.contains("██████"), "a pipe is no terminal: {text}");
        assert_eq!(text.contains("using what is there"), run == 2, "{text}");
        running.message("ready");
        running.signal(Signal::TERM);
        assert_eq!(running.end(Duration::from_secs(2)).code(), Some(0));
        let keys = keys(&directory);
        assert_eq!(*first_keys.get_or_insert_with(|| keys.clone()), keys);
    }
}

#[test]
fn what_it_made_is_a_valid_configuration() {
    let parent = tempfile::tempdir().unwrap();
    let running = Running::start(parent.path(), &["quickstart", "--port", PORTS[1]]);
    running.output("[Interface]");
    let file = "slipwire-quickstart/slipwire.toml";
    let ended = slipwire(parent.path(), &["check", "-c", file]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for part in ["laptop", "UDP port 21822", "10.77.0.1/24", "default relay"] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
    assert!(!ended.stdout.contains("trial"), "it is gone with the quickstart: {}", ended.stdout);
}

#[test]
fn a_port_that_is_taken_is_an_error_with_a_mend() {
    let _holder = UdpSocket::bind(format!("0.0.0.0:{}", PORTS[2])).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let ended = slipwire(parent.path(), &["quickstart", "vpn", "--port", PORTS[2]]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{ended:?}");
    let mend = "choose another: `slipwire quickstart vpn --port 51820`";
    assert!(ended.stderr.contains("UDP port 21823 is in use; ") && ended.stderr.contains(mend));
    assert!(!parent.path().join("vpn/slipwire.toml").exists());
}

#[test]
fn a_directory_that_does_not_fit_together_is_a_fault() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("client.conf"), "[Interface]\n").unwrap();
    let ended = slipwire(parent.path(), &["quickstart", "."]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.starts_with("./client.conf: belongs to a slipwire.toml"), "{ended:?}");
}
