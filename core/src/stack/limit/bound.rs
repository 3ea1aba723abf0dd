//! What there are bounds of, and what a flow counts as.

use crate::flow::{Protocol, Target};
use crate::limits::Limits;
use crate::outcome::FlowOutcome;

/// What there is a bound of: for the process, and a share of that for each peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bound {
    /// TCP flows.
    Tcp,
    /// UDP mappings.
    Udp,
    /// ICMP mappings.
    Icmp,
    /// Host sockets.
    Sockets,
    /// TCP flows whose host leg is connecting.
    HalfOpen,
}

impl Bound {
    pub(crate) const COUNT: usize = Self::HalfOpen as usize + 1;

    pub(crate) const fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
            Protocol::Icmp => Self::Icmp,
        }
    }

    /// What becomes of a flow for which there is no room there.
    pub(crate) const fn outcome(self) -> FlowOutcome {
        match self {
            Self::Tcp => FlowOutcome::LimitTcp,
            Self::Udp => FlowOutcome::LimitUdp,
            Self::Icmp => FlowOutcome::LimitIcmp,
            Self::Sockets => FlowOutcome::LimitSockets,
            Self::HalfOpen => FlowOutcome::LimitHalfOpen,
        }
    }

    pub(crate) const fn limit(self, limits: &Limits) -> usize {
        match self {
            Self::Tcp => limits.tcp_flows,
            Self::Udp => limits.udp_flows,
            Self::Icmp => limits.icmp_flows,
            Self::Sockets => limits.sockets,
            Self::HalfOpen => limits.half_open,
        }
    }
}

/// What a flow counts as.
pub(crate) fn bounds(protocol: Protocol, target: &Target) -> impl Iterator<Item = Bound> + use<> {
    let sockets = has_socket(protocol, target).then_some(Bound::Sockets);
    [Bound::of(protocol)].into_iter().chain(sockets)
}

/// Whether a flow has a host socket to itself: clients of a UDP forward share its.
pub(crate) const fn has_socket(protocol: Protocol, target: &Target) -> bool {
    match (target, protocol) {
        (Target::Host(_) | Target::Unix(_), _) => true,
        (Target::Client, Protocol::Tcp) => true,
        (Target::Client, Protocol::Udp | Protocol::Icmp) | (Target::Embedder, _) => false,
    }
}
