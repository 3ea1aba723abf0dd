//! The arguments of the commands: every command takes one of a few forms, and `--help`.

use std::ffi::OsString;
use std::num::NonZeroU16;
use std::path::PathBuf;

use lexopt::{Arg, Error, Parser, ValueExt as _};

use slipwire_core::FlowId;

use crate::failure::Failure;
use crate::output;

/// What the arguments ask for.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Asked<T> {
    /// To print the help.
    Help,
    /// To do the command.
    Do(T),
}

/// Prints the help if that is asked for; `None` says that nothing more is to be done.
pub(super) fn settle<T>(
    parsed: Result<Asked<T>, Error>,
    command: &str,
    help: &str,
) -> Result<Option<T>, Failure> {
    match parsed {
        Ok(Asked::Do(asked)) => Ok(Some(asked)),
        Ok(Asked::Help) => output::print(help).map(|()| None),
        Err(error) => {
            let help = format!("slipwire {command}");
            Err(Failure::Usage { message: error.to_string(), help })
        }
    }
}

/// No arguments at all.
pub(super) fn none(mut parser: Parser) -> Result<Asked<()>, Error> {
    match parser.next()? {
        None => Ok(Asked::Do(())),
        Some(Arg::Short('h') | Arg::Long("help")) => Ok(Asked::Help),
        Some(argument) => Err(argument.unexpected()),
    }
}

/// `[WORD]`.
pub(super) fn word(mut parser: Parser) -> Result<Asked<Option<String>>, Error> {
    let mut word = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Asked::Help),
            Arg::Value(value) if word.is_none() => word = Some(value.string()?),
            Arg::Short(_) | Arg::Long(_) | Arg::Value(_) => return Err(argument.unexpected()),
        }
    }
    Ok(Asked::Do(word))
}

/// `[FILE]` or `[-c FILE]`.
pub(super) fn configuration(mut parser: Parser) -> Result<Asked<Option<PathBuf>>, Error> {
    let mut file = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Asked::Help),
            Arg::Short('c') | Arg::Long("config") => take_file(&mut file, parser.value()?)?,
            Arg::Value(value) => take_file(&mut file, value)?,
            Arg::Short(_) | Arg::Long(_) => return Err(argument.unexpected()),
        }
    }
    Ok(Asked::Do(file))
}

/// What `replay` is asked for.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Replay {
    pub(super) tape: PathBuf,
    pub(super) until: Option<u64>,
    pub(super) flow: Option<FlowId>,
    pub(super) pcap: Option<PathBuf>,
}

/// `TAPE [--until N] [--flow FLOW] [--pcap FILE]`.
pub(super) fn replay(mut parser: Parser) -> Result<Asked<Replay>, Error> {
    let (mut tape, mut until, mut flow, mut pcap) = (None, None, None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Asked::Help),
            Arg::Long("until") => until = Some(parser.value()?.parse()?),
            Arg::Long("flow") => flow = Some(parser.value()?.parse()?),
            Arg::Long("pcap") => pcap = Some(parser.value()?.into()),
            Arg::Value(value) if tape.is_none() => tape = Some(value.into()),
            Arg::Short(_) | Arg::Long(_) | Arg::Value(_) => return Err(argument.unexpected()),
        }
    }
    let tape = tape.ok_or("no tape")?;
    Ok(Asked::Do(Replay { tape, until, flow, pcap }))
}

/// What `check` is asked for.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Check {
    pub(super) file: Option<PathBuf>,
    pub(super) explain: Option<String>,
}

/// `[FILE] [--explain FLOW]`, or with `-c FILE`.
pub(super) fn check(mut parser: Parser) -> Result<Asked<Check>, Error> {
    let (mut file, mut explain) = (None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Asked::Help),
            Arg::Short('c') | Arg::Long("config") => take_file(&mut file, parser.value()?)?,
            Arg::Value(value) => take_file(&mut file, value)?,
            Arg::Long("explain") => {
                if explain.replace(parser.value()?.string()?).is_some() {
                    return Err("more than one flow to explain".into());
                }
            }
            Arg::Short(_) | Arg::Long(_) => return Err(argument.unexpected()),
        }
    }
    Ok(Asked::Do(Check { file, explain }))
}

