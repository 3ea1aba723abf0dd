//! A model of every stream: what each end wrote, and what the other may therefore see. It is told
//! of everything that engines say and are told, and objects to what must not be.
//!
//! - Bytes arrive in order, unchanged, and not before they were sent.
//! - An end is an end only after every byte; whatever is cut off is aborted.
//! - Every abort has a cause that happened, and a cause that cannot be seen is one that the plan
//!   allows. So a stream that nothing disturbs has to be complete at both ends.
//! - No more bytes are under way than both rings hold.
//!
//! The opener of a stream is one end. Others may accept it one after the other: when the acceptor
//! was restarted, or when a SYN came late. What the opener reads is from exactly one of them.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use slipwire_core::{Abort, Instant, Refusal};

use super::pattern::Pattern;
use super::plan::{Connect, Plan};

/// How long an ended connection answers for itself (RFC 9293's TIME-WAIT, as core has it).
const TIME_WAIT: Duration = Duration::from_secs(30);
/// How long core waits for an acknowledgement at least.
const STALL: Duration = Duration::from_secs(15 * 60);
/// How long core's own connects into the tunnel may take.
const TUNNEL_CONNECT: Duration = Duration::from_secs(60);

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation(pub(super) String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Fails with a message unless something holds.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::oracle::Violation(format!($($message)+)));
        }
    };
}
pub(super) use ensure;

/// One end of a stream: the opener is 0, those who accepted follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EndId {
    pub(super) stream: usize,
    pub(super) end: usize,
}

impl fmt::Display for EndId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {}.{}", self.stream, self.end)
    }
}

/// How an end was over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Over {
    Closed,
    Aborted(Abort),
    /// The application reset it.
    BrokenOff,
    Refused(Refusal),
    /// Its engine is gone.
    Lost,
}

#[derive(Debug)]
struct End {
    host: usize,
    /// The opener's address and port in the tunnel.
    source: SocketAddr,
    /// By the host's own clock, as `active_at`.
    opened_at: Instant,
    active_at: Instant,
    /// The host leg of an acceptor was there, or the opener was told that it is established.
    is_open: bool,
    wrote: u64,
    has_ended: bool,
    read: u64,
    /// Which end wrote what was read, once that is certain.
    read_from: Option<usize>,
    heard_end: bool,
    /// And when, by the world's clock.
    over: Option<(Over, Instant)>,
}

/// What somebody saw happen that excuses aborts.
#[derive(Debug, Default)]
pub(super) struct Excuses {
    /// A clock jumped, or stood still.
    pub(super) clocks: bool,
    /// Targets were protected.
    pub(super) protected: bool,
    /// Hosts whose flows were all ended.
    pub(super) shut_down: Vec<usize>,
    /// Hosts that were restarted.
    pub(super) restarted: Vec<usize>,
}

/// The model.
#[derive(Debug)]
pub(super) struct Oracle {
    streams: Vec<Vec<End>>,
    pub(super) excuses: Excuses,
}

impl Oracle {
    pub(super) fn new(streams: usize) -> Self {
        Self { streams: (0..streams).map(|_| Vec::new()).collect(), excuses: Excuses::default() }
    }

    fn end(&self, id: EndId) -> &End {
        &self.streams[id.stream][id.end]
    }

    fn end_mut(&mut self, id: EndId) -> &mut End {
        &mut self.streams[id.stream][id.end]
    }

    fn add(&mut self, stream: usize, host: usize, source: SocketAddr, local: Instant) -> EndId {
        let ends = &mut self.streams[stream];
        ends.push(End {
            host,
            source,
            opened_at: local,
            active_at: local,
            is_open: false,
            wrote: 0,
            has_ended: false,
            read: 0,
            read_from: None,
            heard_end: false,
            over: None,
        });
        EndId { stream, end: ends.len() - 1 }
    }

    /// A stream was opened into the tunnel.
    pub(super) fn opened(
        &mut self,
        stream: usize,
        host: usize,
        source: SocketAddr,
        local: Instant,
    ) -> EndId {
        self.add(stream, host, source, local)
    }

    /// A stream was offered to the host behind the other end.
    pub(super) fn offered(
        &mut self,
        stream: usize,
        host: usize,
        source: SocketAddr,
        local: Instant,
        plan: &Plan,
    ) -> Result<EndId, Violation> {
        let opener = self.streams.get(stream).and_then(|ends| ends.first());
        ensure!(
            opener.is_some_and(|opener| opener.source == source),
            "stream {stream} was offered from {source}, which is not where it was opened"
        );
        ensure!(
            plan.streams[stream].acceptor == host,
            "stream {stream} was offered to host {host}"
        );
        Ok(self.add(stream, host, source, local))
    }

