//! [`Replay`]: a tape through a stack of its own.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::{self, MTU_MIN};
use crate::event::Event;
use crate::id::{FlowId, Identity, PeerId};
use crate::routing::Route;
use crate::stack::Stack;
use crate::stack::input::Input;
use crate::stack::outlet::Outlet;
use crate::stats::Counter;
use crate::tap::{Direction, Tap};
use crate::tape::entry::{Entry, Head, Output};
use crate::tape::members::Members;
use crate::tape::script::{Deviation, Script, Subject};
use crate::tape::summary::Summary;
use crate::tape::{TapeError, text};
use crate::time::Instant;

/// A tape that is replayed: call [`step`](Self::step) until the tape ends or something differs.
#[derive(Debug)]
pub struct Replay<'a> {
    program: String,
    script: Script<'a>,
    mtu: u16,
    stack: Stack,
    members: Members,
    begun_at: Instant,
    now: Instant,
    number: u64,
    tap: Option<Box<dyn Tap>>,
    followed: Option<FlowId>,
    lines: Vec<String>,
}

/// What came of one step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// An input was run, and the stack said what it had said.
    Same,
    /// There is nothing more.
    End(TapeEnd),
}

/// How a tape ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TapeEnd {
    /// Behind a whole frame.
    Whole,
    /// It is torn or damaged.
    Torn {
        /// The bytes before the damage.
        position: usize,
        /// What is wrong there.
        what: &'static str,
    },
}

/// The stack said something else than it had said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The input that it followed from; the first is 1.
    pub number: u64,
    /// Its time.
    pub at: Instant,
    /// What it was.
    pub input: String,
    /// The flow that it is about, as far as the input or what came instead says so, or else a flow
    /// that lives between the addresses of that packet.
    pub flow: Option<FlowId>,
    /// What the tape has.
    pub recorded: String,
    /// What came instead.
    pub replayed: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "input {} at {} ns", self.number, self.at.as_nanos())?;
        if let Some(flow) = self.flow {
            write!(f, ", {flow:?}")?;
        }
        let Self { input, recorded, replayed, .. } = self;
        write!(f, "\n  input:    {input}\n  recorded: {recorded}\n  replayed: {replayed}")
    }
}

impl<'a> Replay<'a> {
    /// Opens a tape.
    ///
    /// # Errors
    /// Why it can't be replayed at all.
    pub fn new(tape: &'a [u8]) -> Result<Self, TapeError> {
        let (head, script) = Script::open(tape)?;
        let Head { program, seed, first_generation, at, setup, members: peers } = head;
        let mut members = Members::default();
        if !setup.is_valid() || !peers.into_iter().all(|peer| members.add(peer)) {
            return Err(TapeError::Head);
        }
        let stack = Stack::new(&setup, seed, first_generation);
        Ok(Self {
            program,
            script,
            mtu: setup.mtu,
            stack,
            members,
            begun_at: at,
            now: at,
            number: 0,
            tap: None,
            followed: None,
            lines: Vec::new(),
        })
    }

    /// The version of the program that recorded the tape.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// When the tape begins.
    pub const fn begun_at(&self) -> Instant {
        self.begun_at
    }

    /// The time of the last input.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The inputs that were run.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Has `tap` hear the packets of peers.
    pub fn set_tap(&mut self, tap: Option<Box<dyn Tap>>) {
        self.tap = tap;
    }

    /// Has [`take_lines`](Self::take_lines) tell what happens to a flow.
    pub const fn follow(&mut self, flow: Option<FlowId>) {
        self.followed = flow;
    }

    /// What happened to the flow that is followed since this was last asked, a line for each input
    /// and output.
    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// Runs the next input, and what was asked of the stack before the one that follows.
    ///
    /// # Errors
    /// The first output that differs. Nothing that would follow means anything.
    pub fn step(&mut self) -> Result<Step, Box<Difference>> {
        // The tape of an engine begins with an input, and the step before has asked for the rest.
        self.answer_questions();
        if let Some(deviation) = self.script.deviation() {
            return Err(self.difference("none".into(), None, deviation));
        }
        let Some(Entry::Input { after_ns, input }) = self.script.take() else {
            return Ok(self.end());
        };
        self.number += 1;
        self.now = Instant::from_nanos(self.now.as_nanos().saturating_add(after_ns));
        let text = text::input(&input);
        let subject = Subject::of_input(&input);
        let is_followed = self.is_followed(&subject);
        let heard = self.lines.len();
        if !self.perform(input) {
            self.script.tear_here("an input makes no sense");
            return Ok(self.end());
        }
        // A packet may have begun the flow.
        if is_followed || self.is_followed(&subject) {
            let line = format!("{} {text}", self.place());
            self.lines.insert(heard, line);
        }
        self.answer_questions();
        match self.script.deviation() {
            Some(deviation) => Err(self.difference(text, subject.flow(), deviation)),
            None => Ok(Step::Same),
        }
    }

    const fn end(&self) -> Step {
        Step::End(match self.script.tear() {
            None => TapeEnd::Whole,
            Some(what) => TapeEnd::Torn { position: self.script.position(), what },
        })
    }

    fn difference(
        &self,
        input: String,
        named: Option<FlowId>,
        deviation: Deviation,
    ) -> Box<Difference> {
        let (number, at) = (self.number, self.now);
        let Deviation { recorded, replayed, subject } = deviation;
        let flow = named.or_else(|| match subject {
            Subject::Flow(flow) => Some(flow),
            Subject::Packet(packet) => self.stack.find(|meta| packet.is_of(meta)),
            Subject::Nobody => None,
        });
        Box::new(Difference { number, at, input, flow, recorded, replayed })
    }

    fn place(&self) -> String {
        place(self.number, self.now, self.begun_at)
    }

