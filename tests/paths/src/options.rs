//! The arguments of the program.

use std::{ffi::OsString, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lexopt::{Arg, Parser, ValueExt as _};
use slipwire_worlds::path::{NamedPath, PATHS};

use super::program::{Binary, KINDS, Program, USUAL};

/// What `--help` says.
pub const HELP: &str = "\
Measures slipwire's TCP beside the kernel's, over paths with delay, loss and queues.

    paths [--paths PATH[,PATH]] [--programs PROGRAM[,PROGRAM]] [--slipwire [LABEL=]FILE]...
          [--congestion NAME] [--rounds N] [--seconds S] [--only PART[,PART]] [--quick]
    paths --fairness [--programs ...] [--slipwire ...] [--congestion NAME] [--rounds N] [--seconds S]
    paths --many N [--programs ...] [--slipwire ...] [--congestion NAME] [--rounds N] [--seconds S]

    --paths PATHS      clean, shallow, loss0.1, loss1, bursts, loss0.01, wifi, reordering,
                       spikes, hole; all of them without it
    --programs NAMES   cubic, bbr: wireguard-go with the kernel's TCP at both ends;
                       gateway, forward, both_ends: slipwire at one end or both;
                       gateway_bbr, forward_bbr, both_ends_bbr: the same, with BBR in the kernel at
                       the other end of the connection;
                       without it cubic,bbr,gateway,forward,both_ends. Others are compared with
                       the first: bbr,gateway_bbr,forward_bbr shows the receivers of a BBR sender
    --slipwire FILE    measures this slipwire, in the place of the one that was built; several are
                       measured beside each other
    --congestion NAME  adds congestion = NAME to [tcp] of slipwire's configurations
    --rounds N         how often each program is measured on each path (3)
    --seconds S        how long each transfer lasts (8)
    --only PARTS       down, up, pages, and beside: pages beside a download; all but that without it
    --quick            1 round, 5 seconds, fewer pages
    --fairness         instead: one flow beside 1 and 4 of the kernel's with CUBIC, through one
                       bottleneck with queues of half, one and four times what is under way
    --many N           instead: N downloads at once, without a path between the ends

    SLIPWIRE_WIREGUARD_GO names the wireguard-go to compare with. Without it that is the one that
    `go install golang.zx2c4.com/wireguard@latest` has put down, or wireguard-go on the PATH.
";

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Transfers to the near host.
    Down,
    /// Transfers to the far host.
    Up,
    /// Short transfers.
    Pages,
    /// Short transfers beside a long one.
    Beside,
}

impl Part {
    /// Every one, with its name.
    pub const ALL: [(&str, Self); 4] =
        [("down", Self::Down), ("up", Self::Up), ("pages", Self::Pages), ("beside", Self::Beside)];
    /// Those that are measured unless others are asked for.
    const USUAL: [Self; 3] = [Self::Down, Self::Up, Self::Pages];
}

/// What the program is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All programs on all paths.
    Compare,
    /// Each beside the kernel's flows.
    Fairness,
    /// So many downloads at once.
    Many(usize),
}

/// What is measured, and how much.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is asked for.
    pub mode: Mode,
    /// The paths.
    pub paths: Vec<NamedPath>,
    /// What stands at their ends; others are compared with the first.
    pub programs: Vec<Program>,
    /// What is measured.
    pub parts: Vec<Part>,
    /// How often.
    pub rounds: u32,
    /// How long each transfer lasts.
    pub time: Duration,
    /// How often the first page of a peer is fetched in a round, and how many later ones each time.
    pub pages: (usize, usize),
}

/// What the arguments ask for, before anything is looked at.
#[derive(Debug)]
struct Wanted {
    mode: Mode,
    paths: Vec<NamedPath>,
    kinds: String,
    binaries: Vec<Binary>,
    congestion: Option<String>,
    rounds: Option<u32>,
    seconds: Option<u64>,
    parts: Vec<Part>,
    is_quick: bool,
}

