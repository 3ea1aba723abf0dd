//! ICMP and ICMPv6 messages: echo and errors, read and written.

use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, TcpSeqNumber};

use crate::stack::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN};

/// Bytes of the header of an echo message or an error.
pub(crate) const HEADER_LEN: usize = 8;

/// The IP version that a message belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    V4,
    V6,
}

impl Version {
    pub(crate) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    const fn echo_request(self) -> u8 {
        match self {
            Self::V4 => 8,
            Self::V6 => 128,
        }
    }

    const fn echo_reply(self) -> u8 {
        match self {
            Self::V4 => 0,
            Self::V6 => 129,
        }
    }

    /// Bytes of the offending packet that an error quotes, so that the whole fits into what every
    /// host takes: RFC 1812, section 4.3.2.3, and RFC 4443, section 2.4 (c).
    const fn quote_len_max(self) -> usize {
        match self {
            Self::V4 => 576 - IPV4_HEADER_LEN - HEADER_LEN,
            Self::V6 => 1280 - IPV6_HEADER_LEN - HEADER_LEN,
        }
    }
}

/// What a message says.
#[derive(Debug)]
pub(crate) enum IcmpMessage<'a> {
    /// An echo request with its identifier.
    EchoRequest { identifier: u16 },
    /// An echo reply.
    EchoReply,
    /// Something did not arrive; the quote is the start of the packet that did not.
    Unreachable { quote: &'a [u8] },
    /// Something did not arrive because it was too large, and packets of `mtu` bytes do; 0 if the
    /// router did not say.
    TooBig { mtu: u16, quote: &'a [u8] },
    /// Anything else.
    Other,
}

/// Reads a message of at least [`HEADER_LEN`] bytes.
pub(crate) fn read(version: Version, message: &[u8]) -> IcmpMessage<'_> {
    let (kind, code) = (message[0], message[1]);
    if kind == version.echo_request() && code == 0 {
        return IcmpMessage::EchoRequest {
            identifier: u16::from_be_bytes([message[4], message[5]]),
        };
    }
    if kind == version.echo_reply() {
        return IcmpMessage::EchoReply;
    }
    let quote = &message[HEADER_LEN..];
    match (version, kind, code) {
        // RFC 1191, section 4.
        (Version::V4, 3, 4) => {
            IcmpMessage::TooBig { mtu: u16::from_be_bytes([message[6], message[7]]), quote }
        }
        // RFC 4443, section 3.2.
        (Version::V6, 2, _) => {
            let mtu = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
            IcmpMessage::TooBig { mtu: u16::try_from(mtu).unwrap_or(u16::MAX), quote }
        }
        (Version::V4, 3, _) | (Version::V6, 1, _) => IcmpMessage::Unreachable { quote },
        _ => IcmpMessage::Other,
    }
}

/// Whether a message is an error, to which no error may answer (RFC 1122, section 3.2.2).
pub(crate) fn is_error(version: Version, message: &[u8]) -> bool {
    match version {
        Version::V4 => !matches!(message[0], 0 | 8 | 13 | 14),
        Version::V6 => message[0] < 128,
    }
}

/// The head of an echo reply with the identifier that the peer knows; `None` if the message is no
/// echo reply.
pub(crate) fn echo_reply_head(
    version: Version,
    message: &[u8],
    identifier: u16,
) -> Option<[u8; HEADER_LEN]> {
    let mut head = <[u8; HEADER_LEN]>::try_from(message.get(..HEADER_LEN)?).ok()?;
    if head[0] != version.echo_reply() {
        return None;
    }
    head[4..6].copy_from_slice(&identifier.to_be_bytes());
    Some(head)
}

/// The sequence number of an echo message.
pub(crate) fn echo_sequence(message: &[u8]) -> Option<u16> {
    let bytes = message.get(6..HEADER_LEN)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// The head of an echo request of the peer, for a quote of it.
pub(crate) fn echo_request_head(
    version: Version,
    identifier: u16,
    sequence: u16,
) -> [u8; HEADER_LEN] {
    let ([a, b], [c, d]) = (identifier.to_be_bytes(), sequence.to_be_bytes());
    [version.echo_request(), 0, 0, 0, a, b, c, d]
}

/// The head of the reply to an echo request that was meant for us.
pub(crate) fn own_echo_reply_head(version: Version, request: &[u8]) -> [u8; HEADER_LEN] {
    let [high, low] = [request[4], request[5]];
    [version.echo_reply(), 0, 0, 0, high, low, request[6], request[7]]
}

/// Why a packet is not delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    Port,
    /// Nobody speaks its protocol there.
    Protocol,
    Host,
    Network,
    Prohibited,
    TtlExceeded,
    /// It exceeds the MTU of the next hop and may not be fragmented.
    TooBig {
        mtu: u16,
    },
}

