//! What stands at the two ends of a path.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use slipwire_lab::tunnel::Job;
use slipwire_worlds::path::Direction;

/// Where the kernel says which congestion controls it has.
const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
/// A single peer may have all there is.
const LIMITS: &str = "[limits]\nper_peer = \"100%\"\n";

/// What a row of the tables is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What it is called in arguments and tables.
    pub name: String,
    /// What stands where.
    pub job: Job,
    /// The congestion control of the kernel where it is an end of the tunnel's connections.
    pub kernel: Kernel,
    /// The slipwire to run; none runs the one that was built.
    pub binary: Option<PathBuf>,
    /// Tables of slipwire's configuration.
    pub tables: String,
}

/// A congestion control of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// What others are compared with.
    Cubic,
    /// It models the path.
    Bbr,
}

impl Kernel {
    /// What the kernel calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        }
    }

    /// Whether this kernel has it, or can load it.
    pub fn is_there(self) -> bool {
        fs::read_to_string(AVAILABLE)
            .is_ok_and(|names| names.split_whitespace().any(|name| name == self.name()))
    }
}

/// A slipwire to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// What it is called in tables; empty if it is the only one.
    pub label: String,
    /// Where it is; none for the one that was built.
    pub path: Option<PathBuf>,
}

/// The kinds of programs, by what they are called in arguments: what stands where, and the kernel's
/// congestion control.
pub const KINDS: [(&str, Job, Kernel); 8] = [
    ("cubic", Job::Baseline, Kernel::Cubic),
    ("bbr", Job::Baseline, Kernel::Bbr),
    ("gateway", Job::Gateway, Kernel::Cubic),
    ("forward", Job::Forward, Kernel::Cubic),
    ("both_ends", Job::BothEnds, Kernel::Cubic),
    ("gateway_bbr", Job::Gateway, Kernel::Bbr),
    ("forward_bbr", Job::Forward, Kernel::Bbr),
    ("both_ends_bbr", Job::BothEnds, Kernel::Bbr),
];

/// Those that are measured unless others are asked for.
pub const USUAL: &str = "cubic,bbr,gateway,forward,both_ends";

impl Program {
    /// The programs of one kind: one, or where slipwire is an end, one for each binary.
    pub fn of_kind(
        (name, job, kernel): (&str, Job, Kernel),
        binaries: &[Binary],
        congestion: Option<&str>,
    ) -> Vec<Self> {
        let is_slipwire = job.forwards() || job.is_gateway();
        let tables = congestion
            .map_or_else(String::new, |name| format!("[tcp]\ncongestion = \"{name}\"\n"))
            + LIMITS;
        let one = |binary: &Binary| Self {
            name: [name, &binary.label].join(" ").trim_end().to_owned(),
            job,
            kernel,
            binary: binary.path.clone(),
            tables: tables.clone(),
        };
        if is_slipwire {
            return binaries.iter().map(one).collect();
        }
        vec![one(&Binary { label: String::new(), path: None })]
    }

    /// Whether the kernel sends what goes this way through the tunnel.
    pub fn kernel_sends(&self, direction: Direction) -> bool {
        match direction {
            Direction::Up => !self.job.forwards(),
            Direction::Down => !self.job.is_gateway(),
        }
    }
}

impl Binary {
    /// Reads `LABEL=PATH`, or a path alone whose label is the file's name.
    pub fn parse(text: &str) -> Result<Self> {
        let (label, path) = match text.split_once('=') {
            Some((label, path)) => (label, Path::new(path)),
            None => {
                let path = Path::new(text);
                let name = path.file_name().and_then(|name| name.to_str());
                (name.with_context(|| format!("{text:?} is no file's path"))?, path)
            }
        };
        Ok(Self { label: label.to_owned(), path: Some(path.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_binary_is_a_program_of_each_kind_that_has_slipwire_in_it() {
        let binaries = ["old=/tmp/a", "/tmp/new"].map(|text| Binary::parse(text).unwrap());
        let names = |name| -> Vec<String> {
            let kind = KINDS.into_iter().find(|kind| kind.0 == name).unwrap();
            let programs = Program::of_kind(kind, &binaries, Some("bbr"));
            programs.into_iter().map(|program| program.name).collect()
        };
        assert_eq!(names("gateway"), ["gateway old", "gateway new"]);
        assert_eq!(names("cubic"), ["cubic"]);
    }

    #[test]
    fn the_kernel_sends_where_slipwire_does_not_stand() {
        let senders = KINDS.map(|kind| {
            let built = [Binary { label: String::new(), path: None }];
            let program = &Program::of_kind(kind, &built, None)[0];
            [Direction::Up, Direction::Down].map(|way| program.kernel_sends(way))
        });
        let expected = [[true, true], [true, true], [true, false], [false, true], [false, false]];
        assert_eq!(senders[..5], expected);
    }
}
