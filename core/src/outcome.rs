//! What becomes of flows and handshakes, each by one word: logs, listings and metrics use the same.

use crate::flow::{Abort, Refusal};
use crate::stats::Counter;
use crate::words::words;

words! {
    /// What became of a flow, or of packets that would have opened one.
    #[non_exhaustive]
    FlowOutcome {
        /// TCP: both directions are complete.
        Closed => "closed",
        /// UDP, ICMP: no datagram has used it for a while.
        Expired => "expired",
        /// The host leg failed: a server or local client reset it, or its socket did.
        HostReset => "host-reset",
        /// The far end in the tunnel reset it, or refused it.
        PeerReset => "peer-reset",
        /// The far end in the tunnel did not answer in time.
        PeerTimeout => "peer-timeout",
        /// An ICMP error said that the far end in the tunnel is out of reach.
        PeerUnreachable => "peer-unreachable",
        /// TCP: it was silent for too long.
        Idle => "idle",
        /// The rules do not allow it any more.
        Forbidden => "forbidden",
        /// Its peer was removed, or one that was added or changed owns an end of it now.
        PeerGone => "peer-gone",
        /// A limit was reached and this flow had to go.
        GaveWay => "gave-way",
        /// The engine was shut down.
        ShutDown => "shut-down",

        /// The host refused the connection.
        Refused => "refused",
        /// The host did not answer in time.
        HostTimeout => "host-timeout",
        /// No such host.
        HostUnreachable => "host-unreachable",
        /// No route to the host's network.
        NetworkUnreachable => "network-unreachable",
        /// Forbidden by the system or by the embedder.
        Prohibited => "prohibited",
        /// Out of descriptors, ports or memory.
        Exhausted => "exhausted",

        /// The target is protected, and no rule names it.
        Protected => "protected",
        /// A rule, or the default, refuses it with an answer.
        Rejected => "rejected",
        /// A rule, or the default, or a gateway that is off, does not answer it.
        Dropped => "dropped",
        /// The target is on the tunnel's own network, where no peer has it.
        NoPeer => "no-peer",
        /// The target is another peer's, or the peer's own, and peers do not reach each other here.
        PeersOwn => "peers-own",
        /// Nobody can listen at that port: it is 0, or one of our own tunnel address that no rule
        /// leads anywhere.
        PortClosed => "port-closed",
        /// `tcp_flows` of [`Limits`](crate::Limits), or the peer's share of it, was reached.
        LimitTcp => "limit-tcp",
        /// The same of `udp_flows`.
        LimitUdp => "limit-udp",
        /// The same of `icmp_flows`.
        LimitIcmp => "limit-icmp",
        /// The same of `half_open`.
        LimitHalfOpen => "limit-half-open",
        /// The same of `sockets`.
        LimitSockets => "limit-sockets",
    }
}

impl FlowOutcome {
    /// Whether it is a refusal: there was no host leg.
    pub const fn is_refusal(self) -> bool {
        match self {
            Self::Closed
            | Self::Expired
            | Self::HostReset
            | Self::PeerReset
            | Self::PeerTimeout
            | Self::PeerUnreachable
            | Self::Idle
            | Self::Forbidden
            | Self::PeerGone
            | Self::GaveWay
            | Self::ShutDown => false,
            Self::Refused
            | Self::HostTimeout
            | Self::HostUnreachable
            | Self::NetworkUnreachable
            | Self::Prohibited
            | Self::Exhausted
            | Self::Protected
            | Self::Rejected
            | Self::PeersOwn
            | Self::Dropped
            | Self::NoPeer
            | Self::PortClosed
            | Self::LimitTcp
            | Self::LimitUdp
            | Self::LimitIcmp
            | Self::LimitHalfOpen
            | Self::LimitSockets => true,
        }
    }
}

impl From<Abort> for FlowOutcome {
    fn from(abort: Abort) -> Self {
        match abort {
            Abort::Reset => Self::PeerReset,
            Abort::TimedOut => Self::PeerTimeout,
            Abort::Unreachable => Self::PeerUnreachable,
            Abort::Idle => Self::Idle,
            Abort::Forbidden => Self::Forbidden,
            Abort::NoPeer => Self::PeerGone,
            Abort::Limit => Self::GaveWay,
            Abort::ShutDown => Self::ShutDown,
        }
    }
}

impl From<Refusal> for FlowOutcome {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Refused => Self::Refused,
            Refusal::TimedOut => Self::HostTimeout,
            Refusal::HostUnreachable => Self::HostUnreachable,
            Refusal::NetworkUnreachable => Self::NetworkUnreachable,
            Refusal::Prohibited => Self::Prohibited,
            Refusal::Exhausted => Self::Exhausted,
            Refusal::Protected => Self::Protected,
        }
    }
}

words! {
    /// Why a handshake message of WireGuard came to nothing, as far as that can be told.
    #[non_exhaustive]
    HandshakeFault {
        /// Its first MAC is wrong: the sender does not know our public key, or it was damaged.
        WrongMac => "wrong-mac",
        /// It can't be decrypted: it was made up or damaged.
        Forged => "forged",
        /// Its sender is no peer here.
        UnknownKey => "unknown-key",
        /// It is not newer than the last one of this peer: it was replayed, or the sender's clock
        /// was set back.
        NotNewer => "not-newer",
        /// The peer's answer to our initiation does not fit: most likely the preshared keys differ.
        /// (The end that is called can't tell: it just sees that nothing follows its answer.)
        PresharedKey => "preshared-key",
        /// It answers nothing that was asked.
        NotAsked => "not-asked",
        /// The peer asks for more sessions than one peer needs: its key may be in use twice.
        PeerRate => "peer-rate",
        /// This end is under load, and the sender has to prove its address first.
        Challenged => "challenged",
        /// This end is under load, and too much has come to nothing from this address.
        SourceRate => "source-rate",
    }
}

impl HandshakeFault {
    /// What counts it.
    pub(crate) const fn counter(self) -> Counter {
        match self {
            Self::WrongMac
            | Self::Forged
            | Self::UnknownKey
            | Self::NotNewer
            | Self::PresharedKey
            | Self::NotAsked => Counter::DropHandshake,
            Self::PeerRate | Self::Challenged | Self::SourceRate => Counter::DropHandshakeRate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_and_fault_has_a_word_of_its_own() {
        let outcomes = FlowOutcome::ALL.iter().map(|outcome| outcome.name());
        let mut names: Vec<_> =
            outcomes.chain(HandshakeFault::ALL.iter().map(|fault| fault.name())).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert_eq!(format!("[{:>8}]", FlowOutcome::Idle), "[    idle]");
    }
}
