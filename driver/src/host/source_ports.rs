//! The ports that flows of peers may have at this host: those that the system gives to whoever asks
//! for any (ip(7), `ip_local_port_range` without `ip_local_reserved_ports`). Every other may be
//! that of a service, whether it runs just now or not.

use std::fs;
use std::iter;
use std::ops::RangeInclusive;

/// Ports of the same parity that are tried before any.
const TRIES: usize = 4;
/// From one of them to the next, in pairs of ports.
const STEP: u32 = 512;

/// What the system had set when it was read.
#[derive(Debug)]
pub(crate) struct SourcePorts {
    range: RangeInclusive<u16>,
    reserved: Vec<RangeInclusive<u16>>,
}

/// Linux's own setting.
impl Default for SourcePorts {
    fn default() -> Self {
        Self { range: 32_768..=60_999, reserved: Vec::new() }
    }
}

impl SourcePorts {
    /// Reads the system's setting, for IPv4 and IPv6.
    pub(crate) fn read() -> Self {
        let read = |name| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
        let range = read("ip_local_port_range").ok().and_then(|text| parse_range(&text));
        let reserved =
            read("ip_local_reserved_ports").map_or_else(|_| Vec::new(), |text| parse_list(&text));
        Self { range: range.unwrap_or(Self::default().range), reserved }
    }

    /// The ports to try in turn for a peer's own one: that one (RFC 4787, REQ-3), some of the same
    /// parity (REQ-4: RTP and RTCP tell each other by it), and then any.
    pub(crate) fn for_port(&self, own: u16) -> impl Iterator<Item = u16> {
        let literal = iter::once(own).filter(|port| self.may_be_taken(*port));
        let near = self.near(own).filter(move |port| *port != own && self.may_be_taken(*port));
        let near = near.take(if own == 0 { 0 } else { TRIES });
        literal.chain(near).chain(iter::once(0))
    }

    /// The port after this one, and round; `None` if all are reserved.
    pub(crate) fn after(&self, port: u16) -> Option<u16> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let mut port = port;
        // Before and after the end of the range each block of reserved ports is met once.
        for _ in 0..=2 * self.reserved.len() {
            port = if (first..last).contains(&port) { port + 1 } else { first };
            match self.reserved.iter().find(|ports| ports.contains(&port)) {
                Some(ports) => port = *ports.end(),
                None => return Some(port),
            }
        }
        None
    }

    /// Ports of the range with the parity of a port, from its own place on if it has one there.
    fn near(&self, own: u16) -> impl Iterator<Item = u16> + use<> {
        let first = u32::from(*self.range.start()).next_multiple_of(2);
        let pairs = (u32::from(*self.range.end()) + 1).saturating_sub(first) / 2;
        let own = u32::from(own);
        let place = if own >= first { (own - first) / 2 } else { own / 2 };
        let steps = if pairs == 0 { 0 } else { u32::try_from(2 * TRIES).unwrap_or(0) };
        (0..steps).filter_map(move |n| {
            let pair = (place + n * STEP) % pairs;
            u16::try_from(first + 2 * pair + own % 2).ok()
        })
    }

    fn may_be_taken(&self, port: u16) -> bool {
        self.range.contains(&port) && !self.reserved.iter().any(|ports| ports.contains(&port))
    }
}

/// Two numbers with space between them.
fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    let (first, last) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (0 < first && first <= last).then_some(first..=last)
}

/// `5353,6000-6100`, or nothing.
fn parse_list(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.trim().split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(ports: &SourcePorts, own: u16) -> Vec<u16> {
        ports.for_port(own).collect()
    }

    #[test]
    fn the_ports_that_are_tried_keep_parity_and_are_no_services() {
        let ports = SourcePorts::default();
        for own in [1, 53, 1023, 5353, 32_767, 32_768, 40_001, 60_999, 61_000, 65_534, 65_535] {
            let tried = tried(&ports, own);
            let (last, before) = tried.split_last().unwrap();
            assert_eq!(*last, 0, "any port at last");
            assert_eq!(
                before.first() == Some(&own),
                ports.range.contains(&own),
                "{own}: {tried:?}"
            );
            assert!(before.len() >= TRIES, "{own}: {tried:?}");
            for port in before {
                assert!(port % 2 == own % 2 && ports.range.contains(port), "{own}: {tried:?}");
            }
            let others = before.iter().filter(|port| **port != own).count();
            assert_eq!(others, TRIES, "{own}: {tried:?}");
        }
        assert_eq!(tried(&ports, 0), [0], "no port of its own");
    }

    #[test]
    fn reserved_ports_are_not_taken() {
        let reserved = parse_list("40000,40002-41025\n");
        assert_eq!(reserved, [40_000..=40_000, 40_002..=41_025]);
        let ports = SourcePorts { reserved, ..SourcePorts::default() };
        for own in [40_000, 40_002, 41_025, 38_976] {
            let tried = tried(&ports, own);
            assert!(tried.iter().all(|port| *port == 0 || ports.may_be_taken(*port)), "{tried:?}");
        }
        assert_eq!(tried(&ports, 40_001)[0], 40_001);
        assert_eq!(parse_list("\n"), []);
    }

    #[test]
    fn ports_go_round_and_leave_out_what_is_reserved() {
        let ports = |range, reserved| SourcePorts { range, reserved: parse_list(reserved) };
        let few = ports(100..=105, "101,104-200");
        let round = iter::successors(Some(0), |port| few.after(*port));
        assert_eq!(round.take(5).collect::<Vec<_>>(), [0, 100, 102, 103, 100]);
        assert_eq!(SourcePorts::default().after(60_999), Some(32_768));
        assert_eq!(ports(65_535..=65_535, "").after(65_535), Some(65_535));
        assert_eq!(ports(100..=105, "1-102,103-900").after(100), None);
    }

    #[test]
    fn narrow_and_odd_ranges_are_kept_to() {
        for (text, own) in [("5 5", 5), ("6 7", 7), ("7 8", 8), ("9 20", 300), ("65535 65535", 1)] {
            let range = parse_range(text).unwrap();
            let ports = SourcePorts { range: range.clone(), reserved: Vec::new() };
            let tried = tried(&ports, own);
            assert!(tried.iter().all(|port| *port == 0 || range.contains(port)), "{tried:?}");
        }
        assert_eq!(parse_range("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!([parse_range("9 8"), parse_range("0 8"), parse_range("x")], [None, None, None]);
    }

    #[test]
    fn the_systems_setting_can_be_read() {
        let SourcePorts { range, .. } = SourcePorts::read();
        assert!(range.contains(
            &std::net::UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
        ));
    }
}