    fn is_followed(&self, subject: &Subject) -> bool {
        self.followed.is_some_and(|followed| match subject {
            Subject::Flow(flow) => *flow == followed,
            Subject::Packet(packet) => is_of(&self.stack, followed, packet),
            Subject::Nobody => false,
        })
    }

    /// Asks the stack what it was asked for behind the last input.
    fn answer_questions(&mut self) {
        let Self { script, stack, .. } = self;
        loop {
            let output = match script.peek() {
                Some(Entry::Output(asked)) => match asked {
                    Output::Deadline(_) => Output::Deadline(stack.poll_timeout()),
                    Output::Action(_) => Output::Action(stack.poll_action()),
                    Output::Datagram(_) => Output::take_datagram(stack),
                    Output::Room { flow, .. } => Output::room(stack, *flow),
                    Output::Received { flow, taken, .. } => Output::received(stack, *flow, *taken),
                    Output::Packet { .. } | Output::Count(_) | Output::Reply(_) => {
                        return script.skip();
                    }
                },
                Some(Entry::Room { .. } | Entry::PathMtu(_)) => return script.skip(),
                Some(Entry::Input { .. }) | None => return,
            };
            let is_said = matches!(output, Output::Action(_) | Output::Datagram(_));
            if is_said && self.followed.is_some() && text::flow_of_output(&output) == self.followed
            {
                let place = place(self.number, self.now, self.begun_at);
                self.lines.push(format!("{place}   {}", text::output(&output)));
            }
            if !script.expect(&output) {
                return;
            }
        }
    }

    /// Runs an input. Says whether it can have been one.
    fn perform(&mut self, input: Input<'_>) -> bool {
        let can_be = match &input {
            Input::Packet { peer, .. } | Input::PathMtu(peer) | Input::PeerMoved(peer) => {
                self.members.identity(*peer).is_some()
            }
            Input::PeerAdded(member) => self.members.add(member.clone()),
            Input::PeersChanged(changed) => self.members.change(changed),
            Input::Rules(rules) => config::check::rules(rules).is_ok(),
            _ => true,
        };
        if !can_be {
            return false;
        }
        let place = if self.followed.is_some() { self.place() } else { String::new() };
        let Self { script, mtu, stack, members, now, tap, followed, lines, .. } = self;
        let (mtu, now, followed) = (*mtu, *now, *followed);
        let gone = if let Input::PeerRemoved(peer) = input { Some(peer) } else { None };
        let mut stage = Stage { script, mtu, members, tap, now, sent: Vec::new(), followed };
        if let Input::Packet { peer, bytes } = &input {
            stage.tap(*peer, Direction::In, bytes.as_slice());
        }
        let reply = stack.handle(input, &mut stage, now);
        if let Some(reply) = Output::reply(reply) {
            stage.script.expect(&reply);
        }
        for packet in std::mem::take(&mut stage.sent) {
            if followed.is_some_and(|flow| is_of(stack, flow, &packet.summary)) {
                lines.push(format!("{place}   {}", packet.text));
            }
        }
        if let Some(peer) = gone {
            members.remove(peer);
        }
        true
    }
}

/// Where on a tape something was: the number of its input, and seconds since the beginning.
fn place(number: u64, now: Instant, begun_at: Instant) -> String {
    let passed = now.saturating_duration_since(begun_at);
    format!("{number:>8} {:>12.6}", passed.as_secs_f64())
}

/// Whether a packet is of a flow that lives.
fn is_of(stack: &Stack, flow: FlowId, packet: &Summary) -> bool {
    stack.meta(flow).is_some_and(|meta| packet.is_of(meta))
}

/// A packet that was sent, for whoever follows its flow.
#[derive(Debug)]
struct SentPacket {
    summary: Summary,
    text: String,
}

/// The tunnel's place.
struct Stage<'s, 'a> {
    script: &'s mut Script<'a>,
    mtu: u16,
    members: &'s Members,
    tap: &'s mut Option<Box<dyn Tap>>,
    now: Instant,
    /// What was sent, if somebody follows a flow.
    sent: Vec<SentPacket>,
    followed: Option<FlowId>,
}

impl Stage<'_, '_> {
    fn tap(&mut self, peer: PeerId, direction: Direction, packet: &[u8]) {
        if let Some(tap) = self.tap
            && let Some(identity) = self.members.identity(peer)
        {
            tap.packet(peer, identity, direction, packet, self.now);
        }
    }
}

impl Outlet for Stage<'_, '_> {
    fn has_room(&mut self) -> bool {
        self.script.has_room()
    }

    fn send(&mut self, peer: PeerId, buffer: &mut [u8], len: usize) {
        let packet = &buffer[..len.min(buffer.len())];
        self.tap(peer, Direction::Out, packet);
        let output = Output::packet(peer, packet);
        if self.followed.is_some()
            && let Some(summary) = Summary::of(packet)
        {
            self.sent.push(SentPacket { summary, text: text::output(&output) });
        }
        self.script.expect(&output);
    }

    fn route(&self, destination: IpAddr) -> Option<Route> {
        self.members.allowed_ips.route(destination)
    }

    fn path_mtu(&mut self, _: PeerId) -> u16 {
        // As the tunnel promises; a damaged tape does not.
        self.script.path_mtu(self.mtu).clamp(MTU_MIN, self.mtu)
    }

    fn identity(&self, peer: PeerId) -> Option<Arc<Identity>> {
        self.members.identity(peer).cloned()
    }

    fn is_observed(&self) -> bool {
        false
    }

    fn tell(&mut self, _: Event<'_>) {}

    fn count(&mut self, _: PeerId, counter: Counter) {
        self.script.expect(&Output::Count(counter.name()));
    }
}
