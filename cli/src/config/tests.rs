use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use slipwire_core::config::{CongestionControl, DefaultAction, Filtering, RefusedAnswer};
use slipwire_core::rules::{ProxyProtocol, RedirectTarget, RuleAction, Source};
use slipwire_driver::CaptureFile;
use tempfile::TempDir;

use super::*;

mod contradictions;
mod example;
mod foreign;
mod warnings;

/// The key pairs of RFC 7748, section 6.1.
const OUR_PRIVATE: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
const OUR_PUBLIC: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const PEER_PUBLIC: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

fn write(directory: &TempDir, name: &str, content: &str, mode: u32) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

/// Loads a file that lies beside the key files that it may name.
fn load_text(text: &str) -> Result<Configuration, String> {
    let directory = tempfile::tempdir().unwrap();
    write(&directory, "slip0.key", OUR_PRIVATE, 0o600);
    write(&directory, "laptop.psk", OUR_PRIVATE, 0o600);
    let file = write(&directory, "slipwire.toml", text, 0o644);
    let prefix = format!("{}/", directory.path().display());
    load(&file).map_err(|error| error.to_string().replace(&prefix, ""))
}

fn faults(text: &str) -> Vec<String> {
    load_text(text).unwrap_err().lines().map(str::to_owned).collect()
}

/// The start of a valid file: 3 lines.
const INTERFACE: &str =
    "[interface]\nprivate_key_file = \"slip0.key\"\naddress = [\"10.77.0.1/24\"]\n";

fn peer(rest: &str) -> String {
    format!("[[peer]]\npublic_key = \"{PEER_PUBLIC}\"\n{rest}\n")
}

/// A date is a value that no key takes: if its fault is missing, nobody reads the key.
#[test]
fn every_known_key_is_read() {
    for schema in schema::ALL {
        for key in schema.keys {
            let text = format!("{}\n{key} = 2001-01-01\n", schema.header());
            let fault = format!("slipwire.toml:2: {}.{key}: expected", schema.name);
            let faults = faults(&text);
            assert!(faults.iter().any(|line| line.starts_with(&fault)), "{key}: {faults:#?}");
        }
    }
}

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    let configuration = load_text(&format!("{INTERFACE}{}", peer("allowed_ips = []"))).unwrap();
    let parts = configuration.engine.parts();
    assert_eq!(configuration.interface_name, "slip0");
    assert_eq!(configuration.settings.port, None);
    let wildcards = ["0.0.0.0", "::"].map(|address| address.parse::<IpAddr>().unwrap().into());
    assert_eq!(configuration.settings.listen, wildcards);
    assert_eq!(configuration.log_level, LevelFilter::Info);
    assert_eq!(parts.interface.mtu, 1420);
    assert_eq!(configuration.settings.host_keepalive, Some(Duration::from_secs(75)));
    assert_eq!(parts.peers[0].name, &PEER_PUBLIC[..8]);
    assert!(parts.gateway.is_none());
}

