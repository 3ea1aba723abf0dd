//! Consecutive segments of a connection that arrive together go to it as one (as Linux's GRO does
//! it): it is looked up once, and works once, for many.
//!
//! Only what is alike joins: the same header but for sequence number, lengths, checksums and PSH.
//! Checksums have been verified before, of each segment.

use smoltcp::wire::{TcpPacket, TcpSeqNumber};

use crate::id::{FlowId, PeerId};
use crate::limits::PACKET_LEN_MAX;
use crate::stack::packet::{Header, Packet};

/// Bytes of the largest packet that comes of it. More would not fit into the processor's first
/// cache together with what they are copied from and to, and would cost more than they save.
const COALESCED_LEN_MAX: usize = 12 << 10;

const _: () = assert!(COALESCED_LEN_MAX <= PACKET_LEN_MAX);

/// What waits for more.
#[derive(Debug)]
struct HeldSegment {
    flow: FlowId,
    peer: PeerId,
    header: Header,
    /// The sequence number of the segment that would join.
    next: TcpSeqNumber,
}

/// Room for one packet that grows.
#[derive(Debug, Default)]
pub(crate) struct Coalescer {
    held: Option<HeldSegment>,
    bytes: Vec<u8>,
}

impl Coalescer {
    /// Whether a packet waits for more.
    pub(crate) const fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Keeps a segment of a flow for others to join, if it is of a kind that others can join. There
    /// must be none.
    pub(crate) fn hold(&mut self, flow: FlowId, peer: PeerId, packet: &Packet<'_>) -> bool {
        let segment = TcpPacket::new_unchecked(packet.transport_bytes());
        let len = segment.payload().len();
        if len == 0 || !is_plain(&segment) {
            return false;
        }
        let next = segment.seq_number() + len;
        self.held = Some(HeldSegment { flow, peer, header: packet.header(), next });
        self.bytes.clear();
        self.bytes.extend_from_slice(packet.bytes());
        true
    }

    /// Adds a packet to the one that waits, if it is the next of the same flow. Says whether it is.
    pub(crate) fn join(&mut self, peer: PeerId, packet: &Packet<'_>) -> bool {
        let Some(held) = &mut self.held else { return false };
        if held.peer != peer || !held.header.is_alike(&packet.header()) {
            return false;
        }
        let first = TcpPacket::new_unchecked(&self.bytes[held.header.len()..]);
        let segment = TcpPacket::new_unchecked(packet.transport_bytes());
        let payload = segment.payload();
        let joins = is_plain(&segment)
            && segment.seq_number() == held.next
            && segment.ack_number() == first.ack_number()
            && segment.window_len() == first.window_len()
            && segment.options() == first.options()
            && !payload.is_empty()
            && self.bytes.len() + payload.len() <= COALESCED_LEN_MAX;
        if joins {
            held.next += payload.len();
            self.bytes.extend_from_slice(payload);
        }
        joins
    }

    /// Takes out what there is, together with its room, which is to be given
    /// [back](Self::give_back).
    pub(crate) fn take(&mut self) -> Option<(FlowId, Header, Vec<u8>)> {
        let HeldSegment { flow, header, .. } = self.held.take()?;
        Some((flow, header, std::mem::take(&mut self.bytes)))
    }

    /// See [`take`](Self::take).
    pub(crate) fn give_back(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }
}

