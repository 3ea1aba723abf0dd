//! Two drivers on loopback, each in a thread of its own: one forwards local ports into the tunnel,
//! the other serves a page from inside it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use slipwire_core::config::{Endpoint, Gateway, Interface, Parts, Peer};
use slipwire_core::rules::{Rule, RuleAction};
use slipwire_core::{Config, FlowMeta, IpNet, PrivateKey};
use slipwire_driver::{Driver, Forward, ForwardProtocol, Page, Settings};

const PATIENCE: Duration = Duration::from_secs(10);

/// A driver that turns in a thread until it is dropped.
struct End {
    addresses: Vec<SocketAddr>,
    forwards: Vec<Forward>,
    turns: Arc<AtomicU64>,
    flows: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl End {
    fn run(config: Config, settings: Settings, prepare: fn(&mut Driver)) -> Self {
        let turns = Arc::new(AtomicU64::new(0));
        let flows = Arc::new(AtomicUsize::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let (sender, ready) = channel();
        let over = Arc::clone(&is_over);
        let (turn_count, flow_count) = (Arc::clone(&turns), Arc::clone(&flows));
        let thread = thread::spawn(move || {
            let mut driver = Driver::new(config, settings, [7; 32]).unwrap();
            prepare(&mut driver);
            sender
                .send((
                    driver.local_addresses().collect(),
                    driver.forwards().map(|(_, forward)| forward.clone()).collect(),
                ))
                .unwrap();
            while !over.load(Ordering::Relaxed) {
                driver.turn(Some(Duration::from_millis(100))).unwrap();
                turn_count.fetch_add(1, Ordering::Relaxed);
                flow_count.store(driver.flow_count(), Ordering::Relaxed);
            }
            driver.shut_down();
        });
        let (addresses, forwards) = ready.recv().unwrap();
        Self { addresses, forwards, turns, flows, is_over, thread: Some(thread) }
    }

    /// Waits until the end has so many flows.
    fn wait_for_flows(&self, count: usize) {
        let end = Instant::now() + PATIENCE;
        while self.flows.load(Ordering::Relaxed) != count {
            assert!(Instant::now() < end, "{} flows", self.flows.load(Ordering::Relaxed));
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn connect(&self, forward: usize) -> TcpStream {
        let stream = TcpStream::connect(self.forwards[forward].listen).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let result = self.thread.take().unwrap().join();
        assert!(result.is_ok() || thread::panicking());
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn config(own: u8, other: u8, endpoint: Option<SocketAddr>, gateway: Option<Gateway>) -> Config {
    let key = |end: u8| PrivateKey::from_entropy([end; 32]);
    let mut peer = Peer::new(key(other).public_key())
        .with_name(format!("end {other}"))
        .with_allowed_ips([net(&format!("10.77.0.{other}/32"))]);
    peer.endpoint = endpoint.map(Endpoint::Address);
    let mut parts = Parts::new(Interface::new(key(own), [net(&format!("10.77.0.{own}/24"))]));
    parts.peers.push(peer);
    parts.gateway = gateway;
    Config::new(parts).unwrap()
}

fn page(meta: &FlowMeta) -> Vec<u8> {
    let mut page = format!("HTTP/1.0 200 OK\r\n\r\nhello {}", meta.peer.name).into_bytes();
    // More than any ring holds.
    page.resize(3 << 20, b'.');
    page
}

/// A gateway with a page at port 80, and a client with forwards to ports 80 and 81 of it.
fn both_ends() -> (End, End) {
    let on_loopback = || {
        let mut settings = Settings::default();
        settings.listen = vec!["127.0.0.1".parse::<IpAddr>().unwrap().into()];
        settings
    };
    let mut gateway = Gateway::default();
    gateway.rules.push(Rule { ports: vec![80..=80], ..Rule::any(RuleAction::Serve) });
    let server = End::run(config(1, 2, None, Some(gateway)), on_loopback(), |driver| {
        driver.serve_streams(80, Page::new(page)).unwrap();
    });
    let endpoint = server.addresses[0];
    let forward = |port: u16| {
        let to = SocketAddr::new("10.77.0.1".parse().unwrap(), port);
        Forward::new(ForwardProtocol::Tcp, "127.0.0.1:0".parse().unwrap(), to)
    };
    let mut settings = on_loopback();
    settings.forwards.extend([80, 81].map(forward));
    let client = End::run(config(2, 1, Some(endpoint), None), settings, |_| {});
    (server, client)
}

#[test]
fn a_page_is_served_from_inside_the_tunnel() {
    let (_server, client) = both_ends();
    let mut stream = client.connect(0);
    stream.write_all(b"GET / HTTP/1.0\r\n").unwrap();
    stream.write_all(b"\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.0 200 OK\r\n\r\nhello end 2"));
    assert_eq!(answer.len(), 3 << 20);
}

#[test]
fn a_client_is_reset_when_the_far_end_refuses() {
    let (_server, client) = both_ends();
    let error = client.connect(1).read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_request_that_never_ends_is_cut_off() {
    let (_server, client) = both_ends();
    let mut stream = client.connect(0);
    let _ = stream.write_all(&[b'a'; 20 << 10]);
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_client_that_says_nothing_gets_nothing() {
    let (_server, client) = both_ends();
    let mut stream = client.connect(0);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_driver_with_nothing_to_do_sleeps() {
    let (server, client) = both_ends();
    let mut stream = client.connect(0);
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    // The answer is not read: every ring on the way is full and stays so.
    thread::sleep(Duration::from_secs(1));
    for end in [&server, &client] {
        let before = end.turns.load(Ordering::Relaxed);
        thread::sleep(Duration::from_secs(1));
        let turns = end.turns.load(Ordering::Relaxed) - before;
        assert!(turns < 100, "{turns} turns in a second");
    }
}

#[test]
fn a_client_that_resets_leaves_no_flow_behind() {
    let (server, client) = both_ends();
    let mut stream = client.connect(0);
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    server.wait_for_flows(1);
    client.wait_for_flows(1);
    // Dropped with bytes of the answer unread, the socket ends with a reset.
    stream.read_exact(&mut [0; 1]).unwrap();
    drop(stream);
    server.wait_for_flows(0);
    client.wait_for_flows(0);
}

#[test]
fn flows_end_with_a_reset_when_a_driver_is_shut_down() {
    let (server, client) = both_ends();
    let mut stream = client.connect(0);
    stream.write_all(b"GET / HTTP/1.0\r\n").unwrap();
    thread::sleep(Duration::from_millis(500));
    drop(server);
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    drop(client);
}
