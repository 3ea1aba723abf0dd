//! Transfers through a tunnel, and the applications at their ends. The client sends its bytes, the
//! server behind the gateway its own once it has them all; then the connection ends in good order.
//!
//! ```text
//!   client --- SYN, bytes up --->  gateway and server
//!          <---- bytes down ------
//! ```
//!
//! Whoever reads takes everything at once, unless a test lets nobody read. The tunnel is up before
//! the first transfer.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use slipwire_core::{Action, FlowId, Instant};

use crate::build::socket;
use crate::ledger::{Ledger, Sent};
use crate::link::{Link, Profile};
use crate::two_engines::{End, SERVER, World};

/// How long a process takes to wake up: what has arrived until then is taken in at once, and
/// acknowledged at once.
const WAKE: Duration = Duration::from_micros(100);
/// How long a tunnel has to come up.
const HANDSHAKE: Duration = Duration::from_secs(2);
/// Bytes of a transfer that never ends.
const ENDLESS: u64 = u64::MAX;

/// Who has something to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    ForwardToGateway,
    GatewayToForward,
}

impl Way {
    pub const BOTH: [Self; 2] = [Self::ForwardToGateway, Self::GatewayToForward];

    /// The way of the acknowledgements.
    pub const fn other(self) -> Self {
        match self {
            Self::ForwardToGateway => Self::GatewayToForward,
            Self::GatewayToForward => Self::ForwardToGateway,
        }
    }

    /// The end that sends: 0 is the client's, 1 the gateway's.
    const fn sender(self) -> usize {
        match self {
            Self::ForwardToGateway => 0,
            Self::GatewayToForward => 1,
        }
    }
}

/// One connection. Of each pair the first is the client's, the second the gateway's.
#[derive(Debug)]
struct Exchange {
    flows: [Option<FlowId>; 2],
    source: SocketAddr,
    to_send: [u64; 2],
    sent: [u64; 2],
    received: [u64; 2],
    has_shut_down: [bool; 2],
    opened_at: Instant,
    /// The client has all that it asked for.
    done_at: Option<Instant>,
    /// Both ends were told that it is over.
    closed: [bool; 2],
}

impl Exchange {
    /// What an end may send by now.
    const fn permitted(&self, side: usize) -> u64 {
        if side == 0 || self.received[1] >= self.to_send[0] { self.to_send[side] } else { 0 }
    }

    /// Whether an end has nothing more to say: the server when it has said all, the client when it
    /// has heard all.
    const fn may_shut_down(&self, side: usize) -> bool {
        let has_heard_all = self.received[side] == self.to_send[1 - side];
        self.sent[side] == self.to_send[side] && has_heard_all && !self.has_shut_down[side]
    }
}

/// A world with transfers in it.
#[derive(Debug)]
pub struct Traffic {
    pub world: World,
    exchanges: Vec<Exchange>,
    ledgers: [Ledger; 2],
    is_read: bool,
}

impl Traffic {
    /// Ends with such a path between them, and rings of `buffer` bytes.
    pub fn new(path: Profile, buffer: usize) -> Self {
        let mut world = World::with_path(path, |parts| {
            (parts.tcp.receive_buffer, parts.tcp.send_buffer) = (buffer, buffer);
            for peer in parts.peers.iter_mut().filter(|peer| peer.endpoint.is_some()) {
                // Its first word brings the tunnel up.
                peer.persistent_keepalive = NonZeroU16::new(25);
            }
        });
        world.wake = WAKE;
        world.client.engine.handle_timeout(world.now);
        let ledgers =
            [&mut world.client, &mut world.gateway].map(|end| Ledger::of(&mut end.engine));
        let mut traffic = Self { world, exchanges: Vec::new(), ledgers, is_read: true };
        traffic.run(HANDSHAKE);
        traffic
    }

    /// The same with one transfer that never ends.
    pub fn bulk(way: Way, path: Profile, buffer: usize) -> Self {
        let mut traffic = Self::new(path, buffer);
        traffic.open_bulk(way);
        traffic
    }

    /// Opens a transfer that never ends.
    pub fn open_bulk(&mut self, way: Way) {
        match way {
            Way::ForwardToGateway => self.open(ENDLESS, 0),
            Way::GatewayToForward => self.open(0, ENDLESS),
        };
    }

    /// Opens a transfer of so many bytes up, and then down. Returns its place for
    /// [`took`](Self::took).
    pub fn open(&mut self, up: u64, down: u64) -> usize {
        let World { client, now, .. } = &mut self.world;
        let flow = client.engine.open_tcp(socket(SERVER), *now).unwrap();
        self.exchanges.push(Exchange {
            flows: [Some(flow), None],
            source: client.engine.meta(flow).unwrap().source,
            to_send: [up, down],
            sent: [0; 2],
            received: [0; 2],
            has_shut_down: [false; 2],
            opened_at: *now,
            done_at: None,
            closed: [false; 2],
        });
        self.exchanges.len() - 1
    }

    /// One transfer from its SYN to the last byte down; `None` if that takes longer than
    /// `patience`.
    pub fn exchange(&mut self, up: u64, down: u64, patience: Duration) -> Option<Duration> {
        let place = self.open(up, down);
        let until = self.world.now + patience;
        while self.took(place).is_none() && self.step(until) {}
        self.took(place)
    }

