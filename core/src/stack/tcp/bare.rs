//! Segments sent, and those without data, which need no connection: resets, challenges, and answers
//! for connections that are over.

use smoltcp::wire::{TcpControl, TcpSeqNumber};

use crate::id::PeerId;
use crate::stack::key::Ends;
use crate::stack::outlet::Exit;
use crate::stack::packet::{SegmentHeader, write_segment};

/// A header to answer with: sequence number, acknowledgement, window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    pub(crate) sequence: TcpSeqNumber,
    pub(crate) acknowledgement: TcpSeqNumber,
    pub(crate) window: u16,
}

/// Sends an acknowledgement (or, with `control`, a reset) of where a connection stands.
pub(crate) fn send_standing(
    ends: Ends,
    standing: Standing,
    control: TcpControl,
    exit: &mut Exit<'_>,
) {
    let acknowledgement = Some(standing.acknowledgement);
    send_bare(ends, standing.sequence, acknowledgement, standing.window, control, exit);
}

/// Sends a segment without data.
pub(super) fn send_bare(
    ends: Ends,
    sequence: TcpSeqNumber,
    acknowledgement: Option<TcpSeqNumber>,
    window: u16,
    control: TcpControl,
    exit: &mut Exit<'_>,
) {
    let header = SegmentHeader {
        source: ends.local,
        destination: ends.remote,
        sequence,
        acknowledgement,
        window,
        control,
        options: &[],
    };
    send_segment(ends.peer, &header, 0, |_| {}, exit);
}

/// Sends a segment, whose payload of `payload_len` bytes `fill` puts in its place.
pub(super) fn send_segment(
    peer: PeerId,
    header: &SegmentHeader<'_>,
    payload_len: usize,
    fill: impl FnOnce(&mut [u8]),
    exit: &mut Exit<'_>,
) {
    if let Some(len) = write_segment(exit.scratch, header, payload_len, fill) {
        exit.outlet.send(peer, exit.scratch, len);
    }
}