    /// The host leg of an acceptor is there.
    pub(super) fn accepted(&mut self, id: EndId, local: Instant) {
        let end = self.end_mut(id);
        end.is_open = true;
        end.opened_at = local;
        end.active_at = local;
    }

    /// The opener was told that its stream is established.
    pub(super) fn established(&mut self, id: EndId, local: Instant) -> Result<(), Violation> {
        let accepted = self.streams[id.stream][1..].iter().any(|end| end.is_open);
        let end = self.end_mut(id);
        ensure!(id.end == 0 && !end.is_open, "{id} was established twice");
        ensure!(accepted, "{id} was established though no host accepted it");
        end.is_open = true;
        end.active_at = local;
        Ok(())
    }

    /// Bytes were given to a flow.
    pub(super) fn wrote(
        &mut self,
        id: EndId,
        len: u64,
        plan: &Plan,
        local: Instant,
    ) -> Result<(), Violation> {
        let others = self.others(id);
        let (read, ring) = others.fold((0, 0), |(read, ring), end| {
            (read.max(end.read), ring.max(plan.hosts[end.host].tcp.receive_buffer))
        });
        let end = self.end_mut(id);
        end.wrote += len;
        end.active_at = local;
        let rings = (plan.hosts[end.host].tcp.send_buffer + ring) as u64;
        ensure!(
            end.wrote <= read + rings,
            "{id} has {} bytes under way, and the rings hold {rings}",
            end.wrote - read
        );
        Ok(())
    }

    /// An application ended its direction.
    pub(super) fn ended(&mut self, id: EndId) {
        self.end_mut(id).has_ended = true;
    }

    /// Bytes came out of a flow.
    pub(super) fn read(
        &mut self,
        id: EndId,
        bytes: &[u8],
        seed: u64,
        local: Instant,
    ) -> Result<(), Violation> {
        let (at, heard_end) = (self.end(id).read, self.end(id).heard_end);
        ensure!(!heard_end, "{id} read bytes behind the end");
        let until = at + bytes.len() as u64;
        let agreement = |(writer, end): (usize, &End)| {
            let difference = Pattern::new(seed, id.stream, writer).difference(at, bytes);
            (difference.unwrap_or(until).min(end.wrote), writer)
        };
        let mut best: Vec<_> = self.writers(id).map(agreement).collect();
        best.sort_unstable_by(|one, other| other.cmp(one));
        let agrees_to = best.first().map_or(0, |(to, _)| *to);
        ensure!(
            agrees_to >= until,
            "{id} read {} bytes at {at}, and byte {agrees_to} is not what was sent there",
            bytes.len()
        );
        let certain = best.iter().filter(|(to, _)| *to == until).count() == 1;
        let end = self.end_mut(id);
        end.read = until;
        end.active_at = local;
        if certain {
            end.read_from = best.first().map(|(_, writer)| *writer);
        }
        Ok(())
    }

    /// A flow said that the far end has ended its direction.
    pub(super) fn heard_end(&mut self, id: EndId) -> Result<(), Violation> {
        let read = self.end(id).read;
        ensure!(!self.end(id).heard_end, "{id} heard the end twice");
        let complete = self.writers(id).any(|(_, end)| end.has_ended && end.wrote == read);
        ensure!(complete, "{id} heard a clean end after {read} bytes, and nobody ended there");
        self.end_mut(id).heard_end = true;
        Ok(())
    }

    /// An end is over.
    pub(super) fn over(
        &mut self,
        id: EndId,
        over: Over,
        plan: &Plan,
        local: Instant,
        now: Instant,
    ) -> Result<(), Violation> {
        let end = self.end(id);
        ensure!(end.over.is_none(), "{id} was over twice: {:?} and {over:?}", end.over);
        match over {
            Over::Closed => {
                ensure!(
                    end.heard_end && end.has_ended,
                    "{id} was closed: own end {}, far end {}",
                    end.has_ended,
                    end.heard_end
                );
            }
            Over::Aborted(abort) => self.may_abort(id, abort, plan, local, now)?,
            Over::BrokenOff | Over::Refused(_) | Over::Lost => {}
        }
        self.end_mut(id).over = Some((over, now));
        Ok(())
    }

