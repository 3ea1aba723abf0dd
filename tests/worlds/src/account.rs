//! What a link was given, and what it lost of that, told apart by length alone: a link can't look
//! into a datagram.

/// Longer datagrams hold a whole segment, or nearly so.
const SEGMENT_MIN: usize = 1_000;
/// Longer datagrams hold data: an acknowledgement with every option has 112 bytes in WireGuard's
/// transport message.
const DATA_MIN: usize = 112;
/// What a transport message of WireGuard adds to a packet, and IPv4 and TCP without options to a
/// payload.
const OVERHEAD: usize = 32 + 20 + 20;
/// WireGuard pads packets to a multiple of this, which its header is too, but not beyond the MTU of
/// the tunnel: a full segment has 1,420 bytes.
const PADDING: usize = 16;

/// What one direction of a path was given, and what it lost of that.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Account {
    pub datagrams: u64,
    pub lost: u64,
    /// Datagrams of more than 1,000 bytes: segments as large as they get.
    pub segments: u64,
    pub segments_lost: u64,
    /// Datagrams that hold data, and the bytes of it, TCP's options and WireGuard's padding
    /// included.
    pub data: u64,
    pub data_bytes: u64,
    /// Those of them that are as long as a packet that WireGuard has padded.
    pub padded: u64,
    pub data_lost: u64,
    /// Of datagrams of any length that were lost, all of it.
    pub bytes_lost: u64,
}

impl Account {
    /// What was added since `earlier`.
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            datagrams: self.datagrams - earlier.datagrams,
            lost: self.lost - earlier.lost,
            segments: self.segments - earlier.segments,
            segments_lost: self.segments_lost - earlier.segments_lost,
            data: self.data - earlier.data,
            data_bytes: self.data_bytes - earlier.data_bytes,
            padded: self.padded - earlier.padded,
            data_lost: self.data_lost - earlier.data_lost,
            bytes_lost: self.bytes_lost - earlier.bytes_lost,
        }
    }

    pub(crate) fn add(&mut self, len: usize, is_lost: bool) {
        let is_lost = u64::from(is_lost);
        self.datagrams += 1;
        self.lost += is_lost;
        self.bytes_lost += is_lost * len as u64;
        if len > SEGMENT_MIN {
            self.segments += 1;
            self.segments_lost += is_lost;
        }
        if holds_data(len) {
            self.data += 1;
            self.data_lost += is_lost;
            self.data_bytes += (len - OVERHEAD) as u64;
            self.padded += u64::from(len.is_multiple_of(PADDING));
        }
    }
}

/// Whether a datagram of that length holds data, and is no acknowledgement.
pub(crate) const fn holds_data(len: usize) -> bool {
    len > DATA_MIN
}
