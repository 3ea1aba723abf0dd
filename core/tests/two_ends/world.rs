//! The two ends, the link between them, and the time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use slipwire_core::config::{Endpoint, Gateway, Interface, Parts, Peer};
use slipwire_core::{Action, Config, Engine, FlowId, Instant, PrivateKey};

pub(crate) const SERVER: &str = "192.0.2.80:80";
pub(crate) const CLIENT_ADDRESS: &str = "198.51.100.2:4000";
pub(crate) const GATEWAY_ADDRESS: &str = "198.51.100.1:51820";

pub(crate) fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn key(byte: u8) -> PrivateKey {
    PrivateKey::from_entropy([byte; 32])
}

pub(crate) fn engine(own: u8, other: u8, address: &str, change: impl FnOnce(&mut Parts)) -> Engine {
    let interface = Interface::new(key(own), [address.parse().unwrap()]);
    let mut parts = Parts::new(interface);
    parts.peers.push(Peer::new(key(other).public_key()).with_name("other"));
    change(&mut parts);
    Engine::new(&Config::new(parts).unwrap(), [own; 32], Instant::ZERO)
}

/// A datagram on the link: when it arrives, where it came from, what it is.
pub(crate) struct InFlight {
    pub(crate) at: Instant,
    pub(crate) source: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// One end: an engine, its address, what is on the way to it, and what it said.
pub(crate) struct End {
    pub(crate) engine: Engine,
    pub(crate) address: SocketAddr,
    pub(crate) inbox: VecDeque<InFlight>,
    pub(crate) actions: Vec<Action>,
    pub(crate) datagrams: Vec<(FlowId, SocketAddr, Vec<u8>)>,
}

impl End {
    pub(crate) fn new(engine: Engine, address: &str) -> Self {
        let address = socket(address);
        let (inbox, actions, datagrams) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { engine, address, inbox, actions, datagrams }
    }
}

pub(crate) struct World {
    pub(crate) client: End,
    pub(crate) gateway: End,
    pub(crate) now: Instant,
    /// Every n-th datagram is lost; 0 for none.
    pub(crate) lose_every: usize,
    pub(crate) carried: usize,
    /// The longest datagram that the system sends; it refuses longer ones.
    pub(crate) longest: usize,
}

pub(crate) const LATENCY: Duration = Duration::from_millis(5);

impl World {
    pub(crate) fn new() -> Self {
        let client = engine(1, 2, "10.0.0.2/32", |parts| {
            parts.peers[0].allowed_ips = vec!["0.0.0.0/0".parse().unwrap()];
            parts.peers[0].endpoint = Some(Endpoint::Address(socket(GATEWAY_ADDRESS)));
        });
        let gateway = engine(2, 1, "10.0.0.1/24", |parts| {
            parts.peers[0].allowed_ips = vec!["10.0.0.2/32".parse().unwrap()];
            parts.gateway = Some(Gateway::default());
        });
        Self {
            client: End::new(client, CLIENT_ADDRESS),
            gateway: End::new(gateway, GATEWAY_ADDRESS),
            now: Instant::from_nanos(1),
            lose_every: 0,
            carried: 0,
            longest: usize::MAX,
        }
    }

    /// Drains both ends onto the link.
    pub(crate) fn drain(&mut self) {
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
                    assert_eq!(train.destination, to.address);
                    let (len, size) = (train.contents.len(), train.segment_size);
                    if size > self.longest {
                        from.engine.transmitted(len);
                        from.engine.handle_too_big(to.address.ip(), size, None, self.now);
                        continue;
                    }
                    for segment in train.contents.chunks(size) {
                        self.carried += 1;
                        if self.lose_every > 0 && self.carried.is_multiple_of(self.lose_every) {
                            continue;
                        }
                        to.inbox.push_back(InFlight {
                            at: self.now + LATENCY,
                            source: from.address,
                            bytes: segment.to_vec(),
                        });
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
    pub(crate) fn step(&mut self, until: Instant) -> bool {
        self.drain();
        let ends = [&self.client, &self.gateway];
        let arrivals = ends.iter().filter_map(|end| end.inbox.front().map(|next| next.at));
        let timeouts = ends.iter().filter_map(|end| end.engine.poll_timeout());
        let next = arrivals.chain(timeouts).min();
        let Some(next) = next.filter(|next| *next <= until) else {
            self.now = until;
            return false;
        };
        assert!(next >= self.now, "deadlines move");
        self.now = next;
        for end in [&mut self.client, &mut self.gateway] {
            end.engine.handle_timeout(self.now);
            assert!(end.engine.poll_timeout().is_none_or(|at| at > self.now), "deadlines move");
            while end.inbox.front().is_some_and(|next| next.at <= self.now)
                && let Some(datagram) = end.inbox.pop_front()
            {
                end.engine.handle_datagram(datagram.source, None, &datagram.bytes, self.now);
            }
        }
        self.drain();
        true
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    pub(crate) fn open(&mut self) -> (FlowId, FlowId) {
        let near = self.client.engine.open_tcp(socket(SERVER), self.now).unwrap();
        self.run(Duration::from_secs(1));
        let far = match self.gateway.actions[..] {
            [Action::Open(flow)] => flow,
            ref other => panic!("{other:?}"),
        };
        self.gateway.actions.clear();
        (near, far)
    }

    pub(crate) fn open_and_accept(&mut self) -> (FlowId, FlowId) {
        let (near, far) = self.open();
        assert!(self.client.actions.is_empty(), "the client hears nothing before the host");
        self.gateway.engine.flow(far).unwrap().opened(None, self.now);
        self.run(Duration::from_secs(1));
        assert_eq!(self.client.actions, [Action::Established(near)]);
        self.client.actions.clear();
        (near, far)
    }
}

pub(crate) fn write(end: &mut End, flow: FlowId, bytes: &[u8], now: Instant) -> usize {
    end.engine.flow(flow).map_or(0, |mut flow| flow.send(bytes, now))
}

pub(crate) fn read(end: &mut End, flow: FlowId, now: Instant) -> Vec<u8> {
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
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}
