//! What opening a flow costs with many rules: the time from a peer's SYN to the refusal of the flow
//! that it asks for, with 10 rules and with 10,000, side by side, for several shapes of lists.
//!
//! ```text
//!   client engine  -- SYNs -->  gateway engine: handle_datagram, poll_action, refused
//!                  <-- RSTs --
//! ```
//!
//! Both engines live in this process; there is no network. Times are medians of rounds.
//!
//! ```text
//! cargo run --release -p slipwire-tests --bin rules [ROUNDS]
//! ```

#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::{
    env, iter,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant as Clock},
};

use anyhow::{Context as _, Result, anyhow};
use slipwire_core::{
    Action, Config, Engine, Instant, IpNet, PrivateKey, Refusal,
    config::{Gateway, Interface, Parts, Peer},
    rules::{ProxyProtocol, Rule, RuleAction, Source},
};

const FEW: usize = 10;
const MANY: usize = 10_000;
/// Flows that one round opens.
const FLOWS: usize = 2_048;
/// Flows that are under way at the same time: as many SYNs as the egress has room for.
const BATCH: usize = 64;

const CLIENT_ADDRESS: &str = "198.51.100.2:4000";
const GATEWAY_ADDRESS: &str = "198.51.100.1:51820";
/// What the client connects to: addresses from here on.
const TARGETS: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 0);
const PORT: u16 = 443;
const CLIENT_KEY: [u8; 32] = [1; 32];
const GATEWAY_KEY: [u8; 32] = [2; 32];

fn main() -> Result<()> {
    let rounds = env::args().nth(1).map(|argument| argument.parse()).transpose()?.unwrap_or(101);
    println!("Opening a flow, microseconds; medians of {rounds} rounds of {FLOWS} flows.\n");
    println!("| rules, each with a condition of its own | {FEW} rules | {MANY} rules | ratio |");
    println!("|---|--:|--:|--:|");
    for (name, rule) in SHAPES {
        let list = |count: usize| (0..count).map(|place| rule(place, count)).collect();
        let mut pairs = [Pair::new(list(FEW))?, Pair::new(list(MANY))?];
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (pair, times) in pairs.iter_mut().zip(&mut times) {
                times.push(pair.round()?);
            }
        }
        let [few, many] = times.map(median);
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / FLOWS as f64;
        println!("| {name} | {:.2} | {:.2} | {ratio:.2} |", micros(few), micros(many));
    }
    Ok(())
}

/// A name, and the rule at a place of a list of so many.
type Shape = (&'static str, fn(usize, usize) -> Rule);

const SHAPES: [Shape; 9] = [
    ("destination prefix; the last matches", |place, count| {
        let last = place + 1 == count;
        Rule { to: vec![if last { targets() } else { elsewhere(place) }], ..any() }
    }),
    ("destination prefix; none matches", |place, _| Rule { to: vec![elsewhere(place)], ..any() }),
    ("port; the last matches", |place, count| Rule {
        ports: vec![port_of(count - 1 - place)],
        ..any()
    }),
    ("port; none matches", |place, _| Rule { ports: vec![port_of(place + 1)], ..any() }),
    ("source prefix; the last matches", |place, count| {
        let client = || net(Ipv4Addr::new(10, 0, 0, 2), 32);
        let source = if place + 1 == count { client() } else { elsewhere(place) };
        Rule { from: vec![Source::Prefix(source)], ..any() }
    }),
    ("peer; the last matches", |place, count| {
        let seed = if place + 1 == count { CLIENT_KEY } else { seed(place) };
        let peer = PrivateKey::from_entropy(seed).public_key();
        Rule { from: vec![Source::Peer(peer)], ..any() }
    }),
    ("peer, prefix and port; the last matches", |place, count| {
        let last = place + 1 == count;
        let seed = if place % 4 == 0 || last { CLIENT_KEY } else { [3; 32] };
        let peer = PrivateKey::from_entropy(seed).public_key();
        let to = if place % 4 == 1 || last { targets() } else { elsewhere(place) };
        let port = if place % 4 == 2 || last { PORT..=PORT } else { port_of(place + 1) };
        Rule { from: vec![Source::Peer(peer)], to: vec![to], ports: vec![port], ..any() }
    }),
    // Each condition holds for half of the rules, all over the list, and never both.
    ("the right prefix or the right port by turns; none matches", |place, _| {
        let to = if place % 2 == 0 { targets() } else { elsewhere(place) };
        let port = if place % 2 == 0 { port_of(1) } else { PORT..=PORT };
        Rule { to: vec![to], ports: vec![port], ..any() }
    }),
    ("overlapping ranges of ports, another prefix; none matches", |place, _| {
        let first = u16::try_from(place % 400).unwrap_or(0);
        Rule { to: vec![elsewhere(place)], ports: vec![first..=u16::MAX], ..any() }
    }),
];

fn any() -> Rule {
    Rule::any(RuleAction::Relay { proxy_protocol: ProxyProtocol::Off })
}

fn net(address: Ipv4Addr, prefix_len: u8) -> IpNet {
    IpNet::new_assert(address.into(), prefix_len)
}

/// What the client connects to.
fn targets() -> IpNet {
    net(TARGETS, 16)
}

/// A prefix that the client does not connect to, another for each place.
fn elsewhere(place: usize) -> IpNet {
    net(Ipv4Addr::from_bits(0x2000_0000 + ((place as u32) << 8)), 24)
}

/// A port, another for each place; the first is the one that the client connects to.
fn port_of(place: usize) -> std::ops::RangeInclusive<u16> {
    let port = PORT + u16::try_from(place).unwrap_or(u16::MAX - PORT);
    port..=port
}

fn seed(place: usize) -> [u8; 32] {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(place as u64).to_le_bytes());
    seed
}