#[test]
fn every_option_arrives() {
    let text = format!(
        "{INTERFACE}mtu = 1380\n[gateway]\ndefault = \"reject\"\npeer_to_peer = true\n\
         overlay_exclude = [\"10.9.0.0/16\"]\n[tcp]\nreceive_buffer = \"64KiB\"\n\
         send_buffer = 131072\nconnect_timeout = \"3s\"\nidle_timeout = \"1h\"\n\
         half_open_timeout = \"4s\"\nkeepalive = \"20s\"\nhost_keepalive = \"30s\"\n\
         refused = \"icmp\"\ncongestion = \"bbr\"\n[udp]\nidle_timeout = \"10s\"\n\
         filtering = \"address-and-port\"\n[icmp]\nidle_timeout = \"7s\"\n[limits]\n\
         tcp_flows = 100\nudp_flows = 101\nicmp_flows = 102\nper_peer = \"10%\"\n\
         memory = \"2MiB\"\n[log]\nlevel = \"warn\"\n"
    );
    let configuration = load_text(&text).unwrap();
    let parts = configuration.engine.parts();
    let gateway = parts.gateway.as_ref().unwrap();
    assert_eq!(gateway.default, DefaultAction::Reject);
    assert!(gateway.peer_to_peer && gateway.overlay_exclude.len() == 1);
    assert_eq!((parts.interface.mtu, parts.tcp.receive_buffer), (1380, 64 << 10));
    assert_eq!((parts.tcp.send_buffer, parts.limits.memory), (128 << 10, 2 << 20));
    let seconds = [
        parts.tcp.connect_timeout,
        parts.tcp.half_open_timeout,
        parts.tcp.keepalive,
        parts.mappings.udp_idle_timeout,
        parts.mappings.icmp_idle_timeout,
        // Never more than other mappings have.
        parts.mappings.dns_idle_timeout,
    ];
    assert_eq!(seconds, [3, 4, 20, 10, 7, 10].map(Duration::from_secs));
    assert_eq!(configuration.settings.host_keepalive, Some(Duration::from_secs(30)));
    assert_eq!(parts.tcp.refused, RefusedAnswer::Icmp);
    assert_eq!(parts.tcp.congestion, CongestionControl::Bbr);
    assert_eq!(parts.mappings.udp_filtering, Filtering::AddressAndPort);
    let limits = &parts.limits;
    assert_eq!((limits.tcp_flows, limits.udp_flows, limits.icmp_flows), (100, 101, 102));
    assert_eq!(limits.half_open, 100, "a default gives way to what is written");
    assert_eq!(limits.per_peer.of(100), 10);
    assert_eq!(configuration.log_level, LevelFilter::Warn);
}

#[test]
fn a_capture_lies_beside_the_configuration_and_has_an_end() {
    let capture = |lines: &str| {
        let configuration = load_text(&format!("{INTERFACE}[capture]\n{lines}")).unwrap();
        assert_eq!(configuration.origin.capture_line, 5);
        let CaptureFile { file, size_max } = configuration.settings.capture.unwrap();
        let beside = configuration.origin.file.parent().unwrap().to_owned();
        (file.strip_prefix(beside).map(Path::to_owned).unwrap_or(file), size_max)
    };
    assert_eq!(capture("file = \"a.pcap\"\n"), ("a.pcap".into(), 256 << 20));
    assert_eq!(
        capture("file = \"/tmp/a.pcap\"\nsize = \"1MiB\"\n"),
        ("/tmp/a.pcap".into(), 1 << 20)
    );
    assert!(load_text(INTERFACE).unwrap().settings.capture.is_none());
    let missing = faults(&format!("{INTERFACE}[capture]\n"));
    assert!(missing[0].contains("capture.file: missing"), "{missing:?}");
}

#[test]
fn tapes_lie_beside_the_configuration_and_have_an_end() {
    let record = |lines: &str| {
        let configuration = load_text(&format!("{INTERFACE}[record]\n{lines}")).unwrap();
        assert_eq!(configuration.origin.record_line, 5);
        configuration.settings.record.unwrap()
    };
    let tapes = record("file = \"a.tape\"\n");
    assert!(tapes.file.ends_with("a.tape") && tapes.file != Path::new("a.tape"));
    assert_eq!((tapes.size_max, tapes.segments), (256 << 20, 4));
    let tapes = record("file = \"/tmp/a.tape\"\nsize = \"1MiB\"\nsegments = 2\n");
    assert_eq!((tapes.size_max, tapes.segments), (1 << 20, 2));
    assert!(load_text(INTERFACE).unwrap().settings.record.is_none());
}

#[test]
fn every_fault_is_reported_in_the_order_of_the_file() {
    let faults = faults(&format!(
        "{INTERFACE}listen_prot = 3\nmtu = 100\n{}[[forward]]\nlisten = \"x\"\n[log]\nlevel = 3\n",
        peer("allowed_ips = [\"10.0.0.0/33\", \"10.77.0.1\"]")
    ));
    let starts = [
        "slipwire.toml:4: interface.listen_prot: unknown key; did you mean `listen_port`?",
        "slipwire.toml:5: interface.mtu: 100 is out of range; write a number from 576 to 65500",
        "slipwire.toml:8: peer.allowed_ips: \"10.0.0.0/33\" is no address with a prefix; ",
        "slipwire.toml:8: peer.allowed_ips: 10.77.0.1 is our own tunnel address; ",
        "slipwire.toml:9: forward.to: missing; add `to = \"192.168.4.2:80\"` below [[forward]]",
        "slipwire.toml:10: forward.listen: \"x\" has no port; ",
        "slipwire.toml:12: log.level: expected a string, found an integer; ",
    ];
    assert_eq!(faults.len(), starts.len(), "{faults:#?}");
    for (fault, start) in faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}\n{start}");
    }
}

