//! A server that sends back whatever comes, as a process of its own: its sockets count against its
//! own limit of open files, and it ends with the benchmark.

use std::{
    env,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

use socket2::{Domain, Socket, Type};

use super::orphan;
use slipwire_lab::{deadline::eventually, net::Host, process::Process};

/// The word that makes the benchmark this server.
pub const COMMAND: &str = "echo";

const START_LIMIT: Duration = Duration::from_secs(10);
/// How long connections may take to reach the server.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);
const LISTENER: Token = Token(usize::MAX);
const BACKLOG: i32 = 4096;
const CHUNK: usize = 64 * 1024;

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Echo {
    process: Process,
    /// Descriptors that are no connections.
    others: usize,
}

impl Echo {
    /// Listens on `port` of every address of `host`.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(COMMAND).arg(port.to_string());
        let mut process = host.spawn(COMMAND, &mut command)?;
        process.wait_for_word("ready", START_LIMIT).context("starting the echo server")?;
        let others = process.descriptors()?;
        Ok(Self { process, others })
    }

    /// Waits until it has so many connections.
    pub fn wait_for_connections(&self, count: usize) -> Result<()> {
        eventually("connections at the server", ARRIVAL_LIMIT, || {
            let there = self.process.descriptors()?.saturating_sub(self.others);
            ensure!(there == count, "{there} of {count}");
            Ok(())
        })
    }
}

/// Is the server, until the benchmark ends.
pub fn run(words: &[String]) -> Result<()> {
    let [port] = words else { bail!("echo PORT") };
    let mut listener = listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port.parse()?))?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    eprintln!("ready");
    let mut events = Events::with_capacity(1024);
    let mut server = Server { listener, connections: Vec::new(), free: Vec::new() };
    loop {
        orphan::poll(&mut poll, &mut events)?;
        for event in &events {
            match event.token() {
                LISTENER => server.accept(&poll)?,
                Token(index) => server.serve(index),
            }
        }
    }
}

/// With room for many that come at once: where there is none, the kernel answers by SYN cookies,
/// and a client whose acknowledgement is lost takes a connection for open that the server knows
/// nothing of.
fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

struct Server {
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
}

struct Connection {
    stream: TcpStream,
    /// What came and could not be sent back yet.
    unsent: Vec<u8>,
}

impl Server {
    fn accept(&mut self, poll: &Poll) -> Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The client has given up already.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("accepting"),
            };
            // Fails for one that was reset already, which is seen when it is read.
            let _ = stream.set_nodelay(true);
            let index = self.free.pop().unwrap_or(self.connections.len());
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(index), both)?;
            let connection = Some(Connection { stream, unsent: Vec::new() });
            match self.connections.get_mut(index) {
                Some(place) => *place = connection,
                None => self.connections.push(connection),
            }
            // What came with the handshake has its edge still to come.
        }
    }

    fn serve(&mut self, index: usize) {
        let Some(Some(connection)) = self.connections.get_mut(index) else { return };
        if !connection.echo() {
            self.connections[index] = None;
            self.free.push(index);
        }
    }
}

impl Connection {
    /// Sends back all that is there; whether there may be more.
    fn echo(&mut self) -> bool {
        let mut chunk = [0; CHUNK];
        loop {
            while !self.unsent.is_empty() {
                match self.stream.write(&self.unsent) {
                    Ok(length) => drop(self.unsent.drain(..length)),
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                }
            }
            self.unsent = Vec::new();
            match self.stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(length) => match self.stream.write(&chunk[..length]) {
                    Ok(sent) => self.unsent.extend_from_slice(&chunk[sent..length]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        self.unsent.extend_from_slice(&chunk[..length]);
                    }
                    Err(_) => return false,
                },
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }
}

/// How many descriptors a process like ours may have, after asking for as many as there are.
pub fn descriptors_max() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let old = getrlimit(Resource::Nofile);
    // It stays as it is if that is not allowed.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: old.maximum, maximum: old.maximum });
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX)
}
