//! Child processes whose output is kept, and which never outlive the test.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{deadline::eventually, locked, sandbox};

const TOOL_LIMIT: Duration = Duration::from_secs(10);

/// How long the output of a process that has ended may take to be read; a descendant that has the
/// pipes too may keep them open for ever.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// The lines that a process wrote so far, shared with whoever reports them.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Whether any line has this word in it.
    pub fn has_word(&self, word: &str) -> bool {
        let in_line = |line: &str| line.split(|c: char| !c.is_alphanumeric()).any(|w| w == word);
        self.count_lines(in_line) > 0
    }

    /// How many lines are as `wanted`.
    pub fn count_lines(&self, wanted: impl Fn(&str) -> bool) -> usize {
        locked(&self.0).iter().filter(|line| wanted(line)).count()
    }

    /// The last `count` lines.
    pub fn tail(&self, count: usize) -> Vec<String> {
        let lines = locked(&self.0);
        lines[lines.len().saturating_sub(count)..].to_vec()
    }

    /// Everything, as one text.
    pub fn text(&self) -> String {
        locked(&self.0).join("\n")
    }

    fn collect(&self, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                locked(&lines.0).push(String::from_utf8_lossy(&line).into_owned());
            }
        })
    }
}

/// A running child; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    readers: Vec<JoinHandle<()>>,
    stdout: Lines,
    stderr: Lines,
}

impl Process {
    /// Starts `command` with its output collected and nothing to read.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let mut readers = Vec::new();
        readers.extend(child.stdout.take().map(|pipe| stdout.collect(pipe)));
        readers.extend(child.stderr.take().map(|pipe| stderr.collect(pipe)));
        Ok(Self { child, readers, stdout, stderr })
    }

    /// What it wrote to standard output.
    pub fn stdout(&self) -> &Lines {
        &self.stdout
    }

    /// What it wrote to standard error.
    pub fn stderr(&self) -> &Lines {
        &self.stderr
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet. When it has, what it wrote may still be in its pipes.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for a line on standard error with `word` in it; an early end of the process ends the
    /// wait.
    pub fn wait_for_word(&mut self, word: &str, within: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            let running = self.is_running();
            if !running {
                self.read_rest();
            }
            if self.stderr.has_word(word) {
                return Ok(());
            }
            ensure!(running, "ended without saying {word:?}: {}", self.stderr.text());
            ensure!(start.elapsed() < within, "did not say {word:?} within {within:?}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for its end, and until all it wrote has been read; kills it when its end does not come
    /// `within` the time.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let ended = eventually("end of the process", within, || {
            self.child.try_wait()?.context("still running")
        });
        if ended.is_err() {
            self.kill();
        }
        self.read_rest();
        ended
    }

    /// Waits until all that it wrote before its end has been read.
    fn read_rest(&mut self) {
        // Whoever has the pipes too goes on being read, and nobody waits for that again.
        let _ = eventually("end of the output", READ_LIMIT, || {
            ensure!(self.readers.iter().all(JoinHandle::is_finished), "a pipe is open");
            Ok(())
        });
        for reader in self.readers.drain(..).filter(JoinHandle::is_finished) {
            // A reader cannot fail in a way that matters more than what it has read.
            let _ = reader.join();
        }
    }

    /// Asks it to end by SIGTERM and waits for that.
    pub fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        kill_process(self.pid()?, Signal::TERM)?;
        self.wait(within)
    }

    fn pid(&self) -> Result<Pid> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.context("pid out of range")
    }

    /// Kills it as kill -9 does; all it wrote until then has been read.
    pub fn kill(&mut self) {
        // Fails only for a process that has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.read_rest();
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.id()))?.count())
    }

    /// Lets it have no more descriptors than it has, whatever it was told before.
    pub fn deny_descriptors(&self) -> Result<()> {
        let directory = format!("/proc/{}/fd", self.id());
        // The limit is one of numbers, and the lowest that is free would be the next.
        let free = (0..).find(|number| !Path::new(&format!("{directory}/{number}")).is_symlink());
        self.limit_descriptors(free.context("every number is in use")?)
    }

    /// Sets how many descriptors it may have from now on: the soft limit, which its own user may
    /// change.
    pub fn limit_descriptors(&self, limit: u32) -> Result<()> {
        let mut prlimit = sandbox::unprivileged(Path::new("prlimit"));
        prlimit.arg(format!("--pid={}", self.id())).arg(format!("--nofile={limit}:"));
        output(&mut prlimit, TOOL_LIMIT).map(drop)
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most resident memory that it has had, in bytes.
    pub fn peak_resident(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, what: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(what));
        let kib = line.and_then(|rest| rest.split_whitespace().next());
        Ok(kib.with_context(|| format!("no {what}"))?.parse::<u64>()? * 1024)
    }

    /// User and system time that it has used so far.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // The second field is the name in brackets and may hold spaces; utime and stime are fields
        // 14 and 15.
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        let ticks = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u64>)
            .sum::<Result<u64, _>>()?;
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_millis(ticks * 1000 / per_second))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `command` to its end and returns its standard output; failing it is an error with all it
/// wrote.
pub fn output(command: &mut Command, within: Duration) -> Result<String> {
    finish(Process::spawn(command)?, within)
        .with_context(|| format!("running {}", command.get_program().to_string_lossy()))
}

/// Waits for the success of `process` and returns its standard output.
pub fn finish(mut process: Process, within: Duration) -> Result<String> {
    let status = process.wait(within);
    let (stdout, stderr) = (process.stdout.text(), process.stderr.text());
    match status {
        Ok(status) if status.success() => Ok(stdout),
        Ok(status) => bail!("{status}\n{stdout}\n{stderr}"),
        Err(error) => Err(error.context(format!("{stdout}\n{stderr}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Result<Process> {
        Process::spawn(Command::new("sh").args(["-c", script]))
    }

    /// The text gets into the pipe when the process has been waited for, as a zombie has an entry
    /// in /proc: a reader that is as late as it can be.
    const LATE: &str = "(while [ -e /proc/$$ ]; do sleep 0.01; done; echo ready, late >&2) &";

    #[test]
    fn a_word_that_is_read_after_the_end_was_said() -> Result<()> {
        shell(LATE)?.wait_for_word("ready", LIMIT)
    }

    #[test]
    fn an_end_without_the_word_is_told_with_all_that_was_said() -> Result<()> {
        let error =
            shell(LATE)?.wait_for_word("steady", LIMIT).err().context("the word is there")?;
        ensure!(error.to_string().ends_with("ready, late"), "{error}");
        Ok(())
    }

    #[test]
    fn what_a_killed_process_wrote_is_read() -> Result<()> {
        let mut process = shell(&format!("{LATE} echo started >&2; exec sleep 600"))?;
        process.wait_for_word("started", LIMIT)?;
        process.kill();
        ensure!(process.stderr().has_word("late"), "{:?}", process.stderr());
        Ok(())
    }

    #[test]
    fn a_descendant_with_the_pipes_holds_nobody_up() -> Result<()> {
        let mut process = shell("sleep 60 & echo $!")?;
        let status = process.wait(LIMIT)?;
        ensure!(status.success(), "{status}");
        let descendant: i32 = process.stdout().text().parse()?;
        // A zombie has none.
        let arguments = fs::read_to_string(format!("/proc/{descendant}/cmdline"))?;
        ensure!(arguments.contains("sleep"), "it was waited for");
        kill_process(Pid::from_raw(descendant).context("no pid")?, Signal::KILL)?;
        Ok(())
    }
}
