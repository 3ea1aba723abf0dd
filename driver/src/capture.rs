//! [`Capture`]: the packets of the tunnel as a pcapng file, which Wireshark and tcpdump read.
//!
//! Each packet has its peer's name as a comment, and says which way it went. (An interface for each
//! peer would say it too, but libpcap 1.10.3 reads no file with two of raw IP.) A packet waits in
//! memory for others, a second at most. A disk that is full stops the capture and nothing else:
//! what could not be written is dropped and counted, and the file is cut back to its last whole
//! packet, so that the next one that fits can follow.
//!
//! What a packet is, and when there is one, is core's to say ([`Tap`]).

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, PcapResult};
use slipwire_core::{Direction, Identity, Instant, PeerId, Tap};

use crate::error::StartError;
use crate::private_file::{self, Kind};
use crate::settings::CaptureFile;

/// Bytes that are written at once.
const BUFFER_LEN: usize = 64 << 10;
/// How long a packet waits for others.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Longer than any packet.
const SNAP_LEN: u32 = 1 << 17;
/// Of `if_tsresol`: units of 10^-9 seconds, as the crate writes times.
const NANOSECONDS: u8 = 9;
/// More than what is around a packet in the file, but for the name of its peer.
const OVERHEAD_MAX: usize = 128;

/// A capture that goes on. An engine or a replay holds its other end ([`tap`](Self::tap)).
#[derive(Debug)]
pub struct Capture(Arc<Mutex<Writer>>);

impl Capture {
    /// Creates the file, or empties one that holds captured packets (pcapng); nobody but its owner
    /// may read it. Packets get the wall clock's time, as if it were `now` there.
    ///
    /// # Errors
    /// The file holds something else, or the system refused.
    pub fn create(to: CaptureFile, now: Instant) -> Result<Self, StartError> {
        let file = private_file::create(&to.file, Kind::Capture);
        match file.and_then(|file| Ok(Writer::new(file, to.size_max, now)?)) {
            Ok(writer) => Ok(Self(Arc::new(Mutex::new(writer)))),
            Err(error) => Err(StartError::Capture { file: to.file, error }),
        }
    }

    /// What hears the packets.
    pub fn tap(&self) -> Box<dyn Tap> {
        Box::new(Self(Arc::clone(&self.0)))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.writer().due
    }

    /// Writes what has waited for long enough.
    pub(crate) fn handle_timeout(&self, now: Instant) {
        let mut writer = self.writer();
        if writer.due.is_some_and(|due| due <= now) {
            writer.flush();
        }
    }

    /// Writes everything, and says how much is missing.
    pub fn finish(&self) {
        let mut writer = self.writer();
        writer.flush();
        if writer.lost > 0 {
            log::warn!("capture: {} packets are not in it", writer.lost);
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // There is one thread.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap for Capture {
    fn packet(
        &mut self,
        _peer: PeerId,
        identity: &Identity,
        direction: Direction,
        packet: &[u8],
        now: Instant,
    ) {
        self.writer().packet(&identity.name, direction, packet, now);
    }
}

struct Writer {
    file: File,
    /// Bytes in the file, all of them whole packets.
    written: u64,
    size_max: u64,
    state: State,
    /// Blocks that wait.
    blocks: PcapNgWriter<Vec<u8>>,
    /// Packets that wait.
    waiting: u64,
    /// When they have to be written.
    due: Option<Instant>,
    /// Packets that are not in the file, and never will be.
    lost: u64,
    /// The wall clock's time at an instant of the driver's clock.
    epoch: (Instant, Duration),
}

/// What becomes of packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// They are written.
    Writing,
    /// They are written when that works; that it once did not has been logged.
    Failing,
    /// There is no more room for them, for good.
    Ended,
}

impl Writer {
    fn new(file: File, size_max: u64, now: Instant) -> io::Result<Self> {
        // A clock before 1970 is wrong anyway.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut writer = Self {
            file,
            written: 0,
            size_max,
            state: State::Writing,
            blocks: head()?,
            waiting: 0,
            due: None,
            lost: 0,
            epoch: (now, wall),
        };
        // At once, so that a reader that starts early finds a capture.
        writer.flush();
        Ok(writer)
    }

    fn packet(&mut self, peer: &str, direction: Direction, packet: &[u8], now: Instant) {
        if !self.has_room(packet.len() + peer.len())
            || self.push(peer, direction, packet, now).is_err()
        {
            self.lost += 1;
            return;
        }
        self.waiting += 1;
        if self.blocks.get_ref().len() >= BUFFER_LEN {
            self.flush();
        } else if self.due.is_none() {
            self.due = Some(now + FLUSH_INTERVAL);
        }
    }

    fn has_room(&mut self, len: usize) -> bool {
        let more = (self.blocks.get_ref().len() + len + OVERHEAD_MAX) as u64;
        if self.state != State::Ended && self.written + more > self.size_max {
            log::warn!("capture: its size is reached, the packets that follow are not captured");
            self.flush();
            self.state = State::Ended;
        }
        self.state != State::Ended
    }

    fn push(
        &mut self,
        peer: &str,
        direction: Direction,
        packet: &[u8],
        now: Instant,
    ) -> PcapResult<()> {
        let (start, wall) = self.epoch;
        // Bits 0 and 1 of epb_flags.
        let flags = match direction {
            Direction::In => 1,
            Direction::Out => 2,
        };
        self.blocks.write_pcapng_block(EnhancedPacketBlock {
            interface_id: 0,
            timestamp: wall + now.saturating_duration_since(start),
            original_len: packet.len() as u32,
            data: Cow::Borrowed(packet),
            options: vec![
                EnhancedPacketOption::Comment(Cow::Borrowed(peer)),
                EnhancedPacketOption::Flags(flags),
            ],
        })?;
        Ok(())
    }

    /// Writes what waits.
    fn flush(&mut self) {
        self.due = None;
        let waiting = std::mem::take(&mut self.waiting);
        let bytes = self.blocks.get_ref();
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.written += bytes.len() as u64;
                self.blocks.get_mut().clear();
            }
            Err(error) => {
                self.lost += waiting;
                self.take_back(&error);
            }
        }
    }

    /// Takes back what was written in part, so that the file ends with a whole packet.
    fn take_back(&mut self, error: &io::Error) {
        if self.state == State::Writing {
            log::warn!("capture: {error}; packets are missing in it, nothing else stops");
            self.state = State::Failing;
        }
        self.blocks.get_mut().clear();
        let cut = self.file.set_len(self.written);
        let is_whole = cut.and_then(|()| self.file.seek(SeekFrom::Start(self.written))).is_ok();
        // Behind a torn packet, or without a head, nothing can be read.
        if !is_whole || self.written == 0 {
            self.state = State::Ended;
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("file", &self.file)
            .field("written", &self.written)
            .field("state", &self.state)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

/// The head of a file, which waits to be written.
fn head() -> io::Result<PcapNgWriter<Vec<u8>>> {
    let buffer = Vec::with_capacity(BUFFER_LEN + OVERHEAD_MAX);
    let mut blocks = PcapNgWriter::new(buffer).map_err(io::Error::other)?;
    let interface = InterfaceDescriptionBlock {
        linktype: DataLink::RAW,
        snaplen: SNAP_LEN,
        options: vec![InterfaceDescriptionOption::IfTsResol(NANOSECONDS)],
    };
    blocks.write_pcapng_block(interface).map_err(io::Error::other)?;
    Ok(blocks)
}

#[cfg(test)]
mod tests;
