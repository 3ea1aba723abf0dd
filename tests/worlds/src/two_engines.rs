//! Two engines, a client's and a gateway's, the links between them, and the time.
//!
//! ```text
//!   client   --- link --->   gateway
//!   engine   <--- link ---   engine
//! ```
//!
//! What the engines say waits in their [`End`]s until the test looks.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use slipwire_core::config::{Gateway, Parts};
use slipwire_core::{Action, Engine, FlowId, Instant, PeerId};

use crate::build::{configuration, engine, key, peer, socket};
use crate::dice::Dice;
use crate::link::{Link, Profile};

/// The numbers of the ends, which their keys follow from.
pub const CLIENT: u8 = 1;
pub const GATEWAY: u8 = 2;
/// A host beyond the gateway.
pub const SERVER: &str = "192.0.2.80:80";
/// Where the client's datagrams come from.
pub const CLIENT_ADDRESS: &str = "198.51.100.2:4000";
/// Where the gateway's datagrams come from.
pub const GATEWAY_ADDRESS: &str = "198.51.100.1:51820";

/// A datagram on the link: when it arrives, where it came from, what it is.
#[derive(Debug)]
pub struct InFlight {
    pub at: Instant,
    pub source: SocketAddr,
    pub bytes: Vec<u8>,
}

/// One end: an engine, its address, what is on the way to it, what leaves it, and what it said.
#[derive(Debug)]
pub struct End {
    pub engine: Engine,
    pub address: SocketAddr,
    /// Where it was before; what is sent there is lost.
    pub earlier_addresses: Vec<SocketAddr>,
    pub inbox: VecDeque<InFlight>,
    /// What carries its datagrams to the other end.
    pub link: Link,
    pub actions: Vec<Action>,
    pub datagrams: Vec<(FlowId, SocketAddr, Vec<u8>)>,
}

impl End {
    pub fn new(engine: Engine, address: &str, path: Profile) -> Self {
        let (address, link) = (socket(address), Link::new(path, Dice::new(1)));
        let (inbox, actions, datagrams) = (VecDeque::new(), Vec::new(), Vec::new());
        let earlier_addresses = Vec::new();
        Self { engine, address, earlier_addresses, inbox, link, actions, datagrams }
    }

    /// Moves to another address. What is on its way to the old one is lost.
    pub fn roam(&mut self, address: &str) {
        self.inbox.clear();
        let earlier = std::mem::replace(&mut self.address, socket(address));
        self.earlier_addresses.push(earlier);
    }

    /// When it has something to do: time has come, or it wakes up for what has arrived.
    fn due(&self, wake: Duration) -> Option<Instant> {
        let arrival = self.inbox.front().map(|next| next.at + wake);
        arrival.into_iter().chain(self.engine.poll_timeout()).min()
    }
}

/// Both ends and the time.
#[derive(Debug)]
pub struct World {
    pub client: End,
    pub gateway: End,
    pub now: Instant,
    /// The longest datagram that the system sends; it refuses longer ones.
    pub longest: usize,
    /// How long a process takes to wake up: what has arrived until then is taken in at once.
    pub wake: Duration,
}

/// The client: all of IPv4 is beyond the gateway, which it calls.
pub fn client() -> Parts {
    let mut parts = configuration(CLIENT, &["10.0.0.2/32"]);
    let gateway = peer(GATEWAY, &["0.0.0.0/0"]).with_name("other");
    parts.peers.push(gateway.with_endpoint(socket(GATEWAY_ADDRESS)));
    parts
}

/// The gateway, which knows the client and waits for it.
pub fn gateway() -> Parts {
    let mut parts = configuration(GATEWAY, &["10.0.0.1/24"]);
    parts.peers.push(peer(CLIENT, &["10.0.0.2/32"]).with_name("other"));
    parts.gateway = Some(Gateway::default());
    parts
}

