//! Counters: one for every reason to drop, so that nothing is lost without a name.

use crate::words::words;

words! {
    /// What is counted. Words are in snake case.
    #[non_exhaustive]
    Counter {
        // What is counted of each packet comes first, in one cache line.
        /// WireGuard datagrams received.
        DatagramsIn => "datagrams_in",
        /// Bytes of those.
        BytesIn => "bytes_in",
        /// WireGuard datagrams sent.
        DatagramsOut => "datagrams_out",
        /// Bytes of those.
        BytesOut => "bytes_out",
        /// Packets of peers handed to the stack.
        PacketsIn => "packets_in",
        /// Packets sent to peers.
        PacketsOut => "packets_out",
        /// Packets handed from peer to peer.
        PacketsOverlay => "packets_overlay",
        /// Handshakes completed, in either role.
        Handshakes => "handshakes",
        /// Cookie replies sent under load, when too many handshakes came to nothing.
        CookieReplies => "cookie_replies",

        /// Not a WireGuard message.
        DropMalformed => "drop_malformed",
        /// A handshake with a wrong MAC, from an unknown peer, or replayed.
        DropHandshake => "drop_handshake",
        /// A handshake beyond what its source may waste under load, or its peer may ask for.
        DropHandshakeRate => "drop_handshake_rate",
        /// A message for a session that does not exist.
        DropNoSession => "drop_no_session",
        /// Data that did not authenticate.
        DropAuthentication => "drop_authentication",
        /// Data seen before, or too old to tell.
        DropReplay => "drop_replay",
        /// Data whose counter is at the end of its range.
        DropCounterRange => "drop_counter_range",
        /// An inner source that does not belong to the peer.
        DropSource => "drop_source",
        /// A packet whose sender can't be told of congestion, in a datagram that met some (RFC
        /// 6040).
        DropEcn => "drop_ecn",
        /// A peer without a known endpoint.
        DropNoEndpoint => "drop_no_endpoint",
        /// The embedder takes datagrams too slowly.
        DropEgressFull => "drop_egress_full",

        /// Neither IPv4 nor IPv6, or with a header that lies.
        DropIpHeader => "drop_ip_header",
        /// A wrong IPv4, TCP, UDP or ICMP checksum.
        DropChecksum => "drop_checksum",
        /// A fragment.
        DropFragment => "drop_fragment",
        /// A transport protocol that is not carried.
        DropProtocol => "drop_protocol",
        /// A TCP, UDP or ICMP header that lies.
        DropTransportHeader => "drop_transport_header",
        /// A TTL or hop limit that ended here.
        DropTtl => "drop_ttl",
        /// The gateway is off, or its policy says drop.
        DropPolicy => "drop_policy",
        /// A target that the gateway protects, refused.
        Protected => "protected",
        /// A flow that the policy refused.
        Rejected => "rejected",
        /// A target on the tunnel's own network that no peer has, refused.
        NoPeer => "no_peer",
        /// A packet of no flow.
        DropNoFlow => "drop_no_flow",
        /// A datagram from a host that the mapping's filter does not admit.
        DropFiltered => "drop_filtered",
        /// Times that a mapping has forgotten hosts that it had sent to, for there were too many.
        ContactsForgotten => "contacts_forgotten",
        /// A datagram too large for the tunnel.
        DropTooBig => "drop_too_big",
        /// A datagram that found the queue to the embedder full.
        DropQueueFull => "drop_queue_full",
        /// A TCP segment for which there was no memory.
        DropMemory => "drop_memory",
        /// A TCP segment that the guard held back from the TCP engine.
        DropTcpGuard => "drop_tcp_guard",
        /// Errors of peers about what hosts sent them, other than its size: a host can't be told.
        PeerUnreachable => "peer_unreachable",
        /// Paths inside or below the tunnel that turned out to carry less than was known.
        PathLowered => "path_lowered",
        /// Paths to endpoints that carry no IPv6 packet of 1280 bytes in one datagram.
        PathTooNarrow => "path_too_narrow",
        /// ICMP errors not sent, to keep their rate.
        DropIcmpRate => "drop_icmp_rate",
        /// A flow refused at a limit.
        LimitReached => "limit_reached",
        /// A flow that ended at a limit to make room for another.
        GaveWay => "gave_way",

        /// TCP flows opened.
        TcpOpened => "tcp_opened",
        /// UDP mappings opened.
        UdpOpened => "udp_opened",
        /// ICMP mappings opened.
        IcmpOpened => "icmp_opened",
        /// Flows that the embedder could not open.
        OpenRefused => "open_refused",
        /// Tapes whose sink took no more.
        TapeEnded => "tape_ended",
    }
}

/// The counters of one engine. They only grow, and wrap at 2^64.
#[derive(Clone, Debug)]
pub struct Stats([u64; Counter::ALL.len()]);

impl Stats {
    pub(crate) const fn new() -> Self {
        Self([0; Counter::ALL.len()])
    }

    pub(crate) fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    pub(crate) fn add(&mut self, counter: Counter, amount: u64) {
        let value = &mut self.0[counter as usize];
        *value = value.wrapping_add(amount);
    }

    /// The value of one counter.
    pub const fn value(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// All counters with their values, in the order of [`Counter::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL.iter().map(|counter| (*counter, self.value(*counter)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_own_place_and_name() {
        let mut stats = Stats::new();
        for (index, counter) in Counter::ALL.iter().enumerate() {
            stats.add(*counter, index as u64 + 1);
        }
        let mut names: Vec<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        for (index, (_, value)) in stats.iter().enumerate() {
            assert_eq!(value, index as u64 + 1);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Counter::ALL.len());
    }
}