#[test]
fn a_forward_to_nobody_is_only_reported_when_the_peers_are_known() {
    let forward = "[[forward]]\nlisten = \"127.0.0.1:1\"\nto = \"10.1.0.1:80\"\n";
    let sound = faults(&format!("{INTERFACE}{}{forward}", peer("allowed_ips = []")));
    assert_eq!(
        sound,
        ["slipwire.toml:9: forward.to: no peer's allowed_ips contain 10.1.0.1; \
          add it to the allowed_ips of the peer that leads there"]
    );
    let unsound = faults(&format!("{INTERFACE}{}{forward}", peer("allowed_ips = [\"10.1.0/24\"]")));
    assert_eq!(unsound.len(), 1, "{unsound:#?}");
    let elsewhere = peer("allowed_ips = []\npersistent_keepalive = \"often\"");
    let both = faults(&format!("{INTERFACE}{elsewhere}{forward}"));
    assert_eq!(both.len(), 2, "{both:#?}");
}

#[test]
fn a_forward_needs_a_tunnel_address_of_its_ip_version() {
    let forward = "[[forward]]\nlisten = \"127.0.0.1:1\"\nto = \"[fd00::1]:80\"\n";
    let faults = faults(&format!("{INTERFACE}{}{forward}", peer("allowed_ips = [\"::/0\"]")));
    assert_eq!(faults.len(), 1);
    assert!(faults[0].contains("no IPv6 address in the tunnel"), "{faults:?}");
}

#[test]
fn a_forward_to_this_end_itself_leads_nowhere() {
    let forward = "[[forward]]\nlisten = \"127.0.0.1:1\"\nto = \"10.77.0.1:80\"\n";
    for allowed_ips in ["", "\"0.0.0.0/0\""] {
        let peer = peer(&format!("allowed_ips = [{allowed_ips}]"));
        let faults = faults(&format!("{INTERFACE}{peer}{forward}"));
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains("10.77.0.1 is this end of the tunnel itself"), "{faults:?}");
    }
}

#[test]
fn an_inline_key_needs_a_file_that_is_not_open_to_others() {
    let text = format!("[interface]\nprivate_key = \"{OUR_PRIVATE}\"\naddress = [\"10.0.0.1\"]\n");
    let faults = faults(&text);
    assert_eq!(
        faults,
        ["slipwire.toml:2: interface.private_key: slipwire.toml holds a secret and is open to \
          others (mode 0644); run `chmod 600 slipwire.toml`"]
    );
    let directory = tempfile::tempdir().unwrap();
    assert!(load(&write(&directory, "slipwire.toml", &text, 0o600)).is_ok());
}

/// As swarm and Kubernetes mount them, where nobody can change the mode.
#[test]
fn secrets_that_are_shared_may_be_read_by_others_and_changed_by_none() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory, "a.key", OUR_PRIVATE, 0o444);
    write(&directory, "a.psk", OUR_PRIVATE, 0o444);
    let preshared = peer("allowed_ips = []\npreshared_key_file = \"a.psk\"");
    let key = "[interface]\nprivate_key_file = \"a.key\"\naddress = [\"10.0.0.1\"]\n";
    let load = |secrets| {
        let file = write(&directory, "a.toml", &format!("{key}{secrets}{preshared}"), 0o644);
        load(&file).map_err(|error| error.to_string())
    };
    for private in ["", "secrets = \"private\"\n"] {
        assert_eq!(load(private).unwrap_err().lines().count(), 2);
    }
    assert!(load("secrets = \"shared\"\n").is_ok());
    write(&directory, "a.key", OUR_PRIVATE, 0o446);
    let error = load("secrets = \"shared\"\n").unwrap_err();
    assert!(error.contains("a.key holds a secret and can be changed by others"), "{error}");
}

