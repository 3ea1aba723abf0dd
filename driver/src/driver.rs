//! [`Driver`]: the loop.

mod changes;
mod outputs;
mod services;
mod state;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll};
use slipwire_core::{Action, Config, Engine, IdleRings, Instant};

use crate::addresses::{HostAddresses, know_this_host};
use crate::capture::Capture;
use crate::datagrams::batches::Batches;
use crate::descriptors::{self, OpenFiles};
use crate::error::{self, StartError, StartErrors};
use crate::host::Host;
use crate::host::keepalive::HostKeepalive;
use crate::listen::Listener;
use crate::listen::table::{ForwardId, Forwards};
use crate::resolve::Resolver;
use crate::settings::{Forward, Settings};
use crate::tape_files::Recording;
use crate::token::Origin;
use crate::wireguard::{Offloads, Received, WireGuardSockets};
use crate::{clock, socket_options};

/// Events taken in at once; those that do not fit come with the next turn.
const EVENTS: usize = 256;

/// Batches of datagrams that a turn takes from each WireGuard socket.
const BATCHES: usize = 4;

/// Rounds of actions, datagrams and trains in one go: some outputs let core make more of them.
const ROUNDS: usize = 4;

/// What the host legs of flows may cost in one turn, in bytes moved.
const FLOWS_BUDGET: usize = 1 << 20;

/// What a flow's turn costs at least.
const TURN_COST: usize = 4 << 10;

/// How long the end may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// An engine on real sockets.
#[derive(Debug)]
pub struct Driver {
    poll: Poll,
    events: Events,
    engine: Engine,
    wireguard: WireGuardSockets,
    host: Host,
    resolver: Resolver,
    /// A gateway has them, for it protects them; others where the system lets them.
    addresses: Option<HostAddresses>,
    open_files: OpenFiles,
    capture: Option<Capture>,
    recording: Option<Recording>,
    /// What gives the memory of idle flows back to the system.
    give_back: Option<fn(&IdleRings<'_>)>,
    /// Whether core may have more outputs than were drained.
    is_undrained: bool,
}

/// Starting.
impl Driver {
    /// Binds every socket, and starts the engine. `seed` is entropy that no outsider may know.
    ///
    /// It raises the process's soft limit of open files to the hard one.
    ///
    /// # Errors
    /// What the system refused, and why; of listeners all that it refused.
    pub fn new(config: Config, settings: Settings, seed: [u8; 32]) -> Result<Self, StartErrors> {
        let system = |what| move |error| StartError::System { what, error };
        let files_max = descriptors::raise_limit();
        let poll = Poll::new().map_err(system("epoll"))?;
        let registry = poll.registry().try_clone().map_err(system("epoll"))?;
        let resolver = Resolver::new(&registry).map_err(system("eventfd"))?;
        let gateway = config.parts().gateway.as_ref();
        let (addresses, guard) = know_this_host(gateway, &registry)?;

        let wireguard = WireGuardSockets::bind(&settings.listen, settings.port, &registry);
        let forwards = Forwards::bind_all(settings.forwards, &registry);
        let (wireguard, forwards) = error::both(wireguard, forwards)?;
        let fixed = wireguard.addresses().count() + forwards.len();
        let open_files = OpenFiles::with(files_max, fixed);
        let sockets_max = open_files.for_flows;
        let batches = Batches::new().map_err(system("UDP sockets"))?;
        let keepalive = HostKeepalive::every(settings.host_keepalive);
        let host = Host::new(registry, guard, forwards, sockets_max, keepalive, batches);

        let now = clock::now();
        let mut engine = Engine::new(&config, seed, now);
        // Before a tape begins, which has the bounds at its head.
        engine.limit_sockets(sockets_max, now);
        let capture = settings.capture.map(|file| Capture::create(file, now)).transpose()?;
        let record = |to| Recording::start(to, &mut engine, now);
        let recording = settings.record.map(record).transpose()?;
        engine.set_tap(capture.as_ref().map(Capture::tap));
        if let Some(addresses) = &addresses {
            addresses.tell(&mut engine, now);
        }
        socket_options::tell();
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            engine,
            wireguard,
            host,
            resolver,
            addresses,
            open_files,
            capture,
            recording,
            give_back: settings.give_back,
            // A new engine may want something at once: a handshake, a name.
            is_undrained: true,
        })
    }

    /// Lets readiness of `source` end a [`turn`](Self::turn); the driver does nothing else with
    /// it. As with all of mio, the embedder has to read the source until it would block, or no
    /// further readiness is seen.
    ///
    /// # Errors
    /// Whatever epoll says.
    pub fn add_wakeup(&mut self, source: &mut impl Source) -> io::Result<()> {
        self.poll.registry().register(source, Origin::Wakeup.token(), Interest::READABLE)
    }
}

