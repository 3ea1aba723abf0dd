//! A path in real time: passes the datagrams of WireGuard peers on as a [`Path`] says.
//!
//! ```text
//!   one end  ---->  socket -- heap, by time of arrival --> socket  ---->  other end
//!            <----         <------------------------------         <----
//! ```
//!
//! One thread does it all, both directions and every pair of ends that shares the path. It sleeps
//! until the next datagram comes or is due, as exactly as the kernel's high resolution timers are.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::{SocketAddr, UdpSocket},
    num::NonZeroU64,
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant as Clock},
};

use anyhow::{Context as _, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::gettid,
};
use slipwire_core::Instant;
use slipwire_lab::{net::Host, process, udp};
use slipwire_worlds::{
    account::Account,
    dice::Dice,
    link::Profile,
    path::{Direction, Path},
};
use socket2::SockRef;

/// How soon a relay notices that it is to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(50);
/// How many datagrams of one socket are taken before the others have their turn.
const TURN: usize = 32;
const DATAGRAM_MAX: usize = 65_535;
/// Room for what comes while the thread does not run.
const SOCKET_BUFFER: usize = 4 << 20;
const TOOL_LIMIT: Duration = Duration::from_secs(10);
/// What leaves later than this after its time is counted.
const LATE: Duration = Duration::from_millis(1);

/// Two ends whose datagrams take the path.
#[derive(Debug)]
pub struct Lane {
    towards_client: UdpSocket,
    towards_server: UdpSocket,
    /// The last one to send.
    client: Option<SocketAddr>,
}

impl Lane {
    /// Listens at `listen` on `host` and passes on to `server`.
    pub fn new(host: &Host, listen: SocketAddr, server: SocketAddr) -> Result<Self> {
        Self::between(udp::bind(host, listen)?, udp::connect(host, server)?)
    }

    /// Passes on between whoever sends to the one socket and whom the other is connected to.
    fn between(towards_client: UdpSocket, towards_server: UdpSocket) -> Result<Self> {
        for socket in [&towards_client, &towards_server] {
            socket.set_nonblocking(true)?;
            SockRef::from(socket).set_recv_buffer_size(SOCKET_BUFFER)?;
        }
        Ok(Self { towards_client, towards_server, client: None })
    }

    /// The next datagram that goes this way, if one has come.
    fn receive(&mut self, direction: Direction, buffer: &mut [u8]) -> Option<usize> {
        let received = match direction {
            Direction::Up => self.towards_client.recv_from(buffer).map(|(length, client)| {
                self.client = Some(client);
                length
            }),
            Direction::Down => self.towards_server.recv(buffer),
        };
        // An error but "none is there" says that an earlier one found nobody; it looks again soon.
        received.ok()
    }

    /// What the other socket can't take is lost, as on any path.
    fn send(&self, direction: Direction, datagram: &[u8]) {
        let _ = match (direction, self.client) {
            (Direction::Up, _) => self.towards_server.send(datagram),
            (Direction::Down, Some(client)) => self.towards_client.send_to(datagram, client),
            (Direction::Down, None) => return,
        };
    }
}

/// What the relay did so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ledger {
    /// Up and down.
    pub accounts: [Account; 2],
    /// Datagrams that left, and those of them that left more than a millisecond late.
    pub left: u64,
    /// See [`Self::left`].
    pub late: u64,
}

