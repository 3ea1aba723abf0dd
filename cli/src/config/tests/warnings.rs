//! What is valid but hardly meant is a warning: the configuration runs as it is written.

use super::*;

fn warnings(text: &str) -> Vec<String> {
    load_text(text).unwrap().warnings
}

#[test]
fn bits_of_a_host_behind_a_prefix_are_cut_off_with_a_warning() {
    let [warning] =
        &warnings(&format!("{INTERFACE}{}", peer("allowed_ips = [\"10.77.0.7/24\"]")))[..]
    else {
        panic!()
    };
    assert!(
        warning.contains("slipwire.toml:6: peer.allowed_ips: 10.77.0.7/24 has bits"),
        "{warning}"
    );
    assert!(
        warning.ends_with("; 10.77.0.0/24 is used; for the address alone write \"10.77.0.7/32\""),
        "{warning}"
    );
    for (lines, key) in [
        ("overlay_exclude = [\"10.9.0.1/16\"]", "gateway.overlay_exclude"),
        ("[[rule]]\naction = \"drop\"\nto = [\"fd00::1/8\"]", "rule.to"),
        ("[[rule]]\naction = \"drop\"\nfrom = [\"10.77.0.3/24\"]", "rule.from"),
    ] {
        let warnings = warnings(&with_rules(&format!("{lines}\n")));
        assert!(warnings[0].contains(&format!(": {key}: ")), "{warnings:?}");
    }
}

#[test]
fn a_tunnel_address_that_is_no_hosts_is_a_warning() {
    let with = |address: &str| warnings(&INTERFACE.replace("10.77.0.1/24", address));
    for address in ["10.0.0.0/24", "10.0.0.255/24", "fd77::/64"] {
        let [warning] = &with(address)[..] else { panic!("{address}") };
        assert!(warning.contains("slipwire.toml:3: interface.address: "), "{warning}");
    }
    assert_eq!(with("10.0.0.0/31"), [""; 0]);
}

#[test]
fn a_peer_without_allowed_ips_is_a_warning() {
    let [warning] = &warnings(&format!("{INTERFACE}{}", peer("allowed_ips = []")))[..] else {
        panic!()
    };
    assert!(warning.contains("slipwire.toml:6: peer.allowed_ips: is empty; nothing"), "{warning}");
}

#[test]
fn a_gateway_that_can_only_call_keeps_the_path_open() {
    let office = |more: &str, port: &str| {
        let endpoint = "allowed_ips = [\"10.77.0.2/32\"]\nendpoint = \"192.0.2.1:51820\"\n";
        format!("{INTERFACE}{port}\n{}{more}", peer(endpoint))
    };
    let [warning] = &warnings(&office("[gateway]\n", ""))[..] else { panic!() };
    assert!(
        warning.contains("slipwire.toml:8: peer.endpoint: \"3p7bfXt9\" reaches this gateway only")
    );
    assert!(warning.ends_with("; write persistent_keepalive = 25 for this peer"), "{warning}");
    let kept_open = "persistent_keepalive = 25\n[gateway]\n";
    for sound in [office(kept_open, ""), office("", "")] {
        assert_eq!(warnings(&sound), [""; 0]);
    }
}
