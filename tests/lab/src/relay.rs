//! A man in the middle: passes the datagrams of one WireGuard peer on to another and keeps copies.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;

use crate::{locked, net::Host, udp};

/// Copies kept; enough for the handshake and some data.
const MAX_COPIES: usize = 256;
const MAX_DATAGRAM: usize = 65_535;

/// How soon a relay notices that it is to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// A running relay between one client, the last one to send, and one server.
#[derive(Debug)]
pub struct Relay {
    way: Arc<Way>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Way {
    towards_client: UdpSocket,
    towards_server: UdpSocket,
    client: Mutex<Option<SocketAddr>>,
    copies: Mutex<Vec<Vec<u8>>>,
    stop: AtomicBool,
}

impl Relay {
    /// Listens at `listen` on `host` and passes on to `server`.
    pub fn start(host: &Host, listen: SocketAddr, server: SocketAddr) -> Result<Self> {
        let way = Arc::new(Way {
            towards_client: udp::bind(host, listen)?,
            towards_server: udp::connect(host, server)?,
            client: Mutex::default(),
            copies: Mutex::default(),
            stop: AtomicBool::default(),
        });
        for socket in [&way.towards_client, &way.towards_server] {
            socket.set_read_timeout(Some(STOP_INTERVAL))?;
        }
        let threads = [Way::pass_to_server, Way::pass_to_client].map(|pass| {
            let way = Arc::clone(&way);
            thread::spawn(move || way.pass_all(pass))
        });
        Ok(Self { way, threads: threads.into() })
    }

    /// Copies of the datagrams from the client, in their order.
    pub fn copies(&self) -> Vec<Vec<u8>> {
        locked(&self.way.copies).clone()
    }

    /// Sends the server a datagram that looks as if it came from the client.
    pub fn inject(&self, datagram: &[u8]) -> Result<()> {
        self.way.towards_server.send(datagram)?;
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.way.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // A panic there has shown as a dead tunnel already.
            let _ = thread.join();
        }
    }
}

impl Way {
    /// Datagrams that a full socket or a dead server loses are lost, as on any path.
    fn pass_all(&self, pass: impl Fn(&Self, &mut [u8]) -> io::Result<()>) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        while !self.stop.load(Ordering::SeqCst) {
            let _ = pass(self, &mut buffer);
        }
    }

    fn pass_to_server(&self, buffer: &mut [u8]) -> io::Result<()> {
        let (length, client) = self.towards_client.recv_from(buffer)?;
        *locked(&self.client) = Some(client);
        let mut copies = locked(&self.copies);
        if copies.len() < MAX_COPIES {
            copies.push(buffer[..length].to_vec());
        }
        self.towards_server.send(&buffer[..length]).map(drop)
    }

    fn pass_to_client(&self, buffer: &mut [u8]) -> io::Result<()> {
        let length = self.towards_server.recv(buffer)?;
        match *locked(&self.client) {
            Some(client) => self.towards_client.send_to(&buffer[..length], client).map(drop),
            None => Ok(()),
        }
    }
}
