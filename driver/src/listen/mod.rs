//! The local ends of forwards.
//!
//! ```text
//!   tcp.rs   clients that connect
//!   udp.rs   clients that send datagrams
//! ```

pub(crate) mod tcp;
pub(crate) mod udp;

use std::io;
use std::net::SocketAddr;

use mio::Registry;
use mio::event::Event;
use slipwire_core::Instant;

use self::tcp::TcpForward;
use self::udp::UdpForward;
use crate::error::{self, StartError, StartErrors};
use crate::settings::{Forward, ForwardProtocol};
use crate::token::Origin;

/// The local end of one forward.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpForward),
    Udp(UdpForward),
}

/// Binds every forward, or says of each that can't be bound why.
pub(crate) fn bind_all(
    forwards: &[Forward],
    registry: &Registry,
) -> Result<Vec<Listener>, StartErrors> {
    let bind = |(index, forward): (usize, &Forward)| {
        Listener::bind(forward, index, registry).map_err(|error| StartError::Forward {
            index,
            name: forward.name.clone(),
            address: forward.listen,
            error,
        })
    };
    error::all_of(forwards.iter().enumerate().map(bind))
}

impl Listener {
    fn bind(forward: &Forward, index: usize, registry: &Registry) -> io::Result<Self> {
        let token = Origin::Forward(index).token();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_forward_whose_port_is_taken_is_named() {
        let poll = mio::Poll::new().unwrap();
        for protocol in [ForwardProtocol::Tcp, ForwardProtocol::Udp] {
            let to = "10.0.0.1:80".parse().unwrap();
            let forward = |listen| Forward::new(protocol, listen, to).with_name("web");
            let free = forward("127.0.0.1:0".parse().unwrap());
            let first = bind_all(&[free], poll.registry()).unwrap();
            let taken = first[0].local();
            assert_ne!(taken.port(), 0);
            let free = forward("127.0.0.1:0".parse().unwrap());
            let (good, bad) = (free, forward(taken));
            let forwards = [bad.clone(), good, bad];
            let errors = bind_all(&forwards, poll.registry()).unwrap_err();
            let places: Vec<_> = errors
                .iter()
                .map(|error| match error {
                    StartError::Forward { index, .. } => *index,
                    other => panic!("{other}"),
                })
                .collect();
            assert_eq!(places, [0, 2]);
            let line = format!("{taken} (forward web): address in use");
            assert_eq!(errors.to_string(), format!("{line}\n{line}"));
        }
    }
}
