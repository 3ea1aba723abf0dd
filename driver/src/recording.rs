//! [`Recording`]: the tape of an engine as files, a ring of segments.
//!
//! ```text
//!   slipwire.tape      the segment that is written
//!   slipwire.tape.1    the one before it
//!   slipwire.tape.2 ...
//! ```
//!
//! Each segment is a tape of its own. A tape begins with an engine at rest, so the next one begins with
//! the first moment without flows after the last one was full; until then nothing is recorded. A disk
//! that is full ends a segment behind its last whole frame, and nothing else.
//!
//! What is on a tape is core's to say ([`TapeSink`]).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use slipwire_core::tape::TapeSink;
use slipwire_core::{Engine, Instant};

use crate::error::StartError;
use crate::private_file;
use crate::settings::TapeFiles;

/// How long entries wait for others.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// How long nothing is tried after a segment could not be written.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// A recording that goes on.
#[derive(Debug)]
pub(crate) struct Recording {
    to: TapeFiles,
    /// When what waits has to be written.
    due: Option<Instant>,
    /// When the next segment may begin.
    begin_at: Instant,
    /// Whether it has been said that a segment could not be begun.
    is_failing: bool,
}

impl Recording {
    /// Begins the first segment.
    pub(crate) fn start(
        to: TapeFiles,
        engine: &mut Engine,
        now: Instant,
    ) -> Result<Self, StartError> {
        let file = to.file.clone();
        let mut recording = Self { to, due: None, begin_at: now, is_failing: false };
        match recording.begin(engine, now) {
            Ok(()) => Ok(recording),
            Err(error) => Err(StartError::Record { file, error }),
        }
    }

    fn begin(&mut self, engine: &mut Engine, now: Instant) -> io::Result<()> {
        rotate(&self.to.file, self.to.segments)?;
        let segments = u64::from(self.to.segments.max(1));
        let size_max = self.to.size_max / segments;
        let segment = Segment { file: private_file::create(&self.to.file)?, written: 0, size_max };
        engine.start_tape(Box::new(segment), now).map_err(io::Error::other)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Writes what has waited for long enough, and begins a segment where one has ended.
    pub(crate) fn handle_timeout(&mut self, engine: &mut Engine, now: Instant) {
        if !engine.is_recording() {
            // Lets go of the segment that has ended.
            engine.flush_tape();
            self.due = None;
            if now >= self.begin_at && engine.is_at_rest() {
                self.begin_at = now + RETRY_INTERVAL;
                if let Err(error) = self.begin(engine, now)
                    && !std::mem::replace(&mut self.is_failing, true)
                {
                    log::warn!("tape: {error}; nothing is recorded, nothing else stops");
                }
            }
            return;
        }
        if self.due.is_some_and(|due| due <= now) {
            engine.flush_tape();
            self.due = None;
        }
    }

    /// Sees to it that what waits now is written in time.
    pub(crate) fn note(&mut self, engine: &Engine, now: Instant) {
        if self.due.is_none() && engine.has_unwritten_tape() {
            self.due = Some(now + FLUSH_INTERVAL);
        }
    }
}

/// Makes place for a new segment: each gets the next number, and the last one goes.
fn rotate(file: &Path, segments: u32) -> io::Result<()> {
    let numbered = |number: u32| match number {
        0 => file.to_owned(),
        number => {
            let mut name = file.as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        }
    };
    for number in (1..segments).rev() {
        match fs::rename(numbered(number - 1), numbered(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// One file of a recording.
#[derive(Debug)]
struct Segment {
    file: File,
    written: u64,
    size_max: u64,
}

impl TapeSink for Segment {
    fn append(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        if self.written + bytes.len() as u64 > self.size_max {
            log::info!("tape: its size is reached; the next begins when nothing is open");
            return ControlFlow::Break(());
        }
        if let Err(error) = self.file.write_all(bytes) {
            log::warn!("tape: {error}; it ends here, nothing else stops");
            // A torn frame would be noticed, but none is better.
            let _ = self.file.set_len(self.written);
            return ControlFlow::Break(());
        }
        self.written += bytes.len() as u64;
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_move_on_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.tape");
        for text in ["one", "two", "three", "four"] {
            rotate(&file, 3).unwrap();
            fs::write(&file, text).unwrap();
        }
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).ok();
        assert_eq!(read("a.tape").as_deref(), Some("four"));
        assert_eq!(read("a.tape.1").as_deref(), Some("three"));
        assert_eq!(read("a.tape.2").as_deref(), Some("two"));
        assert_eq!(read("a.tape.3"), None);
    }

    #[test]
    fn a_segment_that_is_full_ends_behind_a_whole_frame() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tape");
        let file = private_file::create(&path).unwrap();
        let mut segment = Segment { file, written: 0, size_max: 10 };
        assert!(segment.append(b"123456").is_continue());
        assert!(segment.append(b"78901").is_break());
        assert_eq!(fs::read(path).unwrap(), b"123456");
    }

    #[test]
    fn a_disk_that_is_full_ends_a_segment() {
        let file = File::options().write(true).open("/dev/full").unwrap();
        let mut segment = Segment { file, written: 0, size_max: 1 << 20 };
        assert!(segment.append(b"123456").is_break());
    }
}
