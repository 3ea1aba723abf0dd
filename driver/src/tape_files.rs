//! [`Recording`]: the tape of an engine as files, a ring of segments.
//!
//! ```text
//!   slipwire.tape      the segment that is written
//!   slipwire.tape.1    the one before it
//!   slipwire.tape.2 ...
//! ```
//!
//! Each segment is a tape of its own. A tape begins with an engine at rest, so the next one begins
//! with the first moment without flows after the last one was full; until then nothing is recorded.
//! A disk that is full ends the recording behind the last whole frame, and nothing else: a new
//! segment would cost an older one and fare no better.
//!
//! What is on a tape is core's to say ([`TapeSink`]).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use slipwire_core::tape::TapeSink;
use slipwire_core::{Engine, Instant};

use crate::error::{FileError, StartError};
use crate::private_file::{self, Kind};
use crate::settings::TapeFiles;

/// How long entries wait for others.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a segment is the latest at least: the ring is not to turn faster.
const BEGIN_INTERVAL: Duration = Duration::from_secs(60);

/// A recording that goes on.
#[derive(Debug)]
pub(crate) struct Recording {
    to: TapeFiles,
    /// When what waits has to be written.
    due: Option<Instant>,
    /// When the next segment may begin.
    begin_at: Instant,
    /// Whether a segment could not be written. Its log line has been written then.
    has_failed: Arc<AtomicBool>,
}

impl Recording {
    /// Begins the first segment.
    pub(crate) fn start(
        to: TapeFiles,
        engine: &mut Engine,
        now: Instant,
    ) -> Result<Self, StartError> {
        let has_failed = Arc::default();
        let mut recording = Self { to, due: None, begin_at: now, has_failed };
        match recording.begin(engine, now) {
            Ok(()) => Ok(recording),
            Err((file, error)) => Err(StartError::Record { file, error }),
        }
    }