impl Ledger {
    /// What was added since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let [up, down] = self.accounts;
        Self {
            accounts: [up.since(earlier.accounts[0]), down.since(earlier.accounts[1])],
            left: self.left - earlier.left,
            late: self.late - earlier.late,
        }
    }
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Relay {
    /// Starts one whose path is as `profile` says both ways; the same seed throws the same dice.
    pub fn start(lanes: Vec<Lane>, profile: Profile, seed: u64) -> Result<Self> {
        let (ledger, stop) = (Arc::<Mutex<Ledger>>::default(), Arc::<AtomicBool>::default());
        let work = Work {
            lanes,
            path: Path::new(profile, &mut Dice::new(seed)),
            waiting: BinaryHeap::new(),
            spare: Vec::new(),
            number: 0,
            start: Clock::now(),
            shared: Arc::clone(&ledger),
            ledger: Ledger::default(),
        };
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("relay".to_owned());
        let thread = thread.spawn(move || work.run(&stopped)).context("starting the relay")?;
        Ok(Self { ledger, stop, thread: Mutex::new(Some(thread)) })
    }

    /// What it did so far.
    pub fn ledger(&self) -> Ledger {
        *locked(&self.ledger)
    }

    /// Ends it and gives its addresses free, whoever has a handle of it.
    pub fn end(&self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = locked(&self.thread).take() {
            // A panic there has shown as a dead tunnel already.
            let _ = thread.join();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes this thread run as soon as it is due, as far as it may: what is not allowed is left, and
/// shows as datagrams that are late.
fn be_on_time() {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let thread = gettid().as_raw_nonzero().to_string();
    let _ =
        process::output(Command::new("chrt").args(["--fifo", "--pid", "10", &thread]), TOOL_LIMIT);
}

/// A datagram on its way, ordered by its arrival, and then by the order in which they came.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct OnTheWay {
    at: Instant,
    number: u64,
    lane: usize,
    up: bool,
    bytes: Vec<u8>,
}

struct Work {
    lanes: Vec<Lane>,
    path: Path,
    waiting: BinaryHeap<Reverse<OnTheWay>>,
    /// Buffers of datagrams that have left.
    spare: Vec<Vec<u8>>,
    number: u64,
    start: Clock,
    shared: Arc<Mutex<Ledger>>,
    ledger: Ledger,
}

impl Work {
    fn run(mut self, stop: &AtomicBool) {
        be_on_time();
        let mut buffer = vec![0; DATAGRAM_MAX];
        while !stop.load(Ordering::Relaxed) {
            self.send_what_is_due();
            for lane in 0..self.lanes.len() {
                for direction in [Direction::Up, Direction::Down] {
                    self.take_in(lane, direction, &mut buffer);
                }
            }
            self.publish();
            self.sleep();
        }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    fn take_in(&mut self, lane: usize, direction: Direction, buffer: &mut [u8]) {
        for _ in 0..TURN {
            let Some(length) = self.lanes[lane].receive(direction, buffer) else { return };
            let datagram = &buffer[..length];
            for arrival in self.path.carry(direction, length, self.now()).arrivals() {
                let mut bytes = self.spare.pop().unwrap_or_default();
                bytes.clear();
                bytes.extend_from_slice(datagram);
                self.number += 1;
                let up = direction == Direction::Up;
                let (at, number) = (arrival.at, self.number);
                self.waiting.push(Reverse(OnTheWay { at, number, lane, up, bytes }));
            }
        }
    }

    fn send_what_is_due(&mut self) {
        let now = self.now();
        while self.waiting.peek().is_some_and(|Reverse(next)| next.at <= now)
            && let Some(Reverse(next)) = self.waiting.pop()
        {
            let direction = if next.up { Direction::Up } else { Direction::Down };
            self.lanes[next.lane].send(direction, &next.bytes);
            self.ledger.left += 1;
            self.ledger.late += u64::from(now.saturating_duration_since(next.at) > LATE);
            self.spare.push(next.bytes);
        }
    }

    fn publish(&mut self) {
        self.ledger.accounts = [Direction::Up, Direction::Down].map(|way| self.path.account(way));
        *locked(&self.shared) = self.ledger;
    }

    /// Until a datagram comes or is due.
    fn sleep(&self) {
        let now = self.now();
        let due = self.waiting.peek().map(|Reverse(next)| next.at.saturating_duration_since(now));
        let time = due.unwrap_or(STOP_INTERVAL).min(STOP_INTERVAL);
        // Less than a second fits anywhere.
        let timeout = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
        let sockets =
            self.lanes.iter().flat_map(|lane| [&lane.towards_client, &lane.towards_server]);
        let mut polled: Vec<_> = sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        // An interrupted sleep is a short one.
        let _ = poll(&mut polled, Some(&timeout));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(100);

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    }

    fn connected_to(other: SocketAddr) -> UdpSocket {
        let socket = socket();
        socket.connect(other).unwrap();
        socket
    }

    /// A client, what the relay has towards it, and a server.
    fn lane() -> (UdpSocket, Lane, UdpSocket) {
        let (entry, server) = (socket(), socket());
        let client = connected_to(entry.local_addr().unwrap());
        let exit = connected_to(server.local_addr().unwrap());
        (client, Lane::between(entry, exit).unwrap(), server)
    }

    fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2_000];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        (buffer[..length].to_vec(), from)
    }

    #[test]
    fn what_fits_arrives_in_order_and_late_and_answers_go_back() {
        let (client, lane, server) = lane();
        let profile = Profile { mtu: 1_000, ..Profile::clean(DELAY) };
        let relay = Relay::start(vec![lane], profile, 1).unwrap();
        let start = Clock::now();
        client.send(&[1; 1_001]).unwrap();
        for number in 2..10 {
            client.send(&[number; 1_000]).unwrap();
        }
        let mut peer = None;
        for number in 2..10 {
            let (datagram, from) = receive(&server);
            assert_eq!(datagram, [number; 1_000]);
            peer = Some(from);
        }
        assert!(start.elapsed() >= DELAY);
        server.send_to(b"answer", peer.unwrap()).unwrap();
        assert_eq!(receive(&client).0, b"answer");
        assert!(start.elapsed() >= DELAY * 2);
        relay.end();
        let [up, down] = relay.ledger().accounts;
        assert_eq!((up.datagrams, up.lost, up.segments_lost), (9, 1, 1));
        assert_eq!((down.datagrams, down.lost), (1, 0));
    }

    #[test]
    fn lanes_share_the_rate_and_nothing_else() {
        let (lanes, mut clients, mut servers) = ([lane(), lane()], Vec::new(), Vec::new());
        // A hundred milliseconds for each datagram.
        let profile = Profile { rate: Some(10_000), ..Profile::clean(Duration::ZERO) };
        let lanes = lanes.into_iter().map(|(client, lane, server)| {
            clients.push(client);
            servers.push(server);
            lane
        });
        let relay = Relay::start(lanes.collect(), profile, 1).unwrap();
        let start = Clock::now();
        for (number, client) in (1..).zip(&clients) {
            client.send(&[number; 1_000]).unwrap();
        }
        for (number, server) in (1..).zip(&servers) {
            assert_eq!(receive(server).0, [number; 1_000]);
        }
        assert!(start.elapsed() >= Duration::from_millis(200));
        assert_eq!(relay.ledger().accounts[0].datagrams, 2);
    }

    #[test]
    fn an_ended_relay_gives_its_addresses_free() {
        let (client, lane, _server) = lane();
        let entry = client.peer_addr().unwrap();
        let relay = Relay::start(vec![lane], Profile::clean(DELAY), 1).unwrap();
        assert!(UdpSocket::bind(entry).is_err());
        relay.end();
        UdpSocket::bind(entry).unwrap();
    }
}
