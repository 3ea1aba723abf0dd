//! A client that keeps to the rules: the stream that it sends has to arrive, whatever others do.

use slipwire_core::FlowId;

use crate::packets::{ACK, SYN, Segment};
use crate::world::{inner, socket};

/// The port of the connection that behaves.
pub(crate) const GOOD_PORT: u16 = 7_777;
/// A client that sends a known stream in good order, as well as others let it.
#[derive(Default)]
pub(crate) struct GoodClient {
    pub(crate) flow: Option<FlowId>,
    pub(crate) acknowledgement: u32,
    pub(crate) established: bool,
    pub(crate) acknowledged: u32,
    pub(crate) got: Vec<u8>,
    pub(crate) over: bool,
}

pub(crate) const GOOD_START: u32 = 0xffff_f000;
pub(crate) const GOOD_LEN: usize = 40_000;

pub(crate) fn good_byte(at: usize) -> u8 {
    (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]
}

impl GoodClient {
    pub(crate) fn hear(&mut self, segment: &Segment) {
        if segment.has(SYN) {
            self.established = true;
            self.acknowledgement = segment.end();
        } else if segment.sequence == self.acknowledgement {
            self.acknowledgement = segment.end();
        }
        let acknowledged = segment.acknowledgement.wrapping_sub(GOOD_START.wrapping_add(1));
        if segment.has(ACK) && acknowledged as usize <= GOOD_LEN {
            self.acknowledged = self.acknowledged.max(acknowledged);
        }
    }

    pub(crate) fn segments(&self) -> Vec<Segment> {
        let (near, far) = (inner(0, false, GOOD_PORT), socket("192.0.2.80:80"));
        let mut segment = Segment::new(near, far);
        if !self.established {
            return vec![Segment { sequence: GOOD_START, flags: SYN, ..segment }];
        }
        segment.flags = ACK;
        segment.acknowledgement = self.acknowledgement;
        let ends = (1..4).map(|index| index * 1_000);
        let pieces = ends.map(|end| {
            let start = self.acknowledged as usize + end - 1_000;
            let payload = (start..(start + 1_000).min(GOOD_LEN)).map(good_byte).collect();
            let sequence = GOOD_START.wrapping_add(1 + start as u32);
            Segment { sequence, payload, ..segment.clone() }
        });
        pieces.collect()
    }
}