    /// How long a transfer took, if it is done.
    pub fn took(&self, place: usize) -> Option<Duration> {
        let Exchange { opened_at, done_at, .. } = self.exchanges[place];
        done_at.map(|at| at.saturating_duration_since(opened_at))
    }

    /// Whether both ends have heard that a transfer is over.
    pub fn is_closed(&self, place: usize) -> bool {
        self.exchanges[place].closed == [true; 2]
    }

    /// Lets time pass, and says how many bytes arrived.
    pub fn run(&mut self, time: Duration) -> u64 {
        let (until, before) = (self.world.now + time, self.received());
        while self.step(until) {}
        self.received() - before
    }

    fn step(&mut self, until: Instant) -> bool {
        let goes_on = self.world.step(until);
        for side in [0, 1] {
            self.act(side);
        }
        goes_on
    }

    /// Bytes that have arrived at all ends.
    pub fn received(&self) -> u64 {
        self.exchanges.iter().flat_map(|exchange| exchange.received).sum()
    }

    /// Nobody reads any more, or everybody does again.
    pub fn set_read(&mut self, is_read: bool) {
        self.is_read = is_read;
        for (place, side) in (0..self.exchanges.len()).flat_map(|place| [(place, 0), (place, 1)]) {
            if let Some(flow) = self.exchanges[place].flows[side] {
                self.work(side, flow);
            }
        }
    }

    /// What the sending end sent.
    pub fn sent(&self, way: Way) -> Sent {
        self.ledgers[way.sender()].total()
    }

    /// What carries the sending end's datagrams.
    pub const fn link(&mut self, way: Way) -> &mut Link {
        &mut self.end(way.sender()).link
    }

    /// Both directions behave otherwise from now on.
    pub const fn set_path(&mut self, path: Profile) {
        self.world.client.link.set_profile(path);
        self.world.gateway.link.set_profile(path);
    }

    const fn end(&mut self, side: usize) -> &mut End {
        if side == 0 { &mut self.world.client } else { &mut self.world.gateway }
    }

    /// Does what an end asks for.
    fn act(&mut self, side: usize) {
        let now = self.world.now;
        for action in std::mem::take(&mut self.end(side).actions) {
            match action {
                Action::Open(flow) => {
                    let end = self.end(side);
                    let source = end.engine.meta(flow).unwrap().source;
                    end.engine.flow(flow).unwrap().opened(None, now);
                    let exchange = self.exchanges.iter_mut().find(|known| known.source == source);
                    exchange.unwrap().flows[side] = Some(flow);
                    self.work(side, flow);
                }
                Action::Established(flow)
                | Action::Writable(flow)
                | Action::Readable(flow)
                | Action::Shutdown(flow) => self.work(side, flow),
                Action::Closed(flow) => self.of(side, flow).closed[side] = true,
                Action::Idle(_) => {}
                Action::Aborted(..) | Action::Resolve(_) => panic!("{action:?}"),
            }
        }
    }

    fn of(&mut self, side: usize, flow: FlowId) -> &mut Exchange {
        self.exchanges.iter_mut().find(|known| known.flows[side] == Some(flow)).unwrap()
    }

    /// Reads all there is, and writes all that may be written.
    fn work(&mut self, side: usize, flow: FlowId) {
        let Self { world, exchanges, is_read, .. } = self;
        let exchange = exchanges.iter_mut().find(|known| known.flows[side] == Some(flow)).unwrap();
        let (now, end) =
            (world.now, if side == 0 { &mut world.client } else { &mut world.gateway });
        // If it is over that is said next.
        let Ok(mut flow) = end.engine.flow(flow) else { return };
        loop {
            let len = if *is_read { flow.received().len() } else { 0 };
            if len == 0 {
                break;
            }
            flow.consume(len, now);
            exchange.received[side] += len as u64;
        }
        if side == 0 && exchange.received[0] == exchange.to_send[1] {
            exchange.done_at.get_or_insert(now);
        }
        while exchange.sent[side] < exchange.permitted(side) {
            let left = exchange.permitted(side) - exchange.sent[side];
            let room = flow.send_room(now).len();
            let len = room.min(usize::try_from(left).unwrap_or(usize::MAX));
            if len == 0 {
                break;
            }
            flow.commit(len, now);
            exchange.sent[side] += len as u64;
        }
        if exchange.may_shut_down(side) {
            exchange.has_shut_down[side] = true;
            flow.shut_down(now);
        }
    }
}

/// Millions of bits a second.
pub const fn megabits(bytes: u64, time: Duration) -> u64 {
    bytes * 8 / time.as_millis() as u64 / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_ends_when_the_client_has_all_and_then_in_good_order() {
        let latency = Duration::from_millis(10);
        let mut traffic = Traffic::new(Profile::clean(latency), 1 << 16);
        let took = traffic.exchange(100, 500, Duration::from_secs(5)).unwrap();
        assert!((latency * 4..latency * 5).contains(&took), "{took:?}");
        assert_eq!(traffic.received(), 600);
        assert!(!traffic.is_closed(0));
        traffic.run(Duration::from_secs(2));
        assert!(traffic.is_closed(0));
        let sent = Way::BOTH.map(|way| traffic.sent(way).bytes);
        assert_eq!(sent, [100, 500]);
        assert_eq!(traffic.exchange(0, 1_000_000, latency), None);
    }
}
