//! What the system says of datagrams that came to a WireGuard socket.

use std::net::{IpAddr, SocketAddr};

use crate::ecn::Ecn;

/// How datagrams came to a WireGuard socket. One of which only the source is known is made from
/// that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Where they came from.
    pub source: SocketAddr,
    /// The address of ours that they were sent to, if the system says.
    pub local: Option<IpAddr>,
    /// The mark of their IP headers; [`Ecn::NotEct`] if the system does not say.
    pub ecn: Ecn,
}

impl From<SocketAddr> for Arrival {
    fn from(source: SocketAddr) -> Self {
        Self { source, local: None, ecn: Ecn::NotEct }
    }
}