/// Getters.
impl Driver {
    /// The engine.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where WireGuard is spoken.
    pub fn local_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.wireguard.addresses()
    }

    /// The forwards, with the addresses where they really listen: those of the settings in their
    /// order, later ones in no order that means anything.
    pub fn forwards(&self) -> impl Iterator<Item = (ForwardId, &Forward)> {
        self.host.forwards().iter()
    }

    /// How the open files that the process may have are divided.
    pub const fn open_files(&self) -> OpenFiles {
        self.open_files
    }

    /// The offloads of the WireGuard sockets.
    pub fn offloads(&self) -> Offloads {
        self.wireguard.offloads()
    }

    /// Whether peers can ping IPv4 hosts through this one.
    ///
    /// # Errors
    /// Why the system gave us no ping socket, when it was asked at the start.
    pub fn ping_v4(&self) -> Result<(), &io::Error> {
        self.host.ping().v4.as_ref().copied()
    }

    /// Whether peers can ping IPv6 hosts through this one.
    ///
    /// # Errors
    /// Why the system gave us no ping socket, when it was asked at the start.
    pub fn ping_v6(&self) -> Result<(), &io::Error> {
        self.host.ping().v6.as_ref().copied()
    }

    /// Errors of the WireGuard sockets so far. None of them is the end of anything.
    pub const fn tunnel_errors(&self) -> u64 {
        self.wireguard.incidents()
    }

    /// How long the driver can be left alone unless its descriptor becomes readable; `None` for
    /// ever.
    pub fn next_timeout(&self) -> Option<Duration> {
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        let listeners = self.host.forwards().listeners().filter_map(Listener::due);
        let capture = self.capture.as_ref().and_then(Capture::due);
        let recording = self.recording.as_ref().and_then(Recording::due);
        let files = capture.into_iter().chain(recording);
        let due = self.engine.poll_timeout().into_iter().chain(listeners).chain(files).min()?;
        Some(due.saturating_duration_since(clock::now()))
    }

    /// Whether there is something to do without any event.
    fn has_work(&self) -> bool {
        let has_room = !self.wireguard.is_blocked();
        self.is_undrained
            || self.addresses.as_ref().is_some_and(HostAddresses::has_news)
            || self.wireguard.is_readable()
            || self.host.ready() > 0
            || self.host.has_connects()
            || self.host.forwards().listeners().any(|listener| match listener {
                Listener::Tcp(forward) => forward.is_ready(),
                Listener::Udp(forward) => forward.is_ready() && has_room,
            })
    }
}

