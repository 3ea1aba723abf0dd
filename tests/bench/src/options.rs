//! The arguments of the benchmark.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use lexopt::{Arg, Parser, ValueExt as _};

use super::{Part, way::Kind};

/// What `--help` says.
pub const HELP: &str = "\
Measures slipwire beside the other ways from one host to another.

    bench [--rounds N] [--seconds S] [--json FILE] [--only PART[,PART]] [--ways WAY[,WAY]]
    bench ROUNDS [SECONDS]

    --rounds N     how often each way is measured (5)
    --seconds S    how long each measurement lasts (3)
    --json FILE    writes all medians and samples there
    --only PARTS   transfer, latency, opens, http, udp, memory; all of them without it
    --ways WAYS    direct, floor, baseline, gateway, forward, both_ends, onetun, gateway_record,
                   gateway_capture; all of them without it

    SLIPWIRE_WIREGUARD_GO names the wireguard-go to compare with. Without it that is the one that
    `go install golang.zx2c4.com/wireguard@latest` has put down, or wireguard-go on the PATH.
";

/// How much is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How often each way is measured.
    pub rounds: u32,
    /// How long each measurement lasts.
    pub duration: Duration,
    /// Where all samples go.
    pub json: Option<PathBuf>,
    /// What is measured.
    pub parts: Vec<Part>,
    /// The ways that it is measured on, those that can be built here.
    pub ways: Vec<Kind>,
}

impl Options {
    /// Reads them; none where help is wanted.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>> {
        let mut parser = Parser::from_args(arguments);
        let (mut rounds, mut seconds, mut json) = (None, None, None);
        let (mut parts, mut ways) = (Part::ALL.to_vec(), Kind::ALL.to_vec());
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("rounds") => rounds = Some(parser.value()?.parse()?),
                Arg::Long("seconds") => seconds = Some(parser.value()?.parse()?),
                Arg::Long("json") => json = Some(PathBuf::from(parser.value()?)),
                Arg::Long("only") => {
                    parts = listed(&parser.value()?.string()?, &Part::ALL, Part::name)?;
                }
                Arg::Long("ways") => {
                    ways = listed(&parser.value()?.string()?, &Kind::ALL, Kind::key)?;
                }
                Arg::Short('h') | Arg::Long("help") => return Ok(None),
                Arg::Value(value) if rounds.is_none() => rounds = Some(value.parse()?),
                Arg::Value(value) if seconds.is_none() => seconds = Some(value.parse()?),
                other => return Err(other.unexpected().into()),
            }
        }
        let rounds = rounds.unwrap_or(5u32).max(1);
        let duration = Duration::from_secs(seconds.unwrap_or(3u64).max(1));
        ways.retain(|kind| kind.is_there());
        Ok(Some(Self { rounds, duration, json, parts, ways }))
    }
}

/// Those of `all` whose names are listed.
fn listed<T: Copy>(names: &str, all: &[T], name: fn(T) -> &'static str) -> Result<Vec<T>> {
    let find = |wanted: &str| {
        let known = all.iter().copied().find(|&one| name(one) == wanted);
        known.with_context(|| format!("there is no {wanted:?}; see --help"))
    };
    names.split(',').map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Option<Options>> {
        Options::parse(words.split(' ').map(Into::into))
    }

    #[test]
    fn numbers_alone_are_rounds_and_seconds() {
        let short = parse("7 2").unwrap().unwrap();
        assert_eq!(short, parse("--rounds 7 --seconds 2").unwrap().unwrap());
        assert_eq!((short.rounds, short.duration), (7, Duration::from_secs(2)));
        assert_eq!(short.parts, Part::ALL);
    }

    #[test]
    fn only_the_parts_that_are_named_are_measured() {
        let options = parse("--only udp,memory").unwrap().unwrap();
        assert_eq!(options.parts, [Part::Udp, Part::Memory]);
        assert_eq!(parse("--ways floor").unwrap().unwrap().ways, [Kind::Floor]);
        assert!(parse("--only speed").is_err());
        assert!(parse("1 2 3").is_err());
    }
}