    /// An error is about one of the files.
    fn begin(&mut self, engine: &mut Engine, now: Instant) -> Result<(), (PathBuf, FileError)> {
        self.to.check()?;
        let first = |error| (self.to.file.clone(), error);
        rotate(&self.to).map_err(|error| first(error.into()))?;
        let segments = u64::from(self.to.segments.max(1));
        let size_max = self.to.size_max / segments;
        let file = private_file::create(&self.to.file, Kind::Tape).map_err(first)?;
        let has_failed = Arc::clone(&self.has_failed);
        let segment = Segment { file, written: 0, size_max, has_failed };
        let started = engine.start_tape(Box::new(segment), now);
        started.map_err(|error| first(io::Error::other(error).into()))
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
            let has_failed = self.has_failed.load(Ordering::Relaxed);
            if !has_failed && now >= self.begin_at && engine.is_at_rest() {
                self.begin_at = now + BEGIN_INTERVAL;
                if let Err((file, error)) = self.begin(engine, now) {
                    let file = file.display();
                    log::warn!("tape: {file}: {error}; nothing is recorded, nothing else stops");
                    self.has_failed.store(true, Ordering::Relaxed);
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
fn rotate(tapes: &TapeFiles) -> io::Result<()> {
    let files: Vec<_> = tapes.files().collect();
    for pair in files.windows(2).rev() {
        match fs::rename(&pair[0], &pair[1]) {
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
    has_failed: Arc<AtomicBool>,
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
            self.has_failed.store(true, Ordering::Relaxed);
            return ControlFlow::Break(());
        }
        self.written += bytes.len() as u64;
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use slipwire_core::config::{Interface, Parts, Peer};
    use slipwire_core::tape::{Replay, Step};
    use slipwire_core::{Config, PrivateKey, TrafficClass};

    use super::*;

    fn engine() -> Engine {
        let key = |byte| PrivateKey::from_entropy([byte; 32]);
        let interface = Interface::new(key(1), ["10.0.0.1/24".parse().unwrap()]);
        let peer = Peer::new(key(2).public_key());
        let mut parts = Parts::new(interface);
        parts.peers.push(peer.with_allowed_ips(["10.0.0.2/32".parse().unwrap()]));
        Engine::new(&Config::new(parts).unwrap(), [7; 32], Instant::ZERO)
    }

    /// How many inputs are on a tape, all of which say the same again.
    fn inputs(file: &Path) -> u64 {
        let tape = fs::read(file).unwrap();
        let mut replay = Replay::new(&tape).unwrap();
        while replay.step().unwrap() == Step::Same {}
        replay.number()
    }

    #[test]
    fn the_next_segment_begins_when_nothing_is_open() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.tape");
        let to = TapeFiles { file: file.clone(), size_max: 300_000, segments: 2 };
        let target: SocketAddr = "10.0.0.2:53".parse().unwrap();
        let (mut engine, mut now) = (engine(), Instant::ZERO);
        let mut recording = Recording::start(to, &mut engine, now).unwrap();
        let flow = engine.open_udp(target, now).unwrap();
        for _ in 0..500 {
            let mut flow = engine.flow(flow).unwrap();
            flow.send_datagram(target, TrafficClass::DEFAULT, &[9; 1000], now);
        }
        now += BEGIN_INTERVAL;
        recording.handle_timeout(&mut engine, now);
        assert!(!engine.is_recording(), "the flow is still open");
        assert!(!directory.path().join("a.tape.1").exists());

        engine.flow(flow).unwrap().abort(now);
        recording.handle_timeout(&mut engine, now);
        assert!(engine.is_recording());
        assert!(inputs(&directory.path().join("a.tape.1")) > 100);
        let flow = engine.open_udp(target, now).unwrap();
        let mut flow = engine.flow(flow).unwrap();
        flow.send_datagram(target, TrafficClass::DEFAULT, b"hello", now);
        recording.note(&engine, now);
        assert_eq!(recording.due(), Some(now + FLUSH_INTERVAL));
        assert_eq!(inputs(&file), 0, "it waits for more");
        recording.handle_timeout(&mut engine, now + FLUSH_INTERVAL);
        assert_eq!(recording.due(), None);
        assert_eq!(inputs(&file), 2);
    }

    #[test]
    fn what_is_no_tape_is_neither_written_over_nor_moved() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.tape");
        for name in ["a.tape", "a.tape.1", "a.tape.2"] {
            let foreign = directory.path().join(name);
            fs::write(&foreign, "a key").unwrap();
            let to = TapeFiles { file: file.clone(), size_max: 300_000, segments: 3 };
            match Recording::start(to, &mut engine(), Instant::ZERO) {
                Err(StartError::Record { file, error: FileError::Foreign }) => {
                    assert_eq!(file, foreign);
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(fs::read(&foreign).unwrap(), b"a key");
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
            fs::remove_file(foreign).unwrap();
        }
    }

    fn segment(file: File, size_max: u64) -> Segment {
        Segment { file, written: 0, size_max, has_failed: Arc::default() }
    }

    #[test]
    fn segments_move_on_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.tape");
        for text in ["one", "two", "three", "four"] {
            let to = TapeFiles { file: file.clone(), size_max: 0, segments: 3 };
            rotate(&to).unwrap();
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
        let file = private_file::create(&path, Kind::Tape).unwrap();
        let mut segment = segment(file, 10);
        assert!(segment.append(b"123456").is_continue());
        assert!(segment.append(b"78901").is_break());
        assert_eq!(fs::read(path).unwrap(), b"123456");
    }

    #[test]
    fn a_disk_that_is_full_ends_a_segment() {
        let file = File::options().write(true).open("/dev/full").unwrap();
        let mut segment = segment(file, 1 << 20);
        assert!(segment.append(b"123456").is_break());
        assert!(segment.has_failed.load(Ordering::Relaxed), "no other is begun");
    }
}
