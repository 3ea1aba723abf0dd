//! What the start of a packet says of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::flow::{FlowMeta, Protocol};

/// The start of an IP packet, for people. The port of an echo is its identifier, at both ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Summary {
    protocol: Option<Protocol>,
    source: SocketAddr,
    destination: SocketAddr,
    hop_limit: u8,
    tcp: Option<Segment>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Segment {
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    window: u16,
}

/// The bytes at a place, if they are there.
fn bytes_at<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..)?.first_chunk().copied()
}

impl Summary {
    /// Reads it; `None` if it is too short to tell.
    pub(crate) fn of(packet: &[u8]) -> Option<Self> {
        let (source, destination, number, hop_limit, header_len) = match packet.first()? >> 4 {
            4 => {
                let address =
                    |at| bytes_at(packet, at).map(|v4| IpAddr::V4(Ipv4Addr::from_octets(v4)));
                (address(12)?, address(16)?, packet[9], packet[8], usize::from(packet[0] & 15) * 4)
            }
            6 => {
                let address =
                    |at| bytes_at(packet, at).map(|v6| IpAddr::V6(Ipv6Addr::from_octets(v6)));
                (address(8)?, address(24)?, packet[6], packet[7], 40)
            }
            _ => return None,
        };
        let word = |at| bytes_at(packet, header_len + at).map(u16::from_be_bytes);
        let long = |at| bytes_at(packet, header_len + at).map(u32::from_be_bytes);
        let protocol = match number {
            6 => Some(Protocol::Tcp),
            17 => Some(Protocol::Udp),
            1 | 58 => Some(Protocol::Icmp),
            _ => None,
        };
        let ports = match protocol {
            Some(Protocol::Tcp | Protocol::Udp) => [word(0), word(2)],
            Some(Protocol::Icmp) => [word(4), word(4)],
            None => [None, None],
        };
        let segment = || {
            Some(Segment {
                sequence: long(4)?,
                acknowledgement: long(8)?,
                flags: *packet.get(header_len + 13)?,
                window: word(14)?,
            })
        };
        Some(Self {
            protocol,
            source: SocketAddr::new(source, ports[0].unwrap_or(0)),
            destination: SocketAddr::new(destination, ports[1].unwrap_or(0)),
            hop_limit,
            tcp: (protocol == Some(Protocol::Tcp)).then(segment).flatten(),
        })
    }

    /// Whether the packet is of a flow, whichever way it goes.
    pub(crate) fn is_of(&self, flow: &FlowMeta) -> bool {
        let is = |near: SocketAddr, far: SocketAddr| {
            let same_far = match flow.protocol {
                Protocol::Tcp => far == flow.destination,
                Protocol::Udp | Protocol::Icmp => true,
            };
            near == flow.source && same_far
        };
        self.protocol == Some(flow.protocol)
            && (is(self.source, self.destination) || is(self.destination, self.source))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Some(protocol) => write!(f, "{protocol} {} > {}", self.source, self.destination)?,
            None => write!(f, "{} > {}", self.source.ip(), self.destination.ip())?,
        }
        write!(f, ", ttl {}", self.hop_limit)?;
        let Some(Segment { sequence, acknowledgement, flags, window }) = self.tcp else {
            return Ok(());
        };
        for (bit, name) in [(2, " SYN"), (1, " FIN"), (4, " RST"), (8, " PSH"), (16, " ACK")] {
            if flags & bit != 0 {
                f.write_str(name)?;
            }
        }
        write!(f, " seq {sequence} ack {acknowledgement} window {window}")
    }
}
