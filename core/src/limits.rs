//! Every bound in one place, and the relations that must hold between them.

/// What one packet needs around it: the largest datagram and WireGuard's header and tag.
pub(crate) const SCRATCH_LEN: usize = 65_535 + 32;

/// Segments in one train: the most that Linux takes in one UDP GSO send.
pub(crate) const TRAIN_SEGMENTS_MAX: usize = 64;
/// Bytes in one train: it is one IP datagram until the kernel cuts it (65,535 less the headers).
pub(crate) const TRAIN_LEN_MAX: usize = 65_487;
/// Trains that may wait for the embedder before the stack stops producing.
pub(crate) const TRAINS_MAX: usize = 32;

/// Datagrams from peers that may wait for the embedder, in bytes.
pub(crate) const DATAGRAMS_LEN_MAX: usize = 1 << 20;

/// Handshake messages taken in from one source address: a burst and a rate for each second.
pub(crate) const HANDSHAKES_PER_SOURCE_BURST: u32 = 5;
/// See [`HANDSHAKES_PER_SOURCE_BURST`].
pub(crate) const HANDSHAKES_PER_SOURCE_RATE: u32 = 20;

const _: () = assert!(TRAIN_LEN_MAX < SCRATCH_LEN);
const _: () = assert!(TRAINS_MAX >= 2, "one train fills while another drains");

/// A share of a limit, in percent: 1 to 100.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share(u8);

impl Share {
    /// Takes a percentage; `None` outside 1 to 100.
    pub const fn percent(percent: u8) -> Option<Self> {
        if percent >= 1 && percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// This share of `limit`, at least one.
    pub const fn of(self, limit: usize) -> usize {
        let share = limit / 100 * self.0 as usize + limit % 100 * self.0 as usize / 100;
        if share == 0 { 1 } else { share }
    }
}

/// Bounds that a configuration sets.
#[derive(Clone, Debug)]
pub struct Limits {
    /// TCP flows at once, whatever their state.
    pub tcp_flows: usize,
    /// UDP mappings at once.
    pub udp_flows: usize,
    /// ICMP query mappings at once.
    pub icmp_flows: usize,
    /// TCP flows whose host leg is still connecting.
    pub half_open: usize,
    /// What one peer may have of each of the above.
    pub per_peer: Share,
    /// Bytes buffered for all TCP flows.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tcp_flows: 16_384,
            udp_flows: 16_384,
            icmp_flows: 1_024,
            half_open: 8_192,
            per_peer: Share(50),
            memory: 1 << 30,
        }
    }
}

impl Limits {
    /// What is wrong with these limits, in words.
    pub(crate) fn contradictions(&self) -> impl Iterator<Item = &'static str> + use<> {
        [
            (self.tcp_flows == 0, "limits.tcp_flows must not be zero"),
            (self.udp_flows == 0, "limits.udp_flows must not be zero"),
            (self.icmp_flows == 0, "limits.icmp_flows must not be zero"),
            (self.half_open == 0, "limits.half_open must not be zero"),
            (self.half_open > self.tcp_flows, "limits.half_open must not exceed limits.tcp_flows"),
            (self.memory < 1 << 20, "limits.memory must be at least 1MiB"),
        ]
        .into_iter()
        .filter_map(|(wrong, reason)| wrong.then_some(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_nothing() {
        assert_eq!(Share::percent(1).unwrap().of(3), 1);
        assert_eq!(Share::percent(50).unwrap().of(16_384), 8_192);
        assert_eq!(Share::percent(100).unwrap().of(7), 7);
        assert_eq!(Share::percent(99).unwrap().of(usize::MAX), usize::MAX / 100 * 99 + 14);
        assert!(Share::percent(0).is_none() && Share::percent(101).is_none());
    }

    #[test]
    fn the_defaults_agree_with_each_other() {
        assert_eq!(Limits::default().contradictions().count(), 0);
    }
}
