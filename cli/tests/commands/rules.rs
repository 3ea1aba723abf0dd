//! Rules: what `check` shows and warns of, what `check --explain` says, and the count that is
//! ready.

use std::net::UdpSocket;

use tempfile::TempDir;

use crate::program::{BOB_PUBLIC, Ended, Running, directory_with, slipwire};

/// Two peers, a gateway, and no rules yet. The last line is line 14.
fn configuration(rules: &str) -> String {
    format!(
        "[interface]\nprivate_key_file = \"slip0.key\"\naddress = [\"10.77.0.1/24\"]\n\
         listen_address = [\"127.0.0.1\"]\n\
         [[peer]]\nname = \"laptop\"\npublic_key = \"{BOB_PUBLIC}\"\n\
         allowed_ips = [\"10.77.0.2/32\", \"192.168.4.0/24\"]\n\
         [[peer]]\nname = \"office\"\n\
         public_key = \"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\"\n\
         allowed_ips = [\"10.77.0.3/32\"]\n[gateway]\ndefault = \"relay\"\n{rules}"
    )
}

/// Rules of lines 15, 20, 25, 29, 32 and 36.
const RULES: &str = r#"[[rule]]
protocol = ["tcp"]
port = [443, "8000-8999"]
action = "redirect"
target = "127.0.0.1:8443"
[[rule]]
to = ["10.77.0.1"]
port = [2222]
action = "redirect"
target = "unix:/run/ssh.sock"
[[rule]]
from = ["laptop", "10.77.0.0/28"]
to = ["10.0.0.0/8"]
action = "relay"
[[rule]]
to = ["10.0.0.0/8"]
action = "reject"
[[rule]]
protocol = ["udp", "icmp"]
to = ["192.0.2.0/24"]
action = "drop"
[[rule]]
protocol = ["tcp"]
to = ["127.0.0.1"]
action = "relay"
proxy_protocol = "v2"
"#;

fn explain(directory: &TempDir, flow: &str) -> Ended {
    slipwire(directory.path(), &["check", "--explain", flow])
}

/// What is said of a flow, line by line without indentation.
fn explained(flow: &str) -> Vec<String> {
    let ended = explain(&directory_with(&configuration(RULES)), flow);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{flow}");
    ended.stdout.lines().map(|line| line.trim_start().to_owned()).collect()
}

