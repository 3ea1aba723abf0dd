//! `config.example.toml` documents every key: what it says is what the code does.

use std::collections::BTreeSet;

use slipwire_core::config::{
    BUFFER_MAX, BUFFER_MIN, Endpoint, MTU_IPV6_MIN, MTU_MAX, MTU_MIN, Mappings, Peer,
};
use slipwire_driver::{ForwardProtocol, TapeFiles};

use super::*;
use crate::config::value::{MTU_WRITTEN_MAX, SEGMENTS_MAX};

const EXAMPLE: &str = include_str!("../../../../config.example.toml");

#[test]
fn the_example_is_valid() {
    let configuration = load_text(EXAMPLE).unwrap();
    let parts = configuration.engine.parts();
    assert_eq!(configuration.interface_name, "slip0");
    assert_eq!(configuration.settings.port, Some(51820));
    assert_eq!(parts.interface.private_key.public_key().to_string(), OUR_PUBLIC);
    assert_eq!(parts.peers.len(), 2);
    assert!(parts.peers[0].preshared_key.is_some());
    let endpoint = Endpoint::Name { host: "vpn.example.com".into(), port: 51820 };
    assert_eq!(parts.peers[1].endpoint, Some(endpoint));
    assert_eq!(configuration.settings.forwards[0].name, "web");
    assert_eq!(configuration.settings.forwards[1].protocol, ForwardProtocol::Udp);
    assert_eq!(configuration.origin.listen_line, line_of("listen_port ="));
    assert_eq!(configuration.origin.forward_lines[0], line_of("listen = \"127.0.0.1:8080\""));
}

fn line_of(start: &str) -> usize {
    1 + EXAMPLE.lines().position(|line| line.starts_with(start)).unwrap()
}

/// What the example sets to defaults must be what is there without it.
#[test]
fn the_example_shows_the_defaults() {
    let with = load_text(EXAMPLE).unwrap();
    let without = load_text(&format!("{INTERFACE}[gateway]\n")).unwrap();
    let (ours, theirs) = (&with.settings, &without.settings);
    assert_eq!(
        (&with.interface_name, with.log_level),
        (&without.interface_name, without.log_level)
    );
    assert_eq!((&ours.listen, ours.host_keepalive), (&theirs.listen, theirs.host_keepalive));
    let (with, without) = (with.engine.parts(), without.engine.parts());
    assert_eq!(with.interface.mtu, without.interface.mtu);
    assert_eq!(format!("{:?}", with.tcp), format!("{:?}", without.tcp));
    assert_eq!(format!("{:?}", with.mappings), format!("{:?}", without.mappings));
    assert_eq!(format!("{:?}", with.limits), format!("{:?}", without.limits));
    // There are no rules by default.
    let mut gateway = with.gateway.clone();
    gateway.iter_mut().for_each(|gateway| gateway.rules.clear());
    assert_eq!(format!("{gateway:?}"), format!("{:?}", without.gateway));
}

/// The keys that a file sets or shows behind `# `, each with its table.
fn keys_of(text: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut table = String::new();
    for line in text.lines().map(|line| line.trim_start_matches("# ")) {
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && !key.contains(' ')
        {
            keys.insert(format!("{table}.{key}"));
        }
    }
    keys
}

#[test]
fn the_example_lists_every_key_and_no_other() {
    let known = schema::ALL
        .iter()
        .flat_map(|schema| schema.keys.iter().map(move |key| format!("{}.{key}", schema.name)));
    assert_eq!(keys_of(EXAMPLE), known.collect());
}

/// What stands there as a comment, because it is off by default, has defaults of its own.
#[test]
fn what_the_example_leaves_off_shows_the_defaults_too() {
    let (_, looks) = EXAMPLE.split_once("# [capture]\n").unwrap();
    let written = looks.lines().filter_map(|line| line.strip_prefix("# "));
    let written = written.filter(|line| line.starts_with('[') || is_setting(line));
    let text = format!("{INTERFACE}[capture]\n{}\n", written.collect::<Vec<_>>().join("\n"));
    let settings = load_text(&text).unwrap().settings;
    let (capture, record) = (settings.capture.unwrap(), settings.record.unwrap());
    assert_eq!(capture, CaptureFile::new(&capture.file));
    assert_eq!(record, TapeFiles::new(&record.file));
}

fn is_setting(line: &str) -> bool {
    line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
}

#[test]
fn numbers_in_the_comments_of_the_example_are_those_of_the_code() {
    let comments = EXAMPLE.lines().filter_map(|line| line.strip_prefix("# "));
    let comments = comments.collect::<Vec<_>>().join(" ");
    let key = PEER_PUBLIC.parse().unwrap();
    for said in [
        format!("{MTU_MIN} to {MTU_WRITTEN_MAX} bytes, {MTU_IPV6_MIN} or more for IPv6"),
        format!("has room for {MTU_MAX}: above that {MTU_MAX} is used"),
        format!("the first {} characters of its key", Peer::new(key).name.len()),
        format!("from {}KiB to {}GiB", BUFFER_MIN >> 10, BUFFER_MAX >> 30),
        format!("For port 53 at most {}s", Mappings::default().dns_idle_timeout.as_secs()),
        format!("up to {SEGMENTS_MAX}"),
    ] {
        assert!(comments.contains(&said), "the example does not say {said:?}");
    }
}
