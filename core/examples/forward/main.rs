//! A local TCP port that leads to a host behind a WireGuard peer: an engine in a `poll(2)` loop
//! written by hand. The numbers are those of the loop in the documentation of `slipwire_core`.
#![expect(clippy::print_stdout, reason = "it says where it listens")]

mod client;
mod options;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use client::Client;
use options::{HELP, Options};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_linger;
use slipwire_core::{Action, Engine, Flow, FlowId, Instant, Refusal};
use support::{Clock, Outcome, seed};

/// Connections at once, fewer than a process may have descriptors.
const CLIENTS_MAX: usize = 256;
/// Datagrams that are taken in before others have their turn.
const BATCH: usize = 64;

struct Forward {
    engine: Engine,
    tunnel: UdpSocket,
    /// Whether the tunnel's socket took no more.
    is_blocked: bool,
    listener: TcpListener,
    to: SocketAddr,
    clients: BTreeMap<FlowId, Client>,
    clock: Clock,
}

impl Forward {
    fn run(&mut self) -> Outcome<()> {
        loop {
            // 2. Wait for a socket, or for the engine's deadline.
            let ready = self.wait()?;
            let now = self.clock.now();
            // 3. Hand in what there is.
            self.engine.handle_timeout(now);
            self.take_datagrams(now);
            self.accept(now);
            for (flow, events) in ready {
                self.work(flow, events, now);
            }
            // 7. Give flows their turns, and go on with 4 as long as there is anything, then with
            //    2.
            while self.act(now) | self.transmit() | self.engine.service(now) {}
        }
    }

    /// Blocks, and says which clients are ready for what.
    fn wait(&self) -> io::Result<Vec<(FlowId, PollFlags)>> {
        let wants = |reads, writes| {
            let mut events = PollFlags::empty();
            events.set(PollFlags::IN, reads);
            events.set(PollFlags::OUT, writes);
            events
        };
        let accepts = self.clients.len() < CLIENTS_MAX;
        let idle = |client: &Client| !client.reads && !client.writes;
        let clients: Vec<_> = self.clients.iter().filter(|(_, client)| !idle(client)).collect();
        let mut fds = vec![
            PollFd::new(&self.tunnel, wants(true, self.is_blocked)),
            PollFd::new(&self.listener, wants(accepts, false)),
        ];
        fds.extend(
            clients
                .iter()
                .map(|(_, client)| PollFd::new(&client.socket, wants(client.reads, client.writes))),
        );
        let now = self.clock.now();
        let due = self.engine.poll_timeout().map(|due| due.saturating_duration_since(now));
        let timeout = due.and_then(|due| Timespec::try_from(due).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = clients.iter().zip(&fds[2..]).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|((flow, _), fd)| (**flow, fd.revents())).collect())
    }

    fn take_datagrams(&mut self, now: Instant) {
        let mut buffer = [0; 65_536];
        for _ in 0..BATCH {
            // An error is about a datagram that was sent before; those that wait come next time.
            let Ok((len, source)) = self.tunnel.recv_from(&mut buffer) else { return };
            self.engine.handle_datagram(source, None, &buffer[..len], now);
        }
    }

    fn accept(&mut self, now: Instant) {
        while self.clients.len() < CLIENTS_MAX {
            let Ok((socket, _)) = self.listener.accept() else { return };
            let opened = self.engine.open_tcp(self.to, now);
            if let (Ok(flow), Ok(())) = (opened, socket.set_nonblocking(true)) {
                self.clients.insert(flow, Client::new(socket));
            }
        }
    }

    fn work(&mut self, flow: FlowId, events: PollFlags, now: Instant) {
        if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.with(flow, now, Client::read);
        }
        if events.contains(PollFlags::OUT) {
            self.with(flow, now, Client::write);
        }
    }

    /// Lets a client read or write. If it has failed its flow is reset.
    fn with(
        &mut self,
        flow: FlowId,
        now: Instant,
        act: impl FnOnce(&mut Client, &mut Flow<'_>, Instant) -> io::Result<()>,
    ) {
        let Some(client) = self.clients.get_mut(&flow) else { return };
        let Ok(mut handle) = self.engine.flow(flow) else { return };
        if act(client, &mut handle, now).is_err() {
            handle.abort(now);
            self.clients.remove(&flow);
        }
    }

    /// Says whether there was anything to do.
    fn act(&mut self, now: Instant) -> bool {
        let mut acted = false;
        // 4. Drain the actions.
        while let Some(action) = self.engine.poll_action() {
            acted = true;
            match action {
                Action::Established(flow) | Action::Writable(flow) => {
                    self.with(flow, now, Client::read);
                }
                Action::Readable(flow) => self.with(flow, now, Client::write),
                Action::Shutdown(flow) => {
                    self.with(flow, now, |client, _, _| client.socket.shutdown(Shutdown::Write));
                }
                Action::Closed(flow) => drop(self.clients.remove(&flow)),
                Action::Aborted(flow, _) => {
                    if let Some(client) = self.clients.remove(&flow) {
                        // A client must not take what was cut off for the end: it gets a reset.
                        let _ = set_socket_linger(&client.socket, Some(Duration::ZERO));
                    }
                }
                // Peers reach nothing through this end, and no endpoint is a name.
                Action::Open(flow) => {
                    if let Ok(flow) = self.engine.flow(flow) {
                        flow.refused(Refusal::Prohibited, now);
                    }
                }
                Action::Idle(_) => {}
                Action::Resolve(peer) => self.engine.handle_resolved(peer, &[], now),
            }
        }
        // 5. There are no datagrams without a UDP flow.
        acted
    }

    /// Says whether anything was sent.
    fn transmit(&mut self) -> bool {
        let mut sent = false;
        self.is_blocked = false;
        // 6. Drain the trains, here one datagram at a time.
        while let Some(train) = self.engine.poll_transmit() {
            let len = train.segment_size;
            match self.tunnel.send_to(&train.contents[..len], train.destination) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    return sent;
                }
                // What can't be sent is lost, as it could be anywhere on its way.
                Ok(_) | Err(_) => self.engine.transmitted(len),
            }
            sent = true;
        }
        sent
    }
}

fn run() -> Outcome<()> {
    let Some(Options { config, endpoint, listen, to }) = options::read()? else {
        print!("{HELP}");
        return Ok(());
    };
    let clock = Clock::start();
    // 1. Build an engine.
    let engine = Engine::new(&config, seed()?, clock.now());
    let listener = TcpListener::bind(listen).map_err(|error| format!("{listen}: {error}"))?;
    listener.set_nonblocking(true)?;
    let any: IpAddr = if endpoint.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let tunnel = UdpSocket::bind((any, 0))?;
    tunnel.set_nonblocking(true)?;
    println!("{} leads to {to}", listener.local_addr()?);
    let (clients, is_blocked) = (BTreeMap::new(), false);
    Forward { engine, tunnel, is_blocked, listener, to, clients, clock }.run()
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forward: {error}");
            ExitCode::FAILURE
        }
    }
}
