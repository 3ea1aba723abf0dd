//! The table of answers: what a peer is told instead of data, and what is counted, for each cause.
//!
//! Which bytes an ICMP error has is [`Reason`]'s, how a reset is written
//! [`tcp`](crate::stack::tcp)'s, and whether a packet may be answered at all the
//! [room](super)'s.

use std::net::IpAddr;

use crate::config::RefusedAnswer;
use crate::datagram::Loss;
use crate::flow::{Protocol, Refusal};
use crate::outcome::FlowOutcome;
use crate::policy::{Denial, Toward};
use crate::stack::limit::bound::Bound;
use crate::stack::packet::Transport;
use crate::stack::packet::icmp::Reason;
use crate::stats::Counter;

/// Why a peer is told something instead of data, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::stack) enum Cause {
    /// The packet may not cross one more router.
    TtlExceeded,
    /// Its protocol is not carried. With it, why a ping to the same address would not be either.
    Protocol(Option<Denial>),
    /// It is larger than the way to another peer carries, and may not be cut.
    TooBig {
        /// Bytes of the largest packet that gets through.
        mtu: u16,
    },
    /// It is for a peer's network, which it may not reach from here.
    PeersNetwork,
    /// A segment that belongs to no connection and opens none. With it, why a connection would not
    /// be offered either.
    NoFlow(Option<Denial>),
    /// The policy does not offer the flow.
    Denied(Denial, Toward),
    /// There is no room for one more flow at this bound.
    Limit(Bound),
    /// The embedder has no host leg for the flow.
    Unopened(Refusal),
    /// The embedder has said nothing of the connection for too long.
    Unanswered,
    /// The network has not delivered a datagram of a mapping.
    Lost(Loss),
    /// The same, as a router says that no router of the host's network can be.
    LostAtNoHop,
}

impl Cause {
    /// What whoever listens hears of it ([`report`](super::report)): that a packet opened no flow,
    /// or may not go where it is meant for. Of the end of a flow they hear by its own event.
    pub(in crate::stack) const fn outcome(self) -> Option<FlowOutcome> {
        match self {
            Self::PeersNetwork => Some(FlowOutcome::PeersOwn),
            Self::Denied(Denial::Rejected, _) => Some(FlowOutcome::Rejected),
            Self::Denied(Denial::Protected, _) | Self::Lost(Loss::Refused(Refusal::Protected)) => {
                Some(FlowOutcome::Protected)
            }
            Self::Denied(Denial::NoPeer, _) => Some(FlowOutcome::NoPeer),
            Self::Denied(Denial::Closed, _) => Some(FlowOutcome::PortClosed),
            Self::Denied(Denial::Dropped, _) => Some(FlowOutcome::Dropped),
            Self::Limit(bound) => Some(bound.outcome()),
            Self::TtlExceeded
            | Self::Protocol(_)
            | Self::TooBig { .. }
            | Self::NoFlow(_)
            | Self::Unopened(_)
            | Self::Unanswered
            | Self::Lost(_)
            | Self::LostAtNoHop => None,
        }
    }
}

/// What the packet that is refused belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::stack) enum Asker {
    /// TCP, which has an answer of its own: the reset.
    Connection,
    /// Everything else.
    Datagram,
}

impl From<Protocol> for Asker {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Connection,
            Protocol::Udp | Protocol::Icmp => Self::Datagram,
        }
    }
}

impl From<Transport> for Asker {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp { .. } => Self::Connection,
            Transport::Udp { .. } | Transport::Icmp | Transport::Other => Self::Datagram,
        }
    }
}

/// What a peer is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::stack) enum Answer {
    /// A reset in the name of the destination.
    Reset,
    /// An ICMP error.
    Error(Reason, Speaker),
    /// Nothing.
    Silence,
}

/// In whose name an ICMP error is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::stack) enum Speaker {
    /// Ours: what a router says it says for itself (RFC 1812, section 4.3.2.4), as a kernel in this
    /// place would.
    Router,
    /// The destination's. The size that fits is said so too: it must get through, and a peer may
    /// not accept our own address from us.
    Destination,
    /// That of a router of the host's network.
    Hop(IpAddr),
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::stack) struct Row {
    pub(in crate::stack) counter: Option<Counter>,
    pub(in crate::stack) answer: Answer,
}

/// Nobody is there: RFC 1812, section 5.2.7.1, code 1; RFC 4443, section 3.1, code 3.
const HOST: Answer = Answer::Error(Reason::Host, Speaker::Router);
/// No route: RFC 1812, section 5.2.7.1, code 0; RFC 4443, section 3.1, code 0.
const NETWORK: Answer = Answer::Error(Reason::Network, Speaker::Router);
/// Forbidden: RFC 1812, section 5.2.7.1, code 13; RFC 4443, section 3.1, code 1.
const PROHIBITED: Answer = Answer::Error(Reason::Prohibited, Speaker::Router);
/// Nobody listens: RFC 1122, section 4.1.3.1; RFC 4443, section 3.1, code 4.
const PORT: Answer = Answer::Error(Reason::Port, Speaker::Destination);
/// Nobody speaks that: RFC 1122, section 3.2.2.1; RFC 4443, section 3.4, code 1.
const PROTOCOL: Answer = Answer::Error(Reason::Protocol, Speaker::Destination);
/// Too many hops: RFC 1812, section 5.3.1; RFC 4443, section 3.3.
const TTL_EXCEEDED: Answer = Answer::Error(Reason::TtlExceeded, Speaker::Router);

