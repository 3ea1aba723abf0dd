//! One host: a whole engine, the legs of its flows, and the loop that a driver would run.
//!
//! What an engine says is carried out in [`act`](super::act), and what must hold after each turn is
//! in [`audit`](super::audit).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use slipwire_core::{Config, Engine, FlowId, Instant, Protocol};

use super::Taping;
use super::audit::Tally;
use super::leg::{Left, StreamLeg};
use super::mail::Way;
use super::oracle::{Over, Violation, ensure};
use super::plan::{HostPlan, Plan};
use super::scene::{LegId, Occurrence, Scene};
use super::setup;
use super::tape::Tape;
use super::witness::Witness;
use slipwire_worlds::dice::Dice;
use slipwire_worlds::ledger::Ledger;

/// Rounds of outputs that one turn may take.
const ROUNDS_MAX: usize = 10_000;
/// Turns that a host may take without the time going on.
const TURNS_MAX: usize = 10_000;
/// Datagrams that a host takes in before it lets its engine speak.
const BATCH: usize = 32;

/// A datagram of WireGuard on its way.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) datagram: Vec<u8>,
}

/// The leg of a UDP flow.
#[derive(Debug)]
pub(super) struct DatagramLeg {
    pub(super) flow: usize,
    /// The way that datagrams go which this leg sends.
    pub(super) sends: Way,
    pub(super) active_at: Instant,
}

/// The host leg of a flow.
#[derive(Debug)]
pub(super) enum Leg {
    Stream(StreamLeg),
    Datagrams(DatagramLeg),
}

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) index: usize,
    pub(super) plan: HostPlan,
    config: Config,
    pub(super) engine: Engine,
    pub(super) witness: Witness,
    /// What TCP sends, and what it sends again.
    pub(super) ledger: Ledger,
    /// What is recorded of it, if anything.
    tape: Option<Tape>,
    /// How often the engine was replaced.
    pub(super) life: u32,
    pub(super) address: SocketAddr,
    /// How far its clock is ahead of the world's.
    pub(super) skew: Duration,
    pub(super) legs: BTreeMap<FlowId, Leg>,
    /// Legs with something to do.
    pub(super) busy: BTreeSet<FlowId>,
    /// Flows that were over before anybody could look at them.
    pub(super) stillborn: BTreeSet<FlowId>,
    inbox: VecDeque<Letter>,
    pub(super) tally: Tally,
    /// When it takes its next turn, unless a timer is due before.
    turn_at: Option<Instant>,
    frozen_until: Instant,
    /// Datagrams that its socket still takes, and since when it takes no more.
    credit: usize,
    pub(super) blocked_until: Option<Instant>,
    turned_at: Instant,
    turns: usize,
}

impl Host {
    pub(super) fn new(index: usize, plan: &Plan, taping: Taping, dice: &mut Dice) -> Self {
        let config = setup::config(index, plan);
        let host_plan = plan.hosts[index].clone();
        let skew = dice.time(Duration::ZERO, Duration::from_secs(1_000_000));
        let mut engine = setup::engine(&config, dice);
        let tape = (taping == Taping::On).then(|| Tape::start(&mut engine));
        let witness = Witness::of(&mut engine);
        let ledger = Ledger::of(&mut engine);
        Self {
            index,
            engine,
            witness,
            ledger,
            tape,
            config,
            life: 0,
            address: setup::address(index),
            skew,
            legs: BTreeMap::new(),
            busy: BTreeSet::new(),
            stillborn: BTreeSet::new(),
            inbox: VecDeque::new(),
            tally: Tally::default(),
            turn_at: Some(Instant::ZERO),
            frozen_until: Instant::ZERO,
            credit: host_plan.uplink.map_or(usize::MAX, |(credit, _)| credit),
            blocked_until: None,
            turned_at: Instant::ZERO,
            turns: 0,
            plan: host_plan,
        }
    }

    pub(super) fn local(&self, now: Instant) -> Instant {
        now + self.skew
    }

    pub(super) const fn leg_id(&self, flow: FlowId) -> LegId {
        LegId { host: self.index, life: self.life, flow }
    }

    /// Whether a leg still lives.
    pub(super) fn has(&self, id: LegId) -> bool {
        self.life == id.life && self.legs.contains_key(&id.flow)
    }

