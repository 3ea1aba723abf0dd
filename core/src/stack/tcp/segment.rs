//! What the far end says in one segment.

use smoltcp::wire::{TcpPacket, TcpSeqNumber};

use crate::stack::tcp::options::{self, Offers, WireBlocks};

/// One segment of the far end.
#[derive(Clone, Copy, Debug)]
pub(super) struct FarSegment<'a> {
    pub(super) sequence: TcpSeqNumber,
    pub(super) acknowledgement: Option<TcpSeqNumber>,
    /// As it stands there: not scaled.
    pub(super) window: u16,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) payload: &'a [u8],
    options: &'a [u8],
}

impl<'a> FarSegment<'a> {
    /// Reads a segment whose header has been checked.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let segment = TcpPacket::new_unchecked(bytes);
        Self {
            sequence: segment.seq_number(),
            acknowledgement: segment.ack().then(|| segment.ack_number()),
            window: segment.window_len(),
            syn: segment.syn(),
            fin: segment.fin(),
            rst: segment.rst(),
            payload: segment.payload(),
            options: segment.options(),
        }
    }

    /// What it offers, if it is a SYN.
    pub(super) fn offers(&self) -> Offers {
        options::read(self.options).0
    }

    /// Its SACK blocks.
    pub(super) fn blocks(&self) -> WireBlocks {
        if self.options.is_empty() { WireBlocks::default() } else { options::read(self.options).1 }
    }

    /// What it takes of the stream: its payload and a FIN.
    pub(super) const fn len(&self) -> u64 {
        self.payload.len() as u64 + self.fin as u64
    }
}
