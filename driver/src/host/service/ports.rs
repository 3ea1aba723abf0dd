//! Which ports a service has.

use std::fmt;
use std::ops::{RangeFull, RangeInclusive};

use super::ServiceId;

/// The ports that a service answers at, whichever the address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ports {
    /// One or several. A range that ends before it begins has none.
    Range(RangeInclusive<u16>),
    /// Every port that no other service of its kind has.
    Rest,
}

impl From<u16> for Ports {
    fn from(port: u16) -> Self {
        Self::Range(port..=port)
    }
}

impl From<RangeInclusive<u16>> for Ports {
    fn from(ports: RangeInclusive<u16>) -> Self {
        Self::Range(ports)
    }
}

/// `..` are the [rest](Ports::Rest).
impl From<RangeFull> for Ports {
    fn from(_: RangeFull) -> Self {
        Self::Rest
    }
}

impl Ports {
    /// Whether it names a port.
    pub(super) fn name(&self, port: u16) -> bool {
        match self {
            Self::Range(ports) => ports.contains(&port),
            Self::Rest => false,
        }
    }

    /// Whether two services can't have both. The rest is what the others leave.
    pub(super) fn collide(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Range(a), Self::Range(b)) => {
                !a.is_empty() && !b.is_empty() && a.start() <= b.end() && b.start() <= a.end()
            }
            (Self::Rest, Self::Rest) => true,
            (Self::Range(_), Self::Rest) | (Self::Rest, Self::Range(_)) => false,
        }
    }
}

/// Another service of that kind has one of the ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortsTaken {
    /// The other one.
    pub other: ServiceId,
}

impl fmt::Display for PortsTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another service has one of these ports")
    }
}

impl std::error::Error for PortsTaken {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_collide_where_they_share_a_port() {
        let range = |first, last| Ports::Range(RangeInclusive::new(first, last));
        let cases = [
            (range(1, 5), range(5, 9), true),
            (range(1, 5), range(6, 9), false),
            (range(1, 9), range(3, 3), true),
            (range(1, 9), range(5, 4), false),
            (range(1, 9), Ports::Rest, false),
            (Ports::Rest, Ports::Rest, true),
        ];
        for (a, b, expected) in cases {
            assert_eq!([a.collide(&b), b.collide(&a)], [expected; 2], "{a:?} {b:?}");
        }
    }
}
