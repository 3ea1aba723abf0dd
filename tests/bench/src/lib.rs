//! The benchmark: how fast each way from the near host to the far one is, and what it costs.
//!
//! [`way`] builds the ways, [`rounds`] takes them in turn, several times, so that what the machine
//! does beside it falls on all alike; each of the parts measures one thing on each way. All that is
//! measured goes into [`figures`], by way, figure and round: medians and ratios within a round come
//! from there, and the JSON. The benchmark's own child processes are [`floor`] and [`echo`].

pub mod echo;
pub mod figures;
pub mod floor;
mod http;
mod idle;
mod latency;
mod load;
pub mod machine;
mod memory;
mod opens;
pub mod options;
mod orphan;
pub mod rounds;
mod table;
mod transfer;
mod udp;
pub mod way;

use anyhow::Result;
use serde_json::Value;

use self::options::Options;

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Bytes and processor time of transfers.
    Transfer,
    /// Small requests and their responses.
    Latency,
    /// Connections opened and closed.
    Opens,
    /// Requests to a web server.
    Http,
    /// Datagrams.
    Udp,
    /// Resident memory.
    Memory,
}

impl Part {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Transfer, Self::Latency, Self::Opens, Self::Http, Self::Udp, Self::Memory];

    /// What it is called in arguments and in the JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Latency => "latency",
            Self::Opens => "opens",
            Self::Http => "http",
            Self::Udp => "udp",
            Self::Memory => "memory",
        }
    }

    /// Measures it.
    pub fn run(self, options: &Options) -> Result<Report> {
        match self {
            Self::Transfer => transfer::run(options),
            Self::Latency => latency::run(options),
            Self::Opens => opens::run(options),
            Self::Http => http::run(options),
            Self::Udp => udp::run(options),
            Self::Memory => memory::run(options),
        }
    }
}

/// What one part has to say.
#[derive(Debug)]
pub struct Report {
    /// Tables and the words about them, in Markdown.
    pub markdown: String,
    /// All medians and samples.
    pub json: Value,
}
