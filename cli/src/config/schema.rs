//! Every table and key that a configuration knows, and the nearest one to a key that it does not.

use super::foreign::{self, plain};

/// How often a table may stand in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Occurs {
    /// `[table]`, at most once.
    Once,
    /// `[[table]]`, any number of times.
    Often,
}

/// One table.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) name: &'static str,
    pub(crate) occurs: Occurs,
    pub(crate) keys: &'static [&'static str],
}

pub(crate) const INTERFACE: Schema = Schema {
    name: "interface",
    occurs: Occurs::Once,
    keys: &[
        "name",
        "private_key",
        "private_key_file",
        "secrets",
        "listen_port",
        "listen_address",
        "address",
        "mtu",
    ],
};

pub(crate) const PEER: Schema = Schema {
    name: "peer",
    occurs: Occurs::Often,
    keys: &[
        "name",
        "public_key",
        "preshared_key",
        "preshared_key_file",
        "allowed_ips",
        "endpoint",
        "persistent_keepalive",
    ],
};

pub(crate) const FORWARD: Schema =
    Schema { name: "forward", occurs: Occurs::Often, keys: &["name", "protocol", "listen", "to"] };

pub(crate) const GATEWAY: Schema = Schema {
    name: "gateway",
    occurs: Occurs::Once,
    keys: &["default", "peer_to_peer", "overlay_exclude"],
};

pub(crate) const RULE: Schema = Schema {
    name: "rule",
    occurs: Occurs::Often,
    keys: &["from", "protocol", "to", "port", "action", "target", "proxy_protocol"],
};

pub(crate) const TCP: Schema = Schema {
    name: "tcp",
    occurs: Occurs::Once,
    keys: &[
        "receive_buffer",
        "send_buffer",
        "connect_timeout",
        "idle_timeout",
        "half_open_timeout",
        "keepalive",
        "host_keepalive",
        "refused",
        "congestion",
    ],
};

pub(crate) const UDP: Schema =
    Schema { name: "udp", occurs: Occurs::Once, keys: &["idle_timeout", "filtering"] };

pub(crate) const ICMP: Schema =
    Schema { name: "icmp", occurs: Occurs::Once, keys: &["idle_timeout"] };

pub(crate) const LIMITS: Schema = Schema {
    name: "limits",
    occurs: Occurs::Once,
    keys: &["tcp_flows", "udp_flows", "icmp_flows", "half_open", "per_peer", "memory"],
};

pub(crate) const CAPTURE: Schema =
    Schema { name: "capture", occurs: Occurs::Once, keys: &["file", "size"] };

pub(crate) const RECORD: Schema =
    Schema { name: "record", occurs: Occurs::Once, keys: &["file", "size", "segments"] };

pub(crate) const LOG: Schema = Schema { name: "log", occurs: Occurs::Once, keys: &["level"] };

/// Every table, in the order of the documentation.
pub(crate) const ALL: [&Schema; 12] = [
    &INTERFACE, &PEER, &FORWARD, &GATEWAY, &RULE, &TCP, &UDP, &ICMP, &LIMITS, &CAPTURE, &RECORD,
    &LOG,
];

impl Schema {
    /// The table's header as it is written in a file.
    pub(crate) fn header(&self) -> String {
        match self.occurs {
            Occurs::Once => format!("[{}]", self.name),
            Occurs::Often => format!("[[{}]]", self.name),
        }
    }

    /// A key as messages name it: with its table.
    pub(crate) fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    /// What to do about a key that this table does not know.
    pub(crate) fn mend_unknown(&self, key: &str) -> String {
        if let Some(mend) = foreign::instead_of(key) {
            return mend.to_owned();
        }
        if let Some(near) = nearest(key, self.keys.iter().copied()) {
            return format!("did you mean `{near}`?");
        }
        elsewhere(key).unwrap_or_else(|| format!("{} has {}", self.header(), self.keys.join(", ")))
    }
}

/// What to do about something at the top of a file that is no table of ours.
pub(crate) fn mend_unknown_table(name: &str) -> String {
    if let Some(near) = nearest(name, ALL.iter().map(|schema| schema.name)) {
        let header = ALL.iter().find(|schema| schema.name == near).map(|schema| schema.header());
        return format!("did you mean `{}`?", header.unwrap_or_default());
    }
    elsewhere(name).unwrap_or_else(|| {
        let headers: Vec<_> = ALL.iter().map(|schema| schema.header()).collect();
        format!("the tables are {}", headers.join(", "))
    })
}

fn elsewhere(key: &str) -> Option<String> {
    let home = ALL.iter().find(|schema| schema.keys.contains(&key))?;
    Some(format!("it belongs below {}", home.header()))
}

/// The known word that `word` was probably meant to be: the same in plain, or a slip or two of the
/// fingers away.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let word = plain(word);
    let slips = if word.len() < 5 { 1 } else { 2 };
    known
        .map(|known| (strsim::osa_distance(&word, &plain(known)), known))
        .filter(|(distance, _)| *distance <= slips)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_is_recognised() {
        assert_eq!(INTERFACE.mend_unknown("listen_prot"), "did you mean `listen_port`?");
        assert_eq!(PEER.mend_unknown("allowed_ip"), "did you mean `allowed_ips`?");
        assert_eq!(mend_unknown_table("peers"), "did you mean `[[peer]]`?");
        assert_eq!(mend_unknown_table("gatway"), "did you mean `[gateway]`?");
    }

    #[test]
    fn the_spelling_of_wg_is_recognised() {
        assert_eq!(PEER.mend_unknown("AllowedIPs"), "did you mean `allowed_ips`?");
        assert_eq!(INTERFACE.mend_unknown("PrivateKey"), "did you mean `private_key`?");
        assert_eq!(mend_unknown_table("Interface"), "did you mean `[interface]`?");
    }

    #[test]
    fn a_key_of_another_table_is_sent_home() {
        assert_eq!(INTERFACE.mend_unknown("endpoint"), "it belongs below [[peer]]");
        assert_eq!(mend_unknown_table("listen_port"), "it belongs below [interface]");
    }

    #[test]
    fn a_stranger_is_told_what_there_is() {
        assert_eq!(UDP.mend_unknown("colour"), "[udp] has idle_timeout, filtering");
        assert!(mend_unknown_table("colour").starts_with("the tables are [interface], [[peer]]"));
    }
}
