//! What engines are tried in: virtual time, links between them, and dice that a seed throws.
//! Nothing here reads a clock or opens a socket.
//!
//! - [`dice`]: chance that follows from a seed.
//! - [`link`]: one direction of a path: delay, rate, queue, loss, order.

pub mod dice;
pub mod link;
