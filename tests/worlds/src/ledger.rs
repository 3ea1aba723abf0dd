//! What TCP sent for the first time, and what again, heard at the tap of the engine that sent it:
//! whatever the sender itself believes.

use std::collections::BTreeMap;
use std::iter::Sum;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use slipwire_core::{Direction, Engine, Identity, Instant, PeerId, Tap};

/// TCP's number among the protocols of IP.
const TCP: u8 = 6;
/// TCP's flag of a segment that begins a connection.
const SYN: u8 = 2;

/// Bytes of payload that were sent, and how many of them had been sent before. Probes, which
/// repeat one byte to be answered, are neither.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sent {
    pub bytes: u64,
    pub repeated: u64,
}

impl Sent {
    /// What was added since `earlier`.
    pub const fn since(self, earlier: Self) -> Self {
        Self { bytes: self.bytes - earlier.bytes, repeated: self.repeated - earlier.repeated }
    }

    /// Bytes that were sent for the first time.
    pub const fn needed(self) -> u64 {
        self.bytes - self.repeated
    }
}

impl Sum for Sent {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, sent| Self {
            bytes: sum.bytes + sent.bytes,
            repeated: sum.repeated + sent.repeated,
        })
    }
}

/// Listens to an engine. Clones share what was heard.
#[derive(Clone, Default, Debug)]
pub struct Ledger(Arc<Mutex<Connections>>);

/// By the addresses and ports of what this end sends: the sequence number behind all that was sent,
/// and the account.
type Connections = BTreeMap<(SocketAddr, SocketAddr), (u32, Sent)>;

impl Ledger {
    /// Listens to what an engine sends from now on, in place of whoever did.
    pub fn of(engine: &mut Engine) -> Self {
        let ledger = Self::default();
        engine.set_tap(Some(Box::new(ledger.clone())));
        ledger
    }

    /// All connections together.
    pub fn total(&self) -> Sent {
        let connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connections.values().map(|(_, sent)| *sent).sum()
    }
}

impl Tap for Ledger {
    fn packet(&mut self, _: PeerId, _: &Identity, way: Direction, packet: &[u8], _: Instant) {
        let segment = match way {
            Direction::In => None,
            Direction::Out => Segment::parse(packet),
        };
        let Some(Segment { from, to, start, len, is_syn }) = segment else { return };
        let mut connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (sent_to, sent) = connections.entry((from, to)).or_insert((start, Sent::default()));
        if is_syn {
            *sent_to = start.wrapping_add(1);
            return;
        }
        let end = start.wrapping_add(len);
        // Serial numbers (RFC 1982).
        let new = (end.wrapping_sub(*sent_to) as i32).clamp(0, len as i32) as u32;
        let is_probe = len == 1 && new == 0;
        if !is_probe {
            sent.bytes += u64::from(len);
            sent.repeated += u64::from(len - new);
        }
        if new > 0 {
            *sent_to = end;
        }
    }
}

/// What a packet says of itself.
#[derive(Debug)]
struct Segment {
    from: SocketAddr,
    to: SocketAddr,
    start: u32,
    len: u32,
    is_syn: bool,
}

impl Segment {
    /// `None` for what is no segment of TCP.
    fn parse(packet: &[u8]) -> Option<Self> {
        let v6 = |at: usize| -> Option<IpAddr> {
            Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?).into())
        };
        let v4 = |at: usize| -> Option<IpAddr> {
            Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?).into())
        };
        let (protocol, header_len, from, to) = match packet.first()? >> 4 {
            4 => (*packet.get(9)?, usize::from(packet[0] & 0xf) * 4, v4(12)?, v4(16)?),
            6 => (*packet.get(6)?, 40, v6(8)?, v6(24)?),
            _ => return None,
        };
        let segment = packet.get(header_len..).filter(|_| protocol == TCP)?;
        let header: &[u8; 20] = segment.first_chunk()?;
        let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let payload = segment.get(usize::from(header[12] >> 4) * 4..)?;
        Some(Self {
            from: SocketAddr::new(from, port(0)),
            to: SocketAddr::new(to, port(2)),
            start: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            len: payload.len() as u32,
            is_syn: header[13] & SYN != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::two_engines::{World, pattern, read, write};

    #[test]
    fn what_is_sent_again_is_told_from_what_is_new() {
        let mut world = World::new();
        let ledger = Ledger::of(&mut world.client.engine);
        let (near, far) = world.open_and_accept();
        let now = world.now;
        assert_eq!(write(&mut world.client, near, &pattern(500), now), 500);
        world.run(std::time::Duration::from_secs(1));
        assert_eq!(ledger.total(), Sent { bytes: 500, repeated: 0 });

        world.client.link.lose_data([0]);
        let now = world.now;
        assert_eq!(write(&mut world.client, near, &pattern(300), now), 300);
        world.run(std::time::Duration::from_secs(3));
        assert_eq!(ledger.total(), Sent { bytes: 1_100, repeated: 300 });
        assert_eq!(ledger.total().needed(), 800);
        let now = world.now;
        assert_eq!(read(&mut world.gateway, far, now).len(), 800);
    }
}
