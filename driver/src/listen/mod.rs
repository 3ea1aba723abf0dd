//! The local ends of forwards.
//!
//! ```text
//!   table.rs   all forwards
//!   tcp.rs     clients that connect
//!   udp.rs     clients that send datagrams
//! ```

pub(crate) mod table;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::io;
use std::net::SocketAddr;

use mio::Registry;
use mio::event::Event;
use slipwire_core::Instant;

use self::tcp::TcpForward;
use self::udp::UdpForward;
use crate::settings::{Forward, ForwardProtocol};
use crate::token::Origin;

/// The local end of one forward.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpForward),
    Udp(UdpForward),
}

impl Listener {
    /// Binds the socket of a forward, at a place among all of them.
    fn bind(forward: &Forward, place: usize, registry: &Registry) -> io::Result<Self> {
        let token = Origin::Forward(place).token();
        Ok(match forward.protocol {
            ForwardProtocol::Tcp => Self::Tcp(TcpForward::bind(forward, token, registry)?),
            ForwardProtocol::Udp => Self::Udp(UdpForward::bind(forward, token, registry)?),
        })
    }

    /// Where it really listens.
    pub(crate) const fn local(&self) -> SocketAddr {
        match self {
            Self::Tcp(forward) => forward.local(),
            Self::Udp(forward) => forward.local(),
        }
    }

    /// Notes what the system says about the socket.
    pub(crate) fn note(&mut self, event: &Event) {
        match self {
            Self::Tcp(forward) => forward.note(event),
            Self::Udp(forward) => forward.note(event),
        }
    }

    /// When it is to be looked at again without an event.
    pub(crate) const fn due(&self) -> Option<Instant> {
        match self {
            Self::Tcp(forward) => forward.due(),
            Self::Udp(_) => None,
        }
    }
}