impl Reason {
    /// Type and code: RFC 792, RFC 1812 (code 13) and RFC 4443.
    const fn type_and_code(self, version: Version) -> (u8, u8) {
        match (version, self) {
            (Version::V4, Self::Network) => (3, 0),
            (Version::V4, Self::Host) => (3, 1),
            (Version::V4, Self::Protocol) => (3, 2),
            (Version::V4, Self::Port) => (3, 3),
            (Version::V4, Self::Prohibited) => (3, 13),
            (Version::V4, Self::TooBig { .. }) => (3, 4),
            (Version::V4, Self::TtlExceeded) => (11, 0),
            (Version::V6, Self::Network) => (1, 0),
            (Version::V6, Self::Prohibited) => (1, 1),
            (Version::V6, Self::Host) => (1, 3),
            (Version::V6, Self::Port) => (1, 4),
            (Version::V6, Self::TooBig { .. }) => (2, 0),
            (Version::V6, Self::TtlExceeded) => (3, 0),
            (Version::V6, Self::Protocol) => (4, 1),
        }
    }

    /// The head of the error and what of the offending packet it quotes.
    pub(crate) fn error(self, version: Version, offending: &[u8]) -> ([u8; HEADER_LEN], &[u8]) {
        let (kind, code) = self.type_and_code(version);
        let quote = &offending[..offending.len().min(version.quote_len_max())];
        let [high, low] = match (self, version) {
            // RFC 1191, section 4, and RFC 4443, section 3.2: the same two bytes.
            (Self::TooBig { mtu }, _) => mtu.to_be_bytes(),
            // RFC 4443, section 3.4: it points at the next header field. Extension headers have
            // been taken out, and are not quoted either.
            (Self::Protocol, Version::V6) => [0, 6],
            (
                Self::Port
                | Self::Protocol
                | Self::Host
                | Self::Network
                | Self::Prohibited
                | Self::TtlExceeded,
                _,
            ) => [0; 2],
        };
        ([kind, code, 0, 0, 0, 0, high, low], quote)
    }
}

/// The flow that a quoted packet belongs to, seen from whoever sent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Quoted {
    pub(crate) protocol: QuotedProtocol,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// Bytes of the whole packet.
    pub(crate) len: usize,
}

/// The transport protocol of a quoted packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum QuotedProtocol {
    Tcp(TcpSeqNumber),
    Udp,
    /// An echo reply. Its identifier is the port of the destination; that of the source is 0.
    Echo,
    /// An echo request. It has no ports here.
    EchoRequest,
}

/// Reads the start of a quoted packet; `None` if it is of no flow that passes here.
pub(crate) fn read_quote(version: Version, quote: &[u8]) -> Option<Quoted> {
    let (source, destination, protocol, header_len, len): (IpAddr, IpAddr, _, _, _) = match version
    {
        Version::V4 => {
            if quote.len() < IPV4_HEADER_LEN || quote[0] >> 4 != 4 {
                return None;
            }
            let header = Ipv4Packet::new_unchecked(quote);
            (
                header.src_addr().into(),
                header.dst_addr().into(),
                header.next_header(),
                usize::from(header.header_len()),
                usize::from(header.total_len()),
            )
        }
        Version::V6 => {
            if quote.len() < IPV6_HEADER_LEN || quote[0] >> 4 != 6 {
                return None;
            }
            let header = Ipv6Packet::new_unchecked(quote);
            (
                header.src_addr().into(),
                header.dst_addr().into(),
                header.next_header(),
                IPV6_HEADER_LEN,
                IPV6_HEADER_LEN + usize::from(header.payload_len()),
            )
        }
    };
    let head = <[u8; 8]>::try_from(quote.get(header_len..header_len + 8)?).ok()?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (protocol, ports) = match protocol {
        IpProtocol::Tcp => {
            let sequence = i32::from_be_bytes([head[4], head[5], head[6], head[7]]);
            (QuotedProtocol::Tcp(TcpSeqNumber(sequence)), (word(0), word(2)))
        }
        IpProtocol::Udp => (QuotedProtocol::Udp, (word(0), word(2))),
        IpProtocol::Icmp | IpProtocol::Icmpv6 if head[0] == version.echo_reply() => {
            (QuotedProtocol::Echo, (0, word(4)))
        }
        IpProtocol::Icmp | IpProtocol::Icmpv6 if head[0] == version.echo_request() => {
            (QuotedProtocol::EchoRequest, (0, 0))
        }
        _ => return None,
    };
    let source = SocketAddr::new(source, ports.0);
    let destination = SocketAddr::new(destination, ports.1);
    Some(Quoted { protocol, source, destination, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_is_too_big_is_told_the_size_that_fits() {
        let reason = Reason::TooBig { mtu: 0x0514 };
        assert_eq!(reason.error(Version::V4, &[]).0, [3, 4, 0, 0, 0, 0, 5, 0x14]);
        assert_eq!(reason.error(Version::V6, &[]).0, [2, 0, 0, 0, 0, 0, 5, 0x14]);
    }
}
