//! Bounds, and what happens at them.
//!
//! - [`bound`]: what there are bounds of, and what a flow counts as;
//! - [`shares`]: what each peer has of a bound, and who has to give way;
//! - [`eviction`]: which flow of that peer goes first;
//! - [`room`]: room for one more flow;
//! - [`memory`]: the bytes in rings, and who may have more of them.

pub(crate) mod bound;
pub(crate) mod eviction;
pub(crate) mod memory;
pub(crate) mod room;
pub(crate) mod shares;
