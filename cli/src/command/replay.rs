//! `slipwire replay`: a recorded tape through a stack, up to the first difference.

use std::fs;
use std::path::Path;

use lexopt::Parser;
use slipwire_core::tape::{Replay, Step, TapeEnd};
use slipwire_driver::{Capture, CaptureFile, FileError, StartError};

use super::arguments;
use crate::failure::Failure;
use crate::output;

const HELP: &str = "\
Runs a tape that [record] has written through the stack, and compares what it says with what it
said then. Exits with 0 if that is the same to the end of the tape, or to where it is torn, and with
1 at the first difference, which it shows.

Usage: slipwire replay TAPE [--until N] [--flow FLOW] [--pcap FILE]

Options:
  --until N      stop after the N-th input
  --flow FLOW    show what happens to a flow, named as in logs (3.1): number, seconds, and what
  --pcap FILE    write the plaintext packets for Wireshark and tcpdump

Examples:
  slipwire replay slipwire.tape
  slipwire replay slipwire.tape.1 --flow 3.1
  slipwire replay slipwire.tape --until 5000 --pcap out.pcap
";

pub(super) fn main(parser: Parser) -> Result<(), Failure> {
    let parsed = arguments::replay(parser);
    let Some(asked) = arguments::settle(parsed, "replay", HELP)? else { return Ok(()) };
    let name = asked.tape.display();
    let tape = fs::read(&asked.tape)
        .map_err(|error| Failure::Fault(format!("{name}: {error}; name a tape")))?;
    let mut replay =
        Replay::new(&tape).map_err(|error| Failure::Fault(format!("{name}: {error}")))?;
    let capture = asked.pcap.as_deref().map(|file| capture(file, &replay)).transpose()?;
    replay.set_tap(capture.as_ref().map(Capture::tap));
    replay.follow(asked.flow);
    let mut shown = 0;
    let outcome = run(&mut replay, asked.until, |line| {
        shown += 1;
        // A reader that has seen enough is no reason to stop.
        let _ = output::print(&format!("{line}\n"));
    });
    if let Some(capture) = &capture {
        capture.finish();
    }
    let end = outcome.map_err(|difference| Failure::Fault(format!("{name}: {difference}")))?;
    if let Some(flow) = asked.flow.filter(|_| shown == 0) {
        let inputs = replay.number();
        return Err(Failure::Fault(format!(
            "{name}: there is no {flow:?} in its {inputs} inputs; name one that a log or a \
             difference names"
        )));
    }
    let inputs = replay.number();
    let seconds = replay.now().saturating_duration_since(replay.begun_at()).as_secs_f64();
    let end = match end {
        End::Tape(TapeEnd::Whole) => "to the end".to_owned(),
        End::Tape(TapeEnd::Torn { position, what }) => {
            format!("up to byte {position}, where the tape is torn: {what}")
        }
        End::Asked => "as far as asked".to_owned(),
    };
    let program = replay.program();
    output::print(&format!(
        "{inputs} inputs in {seconds:.3} s, recorded by slipwire {program}: the same {end}\n"
    ))
}

/// Why a replay ended without a difference.
enum End {
    Tape(TapeEnd),
    Asked,
}

fn run(
    replay: &mut Replay<'_>,
    until: Option<u64>,
    mut show: impl FnMut(&str),
) -> Result<End, String> {
    while until.is_none_or(|until| replay.number() < until) {
        let step = replay.step();
        replay.take_lines().iter().for_each(|line| show(line));
        match step {
            Ok(Step::Same) => {}
            Ok(Step::End(end)) => return Ok(End::Tape(end)),
            Err(difference) => return Err(difference.to_string()),
        }
    }
    Ok(End::Asked)
}

fn capture(file: &Path, replay: &Replay<'_>) -> Result<Capture, Failure> {
    let to = CaptureFile { file: file.to_owned(), size_max: u64::MAX };
    Capture::create(to, replay.begun_at()).map_err(|error| {
        let message = format!("slipwire: {error}");
        match error {
            StartError::Capture { error: FileError::Foreign | FileError::NotRegular, .. } => {
                Failure::Fault(format!("{message}; name another file"))
            }
            _ => Failure::System(message),
        }
    })
}
