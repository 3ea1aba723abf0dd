//! Sockets for datagrams of flows, whoever owns them: a flow of a peer, or a listener whose clients
//! share one.
//!
//! - [`train`]: datagrams that leave together;
//! - [`batches`]: many datagrams in one system call;
//! - [`ttl_and_df`]: how far they go, whether in pieces, and how they are marked;
//! - [`family`]: IPv4 or IPv6.

pub(crate) mod batches;
pub(crate) mod family;
pub(crate) mod train;
pub(crate) mod ttl_and_df;
