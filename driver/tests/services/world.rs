//! Two drivers, and local clients of one of them.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use slipwire_core::config::{Gateway, Interface, Parts, Peer};
use slipwire_core::rules::{Rule, RuleAction};
use slipwire_core::{Config, FlowId, PrivateKey};
use slipwire_driver::{Driver, Forward, ForwardProtocol, Settings, StreamEnd};

use crate::recorders::Call;

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const SERVER: u8 = 1;
pub(crate) const CLIENT: u8 = 2;
pub(crate) const UDP_9: (ForwardProtocol, &str) = (ForwardProtocol::Udp, "10.77.0.1:9");

/// A server that gives every flow to its services, and a client with forwards to it.
pub(crate) struct World {
    pub(crate) server: Driver,
    pub(crate) client: Driver,
}

impl World {
    pub(crate) fn with_tcp(targets: &[&str]) -> Self {
        let targets: Vec<_> = targets.iter().map(|to| (ForwardProtocol::Tcp, *to)).collect();
        Self::new(&targets)
    }

    pub(crate) fn new(targets: &[(ForwardProtocol, &str)]) -> Self {
        let on_loopback = || {
            let mut settings = Settings::default();
            settings.listen = vec![IpAddr::V4(Ipv4Addr::LOCALHOST).into()];
            settings
        };
        let server = Driver::new(server_config(), on_loopback(), [7; 32]).unwrap();
        let endpoint = server.local_addresses().next().unwrap();
        let mut settings = on_loopback();
        settings.forwards.extend(targets.iter().map(|(protocol, to)| {
            Forward::new(*protocol, "127.0.0.1:0".parse().unwrap(), to.parse().unwrap())
        }));
        let client = Driver::new(client_config(endpoint), settings, [8; 32]).unwrap();
        Self { server, client }
    }

    /// Turns both drivers until something has come about.
    pub(crate) fn until<T>(&mut self, mut has: impl FnMut(&mut Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(it) = has(self) {
                return it;
            }
            assert!(start.elapsed() < PATIENCE, "it did not come about");
            self.server.turn(Some(Duration::ZERO)).unwrap();
            self.client.turn(Some(Duration::from_millis(1))).unwrap();
        }
    }

    /// Where a forward listens.
    fn forward(&self, place: usize) -> SocketAddr {
        self.client.forwards().nth(place).unwrap().1.listen
    }

    pub(crate) fn connect(&self, forward: usize) -> TcpStream {
        let stream = TcpStream::connect(self.forward(forward)).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    pub(crate) fn socket(&self, forward: usize) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.forward(forward)).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    pub(crate) fn read(&mut self, stream: &mut TcpStream, len: usize) -> Vec<u8> {
        let mut received = Vec::new();
        self.until(|_| {
            let mut byte = [0; 1];
            while received.len() < len && moved(stream.read(&mut byte)) == 1 {
                received.extend(byte);
            }
            (received.len() == len).then_some(())
        });
        received
    }

    pub(crate) fn read_to_end(&mut self, stream: &mut TcpStream) -> Vec<u8> {
        let mut received = Vec::new();
        self.until(|_| match stream.read_to_end(&mut received) {
            Ok(_) => Some(()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                None
            }
        });
        received
    }

    /// Waits for what a read fails with.
    pub(crate) fn error(&mut self, stream: &mut TcpStream) -> ErrorKind {
        self.until(|_| match stream.read(&mut [0; 1]) {
            Ok(len) => panic!("{len} bytes came"),
            Err(error) => (error.kind() != ErrorKind::WouldBlock).then_some(error.kind()),
        })
    }

    /// Writes until every ring on the way is full and stays so. Returns what was taken.
    pub(crate) fn fill(&mut self, stream: &mut TcpStream) -> Vec<u8> {
        let (mut sent, mut idle) = (Vec::new(), 0);
        self.until(|_| {
            let chunk = [sent.len() as u8; 997];
            let len = moved(stream.write(&chunk));
            sent.extend_from_slice(&chunk[..len]);
            idle = if len == 0 { idle + 1 } else { 0 };
            assert!(sent.len() < 64 << 20, "nothing stops it");
            (idle == 300).then_some(())
        });
        sent
    }

    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> Vec<u8> {
        let mut buffer = [0; 2000];
        let len = self.until(|_| socket.recv(&mut buffer).ok());
        buffer[..len].to_vec()
    }

    /// Waits until a service accepts a flow.
    pub(crate) fn accepted(&mut self, calls: &Receiver<Call>) -> FlowId {
        self.until(|_| match calls.try_recv().ok()? {
            Call::Accept(flow, _) => Some(flow),
            Call::Ended(..) => None,
        })
    }

    /// Waits until a flow of a service has ended.
    pub(crate) fn ended(&mut self, calls: &Receiver<Call>) -> (FlowId, StreamEnd) {
        self.until(|_| match calls.try_recv().ok()? {
            Call::Accept(..) => None,
            Call::Ended(flow, end) => Some((flow, end)),
        })
    }
}

/// How much a call moved that does not block.
pub(crate) fn moved(result: io::Result<usize>) -> usize {
    result.unwrap_or_else(|error| {
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        0
    })
}

pub(crate) fn key(end: u8) -> PrivateKey {
    PrivateKey::from_entropy([end; 32])
}

fn config(own: u8, peer: Peer, gateway: Option<Gateway>) -> Config {
    let address = format!("10.77.0.{own}/24").parse().unwrap();
    let mut parts = Parts::new(Interface::new(key(own), [address]));
    parts.peers.push(peer);
    parts.gateway = gateway;
    Config::new(parts).unwrap()
}

fn server_config() -> Config {
    let peer = Peer::new(key(CLIENT).public_key()).with_name("client").with_allowed_ips([format!(
        "10.77.0.{CLIENT}/32"
    )
    .parse()
    .unwrap()]);
    let mut gateway = Gateway::default();
    gateway.rules.push(Rule::any(RuleAction::Serve));
    config(SERVER, peer, Some(gateway))
}

fn client_config(endpoint: SocketAddr) -> Config {
    let peer = Peer::new(key(SERVER).public_key())
        .with_allowed_ips(["0.0.0.0/0".parse().unwrap()])
        .with_endpoint(endpoint);
    config(CLIENT, peer, None)
}
