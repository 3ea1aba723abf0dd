//! The packets of a peer that means harm.

use super::*;
use crate::packets::{ACK, FIN, PSH, RST};

impl Run {
    pub(super) fn hostile_packet(&mut self, peer: usize) -> Vec<u8> {
        let v6 = self.dice.chance(40);
        let port = self.dice.pick(&[0, 1_000, 1_001, 1_002, 1_003, 1_004]);
        let source = inner(peer, v6, port);
        let mut targets = hosts();
        targets.extend(["10.0.0.1:80", "10.0.0.1:9", "[fd00::1]:80"].map(socket));
        targets.extend([inner(1 - peer, v6, 80), socket("224.0.0.1:80"), socket("127.0.0.1:80")]);
        targets.retain(|target| target.is_ipv6() == v6);
        let destination = self.dice.pick(&targets);
        match self.dice.below(10) {
            0..=5 => self.hostile_segment(source, destination),
            6 | 7 => {
                let len = self.dice.pick(&[0, 1, 500, 1_392]);
                let payload = self.dice.bytes(len);
                packets::udp(source, destination, &payload)
            }
            8 => {
                let len = self.dice.pick(&[8, 9, 64, 1_200]);
                let mut message = self.dice.bytes(len);
                message[0] = self.dice.pick(&[8, 128, 0, 129, 3, 1, 2, 11]);
                message[1] = 0;
                if let Some((_, heard)) = self.heard.first_key_value()
                    && self.dice.chance(40)
                {
                    // An error about something that the engine sent.
                    message.truncate(8);
                    message.extend(heard.bytes());
                }
                packets::icmp(source.ip(), destination.ip(), message)
            }
            _ => {
                let len = self.dice.below(100);
                let payload = self.dice.bytes(len);
                let protocol = self.dice.pick(&[0, 6, 17, 43, 44, 58, 59, 60, 255]);
                let ttl = self.dice.pick(&[0, 1, 2, 64]);
                packets::ip(source.ip(), destination.ip(), protocol, ttl, &payload)
            }
        }
    }

    /// A segment near to what the engine expects, or far from it.
    pub(super) fn hostile_segment(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Vec<u8> {
        let mut pair = (source, destination);
        let known: Vec<_> =
            self.heard.keys().filter(|(near, _)| near.ip() == source.ip()).copied().collect();
        if !known.is_empty() && self.dice.chance(80) {
            pair = self.dice.pick(&known);
        }
        let mut segment = Segment::new(pair.0, pair.1);
        segment.flags = self.dice.pick(&[
            SYN,
            SYN | ACK,
            ACK,
            ACK,
            ACK,
            ACK,
            ACK | PSH,
            ACK | FIN,
            RST,
            RST | ACK,
            SYN | FIN,
            0,
            255,
        ]);
        let jitter =
            [0, 0, 0, 0, 1, 2, u32::MAX, 1_000, 4_000, 65_535, u32::MAX - 1_000, 1 << 31, 1 << 30];
        if let Some(heard) = self.heard.get(&pair).filter(|_| self.dice.chance(50)) {
            // As a stack would answer.
            segment.sequence = heard.acknowledgement;
            segment.acknowledgement = heard.end();
            segment.flags = if heard.has(SYN) && !heard.has(ACK) { SYN | ACK } else { ACK };
            if self.dice.chance(5) {
                segment.flags |= FIN;
            }
        } else if let Some(heard) = self.heard.get(&pair) {
            segment.sequence = heard.acknowledgement.wrapping_add(self.dice.pick(&jitter));
            segment.acknowledgement = heard.end().wrapping_add(self.dice.pick(&jitter));
        } else {
            segment.flags = self.dice.pick(&[SYN, SYN, SYN, ACK]);
            segment.sequence = self.dice.number();
        }
        segment.window = self.dice.pick(&[0, 1, 100, 65_535]);
        if segment.has(SYN) || self.dice.chance(10) {
            segment.options = self.dice.pick(&[
                vec![],
                vec![1, 3, 3, 7],
                vec![1, 3, 3, 255],
                vec![2, 4, 0, 0],
                vec![2, 4, 5, 120, 1, 3, 3, 14, 4, 2, 0, 0],
                vec![3, 3, 1, 3, 3, 9, 0, 0],
                vec![8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
                vec![99, 0, 0, 0],
                vec![2, 40, 0, 0],
                vec![1; 40],
            ]);
        }
        if self.dice.chance(60) {
            let len = self.dice.pick(&[1, 2, 536, 1_300]);
            segment.payload = self.dice.bytes(len);
        }
        segment.bytes()
    }

    /// Fragments of a packet, some of which lie.
    pub(super) fn cut_up(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        let id = self.dice.below(4) as u16;
        let step = self.dice.pick(&[8, 64, 512]);
        let mut pieces = Vec::new();
        let len = packet.len().max(48) - 20;
        for start in (0..len).step_by(step).take(40) {
            let lie = if self.dice.chance(5) { self.dice.pick(&[8, 65_528, 1_024]) } else { 0 };
            let more = start + step < len && !self.dice.chance(2);
            pieces.push(packets::fragment(packet, start, start + step, start + lie, more, id));
        }
        if self.dice.chance(50) {
            pieces.reverse();
        }
        pieces
    }
}