#[test]
fn check_shows_the_rules_in_order() {
    let ended = slipwire(directory_with(&configuration(RULES)).path(), &["check"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let (_, table) = ended.stdout.split_once("\nrules").unwrap();
    let lines: Vec<_> = table.lines().map(str::trim_start).collect();
    let expected = [
        "1  tcp port 443, 8000-8999 -> redirect to 127.0.0.1:8443",
        "2  any protocol to 10.77.0.1/32 port 2222 -> redirect to unix:/run/ssh.sock",
        "3  any protocol from laptop, 10.77.0.0/28 to 10.0.0.0/8 -> relay",
        "4  any protocol to 10.0.0.0/8 -> reject",
        "5  udp, icmp to 192.0.2.0/24 -> drop",
        "6  tcp to 127.0.0.1/32 -> relay with PROXY protocol v2",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn check_warns_of_rules_that_never_match() {
    let rules = "[[rule]]\nport = [\"1-1023\"]\naction = \"reject\"\n\
                 [[rule]]\nprotocol = [\"tcp\"]\nport = [22]\naction = \"relay\"\n\
                 [[rule]]\nfrom = [\"172.16.0.0/12\"]\naction = \"drop\"\n";
    let ended = slipwire(directory_with(&configuration(rules)).path(), &["check"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let warnings: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(warnings.len(), 2, "{ended:?}");
    for (warning, (start, reason)) in warnings.into_iter().zip([
        ("slipwire.toml:18: rule: ", "rule 1 of line 15 takes all that it is for"),
        ("slipwire.toml:22: rule: ", "no peer's allowed_ips have anything of its `from`"),
    ]) {
        assert!(warning.starts_with(start) && warning.ends_with(reason), "{warning}");
    }
}

#[test]
fn explain_names_the_rule_its_line_and_why_no_other() {
    assert_eq!(
        explained("tcp laptop 10.0.0.5:22"),
        [
            "tcp of laptop (10.77.0.2) to 10.0.0.5:22",
            "rule 3 (line 25) decides: any protocol from laptop, 10.77.0.0/28 to 10.0.0.0/8 -> relay",
            "-> it reaches 10.0.0.5:22",
            "rule 1 does not match: it is for other ports",
            "rule 2 does not match: it is for other destinations (to)",
        ]
    );
}

#[test]
fn explain_says_what_becomes_of_each_flow() {
    for (flow, outcome) in [
        ("tcp laptop 8.8.8.8:443", "-> it reaches 127.0.0.1:8443"),
        ("tcp 10.77.0.2 10.77.0.1:2222", "-> it reaches unix:/run/ssh.sock"),
        ("tcp office 10.77.0.1:2223", "behind our own address is only what rules redirect"),
        ("udp laptop 192.0.2.1:53", "-> not answered"),
        ("icmp laptop 192.0.2.1", "-> not answered"),
        ("icmp laptop 10.77.0.1", "-> slipwire itself answers"),
        ("tcp laptop 127.0.0.1:80", "-> it reaches 127.0.0.1:80"),
        ("udp laptop 127.0.0.1:80", "-> refused: the destination is this host itself"),
        ("udp laptop 9.9.9.9:53", "-> it reaches 9.9.9.9:53: the gateway's default is relay"),
        ("tcp office 192.168.4.2:80", "-> refused: the destination is in the allowed_ips"),
    ] {
        let lines = explained(flow);
        assert!(lines.iter().any(|line| line.contains(outcome)), "{flow}: {lines:#?}");
    }
    let from_elsewhere = explained("tcp 192.168.4.7 10.0.0.5:22");
    assert_eq!(from_elsewhere[0], "tcp of laptop (192.168.4.7) to 10.0.0.5:22");
}

/// Connecting a socket of UDP sends nothing; it finds out which of this host's addresses leads out.
#[test]
fn explain_knows_the_addresses_of_this_host() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let Ok(()) = socket.connect("198.51.100.1:9") else { return };
    let own = socket.local_addr().unwrap().ip();
    for flow in [format!("tcp laptop {own}:80"), format!("icmp laptop {own}")] {
        let ended = explain(&directory_with(&configuration("")), &flow);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let refused = "-> refused: the destination is this host itself";
        assert!(ended.stdout.contains(refused), "{flow}: {ended:?}");
    }
    let named = format!("[[rule]]\nto = [\"{own}\"]\naction = \"relay\"\n");
    let ended = explain(&directory_with(&configuration(&named)), &format!("tcp laptop {own}:80"));
    assert!(ended.stdout.contains(&format!("-> it reaches {own}:80")), "{ended:?}");
}

#[test]
fn explain_counts_what_it_does_not_list() {
    let rule = |port| format!("[[rule]]\nport = [{port}]\naction = \"reject\"\n");
    let rules: String = (1..=40).map(rule).collect();
    let ended = explain(&directory_with(&configuration(&rules)), "tcp laptop 8.8.8.8:443");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("\n  no rule matches\n"), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("\n  nor do 24 more\n"), "{}", ended.stdout);
}

#[test]
fn a_question_that_makes_no_sense_is_wrong_usage() {
    let directory = directory_with(&configuration(RULES));
    for (flow, told) in [
        ("", "PROTOCOL PEER DESTINATION"),
        ("tcp laptop", "PROTOCOL PEER DESTINATION"),
        ("sctp laptop 8.8.8.8:443", "write tcp, udp or icmp"),
        ("tcp desktop 8.8.8.8:443", "the peers are laptop, office"),
        ("tcp 10.99.0.1 8.8.8.8:443", "no peer's allowed_ips contain 10.99.0.1"),
        ("tcp laptop 8.8.8.8", "is no destination"),
        ("tcp laptop 8.8.8.8:0", "is no destination"),
        ("icmp laptop 8.8.8.8:443", "is no destination"),
        ("tcp laptop example.com:443", "is no destination"),
        ("tcp laptop [2001:db8::1]:443", "no inner address of the IP version"),
    ] {
        let ended = explain(&directory, flow);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{flow}");
        assert!(ended.stderr.contains(told), "{flow}: {ended:?}");
        assert!(ended.stderr.contains("slipwire check --help"), "{flow}: {ended:?}");
    }
    let twice = ["check", "--explain", "a", "--explain", "b"];
    for arguments in [&["check", "--explain"][..], &twice] {
        assert_eq!(slipwire(directory.path(), arguments).code, Some(2), "{arguments:?}");
    }
}

#[test]
fn nothing_is_explained_of_what_is_broken() {
    let broken = configuration("[[rule]]\nfrom = [\"lapdog\"]\naction = \"reject\"\n");
    let ended = explain(&directory_with(&broken), "tcp laptop 8.8.8.8:443");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    let start = "slipwire.toml:16: rule.from: ";
    assert!(ended.stderr.starts_with(start), "{ended:?}");
    assert!(ended.stderr.contains("did you mean \"laptop\"?"), "{ended:?}");
}

#[test]
fn bad_rules_have_a_line_and_a_mend() {
    for (rule, line, key, mend) in [
        ("action = \"redirect\"\n", 15, "rule.target", "target = "),
        ("action = \"reject\"\nport = [\"9-8\"]\n", 17, "rule.port", "write it as \"8-9\""),
        (
            "protocol = [\"udp\"]\naction = \"relay\"\nproxy_protocol = \"v1\"\n",
            18,
            "rule.proxy_protocol",
            "protocol = [\"tcp\"]",
        ),
        ("action = \"reject\"\nto = []\n", 17, "rule.to", "take the key out"),
        ("action = \"reject\"\ntarget = \"10.0.0.1:1\"\n", 17, "rule.target", "take it out"),
    ] {
        let broken = configuration(&format!("[[rule]]\n{rule}"));
        let ended = slipwire(directory_with(&broken).path(), &["check"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{rule}");
        let start = format!("slipwire.toml:{line}: {key}: ");
        assert!(ended.stderr.starts_with(&start) && ended.stderr.contains(mend), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}

#[test]
fn the_ready_line_counts_the_rules() {
    let one = "[[rule]]\naction = \"reject\"\n";
    for (rules, count) in [("", "0 rules"), (one, "1 rule;"), (RULES, "6 rules")] {
        let directory = directory_with(&configuration(rules));
        let line = Running::start(directory.path(), &["run"]).message("ready");
        assert!(line.contains(count), "{count}: {line}");
    }
}
