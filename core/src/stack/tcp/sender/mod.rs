//! What is sent, when, how fast, and again.
//!
//! - [`congestion`]: how much may be in flight, and how fast it may leave;
//! - [`pacer`]: when the next segments may leave;
//! - [`delivery`]: how fast what was sent arrives;
//! - [`loss`]: what is out, what of it is lost, when the time is up;
//! - [`segment_size`]: how large a segment may be, where larger ones vanish.
//!
//! Places in the stream are positions: bytes since the connection began, of 64 bits, so that none
//! comes round. The SYN is at 0, the first byte at 1, the FIN behind the last one.

pub(super) mod congestion;
pub(super) mod delivery;
mod loss;
pub(super) mod pacer;
pub(super) mod segment_size;