#[test]
fn a_file_that_is_no_toml_names_its_line() {
    let faults = faults("[interface]\nlisten_port =\n[[peer]\n");
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults[0].starts_with("slipwire.toml:2: syntax: "), "{faults:#?}");
    assert!(faults[1].starts_with("slipwire.toml:3: syntax: "), "{faults:#?}");
}

#[test]
fn a_line_that_is_no_toml_is_reported_once() {
    let faults = faults("laptop has :: no = sign [] anywhere\n[interface]\n");
    assert_eq!(faults.len(), 1, "{faults:#?}");
}

#[test]
fn a_key_that_is_there_twice_is_to_be_there_once() {
    let faults = faults(&format!("{INTERFACE}mtu = 1420\nmtu = 1400\n"));
    assert_eq!(
        faults,
        ["slipwire.toml:5: syntax: duplicate key; keep one of those that have this name"]
    );
}

#[test]
fn an_mtu_that_no_datagram_carries_is_cut_down_with_a_warning() {
    let warnings = |mtu: &str| {
        let configuration = load_text(&format!("{INTERFACE}mtu = {mtu}\n")).unwrap();
        assert_eq!(configuration.engine.parts().interface.mtu, 65456);
        configuration.warnings
    };
    assert_eq!(warnings("65456"), [""; 0]);
    let [warning] = &warnings("65500")[..] else { panic!() };
    assert!(warning.contains("slipwire.toml:4: interface.mtu: 65500 is more than "), "{warning}");
    assert!(warning.ends_with("; 65456 is used instead"), "{warning}");
}

#[test]
fn nonsense_is_reported_and_never_a_panic() {
    for text in [
        "",
        "\0",
        "[",
        "[[",
        "interface = 3",
        "peer = 3",
        "peer = [3]",
        "[peer]",
        "[[interface]]",
        "[interface]\naddress = 3",
        "[interface]\naddress = [[[]]]",
        "a.b.c = 1",
        "interface.private_key_file = \"/\"",
        "[limits]\nhalf_open = -1",
    ] {
        assert!(load_text(text).is_err(), "{text:?}");
    }
    let nested = format!("a = {}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(load_text(&nested).is_err());
}

#[test]
fn tables_in_the_wrong_number_are_told_apart() {
    let [once] = &faults(&format!("{INTERFACE}[[gateway]]\n"))[..] else { panic!() };
    assert!(once.contains("gateway: must be one table; write `[gateway]` once"), "{once}");
    let [often] = &faults(&format!("{INTERFACE}[forward]\n"))[..] else { panic!() };
    assert!(often.contains("write `[[forward]]`, with double brackets"), "{often}");
}

#[test]
fn limits_that_contradict_each_other_name_their_line() {
    let faults = faults(&format!("{INTERFACE}[limits]\ntcp_flows = 5\nhalf_open = 6\n"));
    assert_eq!(
        faults,
        ["slipwire.toml:6: limits.half_open: must not exceed limits.tcp_flows; change this value"]
    );
}

#[test]
fn every_configuration_of_the_readme_is_valid() {
    let readme = include_str!("../../../README.md");
    let blocks: Vec<_> =
        readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 5);
    let (whole, part) = blocks.split_at(3);
    for block in whole {
        load_text(block).unwrap();
    }
    load_text(&format!("{INTERFACE}{}", part[0])).unwrap();
}

fn with_rules(rules: &str) -> String {
    let laptop = peer("name = \"laptop\"\nallowed_ips = [\"10.77.0.2/32\"]");
    format!("{INTERFACE}{laptop}[gateway]\n{rules}")
}

