//! What people bring along from wg and wg-quick: whole files in their form, and their words.

/// Keys of which every file in wg-quick's form has one, without the underscores that they have
/// here.
const KEYS: [&str; 3] = ["privatekey", "publickey", "allowedips"];

/// The words of wg-quick for what is done to the host, which slipwire leaves alone, and what to do
/// instead.
const WORDS: [(&str, &str); 9] = [
    (
        "dns",
        "take it out: the resolver of this host stays as it is; a [[forward]] of protocol \"udp\" \
         can lead to one behind a peer",
    ),
    (
        "table",
        "take it out: no route of this host changes; only what [[forward]] leads there goes \
         through the tunnel",
    ),
    ("preup", COMMAND),
    ("postup", COMMAND),
    ("predown", COMMAND),
    ("postdown", COMMAND),
    ("saveconfig", "take it out: slipwire never writes to this file"),
    ("fwmark", "take it out: no route of this host changes, so that no packet needs a mark"),
    ("routeallowedips", "take it out: no route of this host changes"),
];

const COMMAND: &str = "take it out: no network interface is made and no command run; what starts \
                       slipwire can run them, systemd by ExecStartPost= for example";

/// A line of a file that is in wg-quick's form.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct WgQuick<'t> {
    /// Where it stands.
    pub(super) offset: usize,
    /// Its key.
    pub(super) key: &'t str,
}

/// Finds the first line that shows that a text is in wg-quick's form, and not TOML with a slip in
/// it: a key as only wg-quick spells it, with a value without quotes.
pub(super) fn wg_quick(text: &str) -> Option<WgQuick<'_>> {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim(), value.trim_start());
            let is_bare =
                value.starts_with(|c: char| c.is_ascii_alphanumeric() || "+/:".contains(c));
            if is_bare && KEYS.iter().any(|known| known.eq_ignore_ascii_case(key)) {
                return Some(WgQuick { offset, key });
            }
        }
        offset += line.len();
    }
    None
}

/// A word without case and punctuation: `AllowedIPs`, as wg writes it, is `allowed_ips`.
pub(super) fn plain(word: &str) -> String {
    word.replace(['_', '-'], "").to_lowercase()
}

/// What to do about a key of wg-quick's that has no place here.
pub(super) fn instead_of(key: &str) -> Option<&'static str> {
    let key = plain(key);
    WORDS.iter().find(|(word, _)| *word == key).map(|(_, mend)| *mend)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_wg_quick_is_told_by_values_without_quotes() {
        let file = "# home\n[Interface]\r\nListenPort = 51820\r\nPrivateKey = abc=\r\n";
        let offset = file.find("PrivateKey").unwrap();
        assert_eq!(wg_quick(file), Some(WgQuick { offset, key: "PrivateKey" }));
        for line in ["publickey=abc=", "AllowedIPs = ::/0", "  PRIVATEKEY = +bc="] {
            assert!(wg_quick(&format!("[interface]\n{line}\n")).is_some(), "{line}");
        }
        for toml in [
            "",
            "private_key = abc=",
            "PrivateKey = \"abc=\"",
            "AllowedIPs = [\"::/0\"]",
            "# PrivateKey = abc=",
            "PrivateKey =",
            "address = 10.0.0.1/24",
        ] {
            assert_eq!(wg_quick(toml), None, "{toml}");
        }
    }

    #[test]
    fn every_spelling_of_a_word_is_known() {
        for key in ["PostUp", "post_up", "postup", "DNS", "dns", "SaveConfig", "fwmark", "FwMark"] {
            assert!(instead_of(key).is_some_and(|mend| mend.contains("take it out")), "{key}");
        }
        assert_eq!(instead_of("colour"), None);
    }
}
