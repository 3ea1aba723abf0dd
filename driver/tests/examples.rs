//! The examples, run as programs: what they say, they do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on ends")]

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use slipwire_core::config::{Interface, Parts, Peer};
use slipwire_core::{Config, PrivateKey};
use slipwire_driver::{Driver, Forward, ForwardProtocol, Settings};

const PATIENCE: Duration = Duration::from_secs(20);

fn key(end: u8) -> PrivateKey {
    PrivateKey::from_entropy([end; 32])
}

/// An example, which `cargo test` builds beside the tests; `cargo build --examples` does, too.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(program.exists(), "{} is not built", program.display());
    Command::new(program)
}

/// A server at 10.77.0.1 that knows one peer, until it is dropped.
struct Whoami {
    child: Child,
    address: SocketAddr,
}

impl Whoami {
    fn start(own: u8, peer: u8) -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let key_file = directory.join(format!("example-{own}.key"));
        fs::write(&key_file, key(own).to_base64().as_str()).unwrap();
        let peer = format!("laptop,{},10.77.0.{peer}/32", key(peer).public_key());
        let mut command = example("driver-whoami");
        command.arg(key_file).args(["10.77.0.1/24", "127.0.0.1:0", &peer]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split(' ').next().unwrap().parse();
        Self { child, address: address.unwrap_or_else(|_| panic!("no address in {line:?}")) }
    }
}

impl Drop for Whoami {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of the server, with forwards.
fn client(
    own: u8,
    server: u8,
    endpoint: SocketAddr,
    targets: &[(ForwardProtocol, &str)],
) -> Driver {
    let peer = Peer::new(key(server).public_key())
        .with_allowed_ips(["0.0.0.0/0".parse().unwrap()])
        .with_endpoint(endpoint);
    let address = format!("10.77.0.{own}/32").parse().unwrap();
    let mut parts = Parts::new(Interface::new(key(own), [address]));
    parts.peers.push(peer);
    let mut settings = Settings::default();
    settings.listen = vec![IpAddr::V4(Ipv4Addr::LOCALHOST).into()];
    settings.forwards.extend(targets.iter().map(|(protocol, to)| {
        Forward::new(*protocol, "127.0.0.1:0".parse().unwrap(), to.parse().unwrap())
    }));
    Driver::new(Config::new(parts).unwrap(), settings, [own; 32]).unwrap()
}

fn get(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    // In pieces, as it may come.
    stream.write_all(b"GET / HTTP/1.1\r\nHost: anybody\r\n")?;
    stream.write_all(b"\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn ask(address: SocketAddr) -> io::Result<String> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(b"who am I?", address)?;
    let mut buffer = [0; 1000];
    let len = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
}

/// Has a driver turn until a question to an address of it is answered.
fn answer(
    driver: &mut Driver,
    forward: usize,
    question: fn(SocketAddr) -> io::Result<String>,
) -> String {
    let address = driver.forwards().nth(forward).unwrap().1.listen;
    let (question, start) = (thread::spawn(move || question(address)), Instant::now());
    while !question.is_finished() {
        assert!(start.elapsed() < PATIENCE, "no answer");
        driver.turn(Some(Duration::from_millis(10))).unwrap();
    }
    question.join().unwrap().unwrap()
}

#[test]
fn a_peer_hears_who_it_is_by_http_and_by_datagram() {
    let server = Whoami::start(1, 2);
    let (http, dns) = ("192.0.2.7:8080", "198.51.100.9:5353");
    let targets = [(ForwardProtocol::Tcp, http), (ForwardProtocol::Udp, dns)];
    let mut client = client(2, 1, server.address, &targets);

    let response = answer(&mut client, 0, get);
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    let datagram = answer(&mut client, 1, ask);
    for (answer, to) in
        [(body, format!("to: {http} (tcp)")), (&datagram, format!("to: {dns} (udp)"))]
    {
        let lines: Vec<_> = answer.lines().collect();
        let key = format!("key: {}", key(2).public_key());
        assert_eq!([lines[0], lines[1], lines[3]], ["peer: laptop", &key, &to]);
        assert!(lines[2].starts_with("from: 10.77.0.2:"), "{answer}");
    }
}

#[test]
fn an_example_that_was_called_wrongly_says_how_it_is_called() {
    let wrong = example("driver-whoami").arg("key").output().unwrap();
    assert!(!wrong.status.success());
    assert!(String::from_utf8(wrong.stderr).unwrap().starts_with("whoami: usage: KEY_FILE "));
}