/// The row for a cause. `refused` is the configured answer to connections that a host refused.
pub(in crate::stack) const fn row(cause: Cause, asker: Asker, refused: RefusedAnswer) -> Row {
    use Answer::{Error, Reset, Silence};
    use Asker::{Connection, Datagram};
    use Counter as C;
    use Denial::{Closed, Dropped, NoPeer, Protected, Rejected};

    let (counter, answer) = match (cause, asker) {
        (Cause::TtlExceeded, _) => (Some(C::DropTtl), TTL_EXCEEDED),
        // Rules know no such protocol: where a ping is dropped, this is.
        (Cause::Protocol(Some(Dropped)), _) => (Some(C::DropProtocol), Silence),
        (Cause::Protocol(None | Some(Rejected | Protected | NoPeer | Closed)), _) => {
            (Some(C::DropProtocol), PROTOCOL)
        }
        // RFC 1191, section 4; RFC 4443, section 3.2.
        (Cause::TooBig { mtu }, _) => {
            (Some(C::DropTooBig), Error(Reason::TooBig { mtu }, Speaker::Destination))
        }
        (Cause::PeersNetwork, _) => (Some(C::Rejected), PROHIBITED),

        (Cause::NoFlow(Some(Dropped)), _) => (Some(C::DropNoFlow), Silence),
        // RFC 9293, section 3.10.7.1.
        (Cause::NoFlow(None | Some(Rejected | Protected | NoPeer | Closed)), _) => {
            (Some(C::DropNoFlow), Reset)
        }

        (Cause::Denied(Dropped, _), _) => (Some(C::DropPolicy), Silence),
        // As a kernel's WireGuard says it of an address that no peer has.
        (Cause::Denied(NoPeer, _), _) => (Some(C::NoPeer), HOST),
        // A firewall that refuses TCP does so in the name of the host, at once (RFC 9293, section
        // 3.10.7.1): an ICMP error ends no connection on every system (RFC 5461).
        (Cause::Denied(Rejected, _), Connection) => (Some(C::Rejected), Reset),
        (Cause::Denied(Protected, _), Connection) => (Some(C::Protected), Reset),
        (Cause::Denied(Closed, _), Connection) => (Some(C::DropNoFlow), Reset),
        (Cause::Denied(Rejected, Toward::Host), Datagram) => (Some(C::Rejected), PROHIBITED),
        (Cause::Denied(Protected, _), Datagram) => (Some(C::Protected), PROHIBITED),
        // Our own address is a host's, and this one of its ports where nobody listens.
        (Cause::Denied(Rejected, Toward::Own) | Cause::Denied(Closed, _), Datagram) => {
            (Some(C::DropNoFlow), PORT)
        }

        // RFC 9293, section 3.10.7.1, and RFC 1812, section 5.2.7.1.
        (Cause::Limit(_), Connection) => (Some(C::LimitReached), Reset),
        (Cause::Limit(_), Datagram) => (Some(C::LimitReached), PROHIBITED),

        (Cause::Unopened(refusal), asker) => {
            let counter = match refusal {
                Refusal::Protected => C::Protected,
                Refusal::Refused
                | Refusal::TimedOut
                | Refusal::HostUnreachable
                | Refusal::NetworkUnreachable
                | Refusal::Prohibited
                | Refusal::Exhausted => C::OpenRefused,
            };
            (Some(counter), of_refusal(refusal, asker, refused))
        }
        (Cause::Unanswered, asker) => (None, of_refusal(Refusal::TimedOut, asker, refused)),

        // RFC 5508, REQ-8; RFC 4787, REQ-12: the mapping goes on.
        (Cause::Lost(Loss::Refused(Refusal::Protected)), _) => (Some(C::Protected), PROHIBITED),
        (Cause::Lost(Loss::Refused(refusal)), asker) => (None, of_refusal(refusal, asker, refused)),
        // RFC 1191, section 4; RFC 4443, section 3.2.
        (Cause::Lost(Loss::TooBig { mtu }), _) => {
            (None, Error(Reason::TooBig { mtu }, Speaker::Destination))
        }
        // RFC 5508, REQ-4: passed on in the name of the router that said so.
        (Cause::Lost(Loss::TimeExceeded { hop }), _) => {
            (None, Error(Reason::TtlExceeded, Speaker::Hop(hop)))
        }
        (Cause::LostAtNoHop, _) => (Some(C::DropSource), Silence),
    };
    Row { counter, answer }
}

/// What becomes of a refusal by the embedder.
const fn of_refusal(refusal: Refusal, asker: Asker, refused: RefusedAnswer) -> Answer {
    use Asker::{Connection, Datagram};

    match (refusal, asker) {
        (Refusal::Refused, Connection) => match refused {
            // RFC 9293, section 3.10.7.1.
            RefusedAnswer::Reset => Answer::Reset,
            RefusedAnswer::Icmp => PORT,
            RefusedAnswer::Drop => Answer::Silence,
        },
        (Refusal::Refused, Datagram) => PORT,
        // A host that is silent has refused nothing: no reset. Of a datagram nobody waits to hear.
        (Refusal::TimedOut, Connection) => HOST,
        (Refusal::TimedOut, Datagram) => Answer::Silence,
        (Refusal::HostUnreachable, _) => HOST,
        (Refusal::NetworkUnreachable, _) => NETWORK,
        (Refusal::Prohibited, _) => PROHIBITED,
        // RFC 9293, section 3.10.7.1.
        (Refusal::Exhausted | Refusal::Protected, Connection) => Answer::Reset,
        (Refusal::Exhausted | Refusal::Protected, Datagram) => PROHIBITED,
    }
}
