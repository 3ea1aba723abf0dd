use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU16, Ordering};

use super::*;

/// Prepares a directory; a new one has a port of its own, so that tests do not find each other's
/// taken.
fn prepare(directory: &Path) -> Result<Prepared, Failure> {
    static PORT: AtomicU16 = AtomicU16::new(21_000);
    let is_new = !directory.join(CONFIGURATION).exists();
    super::prepare(directory, is_new.then(|| PORT.fetch_add(1, Ordering::Relaxed)))
}

fn message(directory: &Path) -> String {
    prepare(directory).unwrap_err().to_string()
}

#[test]
fn a_second_time_everything_is_used_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let first = prepare(directory.path()).unwrap();
    assert_eq!(first.made, [GATEWAY_KEY, LAPTOP_KEY, CONFIGURATION, CLIENT]);
    assert!(first.new_client().is_some_and(|text| text.contains("PrivateKey = ")));
    let second = prepare(directory.path()).unwrap();
    assert!(second.made.is_empty());
    assert_eq!(first.client, second.client);
    assert_eq!(second.new_client(), None, "the key is told once");
}

#[test]
fn secrets_are_for_their_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path()).unwrap();
    for name in [GATEWAY_KEY, LAPTOP_KEY, CLIENT] {
        let mode = fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn keys_of_before_are_kept_when_the_rest_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let first = prepare(directory.path()).unwrap();
    fs::remove_file(directory.path().join(CONFIGURATION)).unwrap();
    fs::remove_file(directory.path().join(CLIENT)).unwrap();
    let second = prepare(directory.path()).unwrap();
    assert_eq!(second.made, [CONFIGURATION, CLIENT]);
    let gateway = |prepared: &Prepared| {
        prepared.configuration.engine.parts().interface.private_key.public_key()
    };
    assert_eq!(gateway(&first), gateway(&second));
}

#[test]
fn a_client_configuration_is_made_again_from_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let first = prepare(directory.path()).unwrap();
    fs::remove_file(directory.path().join(CLIENT)).unwrap();
    let second = prepare(directory.path()).unwrap();
    assert_eq!(second.made, [CLIENT]);
    assert_eq!(first.client, second.client);
}

#[test]
fn a_key_that_others_rely_on_is_never_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path()).unwrap();
    fs::remove_file(directory.path().join(GATEWAY_KEY)).unwrap();
    let message = message(directory.path());
    assert!(message.contains(GATEWAY_KEY) && message.contains("; "), "{message}");
    assert!(!directory.path().join(GATEWAY_KEY).exists());
}

#[test]
fn files_that_do_not_fit_together_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    prepare(directory.path()).unwrap();
    prepare(other.path()).unwrap();
    fs::copy(other.path().join(CLIENT), directory.path().join(CLIENT)).unwrap();
    assert!(message(directory.path()).contains(CLIENT));
    fs::remove_file(directory.path().join(CONFIGURATION)).unwrap();
    assert!(message(directory.path()).contains("belongs to a slipwire.toml that is gone"));
}

#[test]
fn a_port_that_is_taken_is_an_error_and_nothing_is_made() {
    let holder = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    let error = super::prepare(directory.path(), Some(port)).unwrap_err();
    assert!(matches!(error, Failure::System(_)), "{error}");
    assert!(error.to_string().contains("--port 51820`"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn another_port_than_that_of_the_file_is_changed_there() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path()).unwrap();
    let message = super::prepare(directory.path(), Some(2)).unwrap_err().to_string();
    assert!(message.ends_with("; change listen_port there"), "{message}");
    assert!(super::prepare(directory.path(), None).is_ok());
}

#[test]
fn the_file_has_no_peer_that_is_there_to_try_it() {
    let directory = tempfile::tempdir().unwrap();
    let prepared = prepare(directory.path()).unwrap();
    let peers = &prepared.configuration.engine.parts().peers;
    assert_eq!(peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), [LAPTOP]);
}

#[test]
fn a_client_that_would_not_find_the_gateway_gets_no_code() {
    let directory = tempfile::tempdir().unwrap();
    let mut prepared = prepare(directory.path()).unwrap();
    let terminal = Size { columns: 200, rows: 100 };
    let lines = prepared.client.lines().filter(|line| !line.contains("Endpoint"));
    let without: String = lines.map(|line| format!("{line}\n")).collect();
    prepared.client = Zeroizing::new(format!("{without}# Endpoint = ADDRESS:PORT\n"));
    assert!(matches!(prepared.code(terminal), Code::NoEndpoint));
    prepared.client = Zeroizing::new(format!("{without}Endpoint = 192.0.2.1:51820\n"));
    assert!(matches!(prepared.code(terminal), Code::Drawn(_)));
    let wide = Size { columns: 120, rows: 40 };
    assert!(matches!(prepared.code(wide), Code::Drawn(_)), "120x40 holds it");
    let usual = Size { columns: 80, rows: 24 };
    assert!(matches!(prepared.code(usual), Code::None(NoCode::TooSmall(_))));
}