    fn may_abort(
        &self,
        id: EndId,
        abort: Abort,
        plan: &Plan,
        local: Instant,
        now: Instant,
    ) -> Result<(), Violation> {
        let end = self.end(id);
        let tcp = &plan.hosts[end.host].tcp;
        let since = |at| local.saturating_duration_since(at);
        let has_cause = match abort {
            Abort::Reset => self.may_be_reset(id, plan, now),
            // At a limit a connect is given up without a word.
            Abort::TimedOut if id.end == 0 => {
                (plan.is_rough || plan.is_tight)
                    && !end.is_open
                    && since(end.opened_at) >= TUNNEL_CONNECT
            }
            Abort::TimedOut if end.is_open => {
                plan.is_rough && since(end.opened_at) >= tcp.half_open_timeout
            }
            Abort::TimedOut => {
                let patient = !matches!(plan.streams[id.stream].connect, Connect::Opens(_));
                (patient || plan.is_rough) && since(end.opened_at) >= tcp.connect_timeout
            }
            Abort::Unreachable => self.others(id).any(|other| {
                let over = other.over.map(|(over, _)| over);
                matches!(
                    over,
                    Some(
                        Over::Refused(
                            Refusal::TimedOut
                                | Refusal::HostUnreachable
                                | Refusal::NetworkUnreachable
                                | Refusal::Prohibited
                        ) | Over::Aborted(Abort::TimedOut)
                    )
                )
            }),
            Abort::Idle => since(end.active_at) >= tcp.idle_timeout.min(STALL),
            Abort::Forbidden => self.excuses.protected,
            // Peers stay as they are.
            Abort::NoPeer => false,
            Abort::Limit => plan.is_tight,
            Abort::ShutDown => self.excuses.shut_down.contains(&end.host),
        };
        ensure!(has_cause, "{id} was aborted ({abort}) without a cause");
        Ok(())
    }

    /// Whether the far end may have sent a reset.
    fn may_be_reset(&self, id: EndId, plan: &Plan, now: Instant) -> bool {
        let stream = &plan.streams[id.stream];
        let refused_unseen = id.end == 0
            && (plan.is_tight
                || self.excuses.protected
                || self.excuses.restarted.contains(&stream.acceptor));
        // Of two that accepted one stream one is not what its opener means.
        let is_ghost = id.end > 0 && self.streams[id.stream].len() > 2;
        let others_over = self.others(id).any(|other| match other.over {
            None => false,
            Some((Over::Closed, at)) => {
                self.excuses.clocks || now.saturating_duration_since(at) >= TIME_WAIT
            }
            Some((Over::Aborted(_) | Over::BrokenOff | Over::Refused(_) | Over::Lost, _)) => true,
        });
        refused_unseen || is_ghost || others_over
    }

    fn others(&self, id: EndId) -> impl Iterator<Item = &End> {
        let ends = self.streams[id.stream].iter().enumerate();
        ends.filter(move |(end, _)| (*end == 0) != (id.end == 0)).map(|(_, end)| end)
    }

    /// Who may have written what an end reads.
    fn writers(&self, id: EndId) -> impl Iterator<Item = (usize, &End)> {
        let known = self.end(id).read_from;
        let ends = self.streams[id.stream].iter().enumerate();
        ends.filter(move |(end, _)| {
            (*end == 0) != (id.end == 0) && known.is_none_or(|known| known == *end)
        })
    }

    /// The first end that is not over.
    pub(super) fn first_open(&self) -> Option<EndId> {
        self.streams.iter().enumerate().find_map(|(stream, ends)| {
            let end = ends.iter().position(|end| end.over.is_none())?;
            Some(EndId { stream, end })
        })
    }

    /// What is known about an end, for a message.
    pub(super) fn describe(&self, id: EndId) -> String {
        format!("{id}: {:?}", self.end(id))
    }

    /// Streams that were complete at the opener.
    pub(super) fn completed(&self) -> usize {
        let closed = |ends: &&Vec<End>| {
            ends.first().is_some_and(|end| matches!(end.over, Some((Over::Closed, _))))
        };
        self.streams.iter().filter(closed).count()
    }

    /// Bytes that were read.
    pub(super) fn bytes(&self) -> u64 {
        self.streams.iter().flatten().map(|end| end.read).sum()
    }
}
