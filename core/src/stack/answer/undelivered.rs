//! Datagrams of peers that were lost on the host's side: each peer hears of its own, by the ICMP
//! error that a router in this place would have passed on.
//!
//! The datagram itself is gone. Its headers are all that there is to quote, written anew as the peer
//! wrote them, and all that it takes to find the socket that it came from. Nothing of what the host
//! or its network quoted reaches the peer, and nobody gets an error about a host that it never wrote
//! to.

use std::net::{IpAddr, SocketAddr};

use crate::address::may_be_a_source;
use crate::config::MTU_IPV6_MIN;
use crate::datagram::{Loss, Undelivered};
use crate::flow::{Protocol, Refusal};
use crate::id::FlowId;
use crate::outcome::FlowOutcome;
use crate::stack::Stack;
use crate::stack::key::FlowKey;
use crate::stack::outlet::Outlet;
use crate::stack::packet::icmp::{self, Reason, Version};
use crate::stack::packet::{write_icmp, write_udp};
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
        if mapping.has_sent_to(undelivered.remote) {
            if undelivered.loss == Loss::Refused(Refusal::Protected) {
                let protected = FlowOutcome::Protected;
                let destination = key.outer.unwrap_or(undelivered.remote);
                self.note_refused(&key, destination, protected, outlet);
            }
            self.report_loss(&key, undelivered, outlet, now);
        } else {
            outlet.count(key.peer, Counter::DropFiltered);
        }
    }

    /// There is no host leg for a mapping, whose first datagram still waits.
    pub(in crate::stack) fn refuse_mapping(
        &mut self,
        id: FlowId,
        remote: SocketAddr,
        refusal: Refusal,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let Some(key) = self.flows.get(id).map(|flow| flow.key) else { return };
        let first = self.datagrams.iter().find(|datagram| datagram.flow == id);
        let echo_sequence = first.and_then(|first| icmp::echo_sequence(first.payload));
        let undelivered = Undelivered { remote, echo_sequence, loss: Loss::Refused(refusal) };
        self.report_loss(&key, undelivered, outlet, now);
    }

    fn report_loss(
        &mut self,
        key: &FlowKey,
        undelivered: Undelivered,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let Undelivered { remote: sent_to, echo_sequence, loss } = undelivered;
        // What a rule gave another target was meant for, and is said in the name of, the first one.
        let remote = key.outer.unwrap_or(sent_to);
        let mut quote = [0; QUOTE_LEN];
        let Some(len) = write_quote(&mut quote, key, remote, echo_sequence) else { return };
        let (offending, to) = (&quote[..len], key.inner.ip());
        let reason = match loss {
            Loss::Refused(Refusal::TimedOut) => return,
            Loss::Refused(refusal) => Reason::of_refusal(refusal),
            Loss::TooBig { mtu } => {
                let mtu = translated_mtu(mtu, sent_to.ip(), to);
                let least = if to.is_ipv4() { MTU_IPV4_MIN } else { MTU_IPV6_MIN };
                Reason::TooBig { mtu: mtu.max(least) }
            }
            Loss::TimeExceeded { hop } if self.may_be_a_hop(hop, outlet) => {
                if !self.may_send_error(key.peer, now) {
                    return outlet.count(key.peer, Counter::DropIcmpRate);
                }
                let reason = Reason::TtlExceeded;
                return self.write_error(key.peer, offending, hop, to, reason, outlet);
            }
            Loss::TimeExceeded { .. } => return outlet.count(key.peer, Counter::DropSource),
        };
        self.send_error(key.peer, offending, remote.ip(), to, reason, outlet, now);
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
