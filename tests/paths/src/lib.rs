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
//! site are measured: [`bulk`], transfers that carry as much as they can, with a [`ping`] beside
//! them, and [`page`], short ones. Before each measurement both ends start anew. [`compare`] takes
//! the programs in turn, several rounds, so that what the machine does beside it falls on all
//! alike; [`results`] holds the figures of a path, medians and ratios within a round.

pub mod bulk;
pub mod compare;
pub mod options;
pub mod page;
pub mod ping;
pub mod program;
pub mod relay;
pub mod results;
pub mod site;
