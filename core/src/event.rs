//! [`Event`]: what happens to peers and flows, for an [`Observer`] that listens.

use std::fmt;
use std::net::SocketAddr;

use crate::flow::Protocol;
use crate::id::{Identity, PeerId};
use crate::key::PublicKey;
use crate::outcome::{FlowOutcome, HandshakeFault};
use crate::state::FlowState;
use crate::time::Instant;

/// Hears of every event ([`Engine::set_observer`](crate::Engine::set_observer)). What it does with
/// it is the embedder's business; the engine waits for it, so it had better not wait itself.
///
/// Anybody who can send datagrams to this end brings about
/// [`HandshakeRefused`](Event::HandshakeRefused), and any peer [`FlowRefused`](Event::FlowRefused),
/// once for each packet: whoever writes events down limits how many.
///
/// ```
/// use slipwire_core::{Event, Instant, Observer};
///
/// /// A line for each flow that has ended.
/// #[derive(Debug)]
/// struct Journal(std::fs::File);
///
/// impl Observer for Journal {
///     fn event(&mut self, event: Event<'_>, now: Instant) {
///         use std::io::Write as _;
///         let Event::FlowEnded { flow, outcome } = event else { return };
///         let (meta, moved) = (flow.meta, flow.transfer);
///         let lasted = now.saturating_duration_since(flow.opened_at);
///         let _ = writeln!(
///             self.0,
///             "{} {} {} -> {}: {outcome}, {} bytes in, {} out, {lasted:?}",
///             meta.peer.name, meta.protocol, meta.source, meta.destination,
///             moved.bytes_in, moved.bytes_out,
///         );
///     }
/// }
/// ```
pub trait Observer: fmt::Debug + Send {
    /// One event, in the order in which they happen.
    fn event(&mut self, event: Event<'_>, now: Instant);
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A peer has a session, and had none before.
    PeerUp {
        /// Its name.
        peer: PeerId,
        /// Who it is.
        identity: &'a Identity,
        /// Where it is.
        endpoint: Option<SocketAddr>,
    },
    /// A peer has no session any more: none followed within 180 seconds of the last handshake, or
    /// the peer was removed.
    PeerDown {
        /// Its name.
        peer: PeerId,
        /// Who it is.
        identity: &'a Identity,
    },
    /// A peer does not answer: a third initiation is to be sent in vain. It is tried on; another
    /// such event follows only after the peer was heard.
    PeerSilent {
        /// Its name.
        peer: PeerId,
        /// Who it is.
        identity: &'a Identity,
        /// Where it is looked for.
        endpoint: Option<SocketAddr>,
    },
    /// There is a new flow: the embedder is asked for a host leg
    /// ([`Action::Open`](crate::Action::Open)), or has opened it.
    FlowOpened(FlowState<'a>),
    /// A flow is over. For each [`FlowOpened`](Self::FlowOpened) there is one, also where the
    /// embedder could not open it.
    FlowEnded {
        /// As it was at its end. It lasted from [`opened_at`](FlowState::opened_at) until now.
        flow: FlowState<'a>,
        /// What became of it.
        outcome: FlowOutcome,
    },
    /// A packet of a peer that would have opened a flow, or a datagram of a flow that may not go
    /// where it is meant for, was refused.
    FlowRefused {
        /// Whose it was.
        peer: PeerId,
        /// Who that is.
        identity: &'a Identity,
        /// What it was.
        protocol: Protocol,
        /// The peer's inner address and port (ICMP: the identifier).
        source: SocketAddr,
        /// Where it was meant to go (ICMP: port 0).
        destination: SocketAddr,
        /// The rule that matches it, by its place in
        /// [`Gateway::rules`](crate::config::Gateway::rules).
        rule: Option<usize>,
        /// Why it was refused.
        outcome: FlowOutcome,
    },
    /// A handshake message came to nothing.
    HandshakeRefused {
        /// Where it came from. Unless this end is under load nobody has proved that.
        source: SocketAddr,
        /// The peer that it claims to be of, if it gets that far, and who that is.
        peer: Option<(PeerId, &'a Identity)>,
        /// The public key that it claims to be of, where that is no peer's.
        key: Option<PublicKey>,
        /// Why.
        fault: HandshakeFault,
    },
}
