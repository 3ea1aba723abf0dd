//! The arguments of the program.

use std::{ffi::OsString, time::Duration};

use anyhow::{Context as _, Result};
use lexopt::{Arg, Parser, ValueExt as _};
use slipwire_worlds::path::{NamedPath, PATHS};

use super::program::{Binary, KINDS, Program, USUAL};

/// What `--help` says.
pub const HELP: &str = "\
Measures slipwire's TCP beside the kernel's, over paths with delay, loss and queues.

    paths [--paths PATH[,PATH]] [--programs PROGRAM[,PROGRAM]] [--slipwire [LABEL=]FILE]...
          [--congestion NAME] [--rounds N] [--seconds S] [--only PART[,PART]] [--quick]

    --paths PATHS      clean, shallow, loss0.1, loss1, bursts, loss0.01, wifi, reordering, hole;
                       all of them without it
    --programs NAMES   cubic, bbr: wireguard-go with the kernel's TCP at both ends;
                       gateway, forward, both_ends: slipwire at one end or both;
                       gateway_bbr, forward_bbr, both_ends_bbr: the same, with BBR in the kernel at
                       the other end of the connection;
                       without it cubic,bbr,gateway,forward,both_ends
    --slipwire FILE    measures this slipwire, in the place of the one that was built; several are
                       measured beside each other
    --congestion NAME  adds congestion = NAME to [tcp] of slipwire's configurations
    --rounds N         how often each program is measured on each path (3)
    --seconds S        how long each transfer lasts (8)
    --only PARTS       down, up, pages; all of them without it
    --quick            1 round, 5 seconds, fewer pages

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
}

impl Part {
    /// Every one, with its name.
    pub const ALL: [(&str, Self); 3] =
        [("down", Self::Down), ("up", Self::Up), ("pages", Self::Pages)];
}

/// What is measured, and how much.
#[derive(Clone, Debug)]
pub struct Options {
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
    /// Reads them; none where help is wanted. Binaries are copied to where everybody can run them.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>> {
        let Some(wanted) = Wanted::parse(arguments)? else { return Ok(None) };
        let binaries = wanted.binaries.into_iter().map(Binary::for_everybody);
        let mut binaries = binaries.collect::<Result<Vec<_>>>()?;
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
        let (rounds, seconds, pages) =
            if wanted.is_quick { (1, 5, (1, 6)) } else { (3, 8, (3, 10)) };
        Ok(Some(Self {
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
            paths: PATHS.to_vec(),
            kinds: USUAL.to_owned(),
            binaries: Vec::new(),
            congestion: None,
            rounds: None,
            seconds: None,
            parts: Part::ALL.map(|(_, part)| part).to_vec(),
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
