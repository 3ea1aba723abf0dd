//! Datagrams of peers that were lost on the host's side: each peer hears of its own, by the ICMP
//! error that a router in this place would have passed on.
//!
//! The datagram itself is gone. Its headers are all that there is to quote, written anew as the
//! peer wrote them, and all that it takes to find the socket that it came from. Nothing of what the
//! host or its network quoted reaches the peer, and nobody gets an error about a host that it never
//! wrote to.

use std::net::{IpAddr, SocketAddr};

use crate::address::may_be_a_source;
use crate::config::MTU_IPV6_MIN;
use crate::datagram::{Loss, Undelivered};
use crate::flow::Protocol;
use crate::id::FlowId;
use crate::stack::Stack;
use crate::stack::answer::table::Cause;
use crate::stack::key::FlowKey;
use crate::stack::outlet::Outlet;
use crate::stack::packet::icmp::{self, Version};
use crate::stack::packet::{Packet, write_icmp, write_udp};
use crate::stats::Counter;
use crate::time::Instant;

/// Room for the headers of a datagram or echo request.
const QUOTE_LEN: usize = 64;
/// The smallest MTU that a link may have (RFC 791, section 3.2).
const MTU_IPV4_MIN: u16 = 68;
/// Bytes that an IPv6 header has more than one of IPv4.
const HEADERS_DIFFER: u16 = 20;

impl Stack {
    /// A datagram of a mapping did not arrive.
    pub(in crate::stack) fn handle_undelivered(
        &mut self,
        id: FlowId,
        undelivered: Undelivered,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let Some(flow) = self.flows.get(id) else { return };
        let key = flow.key;
        let Some(mapping) = flow.mapping() else { return };
        let Undelivered { remote, echo_sequence, loss } = undelivered;
        if !mapping.has_sent_to(remote) {
            return outlet.count(key.peer, Counter::DropFiltered);
        }
        let cause = match loss {
            Loss::TimeExceeded { hop } if !self.may_be_a_hop(hop, outlet) => Cause::LostAtNoHop,
            Loss::TooBig { mtu } => {
                let mtu = mtu_inside(mtu, remote.ip(), key.inner.ip());
                Cause::Lost(Loss::TooBig { mtu })
            }
            Loss::Refused(_) | Loss::TimeExceeded { .. } => Cause::Lost(loss),
        };
        self.refuse_datagram(&key, remote, echo_sequence, cause, outlet, now);
    }

    /// There is no host leg for a mapping, whose first datagram still waits.
    pub(in crate::stack) fn refuse_mapping(
        &mut self,
        id: FlowId,
        cause: Cause,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let Some(flow) = self.flows.get(id) else { return };
        let (key, destination) = (flow.key, flow.meta.destination);
        let first = self.datagrams.iter().find(|datagram| datagram.flow == id);
        let echo_sequence = first.and_then(|first| icmp::echo_sequence(first.payload));
        self.refuse_datagram(&key, destination, echo_sequence, cause, outlet, now);
    }

    /// Refuses a datagram of a mapping that is not here any more.
    fn refuse_datagram(
        &mut self,
        key: &FlowKey,
        sent_to: SocketAddr,
        echo_sequence: Option<u16>,
        cause: Cause,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let answer = self.count_cause(key.peer, key.protocol.into(), cause, outlet);
        // What a rule gave another target was meant for, and is said in the name of, the first one.
        let remote = key.outer.unwrap_or(sent_to);
        self.report(key, remote, cause, outlet);
        let mut quote = [0; QUOTE_LEN];
        let Some(len) = write_quote(&mut quote, key, remote, echo_sequence) else { return };
        // It was written just now.
        if let Ok(packet) = Packet::parse(&mut quote[..len]) {
            self.answer(key.peer, &packet, answer, outlet, now);
        }
    }

    /// Whether a router of the host's network may have this address: not one of the tunnel's, for
    /// which peers might take it, and not one that has a meaning on a link only.
    fn may_be_a_hop(&self, hop: IpAddr, outlet: &dyn Outlet) -> bool {
        let is_link_local = match hop {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let is_of_a_peer = outlet.route(hop).is_some_and(|route| route.prefix_len > 0);
        may_be_a_source(hop) && !is_link_local && !is_of_a_peer && !self.is_own(hop)
    }
}

/// Bytes of the largest packet to `there` that a peer at `here` is told of, for a path that carries
/// `mtu` bytes.
fn mtu_inside(mtu: u16, there: IpAddr, here: IpAddr) -> u16 {
    let least = if here.is_ipv4() { MTU_IPV4_MIN } else { MTU_IPV6_MIN };
    translated_mtu(mtu, there, here).max(least)
}

/// What a path that carries packets of `mtu` bytes to `there` carries of those to `here`, whose
/// headers may be those of the other IP version.
const fn translated_mtu(mtu: u16, there: IpAddr, here: IpAddr) -> u16 {
    match (there, here) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => mtu,
        (IpAddr::V6(_), IpAddr::V4(_)) => mtu.saturating_sub(HEADERS_DIFFER),
        (IpAddr::V4(_), IpAddr::V6(_)) => mtu.saturating_add(HEADERS_DIFFER),
    }
}

/// Writes the headers of a datagram of `key` to `remote` as its peer sent them. `None` for an echo
/// request that nobody could tell from others.
fn write_quote(
    quote: &mut [u8],
    key: &FlowKey,
    remote: SocketAddr,
    echo_sequence: Option<u16>,
) -> Option<usize> {
    match key.protocol {
        Protocol::Udp => write_udp(quote, key.inner, remote, &[]),
        Protocol::Icmp => {
            let version = Version::of(key.inner.ip());
            let head = icmp::echo_request_head(version, key.inner.port(), echo_sequence?);
            write_icmp(quote, key.inner.ip(), remote.ip(), &head, &[])
        }
        Protocol::Tcp => None,
    }
}
