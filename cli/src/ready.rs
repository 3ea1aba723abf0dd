//! The line that says that everything runs: on what, for whom, and what does not and why.

use std::fmt::Display;
use std::io;

use slipwire_core::Config;
use slipwire_driver::{Driver, Forward};

/// Describes a driver that has just started.
pub(crate) fn line(interface_name: &str, engine: &Config, driver: &Driver) -> String {
    let parts = engine.parts();
    let mut line = format!(
        "ready: {interface_name} listens on {}; {}, {}, {}",
        join(driver.local_addresses(), " and "),
        count(parts.peers.len(), "peer"),
        describe_forwards(driver.forwards().map(|(_, forward)| forward)),
        count(parts.gateway.as_ref().map_or(0, |gateway| gateway.rules.len()), "rule"),
    );
    match &parts.gateway {
        None => line.push_str("; gateway off: no [gateway] in the configuration"),
        Some(gateway) => {
            line.push_str("; gateway on");
            if !gateway.peer_to_peer {
                line.push_str(", peer to peer off: not configured");
            }
            line.push_str(&describe_icmp(driver.ping_v4(), driver.ping_v6()));
        }
    }
    line
}

fn describe_forwards<'a>(forwards: impl Iterator<Item = &'a Forward>) -> String {
    let place = |forward: &Forward| format!("{} {}", forward.protocol, forward.listen);
    let places: Vec<String> = forwards.map(place).collect();
    let number = count(places.len(), "forward");
    if places.is_empty() { number } else { format!("{number} ({})", places.join(", ")) }
}

fn describe_icmp(v4: Result<(), &io::Error>, v6: Result<(), &io::Error>) -> String {
    match (v4, v6) {
        (Ok(()), Ok(())) => String::new(),
        (Err(why), Ok(())) => format!(", icmp off for IPv4: {why}"),
        (Ok(()), Err(why)) => format!(", icmp off for IPv6: {why}"),
        (Err(why), Err(_)) => format!(", icmp off: {why}, see sysctl net.ipv4.ping_group_range"),
    }
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn join<T: Display>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_says_why() {
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(describe_icmp(Ok(()), Ok(())), "");
        assert_eq!(describe_icmp(Ok(()), Err(&error)), ", icmp off for IPv6: permission denied");
        assert!(describe_icmp(Err(&error), Err(&error)).contains("ping_group_range"));
    }

    #[test]
    fn one_is_singular() {
        assert_eq!([0, 1, 2].map(|n| count(n, "peer")), ["0 peers", "1 peer", "2 peers"]);
    }
}
