//! What people bring along from wg, wg-quick and other systems gets the message that they need.

use super::*;

#[test]
fn a_file_of_wg_quick_says_so_in_one_line() {
    let file = format!(
        "# home\n[Interface]\nPrivateKey = {OUR_PRIVATE}\nAddress = 10.0.0.2/32, fd00::2/128\n\
         DNS = 9.9.9.9\n\n[Peer]\nPublicKey = {PEER_PUBLIC}\nAllowedIPs = 0.0.0.0/0\n"
    );
    let [fault] = &faults(&file)[..] else { panic!("{:#?}", faults(&file)) };
    assert!(fault.starts_with("slipwire.toml:3: PrivateKey: this file is in the form of wg-quick"));
    assert!(fault.contains("; write it as TOML: "), "{fault}");
    assert!(!fault.contains(&OUR_PRIVATE[..8]), "{fault}");
}

#[test]
fn words_of_wg_quick_say_what_to_do_instead() {
    for (line, mend) in [
        ("dns = [\"9.9.9.9\"]", "take it out: the resolver of this host stays as it is"),
        ("DNS = \"9.9.9.9\"", "take it out: the resolver of this host stays as it is"),
        ("table = \"off\"", "take it out: no route of this host changes"),
        ("post_up = \"true\"", "ExecStartPost="),
        ("PreDown = \"true\"", "take it out: no network interface is made"),
        ("save_config = true", "slipwire never writes to this file"),
        ("fwmark = 51820", "no packet needs a mark"),
    ] {
        let [fault] = &faults(&format!("{INTERFACE}{line}\n"))[..] else { panic!("{line}") };
        assert!(fault.starts_with("slipwire.toml:4: interface."), "{fault}");
        assert!(fault.contains(": unknown key; ") && fault.contains(mend), "{fault}");
    }
}

#[test]
fn values_in_the_spelling_of_wg_say_how_they_are_written_here() {
    let peer = |line: &str| format!("{INTERFACE}{}", peer(line));
    for (file, mend) in [
        (
            peer("allowed_ips = \"10.77.0.2/32, fd77::2/128\""),
            "put it in brackets: allowed_ips = [\"10.77.0.2/32\", \"fd77::2/128\"]",
        ),
        (
            peer("allowed_ips = [\"10.77.0.2/32, fd77::2/128\"]"),
            "give each its own quotes: allowed_ips = [\"10.77.0.2/32\", \"fd77::2/128\"]",
        ),
        (
            peer("allowed_ips = []\npersistent_keepalive = \"off\""),
            "\"off\" is wg's word for 0; write 0, without quotes",
        ),
        (
            peer("allowed_ips = []\npersistent_keepalive = \"25\""),
            "expected an integer, found a string; write it as 25, without quotes",
        ),
        (format!("{INTERFACE}listen_port = 0\n"), "0 is no port; take the key out: without it"),
        (
            format!("{INTERFACE}[gateway]\n[[rule]]\naction = \"drop\"\nport = 443\n"),
            "put it in brackets: port = [443]",
        ),
        (
            format!("{INTERFACE}[gateway]\n[[rule]]\naction = \"drop\"\nfrom = [\"a, b\"]\n"),
            "give each its own quotes: from = [\"a\", \"b\"]",
        ),
    ] {
        let [fault] = &faults(&file)[..] else { panic!("{:#?}", faults(&file)) };
        assert!(fault.contains(mend), "{fault}");
    }
}

#[test]
fn a_key_in_hexadecimal_says_how_to_turn_it_into_base64() {
    let hex = "77076d0a7318a57d3c16c17251b26645df4c2f87ec0992aafb77a57d2cb92c2a";
    let public = format!("{INTERFACE}[[peer]]\npublic_key = \"{hex}\"\nallowed_ips = []\n");
    let [fault] = &faults(&public)[..] else { panic!("{:#?}", faults(&public)) };
    assert!(fault.starts_with("slipwire.toml:5: peer.public_key: the key is hexadecimal; "));
    assert!(fault.ends_with("xxd -r -p | base64`"), "{fault}");
    let directory = tempfile::tempdir().unwrap();
    write(&directory, "slip0.key", &format!("{hex}\n"), 0o600);
    let error = load(&write(&directory, "slipwire.toml", INTERFACE, 0o600)).unwrap_err();
    assert!(error.to_string().contains("slip0.key is hexadecimal; "), "{error}");
    assert!(!error.to_string().contains(&hex[..8]), "{error}");
}

#[test]
fn a_byte_order_mark_is_no_fault() {
    assert!(load_text(&format!("\u{feff}{INTERFACE}")).is_ok());
    let wg_quick = format!("\u{feff}[Interface]\r\nPrivateKey = {OUR_PRIVATE}\r\n");
    assert!(faults(&wg_quick)[0].contains("the form of wg-quick"));
}
