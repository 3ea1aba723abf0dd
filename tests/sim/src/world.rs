//! The world: hosts, the links between them, and time that jumps from one event to the next.

use std::time::{Duration, SystemTime};

use slipwire_core::Instant;

use super::Taping;
use super::agenda::Agenda;
use super::host::{Host, Letter};
use super::log::{Log, Trace};
use super::mail::Mail;
use super::oracle::{Oracle, Violation, ensure};
use super::plan::{Fault, GATEWAY, Plan, protected};
use super::repeats;
use super::scene::{Occurrence, Scene};
use super::setup;
use super::tamper::Mutant;
use super::wall::Wall;
use slipwire_worlds::dice::Dice;
use slipwire_worlds::ledger::Sent;
use slipwire_worlds::link::Link;

/// When the world begins.
const BEGINNING: Instant = Instant::from_nanos(1_000_000_000);
/// How long a stream may go on once everything is calm, beside the time that its bytes take:
/// a lost segment is sent again after a minute at most, a silent peer is asked after 75 seconds, a
/// connect is given up after 60, and a handshake tried again after 30.
const PATIENCE: Duration = Duration::from_secs(300);
/// The slowest link, in bytes a second.
const RATE_MIN: u64 = 20_000;
/// After this time without any flow an engine wants nothing any more: mappings are idle for 300
/// seconds, sessions end after 180 and their tunnels are looked at for a while longer.
const REST: Duration = Duration::from_secs(1_200);
/// Events that one run may have.
const EVENTS_MAX: u64 = 20_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    hosts: Vec<Host>,
    /// To and from the gateway, for each client.
    links: Vec<[Link; 2]>,
    pub(super) scene: Scene,
    outbox: Vec<Letter>,
    pub(super) events: u64,
}

impl World {
    pub(super) fn new(plan: Plan, trace: Trace, mutant: Option<Mutant>, taping: Taping) -> Self {
        let mut dice = Dice::new(plan.seed ^ 0xd1ce);
        let wall = Wall::new(SystemTime::now());
        let hosts =
            (0..plan.hosts.len()).map(|host| Host::new(host, &plan, taping, &mut dice)).collect();
        let links = plan.links.iter().map(|pair| pair.map(|link| Link::new(link, dice.fork())));
        let links = links.collect();
        let mut agenda = Agenda::new();
        for (index, stream) in plan.streams.iter().enumerate() {
            agenda.plan(BEGINNING + stream.at, Occurrence::Stream(index));
        }
        for (index, flow) in plan.datagrams.iter().enumerate() {
            agenda.plan(BEGINNING + flow.at, Occurrence::Datagrams(index));
        }
        for (index, (at, _)) in plan.faults.iter().enumerate() {
            agenda.plan(BEGINNING + *at, Occurrence::Fault(index));
        }
        agenda.plan(BEGINNING + plan.calm_at, Occurrence::Calm);
        let scene = Scene {
            oracle: Oracle::new(plan.streams.len()),
            mail: Mail::new(plan.datagrams.len()),
            now: BEGINNING,
            agenda,
            log: Log::new(trace),
            dice,
            mutant,
            is_calm: false,
            wall,
            plan,
        };
        Self { hosts, links, scene, outbox: Vec::new(), events: 0 }
    }

    /// What is recorded of the gateway.
    pub(super) fn tape(&self) -> Vec<u8> {
        self.hosts[GATEWAY].tape()
    }

    /// How much time has passed.
    pub(super) fn time(&self) -> Duration {
        self.scene.now.saturating_duration_since(BEGINNING)
    }

    /// Lets everything happen.
    pub(super) fn run(&mut self) -> Result<(), Violation> {
        let end = BEGINNING + self.scene.plan.calm_at + self.patience();
        while self.scene.oracle.first_open().is_some() || !self.scene.is_calm {
            ensure!(self.step(end)?, "{} after {:?}", self.open_stream(), self.time());
        }
        let rest = self.scene.now + REST;
        while self.step(rest)? {}
        self.hosts.iter_mut().try_for_each(Host::check_tape)?;
        self.check_rest()?;
        repeats::check(&self.scene.plan, self.sent(), self.lost())
    }

