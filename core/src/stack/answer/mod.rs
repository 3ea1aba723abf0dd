//! What a peer is told instead of data.
//!
//! - [`undelivered`]: the network has not delivered a datagram that the peer sent.

mod undelivered;