/// Running.
impl Driver {
    /// Waits until there is something to do, at most for `timeout`, and does it: a bounded amount
    /// for each socket, so that none waits long for another. Returns early on a wakeup or signal.
    ///
    /// # Errors
    /// Only what makes going on impossible: epoll itself failed.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let now = self.wait(timeout)?;
        // Before anything happens: a tape begins at rest.
        if let Some(recording) = &mut self.recording {
            recording.handle_timeout(&mut self.engine, now);
        }
        // Before anything that peers send is let through.
        self.follow_addresses(now);
        self.take_answers(now);
        self.let_time_pass(now);
        self.receive(now);
        self.host.begin_connects(&mut self.engine, now);
        self.work_flows(now);
        self.work_listeners(now);
        self.drain(now);
        if let Some(capture) = &self.capture {
            capture.handle_timeout(now);
        }
        if let Some(recording) = &mut self.recording {
            recording.note(&self.engine, now);
        }
        Ok(())
    }

    /// Ends every flow: peers and local clients get resets. It takes half a second at most; the
    /// driver is of no use afterwards. A capture and a tape are complete then.
    pub fn shut_down(&mut self) {
        self.say_farewell();
        if let Some(capture) = &self.capture {
            capture.finish();
        }
        self.engine.flush_tape();
    }

    fn say_farewell(&mut self) {
        let mut now = clock::now();
        let end = now + FAREWELL;
        self.engine.shut_down(now);
        loop {
            self.drain(now);
            let is_done = !self.is_undrained && !self.wireguard.is_blocked();
            if is_done || now >= end {
                return;
            }
            let timeout = end.saturating_duration_since(now);
            let timeout = if self.is_undrained { Duration::ZERO } else { timeout };
            if self.poll(Some(timeout)).is_err() {
                return;
            }
            now = clock::now();
        }
    }

    /// Blocks as long as there is nothing to do, notes what the events say, and returns the time.
    /// No socket is dropped before all events are noted, so that each is about what it names.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Instant> {
        let timeout = timeout.into_iter().chain(self.next_timeout()).min();
        self.poll(timeout)?;
        Ok(clock::now())
    }

    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            // Events are as they were before the call, and have been noted.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in &self.events {
            match Origin::of(event.token()) {
                Some(Origin::WireGuard(index)) => self.wireguard.note(index, event),
                Some(Origin::Forward(index)) => self.host.note_listener(index, event),
                Some(Origin::Flow(key)) => self.host.note_flow(key, event),
                Some(Origin::Kernel) => self.addresses.iter_mut().for_each(HostAddresses::note),
                // Answers are looked for in each turn; a wakeup is the embedder's.
                Some(Origin::Resolver | Origin::Wakeup) | None => {}
            }
        }
        Ok(())
    }

    fn take_answers(&mut self, now: Instant) {
        while let Some(mut answer) = self.resolver.answer() {
            let peer = self.engine.peer(answer.peer);
            let name = peer.and_then(|peer| peer.endpoint_name);
            if name != Some((&answer.host, answer.port)) {
                // Its endpoint has another name by now.
                if let Some((host, port)) = name {
                    self.resolver.ask(answer.peer, host, port);
                }
                continue;
            }
            answer.addresses.retain(|address| self.wireguard.reaches(*address));
            self.engine.handle_resolved(answer.peer, &answer.addresses, now);
        }
    }

    fn let_time_pass(&mut self, now: Instant) {
        if self.engine.poll_timeout().is_some_and(|due| due <= now) {
            self.engine.handle_timeout(now);
        }
    }

    /// Takes datagrams in, and after each batch what core has no room to keep. Flows wait with
    /// their acknowledgements until hosts have taken the bytes, so that one does for all.
    fn receive(&mut self, now: Instant) {
        for _ in 0..BATCHES {
            match self.wireguard.receive(&mut self.engine, now) {
                Received::Datagrams => {}
                Received::Nothing => break,
            }
            self.make_room(now);
        }
        self.carry_out(now);
    }

    /// Takes out what waits in core already.
    fn make_room(&mut self, now: Instant) {
        while let Some(action) = self.engine.poll_action() {
            self.act(action, now);
        }
        self.send_datagrams(now);
        self.wireguard.transmit(&mut self.engine, now);
    }

    /// Gives flows their turns, in order, within a budget. What is left has its turn next time.
    fn work_flows(&mut self, now: Instant) {
        if !self.wireguard.is_blocked() {
            self.host.resume();
        }
        let mut budget = FLOWS_BUDGET;
        for _ in 0..self.host.ready() {
            if budget == 0 {
                return;
            }
            let Some(key) = self.host.next() else { return };
            let needs_room = self.host.needs_room(key);
            if needs_room && self.wireguard.is_blocked() {
                self.host.stall(key);
                continue;
            }
            let moved = self.host.work(key, &mut self.engine, now);
            budget = budget.saturating_sub(moved.max(TURN_COST));
            if needs_room {
                self.transmit(now);
            }
        }
    }

    fn work_listeners(&mut self, now: Instant) {
        for index in 0..self.host.forwards().places() {
            match self.host.forwards().listener(index) {
                Some(Listener::Tcp(_)) => {
                    self.host.accept(index, &mut self.engine, now);
                    // Whatever made room for clients gives its descriptor back.
                    self.carry_out(now);
                }
                Some(Listener::Udp(forward))
                    if forward.is_ready() && !self.wireguard.is_blocked() =>
                {
                    self.host.take_datagrams(index, &mut self.engine, now);
                    self.transmit(now);
                }
                Some(Listener::Udp(_)) | None => {}
            }
        }
    }

    /// Carries out what core has for us, until there is nothing more, or enough for one go.
    fn drain(&mut self, now: Instant) {
        for _ in 0..ROUNDS {
            let acted = self.carry_out(now);
            let sent = self.transmit(now);
            // While trains leave core goes on with its flows, and may have more to say.
            if !acted && !sent && !self.carry_out(now) {
                self.is_undrained = false;
                return;
            }
        }
        self.is_undrained = true;
    }

    /// Carries out actions, then sends the datagrams that waited behind them. Says whether there
    /// were any.
    fn carry_out(&mut self, now: Instant) -> bool {
        let mut acted = false;
        while let Some(action) = self.next_action(now) {
            self.act(action, now);
            acted = true;
        }
        acted |= self.send_datagrams(now);
        WireGuardSockets::measure_paths(&mut self.engine, now);
        acted
    }

    fn act(&mut self, action: Action, now: Instant) {
        match action {
            Action::Open(flow) => self.host.handle_open(flow, &mut self.engine, now),
            Action::Established(flow) => self.host.established(flow),
            Action::Readable(flow) => self.host.readable(flow),
            Action::Writable(flow) => self.host.writable(flow),
            Action::Idle(flow) => {
                if let Some(give_back) = self.give_back
                    && let Ok(flow) = self.engine.flow(flow)
                    && let Some(rings) = flow.lend_idle_rings(now)
                {
                    give_back(&rings);
                }
            }
            Action::Shutdown(flow) => self.host.shut_down(flow),
            Action::Closed(flow) => self.host.close(flow),
            Action::Aborted(flow, why) => self.host.abort(flow, why),
            Action::Resolve(peer) => {
                let name = self.engine.peer(peer).and_then(|peer| peer.endpoint_name);
                if let Some((host, port)) = name {
                    self.resolver.ask(peer, host, port);
                }
            }
        }
    }
}

impl AsFd for Driver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

impl AsRawFd for Driver {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}
