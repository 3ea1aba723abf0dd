//! A WireGuard peer that sends what a test likes: whole IP packets, at any pace, without a kernel
//! that would send politely. And outsiders, who know nothing but the gateway's public key.
//!
//! The peer is boringtun without its timers: a session lasts as long as the gateway lets it, three
//! minutes, and [`RawPeer::connect`] makes another.

use std::{
    fmt,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use blake2::{
    Blake2s256, Blake2sMac, Digest as _,
    digest::{Mac as _, consts::U16},
};
use boringtun::{
    noise::{Tunn, TunnResult},
    x25519::{PublicKey, StaticSecret},
};

use crate::{deadline::eventually, net::Host, packet, payload::Random, peer::Keys, udp};

const MAX_DATAGRAM: usize = 65_535;
/// What WireGuard adds to a packet, and more than any handshake message.
const ROOM: usize = 256;
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(20);

/// A peer of one gateway.
pub struct RawPeer {
    socket: UdpSocket,
    tunn: Tunn,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl fmt::Debug for RawPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPeer").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl RawPeer {
    /// Agrees on a session with the gateway at `endpoint`.
    pub fn connect(
        host: &Host,
        endpoint: SocketAddr,
        keys: &Keys,
        gateway_key: &str,
    ) -> Result<Self> {
        let private = StaticSecret::from(key(&keys.private)?);
        let gateway = PublicKey::from(key(gateway_key)?);
        let mut peer = Self {
            socket: udp::connect(host, endpoint)?,
            tunn: Tunn::new(private, gateway, None, None, 1, None),
            incoming: vec![0; MAX_DATAGRAM],
            outgoing: vec![0; MAX_DATAGRAM + ROOM],
        };
        peer.socket.set_nonblocking(true)?;
        let Self { socket, tunn, outgoing, .. } = &mut peer;
        if let TunnResult::WriteToNetwork(initiation) =
            tunn.format_handshake_initiation(outgoing, true)
        {
            socket.send(initiation)?;
        }
        eventually("a session", HANDSHAKE_LIMIT, || {
            peer.poll()?;
            peer.tunn.time_since_last_handshake().context("no answer")
        })?;
        Ok(peer)
    }

    /// Sends an IP packet. What the host has no room for is lost.
    pub fn send(&mut self, packet: &[u8]) -> Result<()> {
        match self.tunn.encapsulate(packet, &mut self.outgoing) {
            TunnResult::WriteToNetwork(datagram) => match self.socket.send(datagram) {
                Ok(_) => Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
                Err(error) => Err(error).context("sending"),
            },
            other => bail!("no session: {other:?}"),
        }
    }

    /// What the gateway has answered so far, packet by packet; `None` if there is nothing now.
    pub fn poll(&mut self) -> Result<Option<packet::Answer>> {
        loop {
            let length = match self.socket.recv(&mut self.incoming) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error).context("receiving"),
            };
            match self.tunn.decapsulate(None, &self.incoming[..length], &mut self.outgoing) {
                TunnResult::WriteToTunnelV4(packet, _) => return Ok(Some(packet::read(packet))),
                // The keepalive that confirms the session.
                TunnResult::WriteToNetwork(reply) => drop(self.socket.send(reply)),
                TunnResult::Done | TunnResult::WriteToTunnelV6(..) | TunnResult::Err(_) => {}
            }
        }
    }

    /// Reads answers for that long.
    pub fn listen(
        &mut self,
        duration: Duration,
        mut take: impl FnMut(packet::Answer),
    ) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < duration {
            match self.poll()? {
                Some(answer) => take(answer),
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
        Ok(())
    }
}

/// A handshake initiation of nobody: everything in it is random but its first MAC, which takes
/// only the gateway's public key. It costs the gateway a Diffie-Hellman to see through it.
pub fn forged_initiation(gateway_key: &str, random: &mut Random) -> Result<Vec<u8>> {
    const LENGTH: usize = 148;
    const MAC1: usize = LENGTH - 32;
    let mut message = random.bytes(LENGTH);
    message[..4].copy_from_slice(&[1, 0, 0, 0]);
    message[MAC1 + 16..].fill(0);
    let mac_key = Blake2s256::new().chain_update(b"mac1----").chain_update(key(gateway_key)?);
    let mut mac = Blake2sMac::<U16>::new_from_slice(&mac_key.finalize())?;
    mac.update(&message[..MAC1]);
    message[MAC1..MAC1 + 16].copy_from_slice(&mac.finalize().into_bytes());
    Ok(message)
}

fn key(text: &str) -> Result<[u8; 32]> {
    let bytes = BASE64_STANDARD.decode(text.trim())?;
    ensure!(bytes.len() == 32, "{} bytes are no key", bytes.len());
    bytes.try_into().ok().context("no key")
}

/// So many things a second, in small bursts. What a busy machine has kept from being done is not
/// made up for.
#[derive(Debug)]
pub struct Pace {
    due: Instant,
    interval: Duration,
}

/// How far behind it may be: as long as a burst that makes up for it.
const BEHIND_MAX: Duration = Duration::from_millis(4);

impl Pace {
    /// Starts now.
    pub fn per_second(rate: u32) -> Self {
        Self { due: Instant::now(), interval: Duration::from_secs(1) / rate.max(1) }
    }

    /// Waits until the next one is due.
    pub fn wait(&mut self) {
        let now = Instant::now();
        // Shorter sleeps last longer than they should.
        let ahead = self.due.saturating_duration_since(now);
        if ahead > Duration::from_millis(1) {
            thread::sleep(ahead);
        }
        let behind = now.saturating_duration_since(self.due);
        self.due += self.interval + behind.saturating_sub(BEHIND_MAX);
    }
}
