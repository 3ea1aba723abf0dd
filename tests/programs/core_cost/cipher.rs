//! What WireGuard alone costs: boringtun with one session, encrypting and decrypting packets one by
//! one.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant as Clock};

use anyhow::{Result, ensure};
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use slipwire_lab::packet;

/// What IP and UDP add.
const HEADERS_LEN: usize = 28;
/// What WireGuard adds, and room for a handshake.
const ROOM: usize = 256;

/// Two ends with a session.
pub(crate) struct Cipher {
    ends: [Tunn; 2],
    buffers: [Vec<u8>; 2],
}

/// What a packet costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) encrypt: Duration,
    pub(crate) decrypt: Duration,
}

impl Cipher {
    pub(crate) fn new() -> Result<Self> {
        let keys = [1, 2].map(|seed| StaticSecret::from([seed; 32]));
        let public = [&keys[0], &keys[1]].map(PublicKey::from);
        let [first, second] = keys;
        let mut ends = [
            Tunn::new(first, public[1], None, None, 1, None),
            Tunn::new(second, public[0], None, None, 2, None),
        ];
        let mut buffers = [(); 2].map(|()| vec![0; 2048]);
        let mut message = match ends[0].format_handshake_initiation(&mut buffers[0], true) {
            TunnResult::WriteToNetwork(initiation) => initiation.to_vec(),
            _ => Vec::new(),
        };
        // The answer, and the keepalive that confirms it.
        for to in [1, 0, 1] {
            message = match ends[to].decapsulate(None, &message, &mut buffers[0]) {
                TunnResult::WriteToNetwork(answer) => answer.to_vec(),
                _ => Vec::new(),
            };
        }
        Ok(Self { ends, buffers })
    }

    /// What packets of `len` bytes cost, on average over `count`.
    pub(crate) fn measure(&mut self, len: usize, count: u32) -> Result<Cost> {
        let ends = [SocketAddrV4::new([10, 0, 0, 1].into(), 1); 2];
        let packet = packet::datagram(ends, &vec![0; len - HEADERS_LEN]);
        let Self { ends: [from, to], buffers: [sent, received] } = self;
        sent.resize(packet.len() + ROOM, 0);
        received.resize(packet.len() + ROOM, 0);
        let mut cost = Cost { encrypt: Duration::ZERO, decrypt: Duration::ZERO };
        for _ in 0..count {
            let start = Clock::now();
            let result = from.encapsulate(&packet, sent);
            let encrypted = Clock::now();
            let TunnResult::WriteToNetwork(datagram) = result else { anyhow::bail!("no session") };
            let result = to.decapsulate(None, datagram, received);
            cost.decrypt += encrypted.elapsed();
            cost.encrypt += encrypted - start;
            ensure!(matches!(result, TunnResult::WriteToTunnelV4(..)), "it did not arrive");
        }
        Ok(Cost { encrypt: cost.encrypt / count, decrypt: cost.decrypt / count })
    }
}
