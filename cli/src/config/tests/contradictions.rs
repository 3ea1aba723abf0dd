//! What core finds between the parts of a file is told with key, line and mend, to the letter.

use slipwire_core::config::MEMORY_MIN;
use slipwire_core::rules::RULES_MAX;

use super::*;

/// Checks the faults of what stands behind [`INTERFACE`], from line 4 on.
fn expect(text: &str, expected: &[&str]) {
    let faults = faults(&format!("{INTERFACE}{text}"));
    let lines: Vec<_> = expected.iter().map(|line| format!("slipwire.toml:{line}")).collect();
    assert_eq!(faults, lines);
}

#[test]
fn an_mtu_without_room_for_ipv6() {
    let text = INTERFACE.replace("10.77.0.1/24", "fd77::1/64");
    assert_eq!(
        faults(&format!("{text}mtu = 1279\n")),
        [
            "slipwire.toml:4: interface.mtu: MTU 1279 is too small for the IPv6 address of the tunnel: \
          at least 1280; set mtu = 1280 or more, or remove the IPv6 addresses"
        ]
    );
}

#[test]
fn peers_that_claim_what_others_have() {
    let two = |rest: &str| {
        let first = peer("name = \"a\"\nallowed_ips = [\"10.77.0.2/32\"]");
        format!("{first}{}", peer(rest))
    };
    expect(
        &two("name = \"a\"\nallowed_ips = [\"10.77.0.2/32\", \"10.77.0.1/32\"]"),
        &[
            "9: peer.public_key: another peer has this public key (line 5); remove one of the two, or \
             give each its own key",
            "10: peer.name: another peer has this name (line 6); give each peer its own name",
            "11: peer.allowed_ips: 10.77.0.2/32 already belongs to peer \"a\" (line 7); keep it at one \
             of them, or make one of the prefixes longer",
            "11: peer.allowed_ips: 10.77.0.1 is our own tunnel address; write the peer's address, which \
             is another one",
        ],
    );
    expect(
        &format!("[[peer]]\npublic_key = \"{OUR_PUBLIC}\"\nallowed_ips = [\"10.77.0.2/32\"]\n"),
        &["5: peer.public_key: this is our own public key; put the other end's public key here"],
    );
}

#[test]
fn rules_that_contradict_themselves() {
    let redirect = "action = \"redirect\"\ntarget = ";
    expect(
        &format!(
            "[gateway]\n\
             [[rule]]\nprotocol = [\"udp\"]\naction = \"relay\"\nproxy_protocol = \"v1\"\n\
             [[rule]]\n{redirect}\"224.0.0.1:80\"\n\
             [[rule]]\nprotocol = [\"udp\"]\n{redirect}\"unix:/run/x\"\n"
        ),
        &[
            "8: rule.proxy_protocol: the PROXY protocol is for TCP; set protocol = [\"tcp\"]",
            "11: rule.target: the target is no single host; write its address, 127.0.0.1 or [::1] for \
             this one",
            "13: rule.protocol: no flow can match; ICMP has no ports and can't be redirected, and a \
             Unix socket takes TCP only",
        ],
    );
    let rules = "[[rule]]\naction = \"drop\"\n".repeat(RULES_MAX + 1);
    let last = 5 + 2 * RULES_MAX;
    expect(
        &format!("[gateway]\n{rules}"),
        &[&format!("{last}: rule: 65537 rules are too many: 65536 at most; write fewer")],
    );
}

#[test]
fn limits_that_contradict_each_other() {
    assert_eq!(MEMORY_MIN, 1 << 20);
    expect(
        "[limits]\nhalf_open = 16385\nmemory = \"1023KiB\"\n",
        &[
            "5: limits.half_open: must not exceed limits.tcp_flows; change this value",
            "6: limits.memory: must be at least 1MiB; change this value",
        ],
    );
}