/// Whether a segment says nothing but what it carries and acknowledges.
fn is_plain(segment: &TcpPacket<&[u8]>) -> bool {
    let is_special = segment.syn() || segment.fin() || segment.rst() || segment.urg();
    segment.ack() && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::packet::write_tcp;
    use smoltcp::wire::{TcpControl, TcpRepr};

    const PEER: PeerId = PeerId { slot: 0, generation: 0 };
    const FLOW: FlowId = FlowId { slot: 3, generation: 1 };

    fn repr(sequence: i32, payload: &[u8]) -> TcpRepr<'_> {
        TcpRepr {
            src_port: 1000,
            dst_port: 80,
            control: TcpControl::None,
            seq_number: TcpSeqNumber(sequence),
            ack_number: Some(TcpSeqNumber(77)),
            window_len: 500,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        }
    }

    fn bytes(source: &str, repr: &TcpRepr<'_>) -> Vec<u8> {
        let mut buffer = vec![0; 70_000];
        let source: std::net::IpAddr = source.parse().unwrap();
        let to = if source.is_ipv4() { "192.0.2.1" } else { "2001:db8::1" };
        let len = write_tcp(&mut buffer, source, to.parse().unwrap(), repr).unwrap();
        buffer.truncate(len);
        buffer
    }

    fn joins(coalescer: &mut Coalescer, mut bytes: Vec<u8>) -> bool {
        coalescer.join(PEER, &Packet::parse(&mut bytes).unwrap())
    }

    fn holding(mut bytes: Vec<u8>) -> Coalescer {
        let mut coalescer = Coalescer::default();
        assert!(coalescer.hold(FLOW, PEER, &Packet::parse(&mut bytes).unwrap()));
        coalescer
    }

    #[test]
    fn segments_in_a_row_become_one_packet() {
        for source in ["10.0.0.2", "fd00::2"] {
            let mut coalescer = holding(bytes(source, &repr(100, b"one ")));
            assert!(joins(&mut coalescer, bytes(source, &repr(104, b"two "))));
            let last = TcpRepr { control: TcpControl::Psh, ..repr(108, b"three") };
            assert!(joins(&mut coalescer, bytes(source, &last)));
            let (flow, header, mut whole) = coalescer.take().unwrap();
            let packet = header.packet(&mut whole);
            assert_eq!(flow, FLOW);
            let segment = TcpPacket::new_checked(packet.transport_bytes()).unwrap();
            assert_eq!(segment.payload(), b"one two three");
            assert_eq!(segment.seq_number(), TcpSeqNumber(100));
            let ip_len = match source {
                "10.0.0.2" => u16::from_be_bytes([packet.bytes()[2], packet.bytes()[3]]),
                _ => u16::from_be_bytes([packet.bytes()[4], packet.bytes()[5]]) + 40,
            };
            assert_eq!(usize::from(ip_len), packet.bytes().len());
            assert!(!coalescer.is_holding() && coalescer.take().is_none());
        }
    }

    #[test]
    fn what_differs_does_not_join() {
        let source = "10.0.0.2";
        let mut coalescer = holding(bytes(source, &repr(100, b"one ")));
        for other in [
            repr(105, b"behind a gap"),
            repr(100, b"once more"),
            repr(104, b""),
            TcpRepr { src_port: 1001, ..repr(104, b"x") },
            TcpRepr { dst_port: 81, ..repr(104, b"x") },
            TcpRepr { ack_number: Some(TcpSeqNumber(78)), ..repr(104, b"x") },
            TcpRepr { window_len: 501, ..repr(104, b"x") },
            TcpRepr {
                timestamp: Some(smoltcp::wire::TcpTimestampRepr::new(1, 2)),
                ..repr(104, b"x")
            },
            TcpRepr { control: TcpControl::Fin, ..repr(104, b"x") },
            TcpRepr { control: TcpControl::Rst, ..repr(104, b"x") },
        ] {
            assert!(!joins(&mut coalescer, bytes(source, &other)), "{other:?}");
        }
        assert!(!joins(&mut coalescer, bytes("10.0.0.3", &repr(104, b"x"))));
        let mut hop = bytes(source, &repr(104, b"x"));
        let peer = PeerId { slot: 1, ..PEER };
        assert!(!coalescer.join(peer, &Packet::parse(&mut hop).unwrap()));
        assert!(joins(&mut coalescer, bytes(source, &repr(104, b"x"))));
    }

    #[test]
    fn a_packet_grows_up_to_its_bound() {
        let source = "10.0.0.2";
        let payload = vec![7; 6_000];
        let mut coalescer = holding(bytes(source, &repr(0, &payload)));
        assert!(joins(&mut coalescer, bytes(source, &repr(6_000, &payload))));
        let rest = COALESCED_LEN_MAX - 12_040;
        assert!(!joins(&mut coalescer, bytes(source, &repr(12_000, &payload[..rest + 1]))));
        assert!(joins(&mut coalescer, bytes(source, &repr(12_000, &payload[..rest]))));
    }
}
