//! What a mio token stands for.
//!
//! A turn notes all its events before it drops any socket, and every socket is read and written
//! until it would block, so that a token can neither name a socket that is gone nor do harm when
//! its event was about nothing.

use mio::Token;

/// Where an event came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// A thread that resolved a name.
    Resolver,
    /// Something that the embedder added, to be woken by.
    Wakeup,
    /// A WireGuard socket, by its place.
    WireGuard(usize),
    /// The listener of a forward, by its place.
    Forward(usize),
    /// The host leg of a flow, by its key.
    Flow(usize),
    /// The kernel, about this host's addresses and routes.
    Kernel,
}

const KIND_BITS: u32 = 3;
const KIND_MASK: usize = (1 << KIND_BITS) - 1;

impl Origin {
    /// The token to register under.
    pub(crate) const fn token(self) -> Token {
        let (kind, index) = match self {
            Self::Resolver => (0, 0),
            Self::Wakeup => (1, 0),
            Self::WireGuard(index) => (2, index),
            Self::Forward(index) => (3, index),
            Self::Flow(index) => (4, index),
            Self::Kernel => (5, 0),
        };
        Token(index << KIND_BITS | kind)
    }

    /// What a token stands for; `None` if it is not one of ours.
    pub(crate) const fn of(token: Token) -> Option<Self> {
        let index = token.0 >> KIND_BITS;
        match token.0 & KIND_MASK {
            0 => Some(Self::Resolver),
            1 => Some(Self::Wakeup),
            2 => Some(Self::WireGuard(index)),
            3 => Some(Self::Forward(index)),
            4 => Some(Self::Flow(index)),
            5 => Some(Self::Kernel),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_what_it_was_made_for() {
        let largest = usize::MAX >> KIND_BITS;
        let origins = [0, 1, 7, 8, 65_535, largest]
            .into_iter()
            .flat_map(|i| [Origin::WireGuard(i), Origin::Forward(i), Origin::Flow(i)])
            .chain([Origin::Resolver, Origin::Wakeup, Origin::Kernel]);
        for origin in origins {
            assert_eq!(Origin::of(origin.token()), Some(origin));
        }
    }

    #[test]
    fn a_foreign_token_names_nothing() {
        for kind in 6..=KIND_MASK {
            assert_eq!(Origin::of(Token(kind)), None);
        }
        assert_eq!(Origin::of(Token(usize::MAX)), None);
    }
}
