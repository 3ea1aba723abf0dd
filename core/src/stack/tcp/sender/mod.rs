//! What is sent, and how fast.
//!
//! - [`delivery`]: what the path has delivered, and how much may be in flight;
//! - [`recovery`]: what has to be sent again.

pub(crate) mod delivery;
pub(crate) mod recovery;
