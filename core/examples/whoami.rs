//! A server inside the tunnel: every TCP connection and every datagram of a peer, to any port of
//! any address, is answered with who sent it and where it was meant to go. The only socket is
//! WireGuard's. The numbers are those of the loop in the documentation of `slipwire_core`.
#![expect(clippy::print_stdout, reason = "it says where it listens")]

mod support;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;
use slipwire_core::config::{DefaultAction, Gateway, Peer};
use slipwire_core::rules::{Rule, RuleAction};
use slipwire_core::{
    Action, Config, Engine, Flow, FlowId, FlowMeta, Instant, Protocol, TrafficClass,
};
use support::{Clock, Outcome, config, seed};

const HELP: &str = "\
Tell WireGuard peers who they are, whatever they connect or send to.

    whoami --key-file FILE --address 10.77.0.1/24 --listen 0.0.0.0:51820
           --peer laptop,PUBLIC_KEY,10.77.0.2/32

    --key-file FILE        our private key, in base64
    --address PREFIX       our address in the tunnel
    --listen ADDRESS       where WireGuard is spoken; port 0 is any
    --peer NAME,KEY,PREFIX[,PREFIX...]
                           a peer: its name, public key and inner addresses; may be repeated
";

/// The longest request head; whoever sends more is cut off.
const HEAD_LEN_MAX: usize = 8 << 10;
/// The shortest wait that a socket can be told.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// Who a flow is of, and where to.
fn describe(meta: &FlowMeta) -> String {
    let FlowMeta { peer, protocol, source, destination, .. } = meta;
    let (name, key) = (&peer.name, &peer.public_key);
    format!("peer: {name}\nkey: {key}\nfrom: {source}\nto: {destination} ({protocol})\n")
}

/// One TCP connection: a request comes in, an answer goes out.
#[derive(Default)]
struct Exchange {
    head: Vec<u8>,
    /// What is still to be sent.
    answer: Option<Vec<u8>>,
}

impl Exchange {
    /// Takes what the peer says, up to the blank line that ends a request.
    fn read(&mut self, mut flow: Flow<'_>, now: Instant) {
        while let bytes @ [_, ..] = flow.received() {
            if self.answer.is_none() {
                self.head.extend_from_slice(bytes);
            }
            let len = bytes.len();
            flow.consume(len, now);
        }
        if self.answer.is_none() && self.head.windows(4).any(|end| end == b"\r\n\r\n") {
            let body = describe(flow.meta());
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close";
            let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            self.answer = Some(answer.into_bytes());
        } else if self.answer.is_none() && self.head.len() > HEAD_LEN_MAX {
            return flow.abort(now);
        }
        self.write(flow, now);
    }

    /// Sends as much of the answer as there is room for, and after it the end.
    fn write(&mut self, mut flow: Flow<'_>, now: Instant) {
        let Some(answer) = &mut self.answer else { return };
        answer.drain(..flow.send(answer, now));
        if answer.is_empty() {
            flow.shut_down(now);
        }
    }
}

struct Server {
    engine: Engine,
    tunnel: UdpSocket,
    exchanges: BTreeMap<FlowId, Exchange>,
    clock: Clock,
}

impl Server {
    fn run(&mut self) -> Outcome<()> {
        let mut buffer = [0; 65_536];
        loop {
            // 2. Wait for a datagram, or for the engine's deadline.
            let now = self.clock.now();
            let due = self.engine.poll_timeout().map(|due| due.saturating_duration_since(now));
            self.tunnel.set_read_timeout(due.map(|due| due.max(WAIT_MIN)))?;
            let received = self.tunnel.recv_from(&mut buffer);
            // 3. Hand in what there is. No error of a UDP socket is the end of anything.
            let now = self.clock.now();
            if let Ok((len, source)) = received {
                self.engine.handle_datagram(source, None, &buffer[..len], now);
            }
            self.engine.handle_timeout(now);
            // 7. Give flows their turns, and go on with 4 as long as there is anything, then with
            //    2.
            while self.act(now)
                | self.answer_datagrams(now)
                | self.transmit()
                | self.engine.service(now)
            {}
        }
    }