    /// What TCP sent, at all hosts since they last restarted.
    pub(super) fn sent(&self) -> Sent {
        self.hosts.iter().map(|host| host.ledger.total()).sum()
    }

    /// Bytes that links lost.
    fn lost(&self) -> u64 {
        self.links.iter().flatten().map(|link| link.account().bytes_lost).sum()
    }

    /// How long streams may go on once everything is calm.
    fn patience(&self) -> Duration {
        let plan = &self.scene.plan;
        let scripts = plan.streams.iter().flat_map(|s| [s.opener_script, s.acceptor_script]);
        let bytes: u64 = scripts.map(|script| script.sends).sum();
        PATIENCE + Duration::from_secs(4 * bytes / RATE_MIN)
    }

    fn open_stream(&self) -> String {
        match self.scene.oracle.first_open() {
            Some(id) => format!("a stream is open: {}", self.scene.oracle.describe(id)),
            None => "there was no calm".into(),
        }
    }

    /// What must hold when everything is over.
    fn check_rest(&self) -> Result<(), Violation> {
        for host in &self.hosts {
            let flows = host.legs.len();
            ensure!(flows == 0, "host {} has {flows} flows at the end", host.index);
            host.audit_windows(&self.scene)?;
            let quiet = self.hosts.iter().all(|host| host.plan.keepalive_secs == 0);
            let timer = host.engine.poll_timeout();
            ensure!(
                !quiet || timer.is_none(),
                "host {} waits for {timer:?} at the end",
                host.index
            );
        }
        Ok(())
    }

    /// Goes to the next event, unless that is later than `until`. Says whether there was one.
    fn step(&mut self, until: Instant) -> Result<bool, Violation> {
        let turns = self.hosts.iter().filter_map(Host::next_turn);
        let Some(next) = turns.chain(self.scene.agenda.next()).min() else { return Ok(false) };
        if next > until {
            self.scene.now = until;
            return Ok(false);
        }
        self.scene.now = self.scene.now.max(next);
        while let Some(occurrence) = self.scene.agenda.pop_due(self.scene.now) {
            self.count()?;
            self.happen(occurrence)?;
        }
        for host in 0..self.hosts.len() {
            if self.hosts[host].next_turn().is_some_and(|at| at <= self.scene.now) {
                self.count()?;
                self.hosts[host].turn(&mut self.scene, &mut self.outbox)?;
                self.carry_letters();
            }
        }
        Ok(true)
    }

    fn count(&mut self) -> Result<(), Violation> {
        self.events += 1;
        ensure!(self.events < EVENTS_MAX, "more than {EVENTS_MAX} events");
        Ok(())
    }