#[test]
fn rules_are_read_in_order() {
    let configuration = load_text(&with_rules(
        "[[rule]]\nfrom = [\"laptop\", \"10.77.0.0/28\"]\nprotocol = [\"tcp\"]\n\
         to = [\"10.0.0.0/8\"]\nport = [443, \"8000-8999\"]\naction = \"redirect\"\n\
         target = \"127.0.0.1:8443\"\nproxy_protocol = \"v2\"\n\
         [[rule]]\naction = \"redirect\"\ntarget = \"unix:web.sock\"\n\
         [[rule]]\naction = \"drop\"\n",
    ))
    .unwrap();
    let rules = &configuration.engine.parts().gateway.as_ref().unwrap().rules;
    assert_eq!(rules.len(), 3);
    let laptop = Source::Peer(configuration.engine.parts().peers[0].public_key);
    assert_eq!(rules[0].from, [laptop, Source::Prefix("10.77.0.0/28".parse().unwrap())]);
    assert_eq!(rules[0].ports, [443..=443, 8000..=8999]);
    let target = RedirectTarget::Address("127.0.0.1:8443".parse().unwrap());
    assert_eq!(rules[0].action, RuleAction::Redirect { target, proxy_protocol: ProxyProtocol::V2 });
    let RuleAction::Redirect { target: RedirectTarget::Unix(path), .. } = &rules[1].action else {
        panic!("{:?}", rules[1]);
    };
    assert!(path.is_absolute() && path.ends_with("web.sock"), "relative to the file");
    assert_eq!(configuration.origin.rule_lines, [9, 17, 20]);
}

#[test]
fn every_bad_rule_is_reported_with_its_line_and_mend() {
    let expected = [
        ("from = [\"laptpo\"]\naction = \"drop\"", 10, "did you mean \"laptop\"?"),
        ("action = \"redirect\"", 9, "add `target = "),
        ("port = [\"9000-8000\"]\naction = \"drop\"", 10, "write it as \"8000-9000\""),
        (
            "protocol = [\"udp\"]\naction = \"relay\"\nproxy_protocol = \"v2\"",
            12,
            "set protocol = [\"tcp\"]",
        ),
        ("protocol = [\"icmp\"]\nport = [1]\naction = \"drop\"", 10, "ICMP has no ports"),
        ("action = \"drop\"\ntarget = \"127.0.0.1:1\"", 11, "take it out"),
        ("action = \"drop\"\nproxy_protocol = \"v1\"", 11, "take it out"),
        ("to = [\"*.example.com\"]\naction = \"drop\"", 10, "needs the built-in DNS"),
        ("from = []\naction = \"drop\"", 10, "take the key out"),
        ("action = \"redirect\"\ntarget = \"0.0.0.0:53\"", 11, "127.0.0.1"),
        ("from = [\"laptop\"]", 9, "add `action = "),
        ("action = \"allow\"", 10, "write one of"),
    ];
    for (rule, line, mend) in expected {
        let faults = faults(&with_rules(&format!("[[rule]]\n{rule}\n")));
        assert_eq!(faults.len(), 1, "{rule}: {faults:?}");
        assert!(faults[0].starts_with(&format!("slipwire.toml:{line}: rule")), "{faults:?}");
        assert!(faults[0].contains(mend), "{faults:?}");
    }
}

#[test]
fn rules_without_a_gateway_are_pointless() {
    let faults = faults(&format!("{INTERFACE}[[rule]]\naction = \"drop\"\n"));
    assert_eq!(faults.len(), 1);
    assert!(faults[0].contains("add a [gateway] table"), "{faults:?}");
}

#[test]
fn a_rule_that_can_never_match_is_a_warning() {
    let warnings = |rules: &str| load_text(&with_rules(rules)).unwrap().warnings;
    let shadowed = warnings(
        "[[rule]]\nto = [\"10.0.0.0/8\"]\naction = \"drop\"\n\
         [[rule]]\nto = [\"10.1.0.0/16\"]\naction = \"relay\"\n",
    );
    assert_eq!(shadowed.len(), 1);
    assert!(shadowed[0].contains("rule 2 can never match; rule 1 of line 9"), "{shadowed:?}");
    let nobody = warnings("[[rule]]\nfrom = [\"192.168.0.0/16\"]\naction = \"drop\"\n");
    assert!(nobody[0].contains("no peer's allowed_ips"), "{nobody:?}");
}