    /// When it takes its next turn.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        let timer = self.engine.poll_timeout().map(|at| {
            let at = at.as_nanos().saturating_sub(self.skew.as_nanos() as u64);
            Instant::from_nanos(at)
        });
        let due = timer.into_iter().chain(self.turn_at).min()?;
        Some(due.max(self.frozen_until))
    }

    /// Sees to it that it takes a turn soon: at once, or as late as its plan allows.
    pub(super) fn wake(&mut self, scene: &mut Scene) {
        let lag = if scene.is_calm { Duration::ZERO } else { self.plan.lag };
        let at = scene.now + scene.dice.time(Duration::ZERO, lag);
        self.turn_at = Some(self.turn_at.map_or(at, |known| known.min(at)));
    }

    pub(super) fn take_in(&mut self, letter: Letter, scene: &mut Scene) {
        self.inbox.push_back(letter);
        self.wake(scene);
    }

    pub(super) const fn freeze(&mut self, until: Instant) {
        self.frozen_until = until;
    }

    /// Every leg hurries, and nothing holds the host back.
    pub(super) fn calm(&mut self) {
        self.frozen_until = Instant::ZERO;
        self.plan.uplink = None;
        self.credit = usize::MAX;
        self.blocked_until = None;
        for (flow, leg) in &mut self.legs {
            match leg {
                Leg::Stream(leg) => leg.hurry(),
                Leg::Datagrams(_) => {}
            }
            self.busy.insert(*flow);
        }
    }

    /// The engine and all its flows are gone; another one starts.
    pub(super) fn restart(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        let local = self.local(scene.now);
        for leg in std::mem::take(&mut self.legs).into_values() {
            match leg {
                Leg::Stream(leg) => {
                    scene.oracle.over(leg.id, Over::Lost, &scene.plan, local, scene.now)?;
                }
                Leg::Datagrams(_) => {}
            }
        }
        self.busy.clear();
        self.inbox.clear();
        self.life += 1;
        self.tally = Tally::default();
        self.check_tape()?;
        // Before boringtun does, and after.
        scene.wall.look(SystemTime::now());
        self.engine = setup::engine(&self.config, &mut scene.dice);
        scene.wall.look(SystemTime::now());
        self.witness = Witness::of(&mut self.engine);
        self.ledger = Ledger::of(&mut self.engine);
        self.tape = self.tape.take().map(|_| Tape::start(&mut self.engine));
        self.wake(scene);
        Ok(())
    }

    /// What is recorded of the engine that lives now.
    pub(super) fn tape(&self) -> Vec<u8> {
        self.tape.as_ref().map(Tape::bytes).unwrap_or_default()
    }

    /// Whether a replay of what was recorded says the same.
    pub(super) fn check_tape(&mut self) -> Result<(), Violation> {
        self.tape.as_ref().map_or(Ok(()), |tape| tape.check(&mut self.engine, self.index))
    }

    /// Does all that there is to do, in the order of a driver.
    pub(super) fn turn(
        &mut self,
        scene: &mut Scene,
        outbox: &mut Vec<Letter>,
    ) -> Result<(), Violation> {
        self.turn_at = None;
        self.turns = if self.turned_at == scene.now { self.turns + 1 } else { 0 };
        self.turned_at = scene.now;
        ensure!(self.turns < TURNS_MAX, "host {} turns and turns, and no time passes", self.index);
        let timer_first = scene.dice.chance(500_000);
        if timer_first {
            self.let_time_pass(scene)?;
        }
        self.receive(scene, outbox)?;
        if !timer_first {
            self.let_time_pass(scene)?;
        }
        self.settle(scene, outbox)?;
        self.audit(scene)
    }

    fn let_time_pass(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        let local = self.local(scene.now);
        if self.engine.poll_timeout().is_some_and(|at| at <= local) {
            self.engine.handle_timeout(local);
            scene.note(format_args!("host {} lets time pass", self.index));
            let next = self.engine.poll_timeout();
            ensure!(next.is_none_or(|at| at > local), "a deadline of host {} stays", self.index);
        }
        Ok(())
    }

    fn receive(&mut self, scene: &mut Scene, outbox: &mut Vec<Letter>) -> Result<(), Violation> {
        let local = self.local(scene.now);
        let mut batch = 0;
        while let Some(Letter { from, datagram: mut train, .. }) = self.inbox.pop_front() {
            let segment_size = train.len();
            batch += 1;
            while batch < BATCH
                && let Some(more) = self.pop_segment(from, &train, segment_size)
            {
                train.extend(more);
                batch += 1;
            }
            self.tally.datagrams_in += train.len().div_ceil(segment_size.max(1)) as u64;
            self.tally.bytes_in += train.len() as u64;
            self.engine.handle_datagrams(from.into(), &train, segment_size, local);
            if batch == BATCH {
                batch = 0;
                self.drain(scene, outbox)?;
            }
        }
        Ok(())
    }

    /// What follows in a train, as the system puts it together (UDP GRO); every other host has one
    /// that does.
    fn pop_segment(&mut self, from: SocketAddr, train: &[u8], size: usize) -> Option<Vec<u8>> {
        if !self.index.is_multiple_of(2) || !train.len().is_multiple_of(size.max(1)) {
            return None;
        }
        let next = self.inbox.front()?;
        let fits = next.from == from && !next.datagram.is_empty() && next.datagram.len() <= size;
        fits.then(|| self.inbox.pop_front())?.map(|letter| letter.datagram)
    }

    /// Lets legs and engine act until neither has anything left to do.
    fn settle(&mut self, scene: &mut Scene, outbox: &mut Vec<Letter>) -> Result<(), Violation> {
        for _ in 0..ROUNDS_MAX {
            let worked = self.work_legs(scene)?;
            let drained = self.drain(scene, outbox)?;
            if !worked && !drained {
                return Ok(());
            }
        }
        Err(Violation(format!("host {} is never done", self.index)))
    }

    fn work_legs(&mut self, scene: &mut Scene) -> Result<bool, Violation> {
        let local = self.local(scene.now);
        let busy = std::mem::take(&mut self.busy);
        for flow in &busy {
            let Some(Leg::Stream(leg)) = self.legs.get_mut(flow) else { continue };
            match leg.work(*flow, &mut self.engine, scene, local)? {
                Left::Wakes(None) => {}
                Left::Wakes(Some(at)) => {
                    scene.agenda.plan(at, Occurrence::Leg(self.leg_id(*flow)));
                }
                Left::BrokeOff => {
                    self.legs.remove(flow);
                    self.tally.over += 1;
                }
            }
        }
        Ok(!busy.is_empty())
    }

    /// Carries out what the engine says.
    fn drain(&mut self, scene: &mut Scene, outbox: &mut Vec<Letter>) -> Result<bool, Violation> {
        let acted = self.carry_out_actions(scene)?;
        let delivered = self.deliver_datagrams(scene)?;
        let sent = self.transmit(scene, outbox);
        Ok(acted | delivered | sent)
    }

    fn transmit(&mut self, scene: &mut Scene, outbox: &mut Vec<Letter>) -> bool {
        let mut sent = false;
        if self.blocked_until.is_some_and(|until| until <= scene.now) {
            self.blocked_until = None;
            self.credit = self.plan.uplink.map_or(usize::MAX, |(credit, _)| credit);
        }
        let local = self.local(scene.now);
        while self.credit > 0 {
            // Flows with more to send follow as soon as trains have left.
            while self.engine.poll_transmit().is_none() && self.engine.service(local) {}
            let Some(train) = self.engine.poll_transmit() else { break };
            let mut bytes = 0;
            for datagram in train.contents.chunks(train.segment_size).take(self.credit) {
                bytes += datagram.len();
                self.credit -= 1;
                self.tally.datagrams_out += 1;
                let (from, to) = (self.address, train.destination);
                outbox.push(Letter { from, to, datagram: datagram.to_vec() });
            }
            self.tally.bytes_out += bytes as u64;
            self.engine.transmitted(bytes);
            sent = true;
        }
        if self.credit == 0
            && self.blocked_until.is_none()
            && let Some((_, pause)) = self.plan.uplink
        {
            let until = scene.now + pause;
            self.blocked_until = Some(until);
            scene.agenda.plan(until, Occurrence::Turn(self.index));
        }
        sent
    }

    /// How many flows of a protocol live.
    pub(super) fn live(&self, protocol: Protocol) -> usize {
        let flows = self.legs.keys().filter_map(|flow| self.engine.meta(*flow));
        flows.filter(|meta| meta.protocol == protocol).count()
    }
}