    /// Says whether there was anything to do.
    fn act(&mut self, now: Instant) -> bool {
        let Self { engine, exchanges, .. } = self;
        let mut acted = false;
        // 4. Drain the actions.
        while let Some(action) = engine.poll_action() {
            acted = true;
            match action {
                Action::Open(id) => {
                    let Ok(mut flow) = engine.flow(id) else { continue };
                    if flow.meta().protocol == Protocol::Tcp {
                        exchanges.insert(id, Exchange::default());
                    }
                    flow.opened(None, now);
                }
                Action::Readable(id) => {
                    if let (Some(exchange), Ok(flow)) = (exchanges.get_mut(&id), engine.flow(id)) {
                        exchange.read(flow, now);
                    }
                }
                Action::Writable(id) => {
                    if let (Some(exchange), Ok(flow)) = (exchanges.get_mut(&id), engine.flow(id)) {
                        exchange.write(flow, now);
                    }
                }
                Action::Shutdown(id) => {
                    // A request that is not complete by now never will be.
                    if exchanges.get(&id).is_some_and(|exchange| exchange.answer.is_none())
                        && let Ok(mut flow) = engine.flow(id)
                    {
                        flow.shut_down(now);
                    }
                }
                Action::Closed(flow) | Action::Aborted(flow, _) => drop(exchanges.remove(&flow)),
                // No flow is opened from here, and no endpoint is a name.
                Action::Established(_) | Action::Idle(_) => {}
                Action::Resolve(peer) => engine.handle_resolved(peer, &[], now),
            }
        }
        acted
    }

    /// Says whether there was any datagram.
    fn answer_datagrams(&mut self, now: Instant) -> bool {
        let mut answered = false;
        // 5. Drain the datagrams.
        while let Some(datagram) = self.engine.poll_datagram() {
            answered = true;
            let (id, to) = (datagram.flow, datagram.remote);
            self.engine.delivered(id);
            if let Ok(mut flow) = self.engine.flow(id) {
                let answer = describe(flow.meta());
                flow.send_datagram(to, TrafficClass::DEFAULT, answer.as_bytes(), now);
            }
        }
        answered
    }

    /// Says whether anything was sent.
    fn transmit(&mut self) -> bool {
        let mut sent = false;
        // 6. Drain the trains, here one datagram at a time.
        while let Some(train) = self.engine.poll_transmit() {
            let len = train.segment_size;
            // What can't be sent is lost, as it could be anywhere on its way.
            let _ = self.tunnel.send_to(&train.contents[..len], train.destination);
            self.engine.transmitted(len);
            sent = true;
        }
        sent
    }
}

/// Reads `NAME,KEY,PREFIX[,PREFIX...]`.
fn peer(text: &str) -> Outcome<Peer> {
    let mut fields = text.split(',');
    let name = fields.next().filter(|name| !name.is_empty()).ok_or("a peer needs a name")?;
    let key = fields.next().ok_or("a peer needs a public key after its name")?;
    let allowed_ips: Result<Vec<_>, _> = fields.map(str::parse).collect();
    Ok(Peer::new(key.parse()?).with_name(name).with_allowed_ips(allowed_ips?))
}

/// Reads the arguments: a configuration, and where to listen; nothing if they ask for help.
fn options() -> Outcome<Option<(Config, SocketAddr)>> {
    let mut parser = lexopt::Parser::from_env();
    let (mut key_file, mut listen) = (None, None);
    let (mut addresses, mut peers) = (Vec::new(), Vec::new());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("key-file") => key_file = Some(PathBuf::from(parser.value()?)),
            Long("address") => addresses.push(parser.value()?.parse()?),
            Long("listen") => listen = Some(parser.value()?.parse()?),
            Long("peer") => {
                peers.push(parser.value()?.parse_with(peer)?);
            }
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    // Nothing but this rule is needed to be every host there is.
    let mut gateway = Gateway::default();
    gateway.rules.push(Rule::any(RuleAction::Serve));
    gateway.default = DefaultAction::Reject;
    let key_file = key_file.ok_or("--key-file is missing")?;
    let config = config(&key_file, addresses, peers, Some(gateway))?;
    Ok(Some((config, listen.ok_or("--listen is missing")?)))
}

fn run() -> Outcome<()> {
    let Some((config, listen)) = options()? else {
        print!("{HELP}");
        return Ok(());
    };
    let clock = Clock::start();
    // 1. Build an engine.
    let engine = Engine::new(&config, seed()?, clock.now());
    let tunnel = UdpSocket::bind(listen).map_err(|error| format!("{listen}: {error}"))?;
    let key = config.parts().interface.private_key.public_key();
    println!("{} is {key}", tunnel.local_addr()?);
    Server { engine, tunnel, exchanges: BTreeMap::new(), clock }.run()
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("whoami: {error}");
            ExitCode::FAILURE
        }
    }
}
