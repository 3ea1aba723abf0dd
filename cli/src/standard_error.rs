//! Standard error as a log has it: whoever does not read it stops nobody else.
//!
//! A write to a pipe that nobody empties, to a terminal that was stopped (Ctrl-S), to a disk that
//! hangs blocks as long as that lasts, and with it all that the same thread carries. `O_NONBLOCK`
//! is no way out: it is a property of the open file, which the parent shares, so that a shell would
//! find its own writes failing; and a file on a disk knows no such thing. poll(2) before a write
//! says that there is some room, not how much, and whoever shares the pipe may take it in between.
//!
//! So a thread does nothing but write. Lines wait for it within a bound; those beyond are counted,
//! and the count is told once there is room again. Nobody joins the thread: the process ends beside
//! a write that does not.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

/// Bytes that wait at most: some hundred lines.
const WAITING_MAX: usize = 64 << 10;

/// The lines that wait, shared with the thread that writes them.
#[derive(Clone, Debug)]
pub(crate) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something waits, or everything is written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// Whole lines.
    waiting: Vec<u8>,
    /// Lines that found no room since the last ones were taken out.
    lost: u64,
    /// Whether the thread has taken lines that it has not got rid of.
    is_writing: bool,
}

impl Queue {
    /// Whether there is nothing to write: a line that was too long for the bound leaves nothing but
    /// its count behind.
    const fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.lost == 0
    }
}

impl Lines {
    /// Starts the thread. `notice` makes the line that says how many others were lost.
    ///
    /// # Errors
    /// There is no descriptor or no thread left.
    pub(crate) fn start(notice: fn(u64) -> String) -> io::Result<Self> {
        // A descriptor of our own: whoever prints to standard error by other ways, a panic for
        // example, must not find its lock taken by a write that waits.
        let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Self::start_to(file, notice)
    }

    fn start_to(file: File, notice: fn(u64) -> String) -> io::Result<Self> {
        let lines = Self(Arc::default());
        let shared = Arc::clone(&lines.0);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write_for_ever(&file, notice))?;
        Ok(lines)
    }

    /// Adds a line, or counts it as lost. Once one is lost those that follow are too until there is
    /// room for all, so that no gap is in the middle of what is written.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut queue = self.0.queue();
        if queue.lost > 0 || queue.waiting.len() + line.len() > WAITING_MAX {
            queue.lost += 1;
        } else {
            queue.waiting.extend_from_slice(line);
        }
        self.0.changed.notify_all();
    }

    /// Waits until everything is written, but not for longer than this.
    pub(crate) fn finish(&self, within: Duration) {
        let is_busy = |queue: &mut Queue| queue.is_writing || !queue.is_idle();
        // Whether the time is over makes no difference: the end does not wait.
        drop(self.0.changed.wait_timeout_while(self.0.queue(), within, is_busy));
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that is done with it can panic half way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_for_ever(&self, file: &File, notice: fn(u64) -> String) {
        let mut lines = Vec::new();
        loop {
            let lost = self.take(&mut lines);
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                write_all(file, line);
            }
            if lost > 0 {
                write_all(file, notice(lost).as_bytes());
            }
            lines.clear();
        }
    }

    /// Waits for lines, exchanges them for an empty buffer, and says how many were lost behind
    /// them.
    fn take(&self, empty: &mut Vec<u8>) -> u64 {
        let mut queue = self.queue();
        queue.is_writing = false;
        self.changed.notify_all();
        let waited = self.changed.wait_while(queue, |queue| queue.is_idle());
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        queue.is_writing = true;
        mem::swap(&mut queue.waiting, empty);
        mem::take(&mut queue.lost)
    }
}

/// Writes all of a line, however long that takes. What can't be written (the reader is gone, the
/// disk is full) is nobody's loss that could be told here.
fn write_all(mut file: &File, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                // Somebody who shares it has made it so.
                io::ErrorKind::WouldBlock => wait_for_room(file.as_fd()),
                _ => return,
            },
        }
    }
}

fn wait_for_room(file: BorrowedFd<'_>) {
    // An error is the next write's to find.
    let _ = poll(&mut [PollFd::new(&file, PollFlags::OUT)], None);
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use rustix::fs::{OFlags, fcntl_setfl};
    use rustix::pipe::{fcntl_setpipe_size, pipe};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn notice(lost: u64) -> String {
        format!("{lost} lost\n")
    }

    /// Lines that lead to a pipe of one page, and the other end of that.
    fn lines() -> (Lines, BufReader<File>, File) {
        let (read, write) = pipe().unwrap();
        fcntl_setpipe_size(&write, 4096).unwrap();
        let write = File::from(write);
        let lines = Lines::start_to(write.try_clone().unwrap(), notice).unwrap();
        (lines, BufReader::new(File::from(read)), write)
    }

    fn next(reader: &mut BufReader<File>) -> String {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Every line is written or counted, in order, with each count behind the last that was there
    /// before. How often the writing thread has its turn meanwhile is the system's to say.
    fn everything_is_accounted_for(lines: &Lines, mut reader: BufReader<File>) {
        const PUSHED: u64 = 20_000;
        for number in 0..PUSHED {
            lines.push(format!("line {number}\n").as_bytes());
        }
        let (mut read, mut lost) = (0, 0);
        while read + lost < PUSHED {
            let line = next(&mut reader);
            match line.strip_suffix(" lost") {
                Some(more) => lost += more.parse::<u64>().unwrap(),
                None => {
                    assert_eq!(line, format!("line {}", read + lost));
                    read += 1;
                }
            }
        }
        assert!(read > 4_000, "{read} lines had room");
        assert!(lost > 0, "all had room");
        assert_eq!(read + lost, PUSHED);
        lines.push(b"again\n");
        assert_eq!(next(&mut reader), "again");
    }

    #[test]
    fn a_pipe_that_nobody_reads_costs_lines_that_are_counted() {
        let (lines, reader, _) = lines();
        everything_is_accounted_for(&lines, reader);
    }

    #[test]
    fn a_pipe_that_somebody_else_made_nonblocking_loses_no_more() {
        let (lines, reader, write) = lines();
        fcntl_setfl(&write, OFlags::NONBLOCK).unwrap();
        everything_is_accounted_for(&lines, reader);
    }

    #[test]
    fn a_line_longer_than_the_pipe_arrives_whole() {
        let (lines, mut reader, _write) = lines();
        let long = "x".repeat(WAITING_MAX - 1);
        lines.push(format!("{long}\n").as_bytes());
        assert_eq!(next(&mut reader), long);
    }

    #[test]
    fn a_line_that_never_has_room_is_counted_and_silences_nothing() {
        let (lines, mut reader, _write) = lines();
        lines.push(&[b'x'; WAITING_MAX + 1]);
        lines.finish(PATIENCE);
        assert_eq!(lines.0.queue().lost, 0, "nobody was told of it");
        lines.push(b"again\n");
        assert_eq!(next(&mut reader), "1 lost");
        assert_eq!(next(&mut reader), "again");
    }

    #[test]
    fn the_end_waits_for_what_can_be_written_and_for_nothing_else() {
        let (lines, mut reader, write) = lines();
        lines.push(b"last words\n");
        lines.finish(PATIENCE);
        assert_eq!(next(&mut reader), "last words");
        lines.push(&[b'x'; 10_000]);
        lines.finish(Duration::from_millis(1));
        drop((reader, write));
        // Without a reader nothing can wait.
        lines.push(b"nobody\n");
        lines.finish(PATIENCE);
        assert!(lines.0.queue().waiting.is_empty());
    }
}
