//! One TCP flow: what the embedder is told of a connection, and when it is over.

use std::collections::VecDeque;
use std::time::Duration;

use crate::action::Action;
use crate::config;
use crate::flow::Abort;
use crate::id::FlowId;
use crate::limits::{
    SEGMENTS_PER_TURN, TCP_REST_MIN, TCP_STALL_TIMEOUT, TCP_TUNNEL_CONNECT_TIMEOUT,
};
use crate::outcome::FlowOutcome;
use crate::stack::limit::memory::Allowance;
use crate::stack::outlet::Exit;
use crate::stack::packet::Packet;
use crate::stack::tcp::bare::Standing;
use crate::stack::tcp::connection::{Connection, Phase, WasReset};
use crate::state::{FlowStatus, Transfer};
use crate::time::Instant;

/// A TCP flow.
#[derive(Debug)]
pub(crate) struct TcpFlow {
    stage: FlowStage,
    told: Told,
    host_end: HostEnd,
    /// The far end is gone; what it sent before is still being read.
    was_reset: bool,
    /// The embedder opened it.
    is_ours: bool,
    started_at: Instant,
    /// When the far end last said something of its own accord, or bytes last moved between the
    /// embedder and a ring.
    active_at: Instant,
    transfer: Transfer,
    /// Bytes of its rings that were resident when they were last counted.
    accounted: usize,
    /// Bytes that were in flight when they were last counted.
    flight: u64,
    /// Whether bytes were in its rings since the embedder was told that they hold none.
    has_touched: bool,
}

/// How far a flow is.
#[derive(Debug)]
pub(crate) enum FlowStage {
    /// The embedder has been asked to connect; the peer's SYN is kept for that long, without what
    /// it carries.
    Offered(Box<[u8]>),
    /// There is a connection in the tunnel.
    Live(Box<Connection>),
}

/// What the embedder already knows.
#[derive(Debug, Default)]
struct Told {
    established: bool,
    readable: bool,
    shut_down: bool,
    /// It found the send ring full.
    full: bool,
    /// It waits for memory, as the account of all flows knows.
    starved: bool,
}

/// How far the end of the embedder's direction has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HostEnd {
    /// It still sends.
    Sending,
    /// It ended; the FIN waits for the handshake.
    Ended,
    /// The FIN is the engine's to deliver.
    Passed,
}

/// What is left to do for a flow after it was serviced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NextTurn {
    /// Nothing before this time.
    Rest(Option<Instant>),
    /// There is more to send.
    Again,
    /// It is over; the embedder has been told.
    Over(FlowOutcome),
}

impl TcpFlow {
    /// A flow that a peer asked for with this SYN.
    pub(crate) fn offered(syn: &Packet<'_>, now: Instant) -> Self {
        Self::new(FlowStage::Offered(syn.head_of_segment()), false, now)
    }

    /// A flow that the embedder opened.
    pub(crate) fn opened(connection: Connection, now: Instant) -> Self {
        Self::new(FlowStage::Live(Box::new(connection)), true, now)
    }

    fn new(stage: FlowStage, is_ours: bool, now: Instant) -> Self {
        Self {
            stage,
            told: Told { established: !is_ours, ..Told::default() },
            host_end: HostEnd::Sending,
            was_reset: false,
            is_ours,
            started_at: now,
            active_at: now,
            transfer: Transfer::default(),
            accounted: 0,
            flight: 0,
            has_touched: false,
        }
    }

    /// Bytes of its rings that were resident when they were last counted.
    pub(crate) const fn accounted(&self) -> usize {
        self.accounted
    }

    /// Bytes in flight when they were last counted, and now, when they are.
    pub(crate) fn take_flight(&mut self) -> (u64, u64) {
        let now = self.connection().map_or(0, Connection::flight);
        (std::mem::replace(&mut self.flight, now), now)
    }

    /// Bytes that were in flight when they were last counted.
    pub(crate) const fn flight(&self) -> u64 {
        self.flight
    }

    /// When it last did something that counts; for an offer, when it was made.
    pub(crate) const fn active_at(&self) -> Instant {
        self.active_at
    }

    /// Bytes that have moved between its rings and the embedder.
    pub(crate) const fn transfer(&self) -> Transfer {
        self.transfer
    }

    /// How far it is.
    pub(crate) fn status(&self) -> FlowStatus {
        let FlowStage::Live(connection) = &self.stage else { return FlowStatus::Connecting };
        match (connection.phase(), self.host_end) {
            _ if self.was_reset => FlowStatus::PeerReset,
            (Phase::Opening, _) => FlowStatus::Handshake,
            (Phase::Open, HostEnd::Sending) => FlowStatus::Established,
            (Phase::Open, HostEnd::Ended | HostEnd::Passed) => FlowStatus::HostEnded,
            (Phase::FarEnded, HostEnd::Sending) => FlowStatus::PeerEnded,
            (Phase::FarEnded, HostEnd::Ended | HostEnd::Passed) | (Phase::Over, _) => {
                FlowStatus::Closing
            }
        }
    }

