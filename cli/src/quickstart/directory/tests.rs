use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn message(directory: &Path) -> String {
    prepare(directory).unwrap_err().to_string()
}

#[test]
fn a_second_time_everything_is_used_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let first = prepare(directory.path()).unwrap();
    let names = [GATEWAY_KEY, LAPTOP_KEY, TRIAL_KEY, CONFIGURATION, CLIENT];
    assert_eq!(first.made, names);
    let second = prepare(directory.path()).unwrap();
    assert!(second.made.is_empty());
    assert_eq!(first.client, second.client);
    assert_eq!(first.trial_key.public_key(), second.trial_key.public_key());
}

#[test]
fn secrets_are_for_their_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path()).unwrap();
    for name in [GATEWAY_KEY, LAPTOP_KEY, TRIAL_KEY, CLIENT] {
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
    assert_eq!(first.trial_key.public_key(), second.trial_key.public_key());
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
    for name in [GATEWAY_KEY, TRIAL_KEY] {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path()).unwrap();
        fs::remove_file(directory.path().join(name)).unwrap();
        let message = message(directory.path());
        assert!(message.contains(name) && message.contains("; "), "{message}");
        assert!(!directory.path().join(name).exists());
    }
}

#[test]
fn files_that_do_not_fit_together_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    prepare(directory.path()).unwrap();
    prepare(other.path()).unwrap();
    for name in [TRIAL_KEY, CLIENT] {
        let path = directory.path().join(name);
        let before = fs::read(&path).unwrap();
        fs::copy(other.path().join(name), &path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(message(directory.path()).contains(name));
        fs::write(&path, before).unwrap();
    }
    fs::remove_file(directory.path().join(CONFIGURATION)).unwrap();
    assert!(message(directory.path()).contains("belongs to a slipwire.toml that is gone"));
}
