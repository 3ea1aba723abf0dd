//! What a peer is told instead of data.
//!
//! - [`report`]: what whoever listens hears of refusals;
//! - [`undelivered`]: the network has not delivered a datagram that the peer sent.

mod report;
mod undelivered;
