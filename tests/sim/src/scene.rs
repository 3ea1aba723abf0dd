//! What all hosts of a world share: the time, the plan, what will happen and what has happened.

use std::fmt;
use std::net::SocketAddr;

use slipwire_core::{FlowId, Instant, PeerId};

use super::agenda::Agenda;
use super::log::Log;
use super::mail::Mail;
use super::oracle::Oracle;
use super::plan::Plan;
use super::tamper::Mutant;
use super::wall::Wall;
use slipwire_worlds::dice::Dice;

/// Something that happens.
#[derive(Debug)]
pub(super) enum Occurrence {
    /// A datagram arrives at an address.
    Arrival { to: SocketAddr, from: SocketAddr, datagram: Vec<u8> },
    /// A host has something to do that it did not do at once.
    Turn(usize),
    /// The application behind a leg acts.
    Leg(LegId),
    /// The connect of a leg has come to its end.
    Connected(LegId),
    /// A leg sends a datagram.
    Datagram(LegId),
    /// A name was resolved.
    Resolved { host: usize, life: u32, peer: PeerId },
    /// A stream is opened.
    Stream(usize),
    /// A flow of datagrams is opened.
    Datagrams(usize),
    /// Something befalls the world.
    Fault(usize),
    /// A partition ends.
    Mended(usize),
    /// Every fault ends.
    Calm,
}

/// Names a leg of a host, in one of the lives of its engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LegId {
    pub(super) host: usize,
    pub(super) life: u32,
    pub(super) flow: FlowId,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) plan: Plan,
    pub(super) now: Instant,
    pub(super) agenda: Agenda<Occurrence>,
    pub(super) oracle: Oracle,
    pub(super) mail: Mail,
    pub(super) log: Log,
    pub(super) dice: Dice,
    pub(super) mutant: Option<Mutant>,
    pub(super) is_calm: bool,
    pub(super) wall: Wall,
}

impl Scene {
    pub(super) fn note(&mut self, line: fmt::Arguments<'_>) {
        self.log.note(self.now, line);
    }
}
