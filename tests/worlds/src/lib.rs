//! What engines are tried in: virtual time, links between them, builders, and a world for each
//! level.
//! Nothing here reads a clock or opens a socket.
//!
//! - [`dice`]: chance that follows from a seed.
//! - [`account`]: what a link carried and lost.
//! - [`link`]: one direction of a path: delay, rate, queue, loss, order.
//! - [`path`]: both directions of a path, and the paths that TCP is measured over.
//! - [`ledger`]: what TCP sent once, and what again, heard at an engine's tap.
//! - [`build`]: builders, one for each noun: key, peer, configuration, engine.
//! - [`two_engines`]: a world of a client's engine and a gateway's.
//! - [`traffic`]: transfers through that world, and the applications at their ends.
//!
//! Two worlds are elsewhere: core's own tests have one of a stack alone (`core/src/stack/tests`),
//! and the simulation one of hosts with sockets and applications (`tests/sim`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on ends")]

pub mod account;
pub mod build;
pub mod dice;
pub mod ledger;
pub mod link;
pub mod path;
pub mod traffic;
pub mod two_engines;
