//! The floor: what the system calls and the cipher of a tunnel cost, and nothing else.
//!
//! Two processes of ours stand where the ends of a tunnel stand. One reads a TCP socket, cuts what
//! it reads into payloads, seals each and sends trains of datagrams (`seal`); the other receives
//! them in batches, opens each in place and writes what they brought to a TCP socket (`open`).
//! There is no TCP/IP between them, so it must not lose anything: the receiver says how much it has
//! written, and the sender keeps no more than a window under way. As in slipwire, one thread waits
//! for edges.
//!
//! ```text
//!   client -- TCP --> seal == datagrams ==> open -- TCP --> server        up
//!   client <-- TCP -- open <== datagrams == seal <-- TCP -- server        down
//! ```

mod message;
mod open;
mod seal;
mod socket;

use std::{
    env,
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use mio::{Events, Interest, Poll, Token};

use self::{open::Opener, seal::Sealer, socket::Datagrams};
use super::{load::Direction, orphan};
use slipwire_lab::{
    net::Host,
    process::Process,
    row::{Family, Row},
    tunnel::Side,
};

/// The word that makes the benchmark one of these processes.
pub const COMMAND: &str = "floor";

/// Bytes under way at most: some trains, so that neither process waits for the other all the time.
const WINDOW: u64 = 256 * 1024;
/// Bytes written after which the sender is told.
const CREDIT: u64 = 64 * 1024;
const UDP_PORT: u16 = 51_821;
const START_LIMIT: Duration = Duration::from_secs(10);

const STREAM: Token = Token(0);
const SOCKET: Token = Token(1);

/// The two running processes, for one transfer.
#[derive(Debug)]
pub struct Floor {
    /// On the near host.
    pub near: Process,
    /// On the middle host.
    pub mid: Process,
}

impl Floor {
    /// Starts both for a transfer to or from `port` of the far host, where a server listens
    /// already.
    pub fn start(row: &Row, direction: Direction, port: u16) -> Result<Self> {
        let client = SocketAddr::new(Family::V4.loopback(), port);
        let server = SocketAddr::new(Family::V4.far(), port);
        let near_udp = SocketAddr::new(Family::V4.near(), UDP_PORT);
        let mid_udp = SocketAddr::new(Family::V4.mid(), UDP_PORT);
        let near = |role| spawn(&row.near, [role, "listen"], [client, near_udp, mid_udp]);
        let mid = |role| spawn(&row.mid, [role, "connect"], [server, mid_udp, near_udp]);
        // The receiver first: what comes before it would be lost.
        Ok(match direction {
            Direction::Up => {
                let mid = mid("open")?;
                Self { near: near("seal")?, mid }
            }
            Direction::Down => {
                let near = near("open")?;
                Self { near, mid: mid("seal")? }
            }
        })
    }

    /// Processor seconds that both have used; they may have ended.
    pub fn cpu(&self) -> Result<[(Side, f64); 2]> {
        let seconds = |process: &Process| process.cpu_time().map(|time| time.as_secs_f64());
        Ok([(Side::Near, seconds(&self.near)?), (Side::Mid, seconds(&self.mid)?)])
    }
}

fn spawn(host: &Host, words: [&str; 2], addresses: [SocketAddr; 3]) -> Result<Process> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(COMMAND).args(words).args(addresses.map(|address| address.to_string()));
    let mut process = host.spawn(COMMAND, &mut command)?;
    process.wait_for_word("ready", START_LIMIT).context("starting the floor")?;
    Ok(process)
}

/// Is one of the two processes, until all bytes are through.
pub fn run(words: &[String]) -> Result<()> {
    let [role, how, addresses @ ..] = words else { bail!("floor ROLE HOW TCP UDP PEER") };
    let [tcp, own, peer] = addresses else { bail!("three addresses are needed") };
    let datagrams = Datagrams::bind(own.parse()?, peer.parse()?)?;
    let stream = match how.as_str() {
        "listen" => {
            let listener = TcpListener::bind(tcp)?;
            eprintln!("ready");
            listener.accept()?.0
        }
        _ => {
            let stream = TcpStream::connect(tcp)?;
            eprintln!("ready");
            stream
        }
    };
    stream.set_nonblocking(true)?;
    let stream = mio::net::TcpStream::from_std(stream);
    match role.as_str() {
        "seal" => turn(&mut Sealer::new(stream, datagrams)?),
        _ => turn(&mut Opener::new(stream, datagrams)?),
    }
}

/// Whether there is more to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waits,
    Done,
}

/// One end of the floor.
trait End {
    fn sources(&mut self) -> (&mut mio::net::TcpStream, &mut mio::net::UdpSocket);
    fn handle_event(&mut self, token: Token);
    /// Does all that can be done now.
    fn advance(&mut self) -> Result<Progress>;
}

fn turn(end: &mut impl End) -> Result<()> {
    let mut poll = Poll::new()?;
    let both = Interest::READABLE | Interest::WRITABLE;
    let (stream, socket) = end.sources();
    poll.registry().register(stream, STREAM, both)?;
    poll.registry().register(socket, SOCKET, both)?;
    let mut events = Events::with_capacity(16);
    while end.advance()? == Progress::Waits {
        orphan::poll(&mut poll, &mut events)?;
        for event in &events {
            end.handle_event(event.token());
        }
    }
    Ok(())
}