fn take_file(file: &mut Option<PathBuf>, named: OsString) -> Result<(), Error> {
    match file.replace(PathBuf::from(named)) {
        Some(_) => Err("more than one configuration".into()),
        None => Ok(()),
    }
}

/// What `quickstart` is asked for.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Quickstart {
    pub(super) directory: Option<PathBuf>,
    pub(super) port: Option<NonZeroU16>,
}

/// `[DIR] [--port PORT]`.
pub(super) fn quickstart(mut parser: Parser) -> Result<Asked<Quickstart>, Error> {
    let (mut directory, mut port) = (None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Asked::Help),
            Arg::Long("port") => port = Some(parser.value()?.parse()?),
            Arg::Value(path) if directory.is_none() && !path.is_empty() => {
                directory = Some(PathBuf::from(path));
            }
            Arg::Short(_) | Arg::Long(_) | Arg::Value(_) => return Err(argument.unexpected()),
        }
    }
    Ok(Asked::Do(Quickstart { directory, port }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parser(arguments: &[&str]) -> Parser {
        Parser::from_args(arguments)
    }

    #[test]
    fn a_configuration_is_named_once_if_at_all() {
        let file = |arguments| configuration(parser(arguments)).ok();
        assert_eq!(file(&[]), Some(Asked::Do(None)));
        assert_eq!(file(&["-c", "x"]), Some(Asked::Do(Some("x".into()))));
        assert_eq!(file(&["--config=x"]), Some(Asked::Do(Some("x".into()))));
        assert_eq!(file(&["x"]), Some(Asked::Do(Some("x".into()))));
        assert_eq!(file(&["-c", "-"]), Some(Asked::Do(Some("-".into()))));
        assert_eq!(file(&["-"]), Some(Asked::Do(Some("-".into()))));
        assert_eq!(file(&["-c", "x", "--help"]), Some(Asked::Help));
        assert!(file(&["-c"]).is_none() && file(&["-x"]).is_none());
        assert!(file(&["-c", "x", "-c", "y"]).is_none() && file(&["x", "-c", "y"]).is_none());
    }

    #[test]
    fn a_check_may_be_asked_about_a_flow() {
        let asked = |arguments: &[&str]| check(parser(arguments)).ok();
        let flow = "tcp a 10.0.0.1:1";
        for arguments in [&["--explain", flow, "-c", "x"][..], &["x", "--explain", flow]] {
            let expected = Check { file: Some("x".into()), explain: Some(flow.to_owned()) };
            assert_eq!(asked(arguments), Some(Asked::Do(expected)));
        }
        assert!(asked(&["--explain"]).is_none() && asked(&["-c", "x", "-c", "y"]).is_none());
        assert!(asked(&["--explain", "a", "--explain", "b"]).is_none());
    }

    #[test]
    fn a_directory_is_one_word_and_a_port_a_number() {
        let asked = |arguments: &[&str]| quickstart(parser(arguments)).ok();
        let expected = |directory: Option<&str>, port| {
            let directory = directory.map(PathBuf::from);
            Some(Asked::Do(Quickstart { directory, port: NonZeroU16::new(port) }))
        };
        assert_eq!(asked(&[]), expected(None, 0));
        assert_eq!(asked(&["d"]), expected(Some("d"), 0));
        assert_eq!(asked(&["d", "--port", "7"]), expected(Some("d"), 7));
        for wrong in [&["d", "e"][..], &["-x"], &["--port", "0"], &["--port", "70000"]] {
            assert_eq!(asked(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn some_commands_take_nothing_but_help() {
        assert_eq!(none(parser(&["-h"])).ok(), Some(Asked::Help));
        assert!(none(parser(&["x"])).is_err() && none(parser(&["--x"])).is_err());
    }
}