    fn happen(&mut self, occurrence: Occurrence) -> Result<(), Violation> {
        let Self { hosts, scene, .. } = self;
        match occurrence {
            Occurrence::Arrival { to, from, datagram } => {
                let host = hosts.iter_mut().find(|host| host.address == to);
                let len = datagram.len();
                match host {
                    Some(host) => {
                        scene.note(format_args!("host {}: {len} bytes arrive", host.index));
                        host.take_in(Letter { from, to, datagram }, scene);
                    }
                    None => scene.note(format_args!("{len} bytes for {to}, where nobody is")),
                }
            }
            Occurrence::Turn(host) => hosts[host].wake(scene),
            Occurrence::Leg(id) => {
                let host = &mut hosts[id.host];
                if host.has(id) {
                    host.busy.insert(id.flow);
                    host.wake(scene);
                }
            }
            Occurrence::Connected(id) => {
                if hosts[id.host].has(id) {
                    hosts[id.host].handle_connected(id.flow, scene)?;
                }
            }
            Occurrence::Datagram(id) => {
                if hosts[id.host].has(id) {
                    hosts[id.host].send_datagram(id.flow, scene)?;
                }
            }
            Occurrence::Resolved { host, life, peer } => {
                let host = &mut hosts[host];
                if host.life == life {
                    let fails = !scene.is_calm && scene.dice.chance(300_000);
                    let gateway = [setup::address(GATEWAY)];
                    let addresses = if fails { &[][..] } else { &gateway[..] };
                    let local = host.local(scene.now);
                    host.engine.handle_resolved(peer, addresses, local);
                    host.wake(scene);
                }
            }
            Occurrence::Stream(index) => {
                let opener = scene.plan.streams[index].opener;
                hosts[opener].open_stream(index, scene)?;
            }
            Occurrence::Datagrams(index) => {
                let opener = scene.plan.datagrams[index].opener;
                hosts[opener].open_datagrams(index, scene)?;
            }
            Occurrence::Fault(index) => self.befall(index)?,
            Occurrence::Mended(client) => self.set_cut(client, false),
            Occurrence::Calm => self.calm(),
        }
        Ok(())
    }

    fn befall(&mut self, index: usize) -> Result<(), Violation> {
        let Self { hosts, scene, .. } = self;
        let (_, fault) = scene.plan.faults[index];
        scene.note(format_args!("{fault:?}"));
        match fault {
            Fault::Partition(client, time) => {
                scene.agenda.plan(scene.now + time, Occurrence::Mended(client));
                self.set_cut(client, true);
            }
            Fault::Roam(client) => {
                let address = &mut hosts[client].address;
                address.set_port(address.port().wrapping_add(1));
            }
            Fault::Restart(host) => {
                scene.oracle.excuses.restarted.push(host);
                hosts[host].restart(scene)?;
            }
            Fault::Freeze(host, time) => {
                scene.oracle.excuses.clocks = true;
                hosts[host].freeze(scene.now + time);
            }
            Fault::Jump(host, time) => {
                scene.oracle.excuses.clocks = true;
                hosts[host].skew += time;
            }
            Fault::Protect(host) => {
                scene.oracle.excuses.protected = true;
                let local = hosts[host].local(scene.now);
                hosts[host].engine.set_host_addresses(protected(), local);
                hosts[host].wake(scene);
            }
            Fault::ShutDown(host) => {
                scene.oracle.excuses.shut_down.push(host);
                let local = hosts[host].local(scene.now);
                hosts[host].engine.shut_down(local);
                hosts[host].wake(scene);
            }
        }
        Ok(())
    }

    fn set_cut(&mut self, client: usize, is_cut: bool) {
        for link in &mut self.links[client - 1] {
            link.set_cut(is_cut);
        }
    }

    fn calm(&mut self) {
        self.scene.is_calm = true;
        self.scene.note(format_args!("calm"));
        self.links.iter_mut().flatten().for_each(Link::heal);
        for host in &mut self.hosts {
            host.calm();
            host.wake(&mut self.scene);
        }
    }

    /// Hands what hosts sent to the links.
    fn carry_letters(&mut self) {
        let Self { hosts, links, scene, outbox, .. } = self;
        for Letter { from, to, datagram } in outbox.drain(..) {
            let len = datagram.len();
            let ends = [from, to].map(|address| setup::host_at(address, hosts.len()));
            let link = match ends {
                [Some(GATEWAY), Some(client)] if client != GATEWAY => &mut links[client - 1][1],
                [Some(client), Some(GATEWAY)] if client != GATEWAY => &mut links[client - 1][0],
                _ => continue,
            };
            let fate = link.carry(len, scene.now);
            scene.log.note(scene.now, format_args!("{len} bytes from {from} to {to}: {fate:?}"));
            for arrival in fate.arrivals() {
                let datagram = arrival.damaged(&datagram);
                scene.agenda.plan(arrival.at, Occurrence::Arrival { to, from, datagram });
            }
        }
    }
}
