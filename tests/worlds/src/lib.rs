//! What engines are tried in: virtual time, links between them, builders, and a world for each
//! level.
//! Nothing here reads a clock or opens a socket.
//!
//! - [`dice`]: chance that follows from a seed.
//! - [`link`]: one direction of a path: delay, rate, queue, loss, order.
//! - [`path`]: both directions of a path, what they carried and lost, and the paths that TCP is
//!   measured over.
//! - [`build`]: builders, one for each noun: key, peer, configuration, engine.
//! - [`two_engines`]: a world of a client's engine and a gateway's.
//!
//! Two worlds are elsewhere: core's own tests have one of a stack alone (`core/src/stack/tests`),
//! and the simulation one of hosts with sockets and applications (`tests/sim`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on ends")]

pub mod build;
pub mod dice;
pub mod link;
pub mod path;
pub mod two_engines;
