//! Slipwire's TCP beside the kernel's, over paths that are not perfect.
//!
//! ```text
//!   near                          mid                          far
//!   clients -- one end -- relay (the path) -- other end -- servers
//! ```
//!
//! [`program`] says what stands at the two ends: the kernel's TCP behind wireguard-go, or
//! slipwire. [`relay`] passes their datagrams on as a path of `slipwire_worlds::path` says, in
//! real time, and keeps account of what it lost. [`site`] is hosts, ends and relay together. On a
//! site are measured: [`bulk`], transfers ([`load`]) with a [`ping`] beside them, and [`page`],
//! short ones. Before each measurement both ends start anew. [`compare`] takes the programs in
//! turn, several rounds, so that what the machine does beside it falls on all alike; [`results`]
//! holds the figures of a path, medians and ratios within a round. [`fairness`] has two sites share
//! a relay, and [`many`] does without one.

pub mod bulk;
pub mod compare;
pub mod fairness;
pub mod load;
pub mod many;
pub mod options;
pub mod page;
pub mod ping;
pub mod program;
pub mod relay;
pub mod results;
pub mod site;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};

/// How much sooner than others we and our child processes have our turn, where that is allowed.
const NICE: i32 = -10;

/// Prepares this process for measuring: before others that want the processor, as far as it may,
/// and with as many open files as it may.
pub fn prepare_process() -> Result<()> {
    // Who may not goes on without.
    let _ = setpriority_process(None, NICE);
    let old = getrlimit(Resource::Nofile);
    let all = Rlimit { current: old.maximum, maximum: old.maximum };
    setrlimit(Resource::Nofile, all).context("raising the limit of open files")
}