impl Options {
    /// Reads them; none where help is wanted.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>> {
        let Some(wanted) = Wanted::parse(arguments)? else { return Ok(None) };
        let mut binaries = wanted.binaries;
        if binaries.is_empty() {
            binaries.push(Binary { label: String::new(), path: None });
        }
        let mut programs = Vec::new();
        for name in wanted.kinds.split(',') {
            let kind = named(name, KINDS, |kind| kind.0)?;
            if kind.2.is_there() {
                programs.extend(Program::of_kind(kind, &binaries, wanted.congestion.as_deref()));
            } else {
                eprintln!("{name} is left out: this kernel has no {}", kind.2.name());
            }
        }
        ensure!(!programs.is_empty(), "there is nothing to measure");
        let (rounds, seconds, pages) =
            if wanted.is_quick { (1, 5, (1, 6)) } else { (3, 8, (3, 10)) };
        Ok(Some(Self {
            mode: wanted.mode,
            paths: wanted.paths,
            programs,
            parts: wanted.parts,
            rounds: wanted.rounds.unwrap_or(rounds).max(1),
            time: Duration::from_secs(wanted.seconds.unwrap_or(seconds).max(1)),
            pages,
        }))
    }
}

impl Wanted {
    fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>> {
        let mut wanted = Self {
            mode: Mode::Compare,
            paths: PATHS.to_vec(),
            kinds: USUAL.to_owned(),
            binaries: Vec::new(),
            congestion: None,
            rounds: None,
            seconds: None,
            parts: Part::USUAL.to_vec(),
            is_quick: false,
        };
        let mut parser = Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("paths") => {
                    let names = parser.value()?.string()?;
                    let path = |name| named(name, PATHS, |path| path.name);
                    wanted.paths = names.split(',').map(path).collect::<Result<_>>()?;
                }
                Arg::Long("programs") => wanted.kinds = parser.value()?.string()?,
                Arg::Long("slipwire") => {
                    wanted.binaries.push(Binary::parse(&parser.value()?.string()?)?);
                }
                Arg::Long("congestion") => wanted.congestion = Some(parser.value()?.string()?),
                Arg::Long("rounds") => wanted.rounds = Some(parser.value()?.parse()?),
                Arg::Long("seconds") => wanted.seconds = Some(parser.value()?.parse()?),
                Arg::Long("only") => {
                    let names = parser.value()?.string()?;
                    let part = |name| Ok(named(name, Part::ALL, |part| part.0)?.1);
                    wanted.parts = names.split(',').map(part).collect::<Result<_>>()?;
                }
                Arg::Long("fairness") => wanted.mode = Mode::Fairness,
                Arg::Long("many") => wanted.mode = Mode::Many(parser.value()?.parse()?),
                Arg::Long("quick") => wanted.is_quick = true,
                Arg::Short('h') | Arg::Long("help") => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(wanted))
    }
}

fn named<T, const N: usize>(wanted: &str, all: [T; N], name: fn(&T) -> &'static str) -> Result<T> {
    let found = all.into_iter().find(|one| name(one) == wanted);
    found.with_context(|| format!("there is no {wanted:?}; see --help"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Options> {
        Options::parse(words.split_whitespace().map(Into::into)).map(Option::unwrap)
    }

    #[test]
    fn everything_is_measured_unless_less_is_asked_for() {
        let all = parse("").unwrap();
        assert_eq!((all.paths.len(), all.parts.len(), all.rounds), (PATHS.len(), 3, 3));
        let some =
            parse("--paths wifi,hole --programs gateway,cubic --only up --rounds 2").unwrap();
        let names: Vec<_> = some.programs.iter().map(|program| program.name.as_str()).collect();
        assert_eq!((names, some.rounds), (vec!["gateway", "cubic"], 2));
        assert_eq!((some.paths[1].name, some.parts), ("hole", vec![Part::Up]));
    }

    #[test]
    fn quick_is_less_of_everything_but_what_is_said() {
        let quick = parse("--quick --seconds 2").unwrap();
        assert_eq!((quick.rounds, quick.time), (1, Duration::from_secs(2)));
        assert!(parse("--paths moon").is_err() && parse("--programs onetun").is_err());
        assert_eq!(parse("--many 500").unwrap().mode, Mode::Many(500));
    }

    #[test]
    fn a_congestion_control_is_written_only_if_it_is_named() {
        let tables = |words| parse(words).unwrap().programs[0].tables.clone();
        assert!(!tables("--programs gateway").contains("congestion"));
        let named = tables("--programs gateway --congestion bbr");
        assert!(named.starts_with("[tcp]\ncongestion = \"bbr\"\n"), "{named}");
    }
}
