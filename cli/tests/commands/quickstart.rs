//! `quickstart`: from nothing to a page through a tunnel, and the same again.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::process::Signal;

use crate::program::{Running, slipwire};

/// WireGuard's usual port, held while these tests run unless somebody else holds it: so each
/// directory gets a port of its own, and finds it free again the second time.
static USUAL_PORT: LazyLock<Option<UdpSocket>> =
    LazyLock::new(|| UdpSocket::bind("0.0.0.0:51820").ok());

fn start(parent: &Path, arguments: &[&str]) -> Running {
    LazyLock::force(&USUAL_PORT);
    Running::start(parent, arguments)
}

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
    let names = ["gateway.key", "laptop.key", "trial.key", "slipwire.toml", "client.conf"];
    names.iter().map(|name| fs::read_to_string(directory.join(name)).unwrap()).collect()
}

#[test]
fn a_page_comes_through_the_tunnel_and_the_second_run_uses_what_is_there() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("vpn");
    let mut first_keys = None;
    for run in 1..=2 {
        let mut running = start(parent.path(), &["quickstart", "vpn"]);
        let (lines, page) = fetch(&running);
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert!(page.contains("Hello trial!") && page.contains("10.77.0.3"), "{page}");
        let text = lines.join("\n");
        assert!(text.contains("[Interface]\nPrivateKey = "), "{text}");
        assert!(text.contains("██████"), "a QR code: {text}");
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
    let running = start(parent.path(), &["quickstart"]);
    running.output("[Interface]");
    let file = "slipwire-quickstart/slipwire.toml";
    let ended = slipwire(parent.path(), &["check", "-c", file]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for part in ["laptop", "trial", "10.77.0.1/24", "default relay"] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
}

#[test]
fn a_directory_that_does_not_fit_together_is_a_fault() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("client.conf"), "[Interface]\n").unwrap();
    let ended = slipwire(parent.path(), &["quickstart", "."]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.starts_with("./client.conf: belongs to a slipwire.toml"), "{ended:?}");
}