/// A client and a gateway with rules.
struct Pair {
    client: Engine,
    gateway: Engine,
    now: Instant,
    opened: u32,
}

impl Pair {
    fn new(rules: Vec<Rule>) -> Result<Self> {
        let mut gateway = Gateway::default();
        gateway.rules = rules;
        let everything = net(Ipv4Addr::UNSPECIFIED, 0);
        let (client_net, gateway_net) =
            (net(Ipv4Addr::new(10, 0, 0, 2), 32), net(Ipv4Addr::new(10, 0, 0, 1), 32));
        let client = peer(GATEWAY_KEY, everything).with_endpoint(source(GATEWAY_ADDRESS)?);
        let mut pair = Self {
            client: engine(CLIENT_KEY, client_net, client, None)?,
            gateway: engine(GATEWAY_KEY, gateway_net, peer(CLIENT_KEY, client_net), Some(gateway))?,
            now: Instant::from_nanos(1),
            opened: 0,
        };
        // The handshake, and all that is done the first time.
        pair.round()?;
        Ok(pair)
    }

    /// Opens flows, and says how long the gateway was at it.
    fn round(&mut self) -> Result<Duration> {
        let mut spent = Duration::ZERO;
        for _ in 0..FLOWS / BATCH {
            for _ in 0..BATCH {
                let host = Ipv4Addr::from_bits(TARGETS.to_bits() + self.opened % 65_536);
                self.opened += 1;
                self.client.open_tcp((host, PORT).into(), self.now)?;
            }
            spent += self.settle()?;
            self.now += Duration::from_millis(1);
        }
        Ok(spent)
    }

    /// Carries datagrams until there are none, and says how long the gateway was at it.
    fn settle(&mut self) -> Result<Duration> {
        let mut spent = Duration::ZERO;
        loop {
            let asked = drain(&mut self.client, self.now);
            let start = Clock::now();
            for datagram in &asked {
                self.gateway.handle_datagram(source(CLIENT_ADDRESS)?, None, datagram, self.now);
                while let Some(action) = self.gateway.poll_action() {
                    let Action::Open(flow) = action else { return Err(anyhow!("{action:?}")) };
                    self.gateway.flow(flow)?.refused(Refusal::Refused, self.now);
                }
            }
            spent += start.elapsed();
            let answers = drain(&mut self.gateway, self.now);
            if asked.is_empty() && answers.is_empty() {
                return Ok(spent);
            }
            for datagram in &answers {
                self.client.handle_datagram(source(GATEWAY_ADDRESS)?, None, datagram, self.now);
            }
        }
    }
}

fn source(text: &str) -> Result<SocketAddr> {
    text.parse().context("no address")
}

fn peer(private_key: [u8; 32], allowed: IpNet) -> Peer {
    Peer::new(PrivateKey::from_entropy(private_key).public_key()).with_allowed_ips([allowed])
}

fn engine(
    private_key: [u8; 32],
    address: IpNet,
    peer: Peer,
    gateway: Option<Gateway>,
) -> Result<Engine> {
    let key = PrivateKey::from_entropy(private_key);
    let mut parts = Parts::new(Interface::new(key, [address]));
    parts.peers.push(peer);
    parts.gateway = gateway;
    // Nothing is sent on any flow: buffers would only cost the client time.
    (parts.tcp.receive_buffer, parts.tcp.send_buffer) = (1 << 16, 1 << 16);
    let config = Config::new(parts)?;
    Ok(Engine::new(&config, private_key, Instant::ZERO))
}

/// The datagrams that an engine has to send. Its actions are done.
fn drain(engine: &mut Engine, now: Instant) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    loop {
        // Nothing but the ends of the client's flows.
        iter::from_fn(|| engine.poll_action()).for_each(drop);
        while let Some(train) = engine.poll_transmit() {
            datagrams.extend(train.contents.chunks(train.segment_size).map(<[u8]>::to_vec));
            let sent = train.contents.len();
            engine.transmitted(sent);
        }
        if !engine.service(now) {
            return datagrams;
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
