//! The examples, run as programs: what they say, they do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on ends")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{self, Duration};

use slipwire_core::config::{Interface, Parts, Peer};
use slipwire_core::{Config, Engine, Instant, PrivateKey, PublicKey, TrafficClass};

const PATIENCE: Duration = Duration::from_secs(20);

fn private_key(end: u8) -> PrivateKey {
    PrivateKey::from_entropy([end; 32])
}

fn public_key(end: u8) -> PublicKey {
    private_key(end).public_key()
}

/// A file with the key of an end.
fn key_file(end: u8) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("example-{end}.key"));
    fs::write(&path, private_key(end).to_base64().as_str()).unwrap();
    path
}

/// An example, which `cargo test` builds beside the tests; `cargo build --examples` does, too.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(program.exists(), "{} is not built", program.display());
    Command::new(program)
}

fn output(name: &str, arguments: &[&str]) -> Output {
    example(name).args(arguments).output().unwrap()
}

/// A program that runs until it is dropped.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    /// Starts a program and waits for its first line, which begins with an address.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split(' ').next().unwrap().parse();
        Self { child, address: address.unwrap_or_else(|_| panic!("no address in {line:?}")) }
    }

    /// A server at 10.77.0.1 that knows two peers.
    fn whoami(own: u8, peers: [(&str, u8); 2]) -> Self {
        let mut command = example("whoami");
        command.arg("--key-file").arg(key_file(own));
        command.args(["--address", "10.77.0.1/24", "--listen", "127.0.0.1:0"]);
        for (name, end) in peers {
            let key = public_key(end);
            command.args(["--peer", &format!("{name},{key},10.77.0.{end}/32")]);
        }
        Self::start(&mut command)
    }

    fn forward(own: u8, server: u8, endpoint: SocketAddr, to: &str) -> Self {
        let mut command = example("forward");
        command.arg("--key-file").arg(key_file(own));
        command.args(["--address", &format!("10.77.0.{own}/32"), "--listen", "127.0.0.1:0"]);
        command.args(["--peer", &public_key(server).to_string(), "--to", to]);
        command.args(["--endpoint", &endpoint.to_string()]);
        Self::start(&mut command)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // In pieces, as it may come.
    stream.write_all(b"GET / HTTP/1.1\r\nHost: anybody\r\n").unwrap();
    stream.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Sends a datagram through a tunnel of its own, and returns the answer.
fn ask(own: u8, server: u8, endpoint: SocketAddr, to: &str) -> String {
    let address = format!("10.77.0.{own}/32").parse().unwrap();
    let server = Peer::new(public_key(server))
        .with_allowed_ips(["0.0.0.0/0".parse().unwrap()])
        .with_endpoint(endpoint);
    let mut parts = Parts::new(Interface::new(private_key(own), [address]));
    parts.peers.push(server);
    #[expect(clippy::disallowed_methods, reason = "the clock is the embedder's")]
    let start = time::Instant::now();
    let now = || Instant::ZERO + start.elapsed();
    let mut engine = Engine::new(&Config::new(parts).unwrap(), [own; 32], now());
    let tunnel = UdpSocket::bind("127.0.0.1:0").unwrap();
    tunnel.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let to = to.parse().unwrap();
    let flow = engine.open_udp(to, now()).unwrap();
    engine.flow(flow).unwrap().send_datagram(to, TrafficClass::DEFAULT, b"who am I?", now());
    let mut buffer = [0; 65_536];
    while start.elapsed() < PATIENCE {
        while engine.poll_action().is_some() {}
        if let Some(datagram) = engine.poll_datagram() {
            return String::from_utf8(datagram.payload.to_vec()).unwrap();
        }
        engine.service(now());
        while let Some(train) = engine.poll_transmit() {
            let len = train.segment_size;
            tunnel.send_to(&train.contents[..len], train.destination).unwrap();
            engine.transmitted(len);
        }
        if let Ok((len, source)) = tunnel.recv_from(&mut buffer) {
            engine.handle_datagram(source, None, &buffer[..len], now());
        }
        engine.handle_timeout(now());
    }
    panic!("no answer")
}

#[test]
fn a_server_without_a_host_socket_knows_who_calls() {
    let server = Running::whoami(1, [("laptop", 2), ("phone", 3)]);
    let to = "192.0.2.7:8080";
    let forward = Running::forward(2, 1, server.address, to);
    let answer = get(forward.address);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    let lines: Vec<_> = body.lines().collect();
    let key = format!("key: {}", public_key(2));
    assert_eq!([lines[0], lines[1], lines[3]], ["peer: laptop", &key, "to: 192.0.2.7:8080 (tcp)"]);
    assert!(lines[2].starts_with("from: 10.77.0.2:"), "{body}");

    let body = ask(3, 1, server.address, "198.51.100.9:5353");
    let lines: Vec<_> = body.lines().collect();
    let key = format!("key: {}", public_key(3));
    assert_eq!(
        [lines[0], lines[1], lines[3]],
        ["peer: phone", &key, "to: 198.51.100.9:5353 (udp)"]
    );
    assert!(lines[2].starts_with("from: 10.77.0.3:"), "{body}");
}

#[test]
fn connections_of_a_forward_go_on_side_by_side() {
    let server = Running::whoami(11, [("laptop", 12), ("phone", 13)]);
    let forward = Running::forward(12, 11, server.address, "10.77.0.1:80");
    let mut waiting = TcpStream::connect(forward.address).unwrap();
    waiting.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    for _ in 0..20 {
        assert!(get(forward.address).contains("to: 10.77.0.1:80 (tcp)\n"));
    }
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    waiting.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("peer: laptop\n"), "{answer}");
}

#[test]
fn examples_explain_themselves_and_their_errors() {
    for name in ["forward", "whoami"] {
        let help = output(name, &["--help"]);
        assert!(help.status.success());
        assert!(String::from_utf8(help.stdout).unwrap().contains("--key-file FILE"));
    }
    let key_file = key_file(20);
    let cases = [
        ("forward", vec!["--what"], "forward: invalid option '--what'\n"),
        ("forward", vec!["--peer", "abc"], "forward: cannot parse argument \"abc\""),
        ("whoami", vec!["--listen", "nowhere"], "whoami: cannot parse argument \"nowhere\""),
        ("whoami", vec!["--peer", "laptop"], "a peer needs a public key after its name"),
        ("whoami", vec!["--listen", "127.0.0.1:0"], "whoami: --key-file is missing\n"),
        ("whoami", vec!["--key-file", "/nowhere"], "whoami: /nowhere: No such file"),
        ("whoami", vec!["--key-file", key_file.to_str().unwrap()], "--listen is missing\n"),
    ];
    for (name, arguments, message) in cases {
        let refused = output(name, &arguments);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains(message), "{arguments:?}: {said}");
    }
}
