//! TCP flows: what the embedder is told of a connection, and when it is over.
//!
//! ```text
//!   embedder <--> flow <--> connection <--+--> sender   --> path, what a peer's flows learnt
//!                           (segments)    +--> receiver
//! ```
//!
//! - [`flow`]: what the embedder is told, and when it is over;
//! - [`connection`]: the protocol, RFC 9293;
//! - [`sender`], [`receiver`]: its two streams; [`ring`] holds what is in them;
//! - [`path`]: what flows of a peer learnt of its path, for the next ones;
//! - [`segment`], [`options`]: what one segment says; [`position`]: what its numbers stand for;
//! - [`ratio`]: what rates, times and counts make of each other;
//! - [`sequence`]: where sequence numbers begin;
//! - [`bare`]: answers for what is of no connection; [`time_wait`]: for those that have ended.

mod bare;
mod connection;
mod flow;
mod options;
pub(in crate::stack) mod path;
mod position;
mod ratio;
mod receiver;
mod ring;
mod segment;
mod sender;
mod sequence;
mod time_wait;

use smoltcp::wire::{TcpControl, TcpPacket, TcpSeqNumber};

use crate::stack::key::{Ends, FlowKey};
use crate::stack::outlet::Exit;
use crate::stack::packet::Packet;

pub(crate) use bare::{Standing, send_standing};
pub(crate) use connection::{Beginning, Connection, Phase, RingAddresses};
pub(crate) use flow::{FlowStage, NextTurn, TcpFlow};
#[cfg(test)]
pub(crate) use path::Learnt;
pub(crate) use path::Paths;
pub(crate) use sequence::SequenceNumbers;
pub(crate) use time_wait::{Straggler, TimeWaits};

/// Answers a segment that belongs to nothing (RFC 9293, section 3.10.7.1).
pub(crate) fn refuse_segment(ends: Ends, segment: &TcpPacket<&[u8]>, exit: &mut Exit<'_>) {
    if segment.rst() {
        return;
    }
    let (sequence, acknowledgement) = if segment.ack() {
        (segment.ack_number(), None)
    } else {
        (TcpSeqNumber(0), Some(segment.seq_number() + segment.segment_len()))
    };
    bare::send_bare(ends, sequence, acknowledgement, 0, TcpControl::Rst, exit);
}

/// Answers a SYN that was kept with a reset.
pub(crate) fn refuse_syn(key: &FlowKey, syn: &mut [u8], exit: &mut Exit<'_>) {
    // The SYN was parsed when it came.
    if let (Some(ends), Ok(packet)) = (key.ends(), Packet::parse(syn)) {
        refuse_segment(ends, &TcpPacket::new_unchecked(packet.transport_bytes()), exit);
    }
}

/// Whether a segment takes back the SYN that was kept of an offer (RFC 9293, section 3.10.7.3).
pub(crate) fn takes_back(syn: &TcpPacket<&[u8]>, segment: &TcpPacket<&[u8]>) -> bool {
    segment.rst() && segment.seq_number() == syn.seq_number() + 1
}