/// How long a datagram takes, unless a test says otherwise.
pub const LATENCY: Duration = Duration::from_millis(5);

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// Ends that lose nothing and are [`LATENCY`] apart.
    pub fn new() -> Self {
        Self::with_path(Profile::clean(LATENCY), |_| {})
    }

    /// Ends with such a path between them, both changed as a test needs it.
    pub fn with_path(path: Profile, change: impl Fn(&mut Parts)) -> Self {
        let (mut client, mut gateway) = (client(), gateway());
        change(&mut client);
        change(&mut gateway);
        Self {
            client: End::new(engine(CLIENT, client), CLIENT_ADDRESS, path),
            gateway: End::new(engine(GATEWAY, gateway), GATEWAY_ADDRESS, path),
            now: Instant::from_nanos(1),
            longest: usize::MAX,
            wake: Duration::ZERO,
        }
    }

    /// Loses every n-th datagram of either end from now on.
    pub fn lose_every(&mut self, nth: u64) {
        for end in [&mut self.client, &mut self.gateway] {
            end.link.lose_every(nth);
        }
    }

    /// Drains both ends onto the link.
    pub fn drain(&mut self) {
        for towards_gateway in [true, false] {
            let (from, to) = if towards_gateway {
                (&mut self.client, &mut self.gateway)
            } else {
                (&mut self.gateway, &mut self.client)
            };
            loop {
                while let Some(action) = from.engine.poll_action() {
                    from.actions.push(action);
                }
                while let Some(datagram) = from.engine.poll_datagram() {
                    let (flow, payload) = (datagram.flow, datagram.payload.to_vec());
                    from.datagrams.push((flow, datagram.remote, payload));
                    from.engine.delivered(flow);
                }
                while let Some(train) = from.engine.poll_transmit() {
                    let (len, size) = (train.contents.len(), train.segment_size);
                    if to.earlier_addresses.contains(&train.destination) {
                        from.engine.transmitted(len);
                        continue;
                    }
                    assert_eq!(train.destination, to.address);
                    if size > self.longest {
                        from.engine.transmitted(len);
                        from.engine.handle_too_big(to.address.ip(), size, None, self.now);
                        continue;
                    }
                    for segment in train.contents.chunks(size) {
                        for arrival in from.link.carry(segment.len(), self.now).arrivals() {
                            let bytes = arrival.damaged(segment);
                            let (at, source) = (arrival.at, from.address);
                            let place = to.inbox.partition_point(|earlier| earlier.at <= at);
                            to.inbox.insert(place, InFlight { at, source, bytes });
                        }
                    }
                    from.engine.transmitted(len);
                }
                if !from.engine.service(self.now) {
                    break;
                }
            }
        }
    }

    /// Goes to the next event, at most to `until`. Says whether there was one.
    pub fn step(&mut self, until: Instant) -> bool {
        self.drain();
        let ends = [&self.client, &self.gateway];
        let next = ends.iter().filter_map(|end| end.due(self.wake)).min();
        let Some(next) = next.filter(|next| *next <= until) else {
            self.now = until;
            return false;
        };
        assert!(next >= self.now, "deadlines move");
        self.now = next;
        for end in [&mut self.client, &mut self.gateway] {
            if end.due(self.wake).is_none_or(|at| at > self.now) {
                continue;
            }
            end.engine.handle_timeout(self.now);
            assert!(end.engine.poll_timeout().is_none_or(|at| at > self.now), "deadlines move");
            while end.inbox.front().is_some_and(|next| next.at <= self.now)
                && let Some(datagram) = end.inbox.pop_front()
            {
                let local = Some(end.address.ip());
                end.engine.handle_datagram(datagram.source, local, &datagram.bytes, self.now);
            }
        }
        self.drain();
        true
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// A connection that the gateway has been asked for, as client and gateway know it.
    pub fn open(&mut self) -> (FlowId, FlowId) {
        let near = self.client.engine.open_tcp(socket(SERVER), self.now).unwrap();
        self.run(Duration::from_secs(1));
        let far = match self.gateway.actions[..] {
            [Action::Open(flow)] => flow,
            ref other => panic!("{other:?}"),
        };
        self.gateway.actions.clear();
        (near, far)
    }

    /// The same, and the gateway's host has accepted.
    pub fn open_and_accept(&mut self) -> (FlowId, FlowId) {
        let (near, far) = self.open();
        assert!(self.client.actions.is_empty(), "the client hears nothing before the host");
        self.gateway.engine.flow(far).unwrap().opened(None, self.now);
        self.run(Duration::from_secs(1));
        assert_eq!(self.client.actions, [Action::Established(near)]);
        self.client.actions.clear();
        (near, far)
    }

    /// How the gateway calls the client.
    pub fn client_id(&self) -> PeerId {
        self.gateway.engine.peer_with_key(&key(CLIENT).public_key()).unwrap()
    }

    /// How the client calls the gateway.
    pub fn gateway_id(&self) -> PeerId {
        self.client.engine.peer_with_key(&key(GATEWAY).public_key()).unwrap()
    }

    /// Sends a few bytes to the gateway's side, and says whether they came.
    pub fn speaks(&mut self, near: FlowId, far: FlowId) -> bool {
        let now = self.now;
        let sent = write(&mut self.client, near, b"still here", now);
        self.run(Duration::from_secs(1));
        let now = self.now;
        sent == 10 && read(&mut self.gateway, far, now) == b"still here"
    }
}

/// Writes as much of `bytes` as the flow has room for.
pub fn write(end: &mut End, flow: FlowId, bytes: &[u8], now: Instant) -> usize {
    end.engine.flow(flow).map_or(0, |mut flow| flow.send(bytes, now))
}

/// Reads all that waits.
pub fn read(end: &mut End, flow: FlowId, now: Instant) -> Vec<u8> {
    let Ok(mut flow) = end.engine.flow(flow) else { return Vec::new() };
    let mut all = Vec::new();
    while let bytes @ [_, ..] = flow.received() {
        let len = bytes.len();
        all.extend_from_slice(bytes);
        flow.consume(len, now);
    }
    all
}

/// Bytes that tell where they belong.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}