    /// Counts what is resident of its rings.
    pub(crate) fn take_account(&mut self) -> usize {
        let FlowStage::Live(connection) = &self.stage else { return self.accounted };
        self.accounted = connection.resident();
        self.has_touched |= connection.needs_rings();
        self.accounted
    }

    /// When its rings will have held nothing for this long.
    fn rings_idle_at(&self, rest: Duration) -> Option<Instant> {
        let is_idle = self.has_touched && !self.needs_rings();
        is_idle.then(|| self.active_at + rest)
    }

    /// Whether its rings hold something that is needed.
    pub(crate) fn needs_rings(&self) -> bool {
        self.connection().is_some_and(Connection::needs_rings)
    }

    /// Whether the far end has nothing more to do with it, though what it sent may not have been
    /// read yet: it is free to begin anew.
    pub(crate) fn has_ended(&self) -> bool {
        let phase = self.connection().map(Connection::phase);
        self.was_reset || phase == Some(Phase::Over)
    }

    /// Where the connection stood, if it has ended in good order.
    pub(crate) fn final_standing(&self) -> Option<Standing> {
        let connection = self.connection().filter(|_| !self.was_reset)?;
        (connection.phase() == Phase::Over).then(|| connection.final_standing()).flatten()
    }

    pub(crate) const fn stage(&self) -> &FlowStage {
        &self.stage
    }

    pub(crate) const fn stage_mut(&mut self) -> &mut FlowStage {
        &mut self.stage
    }

    pub(crate) fn connection(&self) -> Option<&Connection> {
        match &self.stage {
            FlowStage::Offered(_) => None,
            FlowStage::Live(connection) => Some(connection),
        }
    }

    pub(crate) fn connection_mut(&mut self) -> Option<&mut Connection> {
        match &mut self.stage {
            FlowStage::Offered(_) => None,
            FlowStage::Live(connection) => Some(connection),
        }
    }

    /// The embedder connected: from an offer to a connection, which the kept SYN is for.
    pub(crate) fn accept(&mut self, connection: Connection, now: Instant) -> Option<Box<[u8]>> {
        let live = FlowStage::Live(Box::new(connection));
        match std::mem::replace(&mut self.stage, live) {
            FlowStage::Offered(syn) => {
                self.started_at = now;
                self.active_at = now;
                Some(syn)
            }
            already @ FlowStage::Live(_) => {
                self.stage = already;
                None
            }
        }
    }

    /// Takes one segment of the far end.
    pub(crate) fn handle_segment(&mut self, packet: Packet<'_>, exit: &mut Exit<'_>, now: Instant) {
        let FlowStage::Live(connection) = &mut self.stage else { return };
        if !connection.is_answer_to_keepalive(&packet) {
            self.active_at = now;
        }
        if connection.handle_segment(&packet, exit, now) == Err(WasReset) {
            connection.silence();
            self.was_reset = true;
        }
    }

    /// The embedder ended its direction.
    pub(crate) fn handle_host_ended(&mut self) {
        if self.host_end == HostEnd::Sending {
            self.host_end = HostEnd::Ended;
        }
    }

    /// Whether the embedder waits for room that only the memory of all flows can give; said once,
    /// until it is [relieved](Self::relieve).
    pub(crate) fn starves(&mut self, allowance: Allowance) -> bool {
        let lacks_memory = self.connection().is_some_and(|connection| {
            connection.has_room() && connection.send_room(allowance.room) == 0
        });
        let newly = lacks_memory && self.told.full && !self.told.starved;
        self.told.starved |= newly;
        newly
    }

    /// There is memory again.
    pub(crate) const fn relieve(&mut self) {
        self.told.starved = false;
    }

    /// The room for bytes of the embedder, as far as it is allowed; `None` if it has ended its
    /// direction, or there is no ring.
    pub(crate) fn room(&mut self, allowance: Allowance) -> Option<&mut [u8]> {
        if self.host_end != HostEnd::Sending || self.was_reset {
            return None;
        }
        let FlowStage::Live(connection) = &mut self.stage else { return None };
        let limit = connection.send_room(allowance.room);
        connection.room(limit)
    }

    /// The embedder has more than there was room for.
    pub(crate) const fn handle_full(&mut self) {
        self.told.full = true;
    }

    /// The embedder has filled the first `len` bytes of the [room](Self::room).
    pub(crate) fn commit(&mut self, len: usize, now: Instant) {
        let FlowStage::Live(connection) = &mut self.stage else { return };
        let moved = connection.commit(len);
        self.transfer.bytes_out += moved as u64;
        if moved > 0 {
            self.active_at = now;
        }
    }

    /// What the embedder may read, from the front.
    pub(crate) fn received(&mut self) -> &[u8] {
        self.connection_mut().map_or(&[], Connection::received)
    }

