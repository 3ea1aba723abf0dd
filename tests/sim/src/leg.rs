//! The host leg of one flow, moved as a driver moves it: bytes pass between the flow and the socket
//! only when somebody said that there may be some, so that a word that core forgets is missed.

use slipwire_core::{Engine, FlowId, Instant};

use super::oracle::{EndId, Over, Violation, ensure};
use super::pattern::Pattern;
use super::scene::Scene;
use super::socket::Socket;

/// How far a leg is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The host has not answered yet, or the other end of the tunnel has not.
    Waiting,
    /// Bytes may move.
    Open,
}

/// The leg of a TCP flow.
#[derive(Debug)]
pub(super) struct StreamLeg {
    pub(super) id: EndId,
    pub(super) stage: Stage,
    pub(super) socket: Socket,
    flow_readable: bool,
    flow_writable: bool,
    /// Bytes were announced, and have not all been taken.
    was_told_readable: bool,
    /// The flow lent no room, and has not said since that there is some.
    was_full: bool,
    /// The host's direction has ended.
    read_ended: bool,
    /// The flow's direction has ended.
    write_ended: bool,
}

/// What a leg is after its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// It goes on by itself at that time.
    Wakes(Option<Instant>),
    /// The application broke off, and the engine was told.
    BrokeOff,
}

impl StreamLeg {
    pub(super) const fn new(id: EndId, socket: Socket) -> Self {
        Self {
            id,
            stage: Stage::Waiting,
            socket,
            flow_readable: true,
            flow_writable: true,
            was_told_readable: false,
            was_full: false,
            read_ended: false,
            write_ended: false,
        }
    }

    pub(super) const fn hurry(&mut self) {
        self.socket.hurry();
    }

    pub(super) fn handle_readable(&mut self) -> Result<(), Violation> {
        ensure!(!self.was_told_readable, "{} was told again of bytes that it left", self.id);
        ensure!(self.stage == Stage::Open, "{} has bytes before it is open", self.id);
        self.was_told_readable = true;
        self.flow_readable = true;
        Ok(())
    }

    pub(super) fn handle_writable(&mut self) -> Result<(), Violation> {
        ensure!(self.was_full, "{} was told of room that it did not ask for", self.id);
        self.was_full = false;
        self.flow_writable = true;
        Ok(())
    }

    pub(super) fn handle_shutdown(
        &mut self,
        flow: FlowId,
        engine: &mut Engine,
        scene: &mut Scene,
    ) -> Result<(), Violation> {
        // It may be closed already, which is said next.
        let left = engine.flow(flow).map_or(0, |mut flow| flow.received().len());
        ensure!(left == 0, "{} ended with {left} bytes left", self.id);
        scene.oracle.heard_end(self.id)?;
        self.write_ended = true;
        self.socket.shut_down();
        Ok(())
    }

    /// Moves what can be moved.
    pub(super) fn work(
        &mut self,
        flow: FlowId,
        engine: &mut Engine,
        scene: &mut Scene,
        local: Instant,
    ) -> Result<Left, Violation> {
        let mut wakes_at = self.socket.advance(scene.now);
        if self.stage == Stage::Waiting {
            return Ok(Left::Wakes(None));
        }
        loop {
            if self.socket.breaks() && !(self.read_ended && self.write_ended) {
                if let Ok(flow) = engine.flow(flow) {
                    flow.abort(local);
                }
                scene.note(format_args!("{} breaks off", self.id));
                scene.oracle.over(self.id, Over::BrokenOff, &scene.plan, local, scene.now)?;
                return Ok(Left::BrokeOff);
            }
            let moved_in = self.write_to_host(flow, engine, scene, local)?;
            let moved_out = self.read_from_host(flow, engine, scene, local)?;
            wakes_at = self.socket.advance(scene.now).or(wakes_at.filter(|at| *at > scene.now));
            if !moved_in && !moved_out {
                return Ok(Left::Wakes(wakes_at));
            }
        }
    }

    fn write_to_host(
        &mut self,
        flow: FlowId,
        engine: &mut Engine,
        scene: &mut Scene,
        local: Instant,
    ) -> Result<bool, Violation> {
        let room = self.socket.writable() as usize;
        if !self.flow_readable || self.write_ended || room == 0 {
            return Ok(false);
        }
        let Ok(mut flow) = engine.flow(flow) else {
            self.flow_readable = false;
            return Ok(false);
        };
        let bytes = flow.received();
        let mut taken = bytes[..bytes.len().min(room)].to_vec();
        self.was_told_readable &= bytes.len() > taken.len();
        if taken.is_empty() {
            self.flow_readable = false;
            return Ok(false);
        }
        flow.consume(taken.len(), local);
        if let Some(mutant) = scene.mutant {
            mutant.stream(self.socket.received, &mut taken);
        }
        scene.note(format_args!("{} reads {} bytes", self.id, taken.len()));
        scene.oracle.read(self.id, &taken, scene.plan.seed, local)?;
        self.socket.received += taken.len() as u64;
        Ok(true)
    }

    fn read_from_host(
        &mut self,
        flow: FlowId,
        engine: &mut Engine,
        scene: &mut Scene,
        local: Instant,
    ) -> Result<bool, Violation> {
        if !self.flow_writable || self.read_ended {
            return Ok(false);
        }
        let Ok(mut flow) = engine.flow(flow) else {
            self.flow_writable = false;
            return Ok(false);
        };
        let room = flow.send_room(local);
        if room.is_empty() {
            self.flow_writable = false;
            self.was_full = true;
            return Ok(false);
        }
        let len = room.len().min(self.socket.readable() as usize);
        if len > 0 {
            let pattern = Pattern::new(scene.plan.seed, self.id.stream, self.id.end);
            pattern.fill(self.socket.sent, &mut room[..len]);
            flow.commit(len, local);
            scene.note(format_args!("{} writes {len} bytes", self.id));
            self.socket.sent += len as u64;
            scene.oracle.wrote(self.id, len as u64, &scene.plan, local)?;
            return Ok(true);
        }
        if self.socket.is_at_end() {
            scene.note(format_args!("{} ends", self.id));
            self.read_ended = true;
            scene.oracle.ended(self.id);
            flow.shut_down(local);
        }
        Ok(false)
    }
}