    /// The embedder has taken the first `len` bytes of that.
    pub(crate) fn consume(&mut self, len: usize, now: Instant) {
        let FlowStage::Live(connection) = &mut self.stage else { return };
        let moved = connection.consume(len);
        if !connection.has_received() {
            self.told.readable = false;
        }
        self.transfer.bytes_in += moved as u64;
        if moved > 0 {
            self.active_at = now;
        }
    }

    /// Sends what is due, tells the embedder what is new, and says what is left to do.
    pub(crate) fn service(
        &mut self,
        id: FlowId,
        config: &config::Tcp,
        allowance: Allowance,
        actions: &mut VecDeque<Action>,
        exit: &mut Exit<'_>,
        now: Instant,
    ) -> NextTurn {
        let deadline = self.deadline(config);
        let FlowStage::Live(connection) = &mut self.stage else {
            if deadline > now {
                return NextTurn::Rest(Some(deadline));
            }
            actions.push_back(Action::Aborted(id, Abort::TimedOut));
            return NextTurn::Over(FlowOutcome::HostTimeout);
        };
        if deadline <= now {
            let abort = match connection.phase() {
                Phase::Opening => Abort::TimedOut,
                Phase::Open | Phase::FarEnded | Phase::Over if self.was_reset => Abort::Reset,
                Phase::Open | Phase::FarEnded | Phase::Over => Abort::Idle,
            };
            connection.send_reset(exit);
            actions.push_back(Action::Aborted(id, abort));
            return NextTurn::Over(abort.into());
        }
        if self.host_end == HostEnd::Ended && connection.phase() != Phase::Opening {
            connection.shut_down();
            self.host_end = HostEnd::Passed;
        }
        let more = connection.transmit(SEGMENTS_PER_TURN, exit, now);
        self.tell(id, allowance, actions);
        if let Some(end) = self.end() {
            let (action, outcome) = match end {
                FlowEnd::Complete => (Action::Closed(id), FlowOutcome::Closed),
                FlowEnd::Reset => (Action::Aborted(id, Abort::Reset), FlowOutcome::PeerReset),
            };
            actions.push_back(action);
            return NextTurn::Over(outcome);
        }
        if more {
            return NextTurn::Again;
        }
        let mut deadline = deadline;
        if let Some(at) = self.rings_idle_at(allowance.rest) {
            if at <= now {
                self.has_touched = false;
                actions.push_back(Action::Idle(id));
            } else {
                deadline = deadline.min(at);
            }
        }
        let FlowStage::Live(connection) = &mut self.stage else {
            return NextTurn::Rest(Some(deadline));
        };
        match connection.poll_at() {
            Some(due) if due > now => NextTurn::Rest(Some(due.min(deadline))),
            Some(_) if !exit.outlet.has_room() => NextTurn::Again,
            // It is due and there was room: whatever it waits for, spinning won't bring it.
            Some(_) => NextTurn::Rest(Some(now + TCP_REST_MIN)),
            None => NextTurn::Rest(Some(deadline)),
        }
    }

    /// Tells the embedder what it does not know yet.
    fn tell(&mut self, id: FlowId, allowance: Allowance, actions: &mut VecDeque<Action>) {
        let FlowStage::Live(connection) = &self.stage else { return };
        let phase = connection.phase();
        if phase == Phase::Opening {
            return;
        }
        if !self.told.established {
            self.told.established = true;
            actions.push_back(Action::Established(id));
        }
        if connection.has_received() {
            if !self.told.readable {
                self.told.readable = true;
                actions.push_back(Action::Readable(id));
            }
        } else if phase != Phase::Open && !self.told.shut_down && !self.was_reset {
            self.told.shut_down = true;
            actions.push_back(Action::Shutdown(id));
        }
        if self.told.full && connection.has_room() && connection.send_room(allowance.room) > 0 {
            self.told.full = false;
            actions.push_back(Action::Writable(id));
        }
    }

    /// Whether and how the flow is over.
    fn end(&self) -> Option<FlowEnd> {
        let FlowStage::Live(connection) = &self.stage else { return None };
        if connection.has_received() {
            return None;
        }
        if self.was_reset {
            return Some(FlowEnd::Reset);
        }
        (connection.phase() == Phase::Over).then_some(FlowEnd::Complete)
    }

    /// When the flow has to end for want of progress.
    fn deadline(&self, config: &config::Tcp) -> Instant {
        let (since, patience): (Instant, Duration) = match &self.stage {
            FlowStage::Offered(_) => (self.started_at, config.connect_timeout),
            FlowStage::Live(connection) => match connection.phase() {
                Phase::Opening if self.is_ours => (self.started_at, TCP_TUNNEL_CONNECT_TIMEOUT),
                Phase::Opening => (self.started_at, config.half_open_timeout),
                Phase::Open | Phase::FarEnded | Phase::Over => {
                    let stalled = connection.awaits_acknowledgement() || self.was_reset;
                    let stall = if stalled { TCP_STALL_TIMEOUT } else { Duration::MAX };
                    (self.active_at, config.idle_timeout.min(stall))
                }
            },
        };
        since + patience
    }
}

/// How a flow is over.
enum FlowEnd {
    Complete,
    Reset,
}
